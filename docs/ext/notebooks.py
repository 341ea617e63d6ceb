"""The notebooks as pages: directives removed, exported cells marked, hidden tests folded, an index for each folder."""
import json
import re

from .reference import notebook_label

TITLES = {'1_mathematics': 'Mathematics', '2_models': 'Models', '3_losses': 'Losses, a paper each', '4_training': 'Training', '5_evaluation': 'Evaluation',
          '6_reports': 'Reports', '7_commands': 'Commands', '8_evidence': 'Evidence'}


def source(c): return ''.join(c['source'])


def directives(c): return set(re.findall(r'^#\|\s*(\w+)', source(c), re.M))


def without_directives(c): return ''.join(line for line in source(c).splitlines(True) if not re.match(r'#\|', line)).strip('\n')


def defined(text):
    "Names that a cell defines, a patched method as Class.method."
    found = []
    for deco, name, owner in re.findall(r'^(@patch[^\n]*\n(?:@[^\n]*\n)*)?(?:def|class) (\w+)(?:\(self: ?(\w+))?', text, re.M):
        found.append(f'{owner}.{name}' if deco and owner else name)
    return found + re.findall(r'^([A-Z][A-Z_0-9]*) *=', text, re.M)


def label(module, notebook, c, text):
    "The cell that stands before an exported one."
    names = ' '.join(n for n in defined(text) if not n.split('.')[-1].startswith('_'))
    body = [f"({notebook_label(notebook, c['id'])})=", f'```{{exported}} {module}', *([':names: ' + names] if names else []), '```']
    return dict(cell_type='markdown', id=f"{c['id']}-label"[:64], metadata={}, source='\n'.join(body))


def code_cell(c, text, tags): return dict(c, source=text, metadata=dict(c.get('metadata', {}), tags=tags), execution_count=None)


def transform(nb, notebook, module):
    "The cells of a page."
    cells = []
    for c in nb['cells']:
        if c['cell_type'] != 'code':
            if source(c).strip(): cells.append(c)
            continue
        marks, text = directives(c), without_directives(c)
        if not text.strip() or 'nbdev_export()' in text: continue
        if marks & {'export', 'exporti', 'exports'} and module:
            cells += [label(module, notebook, c, text), code_cell(c, text, ['exported'])]
        elif 'hide' in marks:
            last = cells[-1] if cells else {}
            if 'hide-cell' in last.get('metadata', {}).get('tags', []):      # neighbours fold into one
                last['source'] += '\n\n' + text
                last['outputs'] = last['outputs'] + c.get('outputs', [])
            else: cells.append(code_cell(c, text, ['hide-cell']))
        else: cells.append(code_cell(c, text, []))
    return cells


def title_of(nb):
    "(title, subtitle) of a notebook."
    first = next((source(c) for c in nb['cells'] if c['cell_type'] == 'markdown'), '')
    h, s = re.search(r'^# (.+)$', first, re.M), re.search(r'^> (.+)$', first, re.M)
    return (h[1] if h else ''), (s[1] if s else '')


def folder_page(folder, pages):
    rows = [f'| [{name}]({name}.ipynb) | {title} | {subtitle} |'.replace('\\|', '|') for name, title, subtitle in pages]
    toc = '\n'.join(name for name, _, _ in pages)
    return f'# {TITLES.get(folder, folder)}\n\n| notebook | title | what it shows |\n|---|---|---|\n' + '\n'.join(rows) + f'\n\n```{{toctree}}\n:hidden:\n\n{toc}\n```\n'


def copy(package, nbs, to):
    "Write the pages of all notebooks; {name of a notebook: its page}."
    pages, rooms = {}, {}
    for p in sorted(nbs.rglob('*.ipynb')):
        if '.ipynb_checkpoints' in p.parts: continue
        nb = json.loads(p.read_text(encoding='utf-8'))
        notebook = str(p.relative_to(nbs).with_suffix(''))
        m = package.by_notebook.get(notebook)
        nb['metadata'].pop('widgets', None)
        nb['metadata'].setdefault('kernelspec', dict(display_name='python3', language='python', name='python3'))     # which lexer
        nb['cells'] = transform(nb, notebook, m.name if m else '')
        to.write(f'{notebook}.ipynb', json.dumps(nb))
        pages[p.stem] = f'nbs/{notebook}'
        if '/' in notebook: rooms.setdefault(p.parent.name, []).append((p.stem, *title_of(nb)))
    for room, found in rooms.items():
        to.write(f'{room}/index.md', folder_page(room, found))
        pages[room] = f'nbs/{room}/index'
    to.prune()
    return pages
