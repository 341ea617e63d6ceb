"""The site: pages of this folder, the notebooks as they are stored (never executed), and the API read from the source.

`make docs` writes docs/_build/html. What is generated here (`nbs/`, `api/`, `project/`, `_static/`) is not committed.
"""
import re
import shutil
import sys
from configparser import ConfigParser
from pathlib import Path

here = Path(__file__).parent
sys.path.insert(0, str(here))
from ext import links, llms, notebooks                                          # noqa: E402
from ext.folder import Folder                                                   # noqa: E402
from ext.package import Package                                                 # noqa: E402
from ext.reference import Reference                                             # noqa: E402

cfg = ConfigParser(interpolation=None)
cfg.read(here.parent/'settings.ini', encoding='utf-8')
cfg = cfg['DEFAULT']

project, author, release = cfg['lib_name'], cfg['author'], cfg['version']
copyright = author
extensions = ['myst_nb', 'ext.links', 'ext.llms']
nb_execution_mode = 'off'
nb_code_prompt_show = nb_code_prompt_hide = 'tests of this section'
myst_enable_extensions = ['dollarmath', 'amsmath', 'fieldlist', 'attrs_block', 'colon_fence', 'deflist']
myst_heading_anchors = 3
suppress_warnings = ['toc.empty_glob', 'mystnb.unknown_mime_type', 'myst.header', 'misc.highlighting_failure']
exclude_patterns = ['_build', 'node_modules', 'ext']
smartquotes = False                             # f' is a derivative
add_module_names = False
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = 'hide'
html_theme = 'furo'
html_title = f'{project} {release}'
html_static_path = ['_static']
html_css_files = ['site.css']
html_copy_source = False
html_search_scorer = str(here/'scorer.js')
mathjax_path = 'mathjax/tex-svg.js'
mathjax3_config = {'tex': {'inlineMath': [['\\(', '\\)']], 'displayMath': [['\\[', '\\]']]}}

package = Package()
Reference(package).write(Folder(here/'api'))
commands = set(re.findall(r'^\(cli-(\w+)\)=', (here/'cli.md').read_text(encoding='utf-8'), re.M))
links.state.update(package=package, commands=commands, pages=notebooks.copy(package, here.parent/'nbs', Folder(here/'nbs')))
project_pages = Folder(here/'project')
for name in ('CHANGELOG', 'CONTRIBUTING', 'SECURITY'):
    text = (here.parent/f'{name}.md').read_text(encoding='utf-8')
    text = re.sub(r'\]\((nbs/[^)]+)\)', r'](../\1)', text)
    text = re.sub(r'\]\(docs/(\w+\.md)\)', r'](../\1)', text)
    project_pages.write(f'{name.lower()}.md', re.sub(r'\[([^\]]+)\]\((?!\.\./|\w+:)[^)]+\)', r'\1', text))
project_pages.prune()
llms.state.update(package=package, cfg=cfg)

math = here/'node_modules'/'mathjax'/'es5'/'tex-svg.js'
if not math.is_file(): raise SystemExit("docs: MathJax is missing; run `npm ci --prefix docs` (or `make docs`, which does)")
(here/'_static'/'mathjax').mkdir(parents=True, exist_ok=True)
shutil.copy(math, here/'_static'/'mathjax')
shutil.copy(here/'site.css', here/'_static')
