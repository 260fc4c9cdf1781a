import json,sys,base64,pathlib
nb=json.load(open(sys.argv[1])); out=pathlib.Path('/tmp/w/img'); out.mkdir(exist_ok=True)
for f in out.glob(f"{sys.argv[2]}_*"): f.unlink()
for i,c in enumerate(nb['cells']):
    if c['cell_type']!='code': continue
    for j,o in enumerate(c['outputs']):
        if o['output_type']=='error': print(f'[{i}] ERROR',o['ename'],o['evalue'][:300])
        t=''.join(o.get('text',[])) or ''.join(o.get('data',{}).get('text/plain',[])) if 'image/jpeg' not in o.get('data',{}) and 'image/png' not in o.get('data',{}) else ''
        if t: print(f'[{i}]',t.rstrip()[:900])
        for k,e in (('image/jpeg','jpg'),('image/png','png')):
            if k in o.get('data',{}):
                p=out/f"{sys.argv[2]}_{i:03d}_{j}.{e}"; p.write_bytes(base64.b64decode(o['data'][k])); print(f'[{i}] IMG',p.name,len(o['data'][k])//1024,'KB')
