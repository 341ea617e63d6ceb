"""What the `exp_` scripts share: a long experiment in cells, one JSON a finished cell, and all of them in one file of results;
where a record comes from (`made`), who refuses records that do not say (`read_results`), and statements fixed before the runs.

    python bench/cells.py nbs/results/*.json      # which records lack what
    python bench/cells.py --summary               # README's sentence on what was decided, from nbs/results
"""
from __future__ import annotations
import argparse, json, math, platform, shutil, signal, statistics, subprocess, sys, time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from collections.abc import Callable, Iterator
import torch
from filelock import FileLock, Timeout
from fdiv_nb.models.files import replace_text


def git(*words: str) -> str:
    return subprocess.run(['git', *words], cwd=Path(__file__).resolve().parent, capture_output=True, text=True).stdout.strip()


COMMIT = git('rev-parse', '--short=12', 'HEAD') + ('+' if git('status', '--porcelain', '-uno', '--', ':/fdiv_nb', ':/bench') else '')


def provenance(seconds: float, packages, machine: str = '', **more) -> dict:   # packages: modules with a version
    "Where, with what and how a cell was computed; a + behind the commit: the code had changes that it lacks."
    versions = dict(python=platform.python_version()) | {m.__name__: m.__version__ for m in packages}
    return dict(commit=COMMIT, versions=versions, device=f'CPU, {torch.get_num_threads()} thread{machine}, shared with other work',
                cpu_seconds=round(seconds), **more)


# --- where a record comes from

NEEDED = 'commit', 'versions', 'device', 'command', 'seed'


def has_errors(x) -> bool:
    "Whether a standard error stands anywhere in a record, or `exact`, or `errors`, which says what else they are taken from."
    if isinstance(x, dict): return any(k in ('exact', 'errors') or k.endswith(('stderr', '_se')) or has_errors(v) for k, v in x.items())
    return isinstance(x, list) and any(map(has_errors, x))


def lacking(record: dict) -> list[str]:
    "What a record does not say of where, with what and how it was computed."
    gone = [k for k in NEEDED if record.get(k) in (None, '', {}, [])]
    known = record.get('versions') or {}
    gone += [f'version of {k}' for k in ('python', 'torch') if known and k not in known]
    return gone + ([] if has_errors(record) else ['standard errors'])


def made(record: dict, seconds: float, packages, command: str, seed: int, machine: str = '') -> dict:
    """A record with its provenance. Raises ValueError if it has no standard errors: keys that end in `_stderr`, `exact=True` for
    numbers that were computed by listing, or `errors`, a sentence."""
    out = record | provenance(seconds, packages, machine, command=command, seed=seed)
    if gone := lacking(out): raise ValueError(f"record: {record.get('cell')} lacks {', '.join(gone)}")
    return out


def records_of(data, above: dict | None = None) -> Iterator[dict]:
    "The records of any file of results: the innermost dicts with a seed or numbers before and after, with what stands above."
    above = above or {}
    if isinstance(data, list):
        for x in data: yield from records_of(x, above)
    if not isinstance(data, dict): return
    if {'seed', 'after', 'cell', 'stop'} & set(data) and not isinstance(data.get('cells'), list):
        yield {**above, **data}
        return
    here = above | {k: v for k, v in data.items() if k in (*NEEDED, 'errors')}
    for v in data.values(): yield from records_of(v, here)


def records_in(file: Path) -> list[dict]:
    "The records of a file; the whole of it where there are none."
    data = json.loads(Path(file).read_text(encoding='utf-8'))
    return list(records_of(data)) or [data]


def read_results(file: Path) -> list[dict]:
    "The records of a file. Raises ValueError, naming the file, where one does not say how it was made."
    found = records_in(file)
    for i, r in enumerate(found):
        if gone := lacking(r):
            raise ValueError(f"{Path(file).name}: record {r.get('cell', i)} lacks {', '.join(gone)}; run it again")
    return found


def write_results(file: Path, records: list[dict], head: dict | None = None) -> None:
    "Records in one file, a line each, behind `head`; what they all say alike of where they come from stands above them."
    keys = [k for k in NEEDED if k != 'seed' and records]
    alike = {k: records[0][k] for k in keys if all(x.get(k) == records[0].get(k) for x in records)}
    lines = [json.dumps({k: v for k, v in x.items() if k not in alike}, separators=(',', ':')) for x in records]
    replace_text(Path(file), json.dumps((head or {}) | alike)[:-1] + ',"cells":[\n' + ',\n'.join(lines) + '\n]}\n')


def listed(files: list[str]) -> None:
    "Print, for each file of results, how many records lack what."
    for f in map(Path, files):
        found = records_in(f)
        gone: dict[str, int] = {}
        for r in found:
            for k in lacking(r): gone[k] = gone.get(k, 0) + 1
        said = ', '.join(f'{k} ({n})' if n < len(found) else k for k, n in gone.items())
        print(f"{f.name:18} {len(found):4} records; " + (f'lack {said}' if said else 'nothing missing'))


# --- cells

@dataclass
class Cells:
    "The cells of an experiment."
    head: dict                                  # its settings, which stand first in the results
    order: list[tuple]                          # its cells, as they are run
    file_of: Callable[[tuple, Path], Path]      # (cell, working folder) -> where it is kept
    cell_of: Callable[[dict], tuple]            # what is kept -> the cell it is

    def finished(self, work: Path, results: Path) -> dict[tuple, dict]:
        "Every finished cell, of the results and of the working folder. Exits if the results had other settings."
        known = json.loads(results.read_text(encoding='utf-8')) if results.is_file() else self.head
        other = [k for k in self.head if known.get(k) != self.head[k]]
        if other: sys.exit(f'{results} was made with other {", ".join(other)}; give another file')
        files = {c: self.file_of(c, work) for c in self.order}
        here = {c: json.loads(f.read_text(encoding='utf-8')) for c, f in files.items() if f.is_file()}
        return {self.cell_of(x): x for x in records_of(known) if 'cell' in x} | here

    def collect(self, work: Path, results: Path) -> None:
        "All finished cells in one file, a line each; what they all say alike of where they come from stands above them."
        done = self.finished(work, results)
        write_results(results, [done[c] for c in self.order if c in done], self.head)


# --- statements

def holm(ps: list[float], among: int = 0) -> list[float]:
    "Holm's corrected p-values, of at least so many statements: those without a p-value yet count as 1."
    m, order = max(among, len(ps)), sorted(range(len(ps)), key=ps.__getitem__)
    out, worst = [1.]*len(ps), 0.
    for k, i in enumerate(order):
        worst = max(worst, min(1., ps[i]*(m - k)))
        out[i] = worst
    return out


def power(d: float, n: int, alpha: float = .05) -> float:
    "Power of a paired t-test, two-sided, for a mean difference of d standard deviations over n seeds."
    from scipy import stats
    c = stats.t.ppf(1 - alpha/2, n - 1)
    if abs(d)*n**.5 > 4*c + 10: return 1.             # scipy is slow out there, and gives nan
    found = float(stats.nct.sf(c, n - 1, d*n**.5) + stats.nct.cdf(-c, n - 1, d*n**.5))
    return found if math.isfinite(found) else 1.


def detectable(n: int, alpha: float = .05, wanted: float = .8) -> float:
    "The smallest difference, in standard deviations, that n seeds find with the power wanted."
    low, high = 0., 20.
    for _ in range(30):
        low, high = (low, (low + high)/2) if power((low + high)/2, n, alpha) > wanted else ((low + high)/2, high)
    return high


@dataclass
class Contrast:
    "A statement fixed before the runs: the mean over the arms of A minus that over B (none: zero), paired over seeds."
    claim: str                  # what the paper says, in our words
    part: str
    metric: str
    a: list[str]
    b: list[str]
    sign: int                   # of A - B, if the claim holds
    seeds: int                  # planned
    effect: float = math.nan    # expected, of earlier runs
    sd: float = math.nan        # of a difference, of the same runs; nan: not known before
    source: str = ''            # which runs

    def short(self, among: int = 1) -> str:
        "The power at the planned seeds, alone and as the first of so many under Holm."
        levels = .05, .05/among
        if math.isfinite(self.sd):
            got = [power(abs(self.effect)/self.sd, self.seeds, x) for x in levels]
            return f'{got[0]:.2f}, {got[1]:.2f} for {self.effect:+.3g}, sd {self.sd:.2g}'
        got = [detectable(self.seeds, x) for x in levels]
        return f'0.80 for {got[0]:.2f}, {got[1]:.2f} sd; sd not known before'
    def planned(self, among: int = 1) -> str:
        "`short`, with where the expectation comes from."
        return f'power {self.short(among)}' + (f' ({self.source})' if self.source else '')


def tested(x: list[float]) -> dict:
    "Mean of differences with its 95 % interval, effect size and p-value of Student's t, two-sided."
    from scipy import stats
    m, s, n = statistics.fmean(x), statistics.stdev(x), len(x)
    half = float(stats.t.ppf(.975, n - 1))*s/n**.5
    p = float(2*stats.t.sf(abs(m)/(s/n**.5), n - 1)) if s else float(m == 0)
    return dict(difference=m, low=m - half, high=m + half, d=m/s if s else math.inf*(m > 0) - math.inf*(m < 0) if m else 0., p=p, seeds=n)


def decide(contrasts: dict[str, Contrast], value: Callable) -> dict[str, dict]:   # value(contrast, arm, seed) -> float | None
    "Every statement with enough cells: its difference, Holm's p-value among all statements, and whether it is decided."
    rows = {}
    for text, c in contrasts.items():
        got = [[value(c, arm, s) for arm in (*c.a, *c.b)] for s in range(c.seeds)]
        got = [x for x in got if None not in x]
        if len(got) < 2: continue
        mean = lambda x: statistics.fmean(x) if x else 0.
        rows[text] = tested([mean(x[:len(c.a)]) - mean(x[len(c.a):]) for x in got]) | dict(planned=c.seeds)
    for (text, r), p in zip(rows.items(), holm([r['p'] for r in rows.values()], len(contrasts))):
        right = r['difference']*contrasts[text].sign > 0
        r['holm'] = p
        r['verdict'] = ('unfinished' if r['seeds'] < r['planned'] else 'not decided' if p >= .05 else
                        'confirmed' if right else 'contradicted')
    return rows


def number_of(done: dict, c: Contrast, arm: str, seed: int) -> float | None:   # done: cell -> its record
    "The number of a contrast, of one arm and seed; None if that cell is not finished."
    x = done.get((c.part, arm, 'seed', str(seed)))
    return None if x is None else x['after'][c.metric]


def differences(statements: dict, seeds, done: dict) -> dict[str, dict]:   # name -> (metric, methods of A, methods of B)
    "Each statement without a direction: mean difference A - B over the finished seeds, its interval, and Holm's p-value."
    mean = lambda methods, k, metric: statistics.fmean(done[m, 'seed', str(k)]['after'][metric] for m in methods)
    rows = {}
    for text, (metric, a, b) in statements.items():
        whole = [k for k in seeds if all((m, 'seed', str(k)) in done for m in (*a, *b))]
        if len(whole) > 1: rows[text] = tested([mean(a, k, metric) - mean(b, k, metric) for k in whole])
    for r, p in zip(rows.values(), holm([r['p'] for r in rows.values()])): r['holm'] = p
    return rows


def summary(folder: Path) -> str:
    "README's sentence on the statements of the three experiments."
    load = lambda name: json.loads((folder/f'{name}.json').read_text(encoding='utf-8'))
    by_cell = lambda data: {tuple(c['cell']): c for c in data['cells']}
    verdicts: list[str] = []
    for data in map(load, ('exp_fdpg', 'exp_bridge')):
        contrasts = {k: Contrast(**c) for k, c in data['contrasts'].items()}
        rows = decide(contrasts, partial(number_of, by_cell(data)))
        verdicts += [rows.get(k, {}).get('verdict', 'unfinished') for k in contrasts]
    flat = load('exp_flat')
    unlearning = differences(flat['statements'], flat['seeds'], by_cell(flat)).values()
    n = verdicts.count
    left = f" and {n('unfinished')} not run yet" if n('unfinished') else ''
    return (f"Of {len(verdicts)} statements of the papers (and of ours) on f-DPG and on SFT before DPO {n('confirmed')} are confirmed at the scale of small models, "
            f"{n('contradicted')} contradicted{',' if left else ' and'} {n('not decided')} not decided by their seeds{left}; of {len(unlearning)} differences between "
            f"methods of unlearning {sum(r['holm'] < .05 for r in unlearning)} are decided.")


# --- running

def compare(old: dict, new: dict) -> dict[str, dict]:
    """Numbers of a stored record and of the same cell computed again, with the interval in which the second should lie: 95 % of the
    difference of two estimates with the stored standard error; of exact numbers a millionth."""
    rows = {}
    for part in ('before', 'after', 'validation'):
        for k, x in (old.get(part) or {}).items():
            if not isinstance(x, (int, float)) or k.endswith('stderr'): continue
            error = old[part].get(f'{k}_stderr')
            half = 1.96*2**.5*error if error is not None else 1e-6*max(1., abs(x))
            y = new[part][k]
            verdict = 'yes' if abs(y - x) <= half else 'no' if error is not None or old.get('exact') else 'its error is not known'
            rows[f'{part} {k}'] = dict(stored=x, again=y, low=x - half, high=x + half, agrees=verdict)
    return rows


class Unfinished(KeyError):
    "The cell that another one rests on."


class Finished(dict):
    "Cell -> its record."
    def __missing__(self, cell): raise Unfinished(cell)


@dataclass
class Experiment:
    """A script of cells (part, arm, kind, what), kind 'seed', 'tune' or 'once'. `run(cell, given, done)` gives the numbers of one;
    `given` has the options, `done` what is finished."""
    doc: str
    head: dict
    cells: list[tuple]
    run: Callable
    contrasts: dict[str, Contrast]
    packages: tuple
    inputs: tuple[str, ...]                       # options that name files and folders
    command: str
    seconds: dict[str, float] = field(default_factory=dict)      # part -> measured CPU seconds of a cell

    def __post_init__(self):
        head = self.head | dict(contrasts={k: without_nan(asdict(c)) for k, c in self.contrasts.items()}, command=self.command)
        self.store = Cells(json.loads(json.dumps(head)), self.cells, file_of, lambda x: tuple(x['cell']))

    def one(self, cell: tuple, a: argparse.Namespace, again: bool = False) -> dict:
        "Run a cell unless it is finished; CPU seconds are those of every process that worked on it."
        done = Finished(self.store.finished(a.work, a.results))
        if cell in done and not again: return done[cell]
        began, spent = time.process_time(), a.work/'seconds'/(file_of(cell, a.work).name)
        before = 0. if again or not spent.is_file() else json.loads(spent.read_text())
        now = lambda: before + time.process_time() - began
        try: out = self.run(cell, a, done)
        except BaseException:
            if not again:
                spent.parent.mkdir(exist_ok=True)
                replace_text(spent, json.dumps(now()))
            raise
        seed = out.pop('seed')
        out = made(dict(cell=list(cell), **out), now(), self.packages, self.command, seed)
        if again: return out
        file_of(cell, a.work).parent.mkdir(exist_ok=True)
        replace_text(file_of(cell, a.work), json.dumps(out))
        self.store.collect(a.work, a.results)
        shutil.rmtree(running(cell, a.work), ignore_errors=True)
        shown = {k: v for k, v in (out.get('after') or {}).items() if isinstance(v, float) and not k.endswith('stderr')}
        print(time.strftime('%H:%M:%S'), name_of(cell), f"{out['cpu_seconds']} s", dict(list(shown.items())[:7]), flush=True)
        return out

    def work_off(self, mine: list[tuple], a: argparse.Namespace, pause: float = 20.) -> None:
        """Run cells in their order, leaving those that another process of the same --work is running. What runs once comes before the
        tuning of its part and that before its seeds, so these wait until it is finished, by whoever runs it."""
        left, kinds = mine, ('once', 'tune', 'seed')
        while left := self.unfinished(left, a):
            first = {part: min(kinds.index(c[2]) for c in left if c[0] == part) for part, *_ in left}
            ready = (c for c in left if kinds.index(c[2]) == first[c[0]])
            if not any(self.ours(c, left, a) for c in ready): time.sleep(pause)
        self.store.collect(a.work, a.results)       # two that ended together may each have missed the other

    def ours(self, cell: tuple, left: list[tuple], a: argparse.Namespace) -> bool:
        "Run a cell, unless another process does or will do so first with one that it rests on; whether it ran."
        with claimed(cell, a.work) as mine:
            try: return mine and bool(self.one(cell, a))
            except Unfinished as e: gone = e.args[0]
        with claimed(gone, a.work) as free:
            if free and gone not in left and self.unfinished([gone], a): sys.exit(f'{name_of(cell)} needs {name_of(gone)} first')
        return False

    def unfinished(self, cells: list[tuple], a: argparse.Namespace) -> list[tuple]:
        done = self.store.finished(a.work, a.results)
        return [c for c in cells if c not in done]

    def plan(self, done: dict) -> None:
        "Print the cells of each part, the CPU seconds of one (measured before, or of what is finished), and what is left."
        total = 0.
        for part in dict.fromkeys(c[0] for c in self.cells):
            mine = [c for c in self.cells if c[0] == part]
            got = [done[c]['cpu_seconds'] for c in mine if c in done]
            each = statistics.fmean(got) if len(got) > 5 else self.seconds.get(part, math.nan)
            left = each*(len(mine) - len(got))
            total += left
            print(f'{part:12} {len(mine):4} cells, {len(got):4} finished, {each:7.0f} s each, {left/60:7.0f} CPU minutes left')
        print(f'{"":12} {total/3600:.1f} CPU hours left')
        for text, c in self.contrasts.items(): print(f'\n{c.part}: {text}\n    {c.planned(len(self.contrasts))}')

    def report(self, done: dict) -> None:
        "Print the means over the finished seeds, and every statement."
        from fdiv_nb.reports.page import text_table
        for part in dict.fromkeys(c[0] for c in self.cells):
            rows: dict[str, dict] = {}
            for arm in dict.fromkeys(c[1] for c in self.cells if c[0] == part and c[2] == 'seed'):
                got = [done[c]['after'] for c in self.cells if c[:3] == (part, arm, 'seed') and c in done]
                keys = [k for k, v in got[0].items() if isinstance(v, (int, float)) and not k.endswith('stderr')][:12] if got else []
                if got: rows[arm] = {k: statistics.fmean(g[k] for g in got) for k in keys} | dict(seeds=len(got))
            if rows: print(f'\n{part}\n' + text_table(rows))
        if rows := decide(self.contrasts, partial(number_of, done)): print('\n' + text_table(rows))

    def page(self, done: dict) -> None:
        "Print the statements as a table of docs/claims.md: what was planned, and what was found where all seeds are there."
        rows, m = decide(self.contrasts, partial(number_of, done)), len(self.contrasts)
        print('| claim | statement that tests it | seeds | power, alone and as the first under Holm | found |\n|---|---|---|---|---|')
        for text, c in self.contrasts.items():
            r = rows.get(text, dict(verdict='unfinished'))
            found = 'not run yet' if r['verdict'] == 'unfinished' else \
                f"**{r['verdict']}**: {r['difference']:+.3g} ({r['low']:+.3g} to {r['high']:+.3g}), Holm p {r['holm']:.2g}"
            print(f'| {c.claim} | {text} | {c.seeds} | {c.short(m)} | {found} |')

    def rerun(self, cell: tuple, a: argparse.Namespace) -> None:
        "Run a finished cell again and print both, with the interval."
        from fdiv_nb.reports.page import text_table
        old = self.store.finished(a.work, a.results)[cell]
        new = self.one(cell, a, again=True)
        print(text_table(compare(old, new), digits=6))
        for k in ('commit', 'versions', 'device', 'cpu_seconds'): print(f'{k}: {old[k]} | {new[k]}')

    def main(self) -> None:
        p = argparse.ArgumentParser(description=self.doc, formatter_class=argparse.RawDescriptionHelpFormatter)
        for k in (*self.inputs, 'work', 'results'): p.add_argument(f'--{k}', type=Path)
        p.add_argument('--part', help='of the experiment; several with commas')
        p.add_argument('--only', help='PART/ARM/seed/N, PART/ARM/tune/RATE or PART/ARM/once/N')
        p.add_argument('--rerun', help='a finished cell')
        for k in ('list', 'plan', 'report', 'page', 'quick'): p.add_argument(f'--{k}', action='store_true')
        a = p.parse_args()
        mine = [c for c in self.cells if (not a.part or c[0] in a.part.split(',')) and a.only in (None, name_of(c))]
        if a.list: return print(*map(name_of, mine), sep='\n')
        done = self.store.finished(a.work or Path('.'), a.results or Path('none'))
        if a.plan: return self.plan(done)
        if a.report: return self.report(done)
        if a.page: return self.page(done)
        if not (a.work and a.results): p.error('--work and --results are needed')
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        a.work.mkdir(parents=True, exist_ok=True)
        if a.rerun: return self.rerun(tuple(a.rerun.split('/')), a)
        self.work_off(mine, a)


name_of = '/'.join


def file_of(cell: tuple, work: Path) -> Path:
    return work/'cells'/(name_of(cell).replace('/', '-').replace(':', '_') + '.json')


def running(cell: tuple, work: Path) -> Path:
    "The folder of a cell that can go on within: removed when the cell is finished."
    return work/'running'/file_of(cell, work).stem


@contextmanager
def claimed(cell: tuple, work: Path) -> Iterator[bool]:
    "Whether this process may run a cell; no other may until it ends, in whatever way."
    lock = FileLock(work/'claims'/file_of(cell, work).with_suffix('.lock').name)
    (work/'claims').mkdir(parents=True, exist_ok=True)
    try: lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try: yield True
    finally: lock.release()


def without_nan(x: dict) -> dict:
    "A dict without what is not known."
    return {k: v for k, v in x.items() if not (isinstance(v, float) and math.isnan(v))}


def rounded(x: dict, digits: int = 6) -> dict:
    "Numbers at so many digits, for a file."
    return {k: float(f'{v:.{digits}g}') if isinstance(v, float) else v for k, v in x.items()}


def needed(a: argparse.Namespace, *names: str) -> list[Path]:
    "The options of these names. Exits if one is not given."
    gone = [k for k in names if getattr(a, k) is None]
    if gone: sys.exit(f'this part needs --{" --".join(gone)}')
    return [getattr(a, k) for k in names]


if __name__ == '__main__':
    if sys.argv[1:] == ['--summary']: print(summary(Path(__file__).resolve().parent.parent/'nbs'/'results'))
    else: listed(sys.argv[1:])
