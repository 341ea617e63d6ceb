"""The claims of *Implicit Reward as the Bridge* (Wang et al., 2025) with seeds enough to decide them at the scale of two processor cores.

    OMP_NUM_THREADS=1 nice -n 5 python bench/exp_bridge.py --stories DIR --text FILE --smol DIR --work DIR --results FILE

`--stories`: a folder of stories260K, `--text`: TinyStories' first 2 MiB; `--smol`: one of SmolLM2-135M-Instruct; a part asks only for
what it reads. `--part tiny,logits` runs some parts, several processes may share `--work`. The process may be stopped at any time; the
same command goes on. `--list`, `--plan` (costs, power), `--only CELL`, `--rerun CELL` (stored and new, with the interval), `--report`.
`--quick` tries every kind of cell in a tiny setting, for which other folders have to be given.

The rule, fixed before the first run (`RULE`, `CONTRASTS`; both are written into the results):

1. Every cell is SFT, then preference learning from it by f-DPO with reverse KL, settings as in `860_exp_bridge`; a win is a held-out
   prompt on which a known reward prefers the completion to that of the initial policy, ties counting half. Parts: tiny (instructions
   of the bundled language), stories (continuations, stories260K), values (V zero, from the logits, or a head learned jointly with the
   policy, at three rates of the head; Hellinger), logits (V from the logits against the return of rollouts), smol (LoRA).
2. The reference rate of SFT is the one of `RATES` with the smallest held-out NLL after plain SFT, the mean over seeds of their own
   that are not reported; *low* is a fifth of it, *high* four times it. The rate of preference learning is the one of two with the
   greater reward after plain SFT at the reference rate, on those seeds. The held-out prompts are the same for all seeds.
3. One primary contrast a claim, paired over seeds, Student's t, two-sided, Holm over all statements of this file, unfinished ones
   among them. A statement is decided when all its seeds are there. Everything else in the results is description.
4. A seed draws demonstrations, pairs, their order, and completions.
"""
from __future__ import annotations
import copy, functools, json, math, random, statistics, sys, tempfile
from pathlib import Path
import peft, torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
import fdiv_nb
from fdiv_nb.evaluation.bridge import held_nll, judge, mean_and_error
from fdiv_nb.evaluation.bridge_tasks import BridgeTask, continuation_task, instruction_task
from fdiv_nb.losses.fsft import dual_weight, implicit_reward, state_values, token_kl
from fdiv_nb.losses.instructions import instruction_reward, instruction_rows
from fdiv_nb.models.encode import pad_token_id, scored_ids
from fdiv_nb.models.files import replace_text
from fdiv_nb.models.logprobs import build_batch, token_logprobs
from fdiv_nb.models.rollout import rollout
from fdiv_nb.models.tiny import load_tiny
from fdiv_nb.training.batches import encode_rows
from fdiv_nb.training.dpo import FDPOConfig, FDPOTrainer
from fdiv_nb.training.sft import FSFTConfig, FSFTTrainer
from cells import Contrast, Experiment, needed, rounded

QUICK = '--quick' in sys.argv
quick = lambda usual, small: small if QUICK else usual
RULE = __doc__.split('The rule, fixed')[1].split('\n\n', 1)[1].strip()
TUNING = list(range(1000, quick(1005, 1001)))
RATES = quick((1e-4, 2e-4, 5e-4, 1e-3, 2e-3), (5e-4,))
TINY = dict(demos=quick(192, 16), pairs=quick(128, 16), held=quick(200, 16), epochs=quick(3., 1.), dpo_epochs=quick(2., 1.), beta=0.5,
            dpo_beta=0.1, dpo_rates=(1e-4, 3e-4), losses=('reverse_kl', 'hellinger', 'pearson'), seeds=quick(44, 1))
STORIES = dict(TINY, demos=quick(256, 16), held=quick(120, 16), epochs=quick(2., 1.), dpo_rates=(5e-5, 2e-4), losses=('reverse_kl', 'hellinger'),
               seeds=quick(28, 1))
VALUES = dict(divergence='hellinger', heads=(1e-3, 1e-2, 1e-1), seeds=quick(44, 1))
LOGITS = dict(states=quick(200, 12), rollouts=quick(16, 4), seeds=quick(12, 1))
SMOL = dict(rows=quick(96, 6), draws=8, held=quick(48, 6), evaluated=4, tokens=20, most=quick(128, 8), pairs=quick(64, 8), epochs=quick(2., 1.),
            dpo_epochs=quick(2., 1.), dpo_rate=2e-4, dpo_beta=0.1, rates=quick((1e-4, 5e-4, 2e-3), (5e-4,)), seeds=quick(10, 1))
LORA = dict(r=16, lora_alpha=32, lora_dropout=0., target_modules='q_proj k_proj v_proj o_proj gate_proj up_proj down_proj'.split())

PAPER = "the paper's 6 points; sd of three seeds of an earlier run, nbs/results/bridge.json at commit ef04b0c, stronger preference learning"
OLD = 'three seeds of an earlier run, nbs/results/bridge.json at commit ef04b0c, stronger preference learning'
fs = lambda s: list(s['losses'])
CONTRASTS = {
    'instructions: a fifth of the best SFT rate wins more after preference learning':
        Contrast('a smaller SFT rate helps after DPO', 'tiny', 'win', ['low'], ['ref'], 1, TINY['seeds'], 0.06, 0.141, PAPER),
    'instructions: f-SFT (three f) wins more than plain SFT at its best rate':
        Contrast('SFT objectives of other divergences help after DPO', 'tiny', 'win', fs(TINY), ['ref'], 1, TINY['seeds'], 0.06, 0.022, PAPER),
    'stories: a fifth of the best SFT rate wins more after preference learning':
        Contrast('a smaller SFT rate helps after DPO', 'stories', 'win', ['low'], ['ref'], 1, STORIES['seeds'], 0.06, 0.113, PAPER),
    'stories: f-SFT (two f) wins more than plain SFT at its best rate':
        Contrast('SFT objectives of other divergences help after DPO', 'stories', 'win', fs(STORIES), ['ref'], 1, STORIES['seeds'],
                 0.06, 0.023, PAPER.replace('stronger', 'gentler')),
    'V from the logits wins more than V = 0':
        Contrast('logits act as values in SFT', 'values', 'win', ['lse'], ['zero'], 1, VALUES['seeds'], 0.06, 0.141, PAPER + ', of two rates'),
    'policy and V learned jointly win less than V = 0 (a head at 0.01)':
        Contrast("the joint optimisation fails (the paper's public reviews)", 'values', 'win', ['head 0.01'], ['zero'], -1, VALUES['seeds'],
                 -0.06, 0.141, PAPER + ', of two rates'),
    'because V takes up the reward: weights of tokens are nearer to 1 than with V = 0 (a head at 0.1)':
        Contrast('a V free at every prefix brings every f back to SFT (our derivation)', 'values', 'weight_distance', ['head 0.1'], ['zero'],
                 -1, VALUES['seeds']),
    'after DPO, V from the logits (less the initial ones) orders states by their return':
        Contrast('logits act as Q-values', 'logits', 'dpo v_rel', ['tiny'], [], 1, LOGITS['seeds']),
    'and better than the log-probability of the prefix does':
        Contrast('logits act as Q-values', 'logits', 'dpo gain', ['tiny'], [], 1, LOGITS['seeds']),
    'SmolLM2: a fifth of the best SFT rate wins more after preference learning':
        Contrast('a smaller SFT rate helps after DPO', 'smol', 'win', ['low'], ['ref'], 1, SMOL['seeds']),
}


# --- stages

def train(trainer, config, model, tok, rows: list[dict], seed: int, more: dict | None = None, **kw):
    "A finished trainer of one stage; the model is trained in place."
    with tempfile.TemporaryDirectory() as d:
        a = config(output_dir=d, per_device_train_batch_size=16, per_device_eval_batch_size=32, seed=seed, report_to=[], disable_tqdm=True,
                   use_cpu=True, lr_scheduler_type='linear', warmup_steps=.1, logging_steps=quick(4, 1), ref_cache='memory', **kw)
        t = trainer(model, a, rows, processing_class=tok, **(more or {}))
        t.remove_callback(PrinterCallback)
        t.train()
    return t


def sft(model, tok, rows: list[dict], loss: str, rate: float, seed: int, s: dict, **kw):
    how = dict(loss='nll') if loss == 'nll' else dict(loss='f-sft', divergence=loss, beta=s['beta'])
    return train(FSFTTrainer, FSFTConfig, model, tok, rows, seed, learning_rate=rate, num_train_epochs=s['epochs'], **how, **kw)


def dpo(model, tok, rows: list[dict], rate: float, seed: int, s: dict):
    return train(FDPOTrainer, FDPOConfig, model, tok, rows, seed, learning_rate=rate, num_train_epochs=s['dpo_epochs'], beta=s['dpo_beta'],
                 divergence='reverse_kl', drift_samples=0)


@functools.lru_cache(1)
def story_model(folder: Path) -> tuple:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)


@functools.lru_cache(2)
def world(part: str, seed: int, stories: Path | None, text: Path | None) -> tuple:
    "(initial policy, tokenizer, task, its rewards on the held-out prompts, its numbers)."
    s = STORIES if part == 'stories' else TINY
    n = {k: s[k] for k in ('demos', 'pairs', 'held')}
    if part == 'stories':
        start, tok = story_model(stories)
        task = continuation_task(start, tok, str(text), seed=seed, **n)
    else:
        start, tok = load_tiny()
        task = instruction_task(seed=seed, **n)
    before, base, _ = judge(start, tok, task, seed)
    return start, tok, task, base, before


def world_of(cell: tuple, a, seed: int) -> tuple:
    return world(cell[0], seed, *(needed(a, 'stories', 'text') if cell[0] == 'stories' else (None, None)))


# --- tiny, stories

def reference_rate(done: dict, part: str) -> float:
    "The SFT rate of the smallest held-out NLL on the tuning seeds."
    return min(RATES, key=lambda r: done[part, 'nll', 'tune', f'{r:g}']['validation']['nll'])


def preference_rate(done: dict, part: str) -> float:
    "The rate of preference learning with the greater reward on the tuning seeds."
    s = STORIES if part == 'stories' else TINY
    return max(s['dpo_rates'], key=lambda r: done[part, 'dpo', 'tune', f'{r:g}']['validation']['reward'])


def tune(cell: tuple, a, done: dict) -> dict:
    "Mean held-out NLL of a rate of SFT, or reward after a rate of preference learning, over the tuning seeds."
    part, what, _, rate = cell
    s, got = (STORIES if part == 'stories' else TINY), []
    for seed in TUNING:
        start, tok, task, base, _ = world_of(cell, a, seed)
        model = copy.deepcopy(start)
        sft(model, tok, task.demos, 'nll', float(rate) if what == 'nll' else reference_rate(done, part), seed, s)
        if what == 'dpo': dpo(model, tok, task.pairs, float(rate), seed, s)
        got.append(judge(model.eval(), tok, task, seed, base, start)[0])
    out = {}
    for k in ('nll', 'reward', 'win'): out[k], out[f'{k}_stderr'] = mean_and_error([g[k] for g in got])
    return dict(seed=TUNING[0], seeds=TUNING, validation=rounded(out))


def loss_and_rate(arm: str, ref: float) -> tuple[str, float]:
    plain = dict(low=ref/5, ref=ref, high=4*ref)
    return ('nll', plain[arm]) if arm in plain else (arm, ref)


def run_grid(cell: tuple, a, done: dict) -> dict:
    if cell[2] == 'tune': return tune(cell, a, done)
    part, arm, seed = cell[0], cell[1], int(cell[3])
    s = STORIES if part == 'stories' else TINY
    start, tok, task, base, before = world_of(cell, a, seed)
    loss, rate = loss_and_rate(arm, reference_rate(done, part))
    model = copy.deepcopy(start)
    sft(model, tok, task.demos, loss, rate, seed, s)
    return dict(seed=seed, loss=loss, rate=rate, before=before, **both_stages(model, start, tok, task, base, seed, s, preference_rate(done, part)))


def both_stages(model, start, tok, task: BridgeTask, base: list, seed: int, s: dict, primary: float, rates=None) -> dict:
    "Evaluations after SFT, and after preference learning at each rate; `after` is that of the primary rate."
    out = dict(sft=rounded(judge(model.eval(), tok, task, seed, base, start)[0]), dpo={})
    for r in rates or s['dpo_rates']:
        m = copy.deepcopy(model)
        dpo(m, tok, task.pairs, r, seed, s)
        out['dpo'][f'{r:g}'] = rounded(judge(m.eval(), tok, task, seed, base, start)[0])
    return out | dict(dpo_rate=primary, after=dict(out['dpo'][f'{primary:g}']))


# --- values: V zero, of the logits, or learned jointly

@torch.no_grad()
def token_numbers(t, start, plain, tok, rows: list[dict], v: str) -> dict:
    "On the demonstrations: how far token weights are from SFT's 1, V at the first token, and KL of the policy to that of plain SFT."
    enc, _ = encode_rows(tok, rows)
    b = build_batch([r['prompt_ids'] for r in enc], [scored_ids(r, 'completion') for r in enc], pad_token_id(tok))
    y, parts = b['labels'][:, 1:], {k: b[k] for k in ('input_ids', 'attention_mask')}
    h = t.model.eval().model(**parts).last_hidden_state[:, :-1]
    z, z0, z1 = t.model.lm_head(h), start(**parts).logits[:, :-1], plain.eval()(**parts).logits[:, :-1]
    mask, beta = y != -100, TINY['beta']
    value = None if v == 'zero' else state_values(z, beta, z0) if v == 'lse' else t.value_head(h)[..., 0]
    r = implicit_reward(token_logprobs(z, y, False), token_logprobs(z0, y, False), beta, value, mask)
    w = dual_weight(VALUES['divergence'], r)[mask]
    first = mask & (mask.cumsum(1) == 1)
    return dict(weight=w.mean().item(), weight_distance=(w - 1).abs().mean().item(), reward_spread=r[mask].std().item(),
                value_first=0. if value is None else value[first].mean().item(),
                kl_to_sft=token_kl(z, z1)[mask].mean().item(), kl_to_start=token_kl(z, z0)[mask].mean().item())


def run_values(cell: tuple, a, done: dict) -> dict:
    v, _, head = cell[1].partition(' ')
    seed, ref = int(cell[3]), reference_rate(done, 'tiny')
    start, tok, task, base, before = world_of(cell, a, seed)
    model, plain = copy.deepcopy(start), copy.deepcopy(start)
    sft(plain, tok, task.demos, 'nll', ref, seed, TINY)
    t = sft(model, tok, task.demos, VALUES['divergence'], ref, seed, TINY, v=v, **(dict(head_learning_rate=float(head)) if head else {}))
    numbers, losses = token_numbers(t, start, plain, tok, task.demos, v), [h['loss'] for h in t.state.log_history if 'loss' in h]
    rate = preference_rate(done, 'tiny')
    out = both_stages(model, start, tok, task, base, seed, TINY, rate, [rate])
    out['after'] |= rounded(numbers) | dict(last_loss=losses[-1], sft_nll=out['sft']['nll'], sft_win=out['sft']['win'])
    return dict(seed=seed, rate=ref, before=before, losses=losses, **out)


# --- logits: V from the logits against the return

@torch.no_grad()
def state_numbers(model, start, tok, rows: list[tuple[list, list]]) -> dict[str, torch.Tensor]:
    "What may predict the return of states (prompt ids, completion ids so far), [n] each."
    found: dict[str, list] = {k: [] for k in ('v', 'v_rel', 'logprob', 'logratio', 'length', 'certainty')}
    for prompt, said in rows:
        ids, y = torch.tensor([prompt + said]), torch.tensor(said)[:, None]
        z, z0 = (m(input_ids=ids).logits[0].double() for m in (model, start))
        lp, lp0 = (x[len(prompt) - 1:-1].log_softmax(-1).gather(-1, y).sum().item() for x in (z, z0))
        now = z[-1].log_softmax(-1)
        x = dict(v=z[-1].logsumexp(0).item(), v_rel=(z[-1].logsumexp(0) - z0[-1].logsumexp(0)).item(), logprob=lp,
                 logratio=lp - lp0, length=-float(len(said)), certainty=(now.exp()*now).sum().item())
        for k in found: found[k].append(x[k])
    return {k: torch.tensor(v) for k, v in found.items()}


def states_of(model, tok, task: BridgeTask, seed: int) -> list[tuple[list, list]]:
    "A random proper prefix of a completion of each held-out prompt."
    r, pick = rollout(model, tok, [h['prompt'] for h in task.held][:LOGITS['states']], max_new_tokens=task.max_new_tokens,
                      generator=torch.Generator().manual_seed(seed)), random.Random(seed)
    long = [(list(p), list(c)) for p, c in zip(r.prompt_ids, r.completion_ids) if len(c) > 1]
    return [(p, c[:pick.randrange(1, len(c))]) for p, c in long]


def returns_of(model, tok, task: BridgeTask, rows: list, seed: int) -> torch.Tensor:
    "Mean reward of completions that go on from each state, [n]."
    k = LOGITS['rollouts']
    r = rollout(model, tok, [p + c for p, c in rows], n=k, max_new_tokens=task.max_new_tokens, batch_size=512,
                generator=torch.Generator().manual_seed(seed + 1))
    own = [x for x in rows for _ in range(k)]
    say = lambda ids: tok.decode(ids, skip_special_tokens=True)
    x = task.reward([say(p) for p, _ in own], [say(c + list(more)) for (_, c), more in zip(own, r.completion_ids)])
    return torch.tensor(x).view(-1, k).mean(1)


def run_logits(cell: tuple, a, done: dict) -> dict:
    from scipy.stats import spearmanr
    seed, out = int(cell[3]), {}
    start, tok, task, *_ = world_of(cell, a, seed)
    model = copy.deepcopy(start)
    for stage in ('start', 'sft', 'dpo'):
        if stage == 'sft': sft(model, tok, task.demos, 'nll', reference_rate(done, 'tiny'), seed, TINY)
        if stage == 'dpo': dpo(model, tok, task.pairs, preference_rate(done, 'tiny'), seed, TINY)
        rows = states_of(model.eval(), tok, task, seed)
        back = returns_of(model, tok, task, rows, seed)
        out[f'{stage} return'], out[f'{stage} states'] = back.mean().item(), float(len(rows))
        for k, x in state_numbers(model, start, tok, rows).items():
            rho = float(spearmanr(x, back).statistic) if x.std() > 0 and back.std() > 0 else 0.
            out |= {f'{stage} {k}': rho, f'{stage} {k}_stderr': 1/math.sqrt(len(rows) - 1)}
        out[f'{stage} gain'] = out[f'{stage} v_rel'] - out[f'{stage} logprob']
    return dict(seed=seed, rate=reference_rate(done, 'tiny'), after=rounded(out))


# --- SmolLM2-135M with LoRA

def chat_start(a) -> tuple[Path, object]:
    "(folder of the initial policy of exp_chat, its tokenizer)."
    from exp_chat import initial_policy
    source, = needed(a, 'smol')
    folder = initial_policy(source, a.work/'start')
    return folder, AutoTokenizer.from_pretrained(folder)


def chat_rows(tok, n: int, seed: int, held: bool) -> list[dict]:
    "Rows of instructions with a rendered prompt."
    from exp_chat import SHORT
    text = lambda p: tok.apply_chat_template(SHORT + p, add_generation_prompt=True, tokenize=False)
    return [dict(r, prompt=text(r['prompt'])) for r in instruction_rows(n, seed, held)]


def own_data(start: Path, tok, seed: int, work: Path) -> dict:
    "Demonstrations: the model's own completions that do what is asked; pairs: one that does and one that does not."
    file = work/f'smol-data-{seed}.json'
    if file.is_file(): return json.loads(file.read_text())
    rows, k = chat_rows(tok, SMOL['rows'], seed, False), SMOL['draws']
    model = AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32).eval()
    r = rollout(model, tok, [x['prompt'] for x in rows], n=k, max_new_tokens=SMOL['tokens'], batch_size=96,
                generator=torch.Generator().manual_seed(seed))
    each = [x for x in rows for _ in range(k)]
    good = instruction_reward(r.prompts, r.texts, [x['kind'] for x in each], [x['argument'] for x in each])
    ended = r.finished.tolist()
    demos = [dict(prompt=x['prompt'], completion=t) for x, t, g, e in zip(each, r.texts, good, ended) if g and e and t.strip()]
    random.Random(seed).shuffle(demos)
    pairs = []
    for i, x in enumerate(rows):
        mine = list(zip(r.texts, good, ended))[i*k:(i + 1)*k]
        yes, no = [t for t, g, e in mine if g and e and t.strip()], [t for t, g, e in mine if not g and e and t.strip()]
        pairs += [dict(prompt=x['prompt'], chosen=y, rejected=n) for y, n in zip(yes[:2], no[:2])]
    out = dict(demos=demos[:SMOL['most']], unseen=demos[SMOL['most']:][:64], pairs=pairs[:SMOL['pairs']])
    replace_text(file, json.dumps(out))
    return out


def chat_numbers(model, start_rewards: list | None, tok, seed: int) -> tuple[dict, list]:
    "(reward and win with errors over prompts, rewards) on the held-out instructions; the same random numbers for every model."
    rows, k = chat_rows(tok, SMOL['held'], 1000, True), SMOL['evaluated']
    r = rollout(model, tok, [x['prompt'] for x in rows], n=k, max_new_tokens=SMOL['tokens'], batch_size=96,
                generator=torch.Generator().manual_seed(1000 + seed))
    each = [x for x in rows for _ in range(k)]
    x = instruction_reward(r.prompts, r.texts, [y['kind'] for y in each], [y['argument'] for y in each])
    win = [.5 if start_rewards is None or u == v else float(u > v) for u, v in zip(x, start_rewards or x)]
    by_prompt = lambda v: [statistics.fmean(v[i:i + k]) for i in range(0, len(v), k)]
    out = {}
    for name, v in dict(reward=x, win=win).items(): out[name], out[f'{name}_stderr'] = mean_and_error(by_prompt(v))
    return rounded(out), x


def start_numbers(model, tok, seed: int, work: Path) -> tuple[dict, list]:
    "`chat_numbers` of the start, computed once for the arms of a seed."
    file = work/f'smol-start-{seed}.json'
    if not file.is_file(): replace_text(file, json.dumps(chat_numbers(model, None, tok, seed)))
    return tuple(json.loads(file.read_text()))


def run_smol(cell: tuple, a, done: dict) -> dict:
    folder, tok = chat_start(a)
    tuning, arm = cell[2] == 'tune', cell[1]
    seed = TUNING[0] if tuning else int(cell[3])
    best = None if tuning else min(SMOL['rates'], key=lambda r: done['smol', 'nll', 'tune', f'{r:g}']['validation']['nll'])
    rate = float(cell[3]) if tuning else best/5 if arm == 'low' else best
    data, s = own_data(folder, tok, seed, a.work), dict(SMOL, beta=1.)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    before, base = start_numbers(model, tok, seed, a.work)
    t = train(FSFTTrainer, FSFTConfig, model, tok, data['demos'], seed, dict(peft_config=peft.LoraConfig(task_type='CAUSAL_LM', **LORA)),
              loss='nll', learning_rate=rate, num_train_epochs=s['epochs'])
    model = t.accelerator.unwrap_model(t.model).merge_and_unload().eval()
    nll = held_nll(model, tok, data['unseen'] or data['demos'])
    after_sft, _ = chat_numbers(model, base, tok, seed)
    if tuning: return dict(seed=seed, rate=rate, before=before, validation=dict(nll=nll, **after_sft))
    train(FDPOTrainer, FDPOConfig, model, tok, data['pairs'], seed, dict(peft_config=peft.LoraConfig(task_type='CAUSAL_LM', **LORA)),
          learning_rate=s['dpo_rate'], num_train_epochs=s['dpo_epochs'], beta=s['dpo_beta'], divergence='reverse_kl', drift_samples=0)
    after, _ = chat_numbers(model.eval(), base, tok, seed)
    return dict(seed=seed, rate=rate, demos=len(data['demos']), pairs=len(data['pairs']), before=before, sft=dict(after_sft, nll=nll), after=after)


RUN = dict(tiny=run_grid, stories=run_grid, values=run_values, logits=run_logits, smol=run_smol)


def cells() -> list[tuple]:
    "Every (part, arm, kind, what) in the order in which they are run."
    def tuned(part, s):
        return ([(part, 'nll', 'tune', f'{r:g}') for r in RATES] + [(part, 'dpo', 'tune', f'{r:g}') for r in s['dpo_rates']])
    seeds = lambda part, arms, n: [(part, x, 'seed', str(s)) for s in range(n) for x in arms]
    values = ['zero', 'lse', *(f'head {r:g}' for r in VALUES['heads'])]
    return (tuned('tiny', TINY) + seeds('tiny', ['low', 'ref', 'high', *TINY['losses']], TINY['seeds'])
            + seeds('values', values, VALUES['seeds']) + seeds('logits', ['tiny'], LOGITS['seeds'])
            + tuned('stories', STORIES) + seeds('stories', ['low', 'ref', *STORIES['losses']], STORIES['seeds'])
            + [('smol', 'nll', 'tune', f'{r:g}') for r in SMOL['rates']] + seeds('smol', ['low', 'ref'], SMOL['seeds']))


HEAD = dict(rule=RULE, quick=QUICK, tiny=TINY, stories=STORIES, values=VALUES, logits=LOGITS, smol=dict(SMOL, lora=LORA), rates=RATES,
            tuning_seeds=TUNING)
SECONDS = dict(tiny=14, values=14, logits=25, stories=29, smol=900)      # before the first run
EXPERIMENT = Experiment(__doc__, HEAD, cells(), lambda cell, a, done: RUN[cell[0]](cell, a, done), CONTRASTS,
                        (torch, transformers, peft, fdiv_nb), ('stories', 'text', 'smol'),
                        'OMP_NUM_THREADS=1 nice -n 5 python bench/exp_bridge.py --stories DIR --text FILE --smol DIR --work DIR '
                        '--results FILE', SECONDS)


def main() -> None:
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    EXPERIMENT.main()


if __name__ == '__main__': main()
