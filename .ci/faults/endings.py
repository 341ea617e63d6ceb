"""Signals, two runs in one folder, and processes that die"""
import json, os, signal, subprocess, sys, time
from pathlib import Path
from typing import NamedTuple
from collections.abc import Callable
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
    return c.wait(300, step)

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
import os, sys
sys.path.insert(0, {here!r})
import harness, runs, kills
name, lora, out, resume, who, at, note = sys.argv[1:8]
rank = os.environ['RANK']
resume = runs.newest_or_none(out) if resume == 'last' else None
with kills.Killer(out, int(at) if rank == who else 0, note=note + '.events' + rank):
    runs.train(name, out, resume, lora=lora == 'True', note=note if rank == '0' else None)
"""
def two_processes(counts: Counts, names=None, seed: int = 1):
    "Two processes, of which one, by turns, is killed three times: continued each time, and equal to the bit at the end."
    import random
    r = random.Random(seed)
    for name, lora in runs.kinds(names):
        if name == 'sft-head': continue                 # refused there: its head is not shared
        with folder() as d: counts.check('two processes', f"{name}{' LoRA' if lora else ''}", _two_killed(name, lora, d, r))

def _two_killed(name, lora, d, r, times: int = 3) -> str:
    "What is wrong with a run of two processes that is killed three times."
    from fdiv_nb.models.testing import local_processes
    source = RANKS.format(here=str(Path(__file__).parent))
    def go(out, resume, who, at, note):
        try: local_processes(source, 2, name, lora, d/out, resume, who, at, d/note)
        except RuntimeError as e: return str(e)
    if e := go('whole', 'new', 0, 0, 'count'): return e[-400:]
    want = json.loads((d/'count').read_text())
    n = [len(json.loads((d/f'count.events{k}').read_text())) for k in (0, 1)]
    for i in range(times):
        e = go('out', 'last', i % 2, 1 + r.randrange(max(1, n[i % 2]//6)), 'part')
        if e is None or 'ended with -9' not in e: return f'was not killed: {e and e[-300:]}'
    if e := go('out', 'last', 0, 0, 'part'): return e[-400:]
    got = json.loads((d/'part').read_text())
    return '' if got == want else kills.difference(got, want)

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
    "One of two processes under torchrun dies: both end, and the last checkpoint is whole."
    from fdiv_nb.training.checkpoint import newest_whole
    for how in ways:
        with folder() as d:
            (d/'main.py').write_text(TORCHRUN.format(here=str(Path(__file__).parent)))
            words = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', str(d/'main.py'), how, str(d/'o')]
            try: e = subprocess.run(words, capture_output=True, text=True, timeout=400, env=os.environ | dict(CUDA_VISIBLE_DEVICES=''), cwd=root)
            except subprocess.TimeoutExpired: fault = 'hangs'
            else:
                whole, passed = newest_whole(d/'o')
                fault = '' if e.returncode and whole and not passed else f'status {e.returncode}, whole {whole}, {passed}: {e.stderr[-300:]}'
            counts.check('a dead process', how, fault)
    counts.check('a dead process', 'fdiv align', _dead_command())

DIES = """import os, signal
n = 0
def r(prompts, completions, **kw):
    global n
    n += 1
    if n == 6 and os.environ.get('RANK') == '1': os.kill(os.getpid(), signal.SIGKILL)
    return [len(c.split())/8 for c in completions]
"""
def _dead_command() -> str:
    "What is wrong with a command under torchrun of which one process is killed: one line of ours, and the checkpoint to go on from."
    from fdiv_nb.training.checkpoint import newest_whole
    with folder() as d:
        f = runs.files(d/'files')
        (f/'reward.py').write_text(DIES)
        words = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', '-m', 'fdiv_nb.commands.main']
        try: e = subprocess.run([*words, *map(str, runs.command('align', f, d/'o'))], capture_output=True, text=True, timeout=300,
                                env=os.environ | dict(CUDA_VISIBLE_DEVICES=''))
        except subprocess.TimeoutExpired: return 'hangs'
        told = [x for x in e.stderr.splitlines() if 'fdiv align: error:' in x]
        whole, passed = newest_whole(d/'o')
        ours = [x for x in e.stderr.splitlines() if x.startswith('[rank')]
        if not e.returncode or len(told) != 1 or 'another process' not in told[0] or ours: return f'status {e.returncode}, {told}: {e.stderr[-300:]}'
        return '' if whole and not passed and whole.name in told[0] else f'{whole} is whole, {passed}: {told}'

BREAKS = """def r(prompts, completions, **kw):
    global n
    n = globals().get('n', 0) + 1
    if n > LIMIT: HOW
    return [len(c.split())/8 for c in completions]
"""
HOW = dict(raises="raise RuntimeError('the judge is gone')", ends="import sys; sys.exit(0)", nan="return [float('nan')]*len(completions)",
           server="from urllib.error import URLError; raise URLError('refused')", interrupted="raise KeyboardInterrupt")
def at_the_end(counts: Counts):
    "What follows the training fails, a judge, a reward, a picture, a merge, the disk: model and run.json stay, one line, status 1."
    with folder() as d:
        f = runs.files(d/'files')
        reward = f'{f/"reward.py"}:r'
        for name in ('align', 'reinforce'):
            words = runs.command(name, f, d/'o')
            calls = _calls(words, f)
            for how, do in HOW.items():
                (f/'breaks.py').write_text(BREAKS.replace('LIMIT', str(calls - 1)).replace('HOW', do))
                out = d/f'{name}-{how}'
                e = fdiv(*[f'{f/"breaks.py"}:r' if w == reward else w for w in words[:-1]], out)
                counts.check('at the end', f'{name}: the reward {how}', _kept(e, out, 130 if how == 'interrupted' else 1))
        for name in runs.COMMANDS:
            for what, patch in PATCHES.items():
                if name not in patch.names: continue
                out = d/f'{name}-{what.replace(" ", "-")}'
                more = patch.more(f, name) if patch.more else []
                def run():
                    patch.apply()
                    return _main([*runs.command(name, f, out), *more])()
                e = case(run)
                counts.check('at the end', f'{name}: {what}', _kept(e, out, patch.code))

def _calls(words, f) -> int:
    "How often a command calls its reward."
    (f/'counts.py').write_text(f'def r(prompts, completions, **kw):\n    open({str(f/"count")!r}, "a").write("x")\n'
                               '    return [len(c.split())/8 for c in completions]\n')
    (f/'count').write_text('')
    fdiv(*[f'{f/"counts.py"}:r' if str(w).endswith('reward.py:r') else w for w in words[:-1]], f'{words[-1]}-{len(words)}')
    return len((f/'count').read_text())

def _breaks(where: str, name: str, error, after=lambda *a: True):
    "A function that makes `name` of a module or class raise, where after(*args) holds."
    def apply():
        import importlib
        module, _, cls = where.partition(':')
        place = importlib.import_module(f'fdiv_nb.{module}' if module != 'transformers' else module)
        place = getattr(place, cls) if cls else place
        real = getattr(place, name)
        def call(*args, **kw):
            if after(*args): raise error
            return real(*args, **kw)
        setattr(place, name, call)
    return apply

def _page(error):
    "A function that makes every page raise."
    both = _breaks('reports.page', 'run_report', error), _breaks('commands.unlearn', 'write_report', error)
    return lambda: [apply() for apply in both]

class Patch(NamedTuple):
    "What is made to fail, for which commands, the exit status, and more flags."
    apply: Callable
    names: tuple = runs.COMMANDS
    code: int = 1
    more: Callable | None = None

ROWS = 'sft', 'lora', 'dpo', 'unpaired', 'online', 'distill'
def _held(f, name): return ['--eval_data', f/dict(dpo='pairs.jsonl', unpaired='labelled.jsonl', online='pairs.jsonl').get(name, 'rows.jsonl')]
full_disk = OSError(28, 'No space left on device')
seen = []
PATCHES = {
    'the page, a full disk': Patch(_page(full_disk)),
    'the page, a mistake in it': Patch(_page(AttributeError("'NoneType' object has no attribute 'x'")), ('align', 'sft', 'unlearn')),
    'the page, Ctrl-C': Patch(_page(KeyboardInterrupt()), ('align', 'sft', 'unlearn'), code=130),
    'the evaluation': Patch(_breaks('transformers:Trainer', 'evaluation_loop', RuntimeError('the judge is gone'), lambda t, *a: t.state.global_step), ROWS, more=_held),
    'the evaluation, no memory': Patch(_breaks('transformers:Trainer', 'evaluation_loop', RuntimeError("DefaultCPUAllocator: can't allocate memory"),
                                               lambda t, *a: t.state.global_step), ('sft', 'dpo'), more=_held),
    'the answers': Patch(_breaks('commands.train', 'answers_of', RuntimeError('no answer')), ROWS),
    'the judge': Patch(_breaks('evaluation.forgetting:Judge', '__call__', RuntimeError('the judge is gone'), lambda *a: seen.append(1) or len(seen) > 1), ('unlearn',)),
    'the picture': Patch(_breaks('commands.unlearn_run', 'tradeoff_figure', ValueError('no picture')), ('unlearn',)),
    'the merge, a full disk': Patch(_breaks('models.loading', 'write_merged', full_disk), ('lora',), more=lambda f, name: ['--merge']),
}

def _kept(e, out, code: int) -> str:
    "What is wrong with how a command ends whose last part fails."
    from safetensors.torch import load_file
    if (fault := one_line(e, code)): return fault
    lost = [n for n in ('run.json', 'config.json') if not (out/n).exists() and not (n == 'config.json' and (out/'adapter_config.json').exists())]
    if lost: return f'lost: {lost}'
    load_file(next(p for p in (out/'model.safetensors', out/'adapter_model.safetensors') if p.exists()))
    if 'is trained and saved in' not in e.err: return f'does not say where the model is: {last_lines(e)}'
    if not json.loads((out/'run.json').read_text()).get('failed'): return 'run.json does not say what failed'
    left = [p.name for p in out.iterdir() if p.name.startswith(('tmp', '.', 'saving'))]
    return f'left: {left}' if left else ''
