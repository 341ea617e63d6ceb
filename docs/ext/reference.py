"""The API pages: one for each module, and an index by what a reader wants."""
import re

GROUPS = [
    ('Divergences', 'one convex f, everything computed from log u', 'mathematics.'),
    ('Losses', 'plain functions of log-probabilities; they never see a model', 'losses.fdpg losses.flat losses.fsft losses.fdpo losses.fpo losses.anchor losses.distill losses.unlearn'),
    ('Rewards and targets', 'what to align to', 'losses.rewards losses.target'),
    ('Trainers', 'thin subclasses of `transformers.Trainer`, each with its configuration', 'training.'),
    ('Log-probabilities and fused losses', 'from logits, or from hidden states without a `[tokens, vocabulary]` tensor', 'models.logprobs models.fused'),
    ('Models and sampling', 'load, sample, the bundled model', 'models.'),
    ('Evaluation and reports', 'measure a model, write a page', 'evaluation. reports.'),
]
FOLDERS = dict(mathematics='divergences, conjugates, estimates', models='log-probabilities, loading, sampling', losses='a paper each',
               training='rows, batches, trainers', evaluation='metrics, judges, attacks', reports='figures, pages, records', commands='`fdiv`')


def escape(text):
    "Docstring text as Markdown: what stands outside of backticks and equations means itself."
    def plain(s):
        s = re.sub(r'(?<![\s(])\*|\*(?![\w(])', r'\\*', s)
        return re.sub(r'([<$])', r'\\\1', s)
    text = re.sub(r"(?<![\w`])'[^'`\n]*[<$\\][^'`\n]*'|(?<![\w`*])\*\*\w+(?:\*\*)?", r'`\g<0>`', text)
    parts = re.split(r'(`[^`]*`|\$[^\s$](?:[^$\n]*[^\s$])?\$(?!\w))', text)
    text = ''.join(p if i % 2 else plain(p) for i, p in enumerate(parts))
    return re.sub(r'^(\s*)([>+#-](?! `)|\d+\.)', r'\1\\\2', text) if re.match(r'\s*[>+#-]', text) else text


def cell(text): return escape(' '.join(str(text).split())).replace('|', '\\|')


def code(text): return f"`{' '.join(str(text).split())}`".replace('|', '\\|') if text else ''


def page_of(module): return 'api/' + module.removeprefix('fdiv_nb.').replace('.', '/')


def notebook_label(notebook, id): return f"cell-{notebook.split('/')[-1].split('_')[0]}-{id}"


class Reference:
    def __init__(self, package): self.package = package

    def fields(self, s):
        parameters = [(p.name, p.text) for p in s.parameters if p.text]
        lines = [f':param {n}: {escape(t)}' for n, t in parameters]
        if s.returns: lines.append(f':returns: {escape(s.returns)}')
        return '\n'.join(lines)

    def origin(self, s):
        notebook = self.package.modules[s.module].notebook
        if not notebook or not s.cell: return ''
        how = f'`from fdiv_nb import {s.name}` · ' if self.package.top.get(s.name) == s.module else ''
        return f"{{.origin}}\n{how}written in {{ref}}`{notebook.split('/')[-1]} <{notebook_label(notebook, s.cell)}>`\n"

    def options(self, s, title=''):
        rows = [f'| `{o.name}` | {code(o.type)} | {code(o.default)} | {cell(o.text)} |' for o in s.options]
        if not rows: return ''
        return '\n'.join(([f'{title}\n'] if title else []) + ['| option | type | default | meaning |', '|---|---|---|---|', *rows, ''])

    def class_signature(self, s):
        if s.config:
            trains = any('TrainingArguments' in b for c in [s, *self.package.bases_of(s)] for b in c.bases)
            return '(output_dir, **options)' if trains else '(**options)'
        for c in [s, *self.package.bases_of(s)]:
            if '__init__' in c.members: return c.members['__init__'].signature.split(' -> ')[0]
            if c.options: return '(' + ', '.join(f'{o.name}: {o.type}' + (f' = {o.default}' if o.default else '') for o in c.options) + ')'
        return '()'

    def function(self, s, directive='function', fence='````'):
        name = s.name.split('.')[-1]
        note = f'Signature: {escape(s.note)}.' if s.note else ''
        body = [escape(s.doc), note, self.fields(s), self.origin(s) if directive == 'function' else '']
        signature = '' if s.kind == 'property' else s.signature
        directive = 'property' if s.kind == 'property' else directive
        return '\n\n'.join([f'{fence}{{py:{directive}}} {name}{signature}', *[b for b in body if b], f'{fence}\n'])

    def klass(self, s):
        parts = [f'``````{{py:class}} {s.name}{self.class_signature(s)}', escape(s.doc)]
        bases = self.package.bases_of(s)
        if s.config:
            parts.append(self.options(s))
            parts += [self.options(b, f'Options of `{b.name}`, which it inherits:') for b in bases if b.config]
        else:
            parts.append('\n'.join(f':param {o.name}: {escape(o.text)}' for o in s.options if o.text))
            if '__init__' in s.members: parts.append(self.fields(s.members['__init__']))
        if bases: parts.append('Derived from ' + ', '.join(f'`{b.name}`' for b in bases) + '; their methods apply too.')
        parts.append(self.origin(s))
        shown = [m for k, m in s.members.items() if not k.startswith('_') or k == '__call__']
        parts += [self.function(m, 'method', '`````') for m in shown]
        return '\n\n'.join([p for p in parts if p] + ['``````\n'])

    def data(self, s):
        value = f'`{s.signature}`' if len(s.signature) <= 70 and '`' not in s.signature else ''
        return '\n\n'.join([f'````{{py:data}} {s.name}', *[b for b in (value, self.origin(s)) if b], '````\n'])

    def symbol(self, s):
        return self.klass(s) if s.kind == 'class' else self.data(s) if s.kind == 'data' else self.function(s)

    def module_page(self, m):
        order = {n: i for i, n in enumerate(m.symbols)}
        public = sorted((s for s in m.symbols.values() if s.public), key=lambda s: (s.name not in self.package.top, order[s.name]))
        shared = [s for s in m.symbols.values() if not s.public]
        parts = [f'# {m.name}', f'{escape(m.doc)}.' if m.doc else '', f'Written in `{m.notebook}`.' if m.notebook else '', f'````{{py:module}} {m.name}\n````']
        parts += [self.symbol(s) for s in public]
        if shared:
            parts += ['## Shared with other modules', "Not in the module's `__all__`: other modules of the package use these, and they may change."]
            parts += [self.symbol(s) for s in shared]
        return '\n\n'.join(p for p in parts if p) + '\n'

    def folder_page(self, folder, modules):
        rows = [f"| `{m.name}` | {cell(m.doc)} | {', '.join(f'`{s.name}`' for s in m.symbols.values() if s.public and s.kind != 'data')} |" for m in modules]
        toc = '\n'.join(f"{m.name.rpartition('.')[2]} <{folder}/{m.name.rpartition('.')[2]}>" for m in modules)
        return f'# fdiv_nb.{folder}\n\n{FOLDERS.get(folder, "")}\n\n| module | what | public names |\n|---|---|---|\n' + '\n'.join(rows) + f'\n\n```{{toctree}}\n:hidden:\n\n{toc}\n```\n'

    def index_page(self):
        left, parts = dict(self.package.top), ['# API', 'The names that `from fdiv_nb import …` gives, by what they are for. Each is loaded when it is first used. '
                                               'The pages of the modules below hold everything else, internal names included.']
        for title, what, where in GROUPS:
            prefixes = [f'fdiv_nb.{w}' for w in where.split()]
            names = [n for n, m in left.items() if any(m == p or p.endswith('.') and m.startswith(p) for p in prefixes)]
            for n in names: del left[n]
            parts += self.group(title, what, names)
        if left: parts += self.group('More', '', left)
        folders = list(dict.fromkeys(m.split('.')[1] for m in self.package.modules))
        parts += ['## Modules', '\n'.join(f'- [fdiv_nb.{f}]({f}.md): {FOLDERS.get(f, "")}' for f in folders)]
        return '\n\n'.join(parts) + '\n\n```{toctree}\n:hidden:\n\n' + '\n'.join(folders) + '\n```\n'

    def group(self, title, what, names):
        rows = [f'| `{n}` | {cell(self.package.modules[self.package.top[n]].symbols[n].line)} |' for n in names]
        return [f'## {title}', f'{what[:1].upper()}{what[1:]}.' if what else '', '| name | what |\n|---|---|\n' + '\n'.join(rows)]

    def write(self, folder):
        folder.write('index.md', self.index_page())
        rooms = {}
        for m in self.package.modules.values(): rooms.setdefault(m.name.split('.')[1], []).append(m)
        for room, modules in rooms.items():
            folder.write(f'{room}.md', self.folder_page(room, modules))
            for m in modules: folder.write(f"{room}/{m.name.rpartition('.')[2]}.md", self.module_page(m))
        folder.prune()
