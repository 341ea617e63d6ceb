"""A folder of generated files: only what changed is written, so that Sphinx reads only that again; what is no longer made is removed."""


class Folder:
    def __init__(self, path): self.path, self.made = path, set()

    def write(self, name, text):
        to = self.path/name
        self.made.add(to)
        if to.is_file() and to.read_text(encoding='utf-8') == text: return
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(text, encoding='utf-8')

    def prune(self):
        for p in self.path.rglob('*'):
            if p.is_file() and p not in self.made: p.unlink()
