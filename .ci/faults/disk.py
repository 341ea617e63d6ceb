"""A disk that fills up at any moment, one that may not be written, files that may not grow, and little memory"""
import ctypes, io, json, os, resource, shutil, sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from harness import Counts, case, folder, last_lines
import runs

def own_mounts() -> bool:
    "Give this process mounts of its own; whether that is allowed."
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(0x00020000) == 0: pass                       # CLONE_NEWNS
    elif libc.unshare(0x10000000 | 0x00020000) == 0:             # and CLONE_NEWUSER
        Path('/proc/self/setgroups').write_text('deny')
        Path('/proc/self/uid_map').write_text(f'0 {uid} 1')
        Path('/proc/self/gid_map').write_text(f'0 {gid} 1')
    else: return False
    return libc.mount(b'none', b'/', None, 0x4000 | 0x40000, None) == 0       # MS_REC | MS_PRIVATE

def tmpfs(place: Path, size: int, readonly: bool = False) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.mount(b'tmpfs', str(place).encode(), b'tmpfs', int(readonly), f'size={size}'.encode()) == 0

def judge(words, out: Path) -> str:
    "Run a command in this process; what is wrong with how it ends where it cannot write."
    from fdiv_nb.commands.main import main
    from fdiv_nb.training.checkpoint import checkpoints, missing_from
    err = io.StringIO()
    with redirect_stderr(err), redirect_stdout(io.StringIO()):
        try: code = main([str(w) for w in words])
        except BaseException as e: return f'{type(e).__name__}: {" ".join(str(e).split())[:300]}'
    told = [x for x in err.getvalue().splitlines() if 'error:' in x]
    if code == 0: return '' if (out/'run.json').exists() else 'status 0 without run.json'
    if code not in (1, 2) or len(told) != 1: return f'status {code}, {len(told)} lines: {err.getvalue()[-300:]}'
    if not out.is_dir(): return ''
    torn = [c.path.name for c in checkpoints(out) if missing_from(c.path)]
    half = [p.name for p in out.iterdir() if p.name.startswith(('tmp', 'saving', '.')) or p.is_file() and not p.stat().st_size]
    return f'torn: {torn}' if torn else f'left: {half}' if half else ''

def _print(fault) -> int:
    print(json.dumps(fault))
    return 0

def _case(counts, group, name, fn):
    e = case(lambda: _print(fn()), limit=120)
    fault = last_lines(e) if e.code else json.loads(e.out.strip().splitlines()[-1])
    if fault != 'skip': counts.check(group, name, fault)

def full(counts: Counts, names=('sft', 'align', 'lora', 'unlearn', 'dpo', 'distill'), sizes: int = 6):
    "A disk of every size from one page to what the run needs."
    with folder() as d:
        f = runs.files(d/'files')
        for name in names:
            e = case(lambda: __import__('fdiv_nb.commands.main', fromlist=['x']).main([str(w) for w in runs.command(name, f, d/name)]))
            if e.code:
                counts.check('disk full', name, last_lines(e))
                continue
            need = sum(-(-p.stat().st_size//4096)*4096 for p in (d/name).rglob('*') if p.is_file())
            shutil.rmtree(d/name)
            for k in range(sizes):
                size = 4096*max(1, int(need*(k + .5)/sizes)//4096)
                def within():
                    (d/'disk').mkdir(exist_ok=True)
                    if not (own_mounts() and tmpfs(d/'disk', size)): return 'skip'
                    return judge(runs.command(name, f, d/'disk/o'), d/'disk/o')
                _case(counts, 'disk full', f'{name}, {size//1024} of {need//1024} KiB', within)
            def readonly():
                (d/'disk').mkdir(exist_ok=True)
                if not (own_mounts() and tmpfs(d/'disk', 10**6, True)): return 'skip'
                return judge(runs.command(name, f, d/'disk/o'), d/'disk/o')
            _case(counts, 'disk read-only', name, readonly)

def small_files(counts: Counts, names=('sft', 'align', 'lora', 'unlearn')):
    "Files that may not grow beyond a size."
    with folder() as d:
        f = runs.files(d/'files')
        for name in names:
            for size in (0, 1000, 12_000, 30_000):
                def within():
                    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
                    return judge(runs.command(name, f, d/f'{name}{size}'), d/f'{name}{size}')
                e = case(lambda: _told(d, within), limit=120)
                fault = last_lines(e) if e.code not in (0, 9) else ''
                if e.code == 9: fault = 'see ' + last_lines(e)
                counts.check('files too large', f'{name}, {size} bytes', fault)

def _told(d, within) -> int:
    "Streams are files here too, so that what is wrong goes through the exit status."
    fault = within()
    if not fault: return 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    sys.stderr.write(fault[:400])
    return 9

def memory(counts: Counts):
    "Memory that runs out while completions are drawn, once and always: taken in halves, or one line."
    def lacks(rows: int):
        "Models have no memory for more than so many rows, but while it is found out how they are sampled from."
        import fdiv_nb.models.ways as ways
        from transformers import LlamaForCausalLM
        probe, free = ways._choose_way, []
        def choose(model):
            free.append(1)
            try: return probe(model)
            finally: free.pop()
        ways._choose_way = choose
        def limit(cls, message):
            real = cls.forward
            def forward(self, input_ids=None, **kw):
                n = len(input_ids) if input_ids is not None else len(kw['inputs_embeds'])
                if n > rows and not free: raise RuntimeError(message)
                return real(self, input_ids=input_ids, **kw)
            cls.forward = forward
        limit(LlamaForCausalLM, "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        limit(type(runs.model().model), 'could not create a primitive')
    for name in ('fdpg', 'frl-grpo', 'dpo-online', 'distill-own', 'sft', 'dpo', 'flat'):
        for rows in (3, 1):
            def run():
                lacks(rows)
                with folder() as d: runs.train(name, d/'o')
            e = case(run)
            single = rows == 1 and 'a single row' in e.err            # a pair is two rows of the model
            counts.check('memory', f'{name}, {rows} rows fit', '' if e.code == 0 or single else last_lines(e))
        def never():
            lacks(0)
            with folder() as d: runs.train(name, d/'o')
        e = case(never)
        last = (e.err.strip().splitlines() or [''])[-1]
        counts.check('memory', f'{name}, no row fits', '' if 'a single row' in last else last_lines(e))
