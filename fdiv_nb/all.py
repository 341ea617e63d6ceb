"""Every public name, for notebooks: `from fdiv_nb.all import *`."""
from .mathematics.divergence import FDivergence, divergence_color, divergence_names, exact_divergence
from .mathematics.divergence import get_divergence, register_divergence
from .mathematics.custom import custom_divergence
from .mathematics.schedule import divergence_schedule
from .mathematics.estimate import Estimate, estimate_divergence
from .models.logprobs import label_mask, mean_token_prob, sequence_logprobs, token_logprobs
from .models.fused import linear_divergence, linear_logprobs
from .models.tiny import load_tiny
from .models.loading import load_lm, load_tokenizer
from .models.completions import Rollout
from .models.rollout import rollout
from .models.engine import CompletionsSampler, VLLMSampler
from .models.topk_server import TopKServer
from .losses.rewards import load_reward
from .losses.target import BinaryTarget, MomentTarget, ProductTarget, RewardTarget
from .losses.factors import FinishedTarget, LengthTarget, OverlongTarget
from .losses.fdpg import fdpg_loss, fdpg_weights
from .losses.flat import flat_loss
from .losses.fsft import dft_loss, fsft_loss, implicit_reward, nll_loss, token_f_loss
from .losses.fdpo import fdpo_loss
from .losses.fpo import fpo_loss
from .losses.anchor import anchor_loss
from .losses.distill import distill_loss
from .losses.topk import kept_mass, linear_topk_divergence, top_k_of, topk_divergence, topk_gap
from .losses.audit import audit
from .losses.frl import frl_loss, frl_token_weights, frl_weights, rehearsal_loss, unpaired_loss
from .losses.unlearn import unlearn_loss
from .training.fdpg import FDPGConfig, FDPGTrainer
from .training.objectives import FRLConfig
from .training.frl import FRLTrainer
from .training.sft import FSFTConfig, FSFTTrainer
from .training.dpo import FDPOConfig, FDPOTrainer
from .training.online_dpo import OnlineFDPOConfig, OnlineFDPOTrainer
from .training.unpaired import FUnpairedConfig, FUnpairedTrainer
from .training.distill import DistillConfig, DistillTrainer
from .training.flat import FLATConfig, FLATTrainer
from .evaluation.alignment import before_and_after
from .evaluation.distance import retain_distance, sampled_distance
from .evaluation.tofu import evaluate_tofu, tofu_scores
from .evaluation.muse import evaluate_muse, muse_scores
from .evaluation.membership import evaluate_membership, membership_scores
from .evaluation.layouts import write_log
from .reports.page import run_report

__all__ = [
    'BinaryTarget', 'CompletionsSampler', 'DistillConfig', 'DistillTrainer', 'Estimate', 'FDPGConfig',
    'FDPGTrainer', 'FDPOConfig', 'FDPOTrainer', 'FDivergence', 'FLATConfig', 'FLATTrainer', 'FRLConfig',
    'FRLTrainer', 'FSFTConfig', 'FSFTTrainer', 'FUnpairedConfig', 'FUnpairedTrainer', 'FinishedTarget',
    'LengthTarget', 'MomentTarget', 'OnlineFDPOConfig', 'OnlineFDPOTrainer', 'OverlongTarget',
    'ProductTarget', 'RewardTarget', 'Rollout', 'TopKServer', 'VLLMSampler', 'anchor_loss', 'audit',
    'before_and_after', 'custom_divergence', 'dft_loss', 'distill_loss', 'divergence_color',
    'divergence_names', 'divergence_schedule', 'estimate_divergence', 'evaluate_membership',
    'evaluate_muse', 'evaluate_tofu', 'exact_divergence', 'fdpg_loss', 'fdpg_weights', 'fdpo_loss',
    'flat_loss', 'fpo_loss', 'frl_loss', 'frl_token_weights', 'frl_weights', 'fsft_loss', 'get_divergence',
    'implicit_reward', 'kept_mass', 'label_mask', 'linear_divergence', 'linear_logprobs',
    'linear_topk_divergence', 'load_lm', 'load_reward', 'load_tiny', 'load_tokenizer', 'mean_token_prob',
    'membership_scores', 'muse_scores', 'nll_loss', 'register_divergence', 'rehearsal_loss',
    'retain_distance', 'rollout', 'run_report', 'sampled_distance', 'sequence_logprobs', 'tofu_scores',
    'token_f_loss', 'token_logprobs', 'top_k_of', 'topk_divergence', 'topk_gap', 'unlearn_loss',
    'unpaired_loss', 'write_log',
]
