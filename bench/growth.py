"""How time and memory of a training step grow: with the vocabulary, the length of a completion, the rows of a step and the model.

    python bench/growth.py                       every axis; writes bench/results/growth.json and growth.png
    python bench/growth.py --axis vocabulary     this axis alone; the others stay in the file
    python bench/growth.py --draw                the picture and the table again, from the file
    python bench/growth.py --quick               a glance at whether everything runs; nothing is written

Each step runs in a fresh fork, one thread, process seconds; one number changes at a time. Slope 1 in the picture is growth in proportion.
"""
from __future__ import annotations
import argparse, json, math, statistics, sys
import steps
import contenders as c, prefix
from losses import write
RESULTS = steps.HERE/'results'/'growth.json'
BASE = dict(V=32000, hidden=128, layers=4, batch=8, answers=96)
AXES = dict(vocabulary=dict(V=(8000, 32000, 128000)), length=dict(answers=(32, 96, 288, 864)), rows=dict(batch=(2, 8, 32)),
            model=dict(size=((64, 2), (128, 4), (256, 6), (512, 8))))
PER_STEP = 4       # steps of a run, of which the first is left out

def on_policy(s, folder, callbacks, n):
    "f-DPG: 16 completions of a prompt; `batch` counts completions, at least 16."
    p = dict(prefix.SIZE, V=s['V'], hidden=s['hidden'], layers=s['layers'], new=s['answers'][0])
    return steps.Given(lambda: prefix.ours(p, 32, max(1, s['batch']//p['each']), n, None, folder))

WHO = {'SFT': c.sft(), 'f-DPO': c.dpo, 'FLAT': c.flat(measure_every=0), 'distillation': c.distill(), 'f-DPG': on_policy}

def size_of(who, **change):
    "The size of a step as the contenders want it."
    s = BASE | change
    if 'size' in s: s['hidden'], s['layers'] = s.pop('size')
    if who == 'f-DPG': s['batch'] *= 4                       # of 2, 8, 32 rows: 8 (16), 32, 128 completions
    s['answers'] = (s['answers'],)*2
    if who == 'distillation': s['teacher'] = (s['hidden'], s['layers'])
    if who == 'FLAT': s['rows'] = s['batch']*PER_STEP
    return s

def parameters(s): return s['V']*s['hidden'] + s['layers']*round(12.25*s['hidden']**2)

def amount(axis, who, s):
    "What grows along an axis, as a number."
    return dict(vocabulary=s['V'], length=s['answers'][0], rows=max(s['batch'], 16 if who == 'f-DPG' else 0), model=parameters(s))[axis]

def measured(who, s, rounds):
    "Median seconds of a step and peak MB."
    row = steps.Row({}, {who: WHO[who]})
    runs = [steps.fresh(row, who, PER_STEP, s) for _ in range(rounds)]
    for r in runs:
        if 'failed' in r: sys.exit(r.get('trace') or r['failed'])
    return dict(seconds=statistics.median(t for r in runs for t in r['steps'][1:]), peak_mb=statistics.median(r['peak_mb'] for r in runs))

def curve(axis, who, a):
    "Points along an axis. The point that all axes share is measured on each."
    (name, values), = AXES[axis].items()
    out = []
    for v in values[:2] if a.quick else values:
        s = size_of(who, **{name: v})
        if a.quick: s |= dict(V=s['V']//16)
        out.append(dict(x=amount(axis, who, s), **measured(who, s, 1 if a.quick else a.rounds)))
        print(f'{axis:11} {who:13}{out[-1]["x"]:12,}{out[-1]["seconds"]:9.3f} s{out[-1]["peak_mb"]:8.0f} MB', flush=True)
    return out

def slope(points, key):
    "d log y / d log x between the last two points: 1 is growth in proportion."
    p, q = points[-2:]
    return math.log(q[key]/p[key])/math.log(q['x']/p['x'])

def table(axes):
    print(f'\n{"slope at the end":18}' + ''.join(f'{w:>22}' for w in WHO) + '\n' + ' '*18 + f'{"time":>14}{"memory":>8}'*len(WHO))
    for axis, by in axes.items(): print(f'{axis:18}' + ''.join(f'{slope(by[w], "seconds"):14.2f}{slope(by[w], "peak_mb"):8.2f}' for w in WHO))

def draw(axes):
    "Two rows of pictures: seconds and megabytes; a column for each axis."
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    from matplotlib import ticker
    fig, grid = plt.subplots(2, len(axes), figsize=(11, 5.2), layout='constrained', squeeze=False)
    labels = dict(vocabulary='tokens of the vocabulary', length='tokens of a completion', rows='rows of a step', model='parameters')
    for (axis, by), column in zip(axes.items(), grid.T):
        for ax, key in zip(column, ('seconds', 'peak_mb')):
            for who, points in by.items(): ax.loglog([p['x'] for p in points], [p[key] for p in points], marker='o', ms=3, lw=1.3, label=who)
            ends = [by['SFT'][0]['x'], by['SFT'][-1]['x']]
            low = min(p[key] for ps in by.values() for p in ps)*.8
            ax.loglog(ends, [low, low*ends[1]/ends[0]], color='grey', ls=':', lw=1, label='in proportion')
            ax.xaxis.set_minor_formatter(ticker.NullFormatter())
            ax.grid(alpha=.25)
            ax.spines[['top', 'right']].set_visible(False)
        column[1].set_xlabel(labels[axis])
    grid[0, 0].set_ylabel('seconds a step')
    grid[1, 0].set_ylabel('MB above the start')
    grid[0, 0].legend(fontsize=7.5, frameon=False)
    fig.savefig(RESULTS.with_suffix('.png'), dpi=90)

def main(a):
    data = json.loads(RESULTS.read_text()) if RESULTS.is_file() else dict(axes={})
    if not a.draw:
        steps.preload()
        for axis in a.axis or AXES:
            by = {who: curve(axis, who, a) for who in WHO}
            if a.quick: continue
            made = steps.provenance() | dict(command=' '.join(['bench/growth.py', *sys.argv[1:]]), rounds=a.rounds)
            data = dict(base=BASE, axes=data['axes'] | {axis: made | dict(steps=by)})
            write(RESULTS, data)
        if a.quick: return
    axes = {k: data['axes'][k]['steps'] for k in AXES if k in data['axes']}
    table(axes)
    draw(axes)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--axis', nargs='*', choices=AXES, metavar='AXIS', help=', '.join(AXES)); p.add_argument('--rounds', type=int, default=1)
    p.add_argument('--draw', action='store_true'); p.add_argument('--quick', action='store_true')
    main(p.parse_args())
