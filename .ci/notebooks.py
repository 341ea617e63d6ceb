"""nbdev-test of every notebook on workers that are forks of one warm process: `python .ci/notebooks.py [WORKERS]`.

nbdev-test alone imports torch, transformers and the rest in each worker, and every training run then waits for a garbage
collection that looks through all their objects. Here they are imported once and put out of the collector's sight."""
import contextlib, gc, importlib, importlib.util, logging, multiprocessing, os, re, resource, subprocess, sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

root = Path(__file__).resolve().parent.parent
LIBRARIES = ['torch', 'torch.distributed.fsdp', 'datasets', 'transformers.trainer', 'transformers.models.llama.modeling_llama',
             'peft', 'matplotlib.pyplot', 'fastcore.test', 'nbdev.test', 'trl']
USE_TRL = r'parity_t|^02_'        # notebooks that need it

def warm():
    "Import the libraries; whether this process may be forked, which takes a single thread."
    os.environ['JE_ARROW_MALLOC_CONF'] = 'background_thread:false'     # no thread of pyarrow
    for m in LIBRARIES:
        with contextlib.suppress(ImportError): importlib.import_module(m)
    del os.environ['JE_ARROW_MALLOC_CONF']
    tasks = Path('/proc/self/task')
    return tasks.is_dir() and len(list(tasks.iterdir())) == 1

def settle():
    "Collect what is garbage now; what is left will not be looked at again."
    gc.collect()
    gc.freeze()

def restore_logs():
    "Our loggers as they begin: notebooks of one worker share them, and one that raises a level silences the next."
    made = [k for k, x in logging.Logger.manager.loggerDict.items() if isinstance(x, logging.Logger)]
    for k in made:
        if k.partition('.')[0] not in ('fdiv_nb', '__main__', 'builtins'): continue
        x = logging.getLogger(k)
        x.setLevel(logging.NOTSET)
        x.propagate, x.disabled, x.handlers[:] = True, False, []

def begin():
    "Each worker has a fork server of its own for the tests that run on several processes."
    from fdiv_nb.models.testing import fork_server_here
    fork_server_here()

def one(path):
    "(notebook, passed, seconds)"
    from nbdev.config import get_config
    from nbdev.test import test_nb
    passed, seconds = test_nb(path, skip_flags=get_config().tst_flags.split(), basepath=root, cell_timeout=600)
    restore_logs()
    settle()
    return path, passed, seconds

def chosen():
    "The notebooks, those that train first: they take longest, and short ones fill the time at the end."
    found = sorted(p for p in Path('.').rglob('*.ipynb') if not any(x.startswith(('.', '_')) for x in p.parts))
    if not importlib.util.find_spec('trl'): found = [p for p in found if not re.search(USE_TRL, p.name)]
    return sorted((p.absolute() for p in found), key=lambda p: (p.parent.name[0] not in '478', p.parent.name[0] != '4'))

def main(workers):
    os.chdir(root/'nbs')
    sys.path.insert(0, str(root))
    if not warm():
        skip = [] if importlib.util.find_spec('trl') else ['--skip-file-re', f'^[_.]|{USE_TRL}']
        return subprocess.run([Path(sys.executable).parent/'nbdev-test', '.', '--n-workers', str(workers), *skip]).returncode
    settle()
    took = {}
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context('fork'), initializer=begin) as pool:
        for done in as_completed([pool.submit(one, p) for p in chosen()]):
            path, passed, seconds = done.result()
            took[path] = seconds, passed
    for p in sorted(took, key=took.get, reverse=True): print(f'{p.stem}: {took[p][0]:.0f} s')
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f'{len(took)} notebooks, {use.ru_utime + use.ru_stime:.0f} s of CPU')
    failed = [p.name for p in took if not took[p][1]]
    if failed: print('failed:', *failed, file=sys.stderr)
    return bool(failed)

if __name__ == '__main__':
    from notebooks import main                          # a notebook takes the place of __main__ in its worker
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 2))
