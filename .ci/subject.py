"""The commit-msg hook: a subject has at most 72 characters."""
import sys

subject = open(sys.argv[1], encoding='utf-8').readline().strip()
sys.exit(len(subject) > 72 and f'The subject has {len(subject)} characters; 72 are allowed: {subject}')
