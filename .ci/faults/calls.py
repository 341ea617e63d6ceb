"""Public functions with arguments that are wrong: each is a ValueError of one line that names the argument"""
# legitimate, and therefore not here: a colour for any name (a divergence of one's own has one), β = 0 of frl_weights (no
# divergence), more tokens than there are in top_k_of (all), labels of another type in label_mask (compared alone), NaN in nll_loss
NAN, INF = float('nan'), float('inf')

def call(text: str, **names):
    "(text, function that runs it) of a call as one would type it."
    def run(d):
        import torch, runs
        import fdiv_nb.all as everything
        torch.manual_seed(0)
        x = torch.randn(2, 3)
        mask = torch.ones(2, 3, dtype=torch.bool)
        space = vars(everything) | dict(torch=torch, x=x, v=x[0], logp=-x.abs(), mask=mask, logits=torch.randn(2, 3, 12), labels=torch.tensor([[1, 2, 3], [4, 5, 6]]),
                                        hidden=torch.randn(2, 3, 4), weight=torch.randn(12, 4), nan=torch.full((2, 3), NAN), wide=torch.randn(2, 4), d=d,
                                        p=torch.rand(2), tokenizer=runs.tokenizer(), reward=runs.reward, NAN=NAN, INF=INF,
                                        model=runs.model() if 'model' in text else None)
        return eval(text, space)
    return text, run

TEXTS = [
    # divergences
    "get_divergence('')", "get_divergence('jss')", "get_divergence(3)", "get_divergence(None)", "get_divergence('alpha')", "get_divergence('alpha:nan')", "get_divergence('skew_kl:1')",
    "get_divergence('js', alpha=.3)", "register_divergence(3)", "register_divergence('js')", "divergence_schedule('js..')", "divergence_schedule('js..tv@0')",
    "divergence_schedule(3)", "custom_divergence('', lambda l: l.exp()*l)", "custom_divergence('mine', 3)", "custom_divergence(3, lambda l: l.exp()*l)",
    "exact_divergence('js', v, wide[0])", "exact_divergence('js', torch.zeros(0), torch.zeros(0))", "exact_divergence('jss', v, v)", "exact_divergence('js', nan, logp)",
    "estimate_divergence('js', v, wide[0], v)", "estimate_divergence('js', nan[0], v, v)", "estimate_divergence('js', v, v, v, form='other')", "estimate_divergence('js', torch.zeros(0), torch.zeros(0), torch.zeros(0))",
    # log-probabilities
    "token_logprobs(logits, labels[:, :2])", "token_logprobs(logits, labels.float())", "token_logprobs(logits, labels + 99)", "sequence_logprobs(logits[0], labels)", "mean_token_prob(logits, labels + 99)",
    "linear_logprobs(hidden, weight[:, :3], labels)", "linear_logprobs(hidden, weight, labels + 99)", "linear_logprobs(hidden, weight, labels, temperature=0)",
    "linear_logprobs(hidden, weight, labels, chunk=0)", "linear_divergence('js', hidden, weight, hidden, weight[:6])", "linear_divergence('js', hidden, weight, hidden[:1], weight)",
    # losses of sequences and tokens
    "fdpg_loss('js', v, wide[0])", "fdpg_loss('js', v, v, log_z=NAN)", "fdpg_loss('jss', v, v)", "fdpg_loss('js', v, v, reduction='most')", "fdpg_loss('js', v, v, baseline='meann')", "fdpg_loss('js', v)",
    "fdpg_weights('js', v, nan[0], 0.)", "fdpo_loss('js', v, wide[0])", "fdpo_loss('js', v, v, beta=0)", "fdpo_loss('js', v, v, beta=NAN)", "fdpo_loss('tv', v, v)", "fdpo_loss('js', v, v, link='other')",
    "fdpo_loss('js', v, v, label_smoothing=1)", "fdpo_loss('js', v, v, reduction='most')", "fdpo_loss('js', torch.zeros(0), torch.zeros(0))", "fpo_loss('js', x, target=-1)", "fpo_loss('js', x, beta=0)", "fpo_loss('js', v)",
    "fsft_loss('js', x, wide, 1.)", "fsft_loss('js', x, logp, 0)", "fsft_loss('js', nan, logp, 1.)", "fsft_loss('js', x, logp, 1., reduction='most')", "fsft_loss('js', x, logp, 1., mask=mask[:1])",
    "dft_loss(logp, mask[:, :2])", "dft_loss(logp, reduction='most')", "nll_loss(logp, mask[:, :2])", "token_f_loss('js', logp, mask[:, :2])", "token_f_loss('jss', logp)", "implicit_reward(logp, wide, 1.)", "implicit_reward(logp, logp, 0)",
    "anchor_loss('psftt', logp, mask, logp)", "anchor_loss('psft', logp, mask)", "anchor_loss('psft', logp, mask, wide)", "anchor_loss('psft', logp, mask, logp, clip=-1)",
    "flat_loss('js', p, p[:1])", "flat_loss('js', p*NAN, p)", "flat_loss('js', p + 1, p)", "flat_loss('jss', p, p)", "flat_loss('js', p, p, compose='other')", "flat_loss('js', p, p, reduction='most')",
    "distill_loss('js', logits, logits[..., :6])", "distill_loss('js', logits, logits, temperature=0)", "distill_loss('js', logits, logits, mask=mask[:, :2])", "distill_loss('js', logits*NAN, logits)", "distill_loss('js', logits, logits, reduction='most')",
    "top_k_of(logits, 0)", "topk_divergence('js', logits, labels, logp)", "frl_weights('js', v, wide[0], v, 1.)", "frl_weights('js', v, v, nan[0], 1.)", "frl_loss(v, wide[0])", "frl_loss(v, v, reduction='most')",
    "rehearsal_loss('js', logp, wide)", "rehearsal_loss('jss', logp, logp)", "unpaired_loss('js', v, p)", "unpaired_loss('js', v, v > 0, beta=0)", "unpaired_loss('js', v, (v > 0)[:2])", "unlearn_loss('no', None)", "unlearn_loss('npo', 3)",
    # targets, rewards, samples, models
    "RewardTarget(reward, 0)", "RewardTarget(reward, NAN)", "RewardTarget(3, 1.)", "BinaryTarget(3)", "MomentTarget({}, {})", "MomentTarget(dict(a=reward), dict(b=1.))", "ProductTarget()", "ProductTarget(3)", "LengthTarget(NAN)",
    "OverlongTarget(0, 4)", "OverlongTarget(8, -1)", "load_reward('contians:go')", "load_reward(3)", "load_reward('')", "load_lm('./nothing')", "load_lm(3)", "load_lm(d/'m', dtype='float31')", "load_tokenizer('./nothing')", "load_tokenizer(3)",
    "rollout(model, tokenizer, [], max_new_tokens=4)", "rollout(model, tokenizer, ['go'], max_new_tokens=0)", "rollout(model, tokenizer, ['go'], max_new_tokens=4, temperature=-1)", "rollout(model, tokenizer, ['go'], max_new_tokens=4, n=0)",
    "rollout(model, tokenizer, ['go'], max_new_tokens=999)", "rollout(model, tokenizer, [3], max_new_tokens=4)", "rollout(model, tokenizer, 'go', max_new_tokens=4)", "CompletionsSampler('nowhere')", "VLLMSampler('')", "TopKServer('nowhere')", "TopKServer('http://localhost:1', k=0)",
    # measures and reports
    "audit(3)", "audit(lambda logp: logp.sum(), group_sizes=())", "tofu_scores(3)", "muse_scores({})", "membership_scores(None)", "write_log({}, d/'o', layout='other')", "run_report(d/'o', {}, 'title')", "run_report(d/'o', 3, 'title')", "before_and_after(None, None)",
]
CALLS = [call(t) for t in TEXTS]
