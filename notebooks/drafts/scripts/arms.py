import sys, logging
from pbe_lite.reproduce import Study
s=Study()
for arm in sys.argv[1:]:
    if not (s.runs/arm/"run.json").exists(): s.train(arm)
    if not (s.runs/f"{arm}.json").exists(): s.score(arm)
    print("DONE",arm,flush=True)
