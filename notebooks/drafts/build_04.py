"""Writes /tmp/drafts/04_class_token_bottleneck.ipynb (system python3, json only)."""

import json

CELLS = []


def add(kind, text):
    cell = {"cell_type": kind, "id": f"c{len(CELLS):03d}", "metadata": {}}
    lines = text.strip("\n").split("\n")
    cell["source"] = [line + "\n" for line in lines[:-1]] + lines[-1:]
    if kind == "code":
        cell.update(execution_count=None, outputs=[])
    CELLS.append(cell)


def md(text):
    add("markdown", text)


def code(text):
    add("code", text)


# ------------------------------------------------------------------------ header

md(r"""
# 04 · The class-token bottleneck

**Question.** What is left of an exemplar that must pass through a single token, and why
does that stop the pasting?

**Goals.** After this lesson you can

- say what CLIP's class token keeps of a picture and what it loses, with numbers;
- rebuild the mapper by hand, and see that on one token it is a plain MLP;
- prove that with one key cross-attention is a bias, and that to_q and to_k never learn;
- read leak and seam before and after the bottleneck, and name its price.

**Time.** About 50 minutes to read and try; about 2 minutes to run on 2 CPU cores.

**Needs.** Lessons 01 to 03. From the repository: `clip`, `naive`, `bottleneck` and `final`
in `data/weights`, and `data/results/table2.json`. No GPU, no network.
""")

code(r"""
import os

os.environ["TQDM_DISABLE"] = "1"  # no progress bars in this page

import copy
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
import tqdm.auto
from matplotlib_inline.backend_inline import set_matplotlib_formats
from PIL import Image
from torch.nn import functional as F

from pbe_lite import metrics, plots
from pbe_lite.environment import profile
from pbe_lite.presets import DATA, FULL, LITE

tqdm.auto.tqdm = tqdm.std.tqdm  # only the plain bar obeys the switch above
set_matplotlib_formats("jpeg", pil_kwargs={"quality": 85})
PROFILE = profile()  # PBE_PROFILE: smoke, laptop or gpu
EVERY, N_CROPS, N_PAIRS, N_COUPLES = {
    "smoke": (8, 90, 8, 4), "laptop": (2, 240, 50, 12),
    "gpu": (1, 400, 200, 24)}[PROFILE]
print(f"profile {PROFILE}: {N_PAIRS} pairs, {N_CROPS} crops of each object")
""")

# ---------------------------------------------------------------- 1 nearest neighbours

md(r"""
## 1 · A token that knows the object

**Predict.** Crop many objects from three scenes each: other walls, floors, lights and poses.
For each crop, look for the most similar one. Will raw pixels find the same *object* or the
same *background*? And CLIP's class token?

**Idea.** CLIP's tower cuts the exemplar into patches and adds one token that stands for no
patch: the *class token*. It gathers from all patches by attention, and CLIP's training
compares only this one with the text.

$$\text{tower}: (3, 32, 32) \to h: (65, 128), \qquad
\text{class token } h_0: (128,), \qquad \text{patch tokens } h_1 \ldots h_{64}$$
""")

code(r"""
from pbe_lite.augment import squash
from pbe_lite.tabletop import HELD_OUT_SEEDS, Scene, object_names
from pbe_lite.triplets import CLIP_MEAN, CLIP_STD, crop_box, to_clip

FRESH = 30_000  # from here on: scene seeds that no model here has seen


def shown(seed, name):
    "An object in scene `seed`: the crop of its box, and the render."
    render = Scene(seed).with_object(name).render(LITE.resolution)
    return crop_box(Image.fromarray(render.image), render.box), render


names = object_names("train")[::EVERY] + object_names("held_out")
seen = np.array([n in object_names("train") for n in names])
queries = [shown(FRESH + 3 * i, n)[0] for i, n in enumerate(names)]
gallery = [shown(FRESH + 3 * i + k, n)[0]
           for i, n in enumerate(names) for k in (1, 2)]
print(f"{len(names)} objects: {len(queries)} queries, {len(gallery)} crops")
""")

md(r"""
**What to notice.** Each object stands in one scene of the queries and in two others of the
gallery. Now the tower, and all 65 of its tokens:
""")

code(r"""
from pbe_lite.clip import embed, load_clip, text_features
from pbe_lite.exemplar import ExemplarEncoder, Mapper

clip, tokenizer = load_clip()
tower = clip.vision_model


def pixels(crops):
    "PIL images -> (N, 3, 32, 32), normalised for CLIP."
    size = LITE.exemplar_size
    return torch.stack([to_clip(squash(crop, size)) for crop in crops])


@torch.no_grad()
def tokens(x):
    "x: (N, 3, 32, 32) -> (N, 65, 128), the class token first."
    return torch.cat([tower.post_layernorm(
        tower(pixel_values=part).last_hidden_state) for part in x.split(256)])
""")

md(r"""
`ExemplarEncoder` keeps either the class token or all of them. Both must be what we have:
""")

code(r"""
xq, xg = pixels(queries), pixels(gallery)
hq, hg = tokens(xq), tokens(xg)
for kind, ours in (("class", hq[:8, :1]), ("all", hq[:8])):
    encoder = ExemplarEncoder.around(tower, LITE, kind).eval()
    with torch.no_grad():
        theirs = encoder.features(xq[:8])
    assert torch.allclose(ours, theirs, atol=1e-4)
    print(f"tokens={kind!r:<8} {tuple(theirs.shape)}")
""")

md(r"""
**What to notice.** The naive model of lesson 03 gets 65 tokens of each exemplar. The
bottleneck keeps the first and throws the other 64 away.

Now the search. The similarity of two crops is the cosine of their vectors.
""")

code(r"""
def nearest(q, g, k=3):
    "Rows of g with the largest cosine to each row of q: (N, k) indices."
    q, g = (F.normalize(v.flatten(1), dim=1) for v in (q, g))
    return (q @ g.T).topk(k).indices


views = {
    "class token": (hq[:, 0], hg[:, 0]),
    "mean of patch tokens": (hq[:, 1:].mean(1), hg[:, 1:].mean(1)),
    "all 65 tokens": (hq, hg),
    "pixels": (xq, xg),
}
near = {view: nearest(*v) for view, v in views.items()}
owner = torch.arange(len(names))  # gallery crop j shows object j // 2
found = {view: (n[:, 0] // 2 == owner).numpy() for view, n in near.items()}
""")

md(r"""
Look before you count. Each row starts with a query; then come its three nearest crops, first
by class token, then by pixels.
""")

code(r"""
def neighbours(i):
    best = [gallery[j] for view in ("class token", "pixels")
            for j in near[view][i]]
    return [queries[i], *best]


some = range(0, len(names), len(names) // 5)[:5]
plots.grid([neighbours(i) for i in some],
           ["query", "class 1", "class 2", "class 3",
            "pixels 1", "pixels 2", "pixels 3"],
           [names[i] for i in some], side=1.1);
""")

md(r"""
**What to notice.** The class token goes for the thing, through other light, pose and walls;
pixels go for the same colours at the same places. <!-- TODO(measure): look at the grid; does the
sentence hold for these five queries? -->
""")

code(r"""
for view, hit in found.items():
    print(f"{view:<22}seen in training {hit[seen].mean():.2f}"
          f"   never seen {hit[~seen].mean():.2f}")
share = {view: metrics.bootstrap(hit) for view, hit in found.items()}
plots.bars(share, "share of queries that find their own object first")
assert share["class token"]["mean"] > 1.5 * share["pixels"]["mean"]
assert share["class token"]["mean"] > 20 / len(names)  # chance: 1 / len(names)
""")

md(r"""
**What to notice.** The bars show how often the first hit is the same object; the line on
each bar is the 95 % interval. One token of 128 numbers beats thousands of pixels by far, and
does so for objects that CLIP was never trained on, too.
<!-- TODO(measure): class token high for the never-seen names as well? class token against
"all 65 tokens" and "mean of patch tokens"? -->
""")

md(r"""
Turn the slider to see the neighbours of other objects. (Without a running kernel you see one
line of text; the grid above is the static picture.)
""")

code(r"""
from ipywidgets import IntSlider, interact


def show_neighbours(i=0):
    plots.grid([neighbours(i)], ["query"] + ["class"] * 3 + ["pixels"] * 3,
               [names[i]], side=1.1)
    plt.show()


interact(show_neighbours, i=IntSlider(0, 0, len(names) - 1,
                                      continuous_update=False));
""")

# ------------------------------------------------------------------------- 2 probes

md(r"""
## 2 · What can be read from it

**Predict.** In the miniature world we know everything about a crop. Which of these can be
read from the class token, and which only from all 65: the object's name; whether it is
mirrored; its angle; the light on it; the colour of its background?

**Idea.** A *linear probe* is the simplest reader there is: ridge regression from the token(s)
to a known property. We fit it on two thirds of the scenes and score it on the rest.

$$W = \arg\min_W \sum_i \lVert W f_i - y_i \rVert^2 + \alpha \lVert W \rVert^2, \qquad
R^2 = 1 - \frac{\sum \lVert W f_i - y_i \rVert^2}{\sum \lVert \bar y - y_i \rVert^2}$$
$$f: (128,) \text{ class token, or } (65 \cdot 128,) \text{ all}, \qquad
y: (k,), \qquad R^2 = 1 \text{: read perfectly}, \quad 0 \text{: not at all}$$
""")

code(r"""
OBJECTS = ["elephant", "steam locomotive", "teapot", "snail", "t rex", "duck",
           "trumpet", "delivery truck"]  # none looks like its mirror image


def facts(seed, render):
    "Known properties of a crop, each a list of numbers."
    scene, size = Scene(seed), LITE.resolution
    x0, y0, x1, y1 = (round(size * v) for v in render.box)
    table = 1 - render.alpha[y0:y1, x0:x1, None]  # where it can be seen
    colour = (table * render.clean[y0:y1, x0:x1]).sum((0, 1)) / table.sum()
    place = 1 + .3 * scene.side * (2 * scene.pose.x - 1)
    return {
        "mirrored": [1 if scene.pose.flip else -1],
        "angle": [scene.pose.angle],
        "light": scene.strength * place * np.array(scene.tint),
        "background": colour,
    }
""")

md(r"""
`light` is what the scene's lamp makes of white at the object's place, `background` the mean
colour of the wall and floor that the crop shows; both have three numbers, one a colour.
""")

code(r"""
crops, known = [], []
for o, name in enumerate(OBJECTS):
    first = FRESH + 1000 * (10 + o)  # no two objects share a scene
    for seed in range(first, first + N_CROPS):
        crop, render = shown(seed, name)
        crops.append(crop)
        known.append(facts(seed, render))
x = pixels(crops)
h = tokens(x)
shape = len(OBJECTS), N_CROPS
truth = {key: np.reshape([k[key] for k in known], (*shape, -1))
         for key in known[0]}
truth["name"] = np.eye(len(OBJECTS))[:, None].repeat(N_CROPS, 1)
print({key: y.shape for key, y in truth.items()})
""")

md(r"""
**What to notice.** Angles, mirroring, light and walls are drawn anew for every crop, and no
scene is used twice, so a probe cannot learn one from the other. Only light and background
hang together: a bright lamp brightens the wall, too.
""")

code(r"""
from sklearn.linear_model import Ridge, RidgeCV

features = {"class token": h[:, 0].numpy().reshape(*shape, -1),
            "all 65 tokens": h.numpy().reshape(*shape, -1)}
cut = N_CROPS * 2 // 3


def probe(f, y):
    "R2 of a linear reader on the last third; f: (m, n, d), y: (m, n, k)."
    flat = lambda v: v.reshape(-1, v.shape[-1])
    reader = RidgeCV(np.logspace(0, 7, 15))  # the best alpha by leave-one-out
    reader.fit(flat(f[:, :cut]), flat(y[:, :cut]))
    return reader.score(flat(f[:, cut:]), flat(y[:, cut:]))


def probes(f, key):
    "One R2 an object; the name is asked of all crops, the rest per object."
    y = truth[key]
    return [probe(f, y[..., [o]]) if key == "name" else probe(f[[o]], y[[o]])
            for o in range(len(OBJECTS))]
""")

md(r"""
The name is asked of all crops at once (is it this object or not?), everything else of each
object by itself: what counts as mirrored differs from thing to thing.
""")

code(r"""
read = {(key, view): metrics.bootstrap(probes(f, key))
        for key in ("name", "mirrored", "angle", "light", "background")
        for view, f in features.items()}
plots.bars({f"{key}: {view}": v for (key, view), v in read.items()},
           "$R^2$ of a linear probe, 1 = read perfectly")
assert read["name", "class token"]["mean"] > .3
assert (read["background", "all 65 tokens"]["mean"]
        > read["background", "class token"]["mean"])
""")

md(r"""
**What to notice.** Each pair of bars is one property, read from the class token and from all
tokens; the intervals are over the eight objects. The name survives in one token. The
background's colour and the angle are much easier to read from all 65, and mirroring is
hardest of all to see in one: half of CLIP's training crops were mirrored, so it learnt not to
care. <!-- TODO(measure): order of the gaps between the two readers; is "mirrored" really
the one that loses most? where does "light" stand? -->
""")

md(r"""
A caution: a probe shows what is *easy* to read. What it does not find may still be there
in another form. A hard limit needs counting.
""")

# --------------------------------------------------------------------------- 3 bits

md(r"""
## 3 · The bottleneck in numbers

**Predict.** An exemplar of 32 x 32 pixels becomes 65 tokens of 128 numbers. Is that more or
less than what went in?

**Idea.** A map to fewer numbers must forget something, a map to more numbers need not forget
anything. Count both, for the lite model and for the paper's.

$$\text{pixels } 3 E^2 \;\to\; \text{all tokens } (1 + (E/p)^2) \cdot d \;\to\;
\text{class token } d$$
""")

code(r"""
counts = {}
for preset in (LITE, FULL):
    vision = preset.clip["vision_config"]
    side, patch, d = (vision[key] for key in
                      ("image_size", "patch_size", "hidden_size"))
    T = 1 + (side // patch) ** 2
    counts[preset.name] = 3 * side ** 2, T * d, d
    print(f"{preset.name}: {3 * side ** 2:,} numbers in the exemplar"
          f" -> {T} tokens x {d} = {T * d:,} -> class token {d:,}")
    print(f"      in bits: {3 * side ** 2 * 8:,} -> {T * d * 16:,}"
          f" -> {d * 16:,} (8 a pixel value, 16 a half-precision number)")
for given, every, one in counts.values():
    assert every > given > 20 * one
""")

md(r"""
**What to notice.** All tokens hold *more* numbers than the exemplar has, in both models:
nothing forces them to forget. The class token holds less than a twentieth of the exemplar's.
""")

md(r"""
### The picture, read back

**Predict.** Decode the exemplar from its tokens, once from the 64 patch tokens and once from
the class token. What will the second picture show?

**Idea.** The same ridge regression, now with pixels as the property. Each patch token is asked
for its own patch; the class token is asked for all patches at once.

$$\hat x_j = A\, h_j + a \quad \text{(one } A: (48, 128) \text{ for all patches)}, \qquad
\hat x = B\, h_0 + b, \quad B: (64 \cdot 48,\, 128)$$
""")

code(r"""
p = LITE.clip["vision_config"]["patch_size"]
patches = F.unfold(x, p, stride=p).transpose(1, 2)  # (N, 64, 48)
fit = torch.arange(len(x)) % N_CROPS < cut  # the same two thirds
by_patch = Ridge(10).fit(h[fit][:, 1:].flatten(0, 1).numpy(),
                         patches[fit].flatten(0, 1).numpy())
by_class = Ridge(10).fit(h[fit][:, 0].numpy(), patches[fit].flatten(1).numpy())


def picture(rows):
    "Patches in any shape -> (N, 32, 32, 3) in 0..1."
    rows = torch.as_tensor(rows).float().reshape(-1, 64, 3 * p * p)
    y = F.fold(rows.transpose(1, 2), LITE.exemplar_size, p, stride=p)
    return (y.permute(0, 2, 3, 1).numpy() * CLIP_STD + CLIP_MEAN).clip(0, 1)


rest = h[~fit].numpy()
decoded = {"exemplar": picture(patches[~fit]),
           "64 patch tokens": picture(
               by_patch.predict(rest[:, 1:].reshape(-1, rest.shape[-1]))),
           "the class token": picture(by_class.predict(rest[:, 0]))}
""")

md(r"""
Rows: the exemplar, decoded from its 64 patch tokens, decoded from its class token. The
number is the mean PSNR over all crops that were kept from the readers.
""")

code(r"""
one_each = [o * (N_CROPS - cut) for o in range(len(OBJECTS))]
plots.grid([[pictures[i] for i in one_each] for pictures in decoded.values()],
           [name.split()[-1] for name in OBJECTS],
           ["exemplar", "64 patches", "1 token"], side=1.15)
error = {row: ((y - decoded["exemplar"]) ** 2).mean((1, 2, 3))
         for row, y in decoded.items() if row != "exemplar"}
db = {row: (-10 * np.log10(mse)).mean() for row, mse in error.items()}
for row, value in db.items():
    print(f"from {row:<18}{value:5.1f} dB")
assert db["64 patch tokens"] > db["the class token"] + 1
""")

md(r"""
**What to notice.** Top row: exemplars that the readers never saw. From the patch tokens the
picture comes back, background included: whoever sees them can paste. From the class token
comes a blurred, generic thing of the right kind on a vague ground.
<!-- TODO(measure): does the bottom row look like this? -->
""")

# --------------------------------------------------------------------------- 4 mapper

md(r"""
## 4 · The mapper, by hand

**Predict.** Between CLIP and the U-Net sits the *mapper*: transformer blocks with
self-attention. What does self-attention do when there is only one token?

**Idea.** It has nobody to look at but itself, with weight 1. So each block is a two-stage MLP
with skip connections; at the end come a layer norm and a projection to the U-Net's width. The
paper's mapper has 5 blocks of width 1024, ours has 1 of width 128.

$$u \leftarrow u + W_o W_v\, \mathrm{LN}(u), \qquad
u \leftarrow u + W_2\, \mathrm{GELU}(W_1\, \mathrm{LN}(u)), \qquad
c = W_p\, \mathrm{LN}(u)$$
$$u: (B, 128), \quad W_v, W_o: (128, 128), \quad W_1: (512, 128), \quad W_2: (128, 512),
\quad c: (B, 1, 128)$$

(Each $W$ has a bias, left out above.)
""")

code(r"""
linear = lambda u, layer: u @ layer.weight.T + layer.bias
gelu = lambda v: v * (1 + torch.erf(v / 2 ** .5)) / 2


def norm(u, layer):
    u = u - u.mean(-1, keepdim=True)
    variance = u.square().mean(-1, keepdim=True)
    return u / (variance + layer.eps).sqrt() * layer.weight + layer.bias


@torch.no_grad()
def condition_of(encoder, u):
    "Class tokens (B, 128) -> conditions (B, 1, 128)."
    for block in encoder.mapper.blocks:
        attn, mlp = block.attn1, block.ff.net
        values = linear(norm(u, block.norm1), attn.to_v)
        u = u + linear(values, attn.to_out[0])
        hidden = gelu(linear(norm(u, block.norm3), mlp[0].proj))
        u = u + linear(hidden, mlp[2])
    return linear(norm(u, encoder.final_layer_norm), encoder.proj_out)[:, None]
""")

md(r"""
`norm`, `linear` and `gelu` are written out on purpose: there is nothing else in it. Does it
equal the trained encoders of two arms?
""")

code(r"""
from pbe_lite.pipeline import PaintByExamplePipeline


def load(arm):
    pipe = PaintByExamplePipeline.from_pretrained(DATA / "weights" / arm)
    pipe.set_progress_bar_config(disable=True)
    return pipe


pipes = {arm: load(arm) for arm in ("naive", "bottleneck", "final")}
for arm in ("bottleneck", "final"):
    encoder = pipes[arm].image_encoder
    with torch.no_grad():
        theirs = encoder(xq)
    ours = condition_of(encoder, hq[:, 0])
    gap = (ours - theirs).abs().max().item()
    print(f"{arm:<12}{tuple(theirs.shape)}, largest difference {gap:.1e}")
    assert torch.allclose(ours, theirs, atol=1e-3, rtol=1e-3)
""")

md(r"""
**What to notice.** No query and no key appears in our version, and yet the conditions equal
`ExemplarEncoder`'s up to rounding. Those weights exist, but nothing depends on them. How many
are they?
""")

code(r"""
for preset in (LITE, FULL):
    vision = preset.clip["vision_config"]
    with torch.device("meta"):  # shapes only, no memory
        mapper = Mapper(vision["hidden_size"],
                        (vision["num_hidden_layers"] + 1) // 5)
    sizes = {n: w.numel() for n, w in mapper.named_parameters()}
    idle = sum(s for n, s in sizes.items() if ".to_q." in n or ".to_k." in n)
    total = sum(sizes.values())
    print(f"{preset.name}: {len(mapper.blocks)} blocks, {total:,} parameters, "
          f"{idle:,} of them idle ({idle / total:.0%})")
    assert len(sizes) == 16 * len(mapper.blocks) and 0 < idle < total / 3
""")

md(r"""
**What to notice.** About a sixth of the mapper, the paper's included, is never used with one
token. The same thing happens in the U-Net.
""")

# -------------------------------------------------------------------------- 5 one key

md(r"""
## 5 · With one key, the softmax is 1

**Predict.** Take the softmax of a list with one number in it. Which numbers can come out?

**Idea.** Cross-attention lets each place of the picture (query) choose among the exemplar's
tokens (keys). With a single key there is no choice: the weight is 1, whatever the query.

$$q = W_q x, \quad k = W_k c, \quad v = W_v c, \qquad
w_{ij} = \frac{e^{q_i \cdot k_j / \sqrt d}}{\sum_{j'=1}^{T} e^{q_i \cdot k_{j'} / \sqrt d}}
\;\overset{T=1}{=}\; 1$$
$$\mathrm{attn}(x, c) = W_o\, w\, v + b_o \;\overset{T=1}{=}\; W_o W_v\, c + b_o,
\qquad x: (B, N, d), \quad c: (B, T, D), \quad w: (B, N, T)$$
""")

code(r"""
def cross_attention(attn, x, c):
    "x: (B, N, d), c: (B, T, D) -> output (B, N, d), weights (B, N, T)."
    q, k, v = attn.to_q(x), attn.to_k(c), attn.to_v(c)
    weights = (q @ k.transpose(1, 2) * attn.scale).softmax(-1)
    return attn.to_out[0](weights @ v), weights


for scores in ([[-50.]], [[0.]], [[1e4]], [[1., 2.]]):
    print(f"{scores} -> {torch.tensor(scores).softmax(-1).tolist()}")
    if len(scores[0]) == 1:
        assert torch.tensor(scores).softmax(-1).item() == 1
""")

md(r"""
**What to notice.** One number: always exactly 1, also in floating point. Two numbers: a real
choice.
""")

md(r"""
Now the real U-Nets, on real training samples. A loaded class-token pipeline already uses the
short cut that we are about to derive; diffusers' plain `AttnProcessor` puts the full
attention back.
""")

code(r"""
from pbe_lite.objectives import build_scheduler
from pbe_lite.triplets import Triplets
from pbe_lite.unet import unet_input

records = []
for seed in range(FRESH, FRESH + 16):
    r = Scene(seed).render(LITE.resolution)
    records.append({"image": Image.fromarray(r.image), "boxes": [r.box],
                    "labels": [Scene(seed).name]})
triplets = Triplets(records, LITE, augment=False, shapes=False)
image, hole, exemplar = (torch.stack([triplets[0, i][key] for i in range(16)])
                         for key in ("image", "hole", "exemplar"))
draw = torch.Generator().manual_seed(0)
t = torch.randint(1000, (16,), generator=draw)
z, z_masked = (pipes["naive"].encode(v) for v in (image, image * (1 - hole)))
z_t = build_scheduler(LITE).add_noise(
    z, torch.randn(z.shape, generator=draw), t)
inputs = unet_input(z_t, z_masked, hole)
""")

md(r"""
**What is in these cells.** 16 training samples as in lesson 01 (a scene, the hole around its
object, the crop as exemplar), corrupted to random timesteps; and an ear at each
cross-attention, which diffusers calls `attn2`.
""")

code(r"""
@torch.no_grad()
def listen(unet, condition):
    "{layer: (x, output)} of every cross-attention, for the 16 samples."
    heard, hooks = {}, []
    for name, module in unet.named_modules():
        if name.endswith("attn2"):
            hooks.append(module.register_forward_hook(
                lambda m, args, out, name=name:
                heard.update({name: (args[0], out)})))
    unet(inputs, t, condition)
    for hook in hooks:
        hook.remove()
    return heard
""")

code(r"""
import diffusers.models.attention_processor as kinds
from diffusers.models.attention import BasicTransformerBlock

plain, conditions = {}, {}
for arm in ("bottleneck", "naive"):
    plain[arm] = copy.deepcopy(pipes[arm].unet)
    plain[arm].set_attn_processor(  # no short cut, no fused kernel
        kinds.AttnProcessor())
    with torch.no_grad():
        conditions[arm] = pipes[arm].image_encoder(exemplar)
    print(f"{arm:<12}condition {tuple(conditions[arm].shape)}")
""")

md(r"""
**Check the formula.** Our ten lines must give what the U-Net computes, in every layer, and the
weights must be exactly 1 with one token.
""")

code(r"""
for arm, unet in plain.items():
    low, high = 1., 0.
    for name, (states, output) in listen(unet, conditions[arm]).items():
        with torch.no_grad():
            ours, w = cross_attention(unet.get_submodule(name), states,
                                      conditions[arm])
        assert torch.allclose(ours, output, atol=1e-3, rtol=1e-3), name
        low, high = min(low, w.min().item()), max(high, w.max().item())
    print(f"{arm:<12}attention weights from {low:.4f} to {high:.4f}")
    assert (low == high == 1) == (arm == "bottleneck")
layers = [n for n, _ in plain["naive"].named_modules() if n.endswith("attn2")]
print(f"{len(layers)} cross-attention layers")
""")

md(r"""
**What to notice.** With 65 tokens the weights span a wide range: places choose. With one
token, every one of them is 1.
""")

md(r"""
### The output does not look at the picture

**Predict.** Give all 16 samples the *same* exemplar. They differ in picture, hole, noise
and timestep. How much does the output of cross-attention differ between them?

**Idea.** Measure the spread of the output over all samples and places, relative to its size.
A bias has none.

$$\text{spread} = \frac{\lVert o - \bar o \rVert}{\lVert o \rVert}, \qquad
o: (16 N, d), \quad \bar o: (d,) \text{ its mean row}$$
""")

code(r"""
def spread(output):
    rows = output.flatten(0, 1)
    return ((rows - rows.mean(0)).norm() / rows.norm()).item()


spreads = {}
for arm, unet in plain.items():
    same = conditions[arm][:1].expand(16, -1, -1)  # one exemplar for all
    spreads[arm] = {n: spread(out) for n, (_, out)
                    in listen(unet, same).items()}
print(f"{'layer':<22}{'1 token':>12}{'65 tokens':>12}")
for name in layers:
    short = name.replace(".transformer_blocks.0.attn2", "")
    print(f"{short.replace('attentions.', ''):<22}"
          f"{spreads['bottleneck'][name]:12.1e}{spreads['naive'][name]:12.1e}")
assert max(spreads["bottleneck"].values()) < 1e-5
assert max(spreads["naive"].values()) > 1e-2
""")

md(r"""
**What to notice.** One token: the same vector for every picture, place and timestep, up to
rounding. 65 tokens: it depends on where you look.
""")

md(r"""
A bias is the same at all places. With 65 tokens the top left of the hole can ask for the top
left of the exemplar and copy it. With a bias there is no such channel from place to place: the
exemplar can only be *described*, in 128 numbers, and the U-Net must draw from that description.
""")

md(r"""
### Any query will do

**Predict.** Overwrite to_q and to_k of every cross-attention with random numbers and paint.
What happens to the naive model's picture? And to the bottleneck's?

**Idea.** If the weights are 1 for any query and key, random ones change nothing.

$$\mathrm{attn}(x, c) = W_o W_v\, c + b_o \quad \text{for all } W_q: (d, d),\; W_k: (d, D)$$
""")

code(r"""
from pbe_lite.evaluate import paint_pairs, read_results, score
from pbe_lite.pairs import make_pair

pairs = [make_pair(2 * i) for i in range(N_PAIRS)]  # even: seen objects


def using(pipe, unet):
    "The pipeline with another U-Net."
    new = PaintByExamplePipeline(pipe.vae, pipe.image_encoder, unet,
                                 pipe.scheduler, *pipe.defaults())
    new.set_progress_bar_config(disable=True)
    return new


def scramble(unet):
    unet, draw = copy.deepcopy(unet), torch.Generator().manual_seed(1)
    for name, w in unet.named_parameters():
        if ".attn2.to_q." in name or ".attn2.to_k." in name:
            w.data = w.data.std() * torch.randn(w.shape, generator=draw)
    return unet
""")

md(r"""
Four pairs, two models, each with its own queries and keys and with random ones; the noise is
the same throughout.
""")

code(r"""
four = pairs[:4]
raw = {}
for arm, unet in plain.items():
    for label, net in ((arm, unet), (f"{arm}, random q, k", scramble(unet))):
        raw[label] = paint_pairs(using(pipes[arm], net), four)[0]
rows = [[q.exemplar, *ys] for q, *ys in zip(four, *raw.values())]
plots.grid(rows, ["exemplar", "bottleneck", "random q, k", "naive",
                  "random q, k"], [q.name for q in four], side=1.3)
change = {arm: np.abs(np.subtract(raw[arm], raw[f"{arm}, random q, k"],
                                  dtype=float)) for arm in plain}
for arm, levels in change.items():
    print(f"{arm:<12}largest change {levels.max():.0f} levels,"
          f" mean {levels.mean():.2f}")
assert change["bottleneck"].max() <= 1 and change["naive"].mean() > 1
""")

md(r"""
**What to notice.** The two bottleneck pictures are the same; the naive model's picture
breaks. <!-- TODO(measure): what does "random q, k" of naive look like? -->
""")

# ----------------------------------------------------------------------- gradients

md(r"""
### Queries and keys never learn

**Predict.** If the output does not depend on to_q, what is its gradient?

**Idea.** The derivative of a softmax weight $w_j$ by a score $s_k$ is $w_j$ times something
that vanishes when there is one token. The chain rule hands on that zero to to_q, to to_k and
to the layer norm before to_q.

$$\frac{\partial w_j}{\partial s_k} = w_j (\delta_{jk} - w_k)
\;\overset{T=1}{=}\; 1 \cdot (1 - 1) = 0, \qquad
\frac{\partial L}{\partial W_q} = \sum_{i} \frac{\partial L}{\partial w_i}
\frac{\partial w_i}{\partial s_i} \frac{\partial s_i}{\partial W_q} = 0$$
""")

code(r"""
PARTS = {"norm2": ".transformer_blocks.0.norm2.", "to_q": ".attn2.to_q.",
         "to_k": ".attn2.to_k.", "to_v": ".attn2.to_v.",
         "to_out": ".attn2.to_out."}


def gradients(arm, processor):
    "Largest |gradient| of each part, over all layers, for the 16 samples."
    unet = copy.deepcopy(pipes[arm].unet).requires_grad_(True)
    unet.set_attn_processor(processor)
    guess = unet(inputs, t, conditions[arm]).sample
    (guess - z).square().mean().backward()
    return {part: max(w.grad.abs().max().item()
                      for name, w in unet.named_parameters() if key in name)
            for part, key in PARTS.items()}
""")

md(r"""
Three times the same samples and loss: one token with plain attention, one token with the
fused kernel, all tokens.
""")

code(r"""
grads = {"1 token": gradients("bottleneck", kinds.AttnProcessor()),
         "1 token, fused": gradients("bottleneck", kinds.AttnProcessor2_0()),
         "65 tokens": gradients("naive", kinds.AttnProcessor())}
print(f"{'largest |gradient|':<20}" + "".join(f"{part:>10}" for part in PARTS))
for row, values in grads.items():
    print(f"{row:<20}" + "".join(f"{v:10.1e}" for v in values.values()))
one, fused, many = grads.values()
for part in ("norm2", "to_q", "to_k"):
    assert one[part] == 0  # exactly
    assert fused[part] < 1e-3 * fused["to_v"]
    assert many[part] > 100 * fused[part]
assert min(one["to_v"], one["to_out"]) > 0
""")

md(r"""
**What to notice.** With one token the three gradients are exactly zero, not small. With 65
they are not. The middle row uses PyTorch's *fused* attention, which recomputes the softmax on
the way back: it may leave a rounding error in place of the zero. Adam and Muon divide by the
size of the gradient, so even that dust could move the weights.
<!-- TODO(measure): does the fused row show non-zero values on this machine? -->
""")

md(r"""
In the paper's model it is the same (verified: a user's training log of it shows zero
gradients there). The mapper's own attention has one token as well:
""")

code(r"""
encoder = copy.deepcopy(pipes["bottleneck"].image_encoder)
for block in encoder.mapper.blocks:
    block.attn1.set_processor(kinds.AttnProcessor())
encoder.zero_grad()
encoder(exemplar).square().sum().backward()
for name, w in encoder.mapper.named_parameters():
    if ".attn1." in name and name.endswith("weight"):
        print(f"{name:<32}largest |gradient| {w.grad.abs().max():.1e}")
    idle = ".to_q." in name or ".to_k." in name
    assert (w.grad.abs().max() == 0) == idle, name
""")

md(r"""
**What to notice.** The same zeros, in weights and biases alike. Everything else in the mapper
learns.
""")

# ----------------------------------------------------------------------------- fold

md(r"""
### Fold it away

**Predict.** If cross-attention is a bias, how often in 25 sampling steps must it be computed?

**Idea.** Once. Neither picture nor timestep enters, so we can put one fixed vector in place of
each layer *before* sampling. This makes the model a class-conditional U-Net, whose "class" is
a point in a space of 128 numbers.

$$\mathrm{bias}_l = W_o^{(l)} W_v^{(l)}\, c + b_o^{(l)}: (B, 1, d_l)
\qquad \text{for each cross-attention layer } l$$
""")

code(r"""
class Bias:
    "In place of a cross-attention: add one vector, (B, 1, d), everywhere."

    def __init__(self, vector):
        self.vector = vector

    def __call__(self, attn, hidden_states, **kwargs):
        return self.vector.expand(-1, hidden_states.shape[1], -1)


@torch.no_grad()
def with_biases(unet, c):
    "A copy of the U-Net that has c: (B, 1, D) built in."
    unet = copy.deepcopy(unet)
    for block in unet.modules():
        if isinstance(block, BasicTransformerBlock):
            attn = block.attn2
            attn.set_processor(Bias(attn.to_out[0](attn.to_v(c))))
    return unet
""")

md(r"""
The biases are computed before sampling and stay. Compare the pictures with those of the
package and with those of the full attention:
""")

code(r"""
from pbe_lite.unet import build_unet, fold_one_token

pipe = pipes["bottleneck"]
with torch.no_grad():
    c = pipe.image_encoder(pixels([q.exemplar for q in four]))
ours = paint_pairs(using(pipe, with_biases(plain["bottleneck"], c)), four)[0]
folded = fold_one_token(copy.deepcopy(plain["bottleneck"]))
rivals = {"full attention": raw["bottleneck"],
          "fold_one_token": paint_pairs(using(pipe, folded), four)[0],
          "the pipeline as loaded": paint_pairs(pipe, four)[0]}
for label, pictures in rivals.items():
    gap = np.abs(np.subtract(ours, pictures, dtype=float)).max()
    print(f"biases against {label:<24}largest difference {gap:.0f} levels")
    assert gap <= 2  # rounding, over 25 steps
""")

md(r"""
**What to notice.** One fixed vector a layer gives the very pictures of the full attention. That
is `fold_one_token`, which every class-token model of this course uses. It also freezes to_q, to_k
and the norm before them. Otherwise weight decay, which needs no gradient, would let them
wither.
""")

# -------------------------------------------------------------------- 6 before, after

md(r"""
## 6 · Before and after

**Predict.** The naive model leaks the exemplar's background (lesson 03). What will one token do
to leak, seam, and the share of right objects?

**Idea.** Compare two pairs of models that differ in nothing but the tokens: `naive` with
`bottleneck` (no augmentation), and `naive_augment` with `augment` (both with it). All
were trained from the same prior, on the same samples, with the same seed.
""")

code(r"""
results = read_results("table2")
table = results["rows"]
ROWS = ("copy_paste", "naive", "bottleneck", "naive_augment", "augment",
        "ground_truth")
for metric, label in (("leak", "leak, 1 = copy-paste"),
                      ("seam", "seam, 1 = invisible"),
                      ("right_object", "right object, share")):
    rows = ROWS[1:] if metric == "seam" else ROWS  # its seam is off the scale
    plots.bars({row: table[row]["seen"][metric] for row in rows}, label,
               bar=table["ground_truth"]["seen"][metric]["mean"])
print(f"{results['samples']:,} training samples each, seen objects")
print(f"seam of copy_paste: {table['copy_paste']['seen']['seam']['mean']:.1f}")
""")

md(r"""
**What to notice.** Each bar is the mean over the benchmark's seen pairs with its 95 %
interval; the dashed line is the right answer. The bottleneck cuts the leak, with and without
augmentation, and the seam with it. <!-- TODO(measure): does the seam fall too? what happens to
right object? compare with the printed table below. -->
""")

code(r"""
def compare(before, after, metric, split="seen"):
    a, b = (table[row][split][metric] for row in (before, after))
    apart = a["low"] > b["high"] or b["low"] > a["high"]
    print(f"{metric:<14}{a['mean']:7.2f} -> {b['mean']:6.2f}"
          f"   intervals {'apart' if apart else 'overlap'}")


for before, after in (("naive", "bottleneck"), ("naive_augment", "augment")):
    for split in ("seen", "held_out"):
        print(f"\n{before} -> {after}, {split} objects")
        for metric in ("leak", "seam", "right_object", "clip_score"):
            compare(before, after, metric, split)
leak = {row: table[row]["seen"]["leak"] for row in ROWS}
assert leak["naive"]["low"] > leak["bottleneck"]["high"]
assert leak["copy_paste"]["mean"] == 1 and leak["ground_truth"]["mean"] < .05
""")

md(r"""
**What to notice.** The leak of `naive` is more than twice that of `bottleneck`, and the
intervals are apart. The CLIP score *falls*, as in the paper's own ablation (as recalled,
unverified here): it rewards a pasted exemplar (lesson 07).
<!-- TODO(measure): ratio of the leaks; direction of clip_score;
rows where intervals overlap -->
""")

md(r"""
Tables can hide a lot, so look at pictures. Both models paint the same pairs from the same
noise.
""")

code(r"""
answers = {arm: paint_pairs(pipes[arm], pairs) for arm in plain}  # raw, pasted
columns = [[plots.overlay(q.source.image, q.hole) for q in pairs],
           [q.exemplar for q in pairs], [q.pasted for q in pairs],
           answers["naive"][1], answers["bottleneck"][1],
           [q.truth.image for q in pairs]]
plots.grid(list(zip(*columns))[1:7],
           ["hole", "exemplar", "copy-paste", "naive", "bottleneck",
            "right answer"],
           [q.name for q in pairs[1:7]], side=1.25);
""")

md(r"""
**What to notice.** Compare each *naive* picture with *copy-paste*: around the object stands a
patch in the colours of the exemplar's wall. The *bottleneck* goes on with the scene's own wall
and floor; the object itself is less exact. <!-- TODO(measure): true for these six? -->
""")

md(r"""
The same in numbers. Since the pairs and the noise are shared, we may take the difference
pair by pair, which is a sharper test than two separate means.
""")

code(r"""
live = {arm: score(pairs, *answers[arm]) for arm in answers}
print(f"naive minus bottleneck, over the same {N_PAIRS} pairs:")
for metric in ("leak", "seam", "right_object"):
    v = metrics.bootstrap(live["naive"][metric] - live["bottleneck"][metric])
    naive, single = (np.nanmean(live[arm][metric])
                     for arm in ("naive", "bottleneck"))
    print(f"{metric:<14}{naive:.2f} - {single:.2f}: {v['mean']:+.2f}, "
          f"95 % interval {v['low']:+.2f} to {v['high']:+.2f}")
assert np.nanmean(live["bottleneck"]["leak"]) < .5  # copy-paste: 1
""")

md(r"""
**What to notice.** A difference whose interval leaves out 0 is no accident of these pairs.
<!-- TODO(measure): which of the three differences leave out 0? -->
""")

# ------------------------------------------------------------------------ intervention

md(r"""
### Change nothing but the exemplar's background

**Predict.** Cut the exemplar's object out and put it on another table. The object, its pose and
the light on it stay; its shadow is lost. Paint again from the same noise. How far does
the *table* in the result move?

**Idea.** The right answer does not change at all. Whatever changes in the hole, away from
the object, was carried over from the exemplar's background: cause and effect, not correlation.

$$\text{carried} = \mathrm{mean}_{p \in P}\; d(y_p, y'_p), \qquad
P: \text{hole pixels off the object}, \quad y, y': (S, S, 3)$$
""")

code(r"""
from pbe_lite.baselines import copy_paste


def swap_background(i, pair):
    "Pair i of the benchmark, its exemplar's object put on another table."
    there = Scene(HELD_OUT_SEEDS[(i + 250) % 500]).with_object(pair.name)
    r = there.render(LITE.resolution)
    as_it_was = crop_box(Image.fromarray(r.image), r.box)
    assert np.array_equal(as_it_was, pair.exemplar)
    a, new = r.alpha[..., None], Scene(FRESH + i).render(LITE.resolution).clean
    mixed = (a * r.image + (1 - a) * new).round().astype(np.uint8)
    return pair._replace(exemplar=crop_box(Image.fromarray(mixed), r.box))


swapped = [swap_background(2 * i, q) for i, q in enumerate(pairs[:24])]
again = {arm: paint_pairs(pipes[arm], swapped)[1] for arm in answers}
pasted = [copy_paste(q.source.image, q.hole, q.exemplar) for q in swapped]
""")

md(r"""
First the pictures: the left half with the exemplar as it was, the right half on its new
background. Then the number, with copy-paste as the yardstick.
""")

code(r"""
def carried(before, after):
    return [metrics.distance(a, b)[q.hole & (q.truth.alpha < .02)].mean()
            for a, b, q in zip(before, after, swapped)]


rows = [[q.exemplar, answers["naive"][1][i], answers["bottleneck"][1][i],
         swapped[i].exemplar, again["naive"][i], again["bottleneck"][i]]
        for i, q in enumerate(pairs[:4])]
plots.grid(rows, ["exemplar", "naive", "bottleneck"] * 2, side=1.25)
moved = {"copy-paste": carried([q.pasted for q in pairs], pasted)}
moved |= {arm: carried(answers[arm][1], again[arm]) for arm in again}
plots.bars({row: metrics.bootstrap(v) for row, v in moved.items()},
           "change of the table in the result, 8-bit levels")
assert np.mean(moved["bottleneck"]) < np.mean(moved["naive"])
""")

md(r"""
**What to notice.** The bars tell how many levels the table in the hole moves when only the
exemplar's background does. Copy-paste carries all of it, the naive model a good part, the
bottleneck little. Little is not nothing: section 2 found some background in the class token,
too. Removing that is a job for augmentation (lesson 05).
<!-- TODO(measure): the three bars; is bottleneck well below naive? -->
""")

# ----------------------------------------------------------------------------- 7 price

md(r"""
## 7 · The price

**Predict.** One token says *what* the thing is. Which two objects of our world will it find
hardest to tell apart?

**Idea.** Average the class tokens of each object over its three scenes, and look for the pairs
of objects whose averages are closest.

$$\bar h_a = \tfrac{1}{3} \sum_{s=1}^{3} \frac{h_0^{(a, s)}}{\lVert h_0^{(a, s)} \rVert},
\qquad \text{likeness}(a, b) = \cos(\bar h_a, \bar h_b), \qquad \bar h: (128,)$$
""")

code(r"""
one = F.normalize(torch.stack([hq[:, 0], hg[::2, 0], hg[1::2, 0]]), dim=-1)
centre = F.normalize(one.mean(0)[:int(seen.sum())], dim=-1)  # trained names
likeness = (centre @ centre.T).triu(1)
alike, used = [], set()
for flat in likeness.flatten().argsort(descending=True).tolist():
    couple = divmod(flat, len(centre))
    if len(alike) < N_COUPLES and not used & set(couple):
        alike.append(couple)
        used |= set(couple)
shuffled = np.random.default_rng(0).permutation(len(centre))[:2 * N_COUPLES]
unlike = [tuple(couple) for couple in shuffled.reshape(-1, 2).tolist()]
mean = {}
for kind, couples in (("alike", alike), ("any two", unlike)):
    mean[kind] = np.mean([likeness[min(c), max(c)].item() for c in couples])
    print(f"{kind:<9}{mean[kind]:.2f}", *(f"{names[a]} / {names[b]}"
                                          for a, b in couples[:3]), sep="   ")
assert mean["alike"] > mean["any two"] + .1
""")

code(r"""
first = alike[:8]
plots.grid([[queries[c[k]] for c in first] for k in (0, 1)],
           [f"{likeness[c]:.2f}" for c in first], side=1.1);
""")

md(r"""
**What to notice.** Each column is a couple that the class token takes for nearly the same
thing; the number is their likeness. They are not the same to you.
<!-- TODO(measure): name one or two couples that show up -->
""")

md(r"""
### Ask for one, get the other

**Predict.** Ask the models for each of the two, in the same scene and from the same noise. Do you
get what you asked for?

**Idea.** Two captions compete for each result: the object asked for and its partner. The
larger cosine wins. Guessing gives one half; the right answer shows what the judge itself can
tell.

$$\text{told apart} = \mathrm{mean}\, \big[\, \phi(y)^\top \psi(\text{asked}) >
\phi(y)^\top \psi(\text{partner}) \,\big], \qquad \phi, \psi: (128,) \text{ unit vectors}$$
""")

code(r"""
def ask_both(couples, pipe=None):
    "Pictures of the first and of the second objects; no pipe: the truth."
    if pipe is None:
        return [[Scene(HELD_OUT_SEEDS[2 * i]).with_object(names[c[k]])
                 .render(LITE.resolution).image for i, c in enumerate(couples)]
                for k in (0, 1)]
    return [paint_pairs(pipe, [q._replace(exemplar=queries[c[k]])
                               for q, c in zip(pairs, couples)])[1]
            for k in (0, 1)]


@torch.no_grad()
def told_apart(couples, pictures):
    "1 where the object asked for wins: (2 N,)."
    boxes = [q.box for q in pairs[:len(couples)]]
    phi = [embed(clip, map(Image.fromarray, ys), boxes) for ys in pictures]
    psi = [text_features(clip, tokenizer, [names[c[k]] for c in couples])
           for k in (0, 1)]
    lead = psi[0] - psi[1]
    return torch.cat([(phi[0] * lead).sum(1), -(phi[1] * lead).sum(1)]) > 0
""")

md(r"""
`told_apart` gives 1 or 0 for each picture. The judge is the lite CLIP, which also makes the
class token: where the token is blind, the judge may be too. That is why the right answer
needs a bar of its own.
""")

code(r"""
judged, painted = {}, {}
for row, pipe in (("right answer", None), ("naive", pipes["naive"]),
                  ("bottleneck", pipes["bottleneck"])):
    for kind, couples in (("alike", alike), ("any two", unlike)):
        painted[row, kind] = ask_both(couples, pipe)
        judged[f"{kind}: {row}"] = metrics.bootstrap(
            told_apart(couples, painted[row, kind]))
plots.bars(dict(sorted(judged.items())), "share told apart, .5 = guessing",
           bar=.5)
assert judged["any two: right answer"]["mean"] >= .75
""")

md(r"""
**What to notice.** Top three bars: couples that look alike to the class token; lower three:
any two objects. The right answer is nearly always told apart. The models lose most where the
token itself can hardly tell. <!-- TODO(measure): compare the four model bars; does naive tell
"alike" couples apart better than bottleneck? -->
""")

code(r"""
rows = [[cell for k in (0, 1) for cell in (
            queries[c[k]], painted["bottleneck", "alike"][k][i],
            painted["right answer", "alike"][k][i])]
        for i, c in enumerate(alike[:4])]
plots.grid(rows, ["exemplar A", "bottleneck", "right answer",
                  "exemplar B", "bottleneck", "right answer"], side=1.25);
""")

md(r"""
**What to notice.** Left and right of each row: the same scene and noise, two exemplars that
are alike. The kind of thing is right, its own marks are lost.
<!-- TODO(measure): does the grid show that? -->
""")

md(r"""
Readers of the paper report the same: a particular robot goes in, some other robot comes out.
A third party's leaderboard (verified) puts numbers on it for photographs. DINO compares fine
structure, CLIP the meaning:

| method | tokens | foreground CLIP | foreground DINO |
|---|---|---|---|
| Paint by Example | 1 | 84.84 | 52.52 |
| ObjectStitch, re-implemented | 257 | 85.97 | 61.12 |

One token costs little meaning and much identity. Lesson 10 asks how many tokens one can
afford.
""")

# ------------------------------------------------------------------------- exercises

md(r"""
## Exercises

Two tools for the checks: the time of one call of a U-Net, and pictures painted from given
conditions.
""")

code(r"""
from pbe_lite.triplets import to_signed


@torch.no_grad()
def milliseconds(unet, runs=9):
    "Median time of one call, for the 16 samples of section 5."
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        unet(inputs, t, conditions["bottleneck"])
        times.append(1000 * (time.perf_counter() - start))
    return np.median(times)


def paint_strip(pipe, pair, c):
    "One picture for each condition of c: (B, 1, D), from the same noise."
    image, hole = to_signed(pair.source.image), torch.from_numpy(pair.hole)
    return pipe.paint(image.expand(len(c), -1, -1, -1),
                      hole.expand(len(c), 1, -1, -1), None,
                      pipe.noise([0] * len(c)), condition=c)
""")

md(r"""
### Exercise 1 · What the fold saves (easy, 10 minutes)

Write `idle(unet)`: how many parameters of a U-Net never get a gradient when the condition is one
token? Count to_q, to_k and the norm before to_q in each transformer block. The check
compares with `fold_one_token` for the lite and the paper's U-Net, then measures the time.
""")

code(r"""
def idle(unet):
    return None  # your lines


def check_idle(count):
    for preset in (LITE, FULL):
        with torch.device("meta"):
            unet = build_unet(preset)
        answer, total = count(unet), sum(w.numel() for w in unet.parameters())
        if answer is None:
            return print("not solved yet")
        frozen = [w for w in fold_one_token(unet).parameters()
                  if not w.requires_grad]
        assert answer == sum(w.numel() for w in frozen), preset.name
        print(f"{preset.name}: {answer:,} of {total:,}, {answer / total:.1%}")
    full, short = map(milliseconds, (plain["bottleneck"], folded))
    print(f"correct; 16 samples take {full:.0f} ms, folded {short:.0f} ms")


check_idle(idle)
""")

md(r"""
<details><summary>Hint 1</summary>

Blocks are `BasicTransformerBlock`s among `unet.modules()`; look at `attn2` and `norm2`.

</details>
<details><summary>Hint 2</summary>

Beware of going by name alone: the convolutional blocks have a `norm2` as well.

</details>
<details><summary>Solution</summary>

```python
def idle(unet):
    parts = [part for block in unet.modules()
             if isinstance(block, BasicTransformerBlock)
             for part in (block.attn2.to_q, block.attn2.to_k, block.norm2)]
    return sum(w.numel() for part in parts for w in part.parameters())
```

The share is a few per cent in either model. Nobody folds for the memory: one folds because
weights without a gradient should not be in an optimiser.
<!-- TODO(measure): solve it once; are both shares a few per cent, and is the time saved small? -->

</details>
""")

md(r"""
### Exercise 2 · Between two things (medium, 15 minutes)

The condition is a point in a space. What lies between two objects? Write `between`: mix two
class tokens, *then* map them to a condition with `condition_of`. The check tests your
function and paints a strip with the shipped `final` model.
""")

code(r"""
def between(encoder, h_a, h_b, s):
    "Class tokens (1, 128), s = 0 (a) to 1 (b) -> condition (1, 1, 128)."
    return None  # your lines


def check_between(mix, a="duck", b="elephant", pair=pairs[1]):
    pipe = pipes["final"]
    ea, eb = (pixels([crops[OBJECTS.index(n) * N_CROPS]]) for n in (a, b))
    ha, hb = tokens(ea)[:, 0], tokens(eb)[:, 0]
    at = lambda s: mix(pipe.image_encoder, ha, hb, s)
    if at(0) is None:
        return print("not solved yet")
    with torch.no_grad():
        ends = [pipe.image_encoder(e) for e in (ea, eb)]
    same = lambda v, w: torch.allclose(v, w, atol=1e-3, rtol=1e-3)
    assert same(at(0), ends[0]) and same(at(1), ends[1]), "the ends are wrong"
    assert not same(at(.5), sum(ends) / 2), "mix before the mapper, not after"
    steps = [0, .25, .5, .75, 1]
    c = torch.cat([at(s) for s in steps])
    plots.strip(paint_strip(pipe, pair, c), steps)
    print("correct")


check_between(between)
""")

md(r"""
<details><summary>Hint 1</summary>

A mix of two vectors: `(1 - s) * h_a + s * h_b`.

</details>
<details><summary>Hint 2</summary>

`condition_of(encoder, u)` takes class tokens of shape (B, 128), which is what you have.

</details>
<details><summary>Solution</summary>

```python
def between(encoder, h_a, h_b, s):
    return condition_of(encoder, (1 - s) * h_a + s * h_b)
```

Look where the strip changes: gradually, or in one leap? No training exemplar ever lay in the
middle.

</details>
""")

md(r"""
### Exercise 3 · One matrix (harder, 20 minutes)

All that the exemplar tells the U-Net goes through biases, and each bias is linear in the condition.
Stack them: find $M: (\sum_l d_l, D)$ and $b: (\sum_l d_l,)$ so that all biases together are
$M c + b$, layers in the order of `layers`. The check compares with what the real
cross-attentions put out.
""")

code(r"""
def one_matrix(unet):
    return None  # your lines: M, b


def check_matrix(build):
    answer = build(plain["bottleneck"])
    if answer is None:
        return print("not solved yet")
    M, b = (v.detach() for v in answer)
    c = conditions["bottleneck"]
    heard = listen(plain["bottleneck"], c)
    truth = torch.cat([heard[name][1][:, 0] for name in layers], 1)
    assert M.shape == (truth.shape[1], c.shape[2]), f"M is {tuple(M.shape)}"
    assert torch.allclose(c[:, 0] @ M.T + b, truth, atol=1e-3, rtol=1e-3)
    print(f"correct: {len(layers)} layers, M {tuple(M.shape)}, "
          f"rank {torch.linalg.matrix_rank(M)}")


check_matrix(one_matrix)
""")

md(r"""
<details><summary>Hint 1</summary>

`unet.get_submodule(name)` for `name` in `layers` gives each attention.

</details>
<details><summary>Hint 2</summary>

For one layer the matrix is the product of two weights, `to_out[0].weight @ to_v.weight`.
`to_v` has no bias.

</details>
<details><summary>Hint 3</summary>

`torch.cat` over the layers stacks the rows.

</details>
<details><summary>Solution</summary>

```python
def one_matrix(unet):
    attns = [unet.get_submodule(name) for name in layers]
    M = torch.cat([a.to_out[0].weight @ a.to_v.weight for a in attns])
    b = torch.cat([a.to_out[0].bias for a in attns])
    return M, b
```

The rank cannot exceed the width of the condition: there are many bias values, but only so many
ways to move them. This is the whole channel from the exemplar to the picture.

</details>
""")

md(r"""
## What you take along

- The class token keeps *what* a thing is and loses much of how it stands and what is behind
  it. All tokens together hold enough to paste.
- On one token the mapper is an MLP, and cross-attention is a bias: the softmax of one number
  is 1, so to_q and to_k get exactly zero gradient. A bias knows no places: it can describe
  the exemplar, not hand it over.
- Measured: the leak falls, and another background of the exemplar hardly changes the result.
- The price is identity: things that look alike to the token are painted alike.

A little background still comes through. And in training the exemplar is still cut from the
very picture to be painted, in the same pose. **Next: [05 · Augmentation](05_augmentation.ipynb)**
changes that. Back to [03 · The copy-paste failure](03_copy_paste_failure.ipynb).
<!-- TODO(measure): do the bullets agree with what came out above? -->
""")

NOTEBOOK = {
    "cells": CELLS,
    "metadata": {
        "kernelspec": {"display_name": "Python 3", "language": "python",
                       "name": "python3"},
        "language_info": {"name": "python"},
    },
    "nbformat": 4,
    "nbformat_minor": 5,
}

if __name__ == "__main__":
    with open("/tmp/drafts/04_class_token_bottleneck.ipynb", "w") as f:
        json.dump(NOTEBOOK, f, indent=1, ensure_ascii=False)
        f.write("\n")
