"""`make soak`: one run after another for half an hour; memory and descriptors must be flat. python .ci/faults/soak.py [SECONDS] [TRAINER ...]"""
import os, sys, time
sys.path.insert(0, __file__.rpartition('/')[0])
import harness, runs

def memory() -> float:
    "MB that this process holds."
    import psutil
    return psutil.Process().memory_info().rss/1e6

def slope(points: list[tuple[float, float]]) -> float:
    "Of the line through points (seconds, MB), in MB an hour."
    n = len(points)
    mx, my = (sum(p[i] for p in points)/n for i in (0, 1))
    return 3600*sum((x - mx)*(y - my) for x, y in points)/max(1e-9, sum((x - mx)**2 for x, _ in points))

def main(argv):
    seconds = float(argv[0]) if argv else 1800.
    names = argv[1:] or list(runs.TRAINERS)
    harness.load_everything()
    start, points, files, k = time.time(), [], [], 0
    with harness.folder() as d:
        while time.time() - start < seconds:
            name = names[k % len(names)]
            runs.train(name, d/f'{k}', lora=name in runs.WITH_LORA and k//len(names) % 2 == 1, limit=1)
            harness.shutil.rmtree(d/f'{k}')
            k += 1
            if k % len(names) == 0:
                points.append((time.time() - start, memory()))
                files.append(len(os.listdir('/proc/self/fd')))
                print(f'{points[-1][0]:6.0f} s  {k:5} runs  {points[-1][1]:7.1f} MB  {files[-1]} descriptors', flush=True)
    late = points[len(points)//3:]
    rise, more = slope(late), files[-1] - files[len(files)//3]
    print(f'{k} runs: {rise:+.1f} MB an hour over the last two thirds, {more:+d} descriptors')
    return int(more > 0 or rise*seconds/3600 > .05*late[0][1])

if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
