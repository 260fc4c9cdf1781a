"""solve.py notebook out: put each folded solution in place of the stub cell above it."""
import json,re,sys
nb=json.load(open(sys.argv[1])); cells=nb['cells']
for i,c in enumerate(cells):
    if c['cell_type']!='markdown': continue
    m=re.search(r'<summary>Solution</summary>\s*```python\n(.*?)```',''.join(c['source']),re.S)
    if not m: continue
    code=m.group(1); name=re.match(r'(?:def|class) (\w+)',code.strip()).group(1) if re.match(r'(?:def|class) (\w+)',code.strip()) else None
    j=max(k for k in range(i) if cells[k]['cell_type']=='code' and (name is None or re.search(rf'(def|class) {name}\b',''.join(cells[k]['source']))))
    src=''.join(cells[j]['source'])
    if name:
        lines=src.split('\n'); a=next(k for k,l in enumerate(lines) if re.match(rf'(def|class) {name}\b',l)); b=a+1
        while b<len(lines) and (not lines[b].strip() or lines[b][0]==' '): b+=1
        src='\n'.join(lines[:a]+[code]+lines[b:])
    cells[j]['source']=src.splitlines(keepends=True); print('solved',name,'in',j)
json.dump(nb,open(sys.argv[2],'w'))
