"""The package as its source tells it: modules, functions, classes and patched methods, read with `ast`. Nothing is imported."""
import ast
import io
import re
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BY_HAND = {'__init__.py', 'all.py', '_modidx.py'}


@dataclass
class Parameter:
    name: str
    text: str = ''          # the comment that stands behind it


@dataclass
class Option:
    name: str
    type: str
    default: str
    text: str


@dataclass
class Symbol:
    name: str               # 'fdpo_loss', 'FDivergence.f'
    module: str             # 'fdiv_nb.losses.fdpo'
    kind: str               # function, class, method, property, data
    doc: str = ''
    signature: str = ''     # '(a, b=1) -> int'
    parameters: list = field(default_factory=list)
    returns: str = ''
    note: str = ''          # the comment of a signature on one line, which may be about either
    options: list = field(default_factory=list)
    bases: list = field(default_factory=list)
    members: dict = field(default_factory=dict)
    cell: str = ''          # id of the notebook's cell
    public: bool = False    # in __all__
    config: bool = False    # a dataclass of options

    @property
    def full(self): return f'{self.module}.{self.name}'

    @property
    def line(self):
        "The docstring's first sentence or paragraph, in one line."
        first = ' '.join(self.doc.split('\n\n')[0].split())
        m = re.match(r'(.{20,}?[.])\s+[A-Z`]', first)
        return m[1] if m else first


@dataclass
class Module:
    name: str
    path: Path
    doc: str
    notebook: str           # '3_losses/360_fdpo'
    symbols: dict
    imported: set           # names that it imports from the package


def _comments(lines):
    "Line -> comment, of a piece of source."
    try:
        return {t.start[0]: t.string.lstrip('# ').strip()
                for t in tokenize.generate_tokens(io.StringIO('\n'.join(lines) + '\n').readline) if t.type == tokenize.COMMENT}
    except (tokenize.TokenError, IndentationError): return {}


def _arguments(node):
    a = node.args
    return [*a.posonlyargs, *a.args, *([a.vararg] if a.vararg else []), *a.kwonlyargs, *([a.kwarg] if a.kwarg else [])]


def _signature(node, bound):
    "The signature as text, without self."
    a = ast.parse(ast.unparse(node).split('\n', len(node.decorator_list))[-1]).body[0].args
    if bound: (a.posonlyargs or a.args)[:1] = []
    return f'({ast.unparse(a)})' + (f' -> {ast.unparse(node.returns)}' if node.returns else '')


def _documented(node, lines, bound):
    "(parameters with their comments, the comment behind the result, that of a signature on one line)."
    first, last = node.lineno, node.body[0].lineno - 1
    head = _comments(lines[first - 1:max(first, last)])
    comment = {k + first - 1: v for k, v in head.items()}
    args = _arguments(node)[1 if bound else 0:]
    if len(comment) == 1 and all(a.lineno == node.lineno for a in args) and node.lineno in comment:
        return [Parameter(a.arg) for a in args], '', comment[node.lineno]
    found, returns = [], ''
    for arg, after in zip(args, [*args[1:], None]):
        alone = after is None or after.lineno > arg.end_lineno
        text = comment.pop(arg.end_lineno, '') if alone and not (node.returns and node.returns.end_lineno == arg.end_lineno) else ''
        for n in range(arg.end_lineno + 1, after.lineno if after else arg.end_lineno + 1): text += ' ' + comment.pop(n, '')
        found.append(Parameter(arg.arg, text.strip()))
    if node.returns: returns = comment.pop(node.returns.end_lineno, '')
    return found, returns, ''


def _function(node, module, lines, cell, owner=''):
    bound = bool(owner) and not any(ast.unparse(d) == 'staticmethod' for d in node.decorator_list)
    marks = [ast.unparse(d) for d in node.decorator_list]
    is_property = any('property' in m or 'as_prop=True' in m for m in marks)
    parameters, returns, note = _documented(node, lines, bound)
    kind = 'property' if is_property else 'method' if owner else 'function'
    return Symbol(f'{owner}.{node.name}' if owner else node.name, module, kind, ast.get_docstring(node) or '',
                  _signature(node, bound), parameters, returns, note, cell=cell)


def _options(node, lines):
    "The fields of a dataclass or a NamedTuple."
    for n in node.body:
        if not isinstance(n, ast.AnnAssign): continue
        default, text = '', ''
        call = n.value
        if isinstance(call, ast.Call) and ast.unparse(call.func) == 'option' and len(call.args) > 1:
            default = ast.unparse(call.args[0])
            text = call.args[1].value if isinstance(call.args[1], ast.Constant) else ast.unparse(call.args[1])
        else:
            if call is not None: default = ast.unparse(call)
            text = _comments([lines[n.end_lineno - 1].strip()]).get(1, '')
        yield Option(n.target.id, ast.unparse(n.annotation), default, text)


def _class(node, module, lines, cell):
    s = Symbol(node.name, module, 'class', ast.get_docstring(node) or '', cell=cell, bases=[ast.unparse(b) for b in node.bases])
    s.options = [o for o in _options(node, lines) if not o.name.startswith('_')]
    s.config = any('option(' in ast.unparse(n) for n in node.body if isinstance(n, ast.AnnAssign))
    for n in node.body:
        if isinstance(n, ast.FunctionDef): s.members[n.name] = _function(n, module, lines, cell, node.name)
    return s


def _exported(tree):
    for n in tree.body:
        if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == '__all__':
            return {x.value for x in n.value.elts if isinstance(x, ast.Constant)}
    return set()


def _read(path):
    text = path.read_text(encoding='utf-8')
    tree, lines = ast.parse(text), text.splitlines()
    name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    m = re.search(r'File to edit: \S*?nbs/(\S+)\.ipynb', text)
    cells = [(i + 1, c) for i, line in enumerate(lines) for c in re.findall(r'^# %% .*\.ipynb #(\w+)', line)]
    cell_at = lambda n: next((c for i, c in reversed(cells) if i <= n), '')
    public, symbols, patched, imported = _exported(tree), {}, [], set()
    for n in tree.body:
        if isinstance(n, ast.ClassDef): symbols[n.name] = _class(n, name, lines, cell_at(n.lineno))
        elif isinstance(n, ast.FunctionDef):
            if any(ast.unparse(d).startswith('patch') for d in n.decorator_list):
                owner = ast.unparse(n.args.args[0].annotation)
                patched.append((owner, _function(n, name, lines, cell_at(n.lineno), owner)))
            else: symbols[n.name] = _function(n, name, lines, cell_at(n.lineno))
        elif isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name) and n.targets[0].id.isupper():
            symbols[n.targets[0].id] = Symbol(n.targets[0].id, name, 'data', cell=cell_at(n.lineno), signature=ast.unparse(n.value))
        elif isinstance(n, ast.ImportFrom) and (n.level or (n.module or '').startswith('fdiv_nb')): imported |= {x.name for x in n.names}
    symbols = {k: v for k, v in symbols.items() if not k.startswith('_')}
    for k in public & set(symbols): symbols[k].public = True
    return Module(name, path, ast.get_docstring(tree) or '', m[1] if m else '', symbols, imported), patched


def top_names():
    "Name at the top of the package -> module; from the table in `fdiv_nb/__init__.py`."
    tree = ast.parse((ROOT/'fdiv_nb'/'__init__.py').read_text(encoding='utf-8'))
    table = next(ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == '_MODULES')
    return {name: f'fdiv_nb.{module}' for module, names in table.items() for name in names.split()}


class Package:
    "All modules, in the order of their notebooks, and the ways to find a name."

    def __init__(self):
        read = [_read(p) for p in sorted((ROOT/'fdiv_nb').rglob('*.py')) if p.name not in BY_HAND]
        read.sort(key=lambda mp: mp[0].notebook)
        self.modules = {m.name: m for m, _ in read}
        self.by_notebook = {m.notebook: m for m, _ in read}
        self.top = top_names()
        for m, patched in read:
            for owner, f in patched:
                for o in owner.split(' | '):
                    c = self.find_class(o, m)
                    if c: c.members[f.name.split('.')[-1]] = f
        self.index = {}
        for m in self.modules.values():
            for s in m.symbols.values(): self.index.setdefault(s.name, []).append(s)

    def find_class(self, name, module):
        "The class that a module calls by this name: its own, else the only one."
        if name in module.symbols: return module.symbols[name]
        found = [m.symbols[name] for m in self.modules.values() if name in m.symbols and m.symbols[name].kind == 'class']
        return found[0] if len(found) == 1 else None

    def bases_of(self, s):
        "The classes of this package that a class is derived from, nearest first."
        found = []
        for b in s.bases:
            c = self.find_class(b.split('.')[-1], self.modules[s.module])
            if c and c is not s: found += [c, *self.bases_of(c)]
        return list({c.full: c for c in found}.values())

    def find(self, text, module=None):
        "The symbol that a word in prose stands for, read in the notebook of `module`; None if that is not certain."
        word = re.sub(r'\(.*\)$', '', text, flags=re.S)
        if word.startswith('fdiv_nb.') and word.rpartition('.')[0] in self.modules:
            return self.modules[word.rpartition('.')[0]].symbols.get(word.rpartition('.')[2])
        word = word.removeprefix('fdiv_nb.')
        if not re.fullmatch(r'[A-Za-z]\w*(\.[a-z]\w*)?', word): return None
        if '.' in word:
            c = self.find(word.split('.')[0], module)
            return c.members.get(word.split('.')[1]) if c and c.kind == 'class' else None
        if module and word in module.symbols and (module.symbols[word].kind != 'data' or module.symbols[word].public): return module.symbols[word]
        if word in self.top: return self.modules[self.top[word]].symbols[word]
        found = [s for s in self.index.get(word, []) if s.kind != 'data' and not s.module.endswith('.testing')]
        certain = '_' in word or re.search(r'[a-z][A-Z]|[A-Z]{2}.*[a-z]|^[A-Z][a-z]+$', word) or module and word in module.imported
        if len(found) == 1 and certain: return found[0]
        if module and text == word:
            own = [c.members[word] for c in module.symbols.values() if word in c.members]
            if len(own) == 1 and ('_' in word or text.endswith(')')): return own[0]
        return None
