"""f-divergences in language-model training: the public names, each loaded when it is first used.

The code is exported from the notebooks under `nbs/`; this file and `all.py` are written by hand. `import fdiv_nb` and
`from fdiv_nb import FDPGTrainer` import no torch: where torch is not there yet, a stand-in is handed out that loads the real
object at its first use. Then, and from `fdiv_nb.all`, it is the real object at once; only there does `type(x) is Name` hold.
"""
import copyreg
import sys
from importlib import import_module
from typing import TYPE_CHECKING

_MODULES = {
    'mathematics.divergence': 'FDivergence divergence_color divergence_names exact_divergence get_divergence register_divergence',
    'mathematics.custom': 'custom_divergence',
    'mathematics.schedule': 'divergence_schedule',
    'mathematics.estimate': 'Estimate estimate_divergence',
    'models.logprobs': 'label_mask mean_token_prob sequence_logprobs token_logprobs',
    'models.fused': 'linear_divergence linear_logprobs',
    'models.tiny': 'load_tiny',
    'models.loading': 'load_lm load_tokenizer',
    'models.completions': 'Rollout',
    'models.rollout': 'rollout',
    'models.engine': 'CompletionsSampler VLLMSampler',
    'models.topk_server': 'TopKServer',
    'losses.rewards': 'load_reward',
    'losses.target': 'BinaryTarget MomentTarget ProductTarget RewardTarget',
    'losses.factors': 'FinishedTarget LengthTarget OverlongTarget',
    'losses.fdpg': 'fdpg_loss fdpg_weights',
    'losses.flat': 'flat_loss',
    'losses.fsft': 'dft_loss fsft_loss implicit_reward nll_loss token_f_loss',
    'losses.fdpo': 'fdpo_loss',
    'losses.fpo': 'fpo_loss',
    'losses.anchor': 'anchor_loss',
    'losses.distill': 'distill_loss',
    'losses.topk': 'kept_mass linear_topk_divergence top_k_of topk_divergence topk_gap',
    'losses.audit': 'audit',
    'losses.frl': 'frl_loss frl_token_weights frl_weights rehearsal_loss unpaired_loss',
    'losses.unlearn': 'unlearn_loss',
    'training.fdpg': 'FDPGConfig FDPGTrainer',
    'training.objectives': 'FRLConfig',
    'training.frl': 'FRLTrainer',
    'training.sft': 'FSFTConfig FSFTTrainer',
    'training.dpo': 'FDPOConfig FDPOTrainer',
    'training.online_dpo': 'OnlineFDPOConfig OnlineFDPOTrainer',
    'training.unpaired': 'FUnpairedConfig FUnpairedTrainer',
    'training.distill': 'DistillConfig DistillTrainer',
    'training.flat': 'FLATConfig FLATTrainer',
    'evaluation.alignment': 'before_and_after',
    'evaluation.distance': 'retain_distance sampled_distance',
    'evaluation.tofu': 'evaluate_tofu tofu_scores',
    'evaluation.muse': 'evaluate_muse muse_scores',
    'evaluation.membership': 'evaluate_membership membership_scores',
    'evaluation.layouts': 'write_log',
    'reports.page': 'run_report',
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = ['__version__', *sorted(_HOME)]


def _load(name: str):
    "The object behind a public name."
    return getattr(import_module(f'{__name__}.{_HOME[name]}'), name)


def _real(name: str):
    "The object behind a public name, which from now on is what the package hands out."
    real = globals()[name] = _load(name)
    return real


class _LaterClass(type):
    "The class of stand-ins for public classes: each is a real class that passes everything on to the one it stands for."

    def __new__(cls, name, bases, body, **kw):
        if not bases: return super().__new__(cls, name, (), body)
        real = tuple(b.__wrapped__ if type(b) is _LaterClass else b for b in bases)      # `class Mine(FDPGTrainer)`
        return type(real[0])(name, real, body, **kw)

    def __init__(cls, name, bases, body, **kw): pass
    def __call__(cls, *args, **kwargs): return cls.__wrapped__(*args, **kwargs)

    def __getattribute__(cls, key):
        real = _real(type.__getattribute__(cls, '__dict__')['_name'])
        return real if key == '__wrapped__' else getattr(real, key)

    def __setattr__(cls, key, value): setattr(cls.__wrapped__, key, value)
    def __delattr__(cls, key): delattr(cls.__wrapped__, key)
    def __dir__(cls): return dir(cls.__wrapped__)
    def __repr__(cls): return repr(cls.__wrapped__)
    def __eq__(cls, other): return cls.__wrapped__ is (other.__wrapped__ if type(other) is _LaterClass else other)
    def __hash__(cls): return hash(cls.__wrapped__)
    def __or__(cls, other): return cls.__wrapped__ | other
    def __ror__(cls, other): return other | cls.__wrapped__
    def __instancecheck__(cls, x): return isinstance(x, cls.__wrapped__)
    def __subclasscheck__(cls, x): return issubclass(x.__wrapped__ if type(x) is _LaterClass else x, cls.__wrapped__)


class _Later:
    "Stands for a public function, and becomes it at the first use."

    def __init__(self, name: str): object.__setattr__(self, '_name', name)

    def __call__(self, *args, **kwargs): return _real(self._name)(*args, **kwargs)
    def __getattr__(self, key: str): return getattr(_real(self._name), key)
    def __setattr__(self, key: str, value): setattr(_real(self._name), key, value)
    def __dir__(self): return dir(_real(self._name))
    def __repr__(self): return repr(_real(self._name))
    def __eq__(self, other): return _real(self._name) is (_real(other._name) if type(other) is _Later else other)
    def __hash__(self): return hash(_real(self._name))
    def __reduce__(self): return _load, (self._name,)
    __class__ = property(lambda self: _real(self._name).__class__)  # type: ignore
    __doc__ = property(lambda self: _real(self._name).__doc__)  # type: ignore
    __module__ = property(lambda self: _real(self._name).__module__)  # type: ignore
    __signature__ = property(lambda self: __import__('inspect').signature(_real(self._name)))
    __wrapped__ = property(lambda self: _real(self._name))


copyreg.pickle(_LaterClass, lambda cls: (_load, (type.__getattribute__(cls, '__dict__')['_name'],)))  # type: ignore


def __getattr__(name: str):
    if name == '__version__':
        from importlib.metadata import version
        return version(__name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public names: {', '.join(sorted(_HOME))}")
    if 'torch' in sys.modules: return _real(name)                       # nothing is left to be saved
    return _LaterClass(name, (), {'_name': name}) if name[0].isupper() else _Later(name)


def __dir__(): return sorted({*globals(), *__all__})


if TYPE_CHECKING:
    from .all import *
    __version__: str
