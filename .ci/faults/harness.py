"""Cases in forks of one process that has imported everything: each has its own group, its own files and a time limit"""
import atexit, contextlib, io, json, os, shutil, signal, sys, tempfile, time, traceback
from pathlib import Path
from typing import NamedTuple

root = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(root))
os.environ |= dict(TOKENIZERS_PARALLELISM='false', HF_HUB_OFFLINE='1', MPLBACKEND='Agg', OMP_NUM_THREADS='1',
                   PYTHONPATH=str(root), JE_ARROW_MALLOC_CONF='background_thread:false')
# a crash of an earlier case must not be seen by a later one: everything lives in one folder, which is emptied
scratch = Path(tempfile.mkdtemp(prefix='faults-'))
_owner = os.getpid()        # forks inherit the folder and do not remove it

@atexit.register
def _remove_scratch():
    "Unless KEEP_FAULTS is set, to look at what a case left."
    if os.getpid() == _owner and not os.environ.get('KEEP_FAULTS'): shutil.rmtree(scratch, ignore_errors=True)

class Ended(NamedTuple):
    "How a case ended."
    code: int | None     # exit status, -N for a signal, None: no end within the limit
    out: str
    err: str
    seconds: float
    @property
    def traceback(self): return 'Traceback (most recent call last)' in self.err

def load_everything():
    "Import what the cases use, on one thread, so that a fork is safe."
    import torch
    torch.set_num_threads(1)
    import datasets, peft, transformers                                       # noqa: F401
    from fdiv_nb.commands.main import commands
    commands()
    for m in ('all', 'commands.train', 'commands.align', 'commands.unlearn', 'commands.prefer'):
        __import__(f'fdiv_nb.{m}')
    import gc
    gc.collect()
    gc.freeze()

def _run_child(fn, out: Path, err: Path) -> int:
    "Call fn in this forked process with its own streams; the exit status."
    for fd, path in ((1, out), (2, err)): os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), fd)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)           # a shell's background job ignores Ctrl-C
    sys.stdout, sys.stderr = io.TextIOWrapper(os.fdopen(1, 'wb', 0), write_through=True), \
        io.TextIOWrapper(os.fdopen(2, 'wb', 0), write_through=True)
    try: code = fn()
    except SystemExit as e: code = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    return int(code or 0)

class Case:
    "A running case."
    def __init__(self, fn, cwd=None):
        self.folder = Path(tempfile.mkdtemp(dir=scratch, prefix='case-'))
        self.start, self.pid = time.monotonic(), os.fork()
        if self.pid: return
        code = 1
        try:
            os.setsid()
            os.chdir(cwd or self.folder)
            code = _run_child(fn, self.folder/'out', self.folder/'err')
            for s in (sys.stdout, sys.stderr): s.flush()
        finally: os._exit(code)
    def send(self, number): os.kill(self.pid, number)
    def wait(self, limit: float = 300., until=None) -> Ended:
        "Wait for the end, or for `until()`; the whole group is ended afterwards."
        code = None
        while time.monotonic() - self.start < limit:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                break
            if until and until(): until = None
            time.sleep(.004)
        with contextlib.suppress(ProcessLookupError): os.killpg(self.pid, signal.SIGKILL)
        if code is None: os.waitpid(self.pid, 0)
        text = lambda n: (self.folder/n).read_text(errors='replace') if (self.folder/n).exists() else ''
        ended = Ended(code, text('out'), text('err'), time.monotonic() - self.start)
        shutil.rmtree(self.folder, ignore_errors=True)
        return ended

def case(fn, limit: float = 300., cwd=None) -> Ended:
    "Run fn in a fork."
    return Case(fn, cwd).wait(limit)

def together(fns, limit: float = 300.) -> list[Ended]:
    "Run several forks at once."
    cases = [Case(f) for f in fns]
    return [c.wait(limit) for c in cases]

def fdiv(*words, **kw) -> Ended:
    "The command line in a fork."
    from fdiv_nb.commands.main import main
    return case(lambda: main([str(w) for w in words]), **kw)

@contextlib.contextmanager
def folder():
    "An empty folder, removed afterwards."
    d = Path(tempfile.mkdtemp(dir=scratch, prefix='d-'))
    try: yield d
    finally: shutil.rmtree(d, ignore_errors=True)

class Counts:
    "What was tried and what failed, by group."
    def __init__(self): self.tried, self.failed, self.start = {}, {}, time.time()
    def check(self, group: str, name: str, fault: str | None) -> bool:
        "Count one case; fault: what went wrong, '' or None if nothing."
        self.tried[group] = self.tried.get(group, 0) + 1
        if fault:
            self.failed.setdefault(group, []).append(f'{name}: {fault}')
            print(f'FAIL {group}: {name}: {fault[:600]}', flush=True)
        return not fault
    def table(self) -> str:
        lines = [f"{'group':32}{'tried':>7}{'failed':>8}"]
        lines += [f"{g:32}{n:7}{len(self.failed.get(g, [])):8}" for g, n in self.tried.items()]
        return '\n'.join(lines)
    def write(self, path):
        Path(path).write_text(json.dumps(dict(tried=self.tried, failed=self.failed, seconds=round(time.time() - self.start)),
                                         indent=1) + '\n')

def last_lines(e: Ended, n: int = 3) -> str:
    "How a case ended, for people."
    return f"status {e.code}; " + ' | '.join(e.err.strip().splitlines()[-n:])[-500:]

def one_line(e: Ended, code: int = 2) -> str:
    "What is wrong with the answer to a wrong input: another status, a traceback, more than one line of ours."
    if e.code is None: return 'no end'
    if e.traceback: return 'traceback: ' + last_lines(e)
    if e.code != code: return f'status {e.code} instead of {code}: {last_lines(e)}'
    told = [x for x in e.err.splitlines() if x.startswith('fdiv ') and 'error:' in x]
    return '' if len(told) == 1 else f'{len(told)} error lines: {last_lines(e)}'
