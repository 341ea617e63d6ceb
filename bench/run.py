"""Every benchmark of this folder, one after another: `make bench`."""
import subprocess, sys, time
from pathlib import Path
here, t, bad = Path(__file__).resolve().parent, time.time(), []
for name in 'losses.py', 'rollout.py', 'prefix.py', 'steps.py', 'growth.py':
    if not (here/name).is_file(): continue
    print(f'== {name}', flush=True)
    if subprocess.run([sys.executable, here/name]).returncode: bad.append(name)
print(f'done in {(time.time() - t)/60:.1f} min' + (f"; failed: {', '.join(bad)}" if bad else ''))
sys.exit(bool(bad))
