"""Fused losses against plain PyTorch: time by interleaved repetitions in one process, peak memory in a fresh process for each contender.

    python bench/losses.py             two processor threads, fp32; writes bench/results/losses-cpu.json and loss-memory.png
    python bench/gpu.py                the same on a GPU, in bf16
    python bench/losses.py --only js   contenders of one row; see --help
    python bench/losses.py --size 64 16 500   a quick look at whether everything runs
"""
from __future__ import annotations
import argparse, json, os, platform, resource, statistics, subprocess, sys, time, warnings
from pathlib import Path
os.environ.setdefault('TRL_EXPERIMENTAL_SILENCE', '1'); warnings.filterwarnings('ignore')
import torch
from torch.nn.functional import linear
HERE = Path(__file__).resolve().parent
SMALL = dict(N=2048, H=256, V=32000, dtype='float32', device='cpu')
LENGTHS = [1024, 2048, 4096, 8192]
ROW_SECONDS = 30    # a row whose rounds have taken this long gets no further one
CLOCK = time.perf_counter

# ---- what is compared: name -> a function of the inputs that returns a scalar loss ----------------------------------------------
F = {'js': lambda u: u*torch.log(2*u/(u + 1)) + torch.log(2/(u + 1)), 'tv': lambda u: (u - 1).abs()/2, 'hellinger': lambda u: (u.sqrt() - 1)**2,
     'alpha:0.3': lambda u: (u**.3 - .3*u - .7)/(.3*-.7), 'pearson': lambda u: (u - 1)**2, 'reverse_kl': lambda u: u*u.log(), 'forward_kl': lambda u: -u.log()}
DIVERGENCES = list(F)

def plain_divergence(x, d):
    "f(exp(log p - log q)) weighted by q, as one writes it down."
    lp = linear(x['h'], x['w']).float().log_softmax(-1)
    with torch.no_grad(): lq = linear(x['th'], x['tw']).float().log_softmax(-1)
    return (lq.exp()*F[d]((lp - lq).exp())).sum(-1).mean()

def fused_divergence(x, d, **kw):
    from fdiv_nb.models.fused import linear_divergence
    return linear_divergence(d, x['h'], x['w'], x['th'], x['tw'], **kw)

FLOOR, WIDE = 'four products alone', 'fdiv, 64 MiB'
_room = []
def products(x):
    "The matrix products of a step and nothing else, by torch.mm at full size, into memory that is there already."
    h, w = x['h'].detach(), x['w'].detach()
    if not _room: _room.extend(h.new_empty(s) for s in ((len(h), len(w)), h.shape, w.shape))
    z, dh, dw = _room
    for _ in 'student', 'teacher': torch.mm(h, w.t(), out=z)
    torch.mm(z, w, out=dh); torch.mm(z.t(), h, out=dw)

def trl_divergence(x, d):
    "TRL's distillation loss on full logits; β = 0, ½, 1 are forward KL, half of js, reverse KL."
    from trl.experimental.gkd import GKDTrainer
    z = linear(x['h'], x['w']).float()
    with torch.no_grad(): t = linear(x['th'], x['tw']).float()
    return GKDTrainer.generalized_jsd_loss(z[None], t[None], beta={'forward_kl': 0., 'js': .5, 'reverse_kl': 1.}[d], reduction='sum')/len(z)

_liger = {}
def liger_js(x, compiled=True):
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss
    f = _liger.setdefault(compiled, LigerFusedLinearJSDLoss(weight_hard_loss=0., weight_soft_loss=1., compiled=compiled))
    return f(x['h'], x['w'], x['th'], x['tw'], x['y'])

_compiled = {}
def compiled(f, x, *a):
    if (f, a) not in _compiled: _compiled[f, a] = torch.compile(lambda x: f(x, *a), dynamic=False)
    return _compiled[f, a](x)

def plain_logprobs(x): return -linear(x['h'], x['w']).float().log_softmax(-1).gather(-1, x['y'][:, None]).mean()
def fused_logprobs(x):
    from fdiv_nb.models.fused import linear_logprobs
    return -linear_logprobs(x['h'], x['w'], x['y']).mean()
def trl_logprobs(x):
    from trl.trainer.utils import selective_log_softmax
    return -selective_log_softmax(linear(x['h'], x['w']).float(), x['y']).mean()
def plain_from_logits(x): return -x['z'].log_softmax(-1).gather(-1, x['y'][:, None]).mean()
def our_from_logits(x):
    from fdiv_nb.models.logprobs import token_logprobs
    return -token_logprobs(x['z'].view(8, -1, x['z'].shape[-1]), x['y'].view(8, -1), shift=False).mean()
def trl_from_logits(x):
    from trl.trainer.utils import selective_log_softmax
    return -selective_log_softmax(x['z'], x['y']).mean()
def plain_flat(x): return linear(x['h'], x['w']).float().log_softmax(-1).gather(-1, x['y'][:, None]).exp().mean()
def fused_flat(x):
    from fdiv_nb.models.fused import linear_mean_token_prob
    return linear_mean_token_prob(x['h'][None], x['w'], x['y'][None]).mean()

ROWS = {d: {'plain': lambda x, d=d: plain_divergence(x, d), 'fdiv': lambda x, d=d: fused_divergence(x, d)} for d in DIVERGENCES}
for d in DIVERGENCES: ROWS[d] |= {WIDE: lambda x, d=d: fused_divergence(x, d, budget=2**26), FLOOR: products}
for d in 'js', 'reverse_kl': ROWS[d]['torch.compile'] = lambda x, d=d: compiled(plain_divergence, x, d)
for d in 'js', 'reverse_kl': ROWS[d]['TRL'] = lambda x, d=d: trl_divergence(x, d)
ROWS['js']['Liger compiled'] = liger_js
ROWS['logprobs from hidden'] = {'plain': plain_logprobs, 'fdiv': fused_logprobs, 'torch.compile': lambda x: compiled(plain_logprobs, x), 'TRL': trl_logprobs}
ROWS['logprobs from logits'] = {'plain': plain_from_logits, 'fdiv': our_from_logits, 'TRL': trl_from_logits}
CURVES = {'FLAT, plain': plain_flat, 'FLAT, fused': fused_flat, 'log-probs (f-DPO, f-SFT), fused': fused_logprobs, 'js, fused': ROWS['js']['fdiv']}
AIMS = {'js': (.20, .035), **{d: (.40, .04) for d in ('tv', 'hellinger', 'alpha:0.3', 'pearson')}, 'reverse_kl': (.75, .06), 'forward_kl': (.75, .06),
        'logprobs from hidden': (1.1, .10), 'logprobs from logits': (.65, .35)}

# ---- measuring --------------------------------------------------------------------------------------------------------------------
def inputs(row, N, H, V, dtype, device):
    g = torch.Generator(device).manual_seed(0); new = lambda *s: torch.empty(*s, dtype=getattr(torch, dtype), device=device).normal_(generator=g)
    x = dict(y=torch.randint(V, (N,), generator=g, device=device))
    if row == 'logprobs from logits': return x | dict(z=new(N, V).requires_grad_())
    return x | dict(h=new(N, H).requires_grad_(), w=new(V, H).mul_(H**-.5).requires_grad_(), th=new(N, H), tw=new(V, H).mul_(H**-.5))

def step(f, x):
    "Forward and backward; the gradients are given back."
    for t in x.values(): t.grad = None
    y = f(x)
    if y is not None: y.backward()
    if x['y'].is_cuda: torch.cuda.synchronize()

def seconds(f, x):
    t = CLOCK(); step(f, x); return CLOCK() - t

def peak_bytes(f, x):
    "Highest resident memory of this process during a step, above what was resident before it."
    if x['y'].is_cuda:
        torch.cuda.reset_peak_memory_stats(); n = torch.cuda.memory_allocated(); step(f, x); return torch.cuda.max_memory_allocated() - n
    def read(k): return next(int(l.split()[1])*1024 for l in open('/proc/self/status') if l.startswith(k))
    try: open('/proc/self/clear_refs', 'w').write('5'); n = read('VmRSS:'); step(f, x); return read('VmHWM:') - n
    except OSError: n = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; step(f, x); return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - n)*1024

def child(job):
    "In a fresh process: warm up (libraries; compilation at full size, else a few tokens), then one measured step."
    f = (CURVES if job['curve'] else ROWS[job['row']])[job['name']]; s = job['size']
    small = 'compile' not in job['name']; warm = inputs(job['row'], **(s | dict(N=16, V=512))) if small else inputs(job['row'], **s)
    step(f, warm); del warm; print(json.dumps(peak_bytes(f, inputs(job['row'], **s))))

def memory(row, name, size, curve=False):
    r = subprocess.run([sys.executable, __file__, '--child', json.dumps(dict(row=row, name=name, size=size, curve=curve)), '--threads', str(torch.get_num_threads())], capture_output=True, text=True)
    if r.returncode: print(f'  {row}, {name}: {r.stderr.strip().splitlines()[-1][:200]}'); return None
    return int(r.stdout.strip().splitlines()[-1])

def device_name(cuda):
    if cuda: return torch.cuda.get_device_name()
    try: return next(l.split(':')[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name'))
    except (OSError, StopIteration): return platform.processor() or platform.machine()

def times(rows, size, rounds):
    "Median seconds of each contender, the contenders of a row taken in turn within each round."
    out = {}
    for row in rows:
        x = inputs(row, **size); t = {n: [] for n in ROWS[row]}; failed = {}
        for k in range(rounds + 1):                                  # round 0 warms up and compiles
            if k == 1: start = time.perf_counter()
            if k > 1 and time.perf_counter() - start > ROW_SECONDS: break
            for n, f in ROWS[row].items():
                if n in failed: continue
                try: s = seconds(f, x)
                except Exception as e: failed[n] = f'{type(e).__name__}: {str(e).splitlines()[0][:120]}'; continue
                if k: t[n].append(s)
        out[row] = {n: statistics.median(v) for n, v in t.items() if v}
        for n, why in failed.items(): print(f'  {row}, {n}: {why}')
        print(f'  timed {row}, {len(t["plain"])} rounds', flush=True); del x
        for m in (_compiled, _liger, _room): m.clear()
    return out

def _ratio(v, base, key, fmt):
    return format(v[key]/base[key], fmt) if v.get(key) and base.get(key) else '–'

def table(res):
    lines = [f"{'':24}{'':21}{'time':>9}{'ratio':>8}{'aim':>6}{'memory':>12}{'ratio':>8}{'aim':>7}"]
    for row, c in res.items():
        base = c['plain']
        for n, v in c.items():
            aim = AIMS.get(row, (None, None)) if n == 'fdiv' else (None, None)
            lines.append(f"{row if n == 'plain' else '':24}{n:21}{v['seconds']:>7.2f} s{_ratio(v, base, 'seconds', '.2f'):>8}{aim[0] or '':>6}{f'''{v['bytes']/2**20:,.0f} MiB''' if v['bytes'] else '–':>12}{_ratio(v, base, 'bytes', '.3f'):>8}{aim[1] or '':>7}")
    return '\n'.join(lines)

def plot(curves, path, V):
    import matplotlib; matplotlib.use('Agg'); import matplotlib.pyplot as plt
    fig, ax = plt.subplots(figsize=(6, 3), layout='constrained')
    for n, v in curves.items(): ax.plot([a for a, b in v if b], [b/2**20 for a, b in v if b], 'o-', ms=3, label=n)
    ax.plot(LENGTHS, [n*V*4/2**20 for n in LENGTHS], ':', c='grey', label='one tensor tokens × vocabulary')
    ax.set(xscale='log', yscale='log', xlabel='tokens', ylabel='peak MiB of the step'); ax.set_xticks(LENGTHS, LENGTHS); ax.minorticks_off(); ax.legend(fontsize=7); fig.savefig(path, dpi=130); plt.close(fig)

def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True); tmp = path.with_suffix('.tmp'); tmp.write_text(json.dumps(data, indent=1)); os.replace(tmp, path); print(f'wrote {path}')

def cpu(a):
    rows = a.only or list(ROWS); unknown = set(rows) - set(ROWS)
    if unknown: sys.exit(f"--only: unknown {sorted(unknown)}; choose from {list(ROWS)}")
    if a.size: SMALL.update(zip('NHV', a.size)); LENGTHS[:] = [a.size[0]*k for k in (1, 2, 4)]
    print(f"losses: {SMALL}, {torch.get_num_threads()} threads, {a.rounds} rounds, {CLOCK.__name__}", flush=True); t = times(rows, SMALL, a.rounds)
    res = {r: {n: dict(seconds=s, bytes=None if n == FLOOR else memory(r, n, SMALL)) for n, s in c.items()} for r, c in t.items()}; print(table(res), flush=True)
    data = dict(device=device_name(False), threads=torch.get_num_threads(), torch=torch.__version__, load_average=os.getloadavg()[0], size=SMALL, rounds=a.rounds, clock=CLOCK.__name__, memory='VmHWM above VmRSS, a fresh process each', rows=res)
    if not a.only and not a.size or a.curve:
        data['memory_by_length'] = {n: [(N, memory('js', n, SMALL | dict(N=N), True)) for N in LENGTHS] for n in CURVES}; (HERE/'results').mkdir(exist_ok=True); plot(data['memory_by_length'], HERE/'results'/'loss-memory.png', SMALL['V']) if not a.size else None
        if not a.size: write(HERE/'results'/'losses-cpu.json', data)
        else: print(data['memory_by_length'])

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=5); p.add_argument('--threads', type=int, default=2); p.add_argument('--cpu-time', action='store_true', help='processor seconds instead of elapsed ones: for a machine that others use, with --threads 1'); p.add_argument('--size', type=int, nargs=3, metavar=('N', 'H', 'V'), help='another size; nothing is written'); p.add_argument('--curve', action='store_true', help='memory over lengths, also with --only or --size'); p.add_argument('--only', nargs='*'); p.add_argument('--child', help=argparse.SUPPRESS)
    a = p.parse_args(); CLOCK = time.process_time if a.cpu_time else time.perf_counter; torch.set_num_threads(a.threads)
    child(json.loads(a.child)) if a.child else cpu(a)
