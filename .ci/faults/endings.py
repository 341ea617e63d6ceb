"""Signals, two runs in one folder, and processes that die"""
import json, os, signal, subprocess, sys, time
from pathlib import Path
from harness import Case, Counts, case, fdiv, folder, last_lines, one_line, root, together
import kills, runs

def _main(words):
    from fdiv_nb.commands.main import main
    return lambda: main([str(w) for w in words])

def _long(words, steps: int = 40):
    "The same command with more steps, and without checkpoints on the way."
    w = [str(x) for x in words]
    for k, v in (('--max_steps', steps), ('--save_strategy', 'no')): w[w.index(k) + 1] = str(v)
    i = w.index('--save_steps')
    return w[:i] + w[i + 2:]

def signals(counts: Counts, names=runs.COMMANDS):
    "Ctrl-C and SIGTERM: a checkpoint and one line; what is continued ends like an undisturbed run. Twice: at once."
    with folder() as d:
        f = runs.files(d/'files')
        for name in names:
            words = _long(runs.command(name, f, d/f'{name}-whole'))
            e = case(_main(words))
            if e.code:
                counts.check('signals', name, last_lines(e))
                continue
            want = runs.result(d/f'{name}-whole')
            for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
                out = d/f'{name}-{code}'
                e = _stopped([*words[:-1], str(out)], number)
                counts.check('signals', f'{name} {code}', _after_signal([*words[:-1], str(out)], out, e, code, want))
            out = d/f'{name}-twice'
            e = _stopped([*words[:-1], str(out)], signal.SIGINT, twice=True)
            fault = one_line(e, 130) if e.code == 130 and 'stopped by' not in e.err else ''
            if e.code not in (130, 0): fault = last_lines(e)
            counts.check('signals', f'{name} twice', fault)

def _stopped(words, number, twice: bool = False):
    "The end of a command that gets a signal after its second step."
    c = Case(_main(words))
    def step():
        if not (c.folder/'err').exists() or 'step 2/' not in (c.folder/'err').read_text(errors='replace'): return False
        c.send(number)
        if twice:
            time.sleep(.02)
            c.send(number)
        return True
    return c.wait(60, step)

def _after_signal(words, out, e, code, want) -> str:
    if e.traceback: return 'traceback: ' + last_lines(e)
    if e.code != code: return f'status {e.code} instead of {code}: {last_lines(e)}'
    if '--resume_from_checkpoint last' not in e.err.splitlines()[-1]: return f'no remedy: {last_lines(e)}'
    e = fdiv(*words, '--resume_from_checkpoint', 'last')
    if e.code: return f'continued: {last_lines(e)}'
    got = runs.result(out)
    return '' if got == want else kills.difference(got, want)

def races(counts: Counts, names=('sft', 'align', 'unlearn', 'lora', 'dpo'), writers: int = 400):
    "Two runs that begin together in one folder: one is refused, and the other is as if alone."
    with folder() as d:
        f = runs.files(d/'files')
        for name in names:
            words = [str(w) for w in runs.command(name, f, d/name)]
            alone = [*words[:-1], str(d/f'{name}-alone')]
            case(_main(alone))
            two = together([_main(words), _main(words)])
            codes = sorted(e.code for e in two if e.code is not None)
            fault = '' if codes == [0, 2] else f'statuses {codes}: ' + ' / '.join(map(last_lines, two))
            if not fault:
                fault = one_line(next(e for e in two if e.code == 2))
                if not fault and runs.result(d/name) != runs.result(d/f'{name}-alone'): fault = 'other result'
            counts.check('two runs at once', name, fault)
        from fdiv_nb.reports.record import write_json
        def write(i):
            def go():
                for k in range(writers): write_json(d/'x.json', dict(i=i, k=k, text='x'*5000))
            return go
        ends = together([write(0), write(1)])
        counts.check('two runs at once', 'one file written by two', '; '.join(last_lines(e) for e in ends if e.code))
    with folder() as d:
        for name in ('sft', 'fdpg', 'dpo-online'):
            case(lambda: runs.train(name, d/name, max_steps=2) and 0)
            e = case(lambda: runs.train(name, d/name, max_steps=2) and 0)
            counts.check('a used folder', f'{name} again', '' if 'holds 2 checkpoints of an earlier run' in e.err else last_lines(e))

RANKS = """
import json, os, signal, sys
sys.path.insert(0, {here!r})
import harness, runs, kills
name, out, resume, at, note = sys.argv[1:6]
rank = int(os.environ['RANK'])
lora = name.endswith('+lora')
name = name.removesuffix('+lora')
resume = None if resume == 'new' else runs.newest_or_none(out) if rank == 0 or True else None
kw = dict(lora=lora, note=note if rank == 0 else None)
if rank == 0 and int(at):
    with kills.Killer(out, int(at)): runs.train(name, out, resume, **kw)
elif rank == 0 and note.endswith('count'):
    with kills.Killer(out, note=note + '.events'): runs.train(name, out, resume, **kw)
else: runs.train(name, out, resume, **kw)
"""
def two_processes(counts: Counts, names=('sft', 'fdpg', 'frl-grpo', 'dpo', 'flat', 'distill-own', 'sft+lora', 'fdpg+lora'), times: int = 3, seed: int = 1):
    "Two processes, of which one is killed three times: continued each time, and equal to the bit at the end."
    import random
    from fdiv_nb.models.testing import local_processes
    r, source = random.Random(seed), RANKS.format(here=str(Path(__file__).parent))
    for name in names:
        with folder() as d:
            go = lambda out, resume, at, note: local_processes(source, 2, name, d/out, resume, at, d/note)
            try: go('whole', 'new', 0, 'count')
            except RuntimeError as e:
                counts.check('two processes', name, str(e)[-300:])
                continue
            want, n = json.loads((d/'count').read_text()), len(json.loads((d/'count.events').read_text()))
            ended = []
            for _ in range(times):
                try: go('out', 'last', 1 + r.randrange(n//2), 'part')
                except RuntimeError as e: ended.append(str(e)[:30])
            try: go('out', 'last', 0, 'note')
            except RuntimeError as e: fault = str(e)[-300:]
            else:
                got = json.loads((d/'note').read_text())
                fault = '' if got == want else kills.difference(got, want)
            counts.check('two processes', name, fault)

TORCHRUN = """
import os, signal, sys
sys.path.insert(0, {here!r})
import harness, runs
how, out = sys.argv[1:]
calls = []
def reward(prompts, completions, **kw):
    calls.append(1)
    if len(calls) == 6 and os.environ['RANK'] == '1':
        if how == 'killed': os.kill(os.getpid(), signal.SIGKILL)
        if how == 'exits': os._exit(3)
        if how == 'raises': raise RuntimeError('no more')
    return [float(len(c)) for c in completions]
runs.reward = reward
runs.train('fdpg', out)
"""
def dead_ranks(counts: Counts, ways=('killed', 'exits', 'raises')):
    "One of two processes under torchrun dies: both end, within a minute, and the last checkpoint is whole."
    from fdiv_nb.training.checkpoint import newest_whole
    for how in ways:
        with folder() as d:
            (d/'main.py').write_text(TORCHRUN.format(here=str(Path(__file__).parent)))
            words = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', str(d/'main.py'), how, str(d/'o')]
            try: e = subprocess.run(words, capture_output=True, text=True, timeout=180, env=os.environ | dict(CUDA_VISIBLE_DEVICES=''), cwd=root)
            except subprocess.TimeoutExpired: fault = 'hangs'
            else:
                whole, passed = newest_whole(d/'o')
                fault = '' if e.returncode and whole and not passed else f'status {e.returncode}, whole {whole}, {passed}: {e.stderr[-300:]}'
            counts.check('a dead process', how, fault)
