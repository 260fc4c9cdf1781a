import numpy as np, logging; logging.disable(50)
from pbe_lite import evaluate
from pbe_lite.pairs import make_pair
from pbe_lite.pipeline import PaintByExamplePipeline
pipe=PaintByExamplePipeline.from_pretrained('/tmp/w/old/data/weights/final'); pipe.set_progress_bar_config(disable=True)
pairs=[make_pair(i) for i in range(0,400,2)]
for g in (2,3):
    raw,res=evaluate.paint_pairs(pipe,pairs,g,20,50); s=evaluate.score(pairs,raw,res)
    print(g,{k:round(float(np.nanmean(np.where(np.isinf(v),np.nan,v))),3) for k,v in s.items()},flush=True)
