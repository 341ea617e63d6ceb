"""Checks of what the pages under docs/ state, against the code: `.ci/test.py site`."""
import ast
import json
import math
import re
from pathlib import Path

root = Path(__file__).resolve().parent.parent
FOREIGN = {'loss', 'grad_norm', 'learning_rate', 'epoch'}                 # of transformers
FUNCTIONS = {                                                             # where keys are made: module -> functions
    'losses/fdpg.py': ['_stats'], 'losses/fdpo.py': ['fdpo_stats'], 'losses/fsft.py': ['fsft_stats'], 'losses/distill.py': ['distill_stats'],
    'losses/flat.py': ['flat_stats'], 'losses/unlearn.py': ['unlearn_stats'], 'training/dpo.py': ['measure_drift', '_alphas', 'with_anchor'], 'training/unpaired.py': ['kind_stats', 'with_anchor', 'means'],
    'evaluation/alignment.py': ['_text_metrics', 'alignment_metrics'],
    'training/objectives.py': ['reward_terms', 'trusted', 'advantage_terms', 'split_terms'], 'training/frl.py': ['record_policy', 'frl_metrics'],
    'training/scored.py': ['divergences_of', '_score_numbers', '_divergence_numbers', 'held_out_metrics'], 'evaluation/tofu.py': ['_utilities', 'tofu_scores'],
    'evaluation/muse.py': ['muse_scores'], 'evaluation/book.py': ['book_scores'], 'evaluation/attack.py': ['_table_row', 'attack_table'],
    'evaluation/forgetting.py': ['_forgetting', '__call__'], 'evaluation/bridge.py': ['judge'],
}
NOT_LOGGED = {'weights', 'good', 'log_ref', 'log_q', 'weighted_reward', 'weight', 'group', 'log_z', 'z_stderr', 'stratum', 'generator', 'max_new_tokens', 'batch_size', 'seed', 'n', 'prob', 'rouge', 'p', 'before', 'sampler'}


def tree_of(path): return ast.parse((root/'fdiv_nb'/path).read_text(encoding='utf-8'))


def keys_in(node):
    "Names that stand as keys: of `dict(k=…)`, `{'k': …}`, `out['k'] = …`."
    for n in ast.walk(node):
        if isinstance(n, ast.Call) and ast.unparse(n.func) == 'dict': yield from (k.arg for k in n.keywords if k.arg)
        elif isinstance(n, ast.Dict): yield from (k.value for k in n.keys if isinstance(k, ast.Constant) and isinstance(k.value, str))
        elif isinstance(n, ast.Assign):
            for t in n.targets:
                for s in ast.walk(t):
                    if isinstance(s, ast.Subscript) and isinstance(s.slice, ast.Constant) and isinstance(s.slice.value, str): yield s.slice.value


def recorded():
    "Keywords of every `record(…)` in the trainers, and the keys of the numbers that `loss_of` and its like return."
    for p in sorted((root/'fdiv_nb'/'training').glob('*.py')):
        for n in ast.walk(tree_of(f'training/{p.name}')):
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr == 'record':
                yield from (k.arg for k in n.keywords if k.arg)
            if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Subscript) and ast.unparse(n.targets[0].value) in ('stats', 'rates', 'values'):
                yield from keys_in(n)
            if isinstance(n, ast.FunctionDef) and n.name == 'record_samples': yield from (k for k in keys_in(n))
            if isinstance(n, ast.Assign) and any(ast.unparse(t) in ('log', 'rates', "stats['p_retain']", 'known') for t in n.targets): yield from keys_in(n)


def constant(path, name):
    "The value of a module's literal constant."
    return next(_literal(n.value) for n in tree_of(path).body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == name)


def _literal(node):
    if isinstance(node, ast.Call): return {k.arg: ast.literal_eval(k.value) for k in node.keywords}      # dict(a=…)
    return ast.literal_eval(node)


def evaluated():
    "The metrics of the runs kept under nbs/results."
    cells = json.loads((root/'nbs'/'results'/'exp_fdpg.json').read_text(encoding='utf-8'))['cells']
    yield from (k for c in cells if c['cell'][:1] == ['sentiment'] for k in c.get('before', {}))
    yield from constant('training/scored.py', 'FOUR')
    yield from constant('evaluation/muse.py', 'MUSE')[:3]
    yield from (f'{task}_{k}' for task in ('forget', 'retain', 'authors', 'facts') for k in ('probability', 'rouge', 'truth'))


def logged_keys():
    keys = set(recorded()) | set(evaluated()) | FOREIGN
    for path, names in FUNCTIONS.items():
        found = {n.name: n for n in ast.walk(tree_of(path)) if isinstance(n, ast.FunctionDef)}
        for name in names:
            if name not in found: raise SystemExit(f'.ci/facts.py: fdiv_nb/{path} has no {name}; name the function that makes its keys')
            keys |= set(keys_in(found[name]))
    keys |= {f'data/{k}' for k in constant('training/batches.py', '_COUNTS')} | set(constant('evaluation/book.py', '_BOOK'))
    return {k for k in keys if k not in NOT_LOGGED and not k.endswith('_stderr')}


def entries():
    "The keys in the first column of the glossary's tables."
    text = (root/'docs'/'glossary.md').read_text(encoding='utf-8')
    return {k for line in text.splitlines() if line.startswith('| `') for k in re.findall(r'`([^`]+)`', line.split('|')[1])}


def keys_without_entry(): return logged_keys() - entries()


def examples():
    "(kind, row) of every example of formats.md."
    text = (root/'docs'/'formats.md').read_text(encoding='utf-8')
    for kind, line in re.findall(r'^:class: row-(\S+)\n(.+)$', text, re.M): yield kind, json.loads(line)


def unread_rows():
    from fdiv_nb.evaluation.attack import attack_rows
    from fdiv_nb.evaluation.muse import muse_rows
    from fdiv_nb.evaluation.tofu import tofu_rows
    from fdiv_nb.training.data import read_prompt_rows, read_rows
    from fdiv_nb.training.unpaired import read_labelled
    for kind, row in examples():
        try:
            if kind == 'prompt': got = read_prompt_rows([row])
            elif kind == 'tofu': got = tofu_rows([row])
            elif kind == 'attack': got = attack_rows([row])
            elif kind == 'labelled': got = read_labelled([row])
            elif kind.startswith('prompt-'): got = read_rows([row], tuple(kind.split('-')))
            else: got = muse_rows([row], kind)
            if len(got) != 1: yield f'{kind}: {len(got)} rows from one'
        except ValueError as e: yield f'{kind}: {e}'


def wrong_conversions():
    import torch
    from fdiv_nb import exact_divergence, get_divergence
    from fdiv_nb.losses.distill import generalized_jsd, skewed_kl
    from fdiv_nb.losses.fdpo import flip_alpha
    P, Q = (torch.tensor(x, dtype=torch.float64) for x in ([.1, .2, .7], [.3, .3, .4]))
    D = lambda d: exact_divergence(d, P.log(), Q.log()).item()
    kl = lambda a, b: (a*(a/b).log()).sum().item()
    M = (P + Q)/2
    pairs = {
        'js': (D('js')/2, (kl(P, M) + kl(Q, M))/2), 'tv': (D('tv'), (P - Q).abs().sum().item()/2),
        'hellinger': (D('hellinger')/2, ((P.sqrt() - Q.sqrt())**2).sum().item()/2),
        'pearson': (D('pearson'), ((P - Q)**2/Q).sum().item()), 'neyman': (D('neyman'), ((P - Q)**2/P).sum().item()),
        'reverse_kl': (D('reverse_kl'), kl(P, Q)), 'forward_kl': (D('forward_kl'), kl(Q, P)),
        'α = ½': (D('alpha:0.5'), 2*D('hellinger')), 'α = 2': (D('alpha:2'), D('pearson')/2), 'α = -1': (D('alpha:-1'), D('neyman')/2),
        'generalized_jsd': (D(generalized_jsd(.3))*.3*.7, .3*kl(Q, .3*Q + .7*P) + .7*kl(P, .3*Q + .7*P)),
        'skewed_kl': (D(skewed_kl(.3))*.7**2, kl(P, .3*P + .7*Q)),
    }
    log_u = (P/Q).log()
    for a in (.3, .5, 2., -1.):
        ours, S, A = D(f'alpha:{a}'), (P**a*Q**(1 - a)).sum().item(), 2*a - 1
        fprime = lambda x: get_divergence(f'alpha:{x}').canonical().fprime(log_u)
        pairs |= {
            f'definition at {a}': (ours, (S - 1)/(a*(a - 1))), f'swap at {a}': (ours, exact_divergence(f'alpha:{1 - a}', Q.log(), P.log()).item()),
            f'Amari at {a}': (ours, 4/(1 - A*A)*(1 - (P**((1 + A)/2)*Q**((1 - A)/2)).sum().item()) if abs(A) != 1 else ours),
            f'Rényi at {a}': (math.log(1 + a*(a - 1)*ours)/(a - 1), math.log(S)/(a - 1)), f'Tsallis at {a}': (a*ours, (S - 1)/(a - 1)),
            f'TRL at {a}': (fprime(a).sum().item(), ((log_u*(a - 1)).exp() - 1).sum().item()/(a - 1)),
            f'paper at {a}': (fprime(flip_alpha(a)).sum().item(), (1 - (-a*log_u).exp()).sum().item()/a),
        }
    for name, (x, y) in pairs.items():
        if not math.isclose(x, y, rel_tol=1e-9): yield f'{name}: {x} and {y}'
