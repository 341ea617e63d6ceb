"""Unlearning a model that has language and learnt the forget set later: 22 methods, 5 seeds, one cell after another.

    OMP_NUM_THREADS=1 nice -n 5 python bench/exp_flat.py --model DIR --tofu DIR --work DIR --results nbs/results/exp_flat.json

`--model` is a folder of stories260K, `--tofu` one with TOFU's files (forget10_perturbed.json, retain_perturbed.json,
retain90.json); `--work` keeps models and one JSON a finished cell. The process may be stopped at any time; the same command
goes on with the cell that was interrupted. Cells in `--results` are not run again.
`--list` shows the cells, `--only fsun:js/3` runs one, `--rerun fsun:js/3` runs a finished one again and prints both,
`--report` prints the table and the statements of what is finished, `--page` the statements for docs/claims.md.

The rule, fixed before the first run (`RULE`, `STATEMENTS`; both are written into the results):

1. Start: stories260K, fine-tuned on 60 forget rows (three authors of forget10), 100 retain rows (five of retain_perturbed) and
   20 rows of other authors answered with a refusal: `full`. `retain` is the same without the forget rows. One pair a seed.
2. Rows with even numbers are for validation, odd ones are reported. A method's learning rate is the one of `RATES` whose run on
   seed 0 has the smallest *total distance* on the validation rows: JS to the retain model on forget answers, plus the same on
   retain answers, nats a token. The same number of runs, steps and rows for every method.
3. A run has at most `STEPS` steps of 8 rows and stops where P_f of the forget rows falls below the retain model's.
4. Differences are paired over the seeds (the rate is fixed by then), tested with Student's t, two-sided, corrected by Holm.
"""
from __future__ import annotations
import argparse, copy, json, math, random, signal, statistics, sys, tempfile, time
from pathlib import Path
import torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
import fdiv_nb
from fdiv_nb.evaluation.answers import greedy
from fdiv_nb.evaluation.attack import quantised, relearn
from fdiv_nb.evaluation.distance import retain_distance
from fdiv_nb.evaluation.forgetting import log_ratios
from fdiv_nb.evaluation.memorization import extraction_strength, token_stats
from fdiv_nb.evaluation.privacy import auc, min_k
from fdiv_nb.evaluation.rouge import rouge_scores
from fdiv_nb.evaluation.tofu import ks_test, truth_score
from fdiv_nb.losses.unlearn import METHODS
from fdiv_nb.models.encode import encode_pair
from fdiv_nb.models.files import replace_text
from fdiv_nb.models.logprobs import build_batch, logprobs_of, sequence_lengths
from fdiv_nb.models.rollout import rollout
from fdiv_nb.models.tiny import REFUSALS
from fdiv_nb.training.data import load_tofu
from fdiv_nb.training.flat import FLATConfig, FLATTrainer
from cells import Cells, differences, provenance

SEEDS, RATES, STEPS, BATCH = (0, 1, 2, 3, 4), (3e-4, 1e-3, 3e-3), 40, 8
FORGET, RETAIN, REFUSED, HELD = 60, 100, 20, 40
TUNE = dict(epochs=30, batch=16, adamw=3e-3, muon=1e-2)      # of the start models
RELEARN = dict(steps=(1, 5, 20), learning_rate=3e-4)
FS = 'js', 'reverse_kl', 'pearson', 'tv'
FSUN = 'js', 'reverse_kl', 'forward_kl', 'tv'
SPECS = [f'flat:{f}{form}' for f in FS for form in ('', ':released')] + [f'fsun:{f}' for f in FSUN]
SPECS += 'wga_idk npo simnpo grad_diff rmu dpo idk_dpo undial altpo wga'.split()
STATEMENTS = {   # name -> (metric, methods of A, methods of B): the mean of A minus the mean of B over methods, for each seed
    'what the divergence adds to weighted ascent plus refusals: FLAT (four f) against wga_idk':
        ('total', [f'flat:{f}' for f in FS], ['wga_idk']),
    'the same on the retain rows alone': ('distance_retain', [f'flat:{f}' for f in FS], ['wga_idk']),
    'fSUN (four f) against wga_idk': ('total', [f'fsun:{f}' for f in FSUN], ['wga_idk']),
    'fSUN (four f) against FLAT (four f)': ('total', [f'fsun:{f}' for f in FSUN], [f'flat:{f}' for f in FS]),
    'fSUN (four f) against grad_diff': ('total', [f'fsun:{f}' for f in FSUN], ['grad_diff']),
    'the choice of f in fSUN: forward KL against TV': ('total', ['fsun:forward_kl'], ['fsun:tv']),
    "FLAT's released form against the paper's (four f)":
        ('total', [f'flat:{f}:released' for f in FS], [f'flat:{f}' for f in FS]),
    'P of forgotten answers after 20 steps of relearning: fSUN (four f) against grad_diff':
        ('p_relearn_20', [f'fsun:{f}' for f in FSUN], ['grad_diff']),
}
RULE = __doc__.split('The rule, fixed')[1].split('\n\n', 1)[1].strip()
half = lambda rows, k: rows[k::2]


def cells() -> list[tuple]:
    "Every (method, seed or 'rate') in the order in which they are run; 'start' and 'retain' are the two models themselves."
    tune = [(s, f'{r:g}') for s in SPECS for r in RATES]
    return [(s, 'tune', r) for s, r in tune] + [(s, 'seed', str(k)) for k in SEEDS for s in ('start', 'retain', *SPECS)]


class World:
    "Rows, tokenizer and start models."
    def __init__(self, model: Path, tofu: Path, work: Path):
        self.source, self.work = model, work
        self.tok = AutoTokenizer.from_pretrained(model)
        named = lambda r: dict(r, paraphrase=r['prompt'], wrong_answers=[' ' + x for x in r['perturbed_answer']],
                               paraphrased_answer=' ' + r['paraphrased_answer'])
        self.forget = [named(r) for r in load_tofu(tofu, 'forget10_perturbed')[:FORGET]]
        self.retain = [named(r) for r in load_tofu(tofu, 'retain_perturbed')[:RETAIN]]
        known = {r['question'] for r in self.retain}
        other = [r for r in load_tofu(tofu, 'retain90') if r['question'] not in known][-(REFUSED + HELD):]
        self.refused = [dict(r, completion=' ' + REFUSALS[i % len(REFUSALS)]) for i, r in enumerate(other[:REFUSED])]
        self.held = other[REFUSED:]
        self.cache: dict = {}

    def load(self, which: str, seed: int):
        "A start model, trained if it is not there."
        folder = self.work/f'{which}_s{seed}'
        if not (folder/'config.json').is_file(): self.fine_tune(which, seed, folder)
        if folder not in self.cache:
            self.cache = {k: v for k, v in self.cache.items() if k.name.endswith(f'_s{seed}')}
            self.cache[folder] = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        return copy.deepcopy(self.cache[folder])

    def fine_tune(self, which: str, seed: int, folder: Path) -> None:
        "stories260K on all rows, or on all but the forget rows: matrices by Muon, the rest by AdamW."
        rows = (self.forget if which == 'full' else []) + self.retain + self.refused
        ids = [encode_pair(self.tok, r['prompt'], r['completion']) for r in rows]
        m, rng = AutoModelForCausalLM.from_pretrained(self.source, dtype=torch.float32), random.Random(seed)
        mats = [p for k, p in m.named_parameters() if p.ndim == 2 and 'embed' not in k]
        rest = [p for p in m.parameters() if not any(p is q for q in mats)]
        opts = [torch.optim.Muon(mats, lr=TUNE['muon'], weight_decay=0., ns_steps=4),
                torch.optim.AdamW(rest, lr=TUNE['adamw'], betas=(.9, .98), weight_decay=0.)]
        n = TUNE['epochs']*math.ceil(len(ids)/TUNE['batch'])
        rate = lambda i: min(1., (i + 1)/(.03*n))*max(.02, min(1., (1 - i/n)/.7))
        plans = [torch.optim.lr_scheduler.LambdaLR(o, rate) for o in opts]
        for _ in range(TUNE['epochs']):
            for part in self.batches(ids, rng):
                x = build_batch(*zip(*part), 0)
                loss = -logprobs_of(m, x).sum()/sequence_lengths(x['labels']).sum()
                m.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(m.parameters(), 1.)
                for o in (*opts, *plans): o.step()
        print(time.strftime('%H:%M:%S'), which, seed, 'fine-tuned, last loss', round(loss.item(), 3), flush=True)
        with tempfile.TemporaryDirectory(dir=self.work) as d:
            m.eval().save_pretrained(d)
            self.tok.save_pretrained(d)
            Path(d).rename(folder)
            Path(d).mkdir()

    def batches(self, ids: list, rng: random.Random) -> list:
        "Rows of like length together, in random order."
        order, size, out = rng.sample(range(len(ids)), len(ids)), TUNE['batch'], []
        for i in range(0, len(order), size*16):
            c = sorted(order[i:i + size*16], key=lambda j: len(ids[j][0]) + len(ids[j][1]))
            out += [[ids[j] for j in c[k:k + size]] for k in range(0, len(c), size)]
        rng.shuffle(out)
        return out


def pairs(rows: list[dict]) -> list[tuple]: return [(r['prompt'], r['completion']) for r in rows]


def numbers_of(w: World, model, rows: list[dict]) -> list:
    "What the model gives each token of the answers (`TokenStats`)."
    return token_stats(model.eval(), w.tok, pairs(rows), batch_size=32)


def distances(w: World, model, retain, k: int) -> dict:
    "JS to the retain model on the forget and retain rows of a half, and the lean of the former."
    f, r = (retain_distance(model, retain, w.tok, pairs(half(x, k))) for x in (w.forget, w.retain))
    out = dict(distance_forget=f.to.mean().item(), distance_retain=r.to.mean().item(), lean_forget=f.lean.mean().item())
    return out | dict(total=out['distance_forget'] + out['distance_retain'])


def p_of(numbers: list) -> float: return statistics.fmean(x.logp.mean().exp().item() for x in numbers)


def evaluate(w: World, model, retain, start, seed: int) -> dict:
    "Every reported number of a model, on the rows with odd numbers."
    model.eval()
    forget, kept, taught = half(w.forget, 1), half(w.retain, 1), half(w.forget, 0)
    f, r, h = (numbers_of(w, model, x) for x in (forget, kept, w.held))
    out = distances(w, model, retain, 1) | dict(p_forget=p_of(f), p_retain=p_of(r))
    out['extraction_strength'] = statistics.fmean(extraction_strength(x.hit) for x in f)
    out['mia_loss_auc'] = auc([x.logp.mean().item() for x in f], [x.logp.mean().item() for x in h])
    out['mia_min_k_auc'] = auc([min_k(x.logp, .4) for x in f], [min_k(x.logp, .4) for x in h])
    log_r = log_ratios(model, w.tok, forget)
    out['ks'], out['forget_quality'] = ks_test(log_r, log_ratios(retain, w.tok, forget))
    said = lambda rows: rouge_scores([x['completion'] for x in rows], greedy(model, w.tok, [x['prompt'] for x in rows], 64))
    recall = lambda rows: statistics.fmean(x['rougeL_recall'] for x in said(rows))
    out |= dict(rouge_forget=recall(forget[::2]), rouge_retain=recall(kept[::4]))
    parts = out['p_retain'], out['rouge_retain'], truth_score(log_ratios(model, w.tok, kept, 'arithmetic')).mean().item()
    out['utility'] = statistics.harmonic_mean([max(x, 1e-9) for x in parts])
    stories = w.cache.setdefault(Path(f'stories_s{seed}'), stories_of(w, start))
    with torch.no_grad(): out['story_kl'] = (stories[1] - logprobs_of(model, stories[0])).sum().item()/stories[2]
    for bits in (8, 4): out[f'p_int{bits}'] = p_of(numbers_of(w, quantised(model, bits), forget))
    for n in RELEARN['steps']:
        again = relearn(model, w.tok, pairs(taught), n, RELEARN['learning_rate'], 8, seed)
        out[f'p_relearn_{n}'] = p_of(numbers_of(w, again, forget))
    return {k: float(f'{v:.5g}') for k, v in out.items()}


def stories_of(w: World, start) -> tuple:
    "(batch of what stories260K tells, its log-probabilities under the start model, tokens)."
    teller = AutoModelForCausalLM.from_pretrained(w.source, dtype=torch.float32).eval()
    r = rollout(teller, w.tok, ['Once upon a time'], n=32, max_new_tokens=64, generator=torch.Generator().manual_seed(0))
    b = r.batch(slice(0, len(r)), torch.device('cpu'))
    with torch.no_grad(): return b, logprobs_of(start, b), int(r.lengths.sum())


def settings_of(spec: str) -> dict:
    "Options of the trainer for a method by name."
    method, _, f = spec.partition(':')
    released = dict(compose='batch', average='row') if f.endswith(':released') else {}
    return dict(method=method, **released) | (dict(divergence=f.removesuffix(':released')) if f else {})


def unlearn(w: World, spec: str, seed: int, rate: float, floor: float):
    "(the model after a run, its number of steps, P_f at their end)."
    kw, model = settings_of(spec), w.load('full', seed)
    needs = METHODS[kw['method']].retain if kw['method'] != 'flat' else ''
    said = random.Random(seed)
    rows = [dict(prompt=r['prompt'], completion=r['completion'], template=' ' + said.choice(REFUSALS)) for r in w.forget]
    with tempfile.TemporaryDirectory() as d:
        a = FLATConfig(d, max_steps=STEPS, per_device_train_batch_size=BATCH, per_device_eval_batch_size=32, learning_rate=rate,
                       lr_scheduler_type='constant_with_warmup', warmup_steps=3, weight_decay=0., measure_every=2,
                       measure_rows=20, retain_model_pf=floor, disable_tqdm=True, ref_cache='memory', seed=seed,
                       use_cpu=True, report_to=[], **kw)
        t = FLATTrainer(model, a, rows, processing_class=w.tok,
                        retain=[dict(zip(('prompt', 'completion'), p)) for p in pairs(w.retain)] if needs else None)
        t.remove_callback(PrinterCallback)
        t.train()
    return t.model.eval(), t.state.global_step, t.forget_probs()[0].mean().item()


def floor_of(w: World, seed: int) -> float:
    "P_f of the forget rows under the retain model: the mean token probability."
    got = numbers_of(w, w.load('retain', seed), w.forget)
    return statistics.fmean(x.logp.exp().mean().item() for x in got)


def best_rate(spec: str, done: dict) -> float:
    "The learning rate of the smallest total distance on the validation rows."
    return min(RATES, key=lambda r: done[spec, 'tune', f'{r:g}']['validation']['total'])


def run_cell(w: World, cell: tuple, done: dict) -> dict:
    "One cell: a run and its numbers."
    spec, kind, what = cell
    seed = int(what) if kind == 'seed' else 0
    start, retain = w.load('full', seed), w.load('retain', seed)
    if spec in ('start', 'retain'): return dict(after=evaluate(w, dict(start=start, retain=retain)[spec], retain, start, seed))
    rate = float(what) if kind == 'tune' else best_rate(spec, done)
    model, steps, p = unlearn(w, spec, seed, rate, floor_of(w, seed))
    out = dict(rate=rate, steps=steps, token_p_forget=round(p, 5))
    if kind == 'tune': return out | dict(validation={k: float(f'{v:.5g}') for k, v in distances(w, model, retain, 0).items()})
    said = greedy(model, w.tok, [r['prompt'] for r in w.forget[1:6:2]], 48)
    return out | dict(after=evaluate(w, model, retain, start, seed), said=said)


HEAD = dict(model='stories260K', data='TOFU: 60 rows of forget10, 100 of retain_perturbed', rule=RULE,
            statements={k: list(v) for k, v in STATEMENTS.items()}, fine_tuning=TUNE, rates=list(RATES), steps=STEPS, batch=BATCH,
            relearning=dict(RELEARN, steps=list(RELEARN['steps'])), methods=SPECS, seeds=list(SEEDS),
            errors='over the seeds, each of which draws everything anew; a record has means over all rows of its seed',
            command='OMP_NUM_THREADS=1 nice -n 5 python bench/exp_flat.py --model DIR --tofu DIR --work DIR --results FILE')
name_of = '/'.join


def file_of(cell: tuple, work: Path) -> Path:
    return work/'cells'/(name_of(cell).replace('/', '-').replace(':', '_') + '.json')


CELLS = Cells(HEAD, cells(), file_of, lambda c: tuple(c['cell']))
finished, collect = CELLS.finished, CELLS.collect


def one(w: World, cell: tuple, results: Path, again: bool = False) -> dict:
    "Run a cell unless it is finished."
    done = finished(w.work, results)
    if cell in done and not again: return done[cell]
    began = time.process_time()
    out = dict(cell=list(cell), **run_cell(w, cell, done))
    out |= provenance(time.process_time() - began, (torch, transformers, fdiv_nb), seed=int(cell[2]) if cell[1] == 'seed' else 0)
    if again: return out
    (w.work/'cells').mkdir(exist_ok=True)
    replace_text(file_of(cell, w.work), json.dumps(out))
    collect(w.work, results)
    shown = out.get('after') or out['validation']
    shown = {k: shown[k] for k in ('total', 'distance_forget', 'distance_retain', 'p_forget', 'p_relearn_20') if k in shown}
    print(time.strftime('%H:%M:%S'), *cell, f"{out['cpu_seconds']} s", out.get('steps', ''), shown, flush=True)
    return out


SHOWN = ('total', 'distance_forget', 'distance_retain', 'p_forget', 'p_retain', 'forget_quality', 'utility', 'story_kl',
         'extraction_strength', 'mia_loss_auc', 'p_int4', 'p_relearn_1', 'p_relearn_5', 'p_relearn_20')


def report(done: dict) -> None:
    "Means over the finished seeds, sorted by total distance, and the statements."
    from fdiv_nb.reports.page import text_table
    table = {}
    for s in ('start', 'retain', *SPECS):
        got = [done[s, 'seed', str(k)] for k in SEEDS if (s, 'seed', str(k)) in done]
        if got: table[s] = {k: statistics.fmean(g['after'][k] for g in got) for k in SHOWN} | dict(
            rate=got[0].get('rate', math.nan), steps=statistics.fmean(g.get('steps', 0) for g in got), seeds=len(got))
    print(text_table(dict(sorted(table.items(), key=lambda x: x[1]['total']))))
    if rows := differences(STATEMENTS, SEEDS, done): print(text_table(rows))


def page(done: dict) -> None:
    "Print the statements as a table of docs/claims.md."
    print('| difference | of | seeds | found |\n|---|---|---|---|')
    found = differences(STATEMENTS, SEEDS, done)
    for text, (metric, *_) in STATEMENTS.items():
        r, said = found.get(text), 'not run yet'
        if r: said = f"**{verdict(r)}**: {r['difference']:+.3f} ({r['low']:+.3f} to {r['high']:+.3f}), Holm p {r['holm']:.2g}"
        print(f"| {text} | `{metric}` | {r['seeds'] if r else 0} | {said} |")


def verdict(r: dict) -> str: return 'not decided' if not r['holm'] < .05 else 'lower' if r['difference'] < 0 else 'higher'


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for k in ('model', 'tofu', 'work', 'results'): p.add_argument(f'--{k}', type=Path)
    p.add_argument('--only', help='METHOD/seed/N or METHOD/tune/RATE')
    p.add_argument('--rerun', help='a finished cell')
    p.add_argument('--list', action='store_true')
    p.add_argument('--report', action='store_true')
    p.add_argument('--page', action='store_true')
    a = p.parse_args()
    if a.list: return print(*map(name_of, cells()), sep='\n')
    if a.page: return page(finished(a.work or Path('.'), a.results))
    if a.report: return report(finished(a.work or Path('.'), a.results))
    if not (a.model and a.tofu and a.work and a.results): p.error('--model, --tofu, --work and --results are needed')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    a.work.mkdir(parents=True, exist_ok=True)
    w = World(a.model, a.tofu, a.work)
    if a.rerun:
        cell = tuple(a.rerun.split('/'))
        old, new = finished(a.work, a.results)[cell], one(w, cell, a.results, again=True)
        return print(json.dumps(dict(stored=old, again=new), indent=1))
    if finished(a.work, a.results): collect(a.work, a.results)
    for c in cells():
        if a.only in (None, name_of(c)): one(w, c, a.results)


if __name__ == '__main__': main()
