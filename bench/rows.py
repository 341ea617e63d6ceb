"""Rows tokenised a second: conversations, prompts with messages and texts through `encode_rows`, in forks that take turns;
a second start, which reads what the first has kept; and two workers, by the clock on the wall.

    python bench/rows.py                        this checkout
    python bench/rows.py --against FOLDER       and an older checkout of this project in that folder
    python bench/rows.py --tokenizer FOLDER     a chat model's tokenizer instead of a small one that is trained here
    python bench/rows.py --quick                a glance at whether everything runs; nothing is written
"""
from __future__ import annotations
import argparse, hashlib, json, logging, os, random, statistics, sys, tempfile, time
from pathlib import Path
from prefix import commit_of, forked
HERE = Path(__file__).resolve().parent
KINDS = ('chat', 'messages', 'text')      # conversations of 2, 4 or 6 messages; one question and one answer; two texts
WORDS = 'the a model learns from rows of text each answer is scored once why does it vanish explain tokens sum seven rivers light travels fast'.split()

def rows_of(kind, n, seed=0):
    "Generated rows; messages of 5 to 25 words."
    g = random.Random(seed)
    say = lambda: ' '.join(g.choice(WORDS) + str(g.randrange(50))*(g.random() < .1) for _ in range(g.randint(5, 25))).capitalize() + '.'
    talk = lambda k: [dict(role=('user', 'assistant')[i % 2], content=say()) for i in range(k)]
    if kind == 'chat': return [dict(messages=talk(2*g.randint(1, 3))) for _ in range(n)]
    if kind == 'messages': return [dict(prompt=m[:1], completion=m[1:]) for m in (talk(2) for _ in range(n))]
    return [dict(prompt=say(), completion=' ' + say()) for _ in range(n)]

def tokenizer_of(folder):
    "A folder's tokenizer, or a ChatML one of 420 tokens."
    from transformers import AutoTokenizer
    if folder: return AutoTokenizer.from_pretrained(folder)
    from fdiv_nb.models.tokenizers import chat_tokenizer
    return chat_tokenizer('chatml')

def child(code, folder, kind, n, out):
    "In a fork: process seconds of reading and of encoding, tokens, and a hash of all ids."
    sys.path.insert(0, str(code))
    try:
        import fdiv_nb
        assert Path(fdiv_nb.__file__).is_relative_to(code), f'{fdiv_nb.__file__} is not of {code}'
        from fdiv_nb.training.batches import encode_rows
        from fdiv_nb.training.data import read_rows
        tok, rows = tokenizer_of(folder), rows_of(kind, n)
        encode_rows(tok, read_rows(rows[:300]))                 # what is made once
        a = time.process_time(); read = read_rows(rows)
        b = time.process_time(); got, counts = encode_rows(tok, read)
        c = time.process_time()
        out.send(dict(read=b - a, encode=c - b, tokens=sum(len(r['prompt_ids']) + len(r['completion']) for r in got),
                      ids=hashlib.sha256(json.dumps(got).encode()).hexdigest()[:16]))
    except BaseException as e: out.send(repr(e))

def start_child(code, folder, kind, n, cache, workers, out):
    "In a fork: seconds of reading, of process and of wall of a start, by the package's cache in a folder or (None) by workers."
    sys.path.insert(0, str(code))
    try:
        import datasets
        from fdiv_nb.training.batches import encode_rows
        from fdiv_nb.training.data import read_rows
        from fdiv_nb.training.rowcache import cached_rows
        datasets.config.HF_DATASETS_CACHE = cache
        tok, rows = tokenizer_of(folder), rows_of(kind, n)
        encode_rows(tok, read_rows(rows[:300]))
        a = time.process_time(); read = read_rows(rows)
        b, wall = time.process_time(), time.perf_counter()
        got, counts = cached_rows(tok, read, name='rows') if cache else encode_rows(tok, read, num_proc=workers)
        out.send(dict(read=b - a, encode=time.process_time() - b, wall=time.perf_counter() - wall,
                      ids=hashlib.sha256(json.dumps([got, counts]).encode()).hexdigest()[:16]))
    except BaseException as e: out.send(repr(e))

def starts(a, n, code, rounds):
    "Print and return rows a second of a first and a second start, and of one and two workers; conversations."
    runs = {'first start': [], 'second start': [], 'one worker': [], 'two workers': []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as d:
            for k, found in runs.items():
                found.append(forked(start_child, k, code, a.tokenizer, 'chat', n, d if 'start' in k else None, 1 + (k == 'two workers')))
    assert len({m['ids'] for found in runs.values() for m in found}) == 1, 'rows or counts differ'
    middle = lambda found, k: n/statistics.median(m[k] for m in found)
    speed = {k: dict(a_process_second=middle(f, 'encode'), with_reading=n/statistics.median(m['encode'] + m['read'] for m in f), a_wall_second=middle(f, 'wall')) for k, f in runs.items()}
    for k, v in speed.items(): print(f'{k:14}', *(f'{x.replace("_", " ")} {y:,.0f}' for x, y in v.items() if not (k == 'two workers' and x != 'a_wall_second')))
    return dict(result=speed, measured=runs)

def main(a):
    os.environ |= dict(OMP_NUM_THREADS='1', HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false', RAYON_NUM_THREADS='1')
    import torch, transformers, datasets                                   # noqa: F401
    from transformers import AutoTokenizer, PreTrainedTokenizerFast        # noqa: F401
    torch.set_num_threads(1); logging.disable(logging.WARNING)
    codes = dict(before=a.against.resolve(), now=HERE.parent) if a.against else dict(now=HERE.parent)
    n, found = 600 if a.quick else a.rows, {k: {c: [] for c in codes} for k in KINDS}
    for r in range(1 if a.quick else a.rounds):
        for k in KINDS:
            for c in sorted(codes, reverse=r % 2): found[k][c].append(forked(child, f'{c}, {k}', codes[c], a.tokenizer, k, n))
    result = report(found, n)
    begun = starts(a, max(n, 3000), codes['now'], 1 if a.quick else a.rounds)      # fewer rows are not kept
    if not a.quick: keep(a, n, codes, result, found, begun)

def report(found, n):
    "Print and return rows a second of one thread, medians; equal ids are checked."
    result = {}
    for k, by in found.items():
        same = len({m['ids'] for ms in by.values() for m in ms}) == 1
        speed = {c: n/statistics.median(m['encode'] for m in ms) for c, ms in by.items()}
        both = {c: n/statistics.median(m['encode'] + m['read'] for m in ms) for c, ms in by.items()}
        result[k] = dict(tokens_a_row=by['now'][0]['tokens']/n, encoded_a_second=speed, read_and_encoded_a_second=both, same_ids=same)
        print(f'{k:10}', '  '.join(f'{c} {v:7,.0f}/s ({both[c]:,.0f} with reading)' for c, v in speed.items()), f'{result[k]["tokens_a_row"]:.0f} tokens', 'same ids' if same else 'IDS DIFFER')
    return result

def keep(a, n, codes, result, found, begun):
    "Write the file."
    import tokenizers, transformers
    from losses import device_name, write
    write(a.out, dict(device=device_name(False), threads=1, clock='process_time', rows=n, rounds=a.rounds, transformers=transformers.__version__, tokenizers=tokenizers.__version__,
          tokenizer=Path(a.tokenizer).name if a.tokenizer else 'chatml, 420 tokens', commits={c: commit_of(f) for c, f in codes.items()}, load_average=os.getloadavg()[0], result=result, measured=found, starts=begun))

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--against', type=Path, help='an older checkout'); p.add_argument('--tokenizer', help='a folder'); p.add_argument('--quick', action='store_true')
    p.add_argument('--rows', type=int, default=5000); p.add_argument('--rounds', type=int, default=5); p.add_argument('--out', type=Path, default=HERE/'results'/'rows-cpu.json')
    main(p.parse_args())
