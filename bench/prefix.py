"""A step of f-DPG with 16 completions a prompt, by the length of the prompt; each contender in fresh forks that take turns.

    python bench/prefix.py                      prompts read once, and share_prompts=False
    python bench/prefix.py --against FOLDER     and an older checkout of this project in that folder
    python bench/prefix.py --trl                and TRL's GRPO on the same prompts, completions and model
    python bench/prefix.py --prompts 32         one length alone
    python bench/prefix.py --quick              a glance at whether everything runs; nothing is written
"""
from __future__ import annotations
import argparse, logging, multiprocessing, os, statistics, subprocess, sys, tempfile, time
from pathlib import Path
HERE = Path(__file__).resolve().parent
SIZE = dict(V=4000, hidden=128, layers=4, heads=4, each=16, new=32)
CASES = {32: 2, 128: 2, 384: 1}    # tokens of a prompt -> prompts a step
AIMS = {32: .75, 128: .48, 384: .28}

def kilobytes(what):
    "A line of /proc/self/status, in MB."
    for line in open('/proc/self/status'):
        if line.startswith(what + ':'): return int(line.split()[1])/1024

def world(s, length, prompts):
    "A Llama with random weights, a tokenizer that knows as many words, prompts as texts. Nothing ends a completion, so that all do the same work."
    import random, torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    words = ['<s>', '</s>', '<pad>'] + [f'w{i}' for i in range(3, s['V'])]      # no special token inside of a word
    t = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token='<s>'))
    t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tok, rng = PreTrainedTokenizerFast(tokenizer_object=t, bos_token='<s>', eos_token='</s>', pad_token='<pad>'), random.Random(1)
    torch.manual_seed(0)
    m = LlamaForCausalLM(LlamaConfig(vocab_size=s['V'], hidden_size=s['hidden'], intermediate_size=s['hidden']*11//4, num_hidden_layers=s['layers'],
                                     num_attention_heads=s['heads'], num_key_value_heads=s['heads'], max_position_embeddings=1024,
                                     tie_word_embeddings=True, bos_token_id=0, eos_token_id=None, pad_token_id=2))
    m.generation_config.eos_token_id, m.generation_config.pad_token_id = None, 2
    return m, tok, [' '.join(f'w{rng.randrange(4, s["V"])}' for _ in range(length)) for _ in range(prompts)]

def clock():
    from transformers import TrainerCallback
    class Clock(TrainerCallback):
        def __init__(self): self.at, self.before = [], None
        def on_train_begin(self, *a, **kw): self.before = kilobytes('VmRSS'); open('/proc/self/clear_refs', 'w').write('5'); self.at.append(time.process_time())
        def on_step_end(self, *a, **kw): self.at.append(time.process_time())
    return Clock()

def ours(s, length, prompts, steps, share, folder):
    from fdiv_nb.training.fdpg import FDPGConfig, FDPGTrainer
    m, tok, texts = world(s, length, prompts)
    tok.eos_token = None
    c, option = clock(), {} if share is None else dict(share_prompts=share)
    a = FDPGConfig(output_dir=folder, samples_per_step=s['each']*prompts, samples_per_prompt=s['each'], max_new_tokens=s['new'], max_steps=steps, z_samples=2*s['each'],
                   learning_rate=1e-5, logging_steps=1000, disable_tqdm=True, use_cpu=True, save_strategy='no', **option)
    reward = lambda prompts, completions: [len(x) % 7/7 for x in completions]
    FDPGTrainer(m, reward, a, train_dataset=texts, processing_class=tok, callbacks=[c]).train()
    return c

def trl(s, length, prompts, steps, folder):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer
    m, tok, texts = world(s, length, prompts)
    m.save_pretrained(f'{folder}/start'); m = type(m).from_pretrained(f'{folder}/start', dtype='float32')     # GRPO makes its reference from a path
    c = clock()     # the end token, one of 4,000 words of a random model, cuts about a hundredth of the completions
    a = GRPOConfig(output_dir=folder, per_device_train_batch_size=s['each']*prompts, num_generations=s['each'], max_completion_length=s['new'], max_steps=steps, beta=.1,
                   learning_rate=1e-5, logging_steps=1000, disable_tqdm=True, use_cpu=True, save_strategy='no', report_to='none', gradient_checkpointing=False, bf16=False,
                   mask_truncated_completions=False, temperature=1., top_k=0)
    reward = lambda prompts, completions, **kw: [len(x) % 7/7 for x in completions]
    GRPOTrainer(m, reward, a, train_dataset=Dataset.from_list([dict(prompt=t) for t in texts]*steps), processing_class=tok, callbacks=[c]).train()
    return c

def child(name, length, prompts, steps, folder, out):
    "In a fork: process seconds of each step, the first left out, and the peak above what was resident before."
    import torch
    torch.set_num_threads(1); logging.disable(logging.WARNING); sys.path.insert(0, str(folder))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        with tempfile.TemporaryDirectory() as f:
            c = trl(SIZE, length, prompts, steps, f) if name == 'TRL' else ours(SIZE, length, prompts, steps, {'once': True, 'repeated': False, 'before': None}[name], f)
        out.send(dict(seconds=[b - a for a, b in zip(c.at[1:], c.at[2:])], peak_mb=kilobytes('VmHWM') - c.before))
    except BaseException as e: out.send(repr(e))

def load(with_trl):
    "What every contender imports, once; none of this project's modules."
    os.environ |= dict(OMP_NUM_THREADS='1', HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false', TRL_EXPERIMENTAL_SILENCE='1')
    import torch, transformers                                             # noqa: F401
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, Trainer    # noqa: F401
    if with_trl: from trl import GRPOConfig, GRPOTrainer                   # noqa: F401
    torch.set_num_threads(1)
    assert not any(m.split('.')[0] == 'fdiv_nb' for m in sys.modules), 'a fork has to import its own'

def forked(child, what, *args):
    "What `child(*args, a pipe to send it into)` measured in a fresh fork. Exits with what went wrong there."
    here, there = multiprocessing.get_context('fork').Pipe(False)
    p = multiprocessing.get_context('fork').Process(target=child, args=(*args, there))
    p.start(); there.close()
    try: got = here.recv()
    except EOFError: got = 'ended without a result'
    p.join()
    if isinstance(got, str): sys.exit(f'{what}: {got}')
    return got

def ask(name, length, prompts, steps, against):
    "What a fresh fork measured."
    code = against if name == 'before' else HERE.parent
    return forked(child, f'{name}, prompts of {length} tokens', name, length, prompts, steps, code)

def commit_of(folder):
    "The commit of a checkout."
    return subprocess.run(['git', '-C', str(folder), 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True).stdout.strip()

def main(a):
    load(a.trl)
    names = ['before' if a.against else 'repeated', 'once'] + ['TRL']*a.trl
    cases = {32: 1} if a.quick else {p: CASES[p] for p in a.prompts}
    found = {n: {str(p): dict(seconds=[], peak_mb=[]) for p in cases} for n in names}
    for _ in range(1 if a.quick else a.rounds):
        for length, prompts in cases.items():
            for n in names:
                r = ask(n, length, prompts, 2 if a.quick else a.steps, a.against)
                found[n][str(length)]['seconds'].append(statistics.median(r['seconds']))
                found[n][str(length)]['peak_mb'].append(r['peak_mb'])
        ratios = report(names, cases, found)
        if not a.quick: keep(a, cases, found, ratios)       # after each round: a long run may be cut short

def report(names, cases, found):
    "Print medians; ratios of prompts read once to each other contender."
    mid = lambda n, p, k: statistics.median(found[n][str(p)][k])
    line = lambda label, xs, form: print(f'{label:26}' + ''.join(f'{x:{form}}' for x in xs), flush=True)
    line('tokens of a prompt', cases, '10'); ratios = {}
    for n in names:
        line(f'{n}, s a step', [mid(n, p, 'seconds') for p in cases], '10.3f')
        line(f'{n}, peak MB', [mid(n, p, 'peak_mb') for p in cases], '10.0f')
    for n in names:
        for k in ('seconds', 'peak_mb')*(n != 'once'):
            ratios[f'{k} once/{n}'] = {str(p): mid('once', p, k)/mid(n, p, k) for p in cases}
            line(f'{k} once/{n}', ratios[f'{k} once/{n}'].values(), '10.2f')
    line('aim, seconds', [AIMS[p] for p in cases], '10.2f')
    return ratios

def keep(a, cases, found, ratios):
    "Write the file."
    import torch, transformers
    from losses import device_name, write
    write(a.out, dict(device=device_name(False), threads=1, clock='process_time', torch=torch.__version__, transformers=transformers.__version__, size=SIZE,
          prompts={str(p): n for p, n in cases.items()}, before=commit_of(a.against) if a.against else None, load_average=os.getloadavg()[0], ratios=ratios, measured=found))

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--against', type=Path, help='an older checkout'); p.add_argument('--trl', action='store_true'); p.add_argument('--quick', action='store_true')
    p.add_argument('--prompts', type=int, nargs='+', default=list(CASES), choices=list(CASES))
    p.add_argument('--out', type=Path, default=HERE/'results'/'prefix-cpu.json')
    p.add_argument('--rounds', type=int, default=5); p.add_argument('--steps', type=int, default=4)
    main(p.parse_args())
