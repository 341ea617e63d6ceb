"""`make faults`: do the thing, and count what breaks. python .ci/faults/run.py [GROUP ...] [--out FILE] [--part 1/2]"""
import sys, time
sys.path.insert(0, __file__.rpartition('/')[0])
import checkpoints, disk, endings, fuzz, harness, inputs, kills, security

GROUPS = dict(
    inputs=inputs.check, fuzz=fuzz.check, damaged=checkpoints.damaged, continued=checkpoints.continued, memory=disk.memory,
    full=disk.full, small_files=disk.small_files, races=endings.races, security=security.check, signals=endings.signals,
    three=kills.random_moments, trainers=kills.trainers, commands=kills.commands, two_processes=endings.two_processes,
    dead_ranks=endings.dead_ranks)

def main(argv):
    names = [a for a in argv if a in GROUPS] or list(GROUPS)
    if '--slice' in argv:               # what `make test` runs: no forks, a few seconds
        names, GROUPS['fuzz'] = ['inputs', 'fuzz'], lambda counts: fuzz.check(counts, 300)
    if '--part' in argv:
        k, n = map(int, argv[argv.index('--part') + 1].split('/'))
        names = names[k - 1::n]
    harness.load_everything()
    counts = harness.Counts()
    for n in names:
        t = time.time()
        try: GROUPS[n](counts)
        except Exception as e: counts.check(n, 'the group itself', f'{type(e).__name__}: {e}')
        print(f'{n}: {time.time() - t:.0f} s', flush=True)
    print(counts.table())
    if '--out' in argv: counts.write(argv[argv.index('--out') + 1])
    return bool(counts.failed)

if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
