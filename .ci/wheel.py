"""A wheel built from the tree and one built from the sdist both install and import in an empty environment, with the bundled model and the templates of the report inside."""
import subprocess, sys, tempfile, venv
from pathlib import Path

root = Path(__file__).resolve().parent.parent
probe = "import fdiv_nb, fdiv_nb.models.tiny as t, os; assert 'site-packages' in fdiv_nb.__file__; m, tok = t.load_tiny(); from fdiv_nb.reports.page import Report; assert '<style>' in Report('t').html(); print(fdiv_nb.__version__, sum(p.numel() for p in m.parameters()), 'parameters')"

def run(*cmd, **kw): subprocess.run([str(c) for c in cmd], check=True, **kw)

def main():
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '-q']
        run(*pip, 'wheel', '--no-deps', '-w', d/'tree', root)
        run(sys.executable, '-c', f"import os, sys; os.chdir({str(root)!r}); from setuptools import build_meta as b; b.build_sdist({str(d)!r})")
        sdist, = d.glob('*.tar.gz')
        run(*pip, 'wheel', '--no-deps', '-w', d/'sdist', sdist)
        for kind in ('tree', 'sdist'):
            wheel, = (d/kind).glob('*.whl')
            env = d/f'env-{kind}'
            py = env/'bin'/'python'
            venv.create(env, with_pip=True)
            run(py, '-m', 'pip', '--disable-pip-version-check', '-q', 'install', '-c', root/'constraints.txt', 'torch')
            run(py, '-m', 'pip', '--disable-pip-version-check', '-q', 'install', '-c', root/'constraints.txt', wheel)
            run(py, '-c', probe, cwd=d)
            run(env/'bin'/'fdiv', 'divergences', cwd=d)
            print(f'{wheel.name} from {kind}: {wheel.stat().st_size/1e6:.1f} MB, installs and imports')

if __name__ == '__main__': main()
