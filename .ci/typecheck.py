"""pyright over what a user writes: the package's front, the README's Python blocks, and a call of each public trainer and loss.

Settings are [tool.pyright] of pyproject.toml. Where pyright is not installed (`pip install pyright`; it needs Node.js), nothing is checked.
"""
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

root = Path(__file__).resolve().parent.parent

def readme_code():
    "The Python blocks of the README as one file, for they are one session; other lines are empty, so that line numbers agree."
    text = (root/'README.md').read_text(encoding='utf-8')
    blocks = [(text.count('\n', 0, m.start(1)), m[1]) for m in re.finditer(r'^```python\n(.*?)^```', text, re.M | re.S)]
    code = ''
    for line, block in blocks: code += '\n'*(line - code.count('\n')) + block
    return code

def find_pyright():
    "The pyright beside this Python, else the one on the PATH, else None."
    beside = Path(sys.executable).parent/'pyright'
    return str(beside) if beside.exists() else shutil.which('pyright')

def errors(pyright, folder):
    "pyright's errors for the package's front and the files of a folder, as lines of text."
    front = [str(p) for p in (root/'fdiv_nb'/'__init__.py', root/'fdiv_nb'/'all.py') if p.exists()]
    config = dict(extends=str(root/'pyproject.toml'), include=['.'], extraPaths=[str(root)])
    (folder/'pyrightconfig.json').write_text(json.dumps(config), encoding='utf-8')
    run = [pyright, '--outputjson', '--pythonpath', sys.executable]
    found = []
    for cmd, cwd in ((run + ['-p', str(folder)], folder), (run + front, root)):
        r = subprocess.run(cmd, cwd=cwd, capture_output=True, text=True)
        try:
            found += json.loads(r.stdout)['generalDiagnostics']
        except ValueError:
            sys.exit(f'pyright failed: {r.stdout}{r.stderr}')
    return [f"{Path(d['file']).name}:{d['range']['start']['line'] + 1}: {d['message']}" for d in found if d['severity'] == 'error']

def main():
    pyright = find_pyright()
    if not pyright:
        print('pyright is not installed; types are not checked')
        return
    with tempfile.TemporaryDirectory() as d:
        folder = Path(d).resolve()
        shutil.copy(root/'.ci'/'signatures.py', folder)
        (folder/'readme.py').write_text(readme_code(), encoding='utf-8')
        wrong = errors(pyright, folder)
    print('\n'.join(wrong + [f'{len(wrong)} type errors']))
    sys.exit(bool(wrong))

if __name__ == '__main__':
    main()
