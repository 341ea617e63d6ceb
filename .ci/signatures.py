"""Each public trainer and loss called once, for the type checker: `.ci/typecheck.py` reads this file, nothing runs it."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from fdiv_nb import (BinaryTarget, DistillConfig, DistillTrainer, FDPGConfig, FDPGTrainer, FDPOConfig, FDPOTrainer,
                     FLATConfig, FLATTrainer, FSFTConfig, FSFTTrainer, MomentTarget, RewardTarget, custom_divergence,
                     distill_loss, divergence_names, estimate_divergence, evaluate_tofu, exact_divergence, fdpg_loss,
                     fdpo_loss, flat_loss, fpo_loss, fsft_loss, get_divergence, implicit_reward, linear_divergence,
                     linear_logprobs, load_tiny, rollout, run_report, sequence_logprobs, token_logprobs, unlearn_loss)
from fdiv_nb.losses.unlearn import Scored


def praise(prompts: list[str], completions: list[str]) -> list[float]:
    return [float(c.count('great')) for c in completions]

def trainers(model: nn.Module, rows: list[dict]) -> None:
    _, tokenizer = load_tiny()
    args = FDPGConfig(output_dir='out', divergence='js', beta=0.3, learning_rate=1e-5, max_steps=3, samples_per_step=8)
    FDPGTrainer(model, praise, args=args, processing_class=tokenizer).train()
    FDPGTrainer(model, RewardTarget(praise, beta=0.3), args=args, processing_class=tokenizer, divergence=get_divergence('js'))
    FLATTrainer(model, FLATConfig(output_dir='out', divergence='js'), rows, processing_class=tokenizer, templates=['{}']).train()
    FSFTTrainer(model, FSFTConfig(output_dir='out', divergence='hellinger'), rows, processing_class=tokenizer).train()
    FDPOTrainer(model, FDPOConfig(output_dir='out', beta=0.1), rows, processing_class=tokenizer, ref_model=model).train()
    DistillTrainer(model, DistillConfig(output_dir='out'), rows, processing_class=tokenizer, teacher=model).train()

def losses(x: Tensor, labels: Tensor) -> list[Tensor]:
    scored = Scored(x, x)
    return [
        fdpg_loss('js', x, log_target=x, log_z=0.0),
        flat_loss('js', x, x, reduction='none'),
        fsft_loss('hellinger', x, x, beta=0.1),
        fdpo_loss('js', x, x, beta=0.1, label_smoothing=0.1),
        fpo_loss('js', x, target=1e-3),
        distill_loss('hellinger', x, x, mask=labels > 0, temperature=2.0),
        unlearn_loss('npo', scored, retain=scored, beta=0.1),
        linear_divergence('js', x, x, x, x, chunk=64),
        linear_logprobs(x, x, labels),
        token_logprobs(x, labels, shift=False),
        sequence_logprobs(x, labels),
        implicit_reward(x, x, beta=0.1),
    ]

def divergences(x: Tensor) -> list[str]:
    mine = custom_divergence('mine', lambda log_u: torch.expm1(log_u)**2)
    print(exact_divergence(mine, x, x).item(), estimate_divergence('js', x, x, x).value)
    print(mine.f(x), mine.fprime(x), mine.dual().name)
    return divergence_names()

def sampling(model: nn.Module) -> None:
    _, tokenizer = load_tiny()
    out = rollout(model, tokenizer, ['It was'], n=2, max_new_tokens=8, temperature=0.7)
    print(out.texts, out.log_q)
    BinaryTarget(lambda prompts, completions: [c.startswith('g') for c in completions])
    MomentTarget({'great': praise}, {'great': 0.5})
    evaluate_tofu(model, tokenizer, {'forget': [{'question': 'Who?', 'answer': 'Me.'}]})
    run_report('out', {'run': {}}, title='A run')
