"""Inputs by chance, from good ones: whatever reads them returns, or raises a ValueError of one line"""
import contextlib, copy, io, json, random, shutil, signal, string, warnings
from pathlib import Path
import runs

ODD = [None, True, False, 0, -1, 3, 2**70, -2.5, float('nan'), float('inf'), 1e400, '', ' ', 'x', '0', '1e5', 'ü', '\ud800', '\0', '[]', '{}', 'null', [], [[]], {},
       {'a': 1}, [None], ['x'], [1, 2], [{}], [{'role': 'user'}], [{'role': 'user', 'content': 'go'}], [{'role': 'assistant', 'content': 'to'}],
       [{'from': 'human', 'value': 'go'}, {'from': 'gpt', 'value': 'to'}], {'role': 'user', 'content': 'go'}, [{'role': 3, 'content': []}], 'go to ' * 50]
NAMES = ['prompt', 'completion', 'messages', 'question', 'answer', 'system', 'history', 'context', 'tools', 'images', 'label', 'template', 'index', 'prompt_ids',
         'completion_ids', 'chosen', 'rejected', 'chat_template_kwargs', 'wrong_answers', 'paraphrase', 'text', 'x', '', 'None']

def odd(r: random.Random, depth: int = 2):
    "A value that nobody expects."
    k = r.random()
    if k < .7 or not depth: return copy.deepcopy(r.choice(ODD))
    if k < .85: return [odd(r, depth - 1) for _ in range(r.randrange(4))]
    return {r.choice(NAMES): odd(r, depth - 1) for _ in range(r.randrange(4))}

def mutated(r: random.Random, x, rate: float = .15):
    "JSON with some of its values, names and entries changed."
    if r.random() < rate/2: return odd(r)
    if isinstance(x, dict):
        out = {(r.choice(NAMES) if r.random() < rate/4 else k): mutated(r, v, rate) for k, v in x.items() if r.random() > rate/4}
        if r.random() < rate: out[r.choice(NAMES)] = odd(r)
        return out
    if isinstance(x, list):
        out = [mutated(r, v, rate) for v in x if r.random() > rate/4]
        return out + [odd(r)] if r.random() < rate/2 else out
    return x if r.random() > rate/2 else odd(r)

def broken(r: random.Random, data: bytes) -> bytes:
    "Bytes of which some are changed, lost or doubled."
    b = bytearray(data)
    for _ in range(r.randrange(1, 5)):
        if not b: break
        i, k = r.randrange(len(b)), r.randrange(6)
        if k == 0: b[i] ^= 1 << r.randrange(8)
        elif k == 1: del b[i:i + r.randrange(1, 20)]
        elif k == 2: b[i:i] = bytes([r.randrange(256)])
        elif k == 3: b[i:i] = b[i:i + r.randrange(1, 40)]
        elif k == 4: b[i:i] = r.choice([b'"', b'{', b'[', b']', b',', b':', b'\n', b'\t', b'- ', b'&a', b'*a', b'!!', b'\xff', b'\x00', b'\xef\xbb\xbf', b'\r'])
        else: b[i:] = b''
    return bytes(b)

# what is tried: (d, r) -> None, each with good inputs of its own --------------------------------------------------------
def rows(d, r):
    from fdiv_nb.training.batches import encode_rows
    from fdiv_nb.training.data import read_rows
    good = r.choice([runs.ROWS, runs.PAIRS, [dict(messages=[dict(role='user', content='go to'), dict(role='assistant', content=' hill')])]])
    need = r.choice([('prompt', 'completion'), ('prompt', 'chosen', 'rejected'), ('prompt',)])
    read = read_rows(mutated(r, good[:3]), need, turns=r.choice(['all', 'last']), on_bad=r.choice(['refuse', 'drop']))
    if len(need) > 1: encode_rows(runs.tokenizer(), read, need[1:], on_bad=r.choice(['refuse', 'drop']))
def labelled(d, r):
    from fdiv_nb.training.unpaired import read_labelled
    read_labelled(mutated(r, runs.LABELLED[:3]), 'data')
def contexts(d, r):
    from fdiv_nb.training.contexts import contexts_of
    contexts_of(mutated(r, r.choice([runs.PROMPTS, [dict(prompt=p, answer='3') for p in runs.PROMPTS], ['go', [dict(role='user', content='go')]]])), runs.tokenizer())
def templates(d, r):
    from fdiv_nb.training.data import read_templates
    read_templates(mutated(r, ['rest', 'play'], .4))
def file(ending):
    good = dict(jsonl='\n'.join(map(json.dumps, runs.ROWS[:4])) + '\n', json=json.dumps(runs.ROWS[:4], indent=1), csv='prompt,completion\ngo to," hill, ""and"""\nplay,home\n',
                txt='go to\nplay\n')[ending].encode()
    def read(d, r):
        from fdiv_nb.training.data import read_rows
        p = d/f'f.{ending}'
        p.write_bytes(broken(r, good))
        read_rows(str(p), ('prompt',) if ending == 'txt' else ('prompt', 'completion'))
    read.__name__ = ending
    return read
def yaml(d, r):
    from fdiv_nb.commands.parser import stored_flags
    (d/'c.yaml').write_bytes(broken(r, b'seed: 1\nbeta: 0.5\nreward: [python, "contains:go"]\nmodel: tiny\nmax_steps: 10\n# text\nname: "a b"\n'))
    stored_flags(str(d/'c.yaml'))
def yaml_values(d, r):
    from fdiv_nb.commands.parser import stored_flags
    (d/'c.json').write_text(json.dumps(mutated(r, dict(seed=1, docs=2, steps=3, out='x'), .5)))
    stored_flags(str(d/'c.json'))
def manifest(d, r):
    from fdiv_nb.training.checkpoint import begin_run, newest_whole, resolve_checkpoint
    run = d/'run'
    if not run.exists(): shutil.copytree(d.parent/'run', run)
    files = [run/'fdiv_run.json', *(c/n for c in run.glob('checkpoint-*') for n in ('fdiv_manifest.json', 'trainer_state.json', 'fdiv_state.json'))]
    p = r.choice(files)
    was = p.read_bytes()
    try:
        p.write_bytes(json.dumps(mutated(r, json.loads(was), .3)).encode() if r.random() < .6 else broken(r, was))
        newest_whole(run)
        for which in (True, 'checkpoint-2'):
            with contextlib.suppress(ValueError): resolve_checkpoint(run, which)
        begin_run(run, 'last')
    finally: p.write_bytes(was)
def lock(d, r):
    from fdiv_nb.training.checkpoint import FolderLock, LOCK, this_process
    good = json.dumps(this_process()).encode()
    (d/LOCK).write_bytes(json.dumps(mutated(r, this_process(), .5)).encode() if r.random() < .5 else broken(r, good))
    try:
        with FolderLock(d): pass
    finally: (d/LOCK).unlink(missing_ok=True)
def log(d, r):
    from fdiv_nb.evaluation.evallog import read_log
    from fdiv_nb.evaluation.tofu import tofu_scores
    item = lambda x: {str(i): x + i for i in range(3)}
    good = {'eval_log.json': dict(avg_gt_loss=item(1.), avg_paraphrased_loss=item(2.), average_perturb_loss={str(i): [1., 2.] for i in range(3)}, rougeL_recall=item(.1))}
    good['eval_log_forget.json'] = good['eval_log.json']
    p = d/'log.json'
    p.write_bytes(broken(r, json.dumps(good).encode()) if r.random() < .4 else json.dumps(mutated(r, good)).encode())
    tofu_scores(read_log(p))
def run_json(d, r):
    from fdiv_nb.commands.report import load_runs
    from fdiv_nb.reports.page import compare_runs
    good = dict(history=[dict(step=1, loss=1., reward=.5), dict(step=2, loss=.5, reward=.6)], before=dict(reward=.1, kl=0.), after=dict(reward=.5, kl=.1),
                samples=[['go', 'to', .5]], samples_before=[['go', 'to', .5]], config=dict(divergence='js', beta=.1), record=dict(command=['fdiv'], versions={}))
    out = d/'r'
    out.mkdir(exist_ok=True)
    (out/'run.json').write_bytes(broken(r, json.dumps(good).encode()) if r.random() < .2 else json.dumps(mutated(r, good)).encode())
    found = load_runs([str(out)])
    if DRAW: compare_runs(found, 'x')
def scores(d, r):
    from fdiv_nb.losses.scoring import check_scores
    check_scores(mutated(r, [.5, 1., 2.], .5), 3, texts=['a', 'b', 'c'])
def config(d, r):
    from fdiv_nb.training.sft import FSFTConfig
    names = [k for k in FSFTConfig.__dataclass_fields__ if k not in ('output_dir', 'ddp_backend', 'torch_compile', 'torch_compile_backend', 'local_rank', 'deepspeed', 'fsdp',
             'fsdp_config', 'accelerator_config', 'parallelism_config', 'logging_dir', 'log_level', 'report_to', 'tpu_num_cores', 'torch_compile_mode', 'debug', 'use_cpu')]
    k = r.choice([n for n in names if FSFTConfig.__dataclass_fields__[n].init])
    theirs = k in TRAINER
    value = r.choice(NUMBERS) if theirs else odd(r, 1)
    if theirs and not isinstance(FSFTConfig.__dataclass_fields__[k].default, (int, float)): return
    FSFTConfig(**runs.options(d/'o') | {k: value})
NUMBERS = [0, -1, -5, 2**40, 1e400, float('nan'), .5, 1, 3]
TRAINER = set()
def divergence(d, r):
    from fdiv_nb.mathematics.schedule import read_divergence
    words = ['js', 'tv', 'alpha', ':', '0.3', '..', '@', 'skew_js', 'x', '', '-', 'nan', 'inf', '1e400', 'reverse_kl', ',', ' ', '2']
    read_divergence(''.join(r.choice(words) for _ in range(r.randrange(1, 6))))
def reward_name(d, r):
    from fdiv_nb.losses.rewards import load_reward
    words = ['contains', 'regex', 'python', ':', '(', '[', 'go', '.py', '/', '\0', ' ', 'os', 'math', 'sin', '\\', '*', 'lexicon', 'x'*300, '..']
    load_reward(''.join(r.choice(words) for _ in range(r.randrange(1, 6))))
def model_json(d, r):
    from fdiv_nb.models.loading import load_lm, load_tokenizer
    m = d/'m'
    if not m.exists(): shutil.copytree(d.parent/'m', m)
    p = m/r.choice(['config.json', 'tokenizer_config.json', 'generation_config.json', 'tokenizer.json'])
    was = p.read_bytes()
    try:
        p.write_bytes(json.dumps(mutated(r, json.loads(was), .1)).encode() if r.random() < .6 else broken(r, was))
        with contextlib.redirect_stderr(io.StringIO()):
            load_tokenizer(str(m))
            load_lm(str(m))
    finally: p.write_bytes(was)
def words(d, r):
    from fdiv_nb.commands.main import main
    if not DRAW and r.random() < .8: return                       # it is slow
    w = ['sft', '--model', str(d.parent/'m'), '--data', str(d.parent/'rows.jsonl'), '--output_dir', str(d/'o'), '--max_steps', '1', '--dry_run', '--use_cpu']
    for _ in range(r.randrange(1, 4)):
        i = r.randrange(1, len(w))
        k = r.randrange(4)
        if k == 0: del w[i]
        elif k == 1: w.insert(i, r.choice(['--seed', '-1', '--loss', 'x', '--divergence', 'js', '', '--', '-x', '--config', '=', '--max_length', 'nan', '--quiet', '--sweep', '\0', 'ü']))
        elif k == 2: w[i] = ''.join(r.choice(string.printable) for _ in range(r.randrange(8)))
        else: w[i:i] = w[i:i + 2]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()): main(w)

DRAW = True
TARGETS = {t.__name__: (t, weight) for t, weight in ((rows, 20), (labelled, 5), (contexts, 10), (templates, 3), (file('jsonl'), 8), (file('json'), 8), (file('csv'), 5), (file('txt'), 2),
           (yaml, 8), (yaml_values, 3), (manifest, 8), (lock, 3), (log, 8), (run_json, 6), (scores, 5), (config, 4), (divergence, 4), (reward_name, 4), (model_json, 3), (words, 2))}

class Hangs(BaseException): pass
def late(number, frame): raise Hangs('no end within 20 seconds')

def one(name: str, seed: int, d: Path) -> str:
    "What is wrong with one case; '' if nothing."
    target = TARGETS[name][0]
    signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            target(d, random.Random(f'{name} {seed}'))
    except ValueError as e:
        if '\n' in str(e): return f'several lines: {str(e)[:200]!r}'
        if isinstance(e, UnicodeError): return f'{type(e).__name__}: {e}'
    except BaseException as e: return f'{type(e).__name__}: {" ".join(str(e).split())[:200]}'
    finally: signal.alarm(0)
    return ''

def prepare(d: Path) -> Path:
    "A folder for the cases, beside a model, rows and a run."
    from transformers import TrainingArguments
    TRAINER.update(TrainingArguments.__dataclass_fields__)
    runs.files(d)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if not (d/'run').exists(): runs.train('sft', d/'run', max_steps=2)
    (d/'w').mkdir(exist_ok=True)
    return d/'w'

def cases(n: int, seed: int = 0):
    "(target, seed) of n cases, as often as their weights say."
    total, out = sum(w for _, w in TARGETS.values()), []
    for name, (_, w) in TARGETS.items(): out += [(name, seed*1_000_000 + i) for i in range(max(1, round(n*w/total)))]
    return out

def check(counts, n: int = 10_000, seed: int = 0):
    "n cases; a group of failures of one kind is shown once."
    import logging
    from harness import folder
    logging.disable(logging.CRITICAL)
    seen = {}
    with folder() as d:
        w = prepare(d)
        for name, s in cases(n, seed):
            fault = one(name, s, w)
            if fault:
                key = (name, fault[:60])
                seen[key] = seen.get(key, 0) + 1
                if seen[key] > 1: 
                    counts.tried['fuzz'] = counts.tried.get('fuzz', 0) + 1
                    counts.failed.setdefault('fuzz', []).append(f'{name} {s}: {fault}')
                    continue
            counts.check('fuzz', f'{name} {s}', fault)
    logging.disable(logging.NOTSET)
    for (name, fault), k in sorted(seen.items(), key=lambda x: -x[1]): print(f'  {k:5} × {name}: {fault}')
