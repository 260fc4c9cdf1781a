"""trial.py name secs key=val ...  from scratch final arm; eval one-step hole error + 200 seen pairs."""
import sys, time, json, math, ast, torch, numpy as np, random, copy
sys.path.insert(0,'/work/main')
from dataclasses import replace
from torch.utils.data import DataLoader
from pbe_lite import presets, objectives, evaluate, unet as U
from pbe_lite.train import lite_records, Positions
from pbe_lite.presets import LITE, DATA
from pbe_lite.objectives import Inpaint, build_objective
from pbe_lite.pairs import make_pair
from pbe_lite.tabletop import object_names
from pbe_lite.pipeline import PaintByExamplePipeline
import logging; logging.disable(50)
name, secs = sys.argv[1], float(sys.argv[2])
o = dict(batch=32, lr=2e-3, opt='adamw', b2=.99, ts=None, unet={}, objects=0, ns=4, ema=.999, eval=1, mom=.95, wd=0.0, init='', wt='snr15', oxa=0, dup=1, alr=2e-3, f=8, c=8, codec=60, gain=1., cond='', cdim=128, res=128, ctx=0., rigid=0)
for a in sys.argv[3:]:
    k,v=a.split('=',1)
    try: v=eval(v)
    except Exception: pass
    assert k in o,k; o[k]=v
torch.manual_seed(0)
P = replace(LITE, unet={**LITE.unet, **o['unet']}, batch_size=o['batch'], latent_factor=o['f'], latent_channels=o['c'], resolution=o['res'])
rec = lite_records(LITE)
allnames=object_names('train')
keep=set(allnames)
if o['objects']:
    keep=set(np.random.default_rng(5).choice(allnames,o['objects'],replace=False))
    rec=rec.select([i for i,l in enumerate(rec['labels']) if l[0] in keep])
presets.ARMS['t']=presets.Arm(False,'class',True,True); objectives.ARMS['t']=presets.ARMS['t']

import pathlib
W=DATA/'weights'
if (o['f'],o['c'],o['res'])!=(8,8,128):
    from pbe_lite.objectives import Reconstruction
    W=pathlib.Path(f"/tmp/w/W{o['res']}_{o['f']}{o['c']}")
    if not (W/'codec').exists():
        W.mkdir(exist_ok=True); (W/'clip').symlink_to(DATA/'weights'/'clip')
        full_=lite_records(LITE); r=Reconstruction(P, full_, None, 0); op=torch.optim.AdamW([p for p in r.parameters() if p.requires_grad],lr=1e-3,fused=True)
        def psnr():
            with torch.no_grad():
                x=torch.stack([r[9,i]['image'] for i in range(200)]); return float(-10*torch.log10(((r.codec(x).clamp(-1,1)-x)/2).square().mean()))
        print('PCA psnr',psnr()); t0=time.monotonic(); k=0
        for st,b in enumerate(DataLoader(r,batch_sampler=Positions(len(r),16,0,0,10**6))):
            el=(time.monotonic()-t0)/o['codec']
            if el>1: break
            op.param_groups[0]['lr']=1e-3*min(1,(st+1)/30)*(.5+.5*math.cos(math.pi*el))
            with torch.autocast('cpu',torch.bfloat16): l=r(b).mean()
            l.backward(); op.step(); op.zero_grad(); k+=16
        print('codec psnr',psnr(),k,'samples'); r.export(W/'codec')
obj = Inpaint(P, rec, W, 0, 't')
if o['init']:
    pp=PaintByExamplePipeline.from_pretrained(o['init']); obj.encoder.load_state_dict(pp.image_encoder.state_dict()); obj.unet.load_state_dict(pp.unet.state_dict())
if o['oxa']:
    for n,m in obj.unet.named_modules():
        if type(m).__name__=='BasicTransformerBlock' and m.only_cross_attention:
            m.attn1.set_processor(U.OneTokenAttention())
            for x in (m.attn1.to_q,m.attn1.to_k,m.norm1): x.requires_grad_(False)

if o['cond']:
    from pbe_lite.tabletop import Scene, Pose, FIRST_TRAINING_SEED, _sprite
    from pbe_lite.triplets import crop_box
    from PIL import Image
    full_names=object_names('train')
    allrec=lite_records(LITE)
    lab=[l[0] for l in allrec['labels']]
    idx_keep=[i for i,l in enumerate(lab) if l in keep]
    def thumb(seed, flip=False):
        s_=Scene(seed)
        if o['cond']=='canon': s_=replace(s_,pose=Pose(.5,.5,.9,0,False))
        c,a=s_._object(64)
        rgba=np.concatenate([c,a[...,None]],-1)
        ys,xs=np.where(a>.3); rgba=rgba[ys.min():ys.max()+1,xs.min():xs.max()+1]
        if flip: rgba=rgba[:,::-1]
        im=np.stack([np.asarray(Image.fromarray(np.ascontiguousarray(rgba[...,k])).resize((16,16),Image.BOX)) for k in range(4)],-1)
        return im.reshape(-1)
    X=np.stack([thumb(1000+i) for i in range(1500)]); mu=X.mean(0); _,S,V=np.linalg.svd(X-mu,full_matrices=False); V=V[:o['cdim']]; sc=1/np.sqrt(((X-mu)@V.T).var(0).mean())
    print('variance kept',(S[:o['cdim']]**2).sum()/(S**2).sum())
    codes={}
    class Enc(torch.nn.Module):
        def __init__(s): super().__init__(); s.lin=torch.nn.Sequential(torch.nn.Linear(o['cdim'],256),torch.nn.GELU(),torch.nn.Linear(256,128)); s.uncond_vector=torch.nn.Parameter(torch.randn(1,1,128)); s.skip=torch.nn.Linear(o['cdim'],128)
        def forward(s,x): return (s.lin(x)+s.skip(x))[:,None]
        def null(s,c): return s.uncond_vector.to(c).expand_as(c)
    obj.encoder=Enc()
    base_sample=obj.sample
    cur=[idx_keep]
    def sample(e,i):
        d=base_sample(e,i); j=cur[0][i]
        if j not in codes: codes[j]=((thumb(1000+j)-mu)@V.T*sc).astype('float32')
        d['exemplar']=torch.from_numpy(codes[j]); return d
    obj.sample=sample
rng0=np.random.default_rng(1)
base_noise=obj.noise_sample
def draw_t(rng):
    ts=o['ts']
    if ts is None: return int(rng.integers(1000))
    m,s=ts; return int(1000/(1+math.exp(-(m+s*rng.standard_normal()))))
def noise_sample(e,i):
    d=base_noise(e,i); d['timestep']=min(999,draw_t(np.random.default_rng([9,e,i]))); return d
obj.noise_sample=noise_sample
print(name,o,'params %.2fM'%(sum(p.numel() for p in obj.unet.parameters())/1e6), len(rec),'scenes',flush=True)

if o['ctx']:
    from pbe_lite import triplets as TT, canvas as CC
    def getitem(self,key):
        epoch,index=key; rng=TT.sample_rng(self.seed,epoch,index); r=self.records[index]
        image,box=r['image'].convert('RGB'),r['boxes'][0]
        ex=TT.augment_exemplar(TT.crop_box(image,box),32,rng)
        hole=TT.random_hole(box,128,rng)>0
        w=CC.hole_window(hole,o['ctx'])
        im=CC.resize(CC.crop(np.asarray(image),w),o['res']); ho=CC.resize_hole(CC.crop(hole,w),o['res'])
        return {'image':TT.to_signed(im),'hole':torch.from_numpy(ho.astype('float32'))[None],'exemplar':TT.to_clip(ex),'name':r['labels'][0]}
    TT.Triplets.__getitem__=getitem
    from pbe_lite import pipeline as PL
    hw=CC.hole_window
    CC.hole_window=lambda hole,context=3.0: hw(hole,o['ctx'])
    for M in (PL,): 
        if hasattr(M,'hole_window'): M.hole_window=CC.hole_window
if o['gain']!=1:
    with torch.no_grad(): obj.encoder.proj_out.weight.mul_(o['gain'])
params=[p for p in obj.parameters() if p.requires_grad]
ids=set()
if o['opt']=='muon':
    mats=[p for n,p in obj.named_parameters() if p.requires_grad and p.ndim>=2 and not any(s in n for s in('conv_in','conv_out','uncond'))]
    ids={id(p) for p in mats}
    class Muon(torch.optim.Optimizer):
        def __init__(s,ps): 
            super().__init__(ps,dict(lr=o['lr'])); s.m={}
            s.groups={}
            for p in ps: s.groups.setdefault((p.shape[0],p.numel()//p.shape[0]),[]).append(p)
            s.buf={k:torch.zeros(len(v),*k) for k,v in s.groups.items()}
        @torch.no_grad()
        def step(s):
            lr=s.param_groups[0]['lr']
            for k,ps in s.groups.items():
                g=torch.stack([p.grad.reshape(k) for p in ps])
                b=s.buf[k]; b.lerp_(g,1-o['mom'])
                x=torch.lerp(g,b,o['mom'])
                tr=k[0]>k[1]
                if tr: x=x.mT
                x=x/(x.norm(dim=(1,2),keepdim=True)+1e-7); x=x.bfloat16()
                for _ in range(o['ns']):
                    A=x@x.mT; B=torch.baddbmm(A,A,A,beta=-4.775,alpha=2.0315); x=torch.baddbmm(x,B,x,beta=3.4445)
                if tr: x=x.mT
                x=x.float()*(.2*math.sqrt(max(k)))
                for i,p in enumerate(ps): p.mul_(1-lr*o['wd']).sub_(x[i].view(p.shape),alpha=lr)
    opts=[Muon(mats),torch.optim.AdamW([p for p in params if id(p) not in ids],lr=o['lr'],betas=(.9,o['b2']),weight_decay=0,fused=True)]
else:
    opts=[torch.optim.AdamW(params,lr=o['lr'],betas=(.9,o['b2']),fused=True)]
pos=Positions(len(obj),o['batch'],0,0,10**6)
L=DataLoader(obj,batch_sampler=pos,num_workers=0)
ema=[p.detach().clone() for p in params]
t0=time.monotonic(); n=0; run=[]
obj.train()
for step,b in enumerate(L if secs>1 else []):
    el=(time.monotonic()-t0)/secs
    if el>=1: break
    f=min(1,(step+1)/200)*(.5+.5*math.cos(math.pi*el))
    for op in opts:
        for g in op.param_groups: g['lr']=(min(o['lr'],o['alr']) if isinstance(op,torch.optim.AdamW) else o['lr'])*f
    with torch.autocast('cpu',torch.bfloat16): loss=obj(b).mean()
    loss.backward(); torch.nn.utils.clip_grad_norm_(params,1.)
    for op in opts: op.step(); 
    for p in params: p.grad=None
    with torch.no_grad(): torch._foreach_lerp_(ema,[p.detach() for p in params],1-min(o['ema'],(step+1)/(step+10)))
    n+=o['batch']; run.append(float(loss))
    if step%300==299: print('  %4.0f s %6d samples loss %.4f'%(time.monotonic()-t0,n,np.mean(run[-300:])),flush=True)
print('  %d samples %.0f/s'%(n,n/secs), 'last loss %.4f'%np.mean(run[-200:]) if run else '',flush=True)
with torch.no_grad():
    for p,e in zip(params,ema): p.copy_(e)
obj.eval()
if not o['cond']: obj.export('/tmp/w/out_'+name)
# one-step errors
obj.noise_sample=base_noise
full=lite_records(LITE); full=full.select([i for i in range(24000-1000,24000) if full[i]['labels'][0] in keep][:384])
obj.records=obj.triplets.records=full
if o['cond']: cur[0]=[i for i in range(23000,24000) if lab[i] in keep][:384]
errs=[]
for T in (200,350,500,700,999):
    e=w=0
    for i in range(0,len(full),64):
        b=[obj[77,j] for j in range(i,min(i+64,len(full)))]
        b={k:torch.stack([torch.as_tensor(x[k]) for x in b]) for k in b[0]}
        b['timestep'][:]=T
        with torch.no_grad(), torch.autocast('cpu',torch.bfloat16):
            z=obj.encode(b['image']); zm=obj.encode(b['image']*(1-b['hole']))
            zt=obj.scheduler.add_noise(z,b['noise'],b['timestep'])
            out=obj.unet(U.unet_input(zt,zm,b['hole']),b['timestep'],encoder_hidden_states=obj.encoder(b['exemplar'])).sample.float()
        m=torch.nn.functional.interpolate(b['hole'],size=(P.latent_size,)*2)
        e+=float(((out-z).square().mean(1,keepdim=True)*m).sum()); w+=float(m.sum())
    errs.append(e/w)
print('RESULT',name,'%.0f/s'%(n/secs),'hole mse x at 200/350/500/700:',' '.join('%.4f'%e for e in errs),flush=True)
if o['eval'] and not o['cond']:
    pipe=PaintByExamplePipeline.from_pretrained('/tmp/w/out_'+name); pipe.set_progress_bar_config(disable=True)
    N=240
    from pbe_lite import pairs as PP; PP.object_names=lambda s=None: sorted(keep) if s=='train' else object_names(s)
    pairs=[make_pair(i,o['res']) for i in range(0,N,2)]
    pairs=[p for p in pairs if p.name in keep]
    for g in (2.0,3.0):
        raw,res=evaluate.paint_pairs(pipe,pairs,g,20,50)
        from PIL import Image
        from pbe_lite.augment import squash
        Image.fromarray(np.concatenate([np.concatenate([p.source.image,squash(p.exemplar,o['res']),r,p.truth.image],0) for p,r in list(zip(pairs,res))[:12]],1)).save(f'/tmp/w/{name}.png')
        s=evaluate.score(pairs,raw,res)
        print('RESULT',name,len(pairs),'pairs g',g,'right %.3f clip %.1f+-%.1f leak %.3f seam %.2f light %.1f'%(np.nanmean(s['right_object']),np.nanmean(s['clip_score']),np.nanstd(s['clip_score'])/len(pairs)**.5,np.nanmean(s['leak']),np.nanmean(s['seam']),np.nanmean(s['light'])),flush=True)
