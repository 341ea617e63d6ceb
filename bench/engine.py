"""LoRA f-DPG on a real model, sampled by a real vLLM server or by this process; and servers that are not what they should be.

    python bench/engine.py --model DIR --url http://127.0.0.1:8000                     sampled by the server
    python bench/engine.py --model DIR                                                 sampled by this process
    python bench/engine.py --model DIR --url http://... --fault stale|half|reset       not synchronised after --after steps, by half, or forgotten

One line of JSON a step, then one with the whole run. The server: `vllm serve DIR --enable-lora --max-lora-rank 8 --dtype float32`
with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1.
"""
from __future__ import annotations
import argparse, json, math, resource, tempfile, time, warnings

PROMPTS = ['Write one sentence about the sea.', 'Write one sentence about winter.']

def no_comma(prompts, completions):
    "1 for a text without a comma."
    return [float(',' not in str(c[-1]['content'] if isinstance(c, list) else c)) for c in completions]

def faulty(kind, after):
    "A `VLLMSampler` that, after so many adapters, sends none, one of which half of the tensors are old, or to a server that has forgotten it."
    from safetensors.torch import load_file, save_file
    from fdiv_nb.models.engine import VLLMSampler
    class Faulty(VLLMSampler):
        old = None
        def deliver(self, policy, how):
            if kind == 'stale' and self.sends >= after: return
            super().deliver(policy, how)
            if kind == 'reset' and self.sends == after:
                self.call_plain('/v1/unload_lora_adapter', dict(lora_name=self.adapter))
        def call_plain(self, path, body):
            try: self.call(path, body)
            except Exception as e: print(json.dumps(dict(said=str(e)[:200])), flush=True)
        def send_adapter(self, folder):
            file = folder/'adapter_model.safetensors'
            new = load_file(file)
            if kind == 'half' and self.sends >= after:
                names = sorted(new)
                save_file({k: self.old[k] if i % 2 else new[k] for i, k in enumerate(names)}, file, metadata=dict(format='pt'))
            else: self.old = new
            super().send_adapter(folder)
    return Faulty

def trainer(a, folder):
    "The trainer, which also compares log q with log π for every completion of a step."
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from fdiv_nb.models.engine import VLLMSampler
    from fdiv_nb.models.rollout import rollout
    from fdiv_nb.training.fdpg import FDPGConfig, FDPGTrainer
    tokenizer = AutoTokenizer.from_pretrained(a.model)
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32)
    class Trainer(FDPGTrainer):
        def record_samples(self, r, scores, s):
            super().record_samples(r, scores, s)
            self.record(gap_all=(s.logp - s.log_q).abs().max().item())
    class Lines(TrainerCallback):
        at = time.time()
        def on_log(self, args, state, control, logs=None, **kw):
            if 'kl' not in logs: return
            now = time.time()
            keys = ('reward', 'reward_std', 'engine_gap', 'gap_all', 'ratio_ess', 'kl', 'log_z', 'js', 'entropy', 'completions/mean_length')
            line = dict(step=state.global_step, version=getattr(t.sampler, 'version', None), seconds=round(now - self.at, 1))
            self.at = now
            print(json.dumps(line | {k: round(logs[k], 7) for k in keys if k in logs}), flush=True)
    kind = faulty(a.fault, a.after) if a.fault else VLLMSampler
    sampler = kind(a.url, tolerance=a.tolerance) if a.url else rollout
    args = FDPGConfig(output_dir=folder, divergence='js', beta=.5, samples_per_step=a.samples, max_new_tokens=a.tokens, max_steps=a.steps,
                      z_samples=2*a.samples, learning_rate=a.lr, logging_steps=1, seed=a.seed, report_to='none', use_cpu=True, disable_tqdm=True,
                      samples_per_prompt=a.samples//len(PROMPTS))
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=['q_proj', 'v_proj', 'down_proj'])
    prompts = [[dict(role='user', content=p)] for p in PROMPTS]
    lines = Lines()
    t = Trainer(model, no_comma, args, train_dataset=[dict(prompt=p) for p in prompts], processing_class=tokenizer, sampler=sampler, peft_config=lora,
                callbacks=[lines])
    return t

def summary(log, samples):
    "Means over the first and the last half of the steps, with the error of the mean over completions."
    half, out = len(log)//2, {}
    for name, rows in (('first', log[:half]), ('last', log[half:])):
        n, k = len(rows)*samples, len(rows)
        mean = sum(x['reward'] for x in rows)/k
        out[name] = dict(reward=round(mean, 4), error=round(math.sqrt(max(mean*(1 - mean), 1e-9)/n), 4), kl=round(sum(x['kl'] for x in rows)/k, 4))
    gaps = [x[k] for k in ('engine_gap', 'gap_all') for x in log if k in x]
    return out | dict(largest_gap=max(gaps) if gaps else None, least_ess=min(x['ratio_ess'] for x in log), kl_end=log[-1]['kl'])

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--model', required=True)
    p.add_argument('--url', default='')
    p.add_argument('--fault', choices=['stale', 'half', 'reset'])
    for k, v in dict(after=3, steps=20, samples=16, tokens=16, seed=0, threads=2).items(): p.add_argument(f'--{k}', type=int, default=v)
    p.add_argument('--lr', type=float, default=1e-3)
    p.add_argument('--tolerance', type=float, default=.05)
    a = p.parse_args()
    warnings.simplefilter('ignore', FutureWarning)
    import torch
    from fdiv_nb.models.engine import EngineError
    torch.set_num_threads(a.threads)
    with tempfile.TemporaryDirectory() as folder:
        t, start, caught = trainer(a, folder), time.time(), None
        try: t.train()
        except EngineError as e: caught = str(e)
    log = [x for x in t.state.log_history if 'kl' in x]
    own, server = resource.getrusage(resource.RUSAGE_SELF), dict(sends=getattr(t.sampler, 'sends', None))
    done = dict(sampler='vllm' if a.url else 'built-in', fault=a.fault, steps=len(log), seconds=round(time.time() - start),
                own_cpu_seconds=round(own.ru_utime + own.ru_stime), caught=caught, **server)
    print(json.dumps(done | (summary(log, a.samples) if len(log) > 1 else {})), flush=True)

if __name__ == '__main__': main()
