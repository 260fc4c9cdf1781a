import json,sys; sys.path.insert(0,'/work/main')
from pbe_lite.evaluate import format_table
t=json.load(open('/work/main/data/results/final.json')); r=open('/work/main/README.md').read().split('\n')
a=next(i for i,l in enumerate(r) if l.startswith('| row |')); b=a
while r[b].startswith('|'): b+=1
r[a:b]=format_table(t).split('\n'); open('/work/main/README.md','w').write('\n'.join(r))
