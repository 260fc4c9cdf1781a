"""Writes /tmp/drafts/10_limits_and_beyond.ipynb (system python3, json only)."""

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
# 10 · Limits and beyond

**Question.** How much of *this very thing* survives one token, how many tokens can one
afford, and what do newer systems do instead?

**Goals.** After this lesson you can

- compare seen and held-out objects with a judge that is fair to both;
- take identity apart into kind, colour and places, and measure what arrives of each;
- build bottlenecks of 1, 4, 16 and 64 tokens, and say what each of them holds and leaks;
- name three ways to keep a model from pasting, and find them in newer systems.

**Time.** About 60 minutes to read and try; about 3 minutes to run on 2 CPU cores.

**Needs.** Lessons 03 and 04; 05 to 07 help. From the repository: `clip`, `prior`, `naive`,
`bottleneck` and `final` in `data/weights`; `final`, `table2` and `width` in
`data/results`. No GPU, no network.
""")

code(r"""
import os

os.environ["TQDM_DISABLE"] = "1"  # no progress bars in this page

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
set_matplotlib_formats("jpeg", pil_kwargs={"quality": 75})
PROFILE = profile()  # PBE_PROFILE: smoke, laptop or gpu
EVERY, ROUNDS, N_LOOKS, N_FIT, N_CROPS, STEPS, N_PAIRS = {
    "smoke": (5, 1, 2, 250, 4, 6, 6), "laptop": (1, 2, 8, 900, 8, 80, 40),
    "gpu": (1, 5, 20, 2000, 12, 400, 200)}[PROFILE]
print(f"profile {PROFILE}: {40 // EVERY * ROUNDS} edits a set, {STEPS} steps")
""")

# ------------------------------------------------------------------ 1 robot problem

md(r"""
## 1 · The robot problem

**Predict.** Readers of the paper report that a *particular* robot goes in, and some *other*
robot comes out. Our hardest case are the 40 held-out objects, which no model here has ever
trained on. How often will `final` paint them right, compared with objects it has seen?

**Idea.** The benchmark asks for both kinds, 200 pairs each. So the answer should be a matter
of reading two numbers.
""")

code(r"""
from pbe_lite import evaluate


def show(v, digits=2):
    mean, low, high = (f"{v[k]:.{digits}f}" for k in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


stored = evaluate.read_results("final")["rows"]
for row in ("copy_paste", "final", "ground_truth"):
    for split in ("seen", "held_out"):
        v = stored[row][split]["right_object"]
        print(f"{row:<13}{split:<10}right object {show(v)}")
""")

md(r"""
**What to notice.** By these numbers the held-out objects come out *better*. Be suspicious:
even copy-paste and the right answers score differently in the two halves.
The exams differ. A seen object must be found among 380 captions; a held-out one, for which no
caption was ever trained, among 40 mean pictures. One in 40 is easier than one in 380.
""")

md(r"""
### The same exam for both

**Predict.** Which of the two will be ahead when both sit the same exam?

**Idea.** Give each held-out object a *neighbour*, the next object in the list: it was seen in
training, and is often of the same sort. Ask for both in the same scene, from the same noise.
Judge each among 40 mean pictures.

$$\bar\phi_n = \frac{\sum_{k=1}^{8} \phi(x_{n, k})}{\lVert \sum_k \phi(x_{n, k}) \rVert},
\qquad \hat n(y) = \arg\max_n \; \bar\phi_n^\top\, \phi(y_{\text{box}}), \qquad
\bar\phi: (40, 128), \quad \phi(y_{\text{box}}): (128,)$$
""")

code(r"""
from pbe_lite.clip import embed, load_clip
from pbe_lite.tabletop import HELD_OUT_SEEDS, Scene, object_names

clip, _ = load_clip()
S, E = LITE.resolution, LITE.exemplar_size
every, held = object_names(), object_names("held_out")
near = [every[every.index(name) + 1] for name in held]
SETS = {"seen": near, "held-out": held}
print(*(f"{a} / {b}" for a, b in zip(near, held[:9])), sep=", ")
assert len(set(near)) == len(held) == 40
assert set(near) <= set(object_names("train"))
""")

md(r"""
**What to notice.** Some neighbours are siblings, others only stand beside each other. So over
all 40 neither set should be much harder to draw than the other.

Now the judge, built from scratch. Its held-out half must equal the benchmark's.
""")

code(r"""
def mean_features(names):
    "Of 8 pictures of each object: (N, 128), unit vectors."
    rows = []
    for name in names:
        shots = [Scene(seed).with_object(name).render(S)
                 for seed in evaluate.GALLERY_SEEDS]
        phi = embed(clip, [Image.fromarray(r.image) for r in shots],
                    [r.box for r in shots])
        rows.append(F.normalize(phi.mean(0), dim=0))
    return torch.stack(rows)


judge = {which: mean_features(names) for which, names in SETS.items()}
theirs = evaluate.galleries()["held_out"][1]
assert torch.allclose(judge["held-out"], theirs, atol=1e-4)
print({which: tuple(phi.shape) for which, phi in judge.items()})
""")

md(r"""
**What to notice.** The same rule for both sets. CLIP itself has been trained on the seen
names only, so the right answers get a row of their own: they show what the judge can tell.

The questions are made as the benchmark makes them, but with an object of our choice.
""")

code(r"""
from pbe_lite.masks import box_mask
from pbe_lite.pairs import Pair, around
from pbe_lite.triplets import crop_box


def question(seed, name, look=lambda r: r.image, pose=None):
    "A held-out scene, its hole, an exemplar from another scene."
    scene, other = Scene(seed), Scene((seed + 250) % len(HELD_OUT_SEEDS))
    before, truth = scene.render(S), scene.with_object(name).render(S)
    shown = other.with_object(name, pose).render(S)
    box = around((before.box, truth.box), .1)
    exemplar = crop_box(Image.fromarray(look(shown)), shown.box)
    truth = truth._replace(image=look(truth))
    return Pair("", name, before, truth, box_mask(box, S) > 0, box,
                exemplar, None, None)
""")

md(r"""
`look` and `pose` wait for section 2. Here they do nothing: the exemplar is as it was rendered,
in a pose of its own.
""")

code(r"""
from pbe_lite.pipeline import PaintByExamplePipeline


def load(arm):
    pipe = PaintByExamplePipeline.from_pretrained(DATA / "weights" / arm)
    pipe.set_progress_bar_config(disable=True)
    return pipe


pipes = {arm: load(arm) for arm in ("naive", "bottleneck", "final")}
wanted = [j for _ in range(ROUNDS) for j in range(0, 40, EVERY)]
asked = {which: [question(i, names[j]) for i, j in enumerate(wanted)]
         for which, names in SETS.items()}
answers = {which: evaluate.paint_pairs(pipes["final"], qs)[1]
           for which, qs in asked.items()}
print({which: len(ys) for which, ys in answers.items()}, "edits by final")
""")

md(r"""
Left: neighbours, seen in training. Right: held-out objects, in the same scenes and from the
same noise.
""")

code(r"""
chosen = range(0, 40 // EVERY, max(1, 40 // EVERY // 6))[:6]
rows = [[cell for which in SETS for cell in (
            asked[which][i].exemplar, answers[which][i],
            asked[which][i].answer)] for i in chosen]
plots.grid(rows, ["seen", "final", "right answer",
                  "held-out", "final", "right answer"],
           [asked["held-out"][i].name for i in chosen], side=1.2);
""")

md(r"""
**What to notice.** On both sides the scene goes on, the shadow is there and the colours are
about right. What is wrong is the drawing of the *thing*, its outline and parts. Is one side
worse than the other? Decide before you read on.
""")

code(r"""
def nearest(pairs, pictures, features):
    "Index of the nearest mean picture, one an answer: (N,)."
    phi = evaluate.box_features(pairs, pictures)
    return (phi @ features.T).argmax(1).numpy()


hits = {}
for which, qs in asked.items():
    for row, ys in (("final", answers[which]),
                    ("right answer", [q.answer for q in qs])):
        hits[f"{which}: {row}"] = nearest(qs, ys, judge[which]) == wanted
share = {row: metrics.bootstrap(hit) for row, hit in hits.items()}
plots.bars(share, "right object among 40, share", bar=1 / 40)
gap = hits["seen: final"].astype(float) - hits["held-out: final"]
print(f"final, seen minus held-out: {show(metrics.bootstrap(gap))}")
assert min(share[f"{which}: right answer"]["mean"] for which in SETS) > .6
""")

md(r"""
**What to notice.** The dashed line is guessing, the lines on the bars are 95 % intervals. In
the same exam the two sets are level, and 0 lies in the middle of the difference's interval.
Having drawn a thing before does not help: this model keeps no store of drawings. It paints
what the token says, whoever the token belongs to.
""")

md(r"""
### Where do the misses go?

**Predict.** When a held-out object comes out wrong, does it come out as *anything*, or as
something in particular?

**Idea.** Put both sets into one exam of 80 and look at what the judge takes each answer for.

$$\text{taken for a seen object} = \mathrm{mean}\, \big[\, \hat n(y) \in \text{seen} \,\big],
\qquad \bar\phi: (80, 128)$$
""")

code(r"""
labels, both = near + held, torch.cat(list(judge.values()))
qs, taken = asked["held-out"], {}
for row, ys in (("final", answers["held-out"]),
                ("right answer", [q.answer for q in qs])):
    taken[row] = nearest(qs, ys, both)
    print(f"{row:<13}taken for a seen object: {np.mean(taken[row] < 40):.2f}")
misses = [(q.name, labels[n]) for q, n in zip(qs, taken["final"])
          if labels[n] != q.name]
print(*(f"{a} -> {b}" for a, b in misses[:12]), sep="\n")
assert np.mean(taken["right answer"] < 40) < .5
""")

md(r"""
**What to notice.** Few misses land on a seen object, hardly more than the judge's own errors on
right answers. The model does not fall back on what it knows. Read the list: some misses are
relatives by kind, more are relatives by *colour and bulk*, brown for brown, round for round.

So the complaint "some other robot" has two halves. That of the unknown object does not show
here. The other half: what of *this* thing, beyond its name, gets through?
""")

# ------------------------------------------------------------------- 2 below the name

md(r"""
## 2 · Below the name

**Predict.** Our world has one duck, the real one has millions. Take a duck that is green all
over, one that is magenta all over, and one that is green on the left and magenta on the right.
Which of these get through a single token?

**Idea.** Ask twice, with two *looks* of the same thing, same scene and noise. Whatever differs
between the two answers has come from the exemplar. Compare that difference with the right one.

$$\text{arrived} = \frac{\big\langle f(y_a) - f(y_b),\; f(y^\star_a) - f(y^\star_b)
\big\rangle}{\lVert f(y^\star_a) - f(y^\star_b) \rVert^2}, \qquad f: (3,)$$

*Colour*: *f* is the object's mean colour, all green against all magenta. *Places*: *f* is the
left half's mean minus the right half's, green | magenta against magenta | green. 1 is all, 0
is nothing.
""")

code(r"""
GREEN, MAGENTA = (.5, 1.3, .5), (1.3, .5, 1.3)


def dyed(left, right):
    "A look: the object in grey, then dyed left and right of its middle."
    def look(r):
        middle = S * (r.box[0] + r.box[2]) / 2
        on_left = (np.arange(S) < middle)[None, :, None]
        grey = 70 + .6 * r.image.mean(-1, keepdims=True)
        alpha = r.alpha[..., None]
        mixed = (alpha * grey * np.where(on_left, left, right)
                 + (1 - alpha) * r.image)
        return mixed.clip(0, 255).astype(np.uint8)
    return look


LOOKS = {"green": dyed(GREEN, GREEN), "magenta": dyed(MAGENTA, MAGENTA),
         "green | magenta": dyed(GREEN, MAGENTA),
         "magenta | green": dyed(MAGENTA, GREEN)}
""")

md(r"""
The exemplar now stands in the *same pose* as the right answer, so that left is left in both.
Wall, floor and light are still another scene's. Half of the subjects are seen objects, half
are held out.
""")

code(r"""
step = 40 // N_LOOKS
subjects = near[::step][:N_LOOKS] + held[::step][:N_LOOKS]
worn = {look: [question(200 + i, name, f, Scene(200 + i).pose)
               for i, name in enumerate(subjects)]
        for look, f in LOOKS.items()}
got = {arm: {look: evaluate.paint_pairs(pipe, qs)[1]
             for look, qs in worn.items()} for arm, pipe in pipes.items()}
got["right answer"] = {look: [q.answer for q in qs]
                       for look, qs in worn.items()}
print(f"{len(subjects)} objects x {len(LOOKS)} looks x {len(pipes)} models")
""")

md(r"""
Four looks of one seen object, then four of a held-out one. Follow each row from left to right:
does it change, and in the right place?
""")

code(r"""
columns = [(look, i) for i in (0, N_LOOKS) for look in LOOKS]
rows = [[worn[look][i].exemplar for look, i in columns]]
rows += [[ys[look][i] for look, i in columns] for ys in got.values()]
plots.grid(rows, [look for look, _ in columns], ["exemplar", *got],
           side=1.15);
""")

md(r"""
**What to notice.** The colour comes through everywhere. *Where* it sits comes through the 65
tokens of `naive`, with the frame of lesson 03 around it, and not through one token: those two
columns look the same, a heap of both colours.
""")

code(r"""
def halves(picture, q):
    "Mean colours of the object's left and right half: (2, 3)."
    there, (x0, _, x1, _) = q.truth.alpha > .5, q.truth.box
    on_left = np.arange(S) < S * (x0 + x1) / 2
    return np.array([picture[there & m].mean(0) for m in (on_left, ~on_left)])


PARTS = {"colour": (lambda h: h.mean(0), "green", "magenta"),
         "places": (lambda h: h[0] - h[1], "green | magenta",
                    "magenta | green")}


def differences(ys, part):
    "f(y_a) - f(y_b), one row a subject: (N, 3)."
    f, a, b = PARTS[part]
    return np.array([f(halves(ya, qa)) - f(halves(yb, qb)) for ya, yb, qa, qb
                     in zip(ys[a], ys[b], worn[a], worn[b])])
""")

md(r"""
`differences` is the numerator's left side. The rest is one inner product a subject. The right
answers must give exactly 1.
""")

code(r"""
def arrived(ys, part):
    "Share of the true difference, one number a subject: (N,)."
    true = differences(got["right answer"], part)
    return (differences(ys, part) * true).sum(1) / (true ** 2).sum(1)


for part in PARTS:
    assert np.allclose(arrived(got["right answer"], part), 1)
kept = {f"{part}: {arm}": metrics.bootstrap(arrived(got[arm], part))
        for part in PARTS for arm in pipes}
plots.bars(kept, "share of the difference that arrives", bar=1)
for part in PARTS:
    v = arrived(got["final"], part)
    print(f"final, {part}: seen {v[:N_LOOKS].mean():.2f}, "
          f"held-out {v[N_LOOKS:].mean():.2f}")
assert kept["places: naive"]["mean"] > kept["places: bottleneck"]["mean"]
assert kept["colour: final"]["mean"] > kept["places: final"]["mean"]
""")

md(r"""
**What to notice.** One token carries about three quarters of the colour, even of a colour that
this object never had in training, and of a seen object no more than of a held-out one. Of the
arrangement it carries nothing. A robot with a red arm on the left is, to the token, a robot with
some red in it: that is the robot problem.

So identity is a ladder: *kind*, *colour*, *places*. One token climbs two of three steps. How
many tokens for the third, and at what price?
""")

# ------------------------------------------------------------------------ 3 pooling

md(r"""
## 3 · Bottlenecks of other widths

**Predict.** Between one token and all of them there is room. How would you make *four* tokens
out of 64?

**Idea.** The patch tokens lie on an 8 x 8 grid. Average them over the cells of a coarser grid:
2 x 2, 4 x 4, or keep all 8 x 8. This is *average pooling*; it needs no weights.

$$g_{r, c} = \frac{1}{s^2} \sum_{i, j = 0}^{s - 1} h_{s r + i,\; s c + j}, \qquad
s = \frac{8}{\sqrt T}, \qquad h: (N, 64, d) \;\to\; g: (N, T, d)$$
""")

code(r"""
def pooled(h, T):
    "h: (N, 64, d), row by row -> (N, T, d): means over cells of a grid."
    side = round(T ** .5)
    s = 8 // side
    cells = h.unflatten(1, (side, s, side, s))  # row, in it, column, in it
    return cells.mean((2, 4)).flatten(1, 2)


numbers = torch.arange(64.).view(1, 64, 1)
print("the first row of the grid is", numbers[0, :8, 0].int().tolist())
print("four cells:", pooled(numbers, 4).flatten().tolist())
assert pooled(numbers, 4)[0, 0, 0] == (numbers[0, :4] + 8 * 1.5).mean()
assert torch.equal(pooled(numbers, 64), numbers)
""")

md(r"""
**What to notice.** The upper left cell holds patches 0 to 3, 8 to 11, 16 to 19 and 24 to 27;
their mean is the first number.

A toy first: pool *colours*, that is d = 3.
""")

code(r"""
from pbe_lite.augment import squash
from pbe_lite.triplets import to_signed

WIDTHS = (1, 4, 16, 64)
e = to_signed(squash(asked["held-out"][0].exemplar, E))
patches = F.avg_pool2d(e, 4).flatten(1).T[None]  # (1, 64, 3)
mosaics = [pooled(patches, T)[0].T.unflatten(1, (round(T ** .5),) * 2)
           for T in WIDTHS]
plots.strip([e, *mosaics], ["exemplar", *(f"T = {T}" for T in WIDTHS)])
assert torch.allclose(mosaics[0].flatten(), e.mean((1, 2)), atol=1e-5)
""")

md(r"""
**What to notice.** One cell: a single colour. Four cells: what is up, down, left and right.
Sixteen: the thing begins to show. Tokens are richer than colours: each has 128 numbers and has
looked at all other patches on its way through CLIP.
""")

md(r"""
### The same on CLIP's tokens

**Predict.** T = 1 could be the mean of all 64 patch tokens. The paper, and we, take the class
token instead. Is that the same?

**Idea.** No. CLIP was trained to put the meaning into the class token; the patch tokens only
feed it. So from T = 1 to T = 4 two things change, the number and the *kind* of tokens.

$$g^{(1)} = h_0, \qquad g^{(T)} = \mathrm{pool}_T(h_1 \ldots h_{64}) \;\; (T = 4, 16, 64),
\qquad h: (N, 65, 128)$$
""")

code(r"""
from pbe_lite.exemplar import ExemplarEncoder
from pbe_lite.triplets import CLIP_MEAN, CLIP_STD, to_clip

tower = clip.vision_model


def pixels(crops):
    "PIL images -> (N, 3, 32, 32), normalised for CLIP."
    return torch.stack([to_clip(squash(crop, E)) for crop in crops])


@torch.no_grad()
def tokens(x):
    "x: (N, 3, 32, 32) -> (N, 65, 128), the class token first."
    return torch.cat([tower.post_layernorm(
        tower(pixel_values=part).last_hidden_state) for part in x.split(256)])
""")

md(r"""
`ExemplarEncoder` knows these widths: `tokens` is "class", "all" or one of 4, 16, 64. Its
`features` must be what we have.
""")

code(r"""
def narrowed(h, T):
    "All tokens (N, 65, d) -> the T that get through: (N, T, d)."
    return h[:, :1] if T == 1 else pooled(h[:, 1:], T)


x = pixels([q.exemplar for q in asked["held-out"][:8]])
h = tokens(x)
for T in WIDTHS:
    kind = "class" if T == 1 else T
    encoder = ExemplarEncoder.around(tower, LITE, kind).eval()
    with torch.no_grad():
        theirs = encoder.features(x)
        condition = encoder(x)
    assert torch.allclose(narrowed(h, T), theirs, atol=1e-4)
    print(f"tokens={kind!r:<8} features {tuple(theirs.shape)}, "
          f"condition {tuple(condition.shape)}")
""")

md(r"""
**What to notice.** Everything after the pooling is as before: mapper, layer norm, projection,
cross-attention. With more than one token the softmax is no longer 1, and places choose again.
""")

md(r"""
### A count

**Predict.** At which T does the bottleneck hold as many numbers as the exemplar has?

**Idea.** Below that, something must be forgotten. Above it, nothing *needs* to be.

$$T \cdot d \;\lessgtr\; 3 E^2$$
""")

code(r"""
holds = {}
for preset in (LITE, FULL):
    vision = preset.clip["vision_config"]
    side, patch, d = (vision[key] for key in
                      ("image_size", "patch_size", "hidden_size"))
    given, all_tokens = 3 * side ** 2, 1 + (side // patch) ** 2
    print(f"{preset.name}: an exemplar has {given:,} numbers; T tokens hold")
    for T in (*WIDTHS, all_tokens):
        holds[preset.name, T] = T * d / given
        print(f"    T = {T:<4} {T * d:>9,}  ({T * d / given:.1%})")
assert holds["lite", 16] < 1 < holds["lite", 64]
assert holds["full", 64] < 1 < holds["full", 257]
""")

md(r"""
**What to notice.** By this count, 64 tokens are no bottleneck at all in the miniature, and 16
are a mild one. In the paper's model even 64 would be narrow. So read the curves below for
their *shape*; the number of tokens does not carry over.
""")

# ------------------------------------------------------------------- 4 what they hold

md(r"""
## 4 · What T tokens hold

**Predict.** No U-Net yet, only the frozen CLIP. Five things can be asked of a crop: the
object's name, its colour, the *places* of its colours (left minus right), and colour and places
of the background. Which of the five gain from more tokens, and which do not?

**Idea.** Linear probes as in lesson 04, with two differences: we vary T, and we fit on crops
of *seen* objects and score on *held-out* ones. What can be read of a thing nobody has met?

$$W = \arg\min_W \sum_i \lVert W g_i - y_i \rVert^2 + \alpha \lVert W \rVert^2, \qquad
g: (T \cdot 128,), \quad y: (3,), \quad W: (3,\, T \cdot 128)$$
""")

code(r"""
def facts(r):
    "Known colours of a crop: {property: (3,)}, in 8-bit levels."
    x0, y0, x1, y1 = (round(S * v) for v in r.box)
    image, alpha = r.image[y0:y1, x0:x1], r.alpha[y0:y1, x0:x1]
    on_left = np.arange(x1 - x0) < (x1 - x0) / 2

    def colour(weight):
        weight = weight + 1e-3  # nowhere quite empty
        return (weight[..., None] * image).sum((0, 1)) / weight.sum()

    known = {}
    for what, weight in (("object", alpha), ("background", 1 - alpha)):
        known[f"{what}: colour"] = colour(weight)
        known[f"{what}: places"] = (colour(weight * on_left)
                                    - colour(weight * ~on_left))
    return known
""")

md(r"""
Each crop comes from a scene of its own that no model here has seen: a wall, a floor, a light
and a pose drawn anew.
""")

code(r"""
FRESH = 40_000  # from here on: unused scene seeds


def study(names, first):
    "Crops of names -> pixels (N, 3, 32, 32), tokens (N, 65, 128), facts."
    renders = [Scene(first + i).with_object(name).render(S)
               for i, name in enumerate(names)]
    x = pixels([crop_box(Image.fromarray(r.image), r.box) for r in renders])
    known = [facts(r) for r in renders]
    return x, tokens(x), {key: np.array([k[key] for k in known])
                          for key in known[0]}


draw = np.random.default_rng(0)
names = [str(n) for n in draw.choice(object_names("train"), N_FIT)]
x_fit, h_fit, y_fit = study(names, FRESH)
x_test, h_test, y_test = study(held * N_CROPS, FRESH + N_FIT)
print(f"fitted on {len(x_fit)} crops, tested on {len(x_test)}")
""")

code(r"""
from sklearn.linear_model import Ridge, RidgeCV


def probe(narrow, key):
    "R2 on held-out objects of a linear reader; narrow: h -> (N, T, d)."
    reader = RidgeCV(np.logspace(-1, 6, 15))  # the best alpha, leave-one-out
    reader.fit(narrow(h_fit).flatten(1).numpy(), y_fit[key])
    return reader.score(narrow(h_test).flatten(1).numpy(), y_test[key])


def recognised(narrow):
    "Share of crops nearest to their own object's mean, of 40."
    v = F.normalize(narrow(h_test).flatten(1), dim=1)
    v, half = v.unflatten(0, (N_CROPS, 40)), N_CROPS // 2
    means = F.normalize(v[:half].mean(0), dim=1)  # (40, T * 128)
    hit = (v[half:] @ means.T).argmax(-1) == torch.arange(40)
    return hit.float().mean().item()
""")

md(r"""
The name is asked as in section 1: the nearest of 40 mean vectors, from half of the crops; the
other half is judged.
""")

code(r"""
def width(T):
    return lambda h: narrowed(h, T)


read = {key: [probe(width(T), key) for T in WIDTHS] for key in y_fit}
read["name, share of 40"] = [recognised(width(T)) for T in WIDTHS]


def ticks(fig):
    fig.axes[0].set_xticks(WIDTHS, [str(T) for T in WIDTHS])
    fig.axes[0].minorticks_off()
    return fig.axes[0]


ticks(plots.curves({key: (WIDTHS, v) for key, v in read.items()},
                   "tokens T", "$R^2$, or share right", log_x=True))
print(f"{'T':<20}", *(f"{T:>6}" for T in WIDTHS))
for key, v in read.items():
    print(f"{key:<20}", *(f"{value:6.2f}" for value in v))
""")

md(r"""
Before you read the curves, some checks, and a control: *one* token that is not the class token
but the mean of all patch tokens.
""")

code(r"""
for key in ("object: places", "background: places"):
    assert read[key][2] > read[key][0]  # 16 tokens against the class token
assert read["background: colour"][3] > read["background: colour"][0]
assert read["name, share of 40"][0] > .25  # ten times chance
mean_patch = lambda h: pooled(h[:, 1:], 1)
print(f"{'one token:':<20}{'class':>8}{'mean of patches':>18}")
for key in read:
    other = probe(mean_patch, key) if key in y_fit else recognised(mean_patch)
    print(f"{key:<20}{read[key][0]:8.2f}{other:18.2f}")
""")

md(r"""
**What to notice.** *Places* leap up from one token to four: a 2 x 2 grid knows left from right.
The background's leap up with the object's: whoever lets one in lets the other in. The name does
not gain: one class token is best at it, and four patch tokens are worst.

The last table holds the number at one. The class token says the name nearly always, and little
of the background; the mean of the patches says the name half as often, and a lot of the
background. So it is not the *width* alone that keeps the background out: it is also CLIP's
training, which put the meaning into this token and left the rest aside.
""")

md(r"""
### Read back

**Predict.** Decode held-out exemplars from 64, 16, 4 and 1 tokens. At which width does
the picture stop being *this* exemplar?

**Idea.** The same regression, with all pixels as the property.

$$\hat x = A\, g + a, \qquad A: (3 \cdot 32^2,\; T \cdot 128), \quad g: (T \cdot 128,)$$
""")

code(r"""
def picture(x):
    "Normalised for CLIP, (N, 3 * 32 * 32) -> (N, 32, 32, 3) in 0..1."
    x = np.asarray(x).reshape(-1, 3, E, E).transpose(0, 2, 3, 1)
    return (x * CLIP_STD + CLIP_MEAN).clip(0, 1)


decoded, dB = {"exemplar": picture(x_test)}, {}
for T in WIDTHS[::-1]:
    reader = Ridge(30).fit(narrowed(h_fit, T).flatten(1).numpy(),
                           x_fit.flatten(1).numpy())
    decoded[f"T = {T}"] = picture(
        reader.predict(narrowed(h_test, T).flatten(1).numpy()))
    error = (decoded[f"T = {T}"] - decoded["exemplar"]) ** 2
    dB[T] = (-10 * np.log10(error.mean((1, 2, 3)))).mean()
some = range(0, 40, 5)
plots.grid([[ys[i] for i in some] for ys in decoded.values()],
           [held[i].split()[-1] for i in some], list(decoded), side=1.1)
print("  ".join(f"T = {T}: {v:.1f} dB" for T, v in dB.items()))
assert dB[64] > dB[1]
""")

md(r"""
**What to notice.** From top to bottom the exemplar dissolves: first the edges, then the parts,
then the places, and with them the background. There is no width at which the object is
still sharp and the background already gone.
""")

md(r"""
Turn the slider for other objects. (Without a running kernel you see one line of text; the grid
above is the static picture.)
""")

code(r"""
from ipywidgets import IntSlider, interact


def show_decoded(i=0):
    plots.strip([ys[i] for ys in decoded.values()], list(decoded), side=1.2)
    plt.show()


interact(show_decoded, i=IntSlider(0, 0, len(x_test) - 1,
                                   continuous_update=False));
""")

# ------------------------------------------------------------------------ 5 trained

md(r"""
## 5 · What T tokens do

**Predict.** What tokens *hold* is one thing, what a trained U-Net *does* with them another.
Draw two curves over T = 1, 4, 16, 64: the leak, and the share of right objects.

**Idea.** Four models, from the same prior, on the same samples, with the same seed, without
augmentation or null vector. Only T differs. Their weights are not shipped (except T = 1, which
is `bottleneck`); their results on the 400 pairs are.

$$c = \mathrm{proj}(\mathrm{LN}(\mathrm{mapper}(g^{(T)}))), \qquad g: (B, T, 128), \quad
c: (B, T, 128)$$
""")

code(r"""
results, table2 = (evaluate.read_results(name) for name in ("width", "table2"))
by_width, table = results["rows"], table2["rows"]
for key in ("pairs", "samples", "seed"):
    assert results[key] == table2[key]  # fair beside Table 2
for split in ("seen", "held_out"):
    for metric in ("leak", "right_object"):
        one, arm = (rows[split][metric]["mean"] for rows in
                    (by_width["1"], table["bottleneck"]))
        assert np.isclose(one, arm, atol=.02)  # T = 1 is that arm
METRICS = ("leak", "right_object", "clip_score", "seam", "light")
for split in ("seen", "held_out"):
    print(f"\n{split:<10}" + "".join(f"{m:>14}" for m in METRICS))
    for T, rows in by_width.items():
        print(f"T = {T:<6}" + "".join(f"{rows[split][m]['mean']:14.2f}"
                                      for m in METRICS))
print(f"\n{results['pairs']} pairs, {results['samples']:,} samples each")
""")

md(r"""
**What to notice.** A row is a model. Below, the two columns that matter most here, with their
95 % intervals as bands.
""")

code(r"""
SPLITS = {"seen": "seen objects", "held_out": "held-out objects"}


def along(metric, split, key="mean"):
    return [by_width[str(T)][split][metric][key] for T in WIDTHS]


for metric, label in (("leak", "leak, 1 = copy-paste"),
                      ("right_object", "right object, share")):
    axis = ticks(plots.curves(
        {text: (WIDTHS, along(metric, split))
         for split, text in SPLITS.items()}, "tokens T", label, log_x=True))
    for k, split in enumerate(SPLITS):
        axis.fill_between(WIDTHS, along(metric, split, "low"),
                          along(metric, split, "high"), color=f"C{k}",
                          alpha=.15)
narrow, wide = (by_width[T]["seen"]["leak"] for T in ("1", "64"))
print(f"leak, seen objects: T = 1 {show(narrow)}, T = 64 {show(wide)}")
assert wide["low"] > narrow["high"]
""")

md(r"""
**What to notice.** The leak grows with the width. So does the share of right objects, which is
what one token costs. <!-- TODO(measure): both monotonic? where is the largest step, 1 to 4
like the "places" of section 4, or later? do neighbouring intervals overlap? -->

In the second plot, compare each line only with itself: its two halves sit different exams, as
section 1 showed.
""")

md(r"""
### One curve

**Predict.** Put leak on one axis and right objects on the other. Where is the corner one would
like to be in? Who sits in the opposite one?

**Idea.** Each width is a point, and the four make a curve of what one can *choose*. A better
idea is a point above the curve; more tokens alone only move along it.
""")

code(r"""
fig, axis = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
for k, (split, text) in enumerate(SPLITS.items()):
    x, y = along("leak", split), along("right_object", split)
    axis.plot(x, y, "o-", color=f"C{k}", label=text)
    for T, a, b in zip(WIDTHS, x, y):
        axis.annotate(f"T = {T}", (a, b), (4, 4),
                      textcoords="offset points", fontsize=8)
MARKS = {"naive": "^", "augment": "v", "copy_paste": "s", "ground_truth": "*"}
for row, mark in MARKS.items():
    v = table[row]["seen"]
    axis.plot(v["leak"]["mean"], v["right_object"]["mean"], mark, color="k",
              label=f"{row}, seen")
axis.set(xlabel="leak (better: left)", ylabel="right object (better: up)")
axis.grid(alpha=.3)
axis.spines[["top", "right"]].set_visible(False)
axis.legend(frameon=False, fontsize=8, loc="lower right");
""")

md(r"""
**What to notice.** Going right along a line, identity is bought with leak. The star in the
upper left is the right answer, the square in the upper right copy-paste. `naive`, with 65
tokens, should lie near T = 64. `augment` is one token with augmentation: same width, another
place. <!-- TODO(measure): where do naive and augment lie against the blue curve? -->

A caution that lesson 07 gave: *right object* rewards pasting. Part of the rise is the leak
itself, seen by another metric. And T = 1 is another *kind* of token, as section 4 showed.
""")

# --------------------------------------------------------------------- 6 other pairs

md(r"""
## 6 · Another way out: change the pairs

**Predict.** The naive model pastes because in training pasting is *right* (lesson 03). Leave
its 65 tokens alone, and give it exemplars from *another* picture of the same thing. What will
a short time of such training do to the leak?

**Idea.** A video shows one thing in many frames; take one as exemplar and another as answer.
In our world another scene will do. Two copies of `naive` get the same extra steps, scenes and
noise; only the exemplar differs.

$$\text{own: } e = x_{\text{box}}, \qquad
\text{foreign: } e = x'_{\text{box}'}, \quad x' \text{ another scene with the same object}$$
""")

code(r"""
from pbe_lite.tabletop import FIRST_TRAINING_SEED

BATCH, SPARE = 16, 32
POOL = min(STEPS * BATCH, 400 if PROFILE != "gpu" else 4000)
records, crops = [], []
for seed in range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + POOL + SPARE):
    scene = Scene(seed)
    r = scene.render(S)
    records.append({"image": Image.fromarray(r.image), "boxes": [r.box],
                    "labels": [scene.name]})
    other = Scene(seed + 12_000).with_object(scene.name).render(S)
    crops.append(crop_box(Image.fromarray(other.image), other.box))
foreign = pixels(crops)
plots.grid([[record["image"] for record in records[:7]], crops[:7]], (),
           ["answer", "foreign ex."], side=1.2);
""")

md(r"""
**What to notice.** Upper row: training scenes. Lower row: the same thing in another room, light
and pose. Pasting it would be wrong.

The training itself is the package's: its loss, its optimisers, its samples. We exchange the
exemplar and go on from the shipped weights.
""")

code(r"""
from pbe_lite.objectives import build_objective
from pbe_lite.optimizers import build_optimizers


def batch_of(objective, origin, keys):
    "Samples for keys (epoch, index), with `own` or `foreign` exemplars."
    batch = torch.utils.data.default_collate(
        [objective.sample(*key) for key in keys])
    if origin == "foreign":
        batch["exemplar"] = foreign[[index for _, index in keys]]
    return batch
""")

md(r"""
`teach` starts at a fifth of the usual learning rate and lets it fall to zero. With 0 steps it
is the shipped model.
""")

code(r"""
def teach(origin, steps=STEPS):
    "The naive arm, `steps` steps on from the shipped weights."
    objective = build_objective("naive", LITE, records, DATA / "weights", 1)
    objective.start_from(pipes["naive"])
    optimizers = build_optimizers(objective)
    for step in range(steps):
        first = step * BATCH
        keys = [divmod(n, POOL) for n in range(first, first + BATCH)]
        objective(batch_of(objective, origin, keys)).mean().backward()
        rate = .2 * min(1, (step + 1) / 5) * (1 - step / steps)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["peak"]
            optimizer.step()
            optimizer.zero_grad()
    return objective


taught = {"before": teach("own", 0), "own": teach("own"),
          "foreign": teach("foreign")}
""")

md(r"""
First the loss, on scenes that were kept out of these steps, with the same noise for all. Each
model meets both kinds of exemplars.
""")

code(r"""
@torch.no_grad()
def loss(objective, origin):
    keys = [(1000, i) for i in range(POOL, POOL + SPARE)]
    return objective(batch_of(objective, origin, keys)).mean().item()


losses = {(row, origin): loss(objective, origin)
          for row, objective in taught.items()
          for origin in ("own", "foreign")}
print(f"{'taught':<10}{'own exemplars':>15}{'foreign exemplars':>20}")
for row in taught:
    print(f"{row:<10}{losses[row, 'own']:15.4f}{losses[row, 'foreign']:20.4f}")
assert losses["foreign", "foreign"] < losses["own", "foreign"]
""")

md(r"""
**What to notice.** On foreign exemplars the model that was taught with them is far ahead; on own
exemplars it pays, because there the paste *was* right. More of the same pairs changes nothing.
""")

code(r"""
from pbe_lite.pairs import make_pair

pairs = [make_pair(2 * i) for i in range(N_PAIRS)]  # even: seen objects


def painter(objective):
    old = pipes["naive"]
    new = PaintByExamplePipeline(old.vae, objective.encoder, objective.unet,
                                 old.scheduler, *old.defaults())
    new.set_progress_bar_config(disable=True)
    return new


painted = {row: evaluate.paint_pairs(painter(objective), pairs)
           for row, objective in taught.items()}
scores = {row: evaluate.score(pairs, *ys) for row, ys in painted.items()}
rows = [[p.exemplar for p in pairs], *(ys for _, ys in painted.values()),
        [p.answer for p in pairs]]
plots.grid([row[:6] for row in rows], (),
           ["exemplar", "before", "own", "foreign", "right answer"], side=1.2);
""")

md(r"""
**What to notice.** Compare the rows *own* and *foreign*: the same weights to begin with, the
same number of steps. The frame with the exemplar's background is gone. So is the sharp
object: what the model could do was to paste, and for anything else the steps were too few.
""")

code(r"""
for row, v in scores.items():
    print(f"{row:<9}" + "   ".join(
        f"{m} {show(metrics.bootstrap(v[m]), digits)}" for m, digits in
        (("leak", 2), ("right_object", 2), ("clip_score", 1))))
less = scores["own"]["leak"] - scores["foreign"]["leak"]
print(f"leak, own minus foreign: {show(metrics.bootstrap(less))}")
bars = {row: metrics.bootstrap(v["leak"]) for row, v in scores.items()}
plots.bars(bars, "leak of 65 tokens, 1 = copy-paste",
           bar=table["bottleneck"]["seen"]["leak"]["mean"])
assert abs(bars["before"]["mean"] - bars["own"]["mean"]) < .3
if PROFILE != "smoke":  # a handful of steps proves nothing
    assert np.nanmean(less) > 0
""")

md(r"""
**What to notice.** The dashed line is the trained bottleneck's leak. With all 65 tokens in
place the leak falls by half and more, only because the pairs no longer reward pasting; more of
the same pairs does not do it. The right object falls too, far below the bottleneck's.

This is a taste, not a training: some steps after a long training on the wrong pairs. It shows
that the *pairs* decide what the width is used for, and so the direction that the field has taken.
""")

# ------------------------------------------------------------------------- 7 newer

md(r"""
## 7 · What newer systems changed

**Predict.** You have now seen three ways to keep a model from pasting. Which one would you
choose if identity mattered most?

**Idea.** One can make pasting *impossible*, make it *wrong*, or take away *what must not be
pasted*.

| way | in this course | its price |
|---|---|---|
| impossible: too narrow to carry places | one token (lesson 04) | identity |
| wrong: the exemplar is no crop of the answer | augmentation (05), foreign exemplars (section 6) | needs two pictures of the same thing, or stays artificial |
| taken away: no background in the exemplar | the scissors of lesson 03 (exercise 2) | needs a mask of the exemplar's object; pose and light are still pasted |
""")

md(r"""
Now the table. *V*: verified, read in the authors' own code or text, or in that of the
re-implementation named. *R*: as recalled, unverified here.

| system | of the exemplar it takes | way into the network | against pasting | |
|---|---|---|---|---|
| **Paint by Example**, 11/2022 | CLIP ViT-L/14's class token: 1 token | cross-attention, which is a bias then | impossible; augmentation | V |
| **ObjectStitch**, 12/2022 | image features through a trained "content adaptor" | cross-attention (R) | data augmentation | V (abstract) |
| its public re-implementation | all 257 tokens of the same CLIP, through the same 5-block mapper | cross-attention, 9-channel U-Net | taken away: background masked | V |
| **AnyDoor**, 7/2023 | DINOv2 ViT-g/14: class and 256 patch tokens; and the object's edges (Sobel) in their colours, laid into the hole | cross-attention; a ControlNet branch for the edges | taken away: white background; wrong: two frames of a video | V |
| **IP-Adapter**, 8/2023 | CLIP's image feature as 4 tokens; "plus": 16 tokens drawn from the patches | a second cross-attention beside the text's; the U-Net stays frozen, 22 M new parameters | none of its own: trained on the picture itself; 4 tokens are narrow | V |
| **MimicBrush**, 6/2024 | the whole picture, through a second U-Net | self-attention sees the other U-Net's features; CLIP tokens besides | wrong: two frames of a video | V |
| **Insert Anything**, 4/2025 | the picture itself, beside the source as a diptych, through the VAE; and FLUX Redux features | attention of a diffusion transformer (FLUX.1 Fill with a LoRA) over both halves | taken away: white background; wrong: 120,000 pairs from videos, many views, the web | V |
""")

md(r"""
**What to notice.**

- The way in grew wider: 1 token, 4 to 257, a second network, the picture itself. None of the
  later systems kept the single token.
- What changed with it is the column *against pasting*: background removed, pairs from two
  pictures. Width alone leads back to lesson 03.
- IP-Adapter is no editor: it makes a new picture, so there is nothing beside the object to be
  spoilt. Its two sizes are the width of a bottleneck again; its model card says that the
  patch version comes out "closer to the reference image".
- AnyDoor's edge map complements its tokens: it gives away the places and leaves the areas
  between the edges empty, so pose and light still have to be painted.

Sources: the repositories `ali-vilab/AnyDoor`, `tencent-ailab/IP-Adapter`,
`ali-vilab/MimicBrush`, `song-wensong/insert-anything`,
`bcmi/ObjectStitch-Image-Composition`; the abstracts of arXiv 2212.00932 and 2406.07547; the
model card of `h94/IP-Adapter`.
""")

md(r"""
### Did it help?

A third party's leaderboard (its numbers are verified, but not measured here). *Foreground
DINO* compares fine structure with the exemplar, so it is the one closest to identity. Lower
FID is better, higher everything else.

| method | tokens | foreground CLIP | foreground DINO | FID | QS |
|---|---|---|---|---|---|
| Paint by Example | 1 | 84.84 | 52.52 | 3.18 | 77.80 |
| ObjectStitch, re-implemented | 257 | 85.97 | 61.12 | 3.35 | 76.86 |
| ControlCom | - | 88.31 | 63.67 | 3.19 | 77.84 |
| AnyDoor | 257 and edges | 89.70 | 70.16 | 3.60 | 76.18 |

**What to notice.** Down the DINO column identity grows a lot. In FID and QS the first line is
still among the best: by these two scores one token makes pictures as natural as any in the
list. And the CLIP column rewards pasting, as lesson 07 showed; nothing suggests that DINO does
not. A copy-paste row would tell how much of the gain is identity. This table has none.
""")

md(r"""
### What stays open

- **No single right answer exists** outside a miniature. A good system may turn the object,
  and then no pixel-wise number can judge it.
- **More identity, less adaptation?** What keeps the exemplar's places tends to keep its pose
  and light, too. Section 2 gave all models the right pose; real exemplars do not.
- **The pairs decide.** Section 6 changed nothing else. But two pictures of the same thing in
  different light are harder to get than boxes in single pictures.
- **One token is still a sound trade** where *a* thing of the kind will do, where the exemplar
  has no mask, or where there are only single pictures to learn from.
""")

# ------------------------------------------------------------------------- exercises

md(r"""
## Exercises

### Exercise 1 · Rings (easy, 10 minutes)

Four tokens need not be a 2 x 2 grid. Pool the 64 patches into four square *rings* instead: the
28 patches of the border, the 20 inside it, the 12 inside those, the 4 in the middle. The
outer ring is mostly background. Before you run it: which of the four properties will rings
lose that a 2 x 2 grid keeps?
""")

code(r"""
def rings(h):
    "h: (N, 64, d), row by row -> (N, 4, d), the outermost ring first."
    return None  # your lines


def check_rings(build):
    noise = torch.randn(2, 64, 5, generator=torch.Generator().manual_seed(0))
    answer, sizes = build(noise), torch.tensor([28., 20, 12, 4])
    if answer is None:
        return print("not solved yet")
    assert answer.shape == (2, 4, 5), f"the shape is {tuple(answer.shape)}"
    whole = (answer * sizes[:, None]).sum(1) / 64
    assert torch.allclose(whole, noise.mean(1), atol=1e-5), "not all patches"
    middle = noise[:, [27, 28, 35, 36]].mean(1)
    assert torch.allclose(answer[:, 3], middle, atol=1e-5), "ring 4 is wrong"
    print("correct; R2 on held-out objects:")
    for key in y_fit:
        v = probe(lambda h: build(h[:, 1:]), key)
        print(f"{key:<20} 2 x 2 grid {read[key][1]:.2f}   rings {v:.2f}")


check_rings(rings)
""")

md(r"""
<details><summary>Hint 1</summary>

How far is patch (row, column) from the nearest side of the grid? That number, 0 to 3, is its
ring.

</details>
<details><summary>Hint 2</summary>

`i = torch.arange(8); d = torch.minimum(i, 7 - i)` is the distance along one axis. The ring is
the smaller of the two distances.

</details>
<details><summary>Solution</summary>

```python
def rings(h):
    i = torch.arange(8)
    d = torch.minimum(i, 7 - i)
    depth = torch.minimum(d[:, None], d).flatten()
    return torch.stack([h[:, depth == k].mean(1) for k in range(4)], 1)
```

Four tokens again, but left and right are mixed in each of them, so *places* lose about
half of what the grid keeps; colours lose nothing. (Not all is lost, since inside CLIP the patch
tokens have looked at each other.) A bottleneck has a shape, not only a width.

</details>
""")

md(r"""
### Exercise 2 · A width for a budget (easy, 10 minutes)

Somebody allows a certain leak. Write `best_width`: among the widths whose leak is *surely*
within the budget (the upper end of its interval), the one with most right objects; 0 if there
is none. The check tries made-up rows, then asks the measured ones.
""")

code(r"""
def best_width(rows, budget, split="seen"):
    "rows: {'1': {split: {metric: {mean, low, high}}}, ...} -> T, an int."
    return None  # your lines


def check_width(choose):
    row = lambda leak, high, right: {"seen": {
        "leak": {"mean": leak, "low": 0, "high": high},
        "right_object": {"mean": right, "low": 0, "high": 1}}}
    made_up = {"1": row(.1, .12, .3), "4": row(.2, .22, .5),
               "16": row(.21, .31, .7), "64": row(.5, .6, .6)}
    if choose(made_up, 1) is None:
        return print("not solved yet")
    for budget, T in ((.05, 0), (.15, 1), (.25, 4), (.35, 16), (1, 16)):
        assert choose(made_up, budget) == T, f"at budget {budget}: T = {T}"
    print("correct", *(f"leak up to {b}: T = {choose(by_width, b)}"
                       for b in (.1, .2, .3, .5, 1)), sep="\n")


check_width(best_width)
""")

md(r"""
<details><summary>Hint 1</summary>

First a list of the widths that are allowed: those with `["leak"]["high"] <= budget`.

</details>
<details><summary>Hint 2</summary>

`max(allowed, key=..., default="0")` picks the one with the largest mean of `right_object`.

</details>
<details><summary>Solution</summary>

```python
def best_width(rows, budget, split="seen"):
    allowed = [T for T in rows if rows[T][split]["leak"]["high"] <= budget]
    right = lambda T: rows[T][split]["right_object"]["mean"]
    return int(max(allowed, key=right, default="0"))
```

Taking the mean instead of the upper end would choose T = 16 at a budget of .25: a gamble. With
few pairs the intervals are wide, and a careful chooser stays narrow.

</details>
""")

md(r"""
### Exercise 3 · A second way in (harder, 20 minutes)

IP-Adapter leaves the text's cross-attention as it is and adds another one for the picture,
with keys and values of its own and the *same queries*. Write it for the layers of our
text-conditioned prior. The two are added before the output projection $W_o$.

$$\mathrm{out} = W_o \big( \mathrm{softmax}(q k^\top / \sqrt d)\, v \;+\;
s \cdot \mathrm{softmax}(q k'^\top / \sqrt d)\, v' \big) + b_o$$
$$q: (B, n, d), \quad k, v: (B, L, d) \text{ from the text}, \quad
k', v': (B, T, d) \text{ from the picture}$$
""")

code(r"""
from pbe_lite.baselines import load_prior

attn = next(m for name, m in load_prior().unet.named_modules()
            if name.endswith("attn2"))  # one cross-attention of the prior
d, D = attn.to_k.weight.shape
torch.manual_seed(0)
to_k, to_v = (torch.nn.Linear(D, d, bias=False) for _ in range(2))
h, text, image = torch.randn(2, 9, d), *torch.randn(2, 2, 4, D)
print(f"h {tuple(h.shape)}, text {tuple(text.shape)}, to_k {D} -> {d}")
assert attn.heads == 1 and attn(h, text).shape == h.shape
""")

md(r"""
A real layer, two new maps, and random numbers to try them on. Your turn:
""")

code(r"""
def decoupled(attn, h, text, image, to_k, to_v, s):
    "h: (B, n, d), text: (B, L, D), image: (B, T, D) -> (B, n, d)."
    return None  # your lines


def check_decoupled(build):
    run = lambda image, s: build(attn, h, text, image, to_k, to_v, s)
    if run(image, 1) is None:
        return print("not solved yet")
    same = lambda a, b: torch.allclose(a, b, atol=1e-4)
    with torch.no_grad():
        plain, W = attn(h, text), attn.to_out[0].weight
        assert same(run(image, 0), plain), "s = 0 must change nothing"
        part = F.scaled_dot_product_attention(
            attn.to_q(h), to_k(image), to_v(image)) @ W.T
        assert same(run(image, .7), plain + .7 * part), "the second part"
        bias = run(image[:, :1], 1) - plain
        assert same(bias, (to_v(image[:, :1]) @ W.T).expand_as(bias))
    print("correct; and with one token the second part is a bias again")


check_decoupled(decoupled)
""")

md(r"""
<details><summary>Hint 1</summary>

`attn.to_q`, `attn.to_k`, `attn.to_v` and `attn.to_out[0]` are the layers; `attn.scale` is
$1 / \sqrt d$. There is one head.

</details>
<details><summary>Hint 2</summary>

Write a helper that takes keys and values and returns softmax times values. Call it twice with
the same queries.

</details>
<details><summary>Hint 3</summary>

The projection `attn.to_out[0]` comes last and only once, so its bias is added once.

</details>
<details><summary>Solution</summary>

```python
def decoupled(attn, h, text, image, to_k, to_v, s):
    q = attn.to_q(h)

    def read(k, v):
        return (q @ k.transpose(1, 2) * attn.scale).softmax(-1) @ v

    out = read(attn.to_k(text), attn.to_v(text))
    out = out + s * read(to_k(image), to_v(image))
    return attn.to_out[0](out)
```

Because the old layers are untouched, s = 0 gives back the old model exactly: one can train the
two new maps alone, and dial the exemplar up and down afterwards.

</details>
""")

md(r"""
## What you take along

- Two exams are no comparison. In the same one, held-out objects come out as well as seen ones:
  the model paints from the token, not from memory.
- Identity is a ladder: kind, colour, places. One token carries the first two, and nothing of
  the third.
- More tokens hold more of the object *and* of its background. Along the width, identity is
  bought with leak.
- There are other ways out: take the exemplar from another picture, or remove its background.
  Newer systems do both, and then open the way in as wide as they can.

This was the last lesson. **Back to** the [map of the course](00_start_here.ipynb), to
[04 · The class-token bottleneck](04_class_token_bottleneck.ipynb), where the one token came
from, or to [07 · Evaluation](07_evaluation.ipynb) for what the numbers can and cannot say.
<!-- TODO(measure): do the four bullets agree with what came out above? -->
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
    with open("/tmp/drafts/10_limits_and_beyond.ipynb", "w") as f:
        json.dump(NOTEBOOK, f, indent=1, ensure_ascii=False)
        f.write("\n")
