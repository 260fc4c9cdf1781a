import sys,time,numpy as np,json
from pathlib import Path
from pbe_lite import reproduce, evaluate
from pbe_lite.reproduce import Study
s=Study(); cache=Path("/work/main/runs/pictures"); cache.mkdir(exist_ok=True)
real_rows=evaluate.evaluate_rows
def keep(rows,pairs):
    (name,(raw,res)),=rows.items()
    np.savez(cache/f"{name}.npz",raw=np.stack(raw),results=np.stack(res))
    return real_rows(rows,pairs)
reproduce.evaluate_rows=keep
for name in sys.argv[1:]:
    t=time.time()
    if not (cache/f"{name}.npz").exists(): s.score(name)
    print("SCORED",name,round(time.time()-t),flush=True)
print("END")
