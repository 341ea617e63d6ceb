"""The checks behind `make test`: exported code matches the notebooks, the house rules hold, notebooks are clean and pass, README blocks run."""
import ast, filecmp, json, os, re, shutil, statistics, subprocess, sys, tempfile, time
from pathlib import Path

root = Path(__file__).resolve().parent.parent
os.chdir(root)
bindir = Path(sys.executable).parent
env = {**os.environ, 'PATH': f"{bindir}{os.pathsep}{os.environ.get('PATH', '')}", 'TOKENIZERS_PARALLELISM': 'false',
       'HF_HUB_OFFLINE': '1', 'MPLBACKEND': 'Agg', 'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', '1')}
passed, failed = 0, []
BY_HAND = {'__init__.py', '_modidx.py', 'all.py'}                    # not exported from a notebook

def check(name, ok, detail=''):
    global passed
    if ok: passed += 1
    else: failed.append(name)
    print(f"{'ok  ' if ok else 'FAIL'} {name}" + (f': {detail}' if detail and not ok else ''), flush=True)

def notebook_paths(): return sorted(p for p in (root/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
def cells_of(p): return json.loads(p.read_text(encoding='utf-8'))['cells']
def source(c): return ''.join(c['source'])
def is_exported(c): return c['cell_type'] == 'code' and re.match(r'(#\|[^\n]*\n)*#\|\s*export[si]?\b', source(c)) is not None

def drift():
    "Each module of the package is, byte for byte, what its notebook exports."
    from nbdev.export import nb_export
    with tempfile.TemporaryDirectory() as d:                # the same two folders elsewhere: imports and recorded paths agree
        lib = Path(d)/'fdiv_nb'
        lib.mkdir()
        shutil.copytree(root/'nbs', Path(d)/'nbs', ignore=shutil.ignore_patterns('.*'))
        for nb in sorted((Path(d)/'nbs').rglob('*.ipynb')): nb_export(str(nb), lib_path=str(lib))
        modules = lambda at: {p.relative_to(at) for p in at.rglob('*.py') if p.name not in BY_HAND}
        made, kept = modules(lib), modules(root/'fdiv_nb')
        for name in sorted(made | kept):
            same = name in made and name in kept and filecmp.cmp(lib/name, root/'fdiv_nb'/name, shallow=False)
            check(f'export of fdiv_nb/{name}', same, 'differs from its notebook; run nbdev-export')

def order_of_modules():
    "Module name -> (number of its folder, number of its notebook)."
    order = {}
    for p in notebook_paths():
        for c in cells_of(p):
            m = re.search(r'^#\|\s*default_exp\s+(\S+)', source(c), re.M)
            if m: order[m.group(1)] = (p.parent.name, p.name)
    return order

def imports_of(path, name):
    "(module, names) of every import from this package, at the top or within a function."
    package = name.split('.')[:-1]
    for n in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(n, ast.ImportFrom):
            base = n.module or ''
            if n.level: base = '.'.join(package[:len(package) - n.level + 1] + ([n.module] if n.module else []))
            elif base == 'fdiv_nb' or base.startswith('fdiv_nb.'): base = base[8:]
            else: continue
            yield base, [a.name for a in n.names]

def house():
    "Imports point downward, no private name crosses modules, exported cells have air, a divergence has one colour."
    order = order_of_modules()
    upward, private = [], []
    for name in order:
        for base, names in imports_of(root/'fdiv_nb'/(name.replace('.', '/') + '.py'), name):
            for target in [base] if base in order else [f'{base}.{x}' for x in names if f'{base}.{x}' in order]:
                if order[target] >= order[name]: upward.append(f'{name} imports {target}')
            private += [f'{name} imports {x} of {base}' for x in names if x.startswith('_') and not x.startswith('__') and base in order]
    check('imports point downward', not upward, '; '.join(upward))
    check('no private name crosses modules', not private, '; '.join(private))
    sizes, wide, longish, total, colours = [], [], 0, 0, []
    for p in notebook_paths():
        for i, c in enumerate(cells_of(p)):
            s = source(c)
            if c['cell_type'] == 'code' and re.search(r"""['"](js|tv|forward_kl|reverse_kl)['"]\s*:\s*['"](#[0-9a-fA-F]{6}|C\d|tab:)""", s):
                if p.stem != '110_divergence': colours.append(f'{p.name}[{i}]')
            if not is_exported(c): continue
            lines = s.splitlines()
            sizes.append(sum(1 for l in lines if l.strip() and not l.startswith('#')))
            total += len(lines)
            wide += [f'{p.name}[{i}]' for l in lines if len(l) > 120]
            longish += sum(len(l) > 110 for l in lines)
    check('no exported line is longer than 120 characters', not wide, ', '.join(wide[:20]))
    check('at most 2 % of exported lines are longer than 110', longish <= .02*total, f'{longish} of {total}')
    check('exported cells: median at most 10 lines', statistics.median(sizes) <= 10, f'{statistics.median(sizes)}')
    check('exported cells: at most 8 % over 25 lines', sum(s > 25 for s in sizes) <= .08*len(sizes), f'{sum(s > 25 for s in sizes)} of {len(sizes)}')
    check('a divergence takes its colour from divergence_color', not colours, ', '.join(colours))

def api():
    "The public names: the two hand-written lists agree, nothing heavy is imported before first use, `__all__` names exist once."
    code = """
import sys, time; t = time.perf_counter()
from fdiv_nb import FDPGTrainer
print(time.perf_counter() - t, 'torch' in sys.modules)
import fdiv_nb, inspect, pickle, pydoc
from fdiv_nb import all as everything
from fdiv_nb.training.fdpg import FDPGTrainer as real
assert sorted(everything.__all__) == sorted(set(fdiv_nb.__all__) - {'__version__'}), 'fdiv_nb.__all__ and fdiv_nb.all.__all__ differ'
assert FDPGTrainer == real and isinstance(FDPGTrainer, type) and issubclass(real, FDPGTrainer) and pickle.loads(pickle.dumps(FDPGTrainer)) is real
assert len(pydoc.render_doc(FDPGTrainer)) > 10_000 and vars(FDPGTrainer) == vars(real)
assert str(inspect.signature(FDPGTrainer)) == str(inspect.signature(real)) and FDPGTrainer.__doc__ == real.__doc__
assert type('Mine', (FDPGTrainer,), {}).__mro__[1:] == real.__mro__ and fdiv_nb.FDPGTrainer is real
class Mine(FDPGTrainer): pass
assert Mine.__mro__[1] is real and fdiv_nb.get_divergence('js').name == 'js' and fdiv_nb.__version__
for name in everything.__all__: assert (getattr(everything, name).__doc__ or '').strip(), f'{name} has no docstring'
"""
    run = lambda source: subprocess.run([sys.executable, '-c', source], env=env, capture_output=True, text=True)
    r = run(code)
    seconds = [float(run('\n'.join(code.split('\n')[:4])).stdout.split()[0]) for _ in range(3)]
    torch = (r.stdout.split() or ['', ''])[1]
    check('public names at the top agree with fdiv_nb.all and behave as the real objects', r.returncode == 0, r.stderr[-600:])
    check('import fdiv_nb brings no torch', torch == 'False' and min(seconds) < .1, f'{min(seconds):.3f} s, torch: {torch}')
    where = {}
    for p in sorted((root/'fdiv_nb').rglob('*.py')):
        if p.name in BY_HAND: continue
        for n in ast.walk(ast.parse(p.read_text(encoding='utf-8'))):
            if isinstance(n, ast.Assign) and any(isinstance(t, ast.Name) and t.id == '__all__' for t in n.targets):
                for name in ast.literal_eval(n.value): where.setdefault(name, []).append(str(p.relative_to(root/'fdiv_nb')))
    twice = {k: v for k, v in where.items() if len(v) > 1}
    check(f'no public name of a module stands in two ({len(where)} names)', not twice, f'{twice}')

def links():
    "Every relative link of the pages and the notebooks leads somewhere."
    for p in [*sorted(root.glob('*.md')), *sorted((root/'bench').glob('*.md')), *notebook_paths()]:
        texts = [p.read_text(encoding='utf-8')] if p.suffix == '.md' else [source(c) for c in cells_of(p) if c['cell_type'] == 'markdown']
        broken = [x for t in texts for x in re.findall(r'\]\(([^)#\s]+)[^)]*\)', t) if not re.match(r'\w+:', x) and not (p.parent/x).exists()]
        if broken or p.suffix == '.md': check(f'links of {p.relative_to(root)}', not broken, ', '.join(broken))

def maths():
    "Markdown cells in the form that Jupyter and the site both read: `$$` on lines of its own, table rows as wide as their head."
    bad = []
    for p in notebook_paths():
        for i, c in enumerate(cells_of(p)):
            if c['cell_type'] != 'markdown': continue
            bad += [f'{p.name}[{i}]: {why}: {line.strip()[:60]}' for why, line in broken_markdown(source(c))]
    check('maths and tables of the notebooks are well formed', not bad, '; '.join(bad))

def broken_markdown(text):
    "(what is wrong, the line) for every line that MyST would not render."
    lines, fenced, inside, width = text.split('\n'), False, False, 0
    for before, line in zip(['', *lines], lines):
        if re.match(r'\s*(```|~~~)', line): fenced = not fenced
        if fenced: continue
        bare = re.sub(r'`[^`]*`', '', line)
        n, t = bare.count('$$'), bare.strip()
        if n and not inside and before.strip(): yield 'an equation needs an empty line before it', line
        if n == 1 and not (t.startswith('$$') or inside and t.endswith('$$')) or n == 2 and not (t[:2] == t[-2:] == '$$'):
            yield '$$ stands within a line', line
        inside ^= n % 2
        if not n and not inside and (bare.replace(r'\$', '').count('$') % 2): yield 'an odd number of $', line
        cells = len(re.findall(r'(?<!\\)\|', line))
        if re.fullmatch(r'[\s|:-]*-[\s|:-]*', line) and '|' in line: width = len(re.findall(r'(?<!\\)\|', before))
        elif not line.lstrip().startswith('|'): width = 0
        elif width and cells != width: yield f'a table row with {cells} bars under a head with {width}; write \\mid', line
        if width and re.search(r'\$[^$]*\\\|[^$]*\$', line): yield r'\| in a table is a bar; write \Vert', line
    if inside: yield 'an equation is not closed', lines[-1]

def site():
    "What the pages of docs/ state is so: every logged key has its entry, every example row is read, every α is converted."
    sys.path.insert(0, str(root/'.ci'))
    import facts
    lacking = facts.keys_without_entry()
    check(f'every number that is logged or reported is in docs/glossary.md ({len(facts.logged_keys())} keys)', not lacking, ', '.join(sorted(lacking)))
    wrong = list(facts.unread_rows())
    check('every example row of docs/formats.md is read', not wrong, '; '.join(wrong))
    wrong = list(facts.wrong_conversions())
    check('the conversions of docs/migration.md hold', not wrong, '; '.join(wrong))

def clean():
    "No notebook carries execution counts, private metadata or warnings."
    for nb in notebook_paths():
        cells = cells_of(nb)
        dirty = [i for i, c in enumerate(cells) if c.get('execution_count') or any(o.get('name') == 'stderr' or o.get('output_type') == 'error' for o in c.get('outputs', []))]
        check(f'nbs/{nb.relative_to(root/"nbs")} is clean', not dirty, f'cells {dirty}; run nbdev-clean')

def notebooks():
    "nbdev-test of every notebook, two at a time, in the background; `finish_notebooks` waits for it."
    return time.time(), subprocess.Popen([sys.executable, root/'.ci'/'notebooks.py', '2'], env=env)

def finish_notebooks(start, process):
    code = process.wait()
    check(f'{len(notebook_paths())} notebooks ({time.time() - start:.0f} s)', code == 0)

ESSAYS = {'8_evidence/840_exp_fdpg': 'exp_fdpg', '8_evidence/855_exp_flat_tuned': 'exp_flat', '8_evidence/860_exp_bridge': 'exp_bridge',
          '7_commands/725_demo': 'demo', '7_commands/738_unlearn_demo': 'unlearn_demo'}     # notebook -> its results

def numbers_in(text):
    "The numbers of a text, as floats; those of links, code and names (f_1, x2) are none."
    text = re.sub(r'`[^`]*`|\]\([^)]*\)|https?://\S+', ' ', text)
    return {float(x.replace(',', '')) for x in re.findall(r'(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?(?![\w])', text)}

def essays():
    "A number in the prose about stored results was computed there: it stands in a code cell, in what one printed, or in the stored settings."
    for name, results in ESSAYS.items():
        cells = cells_of(root/f'nbs/{name}.ipynb')
        code = [c for c in cells if c['cell_type'] == 'code']
        printed = ' '.join(''.join(o.get('text') or o.get('data', {}).get('text/plain', '')) for c in code for o in c['outputs'])
        kept = {k: v for k, v in json.loads((root/f'nbs/results/{results}.json').read_text(encoding='utf-8')).items() if k != 'cells'}
        known = set().union(*map(numbers_in, (printed, json.dumps(kept))), *(numbers_in(re.sub(r'(?<![\w])\.(?=\d)', '0.', source(c))) for c in code))
        lost = sorted(x for c in cells if c['cell_type'] == 'markdown' for x in numbers_in(source(c)) if x not in known)
        check(f'{name}: numbers of the prose are computed', not lost, f'{lost[:12]} stand in no cell, output or setting')

def claims():
    "The tables of docs/claims.md and the README's sentence are what the results say."
    run = lambda *words: subprocess.run([sys.executable, *words], cwd=root, env=env, capture_output=True, text=True)
    page = (root/'docs'/'claims.md').read_text(encoding='utf-8')
    found = re.findall(r'<!-- python (.*?) -->\n((?:\|.*\n)+)', page)
    check('docs/claims.md has three tables', len(found) == 3)
    for command, table in found:
        r = run(*command.split())
        check(f'docs/claims.md is the output of {command.split()[0]}', r.stdout == table, r.stderr[-600:] or f'run {command} and put it there')
    r = run('bench/cells.py', '--summary')
    check('the README says what was decided', r.returncode == 0 and r.stdout.strip() in (root/'README.md').read_text(encoding='utf-8'), r.stderr[-600:] or r.stdout)

def results():
    "Each record of nbs/results says with which commit, versions, device, command and seed it was made, and how sure it is."
    sys.path.insert(0, str(root/'bench'))
    from cells import lacking, records_in
    for f in sorted((root/'nbs/results').glob('*.json')):
        gone = {x for r in records_in(f) for x in lacking(r)}
        check(f'nbs/results/{f.name} says how it was made', not gone, f"it lacks {', '.join(sorted(gone))}; run it again")

def wrong():
    "Wrong inputs get their line, and 300 by chance no traceback; `make faults` does what takes longer."
    r = subprocess.run([sys.executable, root/'.ci'/'faults'/'run.py', '--slice'], env=env, capture_output=True, text=True)
    check('wrong inputs get one line each', r.returncode == 0, (r.stdout + r.stderr)[-3000:])

def readme():
    """The ```python blocks of the README run in order in one session, as a reader would type them, and the ```bash blocks before
    or after them, all in one empty folder; ```sh blocks are set-up and only shown."""
    blocks = re.findall(r'^```(python|bash)\n(.*?)^```', (root/'README.md').read_text(encoding='utf-8'), re.M | re.S)
    session = "names = {'__name__': '__main__'}\nfor i, code in " + repr([(i + 1, c) for i, (lang, c) in enumerate(blocks) if lang == 'python'])
    session += ":\n    print('block', i, flush=True); exec(compile(code, f'README block {i}', 'exec'), names)"
    parts = [('python blocks', [sys.executable, '-c', session])]
    parts += [(f'block {i + 1} (bash)', ['bash', '-euo', 'pipefail', '-c', c]) for i, (lang, c) in enumerate(blocks) if lang == 'bash']
    with tempfile.TemporaryDirectory() as d:
        for name, cmd in parts:
            r = subprocess.run(cmd, cwd=d, env=env, capture_output=True, text=True)
            check(f'README {name}', r.returncode == 0, (r.stdout + r.stderr)[-1500:])

if __name__ == '__main__':
    steps = sys.argv[1:] or ['api', 'house', 'links', 'maths', 'essays', 'claims', 'results', 'site', 'clean', 'drift', 'wrong', 'readme', 'notebooks']
    running = notebooks() if 'notebooks' in steps else None         # the other steps run meanwhile
    try:
        for s in steps:
            if s != 'notebooks': globals()[s]()
    finally:
        if running: finish_notebooks(*running)
    print(f'\n{passed} passed, {len(failed)} failed')
    sys.exit(bool(failed))
