"""The notebooks as a site: rendered as they are stored, never executed. `make docs` writes docs/_build/html."""
import json, shutil
from configparser import ConfigParser
from pathlib import Path

here = Path(__file__).parent
cfg = ConfigParser(interpolation=None)
cfg.read(here.parent/'settings.ini', encoding='utf-8')
cfg = cfg['DEFAULT']

project, author, release = cfg['lib_name'], cfg['author'], cfg['version']
copyright = author
extensions = ['myst_nb']
nb_execution_mode = 'off'
myst_enable_extensions = ['dollarmath', 'amsmath']
myst_heading_anchors = 3
suppress_warnings = ['mystnb.unknown_mime_type', 'myst.header', 'myst.xref_missing', 'misc.highlighting_failure']
exclude_patterns = ['_build', 'node_modules']
html_theme = 'furo'
html_title = f'{project} {release}'
html_static_path = ['_static']
mathjax_path = 'mathjax/tex-svg.js'
mathjax3_config = {'tex': {'inlineMath': [['\\(', '\\)']], 'displayMath': [['\\[', '\\]']]}}

notebooks = here/'nbs'
shutil.rmtree(notebooks, ignore_errors=True)
notebooks.mkdir()
for nb in sorted((here.parent/'nbs').rglob('*.ipynb')):          # a reader needs no directives
    d = json.loads(nb.read_text(encoding='utf-8'))
    for c in d['cells']: c['source'] = [line for line in c['source'] if not line.startswith('#| ')]
    d['cells'] = [c for c in d['cells'] if ''.join(c['source']).strip()]
    to = notebooks/nb.relative_to(here.parent/'nbs')
    to.parent.mkdir(exist_ok=True)
    to.write_text(json.dumps(d), encoding='utf-8')
math = here/'node_modules'/'mathjax'/'es5'/'tex-svg.js'
if not math.is_file(): raise SystemExit("docs: MathJax is missing; run `npm ci --prefix docs` (or `make docs`, which does)")
(here/'_static'/'mathjax').mkdir(parents=True, exist_ok=True)
shutil.copy(math, here/'_static'/'mathjax')
