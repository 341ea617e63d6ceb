"""Checkpoints that were damaged, and runs that are continued with something else"""
import json, os, shutil
from pathlib import Path
from harness import Counts, case, folder, last_lines
import runs

def harm(path: Path, how: str) -> None:
    if how == 'lost': path.unlink()
    elif how == 'cut': os.truncate(path, path.stat().st_size//2)
    else:
        b = bytearray(path.read_bytes())
        b[len(b)//2] ^= 1
        path.write_bytes(b)

def damaged(counts: Counts, names=('sft', 'fdpg-lagging', 'frl-grpo', 'flat', 'dpo-online'), every: int = 4):
    "Each file of the newest checkpoint lost, cut, or with one bit flipped: named, and the one before continued to the bit."
    from fdiv_nb.training.checkpoint import resolve_checkpoint
    n = 0
    for name in names:
        for lora in (False, True):
            if lora and name not in runs.WITH_LORA: continue
            with folder() as d:
                e = case(lambda: runs.train(name, d/'a', lora=lora, note=d/'want') and 0)
                if e.code:
                    counts.check('damaged checkpoints', name, last_lines(e))
                    continue
                want, newest = json.loads((d/'want').read_text()), d/'a'/f'checkpoint-{runs.STEPS}'
                for file in sorted(p for p in newest.iterdir() if p.is_file()):
                    for how in ('lost', 'cut', 'bit'):
                        n += 1
                        out = d/'b'
                        shutil.rmtree(out, ignore_errors=True)
                        shutil.copytree(d/'a', out)
                        harm(out/newest.name/file.name, how)
                        fault = _found(resolve_checkpoint, out, newest.name, file.name)
                        if not fault and n % every == 0: fault = _continues(name, lora, out, d/'got', want)
                        counts.check('damaged checkpoints', f"{name}{' LoRA' if lora else ''}: {file.name} {how}", fault)

def _found(resolve, out, newest: str, file: str) -> str:
    "What is wrong with how a damaged checkpoint is met."
    if (out/newest/'fdiv_manifest.json').exists():          # without one it may be named, with a warning
        try: resolve(out, newest)
        except ValueError as e:
            if file not in str(e) or '\n' in str(e): return f'not named: {e}'
        else: return 'taken by name'
    got = resolve(out, True)
    return '' if got.name == f'checkpoint-{runs.STEPS - 1}' else f'{got.name} is taken for the newest whole one'

def _continues(name, lora, out, note, want) -> str:
    e = case(lambda: runs.train(name, out, 'last', lora=lora, note=note) and 0)
    if e.code: return last_lines(e)
    return '' if json.loads(note.read_text())['weights'] == want['weights'] else 'other weights'

OTHERS = {
    'learning rate': ('sft', dict(learning_rate=1e-3)), 'divergence': ('sft', dict(divergence='tv')), 'loss': ('sft', dict(loss='dft')), 'seed': ('sft', dict(seed=4)),
    'batch': ('sft', dict(per_device_train_batch_size=2)), 'β of dpo': ('dpo', dict(beta=.5)), 'divergence of dpo': ('dpo', dict(divergence='js')),
    'method of flat': ('flat', dict(method='ga')), 'β': ('fdpg', dict(beta=3.)), 'divergence of fdpg': ('fdpg', dict(divergence='tv')), 'tokens': ('fdpg', dict(max_new_tokens=6)),
    'objective': ('frl-grpo', dict(objective='dapo')), 'temperature of distillation': ('distill', dict(temperature=2.)), 'share of own samples': ('distill-own', dict(lmbda=.9)),
    'dropout': ('sft', dict(disable_dropout=False)), 'rows': ('sft', 'ROWS'), 'prompts': ('fdpg', 'PROMPTS'), 'reward': ('fdpg', 'reward'), 'start': ('fdpg', 'model'), 'start of sft': ('dpo', 'model'), 'tokenizer': ('fdpg', 'tokenizer'),
}
def _other(what):
    "Put another object in the place of one of `runs`."
    from fdiv_nb.models.testing import tiny_llama, word_tokenizer
    if what == 'ROWS': runs.ROWS[0]['completion'] = ' rest rest and'
    if what == 'PROMPTS': runs.PROMPTS[0] = 'home'
    if what == 'reward': runs.reward = lambda prompts, completions: [0.5 for c in completions]
    if what == 'model': runs.model = lambda lora=False, seed=0: tiny_llama(seed=seed + 1)
    if what == 'tokenizer':
        words = list(word_tokenizer().get_vocab())
        runs.tokenizer = lambda: word_tokenizer([*words[:3], *reversed(words[3:])])

def continued(counts: Counts):
    "A run continued with something else: refused with the difference; with resume_anyway accepted, and recorded."
    with folder() as d:
        for what, (name, change) in OTHERS.items():
            if not (d/name).exists(): case(lambda: runs.train(name, d/name, max_steps=2) and 0)
            shutil.rmtree(d/'o', ignore_errors=True)
            shutil.copytree(d/name, d/'o')
            def again(anyway):
                kw = change if isinstance(change, dict) else {}
                if not kw: _other(change)
                runs.train(name, d/'o', 'last', max_steps=3, lr_scheduler_type='constant', resume_anyway=anyway, **kw)
            e = case(lambda: again(False))
            told = e.err.strip().splitlines()[-1] if e.err.strip() else ''
            fault = '' if e.code == 1 and told.startswith('ValueError: resume_from_checkpoint: checkpoint-2') else f'not refused: {last_lines(e)}'
            if not fault:
                e = case(lambda: again(True))
                kept = d/'o'/'checkpoint-3'/'fdiv_state.json'
                if e.code: fault = f'resume_anyway: {last_lines(e)}'
                elif not json.loads(kept.read_text()).get('accepted'): fault = 'resume_anyway: not recorded'
            counts.check('continued otherwise', what, fault)
