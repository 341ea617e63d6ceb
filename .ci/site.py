"""What `make docs` checks over the built pages: no broken maths, no dead link or anchor, every public name in the API and in the search index.

    python .ci/site.py docs/_build/html

Only the standard library. `.ci/test.py maths` has the part that needs no build.
"""
import json
import re
import sys
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root/'docs'))
from ext.package import top_names  # noqa: E402 - of the site's own sources

CODE = {'pre', 'code', 'script', 'style', 'svg', 'textarea', 'title'}                    # text in these is not prose
VOID = {'area', 'base', 'br', 'col', 'embed', 'hr', 'img', 'input', 'link', 'meta', 'source', 'track', 'wbr'}
RAW = re.compile(r'\$|\\(?!n[A-Z])[a-zA-Z]{2,}|\\[()\[\]]|(?<!\w)\*\*\w|\]\((?:\S+\.(?:md|ipynb|html)|https?:)')      # left over from Markdown or TeX


class Page(HTMLParser):
    "The prose, the anchors and the links of a page."

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.stack, self.prose, self.ids, self.links, self.missing = [], [], set(), [], []

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        classes = (a.get('class') or '').split()
        if a.get('id'): self.ids.add(a['id'])
        if tag == 'a' and a.get('name'): self.ids.add(a['name'])
        for k in ('href', 'src'):
            if a.get(k): self.links.append(a[k])
        if 'xref' in classes and 'myst' in classes and 'download' not in classes: self.missing.append(self.getpos()[0])
        if tag not in VOID: self.stack.append((tag, tag in CODE or bool({'math', 'sig', 'highlight'} & set(classes)), tag == 'article' or a.get('role') == 'main'))

    def handle_endtag(self, tag):
        at = next((i for i in reversed(range(len(self.stack))) if self.stack[i][0] == tag), None)
        if at is not None: del self.stack[at:]

    def handle_data(self, text):
        if any(s[2] for s in self.stack) and not any(s[1] for s in self.stack) and text.strip(): self.prose.append((self.getpos()[0], text))


def read(folder):
    "Path -> page, for every page of the site."
    pages = {}
    for p in sorted(folder.rglob('*.html')):
        if '_static' in p.relative_to(folder).parts: continue
        page = Page()
        page.feed(p.read_text(encoding='utf-8'))
        pages[p.relative_to(folder).as_posix()] = page
    return pages


def broken_maths(pages):
    "Text that should have become an equation, emphasis or a link."
    for name, page in pages.items():
        for line, text in page.prose:
            m = RAW.search(text)
            if m: yield f'{name}:{line}: {" ".join(text[max(0, m.start() - 40):m.end() + 40].split())}'


def dead_links(folder, pages):
    "Links within the site to a file or an anchor that is not there."
    known = {p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file()}
    for name, page in pages.items():
        for line in page.missing: yield f'{name}:{line}: a reference that was not resolved'
        for link in dict.fromkeys(page.links):
            u = urlsplit(link)
            if u.scheme or u.netloc: continue
            path = unquote(u.path)
            at = name if not path else (path.lstrip('/') if path.startswith('/') else _joined(name, path))
            if at not in known: yield f'{name}: {link}: no such file'
            elif u.fragment and at in pages and unquote(u.fragment) not in pages[at].ids: yield f'{name}: {link}: no such anchor'


def _joined(name, path):
    parts = name.split('/')[:-1]
    for x in path.split('/'):
        if x == '..': parts = parts[:-1]
        elif x not in ('', '.'): parts.append(x)
    return '/'.join(parts)


def without_entry(pages):
    "Public names that the API does not describe, or does not list at the front."
    ids = set().union(*(p.ids for n, p in pages.items() if n.startswith('api/')))
    front = {unquote(urlsplit(x).fragment) for x in pages['api/index.html'].links} if 'api/index.html' in pages else set()
    for name, module in top_names().items():
        if f'{module}.{name}' not in ids: yield f'{name}: no entry in the API'
        elif f'{module}.{name}' not in front: yield f'{name}: not on api/index.html'


def not_found_first(folder):
    "Public names that a search does not find as an object."
    text = (folder/'searchindex.js').read_text(encoding='utf-8')
    index = json.loads(text[text.index('(') + 1:text.rindex(')')])
    objects = defaultdict(list)
    for prefix, found in index['objects'].items():
        for o in (found.values() if isinstance(found, dict) else found): objects[o[-1] if isinstance(found, list) else ''].append(prefix)
        if isinstance(found, dict):
            for k in found: objects[k].append(prefix)
    for name, module in top_names().items():
        if module not in objects[name]: yield f'{name}: not among the objects of the search index'


def unreadable(folder):
    "llms.txt names every public name."
    p = folder/'llms.txt'
    text = p.read_text(encoding='utf-8') if p.is_file() else ''
    for name in top_names():
        if f'[{name}](' not in text: yield f'{name}: not in llms.txt'
    for uri in re.findall(r'\]\(([^)#]+)', text):
        if not (folder/uri).is_file(): yield f'llms.txt: {uri}: no such file'


def main(folder):
    folder = Path(folder)
    pages = read(folder)
    failed = 0
    for what, found in (('broken maths or Markdown', broken_maths(pages)), ('dead links', dead_links(folder, pages)),
                        ('public names without an API entry', without_entry(pages)), ('public names that a search does not find', not_found_first(folder)),
                        ('gaps in llms.txt', unreadable(folder))):
        found = list(found)
        failed += bool(found)
        print(f"{'FAIL' if found else 'ok  '} {what}: {len(found)}", *found[:40], sep='\n     ')
    print(f'{len(pages)} pages')
    return failed


if __name__ == '__main__': sys.exit(bool(main(sys.argv[1] if len(sys.argv) > 1 else root/'docs'/'_build'/'html')))
