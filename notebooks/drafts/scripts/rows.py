import json,sys,pathlib
M=("leak","right_object","clip_score","clip_fid","qs","seam","light","background_psnr_raw")
for n in sys.argv[1:]:
    p=pathlib.Path(f"runs/arms/{n}.json")
    if not p.exists(): print(n,"-"); continue
    r=json.loads(p.read_text())["rows"][n]
    for sp in ("seen","held_out"):
        print(f"{n:<16}{sp[:4]:<5}"+" ".join(f"{m[:6]} {r[sp][m]['mean']:.2f}[{r[sp][m]['low']:.2f},{r[sp][m]['high']:.2f}]" for m in M if r[sp][m]['mean'] is not None))
