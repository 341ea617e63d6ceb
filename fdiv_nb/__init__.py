"""f-divergences in language-model training: the public names, each loaded when it is first used.

The code is exported from the notebooks under `nbs/`; this file and `all.py` are written by hand. `import fdiv_nb` and
`from fdiv_nb import FDPGTrainer` import no torch: what is handed out is a stand-in that imports the real object at its
first use. `from fdiv_nb.all import *` gives the real objects at once.
"""
from importlib import import_module
from typing import TYPE_CHECKING

_MODULES = {
    'mathematics.divergence': 'FDivergence divergence_color divergence_names exact_divergence get_divergence register_divergence',
    'mathematics.custom': 'custom_divergence',
    'mathematics.estimate': 'Estimate estimate_divergence',
    'models.logprobs': 'sequence_logprobs token_logprobs',
    'models.fused': 'linear_divergence linear_logprobs',
    'models.tiny': 'load_tiny',
    'models.loading': 'load_lm load_tokenizer',
    'models.completions': 'Rollout',
    'models.rollout': 'rollout',
    'losses.rewards': 'load_reward',
    'losses.target': 'BinaryTarget MomentTarget ProductTarget RewardTarget',
    'losses.fdpg': 'fdpg_loss fdpg_weights',
    'losses.flat': 'flat_loss',
    'losses.fsft': 'dft_loss fsft_loss implicit_reward nll_loss',
    'losses.fdpo': 'fdpo_loss',
    'losses.fpo': 'fpo_loss',
    'losses.distill': 'distill_loss',
    'losses.unlearn': 'unlearn_loss',
    'training.fdpg': 'FDPGConfig FDPGTrainer',
    'training.sft': 'FSFTConfig FSFTTrainer',
    'training.dpo': 'FDPOConfig FDPOTrainer',
    'training.distill': 'DistillConfig DistillTrainer',
    'training.flat': 'FLATConfig FLATTrainer',
    'evaluation.alignment': 'before_and_after',
    'evaluation.tofu': 'evaluate_tofu tofu_scores',
    'evaluation.muse': 'evaluate_muse muse_scores',
    'reports.page': 'run_report',
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = ['__version__', *sorted(_HOME)]


def _load(name: str):
    "The object behind a public name."
    return getattr(import_module(f'{__name__}.{_HOME[name]}'), name)


class _Later:
    "Stands for a public function or class, and becomes it at the first use: call, attribute, subclass, isinstance."

    def __init__(self, name: str): object.__setattr__(self, '_name', name)

    def _real(self):
        real = globals()[self._name] = _load(self._name)
        return real

    def __call__(self, *args, **kwargs): return self._real()(*args, **kwargs)
    def __getattr__(self, key: str): return getattr(self._real(), key)
    def __setattr__(self, key: str, value): setattr(self._real(), key, value)
    def __delattr__(self, key: str): delattr(self._real(), key)
    def __dir__(self): return dir(self._real())
    def __repr__(self): return repr(self._real())
    def __eq__(self, other): return self._real() == (other._real() if type(other) is _Later else other)
    def __hash__(self): return hash(self._real())
    def __or__(self, other): return self._real() | other
    def __ror__(self, other): return other | self._real()
    def __reduce__(self): return _load, (self._name,)
    def __mro_entries__(self, bases): return (self._real(),)
    def __instancecheck__(self, x): return isinstance(x, self._real())
    def __subclasscheck__(self, x): return issubclass(x._real() if type(x) is _Later else x, self._real())
    __bases__ = property(lambda self: (self._real(),))                  # issubclass(stand-in, its class) is true
    __class__ = property(lambda self: self._real().__class__)
    __doc__ = property(lambda self: self._real().__doc__)
    __module__ = property(lambda self: self._real().__module__)
    __signature__ = property(lambda self: __import__('inspect').signature(self._real()))


def __getattr__(name: str):
    if name == '__version__':
        from importlib.metadata import version
        return version(__name__)
    if name in _HOME: return _Later(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public names: {', '.join(sorted(_HOME))}")


def __dir__(): return sorted({*globals(), *__all__})


if TYPE_CHECKING:
    from .all import *
    __version__: str
