"""`make faults`: do the thing, and count what breaks. python .ci/faults/run.py [GROUP ...] [--out FILE] [--jobs 2] [--all]

--jobs: groups side by side, each in a process of its own. --all: every place of a kill, not a sample of them."""
import json, os, sys, time
sys.path.insert(0, __file__.rpartition('/')[0])
import checkpoints, disk, diverging, endings, fuzz, harness, inputs, kills, security

# the longest first, so that jobs end together
GROUPS = dict(
    commands=kills.commands, two_processes=endings.two_processes, trainers=kills.trainers, full=disk.full,
    three=kills.random_moments, damaged=checkpoints.damaged, fuzz=fuzz.check, races=endings.races, signals=endings.signals,
    dead_ranks=endings.dead_ranks, security=security.check, inputs=inputs.check, continued=checkpoints.continued,
    memory=disk.memory, at_the_end=endings.at_the_end, diverging=diverging.check, small_files=disk.small_files)

def group(name: str, counts) -> None:
    "Run a group; its time, and that of its processes on a core."
    spent = lambda: sum(os.times()[:4])
    t, c = time.time(), spent()
    try: GROUPS[name](counts)
    except Exception as e: counts.check(name, 'the group itself', f'{type(e).__name__}: {e}')
    print(f'{name}: {time.time() - t:.0f} s, {spent() - c:.0f} s of a core', flush=True)

def side_by_side(names: list[str], jobs: int, counts) -> None:
    "The groups in several processes; each takes the next one when it is done with one."
    queue, put = os.pipe()
    os.write(put, bytes(range(len(names))))
    os.close(put)
    notes = [harness.scratch/f'job-{j}.json' for j in range(jobs)]
    for note in notes:
        if os.fork(): continue
        code = 1
        try:
            while b := os.read(queue, 1): group(names[b[0]], counts)
            counts.write(note)
            code = 0
        finally: os._exit(code)
    for _ in notes: os.wait()
    for note in notes:
        if not note.exists():
            counts.check('the suite', note.stem, 'a job died')
            continue
        found = json.loads(note.read_text())
        for g, n in found['tried'].items(): counts.tried[g] = counts.tried.get(g, 0) + n
        for g, lines in found['failed'].items(): counts.failed.setdefault(g, []).extend(lines)

def main(argv):
    value = lambda flag, usual: argv[argv.index(flag) + 1] if flag in argv else usual
    names, jobs = [a for a in argv if a in GROUPS] or list(GROUPS), int(value('--jobs', 1))
    if '--slice' in argv:               # what `make test` runs: no forks, a few seconds
        names = ['inputs', 'fuzz']
        GROUPS.update(inputs=lambda c: inputs.check(c, 12), fuzz=lambda c: fuzz.check(c, 300))
    if '--all' in argv:
        GROUPS.update(trainers=lambda c: kills.trainers(c, most=99), commands=lambda c: kills.commands(c, most=24))
    harness.load_everything()
    counts = harness.Counts()
    if jobs == 1:
        for n in names: group(n, counts)
    else: side_by_side(names, jobs, counts)
    print(counts.table())
    if out := value('--out', None): counts.write(out)
    return bool(counts.failed)

if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
