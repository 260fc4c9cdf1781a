import json
ROWS=[("05_augmentation","augmentation","what must be done to the exemplar and the hole so that pasting no longer pays?","MIN05"),
("06_classifier_free_guidance","classifier-free guidance","how can the model be made to listen, and what does that cost?","MIN06"),
("07_evaluation","evaluation","which numbers can not be fooled, and does the paper hold in miniature?","MIN07"),
]
M={"MIN05":"2","MIN06":"3","MIN07":"3","MIN10":"3"}
import re
p='/work/main/README.md'; s=open(p).read()
rows="".join(f"| [{f}](notebooks/{f}.ipynb) | {q} | {M[m]} |\n" for f,t,q,m in ROWS)
anchor="| [04_class_token_bottleneck](notebooks/04_class_token_bottleneck.ipynb) | what is left of an exemplar in one token? | 2 |\n"
assert anchor in s
s=s.replace(anchor,anchor+rows)
s=s.replace("Lessons on augmentation, guidance, evaluation and training at full scale come next.","Lessons 08 and 09, on many GPUs and the full-size model, and 10, on the limits, come next.")
s=s.replace("""hand over a photo of a thing, and a diffusion model paints that thing into the hole, in
the picture's own light and with a shadow. It follows the paper""","""hand over a photo of a thing, and a diffusion model paints that thing into the hole, so
that the picture goes on around it. It follows the paper""")
open(p,'w').write(s)
def edit(n,pairs):
    p=f'/work/main/notebooks/{n}.ipynb'; nb=json.load(open(p))
    for a,b in pairs:
        hit=[c for c in nb['cells'] if c['cell_type']=='markdown' and a in ''.join(c['source'])]
        assert len(hit)==1,(n,len(hit),a)
        hit[0]['source']=''.join(hit[0]['source']).replace(a,b).splitlines(keepends=True)
    json.dump(nb,open(p,'w'),indent=1,ensure_ascii=False); open(p,'a').write('\n')
a="| [04 class-token bottleneck](04_class_token_bottleneck.ipynb) | what is left of an exemplar in one token? | 2 |\n"
edit('00_start_here',[(a,a+"".join(f"| [{f[:2]} {t}]({f}.ipynb) | {q} | {M[m]} |\n" for f,t,q,m in ROWS)),
 ("""The lessons on augmentation, guidance, evaluation, many GPUs and the full-size model are being written; the package they import,
`pbe_lite`, already holds what they need.""","""Lessons 08 and 09, on many GPUs and the full-size model, and 10, on the limits, are being written.""")])
edit('04_class_token_bottleneck',[("""very picture to be painted, in the same pose. **Next in the course: lesson 05,
augmentation,** changes that. Back""","""very picture to be painted, in the same pose. **Next:** [05 · Augmentation](05_augmentation.ipynb)
changes that. Back""")])
