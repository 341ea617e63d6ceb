"""Print the oldest version of each dependency that settings.ini allows, one `name==version` a line: what `make test-lowest` installs."""
import re
from configparser import ConfigParser
from pathlib import Path

cfg = ConfigParser(interpolation=None)
cfg.read(Path(__file__).resolve().parent.parent/'settings.ini', encoding='utf-8')

def lowest(requirement):
    "'nbdev>=3.3,<4' -> 'nbdev==3.3'; without a bound the name alone."
    return re.sub(r'>=([^,;]+)[^;]*', r'==\1', requirement)

keys = ['requirements', 'peft_requirements', 'eval_requirements', 'dev_requirements']
for line in dict.fromkeys(lowest(r) for k in keys for r in cfg['DEFAULT'][k].split()):
    print(line)
