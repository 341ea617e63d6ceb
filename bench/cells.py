"""What the `exp_` scripts share: a long experiment in cells, one JSON a finished cell, and all of them in one file of results."""
from __future__ import annotations
import json, platform, subprocess, sys
from dataclasses import dataclass
from pathlib import Path
from collections.abc import Callable
import torch
from fdiv_nb.models.files import replace_text

COMMIT = subprocess.run(['git', 'rev-parse', '--short=12', 'HEAD'], cwd=Path(__file__).resolve().parent, capture_output=True, text=True).stdout.strip()


def provenance(seconds: float, packages, machine: str = '', **more) -> dict:   # packages: modules with a version
    "Where, with what and how a cell was computed."
    versions = dict(python=platform.python_version()) | {m.__name__: m.__version__ for m in packages}
    return dict(commit=COMMIT, versions=versions, device=f'CPU, {torch.get_num_threads()} thread{machine}, shared with other work',
                cpu_seconds=round(seconds), **more)


@dataclass
class Cells:
    "The cells of an experiment."
    head: dict                                  # its settings, which stand first in the results
    order: list[tuple]                          # its cells, as they are run
    file_of: Callable[[tuple, Path], Path]      # (cell, working folder) -> where it is kept
    cell_of: Callable[[dict], tuple]            # what is kept -> the cell it is

    def finished(self, work: Path, results: Path) -> dict[tuple, dict]:
        "Every finished cell, of the results and of the working folder. Exits if the results had other settings."
        known = json.loads(results.read_text(encoding='utf-8')) if results.is_file() else self.head
        other = [k for k in self.head if known.get(k) != self.head[k]]
        if other: sys.exit(f'{results} was made with other {", ".join(other)}; give another file')
        files = {c: self.file_of(c, work) for c in self.order}
        here = {c: json.loads(f.read_text(encoding='utf-8')) for c, f in files.items() if f.is_file()}
        return {self.cell_of(x): x for x in known.get('cells', [])} | here

    def collect(self, work: Path, results: Path) -> None:
        "All finished cells in one file, a line each."
        done = self.finished(work, results)
        lines = [json.dumps(done[c], separators=(',', ':')) for c in self.order if c in done]
        replace_text(results, json.dumps(self.head)[:-1] + ',"cells":[\n' + ',\n'.join(lines) + '\n]}\n')
