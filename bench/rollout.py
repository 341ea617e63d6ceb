"""Sampling against transformers' generate, and one f-DPG step against the sum of its parts; interleaved, in one process.

    python bench/rollout.py               two processor threads, fp32; writes bench/results/rollout-cpu.json
    python bench/rollout.py --gpu         bf16, a larger model, compiled steps; says so and ends where there is no GPU
    python bench/rollout.py --models [FOLDER ...]   sampling alone: a Llama of 30 M parameters, and models in folders; writes rollout-models-cpu.json
    python bench/rollout.py --branches    sixteen completions as branches of one row, and in rows of their own; writes branches-cpu.json
    python bench/rollout.py --quick       a glance at whether everything runs; nothing is written
"""
from __future__ import annotations
import argparse, copy, logging, os, statistics, sys, tempfile, time
from functools import partial
from pathlib import Path
import torch
from losses import device_name, write
HERE = Path(__file__).resolve().parent
SMALL = dict(rows=64, new=32, prompt=1, V=8000, hidden=256, layers=4, heads=4, dtype='float32', device='cpu')
LARGE = dict(rows=256, new=256, prompt=32, V=32000, hidden=1024, layers=16, heads=16, dtype='bfloat16', device='cuda')
LLAMA = SMALL | dict(V=32000, hidden=384, layers=10, heads=6, new=64, family='llama')
AIMS = {'sampling': ('rollout', 1.8), 'step': ('f-DPG step', 1.15)}
CLOCK = time.perf_counter

def world(s):
    "A model with random weights, a tokenizer that knows as many words, prompts of ids. Nothing ends a completion, so that all do the same work."
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    t = Tokenizer(models.WordLevel({f'w{i}': i for i in range(s['V'])}, unk_token='w0')); t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tok = PreTrainedTokenizerFast(tokenizer_object=t, bos_token='w0', pad_token='w0')
    with torch.random.fork_rng():
        torch.manual_seed(0); room = s['prompt'] + s['new']
        if s['device'] == 'cpu' and s.get('family') != 'llama': m = GPT2LMHeadModel(GPT2Config(vocab_size=s['V'], n_positions=room, n_embd=s['hidden'], n_layer=s['layers'], n_head=s['heads'], bos_token_id=0, eos_token_id=None, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0))
        else: m = LlamaForCausalLM(LlamaConfig(vocab_size=s['V'], hidden_size=s['hidden'], intermediate_size=s['hidden']*(11 if s.get('family') else 16)//4, num_hidden_layers=s['layers'], num_attention_heads=s['heads'], num_key_value_heads=s['heads'], max_position_embeddings=room, bos_token_id=0, eos_token_id=None,
                                                tie_word_embeddings=bool(s.get('family'))))
        prompts = torch.randint(1, s['V'], (s['rows'], s['prompt'])).tolist()
    m.generation_config.eos_token_id = None; m.generation_config.pad_token_id = 0
    return m.to(s['device'], getattr(torch, s['dtype'])).eval(), tok, prompts

def seconds(f, cuda):
    if cuda: torch.cuda.synchronize()
    t = CLOCK(); f()
    if cuda: torch.cuda.synchronize()
    return CLOCK() - t

def interleaved(fs, rounds, cuda):
    "Seconds of each contender by round; round 0 warms up and compiles."
    out = {n: [] for n in fs}
    for k in range(rounds + 1):
        for n, f in fs.items():
            d = seconds(f, cuda)
            if k: out[n].append(d)
    return out

def folder_world(s, folder):
    "A model and its tokenizer from a folder, as `world`."
    from transformers import AutoModelForCausalLM, AutoTokenizer
    m, tok = AutoModelForCausalLM.from_pretrained(folder, dtype='float32'), AutoTokenizer.from_pretrained(folder)
    m.generation_config.eos_token_id = None; m.generation_config.pad_token_id = 0
    return m.eval(), tok, torch.randint(5, m.config.vocab_size, (s['rows'], s['prompt']), generator=torch.Generator().manual_seed(0)).tolist()

def models(a):
    "Sampling from several models, without a training step."
    out = {}
    for name in [*a.models, 'llama']:
        s = dict(LLAMA)
        if a.quick: s |= dict(rows=4, new=6, V=100, hidden=48, layers=2, heads=2)
        found, params = sampling(s, 1 if a.quick else a.rounds, world(s) if name == 'llama' else folder_world(s, name))
        label = 'Llama, random weights' if name == 'llama' else Path(name).name
        base = med(found['generate'])
        out[label] = dict(parameters=params, rows=s['rows'], new=s['new'], over_generate={n: med(v)/base for n, v in found.items()}, seconds=found)
        print(f"\n{label}, {params/1e6:.2f}M parameters, {s['rows']} × {s['new']} tokens")
        for n, v in found.items(): print(f'{n:28}{med(v):9.3f} s{med(v)/base:9.2f} of generate', flush=True)
    if a.quick: return
    import transformers
    write(HERE/'results'/'rollout-models-cpu.json', dict(device=device_name(False), threads=a.threads, clock=CLOCK.__name__, torch=torch.__version__, transformers=transformers.__version__,
                                                        load_average=os.getloadavg()[0], models=out))

BRANCHES = (32, 32), (128, 32), (384, 32), (384, 128), (128, 128)    # tokens of a prompt, of each of its 16 completions

def branches(a):
    "One prompt, 16 completions; process seconds."
    import fdiv_nb.models.rollout as module
    global CLOCK
    CLOCK, out, usual = time.process_time, [], module.branching_pays
    torch.set_num_threads(1)
    for prompt, new in [(12, 4)] if a.quick else BRANCHES:
        given = world(SMALL | dict(rows=1, prompt=prompt, new=new, V=4000, hidden=128, family='llama'))
        def draw(on, given=given, new=new):
            module.branching_pays = lambda *sizes: on
            return module.rollout(*given, n=16, max_new_tokens=new, eos_token_ids=[], generator=torch.Generator().manual_seed(0))
        assert draw(True).completion_ids == draw(False).completion_ids
        found = interleaved(dict(branched=partial(draw, True), rows=partial(draw, False)), 1 if a.quick else a.rounds, False)
        out.append(dict(prompt=prompt, new=new, keys=(prompt + 8*new)/(prompt + new/2), branched_over_rows=med(found['branched'])/med(found['rows']),
                        seconds=found))
        print(f"prompt {prompt:4}, {new:4} new: {out[-1]['keys']:5.1f} times as many keys, {out[-1]['branched_over_rows']:.2f} of the time", flush=True)
    module.branching_pays = usual
    if not a.quick: write(HERE/'results'/'branches-cpu.json', dict(device=device_name(False), threads=1, clock='process_time', torch=torch.__version__, load_average=os.getloadavg()[0], rows=out))

def sampling(s, rounds, given=None):
    "Contenders: the loop here, generate with scores left alone, generate asked for what the loop returns, and on a GPU both with caches of fixed size."
    from fdiv_nb.models.rollout import rollout
    m, tok, prompts = given or world(s); cuda = s['device'] == 'cuda'; ids = torch.tensor(prompts, device=s['device']); mask = torch.ones_like(ids)
    def gen(**kw):
        with torch.no_grad(): out = m.generate(ids, attention_mask=mask, do_sample=True, top_k=0, max_new_tokens=s['new'], **kw)
        assert (out.sequences if kw.get('return_dict_in_generate') else out).shape[1] == s['prompt'] + s['new']
    def mine(static): assert rollout(m, tok, prompts, max_new_tokens=s['new'], eos_token_ids=[], static=static).lengths.min() == s['new']
    fs = {'generate': gen, 'generate, with logits': lambda: gen(output_logits=True, return_dict_in_generate=True), 'rollout': lambda: mine(None if cuda else False), 'decode steps alone': lambda: decode(m, ids, s['new'])}
    if given: fs = {n: fs[n] for n in ('generate', 'rollout')}
    if cuda: fs |= {'generate, fixed cache': lambda: gen(cache_implementation='static'), 'rollout, growing cache': lambda: mine(False)}
    return interleaved(fs, rounds, cuda), sum(p.numel() for p in m.parameters())

def decode(m, ids, new):
    "Read the prompts, then one cached step for each further token: only what the model itself costs."
    with torch.no_grad():
        out = m(input_ids=ids, use_cache=True, logits_to_keep=1); x = ids[:, :1]
        for _ in range(new - 1): out = m(input_ids=x, past_key_values=out.past_key_values, use_cache=True, logits_to_keep=1)

def step(s, rounds):
    "Seconds of whole f-DPG steps inside `FDPGTrainer.train`, and of the parts, measured between the steps on a copy of the model."
    from transformers import TrainerCallback
    from fdiv_nb.training.fdpg import FDPGConfig, FDPGTrainer
    m, tok, prompts = world(s); cuda = s['device'] == 'cuda'; out = {'f-DPG step': []}; d = copy.deepcopy(m)
    ids = torch.randint(1, s['V'], (s['rows'], s['prompt'] + s['new']), generator=torch.Generator().manual_seed(1)).to(s['device']); labels, p = ids[:, s['prompt']:], s['prompt']
    def logp(model):
        z = model(input_ids=ids, use_cache=False, logits_to_keep=s['new'] + 1).logits[:, :-1].float()
        return z.log_softmax(-1).gather(-1, labels[..., None]).sum()
    def policy(): d.train(); d.zero_grad(); logp(d).backward(); d.eval()
    def reference():
        with torch.no_grad(): logp(d)
    parts = {'T decode steps': lambda: decode(d, ids[:, :p], s['new']), 'policy forward + backward': policy, 'reference forward': reference}
    out |= {n: [] for n in parts}
    class Clock(TrainerCallback):
        t = None
        def on_step_end(self, args, state, control, **kw):
            if cuda: torch.cuda.synchronize()
            now = CLOCK(); warm = state.global_step > 1
            if self.t is not None and warm: out['f-DPG step'].append(now - self.t)
            for n, f in parts.items():
                sec = seconds(f, cuda)
                if warm: out[n].append(sec)
            self.t = CLOCK()
    texts = [' '.join(f'w{i}' for i in x) for x in prompts]
    with tempfile.TemporaryDirectory() as folder:
        a = FDPGConfig(output_dir=folder, samples_per_step=s['rows'], samples_per_prompt=1 if p > 1 else 0, max_new_tokens=s['new'], max_steps=rounds + 1, z_samples=s['rows'], learning_rate=1e-6, logging_steps=1000,
                       disable_tqdm=True, use_cpu=not cuda, save_strategy='no')
        tr = FDPGTrainer(m, lambda prompts, completions: torch.tensor([float(len(c) % 7) for c in completions]), a, train_dataset=texts if p > 1 else None, processing_class=tok, callbacks=[Clock()])
        from transformers import PrinterCallback
        tr.remove_callback(PrinterCallback); tr.train()
    return out

def med(v): return statistics.median(v)
def report(s, samples, params, steps):
    base = med(samples['generate']); total = sum(med(v) for n, v in steps.items() if n != 'f-DPG step')
    print(f"\n{s['rows']} × {s['new']} tokens, {params/1e6:.1f}M parameters, vocabulary {s['V']:,}, {s['dtype']}\n{'':28}{'seconds':>9}{'samples/s':>11}{'× generate':>12}{'aim':>7}")
    for n, v in samples.items(): print(f"{n:28}{med(v):9.3f}{s['rows']/med(v):11.1f}{base/med(v):12.2f}{'≥ 1.8' if n == 'rollout' else '':>7}")
    print(f"\n{'':28}{'seconds':>9}{'× parts':>12}{'aim':>8}")
    for n, v in list(steps.items())[1:]: print(f"{n:28}{med(v):9.3f}")
    print(f"{'sum of the parts':28}{total:9.3f}{1:12.2f}\n{'f-DPG step':28}{med(steps['f-DPG step']):9.3f}{med(steps['f-DPG step'])/total:12.2f}{'≤ 1.15':>8}", flush=True)
    return dict(rollout_over_generate=base/med(samples['rollout']), step_over_parts=med(steps['f-DPG step'])/total)

def main(a):
    global CLOCK
    if a.gpu and not torch.cuda.is_available(): sys.exit('rollout --gpu: no CUDA device is visible; run without --gpu for the processor table')
    CLOCK = time.process_time if a.cpu_time else time.perf_counter; torch.set_num_threads(a.threads); logging.getLogger('transformers').setLevel(logging.ERROR)
    if a.branches: return branches(a)
    if a.models is not None: return models(a)
    s = dict(LARGE if a.gpu else SMALL); rounds = a.rounds
    if a.quick: s |= dict(rows=4, new=6, V=100, hidden=32, layers=2, heads=2); rounds = 1
    samples, params = sampling(s, rounds); steps = step(s, rounds); ratios = report(s, samples, params, steps)
    if a.quick: return
    import transformers
    path = HERE/'results'/(f"rollout-{device_name(True).replace(' ', '-').lower()}.json" if a.gpu else 'rollout-cpu.json')
    write(path, dict(device=device_name(a.gpu), threads=a.threads, clock=CLOCK.__name__, torch=torch.__version__, transformers=transformers.__version__, size=s, parameters=params, load_average=os.getloadavg()[0],
                     ratios=ratios, median_seconds={n: med(v) for n, v in {**samples, **steps}.items()}, seconds={**samples, **steps}))

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--gpu', action='store_true'); p.add_argument('--quick', action='store_true'); p.add_argument('--rounds', type=int, default=7); p.add_argument('--threads', type=int, default=2)
    p.add_argument('--models', nargs='*', metavar='FOLDER', help='sampling alone, from a Llama of 30 M parameters and from these')
    p.add_argument('--branches', action='store_true', help='completions as branches of one row')
    p.add_argument('--cpu-time', action='store_true', help='processor seconds instead of elapsed ones: for a machine that others use, with --threads 1')
    main(p.parse_args())
