"""The table of one GPU in at most ten minutes: losses at the size of a real head, and whole steps of a model of 0.5 B parameters.

    python bench/gpu.py                  every row; writes bench/results/gpu-<device>.json after each
    python bench/gpu.py --only js sft    these rows; the others stay in the file as they are
    python bench/gpu.py --table          the tables of the files that are there
    python bench/gpu.py --quick          tiny sizes, on a CPU too: whether everything runs; nothing is written

Each row has a process and a time limit of its own: one that fails, or takes too long, leaves the others as they are. Without a GPU,
and without --quick, it says so and ends with status 1.
"""
from __future__ import annotations
import argparse, importlib, json, os, signal, statistics, subprocess, sys, tempfile, time, traceback, warnings
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
os.environ |= dict(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false', TRL_EXPERIMENTAL_SILENCE='1', HF_DATASETS_DISABLE_PROGRESS_BARS='1', TQDM_DISABLE='1')
warnings.filterwarnings('ignore')
import torch
import contenders as c, losses, prefix
US, OFFLOADING = 'fdiv', 'fdiv, offloading'
HEAD = dict(N=8192, H=4096, V=128256, dtype='bfloat16')
TINY = dict(N=96, H=32, V=640, dtype='bfloat16')
MODEL = dict(V=128256, hidden=1024, layers=28)        # 0.49 B parameters, tied
TINY_MODEL = dict(V=640, hidden=64, layers=2)
ROUNDS, STEPS, LEFT_OUT = 7, 10, 3                    # the first steps of a run warm up

# ---- rows -------------------------------------------------------------------------------------------------------------------
@dataclass
class Row:
    "What a process does within `limit` seconds; each of `who` for itself, in a process of its own, where `apart`."
    job: str
    who: dict = field(default_factory=dict)           # name -> contender; the first is ours
    limit: float = 60
    products: int = 4                                 # matrix products of the head that a step cannot do without
    size: dict = field(default_factory=dict)
    apart: bool = False
    same: dict = field(default_factory=dict)          # name -> factor: its loss times this is ours

def divergence(d, limit=30, **more):
    "A divergence: ours compiled (the default on a GPU) and not, and as one writes it down."
    who = {US: partial(losses.fused_divergence, d=d, **force()), 'fdiv, not compiled': partial(losses.fused_divergence, d=d, compile=False),
           'plain': partial(losses.plain_divergence, d=d)}
    return Row('loss', who | more, limit, same={'plain': 1, 'torch.compile': 1, 'TRL': 2 if d == 'js' else 1, 'Liger': 2})

def force(): return {} if torch.cuda.is_available() else dict(compile=True)     # a CPU compiles nothing unless told

def ours(name, x, **kw):
    "`linear_logprobs` or `linear_entropy`; expect: the logits are made once."
    import fdiv_nb.models.fused as fused
    if name == 'entropy': return fused.linear_entropy(x['h'], x['w'], **kw).mean()
    if kw.pop('expect', False): kw['expect'] = lambda values, at: torch.full_like(values, 1/len(x['y']))
    return -fused.linear_logprobs(x['h'], x['w'], x['y'], **kw).mean()

def plain_entropy(x):
    l = torch.nn.functional.linear(x['h'], x['w']).float().log_softmax(-1)
    return -(l.exp()*l).sum(-1).mean()

def trl_entropy(x):
    from trl.trainer.utils import entropy_from_logits
    return entropy_from_logits(torch.nn.functional.linear(x['h'], x['w']).float()).mean()

def liger_logprobs(x):
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss
    return LigerFusedLinearCrossEntropyLoss()(x['w'], x['h'], x['y'])

def compiled(f, *a): return lambda x: losses.compiled(f, x, *a)

def on_policy(make):
    "A contender of `contenders`' kind from a function (model, tokenizer, prompts, size, folder, callbacks, steps)."
    def run(s, folder, callbacks, steps):
        m, tok, texts = prefix.world(s | dict(heads=max(4, s['hidden']//64)), s['prompt'], s['prompts'])
        return make(m, tok, texts, s, folder, callbacks, steps)
    return run

def arguments(s, folder, steps):
    "Arguments that f-DPG and GRPO share; rows are drawn anew in each step."
    out = c.common(s | dict(batch=s['prompts']*s['each']), folder, steps)
    del out['train_sampling_strategy']
    return out | dict(learning_rate=1e-6)

def fdpg(m, tok, texts, s, folder, callbacks, steps):
    from fdiv_nb.training.fdpg import FDPGConfig, FDPGTrainer
    tok.eos_token = None
    n, kw = s['prompts']*s['each'], arguments(s, folder, steps)
    del kw['per_device_train_batch_size']
    a = FDPGConfig(samples_per_step=n, samples_per_prompt=s['each'], max_new_tokens=s['new'], z_samples=n, **kw)
    return FDPGTrainer(m, lambda prompts, completions: [len(x) % 7/7 for x in completions], a, train_dataset=texts, processing_class=tok, callbacks=callbacks)

def grpo(m, tok, texts, s, folder, callbacks, steps, **more):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer
    m.save_pretrained(f'{folder}/start')                                        # GRPO makes its reference from a path
    m = type(m).from_pretrained(f'{folder}/start', dtype='float32')
    a = GRPOConfig(num_generations=s['each'], max_completion_length=s['new'], beta=.1, mask_truncated_completions=False, temperature=1., top_k=0,
                   **c.TRL, **arguments(s, folder, steps), **more)
    reward = lambda prompts, completions, **kw: [len(x) % 7/7 for x in completions]
    return GRPOTrainer(m, reward, a, train_dataset=Dataset.from_list([dict(prompt=t) for t in texts]*steps), processing_class=tok, callbacks=callbacks)

LIGER = dict(use_liger_kernel=True)
FULL, ROLLOUT = dict(batch=8, lengths=[1024]*8), dict(prompt=32, prompts=4, each=16, new=128)
ROWS = {
    'checks': Row('check', limit=90),
    'js': divergence('js', 110, **{'TRL': partial(losses.trl_divergence, d='js'), 'torch.compile': compiled(losses.plain_divergence, 'js'), 'Liger': losses.liger_js}),
    'log-probabilities': Row('loss', {US: partial(ours, 'logprobs', **force()), 'fdiv, expected': partial(ours, 'logprobs', expect=True, **force()),
                                      'fdiv, not compiled': partial(ours, 'logprobs', compile=False), 'plain': losses.plain_logprobs, 'TRL': losses.trl_logprobs,
                                      'torch.compile': compiled(losses.plain_logprobs), 'Liger': liger_logprobs}, 90, products=3,
                             same={k: 1 for k in ('fdiv, expected', 'plain', 'TRL', 'torch.compile', 'Liger')}),
    'sft': Row('step', {US: c.sft(), OFFLOADING: c.sft(activation_offloading=True), 'TRL': c.trl_sft(), 'TRL, Liger': c.trl_sft(**LIGER), 'Trainer': c.bare_trainer}, 45, size=FULL, apart=True,
               same={OFFLOADING: 1, 'TRL': 1, 'TRL, Liger': 1, 'Trainer': 1}),
    'dpo': Row('step', {US: c.dpo, 'TRL': c.trl_dpo(True), 'TRL, Liger': c.trl_dpo(True, **LIGER)}, 45, size=dict(batch=4, answers=(960, 1000)), apart=True,
               same={'TRL': 1, 'TRL, Liger': 1}),
    'distill': Row('step', {US: c.distill(), 'GKD': c.gkd, 'GKD, Liger': partial(c.gkd, **LIGER)}, 45, size=FULL | dict(teacher=(1024, 28)), apart=True,
                   same={'GKD': 2, 'GKD, Liger': 2}),
    'on-policy': Row('step', {US: on_policy(fdpg), 'GRPO': on_policy(grpo), 'GRPO, Liger': on_policy(partial(grpo, **LIGER))}, 60, size=ROLLOUT, apart=True),
    'reverse_kl': divergence('reverse_kl', 60, **{'TRL': partial(losses.trl_divergence, d='reverse_kl'), 'torch.compile': compiled(losses.plain_divergence, 'reverse_kl')}),
    'forward_kl': divergence('forward_kl', 60, **{'TRL': partial(losses.trl_divergence, d='forward_kl'), 'torch.compile': compiled(losses.plain_divergence, 'forward_kl')}),
    **{d: divergence(d) for d in ('tv', 'hellinger', 'alpha:0.3', 'pearson')},
    'entropy': Row('loss', {US: partial(ours, 'entropy', **force()), 'fdiv, not compiled': partial(ours, 'entropy', compile=False), 'plain': plain_entropy, 'TRL': trl_entropy,
                            'torch.compile': compiled(plain_entropy)}, 60, products=4, same={'plain': 1, 'TRL': 1, 'torch.compile': 1}),
}

# ---- losses, in one process -------------------------------------------------------------------------------------------------
_room = {}     # of `products`
def products(x, n):
    "The first n matrix products of a step, at full size, into memory that is there already."
    h, w = x['h'].detach(), x['w'].detach()
    if not _room: _room.update(z=h.new_empty(len(h), len(w)), dh=h.new_empty(h.shape), dw=h.new_empty(w.shape))
    jobs = [lambda: torch.mm(h, w.t(), out=_room['z']), lambda: torch.mm(_room['z'], w, out=_room['dh']), lambda: torch.mm(_room['z'].t(), h, out=_room['dw'])]
    for k in range(n): jobs[k % 3]()

def timed(f, x):
    "(seconds, value) of forward and backward."
    for t in x.values(): t.grad = None
    sync = torch.cuda.synchronize if x['y'].is_cuda else lambda: None
    sync()
    t = time.perf_counter()
    y = f(x)
    if y is not None: y.backward()
    sync()
    return time.perf_counter() - t, None if y is None else y.item()

def note(out, **numbers):
    "One line for the process that waits: what is written is safe."
    out.write(json.dumps(numbers) + '\n')
    out.flush()

def loss(name, device, quick, out):
    "Warm each contender up (and compile it), note its peak, then time them in turns; after each round the medians are noted anew."
    row, size = ROWS[name], TINY if quick else HEAD
    x = losses.inputs(name, device=device, **size)
    floor = partial(products, n=row.products)
    seconds, value, peak = {n: [] for n in ['floor', *row.who]}, {}, {}
    contenders = {'floor': floor} | row.who
    for n, f in list(contenders.items()):
        try:
            for _ in range(2): value[n] = timed(f, x)[1]
            peak[n] = losses.peak_bytes(f, x)
        except Exception as e:
            note(out, name=n, failed=told(e))
            del contenders[n]
        if device == 'cuda': torch.cuda.empty_cache()
    for _ in range(1 if quick else ROUNDS):
        for n, f in contenders.items(): seconds[n].append(timed(f, x)[0])
        least = statistics.median(seconds['floor'])
        for n in row.who:
            if n not in contenders: continue
            s = statistics.median(seconds[n])
            note(out, name=n, seconds=s, rounds=len(seconds[n]), floor_seconds=least, floor_fraction=least/s, peak_gib=peak[n]/2**30, value=value[n])

# ---- whole steps, each contender in a process of its own --------------------------------------------------------------------
def clock(device):
    from transformers import TrainerCallback
    class Clock(TrainerCallback):
        def __init__(self): self.at, self.losses = [], []
        def now(self, *a, **kw):
            if device == 'cuda': torch.cuda.synchronize()
            self.at.append(time.perf_counter())
        on_train_begin = on_step_end = now
    return Clock()

def step(name, who, device, quick, out):
    "What one contender takes: seconds of its steps, the largest allocation, losses, tokens a second."
    row, steps, s = ROWS[name], 3 if quick else STEPS if name != 'on-policy' else 6, sized(name, device, quick)
    if 'prompt' not in s:
        with torch.device(device): m = c.model(s['V'], s['hidden'], s['layers'], sharper=3. if 'teacher' in s else 1.)
        s |= dict(model=m, tokenizer=c.tokenizer(s['V']))
    k = clock(device)
    with tempfile.TemporaryDirectory() as folder:
        trainer = row.who[who](s, folder, [k], steps)
        c.note_losses(c.quiet(trainer), k.losses)
        trainer.train()
    took = [b - a for a, b in zip(k.at, k.at[1:])][1 if quick else min(LEFT_OUT, steps//2):]
    peak = torch.cuda.max_memory_allocated()/2**30 if device == 'cuda' else prefix.kilobytes('VmHWM')/1024
    note(out, name=who, seconds=statistics.median(took), steps=took, peak_gib=peak, losses=k.losses, parameters=sum(p.numel() for p in trainer.model.parameters()))

def sized(name, device, quick):
    "The size of a row's step."
    s = (TINY_MODEL if quick else MODEL) | ROWS[name].size | dict(gpu=device == 'cuda', bf16=True)
    if not quick: return s
    small = dict(lengths=[24]*4, batch=4, answers=(8, 12), teacher=(64, 2), prompt=8, prompts=2, each=4, new=6)
    return s | {k: v for k, v in small.items() if k in s}

# ---- right? -----------------------------------------------------------------------------------------------------------------
def check(name, device, quick, out):
    "Values and gradients of the compiled losses in bfloat16 beside autograd in float64, from the same numbers."
    kinds = ('logprobs', 'js', 'entropy') if quick else ('logprobs', 'js', 'entropy', 'tv', 'alpha:0.3', 'reverse_kl')
    for kind in kinds:
        try: note(out, name=kind, **errors(kind, device))
        except Exception as e: note(out, name=kind, failed=told(e))

def errors(kind, device):
    "Relative errors of the value and of the gradients of hidden states and weight; `right`: within what bfloat16 allows."
    x = losses.inputs(kind, device=device, N=200, H=64, V=1000, dtype='bfloat16')
    exact = {k: v.detach().double().requires_grad_(v.requires_grad) if v.is_floating_point() else v for k, v in x.items()}
    if kind in losses.F: mine, plain = partial(losses.fused_divergence, d=kind, compile=True), partial(divergence64, d=kind)
    else: mine, plain = partial(ours, kind, compile=True), dict(logprobs=logprobs64, entropy=entropy64)[kind]
    a, b = mine(x), plain(exact)
    a.backward()
    b.backward()
    far = {f'd{k}_error': ((x[k].grad.double() - exact[k].grad).norm()/exact[k].grad.norm()).item() for k in 'hw'}
    value = abs(a.item()/b.item() - 1)
    return dict(value_error=value, **far, right=value < 1e-4 and max(far.values()) < 1e-2)

def log_softmax64(h, w): return (h @ w.t()).log_softmax(-1)
def divergence64(x, d):
    lp, lq = log_softmax64(x['h'], x['w']), log_softmax64(x['th'], x['tw']).detach()
    return (lq.exp()*losses.F[d]((lp - lq).exp())).sum(-1).mean()
def logprobs64(x): return -log_softmax64(x['h'], x['w']).gather(-1, x['y'][:, None]).mean()
def entropy64(x):
    l = log_softmax64(x['h'], x['w'])
    return -(l.exp()*l).sum(-1).mean()

# ---- processes --------------------------------------------------------------------------------------------------------------
def told(e): return f"{type(e).__name__}: {(str(e).strip().splitlines() or [''])[0]}"[:200]

def child(job):
    "In a fresh process: import, wait for the line that says go, measure. Lines of JSON go to `job['out']`."
    for m in ['fdiv_nb.models.fused'] + ['datasets', 'trl', 'transformers.models.llama.modeling_llama', 'fdiv_nb.training.dpo']*(job['job'] == 'step'):
        importlib.import_module(m)
    if not sys.stdin.readline(): return                  # the parent is gone
    with open(job['out'], 'w') as out:
        try: dict(loss=loss, step=step, check=check)[job['job']](**job['given'], out=out)
        except BaseException as e:
            traceback.print_exc()
            note(out, name=job['given'].get('who', US), failed=told(e))

class Spare:
    "A process that has been started, imports, and waits."
    def __init__(self, job, folder, k):
        self.job, self.path = job, Path(folder)/f'{k}.jsonl'
        self.p = subprocess.Popen([sys.executable, __file__, '--child', json.dumps(job | dict(out=str(self.path)))], stdin=subprocess.PIPE,
                                  stdout=subprocess.DEVNULL, stderr=open(Path(folder)/f'{k}.err', 'w'), start_new_session=True, text=True)
    def go(self, limit):
        "The lines that it wrote, the last of each name; a process beyond its limit is ended and counts with what it had."
        late = False
        try: self.p.communicate('go\n', timeout=limit)
        except subprocess.TimeoutExpired: late = True
        self.end()
        lines = [json.loads(t) for t in self.path.read_text().splitlines()] if self.path.is_file() else []
        found = {x.pop('name'): x for x in lines}
        if late: found.setdefault(self.job['given'].get('who', 'the rest'), dict(failed=f'not done in {limit:.0f} s'))
        elif not lines: found[self.job['given'].get('who', US)] = dict(failed=f'ended without a result, status {self.p.returncode}')
        return found
    def end(self):
        "End the process and those that it started."
        try: os.killpg(self.p.pid, signal.SIGKILL)
        except ProcessLookupError: pass
        self.p.wait()

def jobs(names, device, quick):
    "(row, what one process is to do)."
    for n in names:
        row, given = ROWS[n], dict(name=n, device=device, quick=quick)
        for who in row.who if row.apart else [None]:
            if who == OFFLOADING and device == 'cpu': continue              # refused there
            yield n, dict(job=row.job, given=given | (dict(who=who) if who else {}))

def device_there():
    "'cuda' and its name, or 'cpu'; found out by another process, so that this one never holds the device."
    code = "import torch; print('cuda', torch.cuda.get_device_name(), sep='\\n') if torch.cuda.is_available() else print('cpu')"
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip().split('\n')

def provenance(name):
    import transformers
    git = subprocess.run(['git', '-C', HERE, 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True).stdout.strip()
    return dict(device=name, commit=git or None, command='python bench/gpu.py', torch=torch.__version__, cuda=torch.version.cuda, transformers=transformers.__version__,
                trl=version_of('trl'), liger=version_of('liger_kernel'))

def version_of(package):
    from importlib.metadata import PackageNotFoundError, version
    try: return version(package)
    except PackageNotFoundError: return None

def compare(row, found):
    "Add to each contender its time and peak as parts of ours, and how far its loss is from ours."
    us = found.get(US, {})
    for n, v in found.items():
        if n == US or 'seconds' not in v or 'seconds' not in us: continue
        v['ours_over_its_seconds'] = us['seconds']/v['seconds']
        if v['peak_gib']: v['ours_over_its_peak'] = us['peak_gib']/v['peak_gib']
        k = row.same.get(n)
        if not k: continue
        pairs = zip(us['losses'], v['losses']) if 'losses' in v else [(us['value'], v['value'])]
        v['loss_apart'] = max(abs(b*k - a)/max(abs(a), 1e-9) for a, b in pairs)

FORMATS = dict(floor_fraction='8.0%', ours_over_its_seconds='8.2f', ours_over_its_peak='8.2f', loss_apart='10.1e')

def line(row, n, v):
    if 'failed' in v: return f'{row:20}{n:22}  {v["failed"]}'
    if 'right' in v: return f'{row:20}{n:22}{"right" if v["right"] else "WRONG":>10}  value {v["value_error"]:.1e}, gradients {v["dh_error"]:.1e} {v["dw_error"]:.1e}'
    parts = [format(v[k], f) if k in v else ' '*8 for k, f in FORMATS.items()]
    return f"{row:20}{n:22}{v['seconds']*1e3:9.1f} ms{v['peak_gib']:9.2f} GiB{''.join(parts)}"

HEADER = f"{'row':20}{'contender':22}{'step':>12}{'peak':>13}{'of floor':>8}{'time':>8}{'memory':>8}{'loss':>10}\n{'':75}{'ours over its':>16}{'apart':>10}"

def chosen(only):
    "Rows by name or beginning. Exits with the names for one that is unknown."
    lost = [o for o in only or () if not any(n.startswith(o) for n in ROWS)]
    if lost: sys.exit(f'--only: unknown {lost}; choose from {list(ROWS)}')
    return [n for n in ROWS if not only or any(n.startswith(o) for o in only)]

def table():
    files = sorted((HERE/'results').glob('gpu-*.json'))
    if not files: sys.exit('--table: no bench/results/gpu-*.json; run without it on a machine with a GPU')
    for p in files:
        data = json.loads(p.read_text())
        print(f"\n{data['device']}, torch {data['torch']}, {data['commit']}\n{HEADER}")
        for row, found in data['rows'].items():
            for n, v in found['measured'].items(): print(line(row, n, v))

def run(names, device, quick, end, keep):
    "Do all rows, the next process importing while one measures; `keep(row, found)` after each row. Returns contenders of ours that failed."
    todo, found, bad = list(jobs(names, device, quick)), {n: {} for n in names}, []
    with tempfile.TemporaryDirectory() as folder:
        ahead = Spare(todo[0][1], folder, 0)
        try:
            for k, (n, _) in enumerate(todo):
                now, ahead = ahead, Spare(todo[k + 1][1], folder, k + 1) if k + 1 < len(todo) else None
                left = end - time.monotonic()
                if left > 5: got = now.go(min(ROWS[n].limit*(10 if quick else 1), left))
                else:
                    now.end()
                    got = {now.job['given'].get('who', US): dict(failed='left out, no time; use --only')}
                found[n] |= got
                if k + 1 < len(todo) and todo[k + 1][0] == n: continue
                found[n] = {w: found[n][w] for w in sorted(found[n], key=lambda w: ([*ROWS[n].who, w].index(w)))}
                compare(ROWS[n], found[n])
                for who, v in found[n].items(): print(line(n, who, v), flush=True)
                keep(n, found[n])
                bad += [f'{n}, {who}' for who, v in found[n].items() if (who.startswith(US) or n == 'checks') and ('failed' in v or not v.get('right', True))]
        finally:
            if ahead: ahead.end()
    return bad

def keeper(name, start):
    "keep(row, found): writes a row into the file of a device, and leaves the others there; one without a number replaces none."
    path = HERE/'results'/f"gpu-{name.replace(' ', '-').lower()}.json"
    data = dict(rows={}) | (json.loads(path.read_text()) if path.is_file() else {}) | provenance(name)
    def keep(row, found):
        if row in data['rows'] and all('failed' in v for v in found.values()): return
        size = HEAD if ROWS[row].job == 'loss' else sized(row, 'cuda', False) if ROWS[row].job == 'step' else {}
        data['rows'][row] = dict(commit=data['commit'], size=size, minutes=(time.monotonic() - start)/60, measured=found)
        data['rows'] = {n: data['rows'][n] for n in ROWS if n in data['rows']}
        losses.write(path, data)
    return keep

def main(a):
    if a.table: return table()
    names, (device, *name), start = chosen(a.only), device_there(), time.monotonic()
    if device == 'cpu' and not a.quick: sys.exit('gpu.py: no CUDA device is visible; --quick tries every path that a CPU can run')
    keep = (lambda row, found: None) if a.quick else keeper(name[0], start)
    print(HEADER, flush=True)
    bad = run(names, device, a.quick, start + 60*(60 if a.quick else a.minutes), keep)
    print(f'{(time.monotonic() - start)/60:.1f} min' + (f"; failed: {'; '.join(bad)}" if bad else ''))
    sys.exit(bool(bad))

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--quick', action='store_true'); p.add_argument('--table', action='store_true'); p.add_argument('--only', nargs='*')
    p.add_argument('--minutes', type=float, default=9.5, help='no row begins, and none goes on, after so many'); p.add_argument('--child', help=argparse.SUPPRESS)
    a = p.parse_args()
    child(json.loads(a.child)) if a.child else main(a)
