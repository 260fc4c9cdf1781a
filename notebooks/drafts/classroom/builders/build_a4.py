"""A4: evaluation and data parallelism."""

from sheet import Sheet

CONSTANTS = {
    "seed_pairs": ("8101", ["8209", "8311", "8419", "8513"]),
    "scale": ("37.5", ["22.5", "42.5", "52.5", "62.5"]),
    "seed_clouds": ("8117", ["8123", "8147", "8161", "8167"]),
    "draws": ("900", ["700", "800", "1100"]),
    "p_low": ("7.5", ["3.5", "4.5", "6.5"]),
    "p_high": ("92.5", ["93.5", "94.5", "95.5"]),
    "size": ("23", ["19", "29", "31", "37"]),
    "batch": ("12", ["24", "36", "48"]),
    "seed_order": ("8219", ["8221", "8231", "8233", "8237"]),
    "seed_noise": ("8243", ["8263", "8269", "8273", "8287"]),
    "purpose": ("613", ["617", "619", "631", "641"]),
    "decay": ("0.013", ["0.011", "0.017", "0.019"]),
}
EXPECTED = {
    "distance": ("frechet(CLOUD_A, CLOUD_B)", "{:.4f}"),
    "v_mean": ("interval(VALUES, 3)[0]", "{:.5f}"),
    "v_low": ("interval(VALUES, 3)[1]", "{:.5f}"),
    "v_high": ("interval(VALUES, 3)[2]", "{:.5f}"),
    "key_epoch": ("'({}, {})'.format(*keys(5, 1, 2)[0])", "{}"),
    "noise": ("sample_noise(2, 7, (3,))[1]", "{:.5f}"),
    "slope": ("gradient(np.array([1., -1.]), np.eye(2), np.array([0., 2.]))[1]",
              "{:.5f}"),
}

s = Sheet("a4", CONSTANTS, EXPECTED)

s.md(r"""
# A4 · Evaluation and data parallelism

**What.** Half of this sheet is about numbers that can be fooled: you invent two, build the Frechet
distance and an honest interval. The other half makes two processes train as if they were one.

| | |
|---|---|
| needs | lesson 07, and lesson 08 (section on data parallelism); numpy |
| time | about 120 minutes; all cells together run in about a minute |
| points | 100: 65 by tests, 35 by a person |
| hand in | this file, under its own name |

**How it works.** Write your lines where `raise NotImplementedError()` stands. The cell
below each task checks your work and says what is wrong; more tests run when it is graded.
Test cells are put back as they were before grading, so changing them helps nobody. You may
add cells. Restart the kernel and run all cells before you hand in.

The package and the lessons have relatives of these functions. Details differ on purpose and
change every term: follow the task.
""")
s.given("setup", r"""
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.random import default_rng
from PIL import Image

from pbe_lite.tabletop import Scene

warnings.simplefilter("ignore")
S = 64  # the side of the pictures of this sheet


def resize(picture, height, width):
    "(h, w, 3) uint8 -> (height, width, 3) uint8."
    small = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))
""")
s.given("questions", r"""
def question(seed):
    "One edit: arrays of source, hole, exemplar, copy-paste, right answer."
    scene, other = Scene(seed), Scene(seed + 300)
    view, shown = scene.render(S), other.render(S)
    truth = scene.with_object(other.name).render(S)
    low = np.clip(np.minimum(view.box, truth.box)[:2] - .05, 0, 1)
    high = np.clip(np.maximum(view.box, truth.box)[2:] + .05, 0, 1)
    (x0, y0), (x1, y1) = (S * np.array([low, high])).astype(int)
    a, b, c, d = (round(S * v) for v in shown.box)
    exemplar, hole = shown.image[b:d, a:c], np.zeros((S, S), bool)
    hole[y0:y1, x0:x1] = True
    pasted = view.image.copy()
    pasted[y0:y1, x0:x1] = resize(exemplar, y1 - y0, x1 - x0)
    answer = np.where(hole[..., None], truth.image, view.image)
    return {"source": view.image, "hole": hole, "exemplar": exemplar,
            "pasted": pasted, "truth": answer}


QUESTIONS = [question(<<seed_pairs>> + i) for i in range(10)]
""")

# ------------------------------------------------------------------------------ task 1

s.md(r"""
## 1 · Two numbers (14 points)

Invent two numbers that judge a result when the right answer is *not* known. Larger must mean better.

- `won_by_paste(result, source, hole, exemplar)`: copy-paste gets more than the right answer;
- `lost_by_paste(result, source, hole)`: the right answer gets more than copy-paste.

Both get arrays: pictures (S, S, 3) uint8, `hole` (S, S) bool, `exemplar` (h, w, 3) uint8, and return
one finite float. The inputs stay as they were. The first must depend on the exemplar. "More" means:
on average over many questions, by more than chance.

**Expected.** On the ten `QUESTIONS`, at least eight go the right way.
""")
s.hints(
    "Remember that uint8 wraps around: convert to float before you subtract.",
    "Won: what is nearer to the exemplar *as a picture* than the exemplar itself? Compare "
    "something simple of the hole's content with the same thing of the exemplar.",
    "Lost: what gives a paste away at a glance, even if you do not know what was asked for? "
    "`hole[:, 1:] != hole[:, :-1]` finds the places where a row crosses the border.")
s.answer("metrics", r"""
def won_by_paste(result, source, hole, exemplar):
    "-> float; copy-paste wins it."
    ### BEGIN SOLUTION
    ys, xs = np.nonzero(hole)
    inside = result[ys.min():ys.max() + 1, xs.min():xs.max() + 1]
    ours, theirs = (resize(p, 6, 6).astype(float) for p in (inside, exemplar))
    return -float(np.abs(ours - theirs).mean())
    ### END SOLUTION


def lost_by_paste(result, source, hole):
    "-> float; copy-paste loses it."
    ### BEGIN SOLUTION
    grey = result.astype(float).mean(-1)
    across = np.abs(np.diff(grey, axis=1))[np.diff(hole, axis=1)]
    down = np.abs(np.diff(grey, axis=0))[np.diff(hole, axis=0)]
    return -float(np.concatenate([across, down]).mean())
    ### END SOLUTION
""")
s.check("won", 2, r"""
import numpy as np

gains = []
for q in QUESTIONS:
    rest = q["source"], q["hole"], q["exemplar"]
    pasted, truth = (won_by_paste(q[k], *rest) for k in ("pasted", "truth"))
    assert np.isfinite(pasted) and np.isfinite(truth), "not a finite number"
    gains.append(float(pasted) - float(truth))
wins = sum(g > 0 for g in gains)
assert wins >= 8, f"copy-paste wins {wins} of 10: larger must mean better"
print("fine so far")
""")
s.hidden("won", 5, r"""
_gains, _other = [], []
for _i in range(40):
    _q = question(<<seed_pairs>> + 50 + _i)
    _kept = {k: v.copy() for k, v in _q.items()}
    _rest = _q["source"], _q["hole"], _q["exemplar"]
    _gains.append(won_by_paste(_q["pasted"], *_rest)
                  - won_by_paste(_q["truth"], *_rest))
    _swap = QUESTIONS[_i % 10]["exemplar"]
    _other.append(won_by_paste(_q["truth"], *_rest[:2], _swap)
                  != won_by_paste(_q["truth"], *_rest))
    assert all(np.array_equal(_q[k], _kept[k]) for k in _q), "inputs changed"
_g = np.array(_gains, float)
assert _g.mean() > 2 * _g.std() / 40 ** .5, "not by more than chance"
assert np.mean(_other) > .9, "it does not depend on the exemplar"
""")
s.check("lost", 2, r"""
import numpy as np

gains = []
for q in QUESTIONS:
    rest = q["source"], q["hole"]
    pasted, truth = (lost_by_paste(q[k], *rest) for k in ("pasted", "truth"))
    assert np.isfinite(pasted) and np.isfinite(truth), "not a finite number"
    gains.append(float(truth) - float(pasted))
wins = sum(g > 0 for g in gains)
assert wins >= 8, f"the right answer wins {wins} of 10"
print("fine so far")
""")
s.hidden("lost", 5, r"""
_gains = []
for _i in range(40):
    _q = question(<<seed_pairs>> + 50 + _i)
    _kept = {k: v.copy() for k, v in _q.items()}
    _rest = _q["source"], _q["hole"]
    _gains.append(lost_by_paste(_q["truth"], *_rest)
                  - lost_by_paste(_q["pasted"], *_rest))
    assert all(np.array_equal(_q[k], _kept[k]) for k in _q), "inputs changed"
_g = np.array(_gains, float)
assert _g.mean() > 2 * _g.std() / 40 ** .5, "not by more than chance"
""")
s.md(r"""
### Who fools yours? (written, 9 points)

For each of your two numbers, describe an editor that is plainly bad and gets a better value than the
right answer (for the first that is easy; for the second think of an editor that never touches the
border). Then: which *set* of numbers would you report in a paper, and which rows must its table have
besides the models, so that a reader can see through such an editor?
""")
s.written("fooled", 9, r"""
**Example answer.** The first (likeness of the hole's content to the exemplar) is won by copy-paste
itself, and any likeness to the exemplar *as a picture* is, since nothing is more like it than itself.
The second (the step across the border) is won by an editor that blurs, fades or leaves the border
alone: the untouched source with a small blob in the middle, or doing nothing. I would report at least
one number for each way to fail: likeness or right object, leak, seam, light, and one for the set of
pictures (CLIP-FID), each with its interval. The table needs a copy-paste row and a right-answer row,
better also the untouched source: a number in which copy-paste beats the right answer then shows itself.

**Rubric.** 2 for each editor that really wins; 3: several numbers that fail in different ways; 2:
copy-paste and right-answer rows.
""")

# ------------------------------------------------------------------------------ task 2

s.md(r"""
## 2 · The Frechet distance (15 points)

Fit a Gaussian to each of two clouds of features, a (N, D) and b (M, D). Their distance, times
<<scale>>, is

$$F = <<scale>> \cdot \Big( \lVert \mu_a - \mu_b \rVert^2 + \mathrm{tr}\big(A + B - 2\,
(A^{1/2} B A^{1/2})^{1/2}\big) \Big)$$

with the means $\mu$: (D,) and the covariances A, B: (D, D), which divide by N - 1.

First write `root(C)`: the symmetric matrix whose *matrix* square is C, for a symmetric C without
negative eigenvalues: $C = V \Lambda V^\top$ gives $V \Lambda^{1/2} V^\top$. Rounding can make an
eigenvalue slightly negative: treat it as 0. Then write `frechet(a, b)`. Use numpy alone.

**Expected.** `frechet(CLOUD_A, CLOUD_B)` is <<distance>>; of a cloud with itself it is 0.
""")
s.hints(
    "`np.linalg.eigh(C)` gives eigenvalues (D,) and eigenvectors as *columns*.",
    "`np.sqrt(C)` takes the root of each entry. That is another thing, and wrong.",
    "`np.cov(a.T)` has the N - 1 already. Three roots are needed: one of A, one of the product, "
    "and none of the means.")
s.given("clouds", r"""
CLOUD_A = default_rng(<<seed_clouds>>).normal(0, 1, (60, 5))
CLOUD_B = (default_rng([<<seed_clouds>>, 1]).normal(.3, 1, (80, 5))
           @ np.diag([1, .5, 2, 1, .1]) + .2)
""")
s.answer("frechet", r"""
def root(C):
    "C: (D, D), symmetric, no negative eigenvalues -> (D, D)."
    ### BEGIN SOLUTION
    eigenvalues, V = np.linalg.eigh(C)
    return V * np.sqrt(np.maximum(eigenvalues, 0)) @ V.T
    ### END SOLUTION


def frechet(a, b):
    "a: (N, D), b: (M, D) -> float."
    ### BEGIN SOLUTION
    A, B = np.cov(a.T), np.cov(b.T)
    r = root(A)
    apart = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return <<scale>> * float(apart + np.trace(A + B - 2 * root(r @ B @ r)))
    ### END SOLUTION
""")
s.check("root", 2, r"""
import numpy as np

C = np.cov(CLOUD_B.T)
assert np.allclose(root(C) @ root(C), C), "root(C) @ root(C) must be C"
assert np.allclose(root(np.diag([4., 9., 0.])), np.diag([2., 3., 0.]))
print("fine so far")
""")
s.hidden("root", 3, r"""
for _seed in range(10):
    _x = np.random.default_rng([50, _seed]).normal(0, 1, (6, 3 + _seed))
    _C = _x.T @ _x  # of rank 6 at most: eigenvalues of about -1e-16
    _r = root(_C)
    assert np.isfinite(_r).all(), "nan: a tiny negative eigenvalue"
    assert np.allclose(_r, _r.T, atol=1e-6), "not symmetric"
    assert np.allclose(_r @ _r, _C, atol=1e-6), "its square is not C"
    assert np.linalg.eigvalsh(_r).min() > -1e-6, "not the positive root"
""")
s.check("frechet", 3, r"""
import numpy as np

itself = frechet(CLOUD_A, CLOUD_A)
assert abs(itself) < 1e-6, f"a cloud is {itself:.4f} from itself"
moved = frechet(CLOUD_A, CLOUD_A + 2)
assert abs(moved - <<scale>> * 20) < 1e-6, (
    f"{moved:.3f}: five coordinates moved by 2 give 20 times the factor")
value = frechet(CLOUD_A, CLOUD_B)
assert abs(value - <<distance>>) < 2e-4, f"{value:.4f}: check the roots"
print("fine so far")
""")
s.hidden("frechet", 7, r"""
for _seed in range(10):
    _rng = np.random.default_rng([51, _seed])
    _a, _b = _rng.normal(0, 1, (30, 4)), _rng.normal(.5, 2, (45, 4))
    _b = _b @ _rng.normal(0, 1, (4, 4))
    _A, _B = (np.einsum("ni,nj->ij", z, z) / (len(z) - 1)
              for z in (_a - _a.mean(0), _b - _b.mean(0)))
    _roots = np.sqrt(np.linalg.eigvals(_A @ _B).astype(complex)).real.sum()
    _wanted = _A.trace() + _B.trace() - 2 * _roots
    _wanted = <<scale>> * (_wanted + np.square(_a.mean(0) - _b.mean(0)).sum())
    _found, _back = frechet(_a, _b), frechet(_b, _a)
    assert np.isclose(_found, _wanted, 1e-6), f"{_found}, wanted {_wanted}"
    assert np.isclose(_back, _wanted, 1e-6), "b to a is not a to b"
""")
s.md(r"""
### Few pictures look far away (plot, 10 points)

Both clouds now come from the *same* Gaussian, so the true distance is 0. Draw `frechet` of N samples
against 2000 others, D = 16, for N = 20, 30, 50, 100, 200, 400, mean over 5 repetitions, with both axes
logarithmic. Then print in two sentences: what does the curve do, roughly like which power of N, and what
follows for two papers that report a FID on different numbers of pictures?
""")
s.plot("bias", 10, r"""
import matplotlib.pyplot as plt

rng = default_rng(0)
real, counts = rng.normal(0, 1, (2000, 16)), [20, 30, 50, 100, 200, 400]
means = [np.mean([frechet(rng.normal(0, 1, (n, 16)), real) for _ in range(5)])
         for n in counts]
fig, axis = plt.subplots(figsize=(5, 3), layout="constrained")
axis.loglog(counts, means, "o-")
axis.set(xlabel="number of pictures", ylabel="distance (true: 0)")
plt.show()
slope = np.polyfit(np.log(counts), np.log(means), 1)[0]
print(f"The distance falls like N to the power {slope:.1f}, though nothing",
      "differs. Two FIDs can be compared only at the same number of pictures.")
# Rubric: 4 the right experiment, repeated; 2 log axes, labels; 2 about 1/N;
# 2 the same number of pictures.
""")

# ------------------------------------------------------------------------------ task 3

s.md(r"""
## 3 · An honest interval (10 points)

Write `interval(values, seed)`: the mean of `values` (N,) with a bootstrap interval.

1. Leave out every `nan`; n values remain.
2. `index = default_rng(seed).integers(n, size=(<<draws>>, n))`: <<draws>> sets of n, drawn *with*
   replacement.
3. The interval runs from the <<p_low>> % to the <<p_high>> % percentile of the means of these sets.

Return `(mean, low, high)`, three floats. Then write `paired(a, b, seed)`: the interval of a - b for two
models on the same pairs, without the pairs in which either is `nan`.

**Expected.** `interval(VALUES, 3)` is (<<v_mean>>, <<v_low>>, <<v_high>>).
""")
s.hints(
    "`values[~np.isnan(values)]` leaves the rest.",
    "`rest[index]` has shape (draws, n): all sets at once. Their means run over axis 1.",
    "`nan` minus anything is `nan`: `paired` is one line.")
s.given("values", r"""
VALUES = default_rng(4).gamma(2, .1, 50)  # skewed, as leaks are
VALUES[[3, 17, 40]] = np.nan
""")
s.answer("interval", r"""
def interval(values, seed):
    "values: (N,), may hold nan -> mean, low, high."
    ### BEGIN SOLUTION
    rest = values[~np.isnan(values)]
    index = default_rng(seed).integers(len(rest), size=(<<draws>>, len(rest)))
    low, high = np.percentile(rest[index].mean(1), (<<p_low>>, <<p_high>>))
    return float(rest.mean()), float(low), float(high)
    ### END SOLUTION


def paired(a, b, seed):
    "a, b: (N,), one number a pair -> mean, low, high of a - b."
    ### BEGIN SOLUTION
    return interval(a - b, seed)
    ### END SOLUTION
""")
s.check("interval", 3, r"""
import numpy as np

mean, low, high = interval(VALUES, 3)
assert np.isfinite([mean, low, high]).all(), "nan: leave those values out"
assert low < mean < high, f"{low:.4f}, {mean:.4f}, {high:.4f}"
found = np.round([mean, low, high], 5)
wanted = <<v_mean>>, <<v_low>>, <<v_high>>
assert np.allclose(found, wanted, atol=2e-5), f"{found}, wanted {wanted}"
print("fine so far")
""")
s.hidden("interval", 4, r"""
for _seed in range(8):
    _v = np.random.default_rng([52, _seed]).normal(2, 1, 30 + _seed)
    _v[::7] = np.nan
    _clean = np.array([x for x in _v if x == x])
    _rows = np.random.default_rng(_seed).integers(
        len(_clean), size=(<<draws>>, len(_clean)))
    _sets = [_clean[r].mean() for r in _rows]
    _ends = np.quantile(_sets, [<<p_low>> / 100, <<p_high>> / 100])
    _found = interval(_v.copy(), _seed)
    assert np.allclose(_found, [np.nanmean(_v), *_ends]), f"{_found}"
""")
s.hidden("paired", 3, r"""
_rng = np.random.default_rng(53)
_hard = _rng.normal(0, 1, 80)
_a, _b = _hard + _rng.normal(.1, .1, 80), _hard + _rng.normal(0, .1, 80)
_a[5], _b[[9, 11]] = np.nan, np.nan
_mean, _low, _high = paired(_a, _b, 1)
_both = ~np.isnan(_a) & ~np.isnan(_b)
assert abs(_mean - (_a[_both] - _b[_both]).mean()) < 1e-9, "mean difference"
assert 0 < _low < _mean < _high, "these models do differ, pair by pair"
assert _high - _low < .1, "the differences, not the two models, are redrawn"
""")

# ------------------------------------------------------------------------------ task 4

s.md(r"""
## 4 · Who gets which sample (6 points)

Several ranks train together. In each step they share a batch of <<batch>> samples: rank 0 takes the
first `<<batch>> // ranks`, rank 1 the next, and so on. The data set has <<size>> samples; sample number n of the
whole run (n = 0, 1, 2, ...) has

$$\text{epoch} = \lfloor n / <<size>> \rfloor, \qquad \text{index} = \text{order}_{\text{epoch}}[\,n
\bmod <<size>>\,]$$

with `order = default_rng([<<seed_order>>, epoch]).permutation(<<size>>)`.

Write `keys(step, rank, ranks)`: the list of (epoch, index), two ints each, that this rank gets in this
step. Raise `ValueError` when the batch cannot be shared equally.

**Expected.** The first key of `keys(5, 1, 2)` is <<key_epoch>>.
""")
s.hints(
    "The first sample of step s, over all ranks, has number s times the batch.",
    "`divmod(n, <<size>>)` gives the epoch and the place in its order.",
    "A step can lie across the end of an epoch: decide for each n by itself.")
s.answer("keys", r"""
def keys(step, rank, ranks):
    "-> [(epoch, index), ...] of this rank's share."
    ### BEGIN SOLUTION
    if <<batch>> % ranks:
        raise ValueError(f"{ranks} ranks cannot share a batch of <<batch>>")
    share, found = <<batch>> // ranks, []
    for n in range(step * <<batch>> + rank * share, step * <<batch>> + (rank + 1) * share):
        epoch, place = divmod(n, <<size>>)
        order = default_rng([<<seed_order>>, epoch]).permutation(<<size>>)
        found.append((epoch, int(order[place])))
    return found
    ### END SOLUTION
""")
s.check("keys", 2, r"""
whole = keys(1, 0, 1)
assert len(whole) == <<batch>>, f"{len(whole)} keys in a step of one rank"
assert keys(1, 0, 2) + keys(1, 1, 2) == whole, "two ranks share one batch"
assert tuple(keys(5, 1, 2)[0]) == <<key_epoch>>, f"{keys(5, 1, 2)[0]}"
print("fine so far")
""")
s.hidden("keys", 4, r"""
for _ranks in (1, 2, 3, 4):
    _flat = [k for t in range(15) for r in range(_ranks)
             for k in keys(t, r, _ranks)]
    _once = [k for t in range(15) for k in keys(t, 0, 1)]
    assert _flat == _once, f"{_ranks} ranks"
_n = len(_flat) // <<size>>
for _e in range(_n):
    _part = _flat[_e * <<size>>:(_e + 1) * <<size>>]
    _order = np.random.default_rng((<<seed_order>>, _e)).permutation(<<size>>).tolist()
    assert _part == [(_e, i) for i in _order], f"epoch {_e}"
try:
    keys(0, 0, 5)
except ValueError:
    pass
else:
    raise AssertionError("5 ranks must raise ValueError")
""")

# ------------------------------------------------------------------------------ task 5

s.md(r"""
## 5 · Randomness belongs to the sample (6 points)

Write `sample_noise(epoch, index, shape)`: standard *normal* numbers that depend on the sample and on
nothing else, from `default_rng([<<seed_noise>>, epoch, index, <<purpose>>])`.

Then `batch_noise(keys, shape)`: the noise of a list of (epoch, index), stacked, (len(keys), *shape).

**Expected.** `sample_noise(2, 7, (3,))[1]` is <<noise>>.
""")
s.hints(
    "`rng.standard_normal(shape)`; `rng.random` would be uniform.",
    "A list of four numbers is a seed of its own. Their sum is not: (1, 0) and (0, 1) would be "
    "the same sample.",
    "`np.stack` puts the arrays of a list on top of each other.")
s.answer("noise", r"""
def sample_noise(epoch, index, shape):
    "-> array of the given shape."
    ### BEGIN SOLUTION
    own = default_rng([<<seed_noise>>, epoch, index, <<purpose>>])
    return own.standard_normal(shape)
    ### END SOLUTION


def batch_noise(keys, shape):
    "keys: [(epoch, index), ...] -> (len(keys), *shape)."
    ### BEGIN SOLUTION
    return np.stack([sample_noise(*key, shape) for key in keys])
    ### END SOLUTION
""")
s.check("noise", 2, r"""
import numpy as np

found = sample_noise(2, 7, (3,))
assert found.shape == (3,), f"shape {found.shape}"
assert np.array_equal(found, sample_noise(2, 7, (3,))), "twice the same sample"
assert abs(found[1] - <<noise>>) < 2e-5, f"{found[1]:.5f}: normal, this seed?"
together = batch_noise([(0, 1), (1, 0)], (4, 2))
assert together.shape == (2, 4, 2), f"shape {together.shape}"
assert not np.array_equal(*together), "(0, 1) and (1, 0) are two samples"
print("fine so far")
""")
s.hidden("noise", 4, r"""
_keys = [(e, i) for e in range(3) for i in range(40)]
_all = batch_noise(_keys, (2, 3))
assert _all.shape == (120, 2, 3), f"shape {_all.shape}"
for (_e, _i), _x in zip(_keys, _all):
    _rng = np.random.default_rng((<<seed_noise>>, _e, _i, <<purpose>>))
    assert np.allclose(_x, _rng.normal(size=(2, 3))), f"sample {_e, _i}"
_halves = [batch_noise(_keys[k::2], (2, 3)) for k in (0, 1)]
assert np.array_equal(_halves[1], _all[1::2]), "ranks must not matter"
_back = batch_noise(_keys[::-1], (2, 3))
assert np.array_equal(_back, _all[::-1]), "nor must order"
""")
s.md(r"""
### When the seed belongs to the process (written, 8 points)

Somebody writes `torch.manual_seed(seed + rank)` at the start of each process and draws noise, masks and
drops as they come. Name two things that go wrong, or cannot be checked any more, when the number of ranks
changes from 1 to 2 and when a run is killed and resumed. And what goes wrong with `torch.manual_seed(seed)`
on all ranks?
""")
s.written("process", 8, r"""
**Example answer.** A sample's noise, mask and drop then depend on how many samples its process drew
before. With 2 ranks in place of 1 every sample gets other numbers, so nobody can test that two ranks
compute what one would with the doubled batch: a bug in the averaging hides behind the different noise.
After a kill the generators start anew, unless their states were saved too: the resumed run repeats the
random numbers of its beginning, and ends elsewhere than a run that never stopped. With the same seed on
all ranks, the ranks draw in lock-step: sample i of each rank gets the same noise, the same mask shape
and the same drop, so a batch of 2 x B holds only B different draws.

**Rubric.** 3: other numbers with another number of ranks, so no comparison; 3: resume repeats or
differs; 2: lock-step on all ranks.
""")

# ------------------------------------------------------------------------------ task 6

s.md(r"""
## 6 · Two ranks as one (14 points)

A linear model with weights w (D,): the loss of a batch X (B, D), y (B,) is

$$L = \tfrac1B \textstyle\sum_i (x_i \cdot w - y_i)^2 + \lambda\, \lVert w \rVert^2, \qquad \lambda =
<<decay>>$$

Write `gradient(w, X, y)`: $\partial L / \partial w$, (D,).

Then `rank_step(w, X, y, all_reduce, lr)`: one step of gradient descent on *one* rank, which holds only its
share X, y of the batch. `all_reduce(array)` gives every rank the **sum** of what all ranks have handed
in (as in `torch.distributed`); each rank must call it equally often. Return the new weights, the same on
every rank, and the same that *one* process would get from the whole batch. Shares may have different
sizes. `w` itself stays as it was.

**Expected.** `gradient(np.array([1., -1.]), np.eye(2), np.array([0., 2.]))[1]` is <<slope>>.
""")
s.hints(
    "The gradient of the first part is 2 / B times X.T @ (X @ w - y). The second part adds 2 λ w.",
    "A sum of two ranks' mean gradients is twice too large. For shares of different size, their plain "
    "mean is wrong as well.",
    "Weigh each rank's gradient by its number of samples, reduce, and divide by the reduced number of "
    "samples: two calls.")
s.given("ranks", r"""
class Ranks:
    "Threads that play the ranks of a training run."

    def __init__(self, count):
        self.parts = [None] * count
        self.barrier = threading.Barrier(count, timeout=10)

    def all_reduce(self, rank, array):
        "The sum of all ranks' arrays, for every rank."
        self.parts[rank] = np.array(array, float)
        self.barrier.wait()  # until all have handed in
        total = sum(self.parts)
        self.barrier.wait()  # until all have read
        return total

    def run(self, work):
        "[work(rank, all_reduce) of every rank], all at the same time."
        with ThreadPoolExecutor(len(self.parts)) as pool:
            jobs = [pool.submit(self._one, work, rank)
                    for rank in range(len(self.parts))]
        failed = [j.exception() for j in jobs if j.exception()]
        stuck = threading.BrokenBarrierError
        for error in failed:
            if not isinstance(error, stuck):
                raise error
        if failed:
            raise RuntimeError("not all ranks called all_reduce equally often")
        return [job.result() for job in jobs]

    def _one(self, work, rank):
        try:
            return work(rank, lambda array: self.all_reduce(rank, array))
        except BaseException:
            self.barrier.abort()  # nobody waits for this rank any more
            raise
""")
s.answer("step", r"""
def gradient(w, X, y):
    "w: (D,), X: (B, D), y: (B,) -> (D,)."
    ### BEGIN SOLUTION
    return 2 * X.T @ (X @ w - y) / len(X) + 2 * <<decay>> * w
    ### END SOLUTION


def rank_step(w, X, y, all_reduce, lr):
    "This rank's share -> new weights (D,), the same on every rank."
    ### BEGIN SOLUTION
    samples = all_reduce(len(X))
    pull = all_reduce(len(X) * gradient(w, X, y)) / samples
    return w - lr * pull
    ### END SOLUTION
""")
s.check("gradient", 2, r"""
import numpy as np

g = gradient(np.array([1., -1.]), np.eye(2), np.array([0., 2.]))
assert np.shape(g) == (2,), f"shape {np.shape(g)}"
assert abs(g[1] - <<slope>>) < 2e-5, f"{g[1]:.5f}: mean over B? and the decay?"
print("fine so far")
""")
s.hidden("gradient", 3, r"""
def _loss(w, X, y):
    return np.square(X @ w - y).sum() / len(y) + <<decay>> * np.square(w).sum()


for _seed in range(6):
    _rng = np.random.default_rng([54, _seed])
    _X, _y, _w = (_rng.normal(0, 1, shape) for shape in ((7, 3), 7, 3))
    _g = gradient(_w, _X, _y)
    for _k, _e in enumerate(1e-5 * np.eye(3)):
        _d = (_loss(_w + _e, _X, _y) - _loss(_w - _e, _X, _y)) / 2e-5
        assert abs(_g[_k] - _d) < 1e-6, f"{_g[_k]}, wanted {_d}"
""")
s.check("step", 3, r"""
import numpy as np

rng = np.random.default_rng(0)
X, y, w = rng.normal(0, 1, (8, 3)), rng.normal(0, 1, 8), np.ones(3)
new = Ranks(2).run(lambda rank, all_reduce: rank_step(
    w, X[4 * rank:4 * rank + 4], y[4 * rank:4 * rank + 4], all_reduce, .05))
assert (w == 1).all(), "w was changed"
assert np.allclose(new[0], new[1]), f"the ranks differ: {new}"
alone = w - .05 * gradient(w, X, y)
assert np.allclose(new[0], alone), (
    f"one process would get {alone}, two ranks get {new[0]}")
print("fine so far")
""")
s.hidden("step", 6, r"""
_rng = np.random.default_rng(55)
_X, _y = _rng.normal(0, 1, (30, 4)), _rng.normal(0, 1, 30)
_cuts = [slice(0, 3), slice(3, 20), slice(20, 30)]
_start = _rng.normal(0, 1, 4)


def _true(w, X, y):
    return 2 * (X @ w - y) @ X / len(y) + 2 * <<decay>> * w


_many = [_start.copy() for _ in _cuts]
_ways = {_true: _start, gradient: _start}
for _ in range(5):
    _many = Ranks(3).run(lambda rank, all_reduce: rank_step(
        _many[rank], _X[_cuts[rank]], _y[_cuts[rank]], all_reduce, .07))
    # a mistake in gradient alone costs nothing here
    _ways = {f: _w - .07 * f(_w, _X, _y) for f, _w in _ways.items()}
for _new in _many:
    _fits = [np.allclose(_new, _w, atol=1e-9) for _w in _ways.values()]
    assert any(_fits), f"{_new}, wanted {_ways[_true]}"
""")
s.md(r"""
### Is B better than A? (written, 8 points)

Two models were asked the same 200 questions. Right object: A .50 [.43, .57], B .57 [.50, .64]. A colleague
writes "B is better". A reviewer writes "the intervals overlap, so there is no difference". Who is right?
What would you compute, and with which function of this sheet? Sketch a case in which the answer is
"better" in spite of the overlap, and one in which it is not.
""")
s.written("overlap", 8, r"""
**Example answer.** Neither, yet. Intervals that do not overlap prove a difference, but overlapping ones
do not disprove it: both models saw the same questions, and what is hard for both is in both intervals.
One needs the difference question by question with its interval, `paired(b, a, seed)`, and looks whether
it holds 0. Better in spite of the overlap: B is right wherever A is, and in 14 more questions; then no
redrawn set makes B worse than A. Not better: B is right in 60 questions in which A is wrong and wrong in
46 in which A is right; the mean gain is the same, but redrawing the questions turns its sign often.

**Rubric.** 2: overlap does not decide; 3: paired difference and its interval; 3: the two cases (shared
against scattered gains).
""")
s.build()
