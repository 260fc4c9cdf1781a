"""sync.py NN: copy markdown sources of the built draft into the executed notebook; code must be equal."""
import json,sys,glob
n=sys.argv[1]; a=json.load(open(glob.glob(f'/tmp/drafts/{n}_*.ipynb')[0])); p=glob.glob(f'/work/main/notebooks/{n}_*.ipynb')[0]; b=json.load(open(p))
assert len(a['cells'])==len(b['cells']),(len(a['cells']),len(b['cells']))
k=0
for x,y in zip(a['cells'],b['cells']):
    s,t=''.join(x['source']),''.join(y['source'])
    if s!=t:
        assert x['cell_type']=='markdown',('code differs',s[:200]); y['source']=x['source']; k+=1
b['metadata'].pop('widgets',None)
json.dump(b,open(p,'w'),indent=1,ensure_ascii=False); open(p,'a').write('\n'); print('synced',k,p)
