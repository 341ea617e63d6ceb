"""Wrong inputs, and the one line that each gets: run as a test, and the source of docs/errors.md"""
import contextlib, io, json, os, re, shutil, warnings
from pathlib import Path
import runs

# files --------------------------------------------------------------------------------------------------------------
def weights_of(d: Path) -> Path: return d/'model.safetensors'

def make(d: Path) -> Path:
    "Every file that the cases name, in a folder."
    d = runs.files(d)
    good = (d/'rows.jsonl').read_text()
    text = {
        'list.json': '[{"prompt": "go", "completion": "to"},]', 'broken.jsonl': good + '{"prompt": "go"\n',
        'empty.jsonl': '', 'number.jsonl': '3\n', 'noprompt.jsonl': '{"x": "go to the sea"}\n',
        'onebad.jsonl': good + '{"prompt": "go"}\n', 'numbers.jsonl': '{"prompt": 3, "completion": "to"}\n',
        'nested.jsonl': '['*100_000 + '\n', 'surrogate.jsonl': '{"prompt": "go", "completion": "to \\ud800"}\n',
        'messages.jsonl': '{"messages": {"role": "user"}}\n', 'novalue.jsonl': '{"conversations": [{"from": "human"}, {"from": "gpt", "value": "to"}]}\n',
        'asked.jsonl': '{"messages": [{"role": "user", "content": "go"}]}\n',
        'picture.jsonl': '{"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}, {"role": "assistant", "content": "to"}]}\n',
        'wide.csv': 'prompt,completion\ngo,to,the\n', 'text.md': 'go', 'nan.jsonl': '{"prompt": NaN, "completion": "to"}\n',
        'ids.jsonl': '{"prompt": "go", "completion": "to", "prompt_ids": [1, 99], "completion_ids": [3]}\n',
        'negative.jsonl': '{"prompt": "go", "completion": "to", "prompt_ids": [-4], "completion_ids": [3]}\n',
        'floats.jsonl': '{"prompt": "go", "completion": "to", "prompt_ids": [1.5], "completion_ids": [3]}\n',
        'nestedids.jsonl': '{"prompt": "go", "completion": "to", "prompt_ids": [[1]], "completion_ids": [3]}\n',
        'kwargs.jsonl': '{"prompt": "go", "completion": "to", "chat_template_kwargs": {"add_eos": 1}}\n',
        'label.jsonl': '{"prompt": "go", "completion": "to", "label": "good"}\n',
        'onelabel.jsonl': '{"prompt": "go", "completion": "to", "label": true}\n',
        'samepair.jsonl': '{"prompt": "go", "chosen": "to", "rejected": "to"}\n',
        'blank.txt': '\n\n', 'wrong.jsonl': '{"prompt": "go", "completion": "to", "wrong_answers": 3}\n',
        'template.jsonl': '{"prompt": "go", "completion": "to", "template": 3}\n',
        'two.yaml': 'seed: 1\n---\nseed: 2\n', 'tab.yaml': 'seed:\t1\n\tx: 2\n', 'tag.yaml': 'seed: !!python/object:os.system x\n',
        'alias.yaml': 'a: &a [1, 2]\nb: [*a, *a]\n', 'open.yaml': 'seed: [1, 2\n', 'list.yaml': '- seed\n- 1\n',
        'unknown.yaml': 'lerning_rate: 1\n', 'mapping.yaml': 'seed: {a: 1}\n', 'config.yaml': 'config: other.yaml\n',
        'null.yaml': 'learning_rate: null\n', 'lists.yaml': 'sweep: [[1, 2]]\n', 'deep.yaml': '['*3000 + '\n',
        'closed.yaml': 'sweep: ' + '['*3000 + ']'*3000, 'twice.yaml': 'seed: 1\nloss: nll\nseed: 2\n', 'digits.yaml': 'seed: 1' + '0'*5000, 'month.yaml': 'seed: 2020-13-45\n',
        'word.yaml': 'max_steps: many\n',
        'twice.json': '{"seed": 1,}', 'words.tsv': 'good 1\n', 'infinite.tsv': 'good\tinf\n',
        'syntax.py': 'def r(prompts, completions) return 1\n', 'exits.py': 'import sys\nsys.exit(0)\n',
        'raises.py': 'import no_such_module\n', 'zero.py': 'x = 1/0\n',
        'rewards.py': 'import sys\nnumber = 3\ndef one(prompts): return 1\ndef fails(prompts, completions): return [1/0]\n'
                      'def nan(prompts, completions): return [float("nan") for c in completions]\n'
                      'def few(prompts, completions): return [1.]\ndef none(prompts, completions): return None\n'
                      'def words(prompts, completions): return ["a" for c in completions]\n'
                      'def big(prompts, completions): return [10**400 for c in completions]\n'
                      'def leaves(prompts, completions): sys.exit(7)\n'
                      'def column(prompts, completions, answer): return [0. for c in completions]\n'
                      'def two(prompts, completions): return [[1., 2.] for c in completions]\n',
        'divergences.py': 'import torch\nline = lambda l: torch.expm1(l)\ndead = lambda l: (l.exp()*l).detach()\n'
                          'step = lambda l: (l > 0).to(l)\nzero = lambda l: 0*l\nconcave = lambda l: -l.exp()*l\n'
                          'shifted = lambda l: l.exp()*l + 1\nfails = lambda l: l.no_such()\nnumber = 3\n',
        'a_file': 'x'}
    for name, t in text.items(): (d/name).write_text(t)
    (d/'latin.jsonl').write_bytes(b'{"prompt": "\xff", "completion": "to"}\n')
    (d/'latin.txt').write_bytes(b'caf\xe9\n')
    (d/'latin.yaml').write_bytes(b'seed: \xff\n')
    (d/'cut.jsonl.gz').write_bytes(b'\x1f\x8b\x08\x00abc')
    (d/'none.parquet').write_bytes(b'PAR1')
    for name, change in MODELS.items():
        shutil.copytree(d/'m', d/name)
        change(d/name)
    for name in ('done', 'begun', 'torn'): (d/name).mkdir()
    (d/'done/run.json').write_text('{}')
    _checkpoints(d)
    return d

def _edit(name, **change):
    def f(d):
        c = json.loads((d/name).read_text())
        c.update(change)
        (d/name).write_text(json.dumps(c))
    return f
def _bytes(name, change): return lambda d: (d/name).write_bytes(change((d/name).read_bytes()))
def _renamed(d):
    from safetensors.torch import load_file, save_file
    save_file({'module.' + k: v for k, v in load_file(weights_of(d)).items()}, weights_of(d), metadata={'format': 'pt'})
def _without(part):
    def f(d):
        from safetensors.torch import load_file, save_file
        save_file({k: v for k, v in load_file(weights_of(d)).items() if part not in k}, weights_of(d), metadata={'format': 'pt'})
    return f
def _nan(d):
    from safetensors.torch import load_file, save_file
    w = load_file(weights_of(d))
    w['model.norm.weight'][0] = float('nan')
    save_file(w, weights_of(d), metadata={'format': 'pt'})
def _evil(d):
    _edit('config.json', model_type='evil', auto_map=dict(AutoConfig='evil.C', AutoModelForCausalLM='evil.M'))(d)
    (d/'evil.py').write_text('open("ran", "w")\n')
def _small_vocabulary(d):
    from fdiv_nb.models.testing import tiny_llama
    tiny_llama(vocab=6).save_pretrained(d)

MODELS = dict(
    m_cut=_bytes('model.safetensors', lambda b: b[:len(b)//2]), m_empty=_bytes('model.safetensors', lambda b: b''),
    m_flipped=_bytes('model.safetensors', lambda b: b[:9] + bytes([b[9] ^ 64]) + b[10:]),
    m_lost=lambda d: weights_of(d).unlink(), m_bin=lambda d: weights_of(d).rename(d/'pytorch_model.bin'),
    m_noconfig=lambda d: (d/'config.json').unlink(), m_json=lambda d: (d/'config.json').write_text('{'),
    m_list=lambda d: (d/'config.json').write_text('[]'), m_type=_edit('config.json', model_type='nope'),
    m_bert=_edit('config.json', model_type='bert'), m_size=_edit('config.json', hidden_size=32),
    m_module=_renamed, m_layer=_without('layers.0.mlp'), m_nan=_nan, m_evil=_evil,
    m_notoken=lambda d: [p.unlink() for p in d.glob('token*')], m_tokenizer=lambda d: (d/'tokenizer.json').write_text('{"a"'),
    m_small=_small_vocabulary, m_wrongtype=_edit('config.json', num_hidden_layers='two'))

def _checkpoints(d):
    "Runs: one begun, one whose newest checkpoint is torn."
    with contextlib.redirect_stdout(io.StringIO()):
        runs.train('sft', d/'begun', max_steps=2)
    shutil.rmtree(d/'torn')
    shutil.copytree(d/'begun', d/'torn')
    for c in (d/'torn').glob('checkpoint-*'): (c/'optimizer.pt').unlink()
    shutil.copytree(d/'begun', d/'other_run')

# command lines ------------------------------------------------------------------------------------------------------
SFT = 'sft --model {d}/m --data {d}/rows.jsonl --output_dir {d}/o --show 0 --max_steps 1 --use_cpu --disable_tqdm true'
ALIGN = ('align --model {d}/m --prompts {d}/prompts.txt --output_dir {d}/o --max_steps 1 --samples_per_step 4 '
         '--max_new_tokens 4 --z_samples 4 --eval_samples 4 --use_cpu --disable_tqdm true')
DPO = 'dpo --model {d}/m --data {d}/pairs.jsonl --output_dir {d}/o --show 0 --max_steps 1 --use_cpu --disable_tqdm true'
DISTILL = ('distill --model {d}/m --teacher {d}/other --data {d}/rows.jsonl --output_dir {d}/o --show 0 --max_steps 1 --use_cpu '
           '--disable_tqdm true')
UNLEARN = ('unlearn --model {d}/m --forget {d}/rows.jsonl --template rest --output_dir {d}/o --max_steps 1 --use_cpu '
           '--disable_tqdm true')

def rows(name, base=SFT): return base.replace('{d}/rows.jsonl', '{d}/' + name)
def model(name, base=SFT): return base.replace('{d}/m ', '{d}/' + name + ' ')
def reward(spec, base=ALIGN): return f'{base} --reward {spec}'

COMMANDS = {
    'The command': [
        ('a command that does not exist', 'algin'), ('a flag that does not exist', f'{SFT} --lerning_rate 1'),
        ('a word without a flag', 'sft rows'), ('two words for one flag', f'{SFT} --seed 1 2'),
        ('a word for a number', f'{SFT} --max_steps many'), ('a tracker that does not exist', f'{SFT} --report_to wandbb'),
        ('quiet and verbose', f'{SFT} --quiet --verbose'), ('a flag of another command', f'{SFT} --reward python'),
        ('a flag without effect', f'{ALIGN} --reward python --num_train_epochs 2'),
        ('no data', 'sft --model {d}/m --output_dir {d}/o'), ('no reward', ALIGN), ('nothing to forget', 'unlearn --output_dir {d}/o'),
    ],
    'The file of --config': [
        ('a file that is not there', f'{SFT} --config {{d}}/no.yaml'), ('two files', f'{SFT} --config {{d}}/null.yaml --config {{d}}/null.yaml'),
        *((what, f'{SFT} --config {{d}}/{name}') for what, name in (
            ('two documents', 'two.yaml'), ('tabs', 'tab.yaml'), ('a tag that would run code', 'tag.yaml'), ('aliases', 'alias.yaml'),
            ('a bracket that is not closed', 'open.yaml'), ('a list', 'list.yaml'), ('an unknown flag', 'unknown.yaml'),
            ('a mapping for a number', 'mapping.yaml'), ('a config within the config', 'config.yaml'), ('no value', 'null.yaml'),
            ('a list of lists', 'lists.yaml'), ('nesting of 3,000', 'deep.yaml'), ('the same, closed again', 'closed.yaml'), ('a flag that stands twice', 'twice.yaml'),
            ('a number of 5,001 digits', 'digits.yaml'), ('a date that is none', 'month.yaml'), ('a word for a number', 'word.yaml'),
            ('another encoding', 'latin.yaml'), ('a folder', 'm'))),
    ],
    'Rows': [
        ('a file that is not there', rows('rowz.jsonl')),
        *((what, rows(name)) for what, name in (
            ('a JSON list with a comma too many', 'list.json'), ('a line that is cut off', 'broken.jsonl'), ('an empty file', 'empty.jsonl'),
            ('a number instead of a row', 'number.jsonl'), ('columns of another name', 'noprompt.jsonl'), ('a row without an answer', 'onebad.jsonl'),
            ('numbers instead of texts', 'numbers.jsonl'), ('NaN', 'nan.jsonl'), ('nesting of 100,000', 'nested.jsonl'), ('half a surrogate pair', 'surrogate.jsonl'),
            ('messages that are no list', 'messages.jsonl'), ('a message without its text', 'novalue.jsonl'),
            ('a conversation without an answer', 'asked.jsonl'), ('a picture', 'picture.jsonl'), ('a cell too many', 'wide.csv'),
            ('an unknown ending', 'text.md'), ('another encoding', 'latin.jsonl'), ('a torn .gz', 'cut.jsonl.gz'), ('a torn .parquet', 'none.parquet'),
            ('token ids beyond the vocabulary', 'ids.jsonl'), ('negative token ids', 'negative.jsonl'), ('fractions as token ids', 'floats.jsonl'),
            ('nested token ids', 'nestedids.jsonl'), ('a model folder', 'm'))),
        ('a pair without a rejected answer', rows('rows.jsonl', DPO.replace('pairs', 'rows'))), ('a pair of equal answers', DPO.replace('pairs', 'samepair')),
        ('labels that are texts', DPO.replace('pairs', 'label')), ('labels of one kind', DPO.replace('pairs', 'onelabel')),
        ('a template answer that is a number', UNLEARN.replace('--template rest ', '').replace('rows.jsonl', 'template.jsonl')),
        ('a text to forget that is not there', UNLEARN.replace('rows.jsonl', 'no.txt')), ('a text to forget in another encoding', UNLEARN.replace('rows.jsonl', 'latin.txt')),
        ('prompts that are blank', reward('python').replace('prompts.txt', 'blank.txt')), ('prompts that are not there', reward('python').replace('prompts.txt', 'no.txt')),
        ('prompts in another encoding', reward('python').replace('prompts.txt', 'latin.txt')), ('retain rows that are to be forgotten too', f'{UNLEARN} --retain {{d}}/rows.jsonl'),
    ],
    'The model': [
        ('a folder that is not there', model('nothing')), ('a name that is none', SFT.replace('{d}/m ', 'a//b ')), ('a file', model('a_file')),
        *((what, model(name)) for what, name in (
            ('weights cut in half', 'm_cut'), ('weights that are empty', 'm_empty'), ('one flipped bit in their header', 'm_flipped'), ('no weights', 'm_lost'),
            ('pickled weights only', 'm_bin'), ('no config.json', 'm_noconfig'), ('config.json cut off', 'm_json'), ('config.json is a list', 'm_list'),
            ('an unknown type of model', 'm_type'), ('the type of an encoder', 'm_bert'), ('sizes that do not fit the weights', 'm_size'),
            ('names of weights with a prefix', 'm_module'), ('weights of a layer missing', 'm_layer'), ('a weight that is NaN', 'm_nan'),
            ('a model that brings its own code', 'm_evil'), ('no tokenizer', 'm_notoken'), ('tokenizer.json cut off', 'm_tokenizer'),
            ('fewer embeddings than tokens', 'm_small'), ('a word for a number of layers', 'm_wrongtype'))),
        ('a reference of another vocabulary', f'{SFT} --loss dft --ref_name {{d}}/m_small'), ('a reference that is not there', f'{DPO} --ref_name {{d}}/nothing'),
        ('a teacher that is not there', DISTILL.replace('{d}/other', '{d}/nothing')), ('a teacher of another vocabulary', DISTILL.replace('{d}/other', '{d}/m_small')),
        ('float16', f'{SFT} --dtype float16'), ('an unknown type of numbers', f'{SFT} --dtype float31'), ('a base for a whole model', f'{SFT} --base_model {{d}}/other'),
        ('code of a model', f'{SFT} --trust_remote_code'), ('a merge without an adapter', f'{SFT} --merge'), ('a rank below 0', f'{SFT} --lora_rank -1'),
        ('arguments that are no JSON', f"{SFT} --model_init_kwargs '{{oops'"),
    ],
    'Folders and checkpoints': [
        ('a finished run', SFT.replace('{d}/o', '{d}/done')), ('checkpoints of an earlier run', SFT.replace('{d}/o', '{d}/begun')),
        ('the folder of the model', SFT.replace('{d}/o', '{d}/m')), ('a file', SFT.replace('{d}/o', '{d}/a_file')), ('a folder below a file', SFT.replace('{d}/o', '{d}/a_file/o')),
        ('a name that is too long', SFT.replace('{d}/o', '{d}/' + 'x'*300)), ('a name of one space', SFT.replace('{d}/o', "' '")),
        ('no checkpoint to continue', f'{SFT} --resume_from_checkpoint last'), ('a checkpoint that is not there', SFT.replace('{d}/o', '{d}/begun') + ' --resume_from_checkpoint checkpoint-9'),
        ('an empty name of a checkpoint', f"{SFT} --resume_from_checkpoint ''"), ('checkpoints without an optimiser', SFT.replace('{d}/o', '{d}/torn') + ' --resume_from_checkpoint last'),
        ('a checkpoint without an optimiser', SFT.replace('{d}/o', '{d}/torn') + ' --resume_from_checkpoint checkpoint-2'),
        ('a checkpoint of other rows', SFT.replace('{d}/o', '{d}/other_run').replace('rows.jsonl', 'pairs.jsonl') + ' --resume_from_checkpoint last'),
        ('a checkpoint of another divergence', SFT.replace('{d}/o', '{d}/other_run') + ' --divergence tv --per_device_train_batch_size 4 --resume_from_checkpoint last'),
        ('reports of what is no run', 'report {d}/m'), ('a report of nothing', 'report {d}/nothing'),
    ],
    'Rewards': [
        ('a kind that does not exist', reward('contians:go')), ('a file that is not there', reward('{d}/no.py:r')), ('a function that is not there', reward('{d}/rewards.py:on')),
        ('a number instead of a function', reward('{d}/rewards.py:number')), ('a syntax error', reward('{d}/syntax.py:r')), ('sys.exit at import', reward('{d}/exits.py:r')),
        ('a module that is missing', reward('{d}/raises.py:r')), ('an error at import', reward('{d}/zero.py:r')), ('a signature with one argument', reward('{d}/rewards.py:one')),
        ('an error of its own', reward('{d}/rewards.py:fails')), ('NaN', reward('{d}/rewards.py:nan')), ('too few scores', reward('{d}/rewards.py:few')), ('None', reward('{d}/rewards.py:none')),
        ('texts', reward('{d}/rewards.py:words')), ('a number beyond all', reward('{d}/rewards.py:big')), ('sys.exit in the reward', reward('{d}/rewards.py:leaves')),
        ('two numbers a text', reward('{d}/rewards.py:two')), ('a column that the rows lack', reward('{d}/rewards.py:column')), ('a regular expression that is none', reward("'regex:('")),
        ('a lexicon without tabs', reward('lexicon:{d}/words.tsv')), ('a lexicon with infinity', reward('lexicon:{d}/infinite.tsv')), ('a lexicon that is not there', reward('lexicon:{d}/no.tsv')),
        ('a classifier without a head', reward('classifier:{d}/m')), ('one reward twice', reward('python python')), ('more weights than rewards', reward('python --reward_weights 1 2')),
        ('moments without a value', f'{ALIGN} --moments contains:go'), ('moments out of reach', f'{ALIGN} --moments contains:go=1.5'), ('an empty word', reward('contains:')),
    ],
    'Divergences': [
        ('a name that does not exist', f'{SFT} --divergence jss'), ('a word as α', f'{SFT} --divergence alpha:x'), ('a skew beyond 1', f'{SFT} --divergence skew_js:2'),
        ('a schedule beyond the run', f'{SFT} --divergence js..tv@2'), ('a function that is not there', f'{SFT} --divergence {{d}}/divergences.py:no'),
        ('a straight line', f'{SFT} --divergence {{d}}/divergences.py:line'), ('what autograd cannot see', f'{SFT} --divergence {{d}}/divergences.py:dead'),
        ('a step', f'{SFT} --divergence {{d}}/divergences.py:step'), ('zero', f'{SFT} --divergence {{d}}/divergences.py:zero'), ('a concave function', f'{SFT} --divergence {{d}}/divergences.py:concave'),
        ('f(1) = 1', f'{SFT} --divergence {{d}}/divergences.py:shifted'), ('an error of its own', f'{SFT} --divergence {{d}}/divergences.py:fails'), ('a number', f'{SFT} --divergence {{d}}/divergences.py:number'),
        ('one that f-DPO cannot use', f'{DPO} --divergence tv'),
    ],
    'Options': [
        *((f'{k} {v}', f'{SFT} --{k} {v}') for k, v in (
            ('learning_rate', 'inf'), ('learning_rate', 'nan'), ('learning_rate', '-1'), ('max_steps', '0'), ('num_train_epochs', '0 --max_steps -1'), ('save_steps', '0 --save_strategy steps'), ('save_steps', 'nan --save_strategy steps'),
            ('logging_steps', '-1'), ('gradient_accumulation_steps', '0'), ('per_device_train_batch_size', '0'), ('per_device_eval_batch_size', '0'),
            ('seed', '-1'), ('seed', '99999999999999999999'), ('fp16', 'true'), ('deepspeed', 'x.json'), ('use_liger_kernel', 'true'), ('push_to_hub', 'true'),
            ('max_length', '1'), ('max_length', '-3'), ('packing', '-1'), ('show', '-1'), ('label_smoothing_factor', '0.1'), ('max_grad_norm', '-1'),
            ('warmup_steps', '-2'), ('weight_decay', 'nan'), ('optim', 'adamm'), ('lr_scheduler_type', 'cosinee'), ('save_total_limit', '-1'), ('dataloader_num_workers', '-1'))),
        *((f'align: {k} {v}', f'{ALIGN} --reward python --{k} {v}') for k, v in (
            ('beta', '0'), ('beta', '-1'), ('beta', 'nan'), ('samples_per_step', '0'), ('samples_per_prompt', '-1'), ('samples_per_prompt', '3'), ('max_new_tokens', '0'), ('max_new_tokens', '999'),
            ('temperature', '0'), ('temperature', 'inf'), ('top_p', '0.9'), ('ratio_clip', '-1'), ('reward_clip', 'nan'), ('sample_batch_size', '-1'), ('z_samples', '0'), ('eval_samples', '0'), ('baseline', 'meann'),
            ('proposal', 'other'), ('z_estimate', 'none'), ('stop_token_ids', '-3'), ('chat_template_kwargs', 'oops'), ('sampler_url', 'nowhere'), ('max_prompts', '-1'))),
        *((f'dpo: {k} {v}', f'{DPO} --{k} {v}') for k, v in (('beta', '0'), ('label_smoothing', '1'), ('loss_type', 'other'), ('gradient_accumulation_steps', '-1'))),
        *((f'unlearn: {k} {v}', f'{UNLEARN} --{k} {v}') for k, v in (('judge_every', '-1'), ('judge_rows', '-1'), ('retain_weight', 'nan'), ('method', 'flatt'), ('compare', 'npo npo'), ('prompt', "'no braces'"))),
        *((f'distill: {k} {v}', f'{DISTILL} --{k} {v}') for k, v in (('lmbda', '2'), ('temperature', '0'))),
        ('a limit of -1', 'attack --model {d}/m --forget {d}/rows.jsonl --limit -1'), ('no documents', 'tiny build --out {d}/t --docs 0'), ('no steps', 'tiny build --out {d}/t --steps -1'),
        ('a demo of one divergence twice', 'demo --divergences js,js --output_dir {d}/o'), ('a demo without steps', 'demo --steps 0 --output_dir {d}/o'), ('unlearning without steps', 'unlearn --demo --steps 0 --output_dir {d}/o'),
        ('a benchmark that is not there', 'evaluate tofu --model {d}/m --data {d}/nothing'), ('a kind of evaluation that is none', 'evaluate tofuu --model {d}/m'),
    ],
}

# calls in Python ----------------------------------------------------------------------------------------------------
def _sft(d, **kw):
    from fdiv_nb.training.sft import FSFTConfig, FSFTTrainer
    m = kw.pop('model', None)
    rows, tok = kw.pop('rows', runs.ROWS), kw.pop('tok', runs.tokenizer())
    args = FSFTConfig(**runs.options(d/'o', max_steps=1, save_strategy='no') | kw.pop('args', {}))
    return FSFTTrainer(runs.model() if m is None else m, args, rows, kw.pop('held', None), tok, **kw).train()
def _dpo(d, **kw):
    from fdiv_nb.training.dpo import FDPOConfig, FDPOTrainer
    m, args = kw.pop('model', None), FDPOConfig(**runs.options(d/'o', max_steps=1, save_strategy='no') | kw.pop('args', {}))
    return FDPOTrainer(runs.model() if m is None else m, args, kw.pop('rows', runs.PAIRS), None, runs.tokenizer(), **kw).train()
def _fdpg(d, reward_funcs=runs.reward, prompts=runs.PROMPTS, **kw):
    from fdiv_nb.training.fdpg import FDPGConfig, FDPGTrainer
    m = kw.pop('model', None)
    args = FDPGConfig(**runs.options(d/'o', max_steps=1, save_strategy='no', z_samples=4, **runs.SAMPLED) | kw.pop('args', {}))
    return FDPGTrainer(runs.model() if m is None else m, reward_funcs, args, prompts, None, kw.pop('tok', runs.tokenizer()), **kw).train()
def _flat(d, **kw):
    from fdiv_nb.training.flat import FLATConfig, FLATTrainer
    return FLATTrainer(runs.model(), FLATConfig(**runs.options(d/'o', max_steps=1, save_strategy='no') | kw.pop('args', {})), runs.ROWS, None,
                       runs.tokenizer(), **kw).train()
def _distill(d, **kw):
    from fdiv_nb.training.distill import DistillConfig, DistillTrainer
    return DistillTrainer(runs.model(), DistillConfig(**runs.options(d/'o', max_steps=1, save_strategy='no') | kw.pop('args', {})), runs.ROWS, None,
                          runs.tokenizer(), **kw).train()
def _half():
    import torch
    return runs.model().to(torch.float16)
def _frozen(): return runs.model().requires_grad_(False)
def _custom(f):
    from fdiv_nb import custom_divergence
    return custom_divergence('mine', f)
def _small():
    from fdiv_nb.models.testing import tiny_llama
    return tiny_llama(vocab=6)
def _same(fn, **kw):
    m = runs.model()
    return lambda d: fn(d, model=m, ref_model=m, **kw)
def _torch():
    import torch
    return torch

BEST = dict(load_best_model_at_end=True, metric_for_best_model='nope', eval_strategy='steps', eval_steps=1, save_strategy='steps', save_steps=1)
CALLS = [
    ('FSFTTrainer(model=3)', lambda d: _sft(d, model=3)), ("FSFTTrainer(model='no/such/folder/at/all')", lambda d: _sft(d, model='no/such/folder/at/all')),
    ("FSFTTrainer(model='owner/nothing') offline", lambda d: _sft(d, model='owner/nothing')), ('FSFTTrainer of a model in float16', lambda d: _sft(d, model=_half())),
    ('FSFTTrainer of a frozen model', lambda d: _sft(d, model=_frozen())), ("FSFTTrainer(processing_class='tok')", lambda d: _sft(d, tok='tok')),
    ('FSFTTrainer(train_dataset=None)', lambda d: _sft(d, rows=None)), ('FSFTTrainer(train_dataset=[])', lambda d: _sft(d, rows=[])), ('FSFTTrainer(train_dataset=3)', lambda d: _sft(d, rows=3)),
    ("FSFTTrainer(train_dataset=dict(prompt='abc', completion='def'))", lambda d: _sft(d, rows=dict(prompt='abc', completion='def'))),
    ('columns of unequal length', lambda d: _sft(d, rows=dict(prompt=['a', 'b'], completion=['c']))), ('FSFTTrainer of a generator', lambda d: _sft(d, rows=(r for r in runs.ROWS))),
    ('rows that are texts', lambda d: _sft(d, rows=['go', 'to'])), ('FSFTTrainer(ref_model=the model)', _same(_sft, args=dict(loss='asft'))),
    ('FSFTTrainer(ref_model=3)', lambda d: _sft(d, ref_model=3, args=dict(loss='asft'))), ('FSFTTrainer(ref_model=of another vocabulary)', lambda d: _sft(d, ref_model=_small(), args=dict(loss='asft'))),
    ('FSFTConfig(learning_rate="fast")', lambda d: _sft(d, args=dict(learning_rate='fast'))), ('FSFTConfig(max_steps=0)', lambda d: _sft(d, args=dict(max_steps=0))), ("FSFTConfig(divergence=3)", lambda d: _sft(d, args=dict(divergence=3))),
    ('FSFTConfig(fp16=True) on a CPU', lambda d: _sft(d, args=dict(fp16=True))), ('FSFTConfig(learning_rate=inf)', lambda d: _sft(d, args=dict(learning_rate=float('inf')))),
    ('a divergence that is a text of another', lambda d: _sft(d, divergence='nope')), ('FSFTTrainer(compute_metrics=...)', lambda d: _sft(d, compute_metrics=len)), ('FSFTTrainer(tokenizer=...)', lambda d: _sft(d, tokenizer=1)),
    ("resume_from_checkpoint='nothing'", lambda d: __import__('fdiv_nb.training.checkpoint', fromlist=['x']).resolve_checkpoint(d/'begun', 'nothing')),
    ('learning_rate 1e39, one step', lambda d: runs_and_saves(d, 1e39)),
    ('the best checkpoint by what is not measured', lambda d: _sft(d, held=runs.ROWS, args=BEST)),
    ('FDPOTrainer(ref_model=the model)', _same(_dpo)), ('FDPOConfig(beta="a")', lambda d: _dpo(d, args=dict(beta='a'))), ('FDPOTrainer of rows without pairs', lambda d: _dpo(d, rows=runs.ROWS)),
    ('FDPGTrainer(reward_funcs=None)', lambda d: _fdpg(d, None)), ('FDPGTrainer(reward_funcs=3)', lambda d: _fdpg(d, 3)), ('FDPGTrainer(train_dataset=[])', lambda d: _fdpg(d, prompts=[])),
    ('FDPGTrainer of prompts that are numbers', lambda d: _fdpg(d, prompts=[1, 2])), ('a second row without a prompt', lambda d: _fdpg(d, prompts=[dict(prompt='go'), dict(x='to')])),
    ('a prompt longer than the context', lambda d: _fdpg(d, prompts=['go '*40])), ('a sampler that returns None', lambda d: _fdpg(d, sampler=lambda *a, **k: None)), ('FDPGTrainer(ref_model=the model)', _same(_fdpg)),
    ('a reward that is -inf everywhere', lambda d: _fdpg(d, lambda prompts, completions: [float('-inf')]*len(completions))), ('FDPGConfig(temperature="hot")', lambda d: _fdpg(d, args=dict(temperature='hot'))),
    ('FLATTrainer(templates=3)', lambda d: _flat(d, templates=3)), ('FLATTrainer(templates=[])', lambda d: _flat(d, templates=[])), ("FLATConfig(method='no')", lambda d: _flat(d, templates=['rest'], args=dict(method='no'))),
    ('DistillTrainer without a teacher', lambda d: _distill(d)), ('DistillTrainer(teacher=3)', lambda d: _distill(d, teacher=3)), ('DistillTrainer(teacher=of another vocabulary)', lambda d: _distill(d, teacher=_small())),
    ('custom_divergence of a detached f', lambda d: _custom(lambda l: (l.exp()*l).detach())), ('custom_divergence of a rounded f', lambda d: _custom(lambda l: (l.exp()*l*64).round()/64)),
    ('custom_divergence of a step', lambda d: _custom(lambda l: (l > 0).to(l))), ('custom_divergence of 0', lambda d: _custom(lambda l: 0*l)), ('custom_divergence of u - 1', lambda d: _custom(lambda l: _torch().expm1(l))),
    ('custom_divergence with numpy', lambda d: _custom(lambda l: _torch().from_numpy(__import__('numpy').expm1(l.detach().numpy())**2))), ('custom_divergence of one number', lambda d: _custom(lambda l: l.sum())),
    ('custom_divergence at random', lambda d: _custom(lambda l: l.exp()*l + 1e-3*_torch().randn_like(l)*l)), ('custom_divergence of u^2 that writes in place', lambda d: _custom(lambda l: l.mul_(2))),
    ('custom_divergence with a dip', lambda d: _custom(lambda l: l.exp()*l - .5*_torch().exp(-(l - 1)**2*40)*l**2)),
]

def runs_and_saves(d, rate):
    from fdiv_nb.training.saving import save_trained
    with contextlib.redirect_stdout(io.StringIO()): t = runs.train('sft', d/'o', max_steps=1, save_strategy='no', learning_rate=rate)
    save_trained(t, runs.tokenizer(), d/'o')

# running them -------------------------------------------------------------------------------------------------------
def told(text: str, d: Path) -> str:
    "A message with the names of this machine taken out."
    text = text.replace(os.path.realpath(d), str(d)).replace(str(d) + '/', '').replace(str(d), 'folder').replace('x'*200, 'xxx…')
    text = text.replace(f'{PAGE.parents[1]}/', '')
    return re.sub(r'\s+', ' ', re.sub(r'0x[0-9a-f]+', '0x…', text)).strip()

def shown(words: str) -> str: return words

def run_command(words: str, d: Path) -> tuple[str, str]:
    "(line, fault) of a command line."
    import shlex
    from fdiv_nb.commands.main import main
    argv = [w.replace('{d}', str(d)) for w in shlex.split(words)]
    out, err = io.StringIO(), io.StringIO()
    level = os.environ.pop('FDIV_DEBUG', None)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings(): code = main(argv)
    except BaseException as e:
        shutil.rmtree(d/'o', ignore_errors=True)
        return '', f'{type(e).__name__}: {str(e)[:300]}'
    finally:
        if level: os.environ['FDIV_DEBUG'] = level
    lines = [x for x in err.getvalue().splitlines() if x.startswith('fdiv') and 'warning' not in x.split(':')[1]]
    left = [p.name for p in [d/'o'] if p.exists()]
    shutil.rmtree(d/'o', ignore_errors=True)
    line = re.sub(r'^fdiv( \w+)?: (error: )?', '', lines[-1]) if lines else ''
    fault = f'status {code}' if code != 2 else f'{len(lines)} lines' if len(lines) != 1 else f'left {left}' if left else ''
    return told(line, d), fault

def run_call(fn, d: Path) -> tuple[str, str]:
    "(message, fault) of a call."
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            fn(d)
    except ValueError as e: return told(str(e), d), '' if '\n' not in str(e) else 'several lines'
    except BaseException as e: return '', f'{type(e).__name__}: {" ".join(str(e).split())[:300]}'
    finally: shutil.rmtree(d/'o', ignore_errors=True)
    return '', 'accepted'

def all_cases(d: Path):
    "(group, what, message, fault) of every case."
    for group, cases in COMMANDS.items():
        for what, words in cases: yield (group, what, *run_command(words, d))
    import calls
    for what, fn in CALLS + calls.CALLS: yield ('Calls in Python', what, *run_call(fn, d))

def check(counts, every: int = 1):
    """Every wrong input: one line, exit status 2 or a ValueError, and the line that docs/errors.md shows.

    every: of the table of flags, each so-manieth line."""
    import flags
    from harness import folder
    want = written() if known_good() else None
    with folder() as d, elsewhere(d):
        f = make(d/'f')
        for flag, v, line, fault in flags.cases(f, every):
            row = cell(flag), cell(flags.shown(line, v))
            if not fault and want is not None and row not in want: fault = f'docs/errors.md does not have {row}; run python .ci/faults/inputs.py'
            counts.check('wrong flags', f'{flag} {v}', fault)
        for group, what, line, fault in all_cases(f):
            if not fault and want is not None and want.get((group, cell(what))) != cell(line): fault = f'docs/errors.md says {want.get((group, cell(what)))!r}, not {line!r}; run python .ci/faults/inputs.py'
            counts.check('wrong calls' if group.startswith('Calls') else 'wrong inputs', f'{group}: {what}', fault)

@contextlib.contextmanager
def elsewhere(d: Path):
    "A block in a folder of no files, so that no name there is like one that is missing."
    here = os.getcwd()
    (d/'empty').mkdir()
    os.chdir(d/'empty')
    try: yield
    finally: os.chdir(here)

def known_good() -> bool:
    "Whether Python and transformers are those of constraints.txt, whose words the page has."
    import sys, transformers
    return sys.version_info[:2] == (3, 11) and f'transformers=={transformers.__version__}\n' in (PAGE.parents[1]/'constraints.txt').read_text()

PAGE = Path(__file__).resolve().parents[2]/'docs'/'errors.md'
HEAD = """# Wrong inputs, and the answers to them

What is wrong is named in one line: the field or flag, the value, and what to do. On the command line the exit status is 2, nothing has been trained, and nothing is left behind; in Python the same line is a `ValueError`. This page is made by `.ci/faults/inputs.py`, and `make test` checks it.
"""
def cell(text: str) -> str: return text.replace('|', '\\|').replace('<', '&lt;').replace('*', '\\*').replace('`', "'").replace('$', '\\$')

def page(found, flags: str) -> str:
    "The page of (group, what, line, fault), and the table of flags."
    out, last = [HEAD], ''
    for group, what, line, _ in found:
        if group != last: out.append(f'\n## {group}\n\n| what is wrong | answer |\n|---|---|')
        last = group
        out.append(f'| {cell(what)} | {cell(line)} |')
    return '\n'.join(out) + '\n' + flags

def written() -> dict:
    "(group, what) -> line, as the page has them; of the table of flags (flag, line) -> ''."
    out, group = {}, ''
    for line in PAGE.read_text(encoding='utf-8').splitlines() if PAGE.exists() else []:
        if line.startswith('## '): group = line[3:]
        three = re.fullmatch(r'\| (.*?) \| (.*?) \| (.*) \|', line)
        if three and group == 'Every flag':
            out[three[1], three[3]] = ''
            continue
        m = re.fullmatch(r'\| (.*?) \| (.*) \|', line)
        if m and group: out[group, m[1]] = m[2]
    return out

if __name__ == '__main__':
    import flags, harness
    harness.load_everything()
    with harness.folder() as d, elsewhere(d):
        f = make(d/'f')
        found, made = list(all_cases(f)), list(flags.cases(f))
    for group, what, _, fault in [*found, *((c[0], c[1], '', c[3]) for c in made)]:
        if fault: print(f'{group}: {what}: {fault}')
    PAGE.write_text(page(found, flags.table([c[:3] for c in made])), encoding='utf-8')
    print(len(found), 'wrong inputs,', len(made), 'wrong flags')
