"""What the checks of a run cost a step: one run, a few steps with them and a few without, by turns. python .ci/faults/overhead.py [ROUNDS] [TRAINER ...]

Taken away: the touch of the lock, the look at the loss, and around a checkpoint the stage, the manifest with its checksums, the files of
our own and the look at the weights. Seconds of a core. Two numbers each: the median of the rounds' ratios, and the share of the time that
is spent within these functions, which is less noisy."""
import functools, statistics, sys, time
sys.path.insert(0, __file__.rpartition('/')[0])
import harness, runs

SIZES = dict(vocab=2000, hidden_size=256, intermediate_size=704, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4)

class Checks:
    "The checks, which can be taken away and brought back; `within`: seconds spent in them."
    def __init__(self):
        from transformers import Trainer
        import fdiv_nb.training.base as base, fdiv_nb.training.checkpoint as checkpoint
        from fdiv_nb.training.step import StepMixin
        nothing, self.within, self.inner = (lambda *a, **kw: None), 0., 0.
        theirs = self.timed(Trainer._save_checkpoint, -1)
        Trainer._save_checkpoint = theirs
        places = [(StepMixin, 'check_loss', nothing), (base, 'touch_lock', nothing), (checkpoint, 'touch_lock', nothing),
                  (base, 'check_finite', nothing), (checkpoint.CheckpointMixin, '_save_checkpoint', theirs)]
        self.with_ = [(place, name, self.timed(getattr(place, name))) for place, name, _ in places]
        self.without = places
    def timed(self, fn, sign: int = 1):
        @functools.wraps(fn)
        def call(*a, **kw):
            t = time.process_time()
            try: return fn(*a, **kw)
            finally: self.within += sign*(time.process_time() - t)
        return call
    def put(self, on: bool):
        for place, name, fn in self.with_ if on else self.without: setattr(place, name, fn)

def measure(name: str, rounds: int, every: int, saves: bool) -> tuple[list[float], float]:
    "(Ratio of each round, share of the checks) of blocks of `every` steps."
    from transformers import TrainerCallback
    from fdiv_nb.models.testing import tiny_llama
    runs.model = lambda lora=False, seed=0: tiny_llama(seed=seed, **SIZES)
    checks, blocks = Checks(), []
    class Turns(TrainerCallback):
        def on_step_begin(self, args, state, control, **kw):
            if state.global_step % every: return
            now = time.process_time()
            if blocks: blocks[-1] = now - blocks[-1][0], checks.within - blocks[-1][1]
            checks.put(len(blocks) % 2 == 0)
            blocks.append((time.process_time(), checks.within))
    with harness.folder() as d:
        t = runs.TRAINERS[name](d/'o', max_steps=2*every*(rounds + 1) + 1, save_strategy='steps' if saves else 'no', save_steps=every,
                                limit=1, learning_rate=1e-6)
        t.add_callback(Turns())
        t.train()
    done = blocks[2:-1]
    with_, without = done[::2], done[1::2]
    inside = sum(w for _, w in with_)
    return [a/b for (a, _), (b, _) in zip(with_, without)], inside/(sum(a for a, _ in with_) - inside)

def main(argv):
    rounds = int(argv[0]) if argv else 9
    harness.load_everything()
    for name in argv[1:] or ('sft', 'dpo', 'fdpg'):
        for saves, every in (False, 10), (True, 50):
            e = harness.case(lambda: print("RATIOS", measure(name, max(3, rounds//4) if saves else rounds, every, saves)), limit=3000)
            found = [x for x in e.out.splitlines() if x.startswith('RATIOS')]
            if not found: raise SystemExit(harness.last_lines(e))
            r, share = eval(found[0][7:])
            print(f"{name}, {f'a checkpoint every {every} steps' if saves else 'no checkpoint'}: {statistics.median(r):.4f} "
                  f'({min(r):.3f} to {max(r):.3f}, {len(r)} rounds); {share:.4%} within the checks', flush=True)

if __name__ == '__main__': main(sys.argv[1:])
