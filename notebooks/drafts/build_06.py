"""Writes 06_classifier_free_guidance.ipynb (outputs empty)."""

import json
from pathlib import Path

CELLS = []


def add(kind, text):
    text = text.strip("\n")
    cell = {"cell_type": kind, "id": f"c{len(CELLS):03d}", "metadata": {},
            "source": text.splitlines(keepends=True)}
    if kind == "code":
        cell.update(execution_count=None, outputs=[])
    CELLS.append(cell)


def md(text):
    add("markdown", text)


def code(text):
    add("code", text)


# ------------------------------------------------------------------------ header

md(r"""
# 06 · Classifier-free guidance

**Question.** The model was asked for *this* object and painted something vague. How can
we make it listen, and what does that cost?

**Goals.** After this lesson you can

- write guidance as a step along the difference of two scores, and say what the scale
  does;
- find the null vector in the package, and see what the model paints when it gets nothing
  else;
- say why the condition is dropped for each sample by itself and not once per batch, with
  a variance and with a gradient;
- write the guided sampling loop by hand, and choose a scale from a measured sweep.

**Time.** About 45 minutes to read and try; about 2 minutes to run on 2 CPU cores.
<!-- TODO(measure): minutes of a whole run in the laptop profile -->

**Needs.** Lessons 02 and 04. From the repository: `data/weights/final`, the lite CLIP and
`data/results/table2.json`. No GPU, no network.
""")

code(r"""
import os

os.environ["TQDM_DISABLE"] = "1"  # no progress bars in this page

import matplotlib.pyplot as plt
import numpy as np
import torch
import tqdm.auto
from matplotlib_inline.backend_inline import set_matplotlib_formats

from pbe_lite import PaintByExamplePipeline, metrics, plots
from pbe_lite.environment import profile
from pbe_lite.presets import DATA, LITE

tqdm.auto.tqdm = tqdm.std.tqdm  # only the plain bar obeys the switch above
set_matplotlib_formats("jpeg", pil_kwargs={"quality": 85})
PROFILE = profile()  # PBE_PROFILE: smoke, laptop or gpu
N_PAIRS = {"smoke": 16, "laptop": 100, "gpu": 200}[PROFILE]
print(f"profile {PROFILE}: {N_PAIRS} pairs in the sweep of section 5")
""")

# ------------------------------------------------------------------------ 1 toy

md(r"""
## 1 · What guidance asks for

**Predict.** You know where pictures of cats are dense, and where pictures of anything are
dense. How do you find a picture that *only* a cat can be?

**Idea.** A score is the direction in which a density grows. By Bayes' rule the scores of
p(z | c) and of p(z) differ by the score of p(c | z): the direction in which a classifier
becomes more certain. Guidance walks *s* times that far, and needs no classifier.

$$\nabla \log p(z \mid c) - \nabla \log p(z) = \nabla \log p(c \mid z),
\qquad z, \nabla: (N, d)$$
$$g_s(z) = \nabla \log p(z) + s\, [\nabla \log p(z \mid c) - \nabla \log p(z)]$$

First a toy with d = 2 in which every score is exact: three classes, a Gaussian each.
""")

code(r"""
centres = np.array([(-1.5, -1.), (1.5, -1.), (0., 1.6)])  # (3, 2)
width = .8


def two_scores(z, sigma, c):
    "Scores of p(z | c) and p(z) at noise sigma, (N, 2), and p(c | z), (N,)."
    variance = width ** 2 + sigma ** 2
    to_centre = centres - z[:, None]  # (N, 3, 2)
    log_p = -(to_centre ** 2).sum(-1) / (2 * variance)
    share = np.exp(log_p - log_p.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)  # p(class | z)
    score = to_centre / variance  # of each class by itself
    return score[:, c], (share[..., None] * score).sum(1), share[:, c]


z = np.random.default_rng(1).normal(0, 2, (50, 2))
given, free, share = two_scores(z, .5, c=2)
print(f"given {given.shape}, free {free.shape}, p(c | z) {share.shape}")
""")

md(r"""
**What to notice.** *given* pulls to the one centre, *free* to all three, each with its
share. Is their difference truly the score of the classifier? We ask finite differences.
""")

code(r"""
def log_share(z):
    return np.log(two_scores(z, .5, c=2)[2])


h = 1e-4
slope = np.stack([(log_share(z + h * d) - log_share(z - h * d)) / (2 * h)
                  for d in np.eye(2)], 1)
print(f"largest difference: {np.abs(given - free - slope).max():.1e}")
assert np.allclose(given - free, slope, atol=1e-5)
""")

md(r"""
**What to notice.** The difference is the score of a classifier that nobody trained.
Hence the name: classifier-free guidance (Ho & Salimans, 2022).
""")

md(r"""
### Scales 0, 1 and 3

**Predict.** We sample along the guided score of class 2, the upper one. Where do the
samples lie for s = 0, for s = 1, for s = 3?

**Idea.** Start far out in the noise and walk down the noise levels along the score. This
is a sampler in the manner of lesson 02, with exact scores in place of a network.

$$z_{\sigma'} = z_\sigma + (\sigma - \sigma')\, \sigma\, g_s(z_\sigma),
\qquad z: (N, 2), \quad \sigma' < \sigma$$
""")

code(r"""
def toy_samples(scale, c=2, count=600, steps=150):
    sigmas = np.geomspace(20, .01, steps)
    start = np.random.default_rng(0).standard_normal((count, 2))
    z = sigmas[0] * start
    for sigma, lower in zip(sigmas, sigmas[1:]):
        given, free, _ = two_scores(z, sigma, c)
        z = z + (sigma - lower) * sigma * (free + scale * (given - free))
    return z


toy = {s: toy_samples(s) for s in (0, 1, 3)}
fig, axes = plt.subplots(1, 3, figsize=(7, 2.6), sharex=True, sharey=True,
                         layout="constrained")
for axis, (s, points) in zip(axes, toy.items()):
    axis.scatter(*points.T, s=2)
    axis.plot(*centres.T, "k+")
    axis.set_title(f"s = {s}", fontsize=9)
    axis.set_aspect("equal")
""")

md(r"""
**What to notice.** Each dot is a sample, each cross the centre of a class. s = 0 paints
all three classes. s = 1 paints the upper one as it is, overlap included. s = 3 avoids
what other classes could have made: the cloud moves away from them and shrinks.
""")

code(r"""
print("    p(c | z)   spread   distance from c's centre")
for s, points in toy.items():
    sure, spread = two_scores(points, 0, 2)[2].mean(), points.std(0).mean()
    away = np.linalg.norm(points.mean(0) - centres[2])
    print(f"s={s}{sure:9.3f}{spread:9.2f}{away:12.2f}")
sure = {s: two_scores(points, 0, 2)[2].mean() for s, points in toy.items()}
assert abs(sure[0] - 1 / 3) < .1 and sure[0] < sure[1] < sure[3]
assert abs(toy[1].std(0).mean() - width) < .1
assert toy[3].std(0).mean() < .8 * width
""")

md(r"""
**What to notice.** Only s = 1 samples the class itself: its spread is right. A larger
scale buys certainty and pays with variety. Both will come back in pictures.
""")

# ------------------------------------------------------------------------ 2 null

md(r"""
## 2 · The null vector

**Predict.** Guidance needs p(z), the model *without* a condition. Stable Diffusion uses
the empty caption. What is an empty exemplar: black, grey, noise?

**Idea.** None of these: each is a picture, and CLIP has an opinion about it. The paper
makes "no exemplar" a parameter *v* that is learnt along with the rest. (Lesson 02 called
a prediction *v*; here *v* is the null vector, as in the paper.)

In the authors' code *v* has shape (1, 1, 768) (verified); here D is smaller.

$$c = \mathrm{encoder}(e): (B, 1, D), \qquad v: (1, 1, D)
\text{ expanded to } (B, 1, D)$$
""")

code(r"""
from pbe_lite.augment import squash
from pbe_lite.pairs import make_pair
from pbe_lite.triplets import to_clip, to_signed

pipe = PaintByExamplePipeline.from_pretrained(DATA / "weights" / "final")
pipe.set_progress_bar_config(disable=True)
pairs = [make_pair(2 * i) for i in range(N_PAIRS)]  # even: seen objects


def tensors(pairs):
    "Image, hole, exemplar and noise, as `pipe.paint` takes them."
    side = pipe.image_encoder.config.image_size
    image = torch.stack([to_signed(p.source.image) for p in pairs])
    hole = torch.stack([torch.from_numpy(p.hole)[None] for p in pairs])
    exemplar = torch.stack([to_clip(squash(p.exemplar, side)) for p in pairs])
    return image, hole.float(), exemplar, pipe.noise(range(len(pairs)))


image, hole, exemplar, noise = tensors(pairs[:16])
print(*(tuple(x.shape) for x in (image, hole, exemplar, noise)))
""")

md(r"""
**What to notice.** Sixteen questions of the benchmark, ready for the model. Now their
conditions, the null vector, and a picture that is grey all over (0 after CLIP's
normalisation).
""")

code(r"""
with torch.no_grad():
    c = pipe.image_encoder(exemplar)  # (16, 1, D)
    grey = pipe.image_encoder(torch.zeros_like(exemplar[:1]))
v = pipe.image_encoder.uncond_vector.detach()


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a, b, dim=-1)


apart = ~torch.eye(len(c), dtype=bool)
likeness = {"two exemplars": cosine(c, c[:, 0])[apart],
            "grey and exemplar": cosine(c, grey),
            "v and exemplar": cosine(c, v)}
for name, values in likeness.items():
    print(f"cosine of {name:<18}{values.mean():6.2f}")
print(f"norms: v {v.norm():.1f}, exemplars {c.norm(dim=-1).mean():.1f}")
assert v.shape == (1, 1, pipe.image_encoder.config.projection_dim)
assert torch.equal(pipe.image_encoder.null(c), v.expand_as(c))
""")

md(r"""
**What to notice.** `null` only repeats one vector; the exemplar has no say in it. The
null vector lies away from the exemplars.
<!-- TODO(measure): that cosine(v, exemplar) is below the other two; else reword -->
""")

md(r"""
### What the model paints for nobody

**Predict.** Give the U-Net *v* for a condition. Will it paint an empty table, a grey
blob, or an object?

**Idea.** In training every hole had an object in it, dropped condition or not. So *v*
stands for "an object that fits this scene".

$$\hat z = \mathrm{unet}([z_t, z_{\text{masked}}, m],\, t,\, v): (B, c, h, w)$$
""")

code(r"""
few = slice(0, 4)


def paint_with(condition, noise):
    "The first four pairs, unguided, with any condition (4, 1, D)."
    return pipe.paint(image[few], hole[few], None, noise, guidance_scale=1,
                      condition=condition)


nobody = v.expand_as(c[few])
columns = [paint_with(nobody, noise[few]), paint_with(nobody, -noise[few]),
           paint_with(grey.expand_as(nobody), noise[few]),
           paint_with(c[few], noise[few])]
rows = [[plots.overlay(p.source.image, p.hole), p.exemplar, *painted]
        for p, painted in zip(pairs[few], zip(*columns))]
plots.grid(rows, ["hole", "exemplar", "v", "v, other noise", "grey picture",
                  "c"], side=1.2);
""")

md(r"""
**What to notice.** With *v* the tables go on through the hole and something stands on
them, another thing for another noise. A grey picture is taken for an exemplar like any
other. With *c*, unguided, the colours of the exemplar appear, but often not the object.
<!-- TODO(measure): what v and grey really paint; choose four telling pairs -->
""")

code(r"""
unguided = columns[0]
at_zero = pipe.paint(image[few], hole[few], exemplar[few], noise[few],
                     guidance_scale=0)
moved = (columns[3] - unguided).abs().mean()
gap = (at_zero - unguided).abs().mean()
print(f"scale 0 against condition v: {gap:.1e}; c against v: {moved:.1e}")
assert torch.allclose(at_zero, unguided, atol=.05)  # 1 level is .008
assert moved > 10 * gap
""")

md(r"""
**What to notice.** Scale 0 and "condition *v*" are the same picture: at 0 the exemplar is
weighed with zero. Scale 1 is the plain conditional model. Guidance proper begins above 1.
""")

# ------------------------------------------------------------------------ 3 drop

md(r"""
## 3 · Dropping the condition

**Predict.** How does the model learn *v*? How often must it see *v* in place of *c*?

**Idea.** In training the condition of 20 % of the samples is replaced by *v*, so one
network learns both p(z | c) and p(z). In this package the sample itself decides: the
number comes from a generator seeded by (run seed, epoch, sample index).

$$d_i = [\, u_i < .2 \,], \quad u_i \sim U(0, 1), \qquad
\text{condition}_i = d_i\, v + (1 - d_i)\, c_i: (1, D)$$
""")

code(r"""
from pbe_lite.objectives import Diffusion

package = Diffusion(LITE, [], DATA / "weights", seed=0)
rate, B = LITE.null_probability, LITE.batch_size


def drop_number(epoch, index, seed=0):
    "The sample's own number in [0, 1): below `rate`, it is dropped."
    rng = np.random.default_rng([seed, epoch, index, 1])  # 1: its noise
    rng.standard_normal()  # spent on the timestep, which comes first
    return np.float32(rng.uniform())


ours = [drop_number(3, i) for i in range(8)]
theirs = [package.noise_sample(3, i)["drop"] for i in reversed(range(8))]
print(f"drop rate {rate}, batch {B};", *(f"{u:.2f}" for u in ours))
assert ours == theirs[::-1] and rate == .2
""")

md(r"""
**What to notice.** The package's numbers are ours, and it does not matter that we asked
for them in reverse order. So the number of workers or ranks cannot change who is dropped.
""")

md(r"""
### Per sample, or once per batch?

**Predict.** It would be simpler to throw one coin per step: all samples are dropped, or
none. The expectation is the same. What is not?

**Idea.** The share of dropped samples in a step has mean 20 % either way. Its variance
differs by a factor of *B*. (The authors' code throws one coin per micro-batch, as we
infer from it.)

$$\mathrm{Var}\Big[\tfrac{1}{B} \sum_{i \le B} d_i\Big] = \frac{p (1 - p)}{B}
\qquad \text{against} \qquad \mathrm{Var}[d] = p (1 - p), \qquad p = .2$$
""")

code(r"""
numbers = np.array([drop_number(0, i) for i in range(500 * B)])
dropped = numbers.reshape(500, B) < rate  # 500 steps
shares = {"per sample": dropped.mean(1),
          "once per batch": dropped[:, 0].astype(float)}  # the first decides
plots.curves({k: (np.arange(60), s[:60]) for k, s in shares.items()},
             "step", "share of dropped samples");
""")

md(r"""
**What to notice.** The curve of the samples stays near 20 %. The other one is at 0, then
for one step at 100 %, and back. Here are both in numbers, over all 500 steps.
""")

code(r"""
expected = {"per sample": rate * (1 - rate) / B,
            "once per batch": rate * (1 - rate)}
print(f"{'':<16}{'mean':>7}{'variance':>10}{'formula':>9}   steps without v")
for k, s in shares.items():
    print(f"{k:<16}{s.mean():7.3f}{s.var():10.4f}{expected[k]:9.4f}"
          f"{(s == 0).mean():15.1%}")
    assert abs(s.var() / expected[k] - 1) < .3
print(f"steps without v, computed: {(1 - rate) ** B:.2%} and {1 - rate:.0%}")
assert (shares["per sample"] == 0).mean() < .02
assert (shares["once per batch"] == 0).mean() > .7
""")

md(r"""
**What to notice.** With one coin a batch, about four steps of five do not contain *v* at
all, and in the fifth no exemplar is looked at.
""")

md(r"""
### The gradient, on the real model

**Predict.** In a step in which nothing is dropped, what is the gradient of *v*? And in a
step in which all is dropped, what is the gradient of the mapper behind CLIP?

**Idea.** The gradient reaches *v* only through the samples that used it. We take a real
training batch, the real objective with the shipped weights, and three drop vectors.

$$\frac{\partial}{\partial v} \frac{1}{B} \sum_i \ell_i
= \frac{1}{B} \sum_i d_i\, g_i, \qquad
g_i = \frac{\partial \ell_i}{\partial\, \text{condition}_i}: (D,)$$
""")

code(r"""
import tempfile

from torch.utils.data import default_collate

from pbe_lite.objectives import build_objective
from pbe_lite.openimages import load_open_images, write_tabletop
from pbe_lite.tabletop import FIRST_TRAINING_SEED

seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 2 * B)
with tempfile.TemporaryDirectory() as folder:
    write_tabletop(folder, seeds)
    records = list(load_open_images(folder))  # reads all pictures
objective = build_objective("final", LITE, records, DATA / "weights")
objective.start_from(pipe)
batch = default_collate([objective[0, i] for i in range(B)])
n_dropped = int((batch["drop"] < rate).sum())
print(f"{n_dropped} of {B} samples are dropped:",
      f"exemplar {tuple(batch['exemplar'].shape)}")
assert 0 < n_dropped < B
""")

md(r"""
**What to notice.** This is a batch as the training loop sees it: each sample brings its
own mask, noise, timestep and drop. Now one backward pass for each way to drop.
""")

code(r"""
def gradients(drop):
    "Largest gradient of the null vector and of the last projection."
    objective.zero_grad()
    objective({**batch, "drop": drop}).mean().backward()
    encoder = objective.encoder
    return [float(w.grad.abs().max())
            for w in (encoder.uncond_vector, encoder.proj_out.weight)]


ways = {"per sample": batch["drop"],
        "batch kept": torch.ones(B), "batch dropped": torch.zeros(B)}
print(f"{'largest gradient':<18}{'null vector':>13}{'projection':>13}")
size = {}
for way, drop in ways.items():
    size[way] = gradients(drop)
    print(f"{way:<18}{size[way][0]:13.2e}{size[way][1]:13.2e}")
assert size["batch kept"][0] == 0 and size["batch dropped"][1] == 0
assert min(size["per sample"]) > 0
""")

md(r"""
**What to notice.** Those zeros are exact. With one coin a batch, in most steps *v* learns
nothing, and in the other steps mapper and projection learn nothing. Per sample, each step
teaches both.
""")

md(r"""
### How much noisier is it?

**Predict.** The mean gradient is the same for both ways. So is the extra noise always
large, or can it vanish?

**Idea.** Let each sample have its own copy of *v*: then one backward pass gives all
*g_i*. Their mean tells how much the samples agree on where *v* should go, and only this
part is made noisy by the common coin.

$$\underbrace{\tfrac{1}{B} \big( p\, \overline{|g|^2} - p^2 |\bar g|^2 \big)}_{\text{per sample}}
\quad \text{against that plus} \quad
\underbrace{p (1 - p) \big(1 - \tfrac{1}{B}\big) |\bar g|^2}_{\text{common coin}},
\qquad g: (B, D)$$
""")

code(r"""
from pbe_lite.unet import unet_input


def sample_gradients(v, batch):
    "v: (1, 1, D) -> g: (B, D), of each sample's loss, all dropped."
    own = v.expand(B, -1, -1).clone().requires_grad_()
    z = objective.encode(batch["image"])
    z_masked = objective.encode(batch["image"] * (1 - batch["hole"]))
    losses = objective.denoising_loss(
        z, batch, own, lambda z_t: unet_input(z_t, z_masked, batch["hole"]))
    return torch.autograd.grad(losses.sum(), own)[0][:, 0]


g = sample_gradients(v, batch)
gradients(torch.zeros(B))  # the package, with all samples dropped
package_g = objective.encoder.uncond_vector.grad[0, 0]
print(f"g {tuple(g.shape)}; largest difference of the mean from the package's"
      f" gradient: {(g.mean(0) - package_g).abs().max():.1e}")
assert torch.allclose(g.mean(0), package_g, atol=1e-3 * float(g.abs().max()))
epochs = [default_collate([objective[e, i] for i in range(B)])
          for e in range(4)]  # new holes, noise, timesteps each time
""")

md(r"""
**What to notice.** The mean of the *g_i* is the gradient that the package's objective
gives to *v*. With the *g_i* of four batches in hand we can play thousands of steps without
another pass: once for the trained *v*, once for one drawn anew, as at the start of
training.
""")

code(r"""
def variances(g, steps=2000):
    "Of a step's gradient, simulated and computed: [per sample, per batch]."
    draw = torch.Generator().manual_seed(0)
    picked = g[torch.randint(len(g), (steps, B), generator=draw)]
    found = [((torch.rand(coins, generator=draw) < rate) * picked).mean(1)
             .var(0).sum() for coins in ((steps, B, 1), (steps, 1, 1))]
    square, mean = g.square().sum(1).mean(), g.mean(0).square().sum()
    alone = (rate * square - rate ** 2 * mean) / B
    extra = rate * (1 - rate) * (1 - 1 / B) * mean
    return torch.stack(found), torch.stack([alone, alone + extra])


fresh = torch.randn(v.shape, generator=torch.Generator().manual_seed(1))
for name, vector in (("v as trained", v), ("v drawn anew", fresh)):
    g = torch.cat([sample_gradients(vector, b) for b in epochs])
    found, computed = variances(g)
    print(f"{name}: once per batch {found[1] / found[0]:5.1f} times as noisy"
          f" (computed {computed[1] / computed[0]:.1f})")
    assert torch.allclose(found, computed, rtol=.2, atol=0)
""")

md(r"""
**What to notice.** Only the shape of the coins differs between the two ways. While *v* is
still wrong, all samples pull it the same way, and the common coin multiplies the noise.
Once *v* has settled they pull in many directions, and less of the difference is left: per
sample matters most early in training.
<!-- TODO(measure): that the ratio for "drawn anew" is clearly the larger one -->
""")

# ------------------------------------------------------------------------ 4 formula

md(r"""
## 4 · The formula, by hand

**Predict.** You have a network, two conditions and a scheduler. How many lines does
guided sampling take? How many times is the U-Net asked per step?

**Idea.** Ask the U-Net twice, once with *v* and once with *c*, and extrapolate from the
first answer through the second. We keep the joining rule apart, as a function, so that
the exercises can change it.

$$\mathrm{mix}_s = f(z_t, v) + s\, [f(z_t, c) - f(z_t, v)],
\qquad f, \mathrm{mix}_s: (B, c, h, w)$$
""")

code(r"""
from diffusers import DPMSolverMultistepScheduler


def guided(scale):
    return lambda free, given, t: free + scale * (given - free)


@torch.no_grad()
def paint_by_hand(image, hole, c, v, noise, mix, watch=None):
    z, z_masked = noise, pipe.encode(image * (1 - hole))
    sampler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    sampler.set_timesteps(pipe.config.steps)
    for t in sampler.timesteps:
        x = unet_input(z, z_masked, hole)
        both = torch.cat([v.expand_as(c), c])  # one batch of 2 B
        free, given = pipe.unet(torch.cat([x, x]), t, both).sample.chunk(2)
        if watch is not None:
            watch.append((int(t), z, free, given))
        z = sampler.step(mix(free, given, t), t, z).prev_sample
    return pipe.decode(z)
""")

md(r"""
**What to notice.** Guidance is one line of the sampler, and `v.expand_as(c)` is all that
the null vector has to do. The same from the package:
""")

code(r"""
watched = []
with torch.no_grad():
    wanted = pipe.image_encoder(exemplar[few])
default = pipe.config.guidance_scale
by_hand = paint_by_hand(image[few], hole[few], wanted, v, noise[few],
                        guided(default), watched)
from_package = pipe.paint(image[few], hole[few], exemplar[few], noise[few])
gap = (by_hand - from_package).abs().max().item()
print(f"s = {default}, {len(watched)} steps; "
      f"largest difference from pipe.paint: {gap:.1e}")
assert torch.allclose(by_hand, from_package, atol=1e-3)
assert (by_hand - columns[3]).abs().mean() > .002  # s = 1 is another
""")

md(r"""
**What to notice.** Asked without a scale, `pipe.paint` takes the one that came with the
weights; about ten lines of ours paint the same. Mind other people's conventions: some
write (1 + *w*) *given* - *w* *free*, so that *w* = *s* - 1, and no guidance is *w* = 0.
""")

md(r"""
### ε, z or velocity: all the same

**Predict.** The paper's network predicts ε, ours predicts *z*. Does a scale mean the same
in both?

**Idea.** With *z_t* in hand each prediction is an affine function of the other, as lesson
02 showed. An affine map commutes with any mix whose weights add up to 1, and (1 - *s*) +
*s* = 1.

$$\hat\epsilon = \frac{z_t - \sqrt{a_t}\, \hat z}{\sqrt{1 - a_t}}, \qquad
\mathrm{velocity} = \sqrt{a_t}\, \hat\epsilon - \sqrt{1 - a_t}\, \hat z,
\qquad \text{all } (B, c, h, w)$$

The score, too, is ε but for a factor: the score is -ε / √(1 - a). So this *is* section 1.
""")

code(r"""
a = pipe.scheduler.alphas_cumprod


def to_eps(z_hat, z_t, t):
    return (z_t - a[t].sqrt() * z_hat) / (1 - a[t]).sqrt()


def to_velocity(z_hat, z_t, t):
    return a[t].sqrt() * to_eps(z_hat, z_t, t) - (1 - a[t]).sqrt() * z_hat


t, z_t, _, given = watched[10]
eps, velocity = to_eps(given, z_t, t), to_velocity(given, z_t, t)
back = a[t].sqrt() * z_t - (1 - a[t]).sqrt() * velocity
print(f"t = {t}: eps, velocity {tuple(eps.shape)}; from velocity back to z: "
      f"{(back - given).abs().max():.1e}")
assert torch.allclose(back, given, atol=1e-4)
""")

md(r"""
**What to notice.** One answer of our network, written as the paper's network and as a
velocity network would give it. Now mix first and convert then, or the other way round:
""")

code(r"""
def disagreement(mix, to):
    "Mix, then convert - against: convert, then mix; over all steps."
    return max(float((to(mix(free, given, t), z_t, t) - mix(
        to(free, z_t, t), to(given, z_t, t), t)).abs().max())
        for t, z_t, free, given in watched)


broken = lambda free, given, t: 2 * given - .5 * free  # weights add to 1.5
for to in (to_eps, to_velocity):
    right, wrong = (disagreement(mix, to) for mix in
                    (guided(default), broken))
    print(f"{to.__name__:<12} guidance {right:.1e}, broken rule {wrong:.1e}")
    assert right < 1e-3 and wrong > .1
""")

md(r"""
**What to notice.** Guidance says the same in every parametrisation, up to rounding. A
rule whose weights do not add up to 1 does not: part of *z_t* itself would be amplified.
""")

md(r"""
### What is amplified, and where

**Predict.** Look at *given* - *free* at four steps, from noise to picture. Where is it
large?

**Idea.** Both answers see the same table, so on the table they should agree. What is left
is what the exemplar alone can know.

$$\Delta = \Big( \tfrac{1}{c} \sum_{\text{channels}}
[f(z_t, c) - f(z_t, v)]^2 \Big)^{1/2}: (B, h, w)$$
""")

code(r"""
def difference(free, given):
    return (given - free).square().mean(1).sqrt()  # (B, h, w)


steps = [watched[i] for i in (1, 6, 12, 20)]
who = 0  # which of the four pairs
views = [[pipe.decode(free)[who] for _, _, free, _ in steps],
         [pipe.decode(given)[who] for _, _, _, given in steps],
         [pipe.decode(guided(6)(free, given, t))[who]
          for t, _, free, given in steps],
         [difference(free, given)[who] for _, _, free, given in steps]]
plots.grid(views, [f"t = {t}" for t, *_ in steps],
           ["with v", "with c", "mixed, s = 6", "difference"], side=1.5);
""")

md(r"""
**What to notice.** The first three rows are the network's guesses of the final picture;
in the last row white is where the two guesses differ most. The difference is the object,
and its outline. Mixed at 6 its colours go beyond both guesses: too much light, too much
dark.
<!-- TODO(measure): whether the colours at s = 6 overshoot here; choose a telling `who` -->
""")

code(r"""
cells = torch.nn.functional.interpolate(hole[few], size=noise.shape[-2:])[:, 0]
power = torch.stack([difference(free, given) ** 2
                     for _, _, free, given in watched]).sum(0)  # (4, h, w)
inside = float((power * cells).sum() / power.sum())
print(f"the hole is {cells.mean():.0%} of the picture "
      f"and holds {inside:.0%} of the squared difference")
assert inside > cells.mean() + .1
""")

md(r"""
**What to notice.** Guidance acts inside the hole and nearly nowhere else, although the
formula does not mention the hole: the two answers agree where the mask says "keep".
<!-- TODO(measure): "nearly nowhere else": the share inside should be above about 90 % -->
""")

# ------------------------------------------------------------------------ 5 sweep

md(r"""
## 5 · The sweep: identity against quality

**Predict.** Draw two curves over the scale, from 0 to 6: how often the right object is
recognised, and how visible the border of the hole is. Where would you stop?

**Idea.** Same pairs, same noise, six scales. *Right object* and *CLIP score* tell of
identity; *leak*, *seam*, *light* and the PSNR outside the hole, before pasting back, tell
of quality. We add *contrast*, the spread of the colours in the hole against the right
answer's: above 1 the picture is too garish.

$$\mathrm{contrast} = \frac{\mathrm{std}(y_{\text{hole}})}{\mathrm{std}(y^\star_{\text{hole}})},
\qquad y, y^\star: (H, W, 3)$$
""")

code(r"""
from pbe_lite.evaluate import paint_pairs, read_results, score

SCALES = (0, 1, 2, 3, 4.5, 6)
SHOWN = ("right_object", "clip_score", "leak", "seam", "light",
         "background_psnr_raw", "contrast")


def contrast(pairs, results):
    return np.array([y[p.hole].std() / p.truth.image[p.hole].std()
                     for p, y in zip(pairs, results)])


answers, table = {}, {}
for s in SCALES:
    raw, answers[s] = paint_pairs(pipe, pairs, guidance_scale=s)
    table[s] = {**score(pairs, raw, answers[s]),
                "contrast": contrast(pairs, answers[s])}
print(f"{len(SCALES)} scales, {len(pairs)} pairs,",
      f"{pipe.config.steps} steps each")
""")

md(r"""
First look, then count: one row a pair, from scale 0 to scale 6.
""")

code(r"""
shown = range(5)
plots.grid([[pairs[i].exemplar, *(answers[s][i] for s in SCALES),
             pairs[i].truth.image] for i in shown],
           ["exemplar", *(f"s = {s}" for s in SCALES), "right answer"],
           side=1.05);
""")

md(r"""
**What to notice.** From left to right the object becomes the one that was asked for, then
becomes too much of it: harder edges, stronger colours. Size and tilt need not be those of
the right answer.
<!-- TODO(measure): choose telling pairs for `shown`; check "too much" at s = 6 -->
""")

code(r"""
def show(pair=0, s=3):
    p = pairs[pair]
    plots.strip([plots.overlay(p.source.image, p.hole), p.exemplar,
                 answers[s][pair], p.truth.image],
                ["hole", f"a {p.name}", f"s = {s}", "right answer"])
    plt.show()


show()
""")

md(r"""
**Try it.** The picture above is static. The sliders below do the same for all pairs and
scales; everything is painted already, so they answer at once. (Where no kernel runs, they
show as one line of text.)
""")

code(r"""
from ipywidgets import IntSlider, SelectionSlider, interact

interact(show, pair=IntSlider(0, 0, len(pairs) - 1),
         s=SelectionSlider(options=SCALES, value=3));
""")

md(r"""
### The two curves

**Predict.** Will the identity go on rising up to scale 6?

**Idea.** Mean over the pairs, with its 95 % bootstrap interval, for one number of each
kind.

$$\bar m(s) = \frac{1}{N} \sum_n m_n(s), \qquad m: (\text{scales}, N)$$
""")

code(r"""
summary = {s: {k: metrics.bootstrap(row[k]) for k in SHOWN}
           for s, row in table.items()}
fig, left = plt.subplots(figsize=(5.5, 3), layout="constrained")
for axis, name, colour in ((left, "right_object", "C0"),
                           (left.twinx(), "seam", "C3")):
    mean, low, high = (np.array([summary[s][name][k] for s in SCALES])
                       for k in ("mean", "low", "high"))
    axis.plot(SCALES, mean, "o-", color=colour)
    axis.fill_between(SCALES, low, high, color=colour, alpha=.15)
    axis.set_ylabel(name.replace("_", " "), color=colour)
    axis.axvline(pipe.config.guidance_scale, color="k", linestyle=":")
left.set_xlabel("guidance scale s");
""")

md(r"""
**What to notice.** Blue is identity, more is better. Red is the seam, where 1 is
invisible; the bands are 95 % intervals and the dotted line is this model's default.
Identity climbs up to about the default and then levels off, while the seam keeps rising.
<!-- TODO(measure): holds from 2 to 6 on 200 pairs; check the seam at 0 and 1 -->
""")

code(r"""
mean = {k: {s: summary[s][k]["mean"] for s in SCALES} for k in SHOWN}
print(f"{'s':<20}" + "".join(f"{s:8}" for s in SCALES))
for k in SHOWN:
    print(f"{k:<20}" + "".join(f"{mean[k][s]:8.2f}" for s in SCALES))
for k in ("right_object", "clip_score"):
    assert mean[k][0] < mean[k][3], k
assert mean["seam"][2] < mean["seam"][6]
assert mean["background_psnr_raw"][3] > mean["background_psnr_raw"][6]
""")

md(r"""
**What to notice.** At scale 0 the exemplar has no say, so only luck makes the object right.
Beyond the default quality falls: more leak, more seam, a larger light error, fewer dB
outside the hole. So guidance disturbs, a little, even what it should leave alone.
<!-- TODO(measure): holds from 3 to 6 on 200 pairs; contrast is not measured yet -->
""")

md(r"""
### Which scale?

**Predict.** The authors' documentation uses 5 (verified), this model's default is 3. Is
one of them wrong?

**Idea.** Take the smallest scale that is not worse than the best one by more than chance,
judged on the *differences* over the same pairs, in either identity number. More would
only cost quality.

$$s^\star = \min \{\, s : \text{the 95 \% interval of } \overline{m(s_{\text{best}}) - m(s)}
\text{ contains } 0 \,\}, \qquad m: (N,)$$
""")

code(r"""
def choose(metric):
    "The best scale, and the smallest that chance may not tell from it."
    m = {s: table[s][metric] for s in SCALES}
    best = max(SCALES, key=lambda s: m[s].mean())
    return best, next(s for s in SCALES if
                      metrics.bootstrap(m[best] - m[s])["low"] <= 0)


for k in ("right_object", "clip_score"):
    best, chosen = choose(k)
    print(f"{k:<20} best {best}, chosen {chosen}, default {default}")
    assert chosen > 0, "scale 0 cannot be good enough"
print("\n6 minus 3:")
for k in SHOWN:
    d = metrics.bootstrap(table[6][k] - table[3][k])
    print(f"{k:<20}{d['mean']:8.2f}  [{d['low']:.2f}, {d['high']:.2f}]")
assert default == LITE.guidance_scale == 3
""")

md(r"""
**What to notice.** Beyond 3 this model gains no identity that the pairs could show, and
pays in quality. Hence its default. That does not make 5 wrong for the full-size model:
the best scale belongs to a model and its data, so it has to be measured, as here.
<!-- TODO(measure): are both `chosen` 3 (right object may choose 2 on few pairs)? intervals of
"6 minus 3"; on 200 pairs the best means were at 4.5, hardly above 3 -->
""")

md(r"""
### What it costs

**Predict.** How much longer does a guided picture take?

**Idea.** The second question to the U-Net is no smaller than the first. At s = 1 the two
answers need no mixing, so the package leaves one of them out.

$$\text{passes} = \text{steps} \times \begin{cases} 1 & s = 1 \\ 2 & s \ne 1 \end{cases}$$
""")

code(r"""
import time

passes, seconds = {}, {}
for s in (1, 3):
    seen = []
    hook = pipe.unet.register_forward_hook(
        lambda unet, x, out, seen=seen: seen.append(len(x[0])))
    start = time.perf_counter()
    pipe.paint(image, hole, exemplar, noise, guidance_scale=s)
    seconds[s] = time.perf_counter() - start
    hook.remove()
    passes[s] = sum(seen) // len(image)
    print(f"s = {s}: {passes[s]} passes a picture, "
          f"{seconds[s] / len(image):.2f} s")
assert passes[3] == 2 * passes[1] == 2 * pipe.config.steps
""")

md(r"""
**What to notice.** Twice the passes, and about twice the time: guidance is the most
expensive knob of the sampler. Exercise 1 gets part of it back.
""")

# ------------------------------------------------------------------------ 6 table

md(r"""
## 6 · What the idea adds in the study

**Predict.** Two models, trained on the same samples from the same prior. Only one was
trained with the drop and is guided. Which numbers will it win, and which will it lose?

**Idea.** This is the last step of the paper's Table 2. Our arm `augment` (class token,
augmentation, no null vector) is the table's row "+ bottleneck"; `final` adds the null
vector and guidance.

$$\text{table}: (\text{arms}, \text{splits}, \text{metrics}) \to
(\text{mean}, \text{low}, \text{high})$$
""")

code(r"""
study = read_results("table2")
rows = {arm: study["rows"][arm]["seen"] for arm in ("augment", "final")}
print(f"{study['samples']:,} training samples each; seen pairs")
print(f"{'':<13}{'augment':>24}{'final':>24}")
for k in ("right_object", "clip_score", "clip_fid", "qs", "leak", "seam",
          "light"):
    texts = [f"{r[k]['mean']:.2f} [{r[k]['low']:.2f}, {r[k]['high']:.2f}]"
             for r in rows.values()]
    print(f"{k:<13}" + "".join(f"{text:>24}" for text in texts))
gain = {arm: r["right_object"] for arm, r in rows.items()}
apart = gain["final"]["low"] > gain["augment"]["high"]
print(f"intervals of right object apart: {apart}")
assert gain["final"]["mean"] > gain["augment"]["mean"]
""")

md(r"""
**What to notice.** Guidance raises the right object by more than the intervals allow for
chance.
<!-- TODO(measure): `apart` on seen pairs (a bar of issue 3); what the other rows say -->

The paper reports the same step in its own numbers (as recalled, unverified here):

| paper, Table 2 | CLIP-FID | QS | CLIP score |
|---|---|---|---|
| + bottleneck | 3.26 | 76.62 | 81.41 |
| + classifier-free guidance | 3.18 | 77.80 | 84.97 |

All three of its numbers improve.
<!-- TODO(measure): which of ours agree (clip_fid down, qs up, clip_score up) -->
""")

code(r"""
arms = {k: v["seen"]["right_object"] for k, v in study["rows"].items()
        if k in ("augment", "final", "ground_truth")}
plots.bars(arms, "right object, seen pairs",
           bar=arms["ground_truth"]["mean"])
d = metrics.bootstrap(table[3]["right_object"] - table[1]["right_object"])
print(f"one model, scale 3 minus scale 1: {d['mean']:.2f} "
      f"[{d['low']:.2f}, {d['high']:.2f}]")
""")

md(r"""
**What to notice.** Bars are means, whiskers 95 % intervals. The dashed line is what the
judge makes of the right answers themselves.

One caution. The step changes two things at once, the drop in training and the scale in
sampling. The printed line separates them: in one and the same model, the shipped `final`,
the scale alone already gives a gain.
<!-- TODO(measure): that the printed interval lies above 0 -->
""")

# ------------------------------------------------------------------------ exercises

md(r"""
## Exercises

All three change `paint_by_hand`: its rule `mix`, or what stands in for *v*. The helper
paints 16 pairs and prints their means; it runs only when you have an answer.
""")

code(r"""
from pbe_lite import canvas
from pbe_lite.pipeline import to_bytes


def try_rule(name, mix, stand_in=None):
    "Paint the first 16 pairs; stand_in: c -> what takes the place of v."
    null = v if stand_in is None else stand_in(c)
    raw = list(to_bytes(paint_by_hand(image, hole, c, null, noise, mix)))
    window = canvas.Window(0, 0, pipe.resolution)
    done = [canvas.paste(p.source.image, r, p.hole, window)
            for p, r in zip(pairs, raw)]
    values = score(pairs[:16], raw, done)
    values["contrast"] = contrast(pairs[:16], done)
    print(f"{name:<14}", *(f"{k} {np.nanmean(values[k]):.2f}" for k in
                           ("right_object", "clip_score", "seam", "contrast")))
    return done


free, given = torch.randn(2, 3, *noise.shape[1:],
                          generator=torch.Generator().manual_seed(0))
""")

md(r"""
### 1 · Guidance for a while (easy, 10 minutes)

Guide with scale 6, but only while 200 <= *t* <= 700; before and after, use the
condition's answer alone (Kynkäänniemi et al., 2024). Outside the interval no second pass
would be needed.
""")

code(r"""
def mix_interval(free, given, t, scale=6, low=200, high=700):
    "free, given: (B, c, h, w); t: a timestep -> (B, c, h, w)."
    return None  # your lines


def check_interval(mix):
    answer = mix(free, given, 500)
    if answer is None:
        return print("not solved yet")
    inside = guided(6)(free, given, 500)
    assert torch.allclose(answer, inside, atol=1e-4), "inside"
    for t in (100, 199, 701, 950):
        outside = mix(free, given, t)
        assert torch.allclose(outside, given, atol=1e-4), f"at t = {t}"
    print("solved")
    try_rule("always 6", guided(6))
    try_rule("200 to 700", mix)


check_interval(mix_interval)
""")

md(r"""
<details><summary>Hint 1</summary>

`low <= t <= high` also works when *t* is a tensor with one number.
</details>
<details><summary>Hint 2</summary>

"The condition's answer alone" is scale 1.
</details>
<details><summary>Solution</summary>

```python
def mix_interval(free, given, t, scale=6, low=200, high=700):
    s = scale if low <= t <= high else 1
    return free + s * (given - free)
```

Compare contrast and seam of the two lines, and try other intervals.
<!-- TODO(measure): whether seam and contrast fall and the right object stays -->
</details>
""")

md(r"""
### 2 · Guidance without the glare (medium, 15 minutes)

Guidance extrapolates, so the mix is stronger than either answer. Bring it back (Lin et
al., 2024): scale each sample of the mix so that its standard deviation, over channels and
places, is that of *given*. Then return `share` of this and `1 - share` of the plain mix.
""")

code(r"""
def mix_rescaled(free, given, t, scale=6, share=.7):
    "free, given: (B, c, h, w) -> (B, c, h, w)."
    return None  # your lines


def check_rescaled(mix):
    plain, full = guided(6)(free, given, 0), mix(free, given, 0, share=1)
    if full is None:
        return print("not solved yet")
    spread = lambda x: x.flatten(1).std(1)
    assert torch.allclose(spread(full), spread(given), rtol=1e-3), "spread"
    assert torch.allclose(mix(free, given, 0, share=0), plain, atol=1e-4)
    half = (plain + full) / 2
    assert torch.allclose(mix(free, given, 0, share=.5), half, atol=1e-4)
    print("solved")
    try_rule("plain 6", guided(6))
    try_rule("rescaled 6", mix)


check_rescaled(mix_rescaled)
""")

md(r"""
<details><summary>Hint 1</summary>

`x.std((1, 2, 3), keepdim=True)` has shape (B, 1, 1, 1), one number for each sample.
</details>
<details><summary>Hint 2</summary>

Multiply the mix by the spread of *given* over its own spread.
</details>
<details><summary>Solution</summary>

```python
def mix_rescaled(free, given, t, scale=6, share=.7):
    mixed = free + scale * (given - free)
    spread = lambda x: x.std((1, 2, 3), keepdim=True)
    calmed = mixed * spread(given) / spread(mixed)
    return share * calmed + (1 - share) * mixed
```

The contrast comes down while the scale stays. Note that this rule is no longer the same
for ε and *z*: the division by a spread is not affine, so section 4's argument does not
hold for it.
<!-- TODO(measure): that "rescaled 6" has a contrast nearer to 1 than "plain 6" -->
</details>
""")

md(r"""
### 3 · A negative exemplar (medium, 15 minutes)

Nothing forces us to start from *v*. Write `negative`: it takes the conditions of the
batch and gives each sample the condition of *another* one, so that guidance says "more of
mine, less of theirs". The check also tries zeros in place of *v*.
""")

code(r"""
def negative(c):
    "c: (B, 1, D) -> (B, 1, D), each row that of another sample."
    return None  # your lines


def check_negative(stand_in):
    answer = stand_in(c)
    if answer is None:
        return print("not solved yet")
    assert answer.shape == c.shape, "shape"
    same = (answer[:, None] == c[None]).all(-1).all(-1)  # (B, B)
    assert same.any(1).all(), "a row is nobody's condition"
    assert not same.diagonal().any(), "a row is still its own"
    print("solved")
    columns = [try_rule(k, guided(default), f) for k, f in (
        ("v", None), ("zeros", torch.zeros_like), ("negative", stand_in))]
    rows = [[p.exemplar, *row] for p, row in zip(pairs[:4], zip(*columns))]
    plots.grid(rows, ["exemplar", "v", "zeros", "negative"], side=1.2)


check_negative(negative)
""")

md(r"""
<details><summary>Hint 1</summary>

Any order of the batch will do in which nobody keeps the own place.
</details>
<details><summary>Hint 2</summary>

`torch.roll` moves all rows on by one.
</details>
<details><summary>Solution</summary>

```python
def negative(c):
    return c.roll(1, 0)
```

A negative exemplar needs no null vector, so any model can be guided by one. But it
subtracts *one* other object, not "anything": what is amplified depends on the pair. Zeros
were never a condition in training; the model's answer to them means nothing in particular.
<!-- TODO(measure): how right object and seam of the three lines compare -->
</details>
""")

md(r"""
## Where we are

- Guidance walks along the difference of two scores, *s* times. It buys certainty and pays
  with variety, picture quality and a second pass of the U-Net.
- The null vector is one learnable vector. It learns from 20 % of the samples, and each
  sample decides for itself: one coin for all would leave most steps without any gradient
  for it.
- The rule is one line, the same for ε, *z* and velocity, and equals `pipe.paint`.
- The scale belongs to the model: sweep it, look at identity *and* quality.

All of the paper's ideas are on the table now. But did we measure them well? Every judge
can be fooled.

**Next: [07 · Evaluation](07_evaluation.ipynb)**. **Back to** the
[map of the course](00_start_here.ipynb).
""")

# ------------------------------------------------------------------------ write

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
path = Path(__file__).with_name("06_classifier_free_guidance.ipynb")
path.write_text(json.dumps(NOTEBOOK, indent=1, ensure_ascii=False) + "\n")
print(path, len(CELLS), "cells")
