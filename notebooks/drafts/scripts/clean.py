import json,sys
for p in sys.argv[1:]:
    nb=json.load(open(p)); nb['metadata'].pop('widgets',None)
    json.dump(nb,open(p,'w'),indent=1,ensure_ascii=False); open(p,'a').write('\n')
