import json
from pbe_lite.reproduce import Study, ROWS
from pbe_lite.evaluate import write_json
s=Study()
s.rows["table2"]={r:r for r in ROWS["table2"]}
for t in ("table1","table2","guidance"): s.table(t)
s.losses(); (s.runs/"losses.json").unlink()  # three arms are to come
r=lambda n: json.loads((s.runs/f"{n}.json").read_text())["rows"][n]
old=json.loads((s.results/"final.json").read_text())
new={"pairs":400,"rows":{"copy_paste":r("copy_paste"),"ground_truth":r("ground_truth"),"final":r("shipped")},**{k:old[k] for k in old if k not in ("pairs","rows")}}
for row in new["rows"]:
    for sp in ("seen","held_out"):
        for m,v in old["rows"][row][sp].items():
            if m not in ("clip_fid","qs") and v!=new["rows"][row][sp][m]: print("differs",row,sp,m,v,new["rows"][row][sp][m])
write_json(new,s.results/"final.json")
