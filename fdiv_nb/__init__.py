"""f-divergences in language-model training. Written in the notebooks under `nbs/`; this folder is exported from them."""
from importlib.metadata import version as _version

__version__ = _version('fdiv_nb')
