"""llms.txt: what the project is, its pages and its public names, for a reader that reads text."""
from .notebooks import TITLES

state = {}                      # package and settings, set by conf.py


def title_and_line(app, docname):
    title = app.env.titles[docname].astext() if docname in app.env.titles else docname
    return f'- [{title}]({app.builder.get_target_uri(docname)})'


def text_of(app):
    package, cfg = state['package'], state['cfg']
    parts = [f"# {cfg['lib_name']}", f"> {cfg['description']}",
             'Losses are plain functions of log-probability tensors; trainers are subclasses of `transformers.Trainer`; every module is exported from the notebook that '
             'derives it. `from fdiv_nb import NAME` gives the names under "API".']
    pages = [d for d in sorted(app.env.found_docs) if '/' not in d and d not in ('index', 'genindex')]
    parts += ['## Pages', '\n'.join(title_and_line(app, d) for d in ['index', *pages])]
    parts += ['## API']
    for name in sorted(package.top):
        s = package.modules[package.top[name]].symbols[name]
        call = '(output_dir, **options)' if s.config else s.signature or ''
        uri = app.builder.get_target_uri('api/' + s.module.removeprefix('fdiv_nb.').replace('.', '/'))
        parts.append(f'- [{name}]({uri}#{s.full}): `{name}{call}` {s.line}')
    parts += ['## Notebooks']
    for room in ['', *TITLES]:
        found = [d for d in sorted(app.env.found_docs) if d.startswith('nbs/') and not d.endswith('/index') and d.rpartition('/')[0] == f'nbs/{room}'.rstrip('/')]
        if found: parts.append('\n'.join(([f'### {TITLES[room]}', ''] if room else []) + [title_and_line(app, d) for d in found]))
    return '\n\n'.join(parts).replace('\n\n- ', '\n- ').replace('## API\n-', '## API\n\n-') + '\n'


def finish(app, exception):
    if exception is None and app.builder.format == 'html': (app.outdir/'llms.txt').write_text(text_of(app), encoding='utf-8')


def setup(app):
    app.connect('build-finished', finish)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
