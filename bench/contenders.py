"""What `steps.py` compares: each contender is a function (the step's size, a working folder, callbacks, number of steps) -> something with `train()`.

Models, tokenizer and rows are the same for all contenders of a row. Gradient checkpointing, which TRL has on by default, is off, and so is bf16 unless the size has `bf16`; with `gpu` in it they run there."""
from __future__ import annotations
import copy, random
import torch

# ---- the world --------------------------------------------------------------------------------------------------------------
def tokenizer(V):
    "One token a word: w3, w4, ..., and <s>, </s>, <pad>."
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    words = ['<s>', '</s>', '<pad>'] + [f'w{i}' for i in range(3, V)]
    t = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token='<s>'))
    t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=t, bos_token='<s>', eos_token='</s>', pad_token='<pad>')

def model(V, hidden, layers, seed=0, sharper=1.):
    "A Llama with random weights, tied; `sharper` multiplies them, so that two models differ."
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(seed)
    heads = max(4, hidden//64)
    m = LlamaForCausalLM(LlamaConfig(vocab_size=V, hidden_size=hidden, intermediate_size=hidden*11//4, num_hidden_layers=layers, num_attention_heads=heads,
                                     num_key_value_heads=heads, max_position_embeddings=2048, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1, pad_token_id=2))
    if sharper != 1:
        for p in m.parameters(): p.data.mul_(sharper)
    return m

def texts(rng, V, n): return ' '.join(f'w{rng.randrange(3, V)}' for _ in range(n))

def pairs(s, steps):
    "Rows of prompt, chosen and rejected."
    rng, (lo, hi) = random.Random(1), s['answers']
    words = lambda n: texts(rng, s['V'], n)
    return [dict(prompt=words(24) + ' ', chosen=words(rng.randint(lo, hi)), rejected=words(rng.randint(lo, hi))) for _ in range(s['batch']*steps)]

def answers(s, steps):
    "Rows of prompt and completion; `lengths` gives those of one step, prompt and end token included, else they are drawn, more short than long."
    rng, V = random.Random(1), s['V']
    if 'lengths' in s: return [dict(prompt=texts(rng, V, n//4) + ' ', completion=texts(rng, V, n - n//4 - 1)) for n in s['lengths']]*steps
    lo, hi = s['answers']
    return [dict(prompt=texts(rng, V, 24) + ' ', completion=texts(rng, V, int(lo + (hi - lo)*rng.random()**2))) for _ in range(s['batch']*steps)]

def common(s, folder, steps):
    return dict(output_dir=folder, per_device_train_batch_size=s['batch'], max_steps=steps, learning_rate=1e-4, lr_scheduler_type='constant', logging_steps=1,
                disable_tqdm=True, use_cpu=not s.get('gpu'), bf16=bool(s.get('bf16')), save_strategy='no', report_to='none', optim='adamw_torch_fused', train_sampling_strategy='sequential', max_grad_norm=1.)

TRL = dict(gradient_checkpointing=False)

def ids_and_collator(tok, rows):
    "Rows as ids, encoded as ours are, and a collator for trainers that bring none."
    from fdiv_nb.training.batches import encode_rows
    enc, _ = encode_rows(tok, rows)
    def collate(rs):
        both = [(r['prompt_ids'], r['completion']) for r in rs]
        w = max(len(p) + len(c) for p, c in both)
        fill = lambda make, v: torch.tensor([make(p, c) + [v]*(w - len(p) - len(c)) for p, c in both])
        return dict(input_ids=fill(lambda p, c: p + c, 2), attention_mask=fill(lambda p, c: [1]*len(p + c), 0), labels=fill(lambda p, c: [-100]*len(p) + c, -100),
                    prompts=torch.tensor([p for p, _ in both]) if len({len(p) for p, _ in both}) == 1 else None)
    return enc, collate

def quiet(trainer):
    from transformers import PrinterCallback, ProgressCallback
    for c in (PrinterCallback, ProgressCallback): trainer.remove_callback(c)
    return trainer

def note_losses(trainer, losses):
    "Keep the loss of every step, unrounded."
    step = trainer.training_step
    def noted(*a, **kw):
        y = step(*a, **kw)
        losses.append(y.item())
        return y
    trainer.training_step = noted

# ---- preferences ------------------------------------------------------------------------------------------------------------
def dpo(s, folder, callbacks, steps):
    from fdiv_nb.training.dpo import FDPOConfig, FDPOTrainer
    args = FDPOConfig(divergence='reverse_kl', beta=.1, drift_samples=0, per_device_eval_batch_size=2*s['batch'], **common(s, folder, steps))
    return FDPOTrainer(s['model'], args, pairs(s, steps), processing_class=s['tokenizer'], callbacks=callbacks)

def trl_dpo(precomputed, **more):
    def make(s, folder, callbacks, steps):
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer
        args = DPOConfig(beta=.1, max_length=None, loss_type=['sigmoid'], precompute_ref_log_probs=precomputed, precompute_ref_batch_size=s['batch'], **TRL, **common(s, folder, steps), **more)
        ref = None if precomputed else copy.deepcopy(s['model'])
        return DPOTrainer(s['model'], ref_model=ref, args=args, train_dataset=Dataset.from_list(pairs(s, steps)), processing_class=s['tokenizer'], callbacks=callbacks)
    return make

# ---- answers ----------------------------------------------------------------------------------------------------------------
def sft(packing=0, **more):
    def make(s, folder, callbacks, steps):
        from fdiv_nb.training.sft import FSFTConfig, FSFTTrainer
        args = FSFTConfig(loss='nll', packing=packing, **more, **common(s, folder, steps))
        return FSFTTrainer(s['model'], args, answers(s, steps), processing_class=s['tokenizer'], callbacks=callbacks)
    return make

def trl_sft(packing=0, **more):
    def make(s, folder, callbacks, steps):
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer
        c = common(s, folder, steps)
        if packing: c['per_device_train_batch_size'] = max(1, round(sum(s['lengths'])/packing))     # about the tokens of a step
        args = SFTConfig(packing=bool(packing), max_length=packing or None, loss_type='nll', **TRL, **c, **more)
        return SFTTrainer(s['model'], args=args, train_dataset=Dataset.from_list(answers(s, steps)), processing_class=s['tokenizer'], callbacks=callbacks)
    return make

def bare_trainer(s, folder, callbacks, steps):
    from transformers import Trainer, TrainingArguments
    enc, collate = ids_and_collator(s['tokenizer'], answers(s, steps))
    args = TrainingArguments(remove_unused_columns=False, **common(s, folder, steps))
    without = lambda rs: {k: v for k, v in collate(rs).items() if k != 'prompts'}
    return Trainer(s['model'], args, train_dataset=enc, data_collator=without, callbacks=callbacks)

class Loop:
    "A loop as one writes it down: forward, backward, clip, AdamW. `step` tells the clock of a step's end and its loss."
    def __init__(self, m, batches, loss): self.m, self.batches, self.loss, self.clock = m, batches, loss, None
    def train(self):
        opt = torch.optim.AdamW(self.m.parameters(), lr=1e-4, weight_decay=0., fused=True)
        self.m.train()
        self.clock.on_train_begin()
        for b in self.batches:
            loss = self.loss(self.m, b)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.m.parameters(), 1.)
            opt.step(); opt.zero_grad()
            self.clock.losses.append(loss.item())
            self.clock.on_step_end()

def plain_loop(s, folder, callbacks, steps):
    enc, collate = ids_and_collator(s['tokenizer'], answers(s, steps))
    def loss(m, b):
        z = m(input_ids=b['input_ids'], attention_mask=b['attention_mask'], use_cache=False).logits[:, :-1]
        return torch.nn.functional.cross_entropy(z.flatten(0, 1).float(), b['labels'][:, 1:].flatten())
    return Loop(s['model'], (collate(enc[i:i + s['batch']]) for i in range(0, len(enc), s['batch'])), loss)

# ---- a teacher --------------------------------------------------------------------------------------------------------------
def teacher(s): return model(s['V'], *s['teacher'], seed=1, sharper=3.)

def distill(packing=0):
    def make(s, folder, callbacks, steps):
        from fdiv_nb.training.distill import DistillConfig, DistillTrainer
        args = DistillConfig(divergence='js', lmbda=0., packing=packing, **common(s, folder, steps))
        return DistillTrainer(s['model'], args, answers(s, steps), processing_class=s['tokenizer'], teacher=teacher(s), callbacks=callbacks)
    return make

def gkd(s, folder, callbacks, steps, **more):
    from datasets import Dataset
    from trl.experimental.gkd import GKDConfig, GKDTrainer
    enc, collate = ids_and_collator(s['tokenizer'], answers(s, steps))
    def with_prompts(rs):
        b = collate(rs)
        return b | dict(prompt_attention_mask=torch.ones_like(b['prompts']))
    args = GKDConfig(max_length=None, lmbda=0., beta=.5, temperature=1., **TRL, **common(s, folder, steps), **more)
    return GKDTrainer(s['model'], teacher(s), args, data_collator=with_prompts, train_dataset=Dataset.from_list(enc), processing_class=s['tokenizer'], callbacks=callbacks)

# ---- unlearning -------------------------------------------------------------------------------------------------------------
def forget(s):
    rng = random.Random(1)
    words = lambda lo, hi: texts(rng, s['V'], rng.randint(lo, hi))
    return [dict(prompt=words(24, 24) + ' ', completion=words(*s['answers']), template=words(8, 16)) for _ in range(s['rows'])]

def flat(**more):
    def make(s, folder, callbacks, steps):
        from fdiv_nb.training.flat import FLATConfig, FLATTrainer
        args = FLATConfig(divergence='js', **more, **common(s, folder, steps))
        return FLATTrainer(s['model'], args, forget(s), processing_class=s['tokenizer'], callbacks=callbacks)
    return make

def flat_loop(s, folder, callbacks, steps):
    "The same loss from full logits: the mean probability of the template's and of the forgotten answer's tokens."
    from fdiv_nb.losses.flat import flat_loss
    from fdiv_nb.training.batches import encode_rows
    rows, _ = encode_rows(s['tokenizer'], forget(s), ('completion', 'template'))
    def batch(i):
        rs = [rows[j % len(rows)] for j in range(i*s['batch'], (i + 1)*s['batch'])]
        both = [(r['prompt_ids'], r[a]) for a in ('completion', 'template') for r in rs]
        w = max(len(p) + len(c) for p, c in both)
        fill = lambda make, v: torch.tensor([make(p, c) + [v]*(w - len(p) - len(c)) for p, c in both])
        return fill(lambda p, c: p + c, 2), fill(lambda p, c: [1]*len(p + c), 0), fill(lambda p, c: [0]*len(p) + [1]*len(c), 0)
    def loss(m, b):
        ids, mask, scored = b
        z = m(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
        p = z.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0].exp()*scored[:, 1:]
        pf, pe = (p.sum(1)/scored[:, 1:].sum(1)).chunk(2)
        return flat_loss('js', pe, pf)
    return Loop(s['model'], map(batch, range(steps)), loss)
