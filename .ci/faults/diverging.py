"""Numbers that are none: training that diverges is named at its step, with the checkpoint to go back to; a huge loss is told once"""
import re
from harness import Counts, case, fdiv, folder, last_lines
import runs

def _loss(name, values, d, **kw):
    "Train with losses of these values, one a micro-batch; how it ends."
    def go():
        from transformers import Trainer
        left, real = list(values), Trainer.training_step
        def step(self, *a, **k): return real(self, *a, **k)*0 + (left.pop(0) if left else 1.)
        Trainer.training_step = step
        runs.train(name, d/'o', **kw)
    return case(go)

def _diverged(e, d, step: int | None = None) -> str:
    "What is wrong with how a training ends that has diverged."
    from fdiv_nb.training.checkpoint import missing_from
    from fdiv_nb.training.saving import last_sound
    if e.code == 0: return 'goes on to the end'
    told = e.err.strip().splitlines()[-1]
    if not re.search(r'(in|after) step \d+: training has diverged; ', told): return f'not told: {last_lines(e)}'
    if step and f'step {step}:' not in told: return f'another step: {told}'
    named = re.search(r'(checkpoint-\d+) is the last sound', told)
    if not named: return '' if 'there is no sound checkpoint' in told and not last_sound(d/'o') else told
    return '' if not missing_from(d/'o'/named[1]) and last_sound(d/'o') == named[1] else f'{named[1]} is not sound'

def check(counts: Counts):
    for name in runs.TRAINERS:
        for bad in ('nan', 'inf', '-inf'):
            with folder() as d:
                e = _loss(name, [1., 1.] + [float(bad)]*99, d)
                counts.check('diverged', f'{name}: a loss of {bad}', _diverged(e, d))
        with folder() as d:
            e = _loss(name, [1., 2., -3e7, 5e9, 1.], d)
            told = e.err.count('no loss of log-probabilities reaches')
            counts.check('huge losses', name, '' if e.code == 0 and told == 1 else f'told {told} times: {last_lines(e)}')
        for rate in (1e10, 1e30, 3e38):
            with folder() as d:
                e = case(lambda: runs.train(name, d/'o', learning_rate=rate, max_grad_norm=0.) and 0)
                counts.check('diverged', f'{name}: learning rate {rate:g}', _diverged(e, d))
    with folder() as d:
        f = runs.files(d/'files')
        for name in runs.COMMANDS:
            words = [1e12 if w == .01 else w for w in runs.command(name, f, d/name)]
            e = fdiv(*words)
            told = [x for x in e.err.splitlines() if 'error:' in x]
            if name == 'lora' and e.code == 0 and 'which no weight of a model' in e.err: continue     # finite, and told
            fault = '' if e.code == 1 and len(told) == 1 and 'training has diverged; ' in told[0] else last_lines(e)
            counts.check('diverged', f'fdiv {name}', fault or ('a model is left' if (d/name/'model.safetensors').exists() else ''))
    ordinary(counts)

def ordinary(counts: Counts):
    "No run of ordinary settings is warned of."
    for name in runs.TRAINERS:
        with folder() as d:
            e = case(lambda: runs.train(name, d/'o', save_strategy='no', max_steps=8, learning_rate=1e-3) and 0)
            counts.check('huge losses', f'{name}, an ordinary run', '' if e.code == 0 and 'no loss of log-prob' not in e.err else last_lines(e))
