"""The claims of f-DPG's paper (Go et al., 2023) at the scale of two processor cores: exact where it can be, one statement a claim.

    OMP_NUM_THREADS=1 nice -n 5 python bench/exp_fdpg.py --stories DIR --lexicon FILE --smol DIR --work DIR --results FILE

`--stories`: a folder of stories260K; `--lexicon`: VADER's file; `--smol`: one of SmolLM2-135M (here the Instruct model, de-quantised);
a part asks only for what it reads. `--part ladder,collapse` runs some parts, several processes may share `--work`. The process may be
stopped at any time; the same command goes on. `--list`, `--plan` (costs, power), `--only CELL`, `--rerun CELL` (stored and new, with
the interval), `--report`. `--quick` tries every kind of cell in a tiny setting, for which other folders have to be given.

The rule, fixed before the first run (`RULE`, `CONTRASTS`; both are written into the results):

1. Parts. ladder: sequences of at most four of seven tokens, all 1,555 listed, pi0 a random Llama of two layers, p = pi0 exp(r/beta)
   with r = 1 where first and last word are the same; policies that forget their past (iid), see the last token (bigram), have one
   layer, or two, fitted to pi0 first. collapse: the same with a target that is itself such a Llama, 1,000 steps. sentiment: stories260K
   with the reward, beta and steps of `840_exp_fdpg`. size: Llamas of 0.1 to 3 M parameters trained on the bundled language.
   rare: stories260K, a word of about three texts in a thousand; divergences from exact samples of the target, other ones for each
   seed. smol: SmolLM2-135M from its start token with LoRA, described, not tested.
2. Learning rates: for every f (and policy) the one of three that ends nearest by what this f minimises, on a seed that is not
   reported; in rare by JS to the hard target for all, since reverse KL to it is infinite (it gets the soft form, beta 0.1). One rate
   for all in collapse, where the path is the question, and in smol, where nothing could be tuned.
3. One primary contrast a claim, paired over seeds, Student's t, two-sided, Holm over all statements of this file, unfinished ones
   among them. A statement is decided when all its seeds are there. Everything else in the results is description.
4. The seeds draw pi0, target and samples (ladder, collapse), samples of training and evaluation (the others).
"""
from __future__ import annotations
import copy, functools, json, math, sys, tempfile
from pathlib import Path
import peft, torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint
import fdiv_nb
from fdiv_nb.evaluation.alignment import before_and_after, draw_alignment
from fdiv_nb.losses.rewards import contains_reward, lexicon_reward
from fdiv_nb.losses.target import BinaryTarget, RewardTarget
from fdiv_nb.mathematics.divergence import exact_divergence
from fdiv_nb.mathematics.estimate import estimate_divergence
from fdiv_nb.mathematics.toy import ToySeq
from fdiv_nb.models.logprobs import build_batch, logprobs_of
from fdiv_nb.models.rollout import rollout
from fdiv_nb.models.testing import word_tokenizer
from fdiv_nb.models.tiny import corpus, encode, fit, new_model, sentiment_score, train_tokenizer
from fdiv_nb.training.fdpg import FDPGConfig, FDPGTrainer
from cells import Contrast, Experiment, needed, rounded, running

QUICK = '--quick' in sys.argv
quick = lambda usual, small: small if QUICK else usual
FOUR = 'forward_kl', 'reverse_kl', 'js', 'tv'
SIX = (*FOUR, 'hellinger', 'pearson')
RATES, TUNING_SEED = 3, 100
RULE = __doc__.split('The rule, fixed')[1].split('\n\n', 1)[1].strip()

LADDER = dict(words='</s> a b c d e f', longest=4, beta=0.25, scale=0.5, fitting=quick(300, 20), seeds=quick(10, 2),
              max_steps=quick(150, 5), samples_per_step=256, z_samples=quick(2048, 256), rates=(1e-3, 3e-3, 1e-2))
CAPACITY = {'iid': 0, 'bigram': 0, 'one': 1, 'two': 2}       # policy -> layers
COLLAPSE = dict(seeds=quick(10, 2), max_steps=quick(1000, 20), samples_per_step=256, z_samples=quick(2048, 256), rate=3e-3,
                every=10, window=quick(200, 10), divergences=('reverse_kl', 'forward_kl'))
STEP = dict(samples_per_step=128, max_steps=quick(60, 3), z_samples=quick(1024, 128), lr_scheduler_type='cosine', warmup_steps=5)
SENTIMENT = dict(STEP, max_new_tokens=48, beta=0.2, seeds=quick(12, 1), rates=(1e-4, 2e-4, 4e-4), eval=quick(2048, 128))
SIZES = {'0.1M': (56, 2), '0.3M': (80, 3), '1M': (128, 4), '3M': (224, 5)}       # name -> (width, layers)
SIZE = dict(STEP, max_new_tokens=28, beta=0.25, seeds=quick(5, 1), most=quick(10, 1), rates=(2e-4, 5e-4, 1.2e-3), eval=quick(2048, 128),
            documents=quick(20000, 500), fitting=quick(600, 5), prompt='Review:')
RARE = dict(STEP, max_new_tokens=48, word='amazing', beta=0.1, samples_per_step=quick(256, 64), max_steps=quick(80, 2),
            z_samples=quick(8192, 1024), seeds=quick(10, 1), rates=(1.5e-4, 3e-4, 6e-4), eval=quick(4096, 256),
            bank=quick(200, 4), bank_batch=quick(8192, 2048))
# no sample of a first run met `word`; about one text in sixty has `second`
SMOL = dict(beta=0.2, soft=0.1, word='water', second='example', seeds=quick(2, 1), max_steps=quick(60, 1), samples_per_step=quick(32, 8),
            z_samples=quick(512, 16), max_new_tokens=20, learning_rate=3e-4, warmup_steps=5, eval=quick(512, 8), save_steps=5)
LORA = dict(r=16, lora_alpha=32, lora_dropout=0., layers_to_transform=list(range(15, 30)),
            target_modules='q_proj k_proj v_proj o_proj gate_proj up_proj down_proj'.split())

OLD = 'three seeds of an earlier run, nbs/results/fdpg.json at commit ef04b0c'
CONTRASTS = {
    'exact: what forward KL trains is farther by forward KL than what JS trains, mean of four policies':
        Contrast('JS often beats forward KL by a wide margin; a loss need not win its own objective', 'ladder', 'forward_kl',
                 [f'{k}+forward_kl' for k in CAPACITY], [f'{k}+js' for k in CAPACITY], 1, LADDER['seeds']),
    'exact, trained without sampling: the same, which only the divergence itself could explain':
        Contrast('the same; with exact gradients forward KL must win its own objective', 'ladder', 'exact forward_kl',
                 [f'{k}+forward_kl' for k in CAPACITY], [f'{k}+js' for k in CAPACITY], -1, LADDER['seeds']),
    'reverse KL loses entropy: its mean over the first 200 steps of 1,000 is below that of forward KL':
        Contrast('in a well-specified case the entropy under reverse KL collapses early', 'collapse', 'early_entropy',
                 ['reverse_kl'], ['forward_kl'], -1, COLLAPSE['seeds']),
    'and recovers: from the first to the last 200 steps it rises more than that of forward KL':
        Contrast('... and recovers later', 'collapse', 'rise', ['reverse_kl'], ['forward_kl'], 1, COLLAPSE['seeds']),
    'sentiment: JS ends nearer than forward KL, by JS':
        Contrast('JS often beats forward KL by a wide margin', 'sentiment', 'js', ['forward_kl'], ['js'], 1, SENTIMENT['seeds'],
                 0.0160, 0.0126, OLD),
    'sentiment: JS ends nearer than reverse KL, by JS':
        Contrast('JS balances the others', 'sentiment', 'js', ['reverse_kl'], ['js'], 1, SENTIMENT['seeds'], 0.0143, 0.0077, OLD),
    'sentiment: reverse KL reaches more reward than forward KL':
        Contrast('reverse KL aligns hardest', 'sentiment', 'reward', ['reverse_kl'], ['forward_kl'], 1, SENTIMENT['seeds'],
                 0.0371, 0.0099, OLD),
    'sentiment: and has less entropy':
        Contrast('... and loses diversity', 'sentiment', 'entropy', ['reverse_kl'], ['forward_kl'], -1, SENTIMENT['seeds'],
                 -0.0669, 0.0129, OLD),
    'size: at the largest, JS ends nearer than forward KL, by JS':
        Contrast('the differences persist as the model grows', 'size', 'js', ['3M+forward_kl'], ['3M+js'], 1, SIZE['most'],
                 0.0160, 0.0126, OLD + ', another task'),
    'rare word: JS ends nearer than forward KL, by JS':
        Contrast('JS often beats forward KL by a wide margin, on a constraint', 'rare', 'js', ['forward_kl'], ['js'], 1, RARE['seeds'],
                 0.0705, 0.0085, OLD + ', their errors not known'),
}


def fixed(f: dict) -> dict:
    return {k: v for k, v in f.items() if k in FDPGConfig.__dataclass_fields__}


def trainer_of(model, target, tokenizer, divergence: str, seed: int, folder: str, prompts=None, ref=None, peft_config=None,
               **settings) -> FDPGTrainer:
    a = FDPGConfig(folder, divergence=divergence, seed=seed, use_cpu=True, disable_tqdm=True, report_to=[], logging_steps=1,
                   **settings)
    t = FDPGTrainer(model, target, a, prompts, processing_class=tokenizer, ref_model=ref, peft_config=peft_config)
    t.remove_callback(PrinterCallback)
    return t


def best_rate(done: dict, part: str, arm: str, rates) -> float:
    "The rate that ended nearest on the tuning seed."
    return min(rates, key=lambda r: done[part, arm, 'tune', f'{r:g}']['validation']['own'])


def rate_and_seed(cell: tuple, done: dict, settings: dict) -> tuple[float, int]:
    part, arm, kind, what = cell
    if kind == 'tune': return float(what), TUNING_SEED
    return best_rate(done, part, arm, settings['rates']), int(what)


# --- all sequences listed: ladder, collapse

SPACE = ToySeq(7, LADDER['longest'])
WORDS = LADDER['words'].split()
TEXTS = [' '.join(WORDS[i] for i in row if i > 0) for row in SPACE.sequences.tolist()]
NUMBER = {t: i for i, t in enumerate(TEXTS)}
_FULL = torch.cat([torch.zeros(SPACE.n, 1, dtype=torch.long), SPACE.sequences.clamp(min=0)], 1)       # the start is </s> too


def llama(layers: int, seed: int):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        c = transformers.LlamaConfig(vocab_size=7, hidden_size=16, intermediate_size=32, num_hidden_layers=layers, num_attention_heads=2,
                                     num_key_value_heads=2, max_position_embeddings=16, tie_word_embeddings=False, pad_token_id=0,
                                     bos_token_id=0, eos_token_id=0, initializer_range=LADDER['scale'])
        return transformers.LlamaForCausalLM(c).eval()


def listing(model) -> torch.Tensor:
    "log π of every sequence, [N], float64, differentiable."
    lp = model(input_ids=_FULL).logits[:, :-1].double().log_softmax(-1)
    return lp.gather(-1, _FULL[:, 1:, None])[..., 0].masked_fill(~SPACE.mask, 0.).sum(-1)


def descend(model, loss, steps: int, rate: float):
    "Adam on a loss of `listing`, which is exact; the model."
    opt = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    for _ in range(steps):
        opt.zero_grad()
        loss(listing(model)).backward()
        opt.step()
    return model.eval()


@functools.lru_cache(4)
def policy_of(kind: str, seed: int) -> tuple:
    "(π0, a policy of this kind fitted to it)."
    pi0 = llama(2, seed)
    if kind == 'two': return pi0, copy.deepcopy(pi0)
    m = llama(CAPACITY[kind], seed + 1000)
    if kind == 'iid':
        m.model.embed_tokens.weight.data.fill_(1.)
        m.model.embed_tokens.weight.requires_grad_(False)
    with torch.no_grad(): goal = listing(pi0)
    return pi0, descend(m, lambda lp: -(goal.exp()*lp).sum(), LADDER['fitting'], 1e-2)


def same_ends(text: str) -> float:
    w = text.split()
    return float(len(w) > 1 and w[0] == w[-1])


def table_reward(values: list[float]):
    "A reward of listed texts; 0 for those with other letters, with which the trainer tries a reward; KeyError for any other text."
    known = set(' '.join(WORDS[1:]))
    def reward(prompts, completions): return [0. if set(c) - known else values[NUMBER[c]] for c in completions]
    return reward


def exact_numbers(lp: torch.Tensor, log_p: torch.Tensor, log_0: torch.Tensor, prefix: str = '') -> dict:
    "Every divergence of a policy to the target, its entropy and KL from π0, from all its probabilities."
    out = {f: exact_divergence(f, lp, log_p).item() for f in SIX}
    out |= dict(entropy=-(lp.exp()*lp).sum().item(), kl=exact_divergence('reverse_kl', lp, log_0).item())
    return {prefix + k: v for k, v in rounded(out).items()}


def sampled_run(policy, pi0, log_w: torch.Tensor, f: str, seed: int, rate: float, settings: dict, callback=None):
    "The policy after training by samples."
    with tempfile.TemporaryDirectory() as d:
        t = trainer_of(copy.deepcopy(policy), RewardTarget(table_reward(log_w.tolist()), 1.), word_tokenizer(
            WORDS, eos_token='</s>', pad_token='</s>', bos_token='</s>', padding_side='left'), f, seed, d, ref=copy.deepcopy(pi0),
            learning_rate=rate, max_new_tokens=LADDER['longest'], **fixed({k: v for k, v in settings.items() if k != 'seeds'}))
        if callback: t.add_callback(callback)
        t.train()
    return t.model.eval()


def run_ladder(cell: tuple, a, done: dict) -> dict:
    kind, f = cell[1].split('+')
    rate, seed = rate_and_seed(cell, done, LADDER)
    pi0, policy = policy_of(kind, seed)
    with torch.no_grad(): log_0, start = listing(pi0), listing(policy)
    log_w = torch.tensor([same_ends(x) for x in TEXTS], dtype=torch.float64)/LADDER['beta']
    log_p = (log_0 + log_w).log_softmax(0)
    after = sampled_run(policy, pi0, log_w, f, seed, rate, {k: v for k, v in LADDER.items() if k != 'beta'})
    with torch.no_grad(): out = exact_numbers(listing(after), log_p, log_0)
    if cell[2] == 'tune': return dict(seed=seed, rate=rate, exact=True, validation=dict(own=out[f], **out))
    exact = descend(copy.deepcopy(policy), lambda lp: exact_divergence(f, lp, log_p), LADDER['max_steps'], rate)
    with torch.no_grad(): out |= exact_numbers(listing(exact), log_p, log_0, 'exact ')
    return dict(seed=seed, rate=rate, exact=True, before=exact_numbers(start, log_p, log_0), after=out)


class Follow(TrainerCallback):
    "Exact entropy and divergences of the policy every few steps."
    def __init__(self, log_p, log_0): self.log_p, self.log_0, self.rows = log_p, log_0, []
    def on_step_end(self, args, state, control, model=None, **kw):
        if state.global_step % COLLAPSE['every']: return
        was = model.training
        with torch.no_grad(): x = exact_numbers(listing(model.eval()), self.log_p, self.log_0)
        model.train(was)
        self.rows.append(dict(step=state.global_step) | {k: x[k] for k in ('entropy', 'forward_kl', 'reverse_kl', 'js')})


def run_collapse(cell: tuple, a, done: dict) -> dict:
    f, seed = cell[1], int(cell[3])
    pi0, goal = llama(2, seed), llama(2, seed + 500)
    with torch.no_grad(): log_0, log_p = listing(pi0), listing(goal)
    follow = Follow(log_p, log_0)
    after = sampled_run(pi0, pi0, log_p - log_0, f, seed, COLLAPSE['rate'], COLLAPSE, follow)
    with torch.no_grad(): out = exact_numbers(listing(after), log_p, log_0)
    goal_entropy = -(log_p.exp()*log_p).sum().item()
    mean = lambda rows: sum(r['entropy'] for r in rows)/len(rows)
    n, last = COLLAPSE['window'], COLLAPSE['max_steps']
    early, late = mean([r for r in follow.rows if r['step'] <= n]), mean([r for r in follow.rows if r['step'] > last - n])
    out |= dict(target_entropy=goal_entropy, early_entropy=early, late_entropy=late, rise=late - early)
    curve = {k: [r[k] for r in follow.rows] for k in follow.rows[0]}
    return dict(seed=seed, rate=COLLAPSE['rate'], exact=True, before=exact_numbers(log_0, log_p, log_0), after=rounded(out), curve=curve)


# --- samples: sentiment, size, smol

KEPT = ('reward', *FOUR, 'kl', 'entropy', 'distinct_2', 'self_bleu', 'forward_kl_ess', 'length')
CURVE = 'step', 'reward', 'js', 'js_stderr', 'kl', 'entropy', 'pseudo_reward_std'


def judged(t: FDPGTrainer, prompts, n: int, seed: int) -> dict:
    "(numbers before, after) from n samples of policy and reference each."
    policy = t.accelerator.unwrap_model(t.model)
    draw = lambda source, k: draw_alignment(policy, t.reference, t.processing_class, t.target, prompts, n, t.args.max_new_tokens, 64,
                                            10_000 + 10*seed + k, rollout, source)
    base, last = draw('reference', 1), draw('policy', 2)
    keep = lambda m: rounded({k: v for k, v in m.items() if k.removesuffix('_stderr') in KEPT and math.isfinite(v)})
    before, after = map(keep, before_and_after(last, base))
    return dict(before=before, after=after, samples=last.texts[:3])


def curve_of(t: FDPGTrainer) -> dict:
    h = [x for x in t.state.log_history if 'pseudo_reward_std' in x]
    h = h[::max(1, len(h)//20)]
    return {k: [float(f'{x.get(k, math.nan):.4g}') for x in h] for k in CURVE}


def run_sampled(cell: tuple, done: dict, model, tokenizer, target, f: str, settings: dict, prompts=None) -> dict:
    "Train and evaluate a cell of sentiment or size."
    rate, seed = rate_and_seed(cell, done, settings)
    with tempfile.TemporaryDirectory() as d:
        t = trainer_of(model, target, tokenizer, f, seed, d, prompts, learning_rate=rate, **fixed(settings))
        t.train()
    out = judged(t, prompts, settings['eval'], seed)
    if cell[2] == 'tune': return dict(seed=seed, rate=rate, validation=dict(own=out['after'][f], **out['after']))
    return dict(seed=seed, rate=rate, **out, curve=curve_of(t))


@functools.lru_cache(1)
def loaded(folder: Path) -> tuple:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)


def run_sentiment(cell: tuple, a, done: dict) -> dict:
    stories, lexicon = needed(a, 'stories', 'lexicon')
    model, tok = loaded(stories)
    target = RewardTarget(lexicon_reward(str(lexicon)), SENTIMENT['beta'])
    return run_sampled(cell, done, copy.deepcopy(model), tok, target, cell[1], SENTIMENT)


def judgement(prompts, completions) -> list[float]:
    "Judgements of a review, positive minus negative, a third of it, in [-1, 1]."
    return [max(-1., min(1., sentiment_score(p + c)/3)) for p, c in zip(prompts, completions)]


def base_model(size: str, work: Path) -> Path:
    "The folder of a Llama of this size, trained on the bundled language once."
    folder = work/f'base-{size}'
    if (folder/'ready').is_file(): return folder
    docs = corpus(SIZE['documents'])
    tok = train_tokenizer(docs)
    model = new_model(len(tok), 0, *SIZES[size])
    losses = fit(model, encode(tok, docs), SIZE['fitting'], progress=False)
    model.save_pretrained(folder)
    tok.save_pretrained(folder)
    (folder/'ready').write_text(json.dumps(dict(parameters=model.num_parameters(), loss=sum(losses[-20:])/20)))
    return folder


def run_size(cell: tuple, a, done: dict) -> dict:
    size, f = cell[1].split('+')
    folder = base_model(size, a.work)
    model, tok = loaded(folder)
    out = run_sampled(cell, done, copy.deepcopy(model), tok, RewardTarget(judgement, SIZE['beta']), f, SIZE, [SIZE['prompt']])
    return out | json.loads((folder/'ready').read_text())


# --- a rare word

def hits_of(model, tok, n: int, seed: int):
    "Token ids of completions that have the word, of n drawn."
    r = rollout(model, tok, [''], n=n, max_new_tokens=RARE['max_new_tokens'], batch_size=2048, generator=torch.Generator().manual_seed(seed))
    yes = contains_reward(RARE['word'])(r.prompts, r.texts)
    return [(r.prompt_ids[i], r.completion_ids[i]) for i, y in enumerate(yes) if y]


def run_bank(a) -> dict:
    "Exact samples of the target by rejection, `bank` for each seed and for tuning, and log Z with its error; goes on where it was."
    model, tok = loaded(*needed(a, 'stories'))
    file, want = a.work/'bank.pt', RARE['bank']*(RARE['seeds'] + 1)
    bank = torch.load(file) if file.is_file() else dict(hits=[], drawn=0)
    while len(bank['hits']) < want:
        bank['hits'] += hits_of(model, tok, RARE['bank_batch'], 10**6 + bank['drawn'])
        bank['drawn'] += RARE['bank_batch']
        torch.save(bank, file.with_suffix('.new'))
        file.with_suffix('.new').rename(file)
    k, n = len(bank['hits']), bank['drawn']
    return dict(seed=0, after=dict(log_z=math.log(k/n), log_z_stderr=math.sqrt((1 - k/n)/k), hits=k, drawn=n))


def scores_of(model, rows: list, tok) -> torch.Tensor:
    "log-probabilities [n] of (prompt, completion) ids."
    with torch.no_grad():
        parts = [logprobs_of(model, build_batch(*zip(*rows[i:i + 256]), tok.pad_token_id or 0)) for i in range(0, len(rows), 256)]
    return torch.cat(parts).double()


def rare_numbers(policy, ref, tok, seed: int, bank: list, z: dict) -> dict:
    "Divergences to the hard target, from as many exact samples of it as the bank has for a seed, and samples of the policy."
    n = RARE['eval']
    r = rollout(policy, tok, [''], n=n, max_new_tokens=RARE['max_new_tokens'], batch_size=2048,
                generator=torch.Generator().manual_seed(10_000 + seed))
    has = torch.tensor(contains_reward(RARE['word'])(r.prompts, r.texts)).double()
    rows = list(zip(r.prompt_ids, r.completion_ids)) + bank
    log_pi, log_0 = scores_of(policy, rows, tok), scores_of(ref, rows, tok)
    log_b = torch.cat([has, torch.ones(len(bank)).double()]).log()
    share = len(bank)/len(rows)
    log_p = log_0 + log_b - z['log_z']
    log_m = torch.logaddexp(log_pi + math.log(1 - share), log_p + math.log(share))
    out = dict(reward=has.mean().item(), reward_stderr=(has.std()/n**.5).item(), entropy=(-r.log_q.sum()/r.lengths.sum()).item())
    for f in ('forward_kl', 'js', 'tv'):
        e = estimate_divergence(f, log_pi, log_0 + log_b, log_m, z['log_z'], z_stderr=z['log_z_stderr'],
                                stratum=[int(i >= n) for i in range(len(rows))])
        out |= {f: e.value, f'{f}_stderr': e.stderr}
    return rounded(out)


def run_rare(cell: tuple, a, done: dict) -> dict:
    if cell[1] == 'bank': return run_bank(a)
    model, tok = loaded(*needed(a, 'stories'))
    rate, seed = rate_and_seed(cell, done, RARE)
    test, f = contains_reward(RARE['word']), cell[1]
    target = RewardTarget(test, RARE['beta']) if f == 'reverse_kl' else BinaryTarget(test)
    with tempfile.TemporaryDirectory() as d:
        settings = {k: v for k, v in fixed(RARE).items() if k != 'beta'}
        t = trainer_of(copy.deepcopy(model), target, tok, f, seed, d, learning_rate=rate, **settings)
        t.train()
    k, policy = RARE['bank'], t.model.eval()
    part = RARE['seeds'] if cell[2] == 'tune' else seed
    out = rare_numbers(policy, model, tok, seed, torch.load(a.work/'bank.pt')['hits'][part*k:][:k],
                       done['rare', 'bank', 'once', '0']['after'])
    if cell[2] == 'tune': return dict(seed=seed, rate=rate, validation=dict(own=out['js'], **out))
    return dict(seed=seed, rate=rate, after=out, curve=curve_of(t))


# --- SmolLM2-135M

def run_smol(cell: tuple, a, done: dict) -> dict:
    "Goes on from the last checkpoint, if there is one."
    task, f = cell[1].split('+')
    seed, run = int(cell[3]), running(cell, a.work)
    source, lexicon = needed(a, 'smol', 'lexicon')
    tok = AutoTokenizer.from_pretrained(source)
    tok.bos_token = '<|endoftext|>'                   # what stands between texts in pretraining
    test = contains_reward(SMOL['second' if task == 'second' else 'word'])
    target = RewardTarget(lexicon_reward(str(lexicon)), SMOL['beta']) if task == 'sentiment' else \
        RewardTarget(test, SMOL['soft']) if f == 'reverse_kl' else BinaryTarget(test)
    settings = {k: v for k, v in fixed(SMOL).items() if k not in ('beta', 'save_steps')}
    t = trainer_of(str(source), target, tok, f, seed, str(run), peft_config=peft.LoraConfig(task_type='CAUSAL_LM', **LORA),
                   save_strategy='steps', save_steps=SMOL['save_steps'], save_total_limit=2, **settings)
    t.train(resume_from_checkpoint=get_last_checkpoint(run) if run.is_dir() else None)
    return dict(seed=seed, rate=SMOL['learning_rate'], **judged(t, None, SMOL['eval'], seed), curve=curve_of(t))


RUN = dict(ladder=run_ladder, collapse=run_collapse, sentiment=run_sentiment, size=run_size, rare=run_rare, smol=run_smol)


def cells() -> list[tuple]:
    "Every (part, arm, kind, what) in the order in which they are run."
    def part(name, arms, settings, more=()):               # more: arms with `most` seeds
        last = lambda arm: settings['most' if arm in more else 'seeds']
        tune = [(name, arm, 'tune', f'{r:g}') for arm in arms for r in settings.get('rates', ())[:1 if QUICK else RATES]]
        return tune + [(name, arm, 'seed', str(s)) for s in range(99) for arm in arms if s < last(arm)]
    sizes = [f'{k}+{f}' for k in SIZES for f in FOUR]
    return (part('ladder', [f'{k}+{f}' for k in CAPACITY for f in SIX], LADDER) + part('collapse', COLLAPSE['divergences'], COLLAPSE)
            + part('sentiment', FOUR, SENTIMENT) + [('rare', 'bank', 'once', '0')] + part('rare', FOUR, RARE)
            + part('size', sizes, SIZE, ('3M+forward_kl', '3M+js'))
            + part('smol', [f'sentiment+{f}' for f in FOUR], SMOL) + part('smol', [f'word+{f}' for f in FOUR], dict(SMOL, seeds=1))
            + part('smol', [f'second+{f}' for f in FOUR], SMOL))


if QUICK:
    for s in (LADDER, SENTIMENT, SIZE, RARE): s['rates'] = s['rates'][:1]
HEAD = dict(rule=RULE, quick=QUICK, ladder=LADDER, collapse=COLLAPSE, sentiment=SENTIMENT, size=dict(SIZE, sizes=SIZES), rare=RARE,
            smol=dict(SMOL, lora=LORA))
SECONDS = dict(ladder=22, collapse=95, sentiment=86, rare=190, size=100, smol=6500)      # before the first run
EXPERIMENT = Experiment(__doc__, HEAD, cells(), lambda cell, a, done: RUN[cell[0]](cell, a, done), CONTRASTS,
                        (torch, transformers, peft, fdiv_nb), ('stories', 'lexicon', 'smol'),
                        'OMP_NUM_THREADS=1 nice -n 5 python bench/exp_fdpg.py --stories DIR --lexicon FILE --smol DIR --work DIR '
                        '--results FILE', SECONDS)


def main() -> None:
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    EXPERIMENT.main()


if __name__ == '__main__': main()
