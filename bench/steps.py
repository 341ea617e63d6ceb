"""Whole training steps beside TRL's, a bare transformers.Trainer's and a plain loop's: time, peak memory, and the loss of every step.

    python bench/steps.py                 every row, three rounds; writes bench/results/steps.json after each row
    python bench/steps.py --quick         small models, one round, 3 minutes: whether everything runs and agrees; nothing is written
    python bench/steps.py --only dpo sft  these rows (names, or their beginnings); the others stay in the file as they are
    python bench/steps.py --table         README's table from the file
"""
from __future__ import annotations
import argparse, gc, importlib, json, logging, os, signal, statistics, subprocess, sys, tempfile, time, traceback, warnings
from dataclasses import dataclass, field
from pathlib import Path
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
os.environ.update(OMP_NUM_THREADS='1', HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false', TRL_EXPERIMENTAL_SILENCE='1', HF_DATASETS_DISABLE_PROGRESS_BARS='1', TQDM_DISABLE='1',
                  HF_DATASETS_CACHE=os.path.join(tempfile.gettempdir(), f'steps-{os.getpid()}'))
warnings.filterwarnings('ignore')
import torch
import contenders as c, prefix
from losses import device_name, write
RESULTS = HERE/'results'/'steps.json'
US = 'fdiv'
SMALL, MIDDLE, WIDE = (dict(V=v, hidden=h, layers=l) for v, h, l in ((32000, 128, 4), (32000, 512, 6), (128000, 128, 4)))   # 4.9M, 35.7M, 17.2M parameters
SKEWED = [247, 21, 134, 68, 190, 35, 102, 229, 58, 16, 171, 83, 256, 44, 147, 27]                     # 16 to 256 tokens
LONG = [1000] + [40]*15

@dataclass
class Row:
    "A step, who does it, and how little of each other's time and memory ours should take."
    size: dict
    who: dict                      # name -> contender; the first is ours
    aims: dict = field(default_factory=dict)     # name of another -> (seconds, peak)
    steps: int = 4                 # of which the first is left out
    same: dict = field(default_factory=dict)     # name -> factor: its losses times this are ours
    whole: bool = False            # a whole run with its set-up, over its steps, instead of the median step
    setup: dict = field(default_factory=dict)    # name -> part of its seconds before the first step

def packed(size, lengths, aim):
    s = dict(SMALL if size == 32 else WIDE, batch=16, lengths=lengths)
    return Row(s, {'packed': c.sft(1024), 'unpacked': c.sft(), 'TRL packed': c.trl_sft(1024)}, {'unpacked': aim, 'TRL packed': (.2, .5)}, same={'unpacked': 1}, steps=3)

def on_policy(length):
    def ours(s, folder, callbacks, steps): return Given(lambda: prefix.ours(prefix.SIZE, length, prefix.CASES[length], steps, True, folder))
    def grpo(s, folder, callbacks, steps): return Given(lambda: prefix.trl(prefix.SIZE, length, prefix.CASES[length], steps, folder))
    def rloo(s, folder, callbacks, steps): return Given(lambda: trl_rloo(prefix.SIZE, length, prefix.CASES[length], steps, folder))
    return Row({}, {US: ours, 'GRPO': grpo, 'RLOO': rloo}, {'GRPO': ({32: .3, 128: .2, 384: .15}[length], .25)})

class Given:
    "A run that brings its own clock."
    def __init__(self, run): self.run = run
    def train(self): self.clock = self.run()

ROWS = {
    'dpo': Row(dict(SMALL, batch=4, answers=(64, 188)), {US: c.dpo, 'TRL precomputed': c.trl_dpo(True), 'TRL live': c.trl_dpo(False)},
               {'TRL precomputed': (.22, .15)}, same={'TRL precomputed': 1, 'TRL live': 1}),
    'dpo 36M': Row(dict(MIDDLE, batch=2, answers=(40, 70)), {US: c.dpo, 'TRL precomputed': c.trl_dpo(True), 'TRL live': c.trl_dpo(False)},
                   {'TRL precomputed': (.62, .75)}, same={'TRL precomputed': 1, 'TRL live': 1}, setup={'TRL precomputed': .6}),
    'sft': Row(dict(SMALL, batch=8, answers=(16, 96)), {US: c.sft(), 'TRL': c.trl_sft(), 'TRL, Liger': c.trl_sft(use_liger_kernel=True), 'Trainer': c.bare_trainer, 'loop': c.plain_loop},
               {'TRL': (.2, .2)}, same={'TRL': 1, 'Trainer': 1, 'loop': 1}),
    'sft, batch 2': Row(dict(SMALL, batch=2, answers=(16, 96)), {US: c.sft(), 'TRL': c.trl_sft(), 'Trainer': c.bare_trainer, 'loop': c.plain_loop},
                        {'Trainer': (.85, .6)}, same={'TRL': 1, 'Trainer': 1, 'loop': 1}, steps=24),
    'packed, skewed': packed(32, SKEWED, (.75, 1.1)), 'packed, one long': packed(32, LONG, (.5, 1.1)),
    'packed 128k, skewed': packed(128, SKEWED, (.75, 1.1)), 'packed 128k, one long': packed(128, LONG, (.5, 1.1)),
    'distill': Row(dict(SMALL, batch=2, answers=(100, 200), teacher=(256, 4)), {US: c.distill(), 'GKD': c.gkd}, {'GKD': (.25, .2)}, same={'GKD': 2}),
    'flat': Row(dict(SMALL, batch=4, answers=(16, 96), rows=160), {US: c.flat(), 'without measuring': c.flat(measure_every=0), 'loop': c.flat_loop},
                {'without measuring': (1.05, None)}, same={'without measuring': 1, 'loop': 1}, steps=21, whole=True),
    **{f'on-policy {n}': on_policy(n) for n in prefix.CASES},
}

# ---- one contender, in a process of its own ---------------------------------------------------------------------------------
def clock():
    from transformers import TrainerCallback
    class Clock(TrainerCallback):
        def __init__(self): self.at, self.losses = [], []
        def on_train_begin(self, *a, **kw): self.at.append(time.process_time())
        def on_step_end(self, *a, **kw): self.at.append(time.process_time())
    return Clock()

def run_one(row, name, steps, size, folder):
    "What one contender took: seconds of its steps, seconds before them, MB above what was resident before it was made, losses."
    s = dict(size)
    if s: s |= dict(model=c.model(s['V'], s['hidden'], s['layers'], sharper=3. if 'teacher' in s else 1.), tokenizer=c.tokenizer(s['V']))
    k = clock()
    gc.collect()
    before, t = prefix.kilobytes('VmRSS'), time.process_time()
    open('/proc/self/clear_refs', 'w').write('5')
    trainer = row.who[name](s, folder, [k], steps)
    if isinstance(trainer, c.Loop): trainer.clock = k
    elif not isinstance(trainer, Given): c.note_losses(c.quiet(trainer), k.losses)
    trainer.train()
    if isinstance(trainer, Given): k, before = trainer.clock, trainer.clock.before
    took = [b - a for a, b in zip(k.at, k.at[1:])]
    return dict(steps=took, setup=k.at[0] - t, peak_mb=prefix.kilobytes('VmHWM') - before, losses=getattr(k, 'losses', []))

def fresh(row, name, steps, size, limit=900):
    "`run_one` in a fork of this process, which has imported and computed nothing; or why it failed."
    r, w = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(r); null = os.open(os.devnull, os.O_WRONLY)
        for n in 1, 2: os.dup2(null, n)
        signal.alarm(limit)
        try:
            with tempfile.TemporaryDirectory() as folder: out = run_one(row, name, steps, size, folder)
        except BaseException as e: out = dict(failed=f'{type(e).__name__}: {str(e).strip().splitlines()[-1] if str(e).strip() else ""}'[:200], trace=traceback.format_exc()[-1500:])
        with os.fdopen(w, 'w') as f: f.write(json.dumps(out))
        os._exit(0)
    os.close(w)
    with os.fdopen(r) as f: text = f.read()
    os.waitpid(pid, 0)
    return json.loads(text) if text else dict(failed=f'killed, or beyond {limit} s')

def trl_rloo(s, length, prompts, steps, folder):
    "As `prefix.trl`, by RLOO."
    from datasets import Dataset
    from trl import RLOOConfig, RLOOTrainer
    m, tok, texts = prefix.world(s, length, prompts)
    m.save_pretrained(f'{folder}/start'); m = type(m).from_pretrained(f'{folder}/start', dtype='float32')
    k = prefix.clock()
    a = RLOOConfig(output_dir=folder, per_device_train_batch_size=s['each']*prompts, num_generations=s['each'], max_completion_length=s['new'], max_steps=steps, beta=.1, learning_rate=1e-5,
                   logging_steps=1000, disable_tqdm=True, use_cpu=True, save_strategy='no', report_to='none', gradient_checkpointing=False, bf16=False, temperature=1., top_k=0)
    reward = lambda prompts, completions, **kw: [len(x) % 7/7 for x in completions]
    RLOOTrainer(m, reward, a, train_dataset=Dataset.from_list([dict(prompt=t) for t in texts]*steps), processing_class=tok, callbacks=[k]).train()
    return k

# ---- rows -------------------------------------------------------------------------------------------------------------------
IMPORTS = ('datasets trl.trainer.dpo_trainer trl.trainer.grpo_trainer trl.trainer.rloo_trainer trl.trainer.sft_trainer trl.experimental.gkd transformers.models.llama.modeling_llama '
           'fdiv_nb.training.dpo fdiv_nb.training.sft fdiv_nb.training.distill fdiv_nb.training.flat fdiv_nb.training.fdpg').split()

def preload():
    "Import everything, so that a fork has only to compute."
    for name in IMPORTS: importlib.import_module(name)
    torch.set_num_threads(1); logging.disable(logging.WARNING)

def measure(row, rounds, quick):
    "Contenders take turns, the order reversed in every other round; one that fails is left out of the next."
    size, steps = row.size, row.steps
    if quick and size:
        size = size | dict(V=size['V']//16, hidden=64, layers=2)
        if 'teacher' in size: size['teacher'] = (64, 2)
        steps = 12 if row.whole else 3
    found = {n: dict(seconds=[], setup=[], peak_mb=[], losses=[]) for n in row.who}
    for i in range(rounds):
        for n in list(row.who)[::-1 if i % 2 else 1]:
            if 'failed' in found[n]: continue
            r = fresh(row, n, steps, size)
            if 'failed' in r:
                found[n] = dict(failed=r['failed'])
                if n == next(iter(row.who)): sys.exit(r.get('trace') or r['failed'])
                continue
            after = r['steps'][0 if row.whole else 1:]
            found[n]['seconds'].append((r['setup'] + sum(after))/len(after) if row.whole else statistics.median(after))
            for k in 'setup', 'peak_mb': found[n][k].append(r[k])
            found[n]['losses'] = r['losses']
    return found

def compared(row, found):
    "{name: largest difference of its losses from ours, relative} where both descend the same loss."
    ours, out = next(iter(row.who)), {}
    for n, factor in row.same.items():
        if 'failed' in found[n]: continue
        a, b = found[ours]['losses'], found[n]['losses']
        out[n] = max(abs(x - factor*y)/max(abs(x), 1e-12) for x, y in zip(a, b)) if len(a) == len(b) else float('nan')
    return out

def ratios(row, found):
    "{name: {seconds, peak_mb, setup: ours/theirs}}, of medians over rounds."
    ours = next(iter(row.who))
    mid = lambda n, k: statistics.median(found[n][k])
    return {n: {k: mid(ours, k)/mid(n, k) for k in ('seconds', 'peak_mb', 'setup') if mid(n, k)} for n in row.who if n != ours and 'failed' not in found[n]}

def report(name, row, found, ratio, apart):
    print(f'\n{name:24}{"s a step":>10}{"ours/it":>9}{"aim":>6}{"peak MB":>9}{"ours/it":>9}{"aim":>6}{"set-up s":>10}{"losses differ by":>18}')
    for n in row.who:
        f, r, aim = found[n], ratio.get(n, {}), row.aims.get(n, (None, None))
        if 'failed' in f: print(f'  {n:22}left out: {f["failed"]}'); continue
        mid = {k: statistics.median(f[k]) for k in ('seconds', 'peak_mb', 'setup')}
        cell = lambda x, form: format(x, form) if x is not None else ''
        print(f'  {n:22}{mid["seconds"]:10.3f}{cell(r.get("seconds"), ".2f"):>9}{cell(aim[0], ".2f"):>6}{mid["peak_mb"]:9.0f}{cell(r.get("peak_mb"), ".2f"):>9}{cell(aim[1], ".2f"):>6}'
              f'{mid["setup"]:10.2f}{cell(apart.get(n), ".1e"):>18}' + (f'   set-up: {r["setup"]:.2f}, aim {row.setup[n]:.2f}' if n in row.setup else ''), flush=True)

def provenance():
    import datasets, transformers, trl
    git = lambda *a: subprocess.run(['git', '-C', str(HERE.parent), *a], capture_output=True, text=True).stdout.strip()
    return dict(commit=git('rev-parse', '--short=12', 'HEAD') + ('+' if git('status', '--porcelain', 'fdiv_nb') else ''), command=' '.join(['bench/steps.py', *sys.argv[1:]]), date=time.strftime('%Y-%m-%d'),
                device=device_name(False), threads=1, clock='process_time', load_average=os.getloadavg()[0],
                versions=dict(python=sys.version.split()[0], torch=torch.__version__, transformers=transformers.__version__, trl=trl.__version__, datasets=datasets.__version__))

def chosen(only):
    "Rows by name or beginning. Exits with the names for one that is unknown."
    names = [n for n in ROWS if not only or any(n.startswith(o) for o in only)]
    lost = [o for o in only or () if not any(n.startswith(o) for n in ROWS)]
    if lost: sys.exit(f'--only: unknown {lost}; choose from {list(ROWS)}')
    return names

TABLE = {'DPO, TRL with precomputed reference': ('dpo', 'TRL precomputed'), 'the same, 36 million parameters': ('dpo 36M', 'TRL precomputed'), 'DPO, TRL with live reference': ('dpo', 'TRL live'),
         'SFT, TRL': ('sft', 'TRL'), 'SFT, bare `transformers.Trainer`': ('sft', 'Trainer'), 'SFT packed, TRL packed': ('packed, skewed', 'TRL packed'), 'distillation, TRL\'s GKD': ('distill', 'GKD'),
         **{f'f-DPG, TRL\'s {w}, prompts of {n} tokens': (f'on-policy {n}', w) for n in prefix.CASES for w in ('GRPO', 'RLOO')}}

def table(rows):
    "README's table: what part of another's time and memory a step of ours takes."
    print('| step, beside | time | peak memory |\n|---|---|---|')
    for label, (name, other) in TABLE.items():
        r = rows.get(name, {}).get('ratios', {}).get(other)
        if r: print(f'| {label} | {r["seconds"]:.2f} | {r["peak_mb"]:.2f} |')

def main(a):
    if a.table: return table(json.loads(RESULTS.read_text())['rows'])
    preload()
    data = json.loads(RESULTS.read_text()) if RESULTS.is_file() else dict(rows={})
    for name in chosen(a.only):
        row = ROWS[name]
        if a.quick and name.startswith('on-policy') and name != 'on-policy 32': continue
        found = measure(row, 1 if a.quick else a.rounds, a.quick)
        ratio, apart = ratios(row, found), compared(row, found)
        report(name, row, found, ratio, apart)
        if a.quick: continue
        data['rows'][name] = dict(provenance(), size={k: v for k, v in (row.size or prefix.SIZE).items()}, steps=row.steps, ratios=ratio, aims=row.aims, setup_aims=row.setup, losses_apart=apart, measured=found)
        data['rows'] = {n: data['rows'][n] for n in ROWS if n in data['rows']}
        write(RESULTS, data)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--quick', action='store_true'); p.add_argument('--table', action='store_true'); p.add_argument('--only', nargs='*'); p.add_argument('--rounds', type=int, default=3)
    main(p.parse_args())
