"""The checks behind `make test`: exported code matches the notebooks, notebooks are clean and pass, README blocks run."""
import filecmp, os, re, shutil, subprocess, sys, tempfile, time
from pathlib import Path

root = Path(__file__).resolve().parent.parent
os.chdir(root)
bindir = Path(sys.executable).parent
env = {**os.environ, 'PATH': f"{bindir}{os.pathsep}{os.environ.get('PATH', '')}", 'TOKENIZERS_PARALLELISM': 'false',
       'HF_HUB_OFFLINE': '1', 'MPLBACKEND': 'Agg', 'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', '1')}
passed, failed = 0, []

def check(name, ok, detail=''):
    global passed
    if ok: passed += 1
    else: failed.append(name)
    print(f"{'ok  ' if ok else 'FAIL'} {name}" + (f': {detail}' if detail and not ok else ''), flush=True)

def drift():
    "Each module of the package is, byte for byte, what its notebook exports."
    from nbdev.export import nb_export
    with tempfile.TemporaryDirectory() as d:                # the same two folders elsewhere: imports and recorded paths agree
        lib = Path(d)/'fdiv_nb'
        lib.mkdir()
        shutil.copytree(root/'nbs', Path(d)/'nbs', ignore=shutil.ignore_patterns('.*'))
        for nb in sorted((Path(d)/'nbs').glob('*.ipynb')): nb_export(str(nb), lib_path=str(lib))
        made = {p.name for p in lib.glob('*.py')} - {'_modidx.py'}
        kept = {p.name for p in (root/'fdiv_nb').glob('*.py')} - {'_modidx.py', '__init__.py'}
        for name in sorted(made | kept):
            same = name in made and name in kept and filecmp.cmp(lib/name, root/'fdiv_nb'/name, shallow=False)
            check(f'export of fdiv_nb/{name}', same, 'differs from its notebook; run nbdev-export')

def clean():
    "No notebook carries execution counts, private metadata or warnings."
    import json
    for nb in sorted((root/'nbs').glob('*.ipynb')):
        cells = json.loads(nb.read_text(encoding='utf-8'))['cells']
        dirty = [i for i, c in enumerate(cells) if c.get('execution_count') or any(o.get('name') == 'stderr' or o.get('output_type') == 'error' for o in c.get('outputs', []))]
        check(f'nbs/{nb.name} is clean', not dirty, f'cells {dirty}; run nbdev-clean')

def notebooks():
    "nbdev-test over every notebook, two at a time."
    n = len(list((root/'nbs').glob('*.ipynb'))); t = time.time()
    r = subprocess.run([bindir/'nbdev-test', 'nbs', '--n-workers', '2', '--timing'], env=env)
    check(f'nbdev-test of {n} notebooks ({time.time() - t:.0f} s)', r.returncode == 0)

def readme():
    "Each ```python and ```bash block of the README runs, in order, in an empty folder; ```sh blocks are set-up and only shown."
    blocks = re.findall(r'^```(python|bash)\n(.*?)^```', (root/'README.md').read_text(encoding='utf-8'), re.M | re.S)
    with tempfile.TemporaryDirectory() as d:
        for i, (lang, code) in enumerate(blocks):
            cmd = [sys.executable, '-c', code] if lang == 'python' else ['bash', '-euo', 'pipefail', '-c', code]
            r = subprocess.run(cmd, cwd=d, env=env, capture_output=True, text=True)
            check(f'README block {i + 1} ({lang})', r.returncode == 0, (r.stdout + r.stderr)[-1500:])

if __name__ == '__main__':
    steps = sys.argv[1:] or ['drift', 'clean', 'notebooks', 'readme']
    for s in steps: globals()[s]()
    print(f'\n{passed} passed, {len(failed)} failed')
    sys.exit(bool(failed))
