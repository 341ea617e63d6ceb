"""The runs of 8_evidence/870_exp_chat, one cell (task, divergence, seed) after another. To begin, or to go on:

    OMP_NUM_THREADS=1 nice -n 5 python bench/exp_chat.py --model DIR --work DIR --results nbs/results/exp_chat.json

`--model` is a folder of SmolLM2-135M-Instruct; `--work` keeps checkpoints and one JSON a finished cell. The process may be
stopped at any time; the same command continues inside the cell. Cells in `--results` are not run again.
`--only sums/js/1` runs one cell, `--list` shows them all.
"""
from __future__ import annotations
import argparse, json, math, shutil, signal, statistics, sys, time
from pathlib import Path
import peft, torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.trainer_utils import get_last_checkpoint
import fdiv_nb
from fdiv_nb.losses.instructions import instruction_reward, instruction_rows, number_reward, sum_rows
from fdiv_nb.losses.scoring import call_reward
from fdiv_nb.mathematics.pass_at_k import pass_at_k
from fdiv_nb.models.files import replace_text
from fdiv_nb.models.rollout import rollout
from fdiv_nb.training.contexts import contexts_of
from fdiv_nb.training.fdpg import FDPGConfig, FDPGTrainer
from cells import Cells, provenance

DIVERGENCES = 'forward_kl', 'reverse_kl', 'js', 'alpha:0.5'
SEEDS = 0, 1
turn = lambda role, content: dict(role=role, content=content)
SHORT = [turn('system', 'Answer in one short sentence.'), turn('user', 'What is snow?'),
         turn('assistant', 'Snow is frozen water that falls from the sky.')]
WORKED = [turn('system', 'Do the sum.'), turn('user', 'Ben has one book and gets one more. How many books?'),
          turn('assistant', '1 + 1 = 2'), turn('user', 'Of three cups one breaks. How many are left?'),
          turn('assistant', '3 - 1 = 2')]
TASKS = {   # name -> (turns before each prompt, rows, reward, longest completion)
    'instructions': (SHORT, instruction_rows, instruction_reward, 20),
    'sums': (WORKED, sum_rows, number_reward, 10)}
TEMPERATURE = 0.6        # of the initial policy, folded into its last norm
SETTINGS = dict(beta=0.25, max_steps=24, samples_per_step=16, samples_per_prompt=8, z_samples=16, learning_rate=5e-4,
                lr_scheduler_type='constant')
LORA = dict(r=16, lora_alpha=32, lora_dropout=0., layers_to_transform=list(range(15, 30)),
            target_modules='q_proj k_proj v_proj o_proj gate_proj up_proj down_proj'.split())
TRAIN, HELD, DRAWS, K = 24, 24, 12, 8


def cells() -> list[tuple]:
    "Every (task, divergence, seed) in the order in which they are run; 'start' is the initial policy, without training."
    order = [(t, s) for s in SEEDS for t in TASKS]
    return [c for t, s in order for c in [(t, 'start', s)]*(s == 0) + [(t, d, s) for d in DIVERGENCES]]


def rows_of(task: str, n: int, seed: int, held_out: bool) -> list[dict]:
    "Rows of a task, with the turns that stand before each prompt."
    before, make, *_ = TASKS[task]
    return [dict(r, prompt=before + r['prompt']) for r in make(n, seed, held_out)]


def initial_policy(source: Path, folder: Path) -> Path:
    "A copy of the model whose samples at temperature 1 are those of the original at `TEMPERATURE`."
    if (folder/'ready').is_file(): return folder
    tok, model = AutoTokenizer.from_pretrained(source), AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    model.model.norm.weight.data /= TEMPERATURE
    model.save_pretrained(folder)
    tok.save_pretrained(folder)
    (folder/'ready').touch()
    return folder


def mean_of(x: list[float]) -> tuple[float, float]:
    "Mean over prompts, and its standard error."
    return statistics.fmean(x), statistics.stdev(x)/math.sqrt(len(x))


def summary(passed: list[int], kl: list[float], nats: list[float], tokens: list[float], distinct: list[float],
            cut: float) -> dict:
    "The metrics of an evaluation from one number a prompt, each with its standard error over prompts."
    per_prompt = {'reward': [c/DRAWS for c in passed], 'pass@1': pass_at_k(DRAWS, torch.tensor(passed), 1).tolist(),
                  f'pass@{K}': pass_at_k(DRAWS, torch.tensor(passed), K).tolist(), 'coverage': [float(c > 0) for c in passed],
                  'kl': kl, 'length': tokens, 'distinct': distinct}
    out = {}
    for k, x in per_prompt.items(): out[k], out[f'{k}_stderr'] = mean_of(x)
    out['entropy'] = sum(nats)/sum(tokens)
    residual = [a - out['entropy']*b for a, b in zip(nats, tokens)]
    out['entropy_stderr'] = mean_of(residual)[1]/out['length']
    out = {k: round(v, 4) + 0. for k, v in out.items()}
    return out | dict(truncated=round(cut, 4), passed=passed, kl_of=[round(x, 3) + 0. for x in kl])


def evaluate(trainer: FDPGTrainer, task: str) -> tuple[dict, list]:
    "(metrics, some completions) of the policy on the held-out prompts; the same random numbers for every policy."
    _, _, reward, longest = TASKS[task]
    known = contexts_of(rows_of(task, HELD, 1000, True), trainer.processing_class)
    policy = trainer.accelerator.unwrap_model(trainer.model)
    r = rollout(policy, trainer.processing_class, known.given, n=DRAWS, max_new_tokens=longest, batch_size=96,
                generator=torch.Generator().manual_seed(1000))
    prompts, replies, columns = known.texts(r.group.tolist(), r)
    score = call_reward(reward, prompts, replies, columns=columns)
    with trainer.reference() as ref: log_ref, _ = trainer.forward_logprobs(ref, r)
    kl, nats = r.log_q - log_ref.cpu(), -r.log_q
    by_prompt = lambda x: x.double().view(HELD, DRAWS).mean(1).tolist()
    passed = [round(DRAWS*x) for x in by_prompt(score)]
    texts = [r.texts[i:i + DRAWS] for i in range(0, len(r), DRAWS)]
    distinct = [len(set(t))/DRAWS for t in texts]
    cut = 1 - r.finished.double().mean().item()
    out = summary(passed, by_prompt(kl), by_prompt(nats), by_prompt(r.lengths), distinct, cut)
    shown = [[known.prompts[i][-1]['content'], texts[i][0], float(score[i*DRAWS])] for i in range(0, HELD, 2)]
    return out, shown


def trainer_of(task: str, divergence: str, seed: int, folder: Path, start: Path) -> FDPGTrainer:
    "The trainer of a cell; LoRA, so that the initial policy is the model with its adapter switched off."
    _, _, reward, longest = TASKS[task]
    args = FDPGConfig(output_dir=str(folder/'run'), divergence=divergence, seed=seed, max_new_tokens=longest, use_cpu=True,
                      disable_tqdm=True, logging_steps=1, save_strategy='steps', save_steps=2, save_total_limit=2,
                      report_to=[], **SETTINGS)
    return FDPGTrainer(str(start), reward, args, rows_of(task, TRAIN, seed, False),
                       peft_config=peft.LoraConfig(task_type='CAUSAL_LM', **LORA))


CURVE = 'reward', 'kl', 'entropy', 'log_z', 'grad_norm'


def curve_of(history: list[dict]) -> dict:
    "Every second logged step, rounded."
    h = [x for x in history if 'reward' in x][::2]
    return dict(step=[x['step'] for x in h]) | {k: [round(x.get(k, math.nan), 4) for x in h] for k in CURVE}


def run_cell(task: str, divergence: str, seed: int, folder: Path, start: Path) -> dict:
    "Train from the last checkpoint on, if there is one, and evaluate."
    if divergence == 'start':
        after, shown = evaluate(trainer_of(task, 'js', seed, folder, start), task)
        return dict(after=after, samples=shown)
    trainer = trainer_of(task, divergence, seed, folder, start)
    run = folder/'run'
    trainer.train(resume_from_checkpoint=get_last_checkpoint(run) if run.is_dir() else None)
    after, shown = evaluate(trainer, task)
    return dict(after=after, samples=shown, curve=curve_of(trainer.state.log_history))


def made(seconds: float) -> dict:
    "Where, with what and how a cell was computed."
    return provenance(seconds, (torch, transformers, peft, fdiv_nb), ': AMD EPYC',
                      command='OMP_NUM_THREADS=1 nice -n 5 python bench/exp_chat.py --model DIR --work DIR --results FILE')


def write(file: Path, data) -> None:
    "Write JSON in one step, so that a reader never sees half of it."
    replace_text(file, json.dumps(data, separators=(',', ':')))


HEAD = dict(model=f'SmolLM2-135M-Instruct (de-quantised), at temperature {TEMPERATURE}', settings=SETTINGS, lora=LORA,
            train=TRAIN, held_out=HELD, draws=DRAWS, k=K, order=[list(c) for c in cells()])


def folder_of(cell: tuple, work: Path) -> Path:
    return work/'-'.join(map(str, cell)).replace(':', '')


CELLS = Cells(HEAD, cells(), lambda cell, work: folder_of(cell, work)/'cell.json', lambda c: (c['task'], c['divergence'], c['seed']))
finished, collect = CELLS.finished, CELLS.collect


def spent(folder: Path, seconds: float | None = None) -> float:
    "CPU seconds of a cell over all processes that worked on it; with `seconds`, add them."
    file = folder/'seconds.json'
    total = json.loads(file.read_text()) if file.is_file() else 0.
    if seconds is None: return total
    write(file, total + seconds)
    return total + seconds


def one(cell: tuple, work: Path, start: Path, results: Path) -> None:
    "Run a cell unless it is finished; count its time even where it is stopped."
    if cell in finished(work, results): return
    folder = folder_of(cell, work)
    folder.mkdir(parents=True, exist_ok=True)
    began, out = time.process_time(), None
    print(time.strftime('%H:%M:%S'), *cell, 'begins', flush=True)
    try: out = run_cell(*cell, folder, start)
    finally: total = spent(folder, time.process_time() - began)
    task, divergence, seed = cell
    write(folder/'cell.json', dict(task=task, divergence=divergence, seed=seed, **out, **made(total)))
    shutil.rmtree(folder/'run', ignore_errors=True)
    collect(work, results)
    shown = {k: out['after'][k] for k in ('pass@1', f'pass@{K}', 'coverage', 'kl', 'entropy', 'length')}
    print(time.strftime('%H:%M:%S'), *cell, f'{total:.0f} s', shown, flush=True)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--model', type=Path)
    p.add_argument('--work', type=Path)
    p.add_argument('--results', type=Path)
    p.add_argument('--only', help='TASK/DIVERGENCE/SEED')
    p.add_argument('--list', action='store_true')
    a = p.parse_args()
    if a.list: return print(*('/'.join(map(str, c)) for c in cells()), sep='\n')
    if not (a.model and a.work and a.results): p.error('--model, --work and --results are needed')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    a.work.mkdir(parents=True, exist_ok=True)
    start = initial_policy(a.model, a.work/'start')
    if finished(a.work, a.results): collect(a.work, a.results)
    for c in cells():
        if a.only in (None, '/'.join(map(str, c))): one(c, a.work, start, a.results)


if __name__ == '__main__': main()
