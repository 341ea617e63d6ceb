"""Every flag of every command with values of a wrong kind: made from the classes of the commands, so that a new flag is in it"""
import re, typing
from importlib import import_module
import inputs

DRY = '--disable_tqdm true --dry_run'
def dry(base: str) -> str: return base.replace('--disable_tqdm true', DRY)
ONLINE = ('dpo --online --model {d}/m --data {d}/prompts.txt --output_dir {d}/o --reward python --max_steps 1 --show 0 --num_generations 4 '
          '--max_new_tokens 4 --use_cpu --disable_tqdm true')
FRONTIER = 'frontier --model {d}/m --reward python --prompts {d}/prompts.txt --eval_data {d}/prompts.txt --output_dir {d}/o --max_steps 1 --use_cpu'
def evaluated(kind: str, more: str = '') -> str: return f'evaluate {kind} --model {{d}}/m --output_dir {{d}}/o {more}'.strip()
# words that would be accepted -> the classes whose fields are the flags
COMMANDS = {
    'sft': (dry(inputs.SFT), 'commands.train:SFTArguments', 'training.sft:FSFTConfig'),
    'align': (dry(inputs.ALIGN) + ' --reward python', 'commands.align:AlignArguments', 'training.objectives:FRLConfig'),
    'dpo': (dry(inputs.DPO), 'commands.prefer:PreferArguments', 'training.dpo:FDPOConfig'),
    'dpo (labels)': (dry(inputs.DPO).replace('pairs', 'labelled'), 'training.unpaired:FUnpairedConfig'),
    'dpo --online': (dry(ONLINE), 'training.online_dpo:OnlineFDPOConfig'),
    'distill': (dry(inputs.DISTILL), 'commands.train:DistillArguments', 'training.distill:DistillConfig'),
    'unlearn': (dry(inputs.UNLEARN), 'commands.unlearn:UnlearnArguments', 'training.flat:FLATConfig'),
    'unlearn --demo': ('unlearn --demo --output_dir {d}/o', 'commands.unlearn_demo:UnlearnDemo'),
    'teach': ('teach --model {d}/m --data {d}/rows.jsonl --out {d}/o/t.jsonl', 'commands.teach:TeachArguments'),
    'evaluate tofu': (evaluated('tofu', '--data tiny --limit 1 --max_new_tokens 2').replace('{d}/m', 'tiny'), 'commands.evaluate:TofuArguments'),
    'evaluate muse': (evaluated('muse'), 'commands.evaluate:MuseArguments'),
    'evaluate book': (evaluated('book', '--book {d}/prompts.txt'), 'commands.evaluate:BookArguments'),
    'evaluate align': (evaluated('align', '--data {d}/prompts.txt --reward python --max_new_tokens 4'), 'commands.evaluate_align:EvaluateAlignArguments'),
    'evaluate choice': (evaluated('choice', '--data {d}/rows.jsonl'), 'commands.evaluate_measures:ChoiceArguments'),
    'evaluate membership': (evaluated('membership', '--forget {d}/rows.jsonl'), 'commands.evaluate_measures:MembershipArguments'),
    'attack': ('attack --model {d}/m --forget {d}/rows.jsonl --output_dir {d}/o --max_new_tokens 2 --limit 2', 'commands.attack:AttackArguments'),
    'demo': ('demo --output_dir {d}/o', 'commands.demo:DemoArguments'),
    'bridge': ('bridge --output_dir {d}/o', 'commands.bridge:BridgeArguments'),
    'frontier': (FRONTIER, 'commands.frontier:FrontierArguments'),
    'audit': ('audit {d}/divergences.py:line', 'commands.audit:AuditArguments'),
    'tiny build': ('tiny build --out {d}/o', 'commands.main:TinyArguments'),
}
# by the type of a flag: what it cannot be; the last one is out of nearly every range
VALUES = dict(int=('', 'many', '1.5', 'nan', '9'*30, '-7'), float=('', 'fast', 'nan', 'inf', '-3'), bool=('maybe',),
              dict=('', '{oops', '[1]', '3'), choice=('', 'nothing'), str=(), list=())
FILES = dict(model='folder', ref_name='folder', teacher='folder', retain_model='folder', never='folder', base_model='folder', data='rows', eval_data='rows',
             forget='rows', retain='rows', prompts='rows', retain_log='log', retrain_log='log', book='rows', output_dir='output', other='rows',
             reward='reward', divergence='divergence', loss='word', method='word', objective='word', baseline='word', proposal='word', z_estimate='word',
             dtype='word', rouge='word', attacks='word', reference='word', on_long='word', template_draw='word', lora_init='word', sampler='word',
             report_to='word', trust_remote_code='any', deepspeed='any', resume_from_checkpoint='checkpoint', accelerator_config='dict')
TEXTS = dict(folder=('./nothing', '{d}/a_file', 'a//b'), rows=('./no.jsonl', '{d}/latin.jsonl', '{d}/m_cut/config.json'), log=('./no.json', '{d}/a_file'),
             output=('{d}/a_file', "' '"), reward=('', 'contians:go', './no.py:r'), divergence=('', 'jss', 'alpha:x'), word=('nothing',), any=('true',),
             checkpoint=('', './nothing', 'checkpoint-9'), dict=('[1]', './no.json'))

def fields(specs) -> dict:
    "Flag -> its type, of the classes 'module:Class' below fdiv_nb."
    from fdiv_nb.commands.parser import _hints
    made = [getattr(import_module(f'fdiv_nb.{m}'), c) for m, c in (s.split(':') for s in specs)]
    return _hints(made)

def kind(hint) -> str:
    "Which row of VALUES a type is."
    parts = typing.get_args(hint) if type(None) in typing.get_args(hint) else (hint,)
    if any(p is dict or typing.get_origin(p) is dict for p in parts): return 'dict'
    if any(typing.get_origin(p) is list for p in parts): return 'list'
    return next((t.__name__ for t in (bool, int, float, str) if t in parts), 'choice')

def lines():
    "(command, flag, value, words) of every flag with every value of a wrong kind; flags that several commands have once for each kind of command."
    seen = {}
    for name, (base, *specs) in COMMANDS.items():
        shared = seen.setdefault('trainers' if DRY in base else name.split()[0], set())
        for flag, hint in fields(specs).items():
            if flag in shared: continue
            shared.add(flag)
            k = kind(hint)
            for v in (*VALUES[k], *TEXTS.get(FILES.get(flag, ''), ())):
                if (flag, v) not in LEGITIMATE and flag not in LEGITIMATE_FLAGS: yield name, flag, v, words(base, flag, v)

def words(base: str, flag: str, v: str) -> str:
    "A command line with one wrong flag, and what makes that flag matter."
    more = ' ' + NEEDS[flag] if flag in NEEDS else ''
    if v.startswith("'"): return f"{base.replace('--output_dir {d}/o', '')}{more} --{flag} {v}"
    return f"{base}{more} --{flag}={v}" if v.startswith('-') else f"{base}{more} --{flag} '{v}'"

# flags that count only beside others
NEEDS = dict(num_train_epochs='--max_steps -1', eval_steps='--eval_data {d}/rows.jsonl --eval_strategy steps', save_steps='--save_strategy steps',
             lora_alpha='--lora_rank 2', lora_dropout='--lora_rank 2', lora_init='--lora_rank 2')
# what is accepted, and why
LEGITIMATE_FLAGS = dict(local_rank='the launcher sets it', trainer='no flag: a variable of the class')
LEGITIMATE = {
    ('liger_kernel_config', ''): 'empty, as if left out', ('deepspeed', ''): 'empty, as if left out', ('clip', 'inf'): 'unclipped',
    ('gamma', '-3'): 'a margin has either sign', ('retain_weight', '-3'): 'a loss of the retained rows that is turned round, as in a control',
}
# not in the table at all: a flag that stands twice (the last one counts, as in every shell), a number of fourteen digits (a long run), texts that name
# something elsewhere (run_name, project, hub_*, trackio_*, label_names), settings of several processes in a run of one (fsdp_config)
# what the answer names instead of the flag: the name that is read, or what the value is
NAMED = dict(loss_type='loss', num_generations='samples_per_prompt', num_iterations='updates_per_rollout', eval_num_generations='eval_pass_k',
             rpo_alpha='sft_weight', retain_log='log', retrain_log='log', samples_per_step='per_device_train_batch_size')
PARTS = {('divergence', 'alpha:x'): 'alpha', ('model', '{d}/a_file'): 'text', ('model', 'a//b'): 'text', ('data', '{d}/latin.jsonl'): 'name',
         ('data', '{d}/m_cut/config.json'): 'name', ('book', '{d}/m_cut/config.json'): 'text', ('other', '{d}/m_cut/config.json'): 'text',
         ('chunk_tokens', '-7'): 'tokens', ('chunk_prompt_tokens', '-7'): 'prompt_tokens'}

GROUP = 'Every flag'
def cases(d, every: int = 1):
    "(command and flag, value, line, fault) of the command lines, or of every so many."
    for name, flag, v, line in list(lines())[::every]:
        told, fault = inputs.run_command(line, d)
        fields = {flag, NAMED.get(flag, flag), PARTS.get((flag, v), flag)}
        if not fault and not any(re.search(rf'\b{f}\b', told) for f in fields): fault = f'does not name {flag}: {told}'
        yield f'{name} --{flag}', v.replace('{d}/', ''), told, fault

def shown(line: str, v: str) -> str:
    "An answer with the value taken out, so that answers to several values are one."
    forms = [repr(v), f"'{v}'", v] if len(v) > 3 else [repr(v)]
    if v in ('nan', 'inf', '-3', '-7'): forms += [f'{v}.0', v]
    for f in forms: line = line.replace(f, '…')
    return line

def table(found) -> str:
    "The table of (flag, value, line): a row for each answer."
    rows = {}
    for flag, v, line in found: rows.setdefault((flag, shown(line, v)), []).append(f"'{v}'" if not v.strip() else v)
    out = [f'\n## {GROUP}\n\nEach flag of each command with values of a wrong kind; … stands for the value. A flag that several commands share is tried with the first.\n\n'
           '| flag | value | answer |\n|---|---|---|']
    return '\n'.join([*out, *(f"| {inputs.cell(f)} | {inputs.cell(', '.join(vs))} | {inputs.cell(line)} |" for (f, line), vs in rows.items())]) + '\n'
