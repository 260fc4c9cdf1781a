import sys
from PIL import Image
# contact.py out files...: stack jpgs into a sheet of two columns
ims=[Image.open(f).convert('RGB') for f in sys.argv[2:]]
cols=[[],[]]; h=[0,0]
for im in ims:
    k=0 if h[0]<=h[1] else 1; cols[k].append((im,h[k])); h[k]+=im.height+8
w=[max((im.width for im,_ in c),default=0) for c in cols]
S=Image.new('RGB',(sum(w)+8,max(h)),'white')
for k,c in enumerate(cols):
    for im,y in c: S.paste(im,(0 if k==0 else w[0]+8,y))
if S.width>1900: S=S.resize((1900,S.height*1900//S.width))
S.save(sys.argv[1])
