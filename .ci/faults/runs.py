"""Small runs of every trainer and command, each the same every time"""
import json
from pathlib import Path

STEPS = 4

def model(lora: bool = False, seed: int = 0):
    from fdiv_nb.models.testing import tiny_llama
    m = tiny_llama(seed=seed)
    if not lora: return m
    from peft import LoraConfig
    from fdiv_nb.training.base import add_adapter
    return add_adapter(m, LoraConfig(r=2, target_modules='all-linear', task_type='CAUSAL_LM'), 0)

def tokenizer():
    from fdiv_nb.models.testing import word_tokenizer
    return word_tokenizer()

WORDS = 'go to the sea hill and rest play home'.split()
ROWS = [dict(prompt=f'{a} to', completion=f' {b} {a} and') for a in WORDS[:4] for b in WORDS[4:8]]
KEPT = [dict(prompt=f'the {r["prompt"]}', completion=r['completion']) for r in ROWS[::2]]
PAIRS = [dict(prompt=r['prompt'], chosen=r['completion'], rejected=' play play') for r in ROWS]
LABELLED = [dict(r, label=i % 2 == 0) for i, r in enumerate(ROWS)]
PROMPTS = ['go to', 'play the']
def reward(prompts, completions): return [float(len(c.split()))/8 for c in completions]

def options(out, **kw) -> dict:
    return dict(output_dir=str(out), max_steps=STEPS, save_strategy='steps', save_steps=1, learning_rate=1e-2,
                report_to='none', use_cpu=True, disable_tqdm=True, log_level='error', seed=3) | kw

SAMPLED = dict(samples_per_step=8, samples_per_prompt=4, max_new_tokens=5)
def _fdpg(out, lora=False, limit=None, **kw):
    from fdiv_nb.training.fdpg import FDPGConfig, FDPGTrainer
    a = FDPGConfig(**options(out, save_total_limit=limit) | SAMPLED | dict(z_samples=8, eval_samples=8, divergence='js', beta=.3) | kw)
    return FDPGTrainer(model(lora), reward, a, PROMPTS, None, tokenizer())
def _frl(out, lora=False, limit=None, **kw):
    from fdiv_nb.training.frl import FRLConfig, FRLTrainer
    a = FRLConfig(**options(out, save_total_limit=limit) | SAMPLED | dict(eval_samples=8) | kw)
    return FRLTrainer(model(lora), reward, a, PROMPTS, None, tokenizer())
def _offline(module, cls, cfg, rows, **fixed):
    def make(out, lora=False, limit=None, **kw):
        import importlib
        m = importlib.import_module(f'fdiv_nb.training.{module}')
        a = getattr(m, cfg)(**options(out, save_total_limit=limit) | dict(per_device_train_batch_size=4) | fixed.get('args', {}) | kw)
        more = {k: v() for k, v in fixed.items() if k != 'args'}
        return getattr(m, cls)(model(lora), a, rows, None, tokenizer(), **more)
    return make
def _online(out, lora=False, limit=None, **kw):
    from fdiv_nb.training.online_dpo import OnlineFDPOConfig, OnlineFDPOTrainer
    a = OnlineFDPOConfig(**options(out, save_total_limit=limit, num_generations=4, max_new_tokens=5,
                                   per_device_train_batch_size=2, **kw))
    return OnlineFDPOTrainer(model(lora), reward, a, PROMPTS*4, None, tokenizer())

TRAINERS = {
    'fdpg': _fdpg, 'fdpg-lagging': lambda out, *a, **kw: _fdpg(out, *a, proposal='lagging', proposal_every=2, **kw),
    'fdpg-replay': lambda out, *a, **kw: _fdpg(out, *a, updates_per_rollout=2, buffer_rollouts=2, **kw),
    'frl-reward': _frl, 'frl-grpo': lambda out, *a, **kw: _frl(out, *a, **dict(objective='grpo') | kw),
    'sft': _offline('sft', 'FSFTTrainer', 'FSFTConfig', ROWS),
    'sft-head': _offline('sft', 'FSFTTrainer', 'FSFTConfig', ROWS, args=dict(v='head')),
    'dpo': _offline('dpo', 'FDPOTrainer', 'FDPOConfig', PAIRS),
    'dpo-online': _online,
    'unpaired': _offline('unpaired', 'FUnpairedTrainer', 'FUnpairedConfig', LABELLED),
    'distill': _offline('distill', 'DistillTrainer', 'DistillConfig', ROWS, teacher=lambda: model(seed=5)),
    'distill-own': _offline('distill', 'DistillTrainer', 'DistillConfig', ROWS, teacher=lambda: model(seed=5),
                            args=dict(lmbda=.5, max_new_tokens=4)),
    'flat': _offline('flat', 'FLATTrainer', 'FLATConfig', ROWS, templates=lambda: ['rest', 'play']),
    'flat-npo': _offline('flat', 'FLATTrainer', 'FLATConfig', ROWS, retain=lambda: KEPT,
                         args=dict(method='npo')),
}
def _schedule(out, lora=False, limit=None, **kw):
    from fdiv_nb.training.fdpg import FDPGConfig, FDPGTrainer
    a = FDPGConfig(**options(out, save_total_limit=limit, **SAMPLED, z_samples=8, eval_samples=8,
                             divergence='forward_kl..reverse_kl@0.5', beta=.3, **kw))
    return FDPGTrainer(model(lora), reward, a, PROMPTS, None, tokenizer())
TRAINERS['fdpg-schedule'] = _schedule
WITH_LORA = [k for k in TRAINERS if k not in ('sft-head', 'fdpg-schedule', 'fdpg-replay')]

def kinds(names=None) -> list[tuple[str, bool]]:
    "(trainer, with an adapter?) of every trainer, or of some."
    return [(k, lora) for k in names or TRAINERS for lora in (False, True) if not lora or k in WITH_LORA]

def digest(t) -> str:
    "A name of the weights of a trainer's model, and of its value head."
    import hashlib
    from fdiv_nb.models.testing import flat_weights
    parts = [t.model] + ([t.value_head] if getattr(t, 'value_head', None) is not None else [])
    return hashlib.blake2b(b''.join(flat_weights(m).numpy().tobytes() for m in parts), digest_size=8).hexdigest()

def train(name: str, out, resume=None, lora=False, limit=None, note=None, **kw):
    "Train in this process; writes digest and history to the file `note`."
    make = TRAINERS[name]
    t = make(out, lora=lora, limit=limit, **kw)
    t.train(resume_from_checkpoint=resume)
    skip = ('_runtime', '_per_second', 'seconds', 'gib', 'epoch', 'flos', 'data/', 'retain/', 'measured_p_forget')
    history = [{k: v for k, v in h.items() if not any(s in k for s in skip)} for h in t.state.log_history if 'train_loss' not in h]
    if note: Path(note).write_text(json.dumps(dict(weights=digest(t), steps=t.state.global_step, history=history)))
    return t

def newest_or_none(out):
    "'last' if there is a whole checkpoint to continue from, else None."
    from fdiv_nb.training.checkpoint import newest_whole, tidy
    tidy(out)
    return 'last' if newest_whole(out)[0] else None

# commands --------------------------------------------------------------------------------------------------------
def files(d: Path) -> Path:
    "Models, rows, prompts and a reward for the commands, in a folder."
    d.mkdir(parents=True, exist_ok=True)
    for name, seed in (('m', 0), ('other', 5)):
        model(seed=seed).save_pretrained(d/name)
        tokenizer().save_pretrained(d/name)
    for name, rows in (('rows', ROWS), ('pairs', PAIRS), ('labelled', LABELLED)):
        (d/f'{name}.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in rows))
    (d/'prompts.txt').write_text('\n'.join(PROMPTS) + '\n')
    (d/'template.txt').write_text('rest\nplay\n')
    (d/'reward.py').write_text('def r(prompts, completions): return [len(c.split())/8 for c in completions]\n')
    return d

COMMON = ('--max_steps', STEPS, '--save_strategy', 'steps', '--save_steps', 1, '--learning_rate', .01, '--use_cpu',
          '--disable_tqdm', 'true', '--report_to', 'none', '--seed', 3)
def command(name: str, d: Path, out) -> list:
    "The words of a command on these files."
    rows = ('--per_device_train_batch_size', 4, '--show', 1)
    drawn = ('--samples_per_step', 8, '--max_new_tokens', 5, '--z_samples', 8, '--eval_samples', 8)
    words = dict(
        align=('align', '--model', d/'m', '--reward', f"{d/'reward.py'}:r", '--prompts', d/'prompts.txt', *drawn,
               '--samples_per_prompt', 4, '--beta', .3),
        reinforce=('align', '--model', d/'m', '--reward', f"{d/'reward.py'}:r", '--prompts', d/'prompts.txt', '--objective',
                   'grpo', '--samples_per_step', 8, '--max_new_tokens', 5, '--eval_samples', 8, '--samples_per_prompt', 4),
        sft=('sft', '--model', d/'m', '--data', d/'rows.jsonl', *rows),
        lora=('sft', '--model', d/'m', '--data', d/'rows.jsonl', '--lora_rank', 2, *rows),
        dpo=('dpo', '--model', d/'m', '--data', d/'pairs.jsonl', *rows),
        unpaired=('dpo', '--model', d/'m', '--data', d/'labelled.jsonl', *rows),
        online=('dpo', '--online', '--model', d/'m', '--data', d/'prompts.txt', '--reward', f"{d/'reward.py'}:r",
                '--per_device_train_batch_size', 2, '--show', 1, '--num_generations', 4, '--max_new_tokens', 5),
        distill=('distill', '--model', d/'m', '--teacher', d/'other', '--data', d/'rows.jsonl', *rows),
        unlearn=('unlearn', '--model', d/'m', '--forget', d/'rows.jsonl', '--template', d/'template.txt',
                 '--per_device_train_batch_size', 4, '--judge_every', 1))[name]
    return [*words, *COMMON, '--output_dir', out]
COMMANDS = ('align', 'reinforce', 'sft', 'lora', 'dpo', 'unpaired', 'online', 'distill', 'unlearn')

def result(out) -> dict:
    "The digest of the saved weights and what run.json tells, without times."
    import hashlib
    out = Path(out)
    stems = [p for p in (out/'model.safetensors', out/'adapter_model.safetensors') if p.exists()]
    run = json.loads((out/'run.json').read_text())
    run.pop('record', None)
    def plain(x):
        if isinstance(x, dict): return {k: plain(v) for k, v in x.items()
                                        if not any(s in k for s in ('second', 'runtime', 'gib', 'record', 'epoch', 'data/', 'flos'))}
        return [plain(v) for v in x] if isinstance(x, list) else x
    return dict(weights=[hashlib.blake2b(p.read_bytes(), digest_size=8).hexdigest() for p in stems], run=plain(run))
