"""Backticks that name a symbol or a notebook become links; `{exported}` marks a cell that is part of the package."""
import re

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

NOTEBOOK = re.compile(r'(?:nbs/)?(?:\d_\w+/)?(\d\d\d?_\w+)(?:\.ipynb)?|(?:nbs/)?(\d_[a-z]+)/?')
state = {}                      # package and pages, set by conf.py


def module_at(docname):
    "The module that a page is about, None for other pages."
    package = state['package']
    if docname.startswith('nbs/'): return package.by_notebook.get(docname[4:])
    if docname.startswith('api/'): return package.modules.get('fdiv_nb.' + docname[4:].replace('/', '.'))


def xref(text, docname, domain, kind, target, child=None):
    node = addnodes.pending_xref('', child or nodes.literal(text, text), refdomain=domain, reftype=kind, reftarget=target, refexplicit=True, refdoc=docname, refwarn=True)
    if domain == 'py': node['py:module'] = node['py:class'] = None
    return node


def link(text, docname):
    "The link that a word in backticks stands for, or None."
    m = NOTEBOOK.fullmatch(text)
    page = m and state['pages'].get(m[1] or m[2])
    if page: return xref(text, docname, 'std', 'doc', f'/{page}') if page != docname else None
    command = re.match(r'fdiv ([a-z]+)\b', text)
    if command and command[1] in state['commands']: return xref(text, docname, 'std', 'ref', f'cli-{command[1]}')
    if text in state['package'].modules: return xref(text, docname, 'py', 'mod', text)
    s = state['package'].find(text, module_at(docname))
    return xref(text, docname, 'py', 'obj', s.full) if s else None


class LinkBackticks(SphinxTransform):
    default_priority = 420

    def apply(self, **kw):
        docname = self.env.docname
        for node in list(self.document.findall(nodes.literal)):
            if any(isinstance(p, (nodes.reference, nodes.title, addnodes.pending_xref, addnodes.desc_signature)) for p in parents(node)): continue
            new = link(node.astext(), docname)
            if new is not None:
                new[0].attributes.update(node.attributes)
                node.replace_self(new)


def parents(node):
    while node.parent is not None:
        node = node.parent
        yield node


class Exported(SphinxDirective):
    "A line above a cell: which module it is exported to, linked to the API."
    required_arguments = 1
    option_spec = {'names': directives.unchanged}

    def run(self):
        module, names = self.arguments[0], self.options.get('names', '').split()
        p = nodes.paragraph(classes=['exported'])
        p += nodes.Text('exported to ')
        p += xref(module, self.env.docname, 'py', 'mod', module)
        known = [s for s in (state['package'].modules[module].symbols.get(n) if '.' not in n else state['package'].find(n, state['package'].modules[module]) for n in names) if s]
        for s in known:
            p += nodes.Text(' · ')
            p += xref(s.name, self.env.docname, 'py', 'obj', s.full)
        return [p]


class CodeStars(SphinxPostTransform):
    "`**kw` of a signature is code: a reader of the page's text must not take it for emphasis that was left over."
    default_priority = 900
    formats = ('html',)

    def run(self, **kw):
        for node in list(self.document.findall(addnodes.desc_sig_operator)):
            text = node.astext()
            if text.startswith('*'): node.replace_self(nodes.literal(text, text, classes=['star']))


def resolve(app, env, node, contnode):
    "A type in a signature that is one of ours."
    if node.get('refdomain') != 'py': return None
    s = state['package'].find(node['reftarget'], module_at(node.get('refdoc', '')))
    if s is None or s.full == node['reftarget']: return None
    return env.get_domain('py').resolve_xref(env, node['refdoc'], app.builder, 'obj', s.full, node, contnode)


def setup(app):
    app.add_transform(LinkBackticks)
    app.add_post_transform(CodeStars)
    app.add_directive('exported', Exported)
    app.connect('missing-reference', resolve)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
