"""SIGKILL at every step of every write of a run; then the run goes on, and must end as if nothing had happened"""
import json, os, shutil, signal, sys
from pathlib import Path
from harness import Counts, case, fdiv, folder, last_lines
import runs

WRITES = {'os.rename': 2, 'os.mkdir': 1, 'os.remove': 1, 'os.rmdir': 1, 'shutil.rmtree': 1, 'os.truncate': 1}

class Killer:
    "Counts what this process changes below a folder; stops it dead before the k-th change, after half a file with `torn`."
    def __init__(self, out, at: int = 0, torn: bool = False, note=None, signal=signal.SIGKILL, after: float = 0):
        self.out, self.at, self.torn, self.n, self.file, self.log = os.path.realpath(out), at, torn, 0, None, []
        self.note, self.signal, self.after = note, signal, after       # after: or at a time, in seconds
    def below(self, path) -> bool:
        try: return os.path.realpath(os.fspath(path)).startswith(self.out)
        except TypeError: return False                        # a descriptor
    def event(self, what: str, path) -> None:
        if not self.below(path): return
        self.n += 1
        if self.note: self.log.append(f'{what} {os.path.relpath(path, self.out)}')
        if self.n == self.at:
            if self.torn and self.file and os.path.isfile(self.file): os.truncate(self.file, os.path.getsize(self.file)//2)
            os.kill(os.getpid(), self.signal)
    def hear(self, name, args):
        if name == 'open':
            path, mode, flags = args
            writes = any(c in mode for c in 'wax+') if isinstance(mode, str) else bool(flags and flags & (os.O_WRONLY | os.O_RDWR))
            if writes and not isinstance(path, int):
                self.event('open', path)
                self.file = path
        elif name in WRITES: self.event(name, args[0])
    def __enter__(self):
        import safetensors.torch, torch
        def heard(module, attr, place):
            real = getattr(module, attr)
            def call(*a, **kw):
                path = kw.get('filename', a[place] if len(a) > place else None)
                self.event(attr, path)
                r = real(*a, **kw)
                self.file = path
                self.event(f'{attr} done', path)
                return r
            setattr(module, attr, call)
        heard(safetensors.torch, 'serialize_file', 1)
        heard(torch, 'save', 1)
        sys.addaudithook(self.hear)
        if self.after:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)                        # which ends the process at once
            signal.setitimer(signal.ITIMER_REAL, self.after)
        return self
    def __exit__(self, *e):
        if self.note: Path(self.note).write_text(json.dumps(self.log))

def places(events: list[str], most: int, second: bool, shift: int = 0) -> list[int]:
    "Which changes to stop at (from 1): those of the second checkpoint, or all; at most `most` of them, evenly, from the `shift`-th on."
    idx = list(range(1, len(events) + 1))
    if second:
        first = next(i for i, e in enumerate(events) if 'checkpoint-2' in e)
        last = next((i for i, e in enumerate(events) if 'checkpoint-3' in e), len(events))
        idx = idx[first:last + 1]
    if len(idx) <= most: return idx
    return sorted({idx[(shift + i*(len(idx) - 1)//(most - 1)) % len(idx)] for i in range(most)})

def trainers(counts: Counts, names=None, most: int = 6, limit=1):
    "Every trainer, whole and with an adapter, killed at a few changes of its second checkpoint; at others for each trainer."
    for shift, (name, lora) in enumerate(runs.kinds(names)): _trainer(counts, name, lora, most, limit, shift)

def _trainer(counts, name, lora, most, limit, shift):
    label = f"{name}{' LoRA' if lora else ''}"
    with folder() as d:
        def whole():
            with Killer(d/'whole', note=d/'events'): runs.train(name, d/'whole', lora=lora, limit=limit, note=d/'note')
        e = case(whole)
        if e.code: return counts.check('kill: trainers', label, f'does not run: {last_lines(e)}')
        events, want = json.loads((d/'events').read_text()), json.loads((d/'note').read_text())
        for i, k in enumerate(places(events, most, True, shift)):
            out = d/f'k{k}'
            def killed():
                with Killer(out, k, torn=i % 2 == 1): runs.train(name, out, lora=lora, limit=limit)
            counts.check('kill: trainers', f'{label} before {events[k - 1]}{" (torn)" if i % 2 else ""}',
                         _goes_on(name, lora, limit, out, case(killed), want, d/'after'))
            shutil.rmtree(out, ignore_errors=True)

def _goes_on(name, lora, limit, out, e, want, note) -> str:
    "What is wrong with a run that goes on after a kill."
    if e.code != -signal.SIGKILL: return f'was not killed: {last_lines(e)}'
    note.unlink(missing_ok=True)
    def again():
        resume = runs.newest_or_none(out)
        if resume is None: raise SystemExit('no whole checkpoint')
        runs.train(name, out, resume, lora=lora, limit=limit, note=note)
    e = case(again)
    if e.code: return last_lines(e)
    got = json.loads(note.read_text())
    if got['weights'] != want['weights']: return 'other weights'
    if got['history'] != want['history']: return f"other history: {difference(got['history'], want['history'])}"
    left = sorted(p.name for p in Path(out).iterdir())
    wrong = [p for p in left if p.startswith(('tmp', '.'))]
    return f'left: {wrong}' if wrong else ''

def difference(a, b, at='') -> str:
    "The first place where two values of JSON differ."
    if type(a) is type(b) and isinstance(a, dict):
        for k in {**a, **b}:
            if a.get(k) != b.get(k): return difference(a.get(k), b.get(k), f'{at}.{k}')
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b)):
            if x != y: return difference(x, y, f'{at}[{i}]')
    return f'{at}: {str(a)[:60]} instead of {str(b)[:60]}'

def random_moments(counts: Counts, names=None, seed: int = 0):
    "Killed three times, once at a random time and twice at a random change, one of them in the middle of a file; resumed each time."
    import random
    r = random.Random(seed)
    for name, lora in runs.kinds(names):
        with folder() as d: counts.check('kill: three times', f"{name}{' LoRA' if lora else ''}", _three_times(name, lora, d, r))

def _three_times(name, lora, d, r) -> str:
    "What is wrong with a run that is killed three times."
    def whole():
        with Killer(d/'whole', note=d/'events'): runs.train(name, d/'whole', lora=lora, note=d/'note')
    e = case(whole)
    if e.code: return last_lines(e)
    n, want, codes = len(json.loads((d/'events').read_text())), json.loads((d/'note').read_text()), []
    for i in range(3):
        how = dict(after=r.uniform(.1, .5)*e.seconds) if i == 0 else dict(at=1 + r.randrange(n//6), torn=i == 1)
        def part():
            resume = runs.newest_or_none(d/'out')
            with Killer(d/'out', **how): runs.train(name, d/'out', resume, lora=lora, note=d/'part')
        codes.append(case(part).code)
    if not all(c in (-signal.SIGKILL, -signal.SIGALRM) for c in codes): return f'was not killed three times: {codes}'
    e = case(lambda: runs.train(name, d/'out', runs.newest_or_none(d/'out'), lora=lora, note=d/'part') and 0)
    if e.code: return last_lines(e)
    got = json.loads((d/'part').read_text())
    return '' if got == want else f'{difference(got, want)} (ended {codes})'

def commands(counts: Counts, names=None, most: int = 10):
    "Every command: at changes all along the run, most of them after the training."
    with folder() as d:
        f = runs.files(d/'files')
        for name in names or runs.COMMANDS: _command(counts, name, d, f, most)

def _after_training(events: list[str]) -> int:
    "The number of the first change after the last checkpoint."
    return max((i for i, e in enumerate(events) if f'checkpoint-{runs.STEPS}' in e), default=0) + 1

def _command(counts, name, d, f, most):
    from fdiv_nb.commands.main import main
    words = [str(w) for w in runs.command(name, f, d/name)]
    def whole():
        with Killer(d/name, note=d/'events'): return main(words)
    e = case(whole)
    if e.code: return counts.check('kill: commands', name, f'does not run: {last_lines(e)}')
    events, want = json.loads((d/'events').read_text()), runs.result(d/name)
    late = _after_training(events)
    chosen = places(events[:late], most//2, False) + [late + k for k in places(events[late:], most//2, False)]
    for i, k in enumerate(chosen):
        out = d/f'{name}-{k}'
        w = words[:-1] + [str(out)]
        def killed():
            with Killer(out, k, torn=i % 2 == 1): return main(w)
        e = case(killed)
        fault = f'was not killed: {last_lines(e)}' if e.code != -signal.SIGKILL else command_goes_on(w, out, want)
        counts.check('kill: commands', f'{name} before {events[k - 1]}{" (torn)" if i % 2 else ""}', fault)
        shutil.rmtree(out, ignore_errors=True)

def command_goes_on(words, out, want) -> str:
    "What is wrong with a command that is repeated after a kill, first as it was, then with the flag that it names."
    done = (out/'run.json').exists()            # the lock is given back after the marker: else a second run could begin between
    again = fdiv(*words)
    if again.traceback: return f'repeated: traceback {last_lines(again)}'
    if (out/'run.json').exists() and again.code == 2:
        if not (out/'report.html').exists(): return 'counts as finished without report.html'
    elif again.code == 2:
        if 'resume_from_checkpoint last' not in again.err: return f'repeated: does not say how to go on: {last_lines(again)}'
        again = fdiv(*words, '--resume_from_checkpoint', 'last')
        if again.code: return f'resumed: {last_lines(again)}'
    elif again.code: return f'repeated: {last_lines(again)}'
    got = runs.result(out)
    if got != want: return f'other result: {difference(got, want)}'
    wrong = [p.name for p in out.iterdir() if p.name.startswith(('tmp', '.', 'saving')) and not (done and p.name == '.fdiv_lock')]
    return f'left: {wrong}' if wrong else ''
