"""Nothing that was downloaded is run: models, pickles, YAML, data folders, completions, reports"""
import json, os, pickle, re, shutil, subprocess, sys, zipfile
from pathlib import Path
from harness import Counts, case, fdiv, folder, last_lines, one_line, root
import runs

class Evil:
    "Makes a file where it is unpickled."
    def __init__(self, mark): self.mark = str(mark)
    def __reduce__(self): return (open, (self.mark, 'w'))

def _zip(path: Path, mark) -> None:
    "A torch file whose pickle is evil."
    with zipfile.ZipFile(path, 'w') as z:
        z.writestr('archive/data.pkl', pickle.dumps(Evil(mark)))
        z.writestr('archive/version', '3\n')

def pickles(counts: Counts, d: Path, f: Path):
    "Pickles in place of every file of a checkpoint and of a model that a pickle may stand for."
    case(lambda: runs.train('sft', d/'run') and 0)
    for form in ('raw', 'zip'):
        for name in ('optimizer.pt', 'scheduler.pt', 'rng_state.pth', 'training_args.bin', 'pytorch_model.bin'):
            for manifest in (True, False):
                out, mark = d/'o', d/'ran'
                shutil.rmtree(out, ignore_errors=True)
                shutil.copytree(d/'run', out)
                c = out/f'checkpoint-{runs.STEPS}'
                if form == 'zip': _zip(c/name, mark)
                else: (c/name).write_bytes(pickle.dumps(Evil(mark)))
                if not manifest: (c/'fdiv_manifest.json').unlink()
                case(lambda: runs.train('sft', out, c.name, max_steps=runs.STEPS) and 0)
                counts.check('security', f'{form} pickle as {name}{"" if manifest else ", no manifest"}', 'ran' if mark.exists() else '')
    for form in ('raw', 'zip'):
        for name in ('pytorch_model.bin', 'model.pt', 'adapter_model.bin'):
            out, mark = d/'model', d/'ran'
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(f/'m', out)
            (out/'model.safetensors').unlink()
            if form == 'zip': _zip(out/name, mark)
            else: (out/name).write_bytes(pickle.dumps(Evil(mark)))
            e = fdiv('sft', '--model', out, '--data', f/'rows.jsonl', '--output_dir', d/'x', '--max_steps', 1, '--use_cpu')
            counts.check('security', f'{form} pickle as {name} of a model', 'ran' if mark.exists() else one_line(e))

def code(counts: Counts, d: Path, f: Path):
    "Code that models, data folders and the current folder bring."
    for kind in ('evil', 'llama'):
        for name in ('AutoConfig', 'AutoModelForCausalLM', 'AutoTokenizer', 'AutoModelForSequenceClassification'):
            out, mark = d/'evil', d/'evil/ran'
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(f/'m', out)
            for file in ('config.json', 'tokenizer_config.json'):
                c = json.loads((out/file).read_text())
                if file == 'config.json': c['model_type'] = kind
                c['auto_map'] = {name: ['evil.C', 'evil.C'] if name == 'AutoTokenizer' else 'evil.C'}
                (out/file).write_text(json.dumps(c))
            (out/'evil.py').write_text(f'open({str(mark)!r}, "w")\n')
            for words in (('sft', '--model', out, '--data', f/'rows.jsonl'), ('dpo', '--model', f/'m', '--ref_name', out, '--data', f/'pairs.jsonl'),
                          ('align', '--model', f/'m', '--reward', f'classifier:{out}', '--prompts', f/'prompts.txt', '--samples_per_step', 4,
                           '--max_new_tokens', 4)):
                shutil.rmtree(d/'x', ignore_errors=True)
                e = fdiv(*words, '--output_dir', d/'x', '--max_steps', 1, '--use_cpu', '--disable_tqdm', 'true', '--dry_run')
                counts.check('security', f'{kind} with auto_map {name} in {words[0]}', 'ran' if mark.exists() else last_lines(e) if e.traceback else '')
    data = d/'data'
    data.mkdir()
    (data/'data.py').write_text(f'open({str(d/"ran")!r}, "w")\n')
    e = fdiv('sft', '--model', f/'m', '--data', data, '--output_dir', d/'x', '--use_cpu')
    counts.check('security', 'a data folder with a script', 'ran' if (d/'ran').exists() else one_line(e))
    here = d/'here'
    here.mkdir()
    for m in ('zstandard', 'torch_npu', 'torch_xla', 'pynvml', 'peft', 'wandb', 'deepspeed', 'liger_kernel', 'bitsandbytes', 'sitecustomize'):
        (here/f'{m}.py').write_text(f'open({str(here/"ran-")!r} + {m!r}, "w")\n')
    env = os.environ | dict(PYTHONPATH=str(root), PYTHONSAFEPATH='1')
    w = ['sft', '--model', f/'m', '--data', f/'rows.jsonl', '--output_dir', d/'y', '--max_steps', 1, '--use_cpu', '--disable_tqdm', 'true', '--show', 0]
    subprocess.run([sys.executable, '-c', 'import sys; from fdiv_nb.commands.main import main; sys.exit(main(sys.argv[1:]))', *map(str, w)],
                   cwd=here, env=env, capture_output=True, timeout=180)
    ran = [p.name for p in here.glob('ran-*')]
    counts.check('security', 'modules of the current folder', f'{ran}' if ran else '')

TEMPLATES = ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ cycler.__init__.__globals__.os.system('touch ran') }}", "{% include '/etc/passwd' %}",
             "{% for i in range(10**8) %}x{% endfor %}", "{{ raise_exception('no') }}", '{{', "{{ namespace.__init__.__globals__ }}")
def indirect(counts: Counts, d: Path, f: Path):
    "Files that name others: indices of weights, adapters, chat templates, kernels of attention."
    from safetensors.torch import load_file
    def with_json(name, file, change, source=f/'m'):
        out = d/name
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(source, out, ignore=shutil.ignore_patterns('checkpoint*', '*run.json'))
        c = json.loads((out/file).read_text()) if (out/file).exists() else {}
        (out/file).write_text(json.dumps(c | change))
        return out
    words = lambda m, rows='rows.jsonl': ['sft', '--model', m, '--data', f/rows, '--output_dir', d/'x', '--max_steps', 1, '--use_cpu', '--disable_tqdm', 'true',
                                          '--show', 0, '--overwrite']
    names = list(load_file(f/'m'/'model.safetensors'))
    for target in ('x.bin', '/etc/passwd', '../../../etc/passwd', 'x.pt'):
        m = with_json('index', 'model.safetensors.index.json', dict(metadata={}, weight_map=dict.fromkeys(names, target)))
        (m/'model.safetensors').unlink()
        if target.startswith('x.'): (m/target).write_bytes(pickle.dumps(Evil(d/'ran')))
        e = fdiv(*words(m))
        counts.check('security', f'an index of weights that names {target}', 'ran' if (d/'ran').exists() else one_line(e))
    (f/'chat.jsonl').write_text(json.dumps(dict(messages=[dict(role='user', content='go to'), dict(role='assistant', content='the sea')])) + '\n')
    for t in TEMPLATES:
        m = with_json('template', 'tokenizer_config.json', dict(chat_template=t))
        e = fdiv(*words(m, 'chat.jsonl'), cwd=d)
        counts.check('security', f'a chat template {t[:30]!r}', 'ran' if (d/'ran').exists() else one_line(e))
    for k, v in (('attn_implementation', 'evil/kernel'), ('_attn_implementation', 'evil/kernel'), ('model_type', '../evil')):
        counts.check('security', f'config.json with {k} {v}', one_line(fdiv(*words(with_json('config', 'config.json', {k: v})))))
    e = fdiv(*runs.command('lora', f, d/'lora'))
    (d/'beside').mkdir()
    (d/'beside'/'evil.py').write_text(f'open({str(d/"ran")!r}, "w")\n')
    for k, v in (('auto_mapping', dict(base_model_class='X', parent_library='evil')), ('peft_type', 'EVIL'), ('target_modules', '('), ('base_model_name_or_path', '../../etc')):
        e = fdiv(*words(with_json('adapter', 'adapter_config.json', {k: v}, d/'lora')), cwd=d/'beside')
        fault = '' if k == 'auto_mapping' and e.code == 0 else one_line(e)
        counts.check('security', f'an adapter with {k} {v}', 'ran' if (d/'ran').exists() else fault)

def texts(counts: Counts, d: Path, f: Path):
    "YAML that makes objects, rewards that read code, reports of hostile texts."
    for i, text in enumerate(('!!python/object/apply:os.system ["touch ran"]', 'seed: !!python/name:os.system', 'a: &a [x]\nb: [*a]', '['*100_000)):
        (d/'c.yaml').write_text(text)
        e = fdiv('sft', '--config', d/'c.yaml', '--output_dir', d/'x', cwd=d)
        counts.check('security', f'YAML {i}', 'ran' if (d/'ran').exists() else one_line(e))
    from fdiv_nb.losses.rewards import python_reward
    here = os.getcwd()
    os.chdir(d)
    hostile = ('open("ran", "w")', '__import__("os").system("touch ran")', '('*10_000, '\0', '-'*10_000 + '1', 'f"{open(\'ran\', \'w\')}"', '@print\ndef f(): pass', chr(0xd800))
    for text in hostile:
        python_reward([''], [text])
        counts.check('security', f'a completion {text[:20]!r}', 'ran' if (d/'ran').exists() else '')
    os.chdir(here)
    from fdiv_nb.reports.page import Report
    for text in ('<script>x</script>', '"><img src=x onerror=alert(1)>', '</pre><script>', "javascript:alert(1)", '{{ 7*7 }}', '&lt;script&gt;<svg/onload=x>'):
        page = Report(text, text).text(text.replace('<', '&lt;') if False else 'x').samples({text: [(text, text, 1.)]}).details(text, {text: text}).save(d/'r.html')
        html = Path(page).read_text()
        bad = [x for x in ('<script>x', '<img src=x', '<svg/onload', '<script>') if x in html.replace('<script>document', '')]
        counts.check('security', f'a report of {text[:20]!r}', f'{bad}' if bad else '' if "default-src 'none'" in html else 'no policy')

# what a probe is called here -> what it is, and what happens; the table of docs/security.md, in which each probe counts for the first that fits
KINDS = {
    r'pickle as .* of a model': ('pickles in place of the weights of a model or an adapter', 'refused: weights are read from safetensors'),
    r'pickle as': ('pickles in place of a file of a checkpoint, with its manifest and without', 'never unpickled beyond tensors; the manifest names the file'),
    r'with auto_map ': ('models, references and classifiers with code of their own (`auto_map`)', 'loaded by their type, or refused; nobody is asked'),
    r'a data folder': ('a data folder with a script', 'refused'),
    r'modules of': ('ten modules in the current folder with the names of libraries', 'not imported'),
    r'an index of weights': ('an index of weights that names pickles, or files elsewhere', 'refused'),
    r'a chat template': ('chat templates that reach for modules or files, or never end', 'an error that names the row'),
    r'config.json with': ('`config.json` with kernels or types from elsewhere', 'refused'),
    r'an adapter with': ('adapters whose configuration names modules or other folders', 'read as data, or refused'),
    r'YAML': ('YAML with tags, aliases, or 100,000 brackets', 'refused, with the line'),
    r'a completion': ('completions that are programs', 'parsed by the reward `python`, never run'),
    r'a report of': ('prompts and completions with HTML and scripts, in a report', 'escaped; the page may load nothing'),
}
PAGE = root/'docs'/'security.md'
HEAD = """# What was tried, and held

{doc}`project/security` says what is promised. `make faults` tries it with files from a stranger, each of which would leave a mark if a line of it ran; none may, and what is refused gets one line. This table is made by `.ci/faults/security.py`, and the suite checks its numbers.

| probe | tried | what happens |
|---|---|---|
"""
TAIL = """
What is wrong without malice is on the page {doc}`errors`.

## Dependencies

`constraints.txt` names one version of each dependency. Those with known weaknesses are listed by

```sh
pip install pip-audit
pip-audit --no-deps -r constraints.txt          # the versions that are tested here
pip-audit --local                               # what is installed where you are
```
"""
def page(names: list[str]) -> str:
    "docs/security.md for the names of the probes."
    kind = lambda name: next(k for k in KINDS if re.search(k, name))
    found = [kind(n) for n in names]
    return HEAD + ''.join(f'| {what} | {found.count(k)} | {happens} |\n' for k, (what, happens) in KINDS.items()) + f'| **all** | **{len(names)}** | |\n' + TAIL

class Named(Counts):
    "Counts that also keep the names of the cases."
    def __init__(self): self.names = []
    def check(self, group, name, fault):
        self.names.append(name)
        return super().check(group, name, fault)

def probe(counts: Counts) -> list[str]:
    "Every probe; their names."
    named = Named()
    vars(named).update(vars(counts))               # which fills the same dictionaries
    with folder() as d:
        f = runs.files(d/'files')
        for part in (pickles, code, indirect, texts): part(named, d, f)
    return named.names

def check(counts: Counts):
    made = page(probe(counts))
    counts.check('security', 'docs/security.md', '' if PAGE.read_text(encoding='utf-8') == made else 'other numbers; run python .ci/faults/security.py')

if __name__ == '__main__':
    import harness
    harness.load_everything()
    PAGE.write_text(page(probe(Counts())), encoding='utf-8')
