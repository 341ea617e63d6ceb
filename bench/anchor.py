"""The runs of 8_evidence/875_anchor, one (divergence, weight, seed) after another. To begin, or to go on:

    OMP_NUM_THREADS=1 nice -n 5 python bench/anchor.py --results nbs/results/anchor.json

Preference pairs from the reviews of the bundled language, the bundled model, f-DPO with and without an anchor on the
chosen answer. The process may be stopped at any time: finished runs are in `--results` and are not run again.
`--seeds 0 1` runs some seeds, `--list` shows the runs. Nothing is downloaded.
"""
from __future__ import annotations
import argparse, contextlib, io, random, tempfile, time
from pathlib import Path
import torch, transformers
import fdiv_nb
from cells import made, read_results, write_results
from fdiv_nb.models.tiny import ADVERBS, GOOD, LIKED, THINGS, load_tiny
from fdiv_nb.training.dpo import FDPOConfig, FDPOTrainer

BETAS = dict(reverse_kl=0.1, js=0.2, forward_kl=0.1)        # β/f''(1), so that all begin with the same gradient
WEIGHTS = 0., 0.2, 1.
SEEDS = 0, 1, 2, 3, 4
TRAIN, STEPS, BATCH, RATE = 112, 42, 16, 1e-4
COMMAND = 'OMP_NUM_THREADS=1 nice -n 5 python bench/anchor.py --results nbs/results/anchor.json'
ERRORS = 'one run is a mean over 48 pairs without an error of its own; errors are taken over the seeds'
KEYS = ('logratio/chosen', 'logratio/rejected', 'rewards/accuracies', 'chosen_below_ref', 'both_below_ref')


def pairs(seed: int) -> list[dict]:
    """A row for each praised thing: two sentences that may follow, of which the one earlier in `LIKED` is preferred.

    Both are as likely in the language, and the rest of the review is shared: pairs as similar as this are where chosen
    answers are known to sink."""
    rng = random.Random(seed)
    heads = [f'Review: The {t} was {a}{j}.' for t in THINGS for a in ADVERBS for j in GOOD]
    rng.shuffle(heads)
    picked = [(p, *sorted(rng.sample(range(len(LIKED)), 2))) for p in heads]
    return [dict(prompt=p, chosen=f' {LIKED[i]}', rejected=f' {LIKED[j]}') for p, i, j in picked]


def run(divergence: str, weight: float, seed: int) -> dict:
    "Train once; numbers on the rows that were not trained on, and the chosen answers' log-ratio along the way."
    model, tok = load_tiny()
    rows = pairs(seed)
    with tempfile.TemporaryDirectory() as d, contextlib.redirect_stdout(io.StringIO()):
        args = FDPOConfig(d, divergence=divergence, beta=BETAS[divergence], sft_weight=weight, learning_rate=RATE,
                          max_steps=STEPS, per_device_train_batch_size=BATCH, drift_samples=0, ref_cache='memory', seed=seed,
                          disable_tqdm=True, use_cpu=True, log_level='error')
        t = FDPOTrainer(model, args, rows[:TRAIN], rows[TRAIN:], tok)
        t.train()
        held = t.evaluate()
    log = t.state.log_history
    of = lambda k: [round(h[k], 4) for h in log if k in h]
    numbers = {k: round(held[f'eval_{k}'], 4) for k in KEYS}
    return dict(cell=[divergence, f'{weight:g}', 'seed', str(seed)], divergence=divergence, weight=weight, **numbers,
                curve=of('logratio/chosen'), share=of('sft_share'), errors=ERRORS)


def one(divergence: str, weight: float, seed: int) -> dict:
    "A run with where it comes from."
    began = time.process_time()
    found = run(divergence, weight, seed)
    return made(found, time.process_time() - began, (torch, transformers, fdiv_nb), COMMAND, seed)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--results', type=Path, default=Path('nbs/results/anchor.json'))
    p.add_argument('--seeds', type=int, nargs='+', default=list(SEEDS))
    p.add_argument('--list', action='store_true')
    a = p.parse_args()
    cells = [(d, w, s) for s in a.seeds for d in BETAS for w in WEIGHTS]
    found = read_results(a.results) if a.results.is_file() else []
    done = {(r['divergence'], r['weight'], r['seed']) for r in found}
    settings = dict(train=TRAIN, held_out=len(pairs(0)) - TRAIN, steps=STEPS, batch=BATCH, learning_rate=RATE, beta=BETAS)
    for c in cells:
        if a.list or c in done:
            if a.list: print(*c, 'done' if c in done else '')
            continue
        found.append(one(*c))
        write_results(a.results, found, dict(settings=settings))
        print(*c, {k: v for k, v in found[-1].items() if k in KEYS[:3]}, flush=True)


if __name__ == '__main__': main()
