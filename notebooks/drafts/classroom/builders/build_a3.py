"""A3: augmentation, null vector and guidance."""

from sheet import Sheet

CONSTANTS = {
    "p_flip": ("0.45", ["0.35", "0.55", "0.65"]),
    "p_tint": ("0.36", ["0.28", "0.42", "0.54"]),
    "tint": ("0.22", ["0.16", "0.19", "0.26", "0.29"]),
    "reach": ("0.31", ["0.27", "0.33", "0.37"]),
    "push": ("0.17", ["0.14", "0.18", "0.21"]),
    "rate": ("0.23", ["0.12", "0.24", "0.32"]),
    "purpose": ("417", ["419", "431", "439", "443"]),
    "calm": ("0.6", ["0.4", "0.7", "0.8"]),
    "low": ("235", ["150", "180", "270"]),
    "high": ("680", ["640", "720", "760"]),
    "steps": ("90", ["70", "110", "130"]),
    "sigma": ("18", ["14", "22", "26"]),
    "redraws": ("700", ["600", "800", "900"]),
    "seed": ("7307", ["7309", "7321", "7331", "7333"]),
}
EXPECTED = {
    "augmented": ("int(augment(RAMP, default_rng(3))[:, :4].astype(int).sum())", "{}"),
    "untouched": ("untouched([0.5, 0.5, 0.3, 0.3])", "{:.4f}"),
    "area": ("random_affine(32, default_rng(<<seed>>))[1]", "{:.5f}"),
    "m00": ("random_affine(32, default_rng(<<seed>>))[0][0, 0]", "{:.5f}"),
    "count": ("int(dropped(5, 2, range(1000)).sum())", "{}"),
    "var_sample": ("1000 * variances(16)[0]", "{:.4f}"),
    "rescaled": ("float(guide_rescaled(FREE, GIVEN, 3)[1, 0, 2, 2])", "{:.5f}"),
    "spread": ("float(toy_samples(3, START).std(0).mean())", "{:.5f}"),
    "scale": ("choose(SWEEP)[0]", "{:.2f}"),
    "lost": ("choose(SWEEP)[1]", "{:.5f}"),
}

s = Sheet("a3", CONSTANTS, EXPECTED)

s.md(r"""
# A3 · Augmentation, the null vector and guidance

**What.** You change exemplars at random without touching the answer, drop conditions sample by
sample, write guidance in three forms, and choose a scale from a sweep.

| | |
|---|---|
| needs | lessons 05 and 06; numpy. The last plot uses the shipped model |
| time | about 110 minutes; the tests run in seconds, the last plot in about a minute |
| points | 100: 65 by tests, 35 by a person |
| hand in | this file, under its own name |

**How it works.** Write your lines where `raise NotImplementedError()` stands. The cell
below each task checks your work and says what is wrong; more tests run when it is graded.
Test cells are put back as they were before grading, so changing them helps nobody. You may
add cells. Restart the kernel and run all cells before you hand in.

The package and the lessons have relatives of these functions. Details differ on purpose and
change every term: follow the task. Where a task says in which order to draw random numbers, the
tests rely on it.
""")
s.given("setup", r"""
import warnings

import numpy as np
from numpy.random import default_rng

warnings.simplefilter("ignore")
RAMP = np.zeros((8, 8, 3), np.uint8)  # a small exemplar, not symmetric
RAMP[..., 0] = np.arange(8) * 30 + 40
RAMP[..., 1] = (np.arange(8) * 20 + 110)[:, None]
RAMP[..., 2] = 160
START = default_rng(<<seed>>).standard_normal((400, 2))
FREE, GIVEN = default_rng([<<seed>>, 1]).normal(0, 1, (2, 4, 3, 5, 5))
GIVEN = GIVEN + .5 * FREE  # two answers of a network, (B, c, h, w)
""")

# ------------------------------------------------------------------------------ task 1

s.md(r"""
## 1 · Augment the exemplar (9 points)

Write `augment(array, rng)` for an exemplar (E, E, 3) uint8. Two operations, in this order, each
decided by its own `rng.uniform() < p`:

1. **flip**, p = <<p_flip>>: mirror left and right;
2. **tint**, p = <<p_tint>>: multiply each channel by its own gain, `rng.uniform(1 - t, 1 + t, 3)` with
   t = <<tint>>; round, clip to 0..255, back to uint8.

The generator is asked for the three gains only when the tint is done. Return a new array; the
input stays as it was.

**Expected.** The numbers in the left half of `augment(RAMP, default_rng(3))` add up to
<<augmented>>.
""")
s.hints(
    "Columns are axis 1: `array[:, ::-1]` mirrors left and right.",
    "An array (E, E, 3) times one of shape (3,) multiplies channel by channel, and is float.",
    "`.astype(np.uint8)` of 270 is 14: round and clip *before* converting.")
s.answer("augment", r"""
def augment(array, rng):
    "(E, E, 3) uint8 -> (E, E, 3) uint8, drawn with the generator rng."
    ### BEGIN SOLUTION
    if rng.uniform() < <<p_flip>>:
        array = array[:, ::-1]
    if rng.uniform() < <<p_tint>>:
        gains = rng.uniform(1 - <<tint>>, 1 + <<tint>>, 3)
        array = (array * gains).round().clip(0, 255).astype(np.uint8)
    return array.copy()
    ### END SOLUTION
""")
s.check("augment", 3, r"""
import numpy as np

before = RAMP.copy()
many = [augment(RAMP, np.random.default_rng(i)) for i in range(200)]
assert np.array_equal(RAMP, before), "the input was changed"
assert all(a.shape == (8, 8, 3) and a.dtype == np.uint8 for a in many)
same = np.mean([np.array_equal(a, RAMP) for a in many])
assert .2 < same < .55, f"{same:.0%} come out untouched"
flipped = np.mean([np.array_equal(a, RAMP[:, ::-1]) for a in many])
assert flipped > .1, f"{flipped:.0%} are flipped and not tinted"
assert not any(np.ptp(a[..., 2]) for a in many), "an even channel stays even"
total = int(many[3][:, :4].astype(int).sum())
assert total == <<augmented>>, f"sum {total}: check order, range and rounding"
print("fine so far")
""")
s.hidden("augment", 6, r"""
for _seed in range(60):
    _rng, _same = (np.random.default_rng([60, _seed]) for _ in range(2))
    _a = np.random.default_rng(_seed).integers(0, 256, (6, 6, 3))
    _a = _a.astype(np.uint8)
    _kept, _wanted = _a.copy(), _a.astype(float)
    if _same.uniform() < <<p_flip>>:
        _wanted = np.flip(_wanted, 1)
    if _same.uniform() < <<p_tint>>:
        _gain = 1 + <<tint>> * (2 * _same.uniform(size=3) - 1)
        _wanted = np.clip(_wanted * _gain, 0, 255)
    _found = augment(_a, _rng)
    assert np.array_equal(_a, _kept), "the input was changed"
    assert np.abs(_found - _wanted).max() <= .51, f"case {_seed}"
    assert _rng.uniform() == _same.uniform(), "more or fewer draws than asked"
""")

# ------------------------------------------------------------------------------ task 2

s.md(r"""
## 2 · How many stay untouched? (3 points)

Write `untouched(ps)`: operations are drawn independently with the probabilities in the list `ps`;
what share of the exemplars goes through with none of them?

**Expected.** For the paper's four operations, `untouched([0.5, 0.5, 0.3, 0.3])` is <<untouched>>.
""")
s.hints(
    "The chance that one operation is *not* drawn is 1 - p.",
    "Independent events: multiply.",
    "`np.prod` multiplies all numbers of an array. Of an empty list it gives 1.")
s.answer("untouched", r"""
def untouched(ps):
    "Probabilities of independent operations -> the share with none."
    ### BEGIN SOLUTION
    return float(np.prod(1 - np.asarray(ps, float)))
    ### END SOLUTION
""")
s.check("untouched", 1, r"""
share = untouched([0.5, 0.5, 0.3, 0.3])
assert abs(share - <<untouched>>) < 1e-4, f"{share}"
print("fine so far")
""")
s.hidden("untouched", 2, r"""
for _n in range(6):
    _p = np.random.default_rng([61, _n]).uniform(0, 1, _n)
    _wanted = 1.0
    for _q in _p:
        _wanted *= 1 - _q
    assert abs(untouched(list(_p)) - _wanted) < 1e-9, f"{_n} operations"
""")

# ------------------------------------------------------------------------------ task 3

s.md(r"""
## 3 · A random affine map (9 points)

The paper's "elastic" operation is in effect an affine map, fixed by three anchors and where they
go. Write `random_affine(side, rng)` for a picture of `side` pixels; points are (row, column).

- Anchors $a$, (3, 2): the centre (side / 2, side / 2), plus r in the directions (1, 1), (1, -1),
  (-1, -1), with r = <<reach>> · side for both axes.
- Targets $b = a + \delta$ with $\delta$ = side · `rng.uniform(-q, q, (3, 2))`, q = <<push>>.
- To draw the result one asks, for each of *its* points, where it comes from. So find M, (3, 2),
  with $[\,b\ \ 1\,]\, M = a$.
- The area factor: by how much the map *enlarges* areas, $\det(b_0 - b_1,\ b_2 - b_1)\, /\,
  \det(a_0 - a_1,\ a_2 - a_1)$.

Return `(M, factor)`.

**Expected.** `random_affine(32, default_rng(<<seed>>))`: M[0, 0] is <<m00>>, the factor <<area>>.
""")
s.hints(
    "Write a and b as arrays (3, 2) first, and print them: a is fixed, b is near to it.",
    "`np.column_stack([b, np.ones(3)])` is $[b\\ \\ 1]$, (3, 3). `np.linalg.solve` does the rest.",
    "`np.linalg.det(b[[0, 2]] - b[1])` is the determinant of the two edges at point 1.")
s.answer("affine", r"""
def random_affine(side, rng):
    "-> M (3, 2), which takes [row, column, 1] back, and the area factor."
    ### BEGIN SOLUTION
    corners = np.array([(1, 1), (1, -1), (-1, -1)])
    a = side / 2 + <<reach>> * side * corners
    b = a + side * rng.uniform(-<<push>>, <<push>>, (3, 2))
    M = np.linalg.solve(np.column_stack([b, np.ones(3)]), a)
    edges = [np.linalg.det(p[[0, 2]] - p[1]) for p in (b, a)]
    return M, edges[0] / edges[1]
    ### END SOLUTION
""")
s.check("affine", 3, r"""
import numpy as np

M, factor = random_affine(32, np.random.default_rng(<<seed>>))
assert np.shape(M) == (3, 2), f"shape {np.shape(M)}"
assert abs(M[0, 0] - <<m00>>) < 2e-5, (
    f"M[0, 0] = {M[0, 0]:.5f}: does M take b back to a, and not a to b?")
assert abs(factor - <<area>>) < 2e-5, f"factor {factor:.5f}"
print("fine so far")
""")
s.hidden("affine", 6, r"""
for _seed in range(30):
    _rng, _same = (np.random.default_rng([62, _seed]) for _ in range(2))
    _side = 20 + _seed
    _M, _factor = random_affine(_side, _rng)
    _a = .5 + <<reach>> * np.array([[1, 1], [1, -1], [-1, -1]])
    _b = _a + _same.uniform(-<<push>>, <<push>>, (3, 2))
    for _p, _q in zip(_a, _b):
        _back = np.array([*(_q * _side), 1]) @ _M
        assert np.allclose(_back, _p * _side), "M must take b back to a"
    # the linear part of M shrinks what the map enlarges
    _wanted = 1 / np.linalg.det(_M[:2])
    assert np.isclose(_factor, _wanted), f"{_factor}, wanted {_wanted}"
""")

# ------------------------------------------------------------------------------ task 4

s.md(r"""
## 4 · Drop the condition, sample by sample (14 points)

Guidance needs a model that has also learnt *without* a condition. So the condition of a share
p = <<rate>> of the samples is dropped. Whether a sample is dropped belongs to the sample: write
`dropped(seed, epoch, indices)`, a boolean array with one entry for each index,

$$d_i = [\, u_i < p \,], \qquad u_i \text{ from } \texttt{default\_rng([seed, epoch, index, }
<<purpose>> \texttt{]).uniform()}$$

(the last number tells this use of chance from others). Order, batches and the number of processes
must not matter.

Then `variances(B)`: the variance of the *share of dropped samples in a batch* of B, as a tuple:
with one coin a sample, and with one coin for the whole batch.

**Expected.** Of the first 1000 samples of epoch 2 under seed 5, <<count>> are dropped. With
B = 16 the first variance is <<var_sample>> thousandths.
""")
s.hints(
    "A new generator for each index, made inside the loop.",
    "A list comprehension over `indices`, wrapped in `np.array(..., bool)`.",
    "One coin has variance p (1 - p). The mean of B independent coins has a B-th of that.")
s.answer("drop", r"""
def dropped(seed, epoch, indices):
    "-> (len(indices),) bool."
    ### BEGIN SOLUTION
    own = [default_rng([seed, epoch, int(i), <<purpose>>]) for i in indices]
    return np.array([rng.uniform() for rng in own]) < <<rate>>
    ### END SOLUTION


def variances(B):
    "-> variance with a coin a sample, and with a coin a batch."
    ### BEGIN SOLUTION
    coin = <<rate>> * (1 - <<rate>>)
    return coin / B, coin
    ### END SOLUTION
""")
s.check("drop", 4, r"""
import numpy as np

d = dropped(5, 2, range(1000))
assert d.shape == (1000,) and d.dtype == bool, f"{d.shape}, {d.dtype}"
assert 0 < d.sum() < 1000, "all or none: one coin for the whole batch?"
assert np.array_equal(dropped(5, 2, range(500, 520)), d[500:520]), (
    "a sample's drop must not depend on the batch that it is in")
assert np.array_equal(dropped(5, 2, [7, 3]), d[[7, 3]]), "nor on the order"
assert not np.array_equal(dropped(5, 3, range(1000)), d), "epochs differ"
assert d.sum() == <<count>>, f"{d.sum()} are dropped"
print("fine so far")
""")
s.hidden("drop", 6, r"""
for _seed, _epoch in ((0, 0), (0, 1), (1, 0), (9, 4)):
    _u = np.array([np.random.default_rng((_seed, _epoch, i, <<purpose>>)).random()
                   for i in range(300)])
    _found = dropped(_seed, _epoch, np.arange(300))
    assert np.array_equal(_found, _u < <<rate>>), f"seed {_seed}, epoch {_epoch}"
_a, _b = (dropped(0, e, i) for e, i in ((0, range(1, 200)), (1, range(199))))
assert not np.array_equal(_a, _b), "epoch 1, index 0 is not epoch 0, index 1"
""")
s.check("variances", 1, r"""
each, once = variances(16)
assert abs(1000 * each - <<var_sample>>) < 1e-3, f"{1000 * each:.4f} thousandths"
print("fine so far")
""")
s.hidden("variances", 3, r"""
_coins = np.random.default_rng(63).random((200_000, 8)) < <<rate>>
_each, _once = variances(8)
assert abs(_each / _coins.mean(1).var() - 1) < .03, "a coin a sample"
assert abs(_once / _coins[:, 0].var() - 1) < .03, "a coin a batch"
assert np.isclose(variances(64)[0], _once / 64), "B"
""")

# ------------------------------------------------------------------------------ task 5

s.md(r"""
## 5 · The null vector (9 points)

Write `conditions(c, v, drop)`: c (B, 1, D), null vector v (1, 1, D), drop (B,) of bool; the result
has v in place of c where `drop` is true. No input may change.

Then the gradient. The loss is the *mean* over the batch, $L = \tfrac1B \sum_i \ell_i$, and you are
given $g_i = \partial \ell_i / \partial\, \text{condition}_i$ as `g` (B, 1, D). Write
`null_gradient(g, drop)`: $\partial L / \partial v$, shape (1, 1, D). In a batch without a dropped
sample it is 0.

**Expected.** With g = 1 everywhere, B = 4 and one sample dropped, each number is 0.25.
""")
s.hints(
    "`drop[:, None, None]` has shape (B, 1, 1), and `np.where` fits all three shapes together.",
    "Only dropped samples let v through; each of them adds its g.",
    "The mean divides by B, *not* by the number of dropped samples.")
s.answer("null", r"""
def conditions(c, v, drop):
    "c: (B, 1, D), v: (1, 1, D), drop: (B,) bool -> (B, 1, D)."
    ### BEGIN SOLUTION
    return np.where(drop[:, None, None], v, c)
    ### END SOLUTION


def null_gradient(g, drop):
    "g: (B, 1, D), of each sample's own loss -> (1, 1, D)."
    ### BEGIN SOLUTION
    reached = np.where(drop[:, None, None], g, 0)
    return reached.sum(0, keepdims=True) / len(g)
    ### END SOLUTION
""")
s.check("null", 3, r"""
import numpy as np

c, v = np.ones((4, 1, 3)), np.full((1, 1, 3), 9.)
drop = np.array([False, True, False, False])
mixed = conditions(c, v, drop)
assert mixed.shape == (4, 1, 3), f"shape {mixed.shape}"
assert np.array_equal(mixed[:, 0, 0], [1, 9, 1, 1]), f"{mixed[:, 0, 0]}"
assert np.ptp(mixed, axis=-1).max() == 0, "whole vectors are exchanged"
assert (c == 1).all(), "c was changed"
gradient = null_gradient(c, drop)
assert gradient.shape == (1, 1, 3), f"shape {gradient.shape}"
assert np.allclose(gradient, .25), f"{gradient}"
assert (null_gradient(c, drop & False) == 0).all(), "nothing dropped"
print("fine so far")
""")
s.hidden("conditions", 2, r"""
for _seed in range(10):
    _rng = np.random.default_rng([64, _seed])
    _c, _v, _d = _rng.normal(0, 1, (6, 1, 4)), _rng.normal(0, 1, (1, 1, 4)), \
        _rng.random(6) < .4
    _keep = _c.copy(), _v.copy(), _d.copy()
    _found = conditions(_c, _v, _d)
    _wanted = np.stack([_v[0] if d else x for x, d in zip(_keep[0], _d)])
    assert np.array_equal(_found, _wanted), "conditions"
    for _a, _b in zip((_c, _v, _d), _keep):
        assert np.array_equal(_a, _b), "an input was changed"
""")
s.hidden("null", 4, r"""
for _seed in range(10):
    _rng = np.random.default_rng([65, _seed])
    _c, _t = _rng.normal(0, 1, (2, 7, 1, 3))
    _v, _d = _rng.normal(0, 1, (1, 1, 3)), _rng.random(7) < .3 * (_seed % 4)
    _g = 2 * (np.where(_d[:, None, None], _v, _c) - _t)  # of (x - t)^2, summed
    _found = null_gradient(_g, _d)
    for _k in range(3):
        _h = np.zeros((1, 1, 3))
        _h[..., _k] = 1e-5
        _up, _down = (
            ((np.where(_d[:, None, None], w, _c) - _t) ** 2).sum((1, 2)).mean()
            for w in (_v + _h, _v - _h))
        assert abs(_found[0, 0, _k] - (_up - _down) / 2e-5) < 1e-6, f"{_found}"
""")
s.md(r"""
### One coin for all (written, 8 points)

Somebody throws one coin a step: all samples of the batch are dropped, or none. The expectation is
the same. Name two things that this changes in training, each with a number from task 4 or a
gradient from task 5. When does it matter most: early or late in training?
""")
s.written("coin", 8, r"""
**Example answer.** The share of dropped samples has B times the variance (p (1 - p) in place of
p (1 - p) / B), so the gradient is noisier by whatever the samples have in common. And in most steps,
a share 1 - p of them, the null vector's gradient is exactly 0, while in the others the encoder of
the exemplar gets none: no step trains both tasks. With B samples of their own, a step without v
happens only in a share (1 - p)^B. It matters most early, while v is still wrong: then all samples
pull it in the same direction, and it is this common part that the one coin makes noisy.

**Rubric.** 3: variance with the factor B; 3: zero gradient of v (or of the mapper) in whole steps;
2: early, with a reason.
""")

# ------------------------------------------------------------------------------ task 6

s.md(r"""
## 6 · Guidance, three times (11 points)

`null` and `cond` are the network's two answers, (B, c, h, w).

- `guide(null, cond, s)`: $\;\text{null} + s\,(\text{cond} - \text{null})$.
- `guide_rescaled(null, cond, s)`: guidance makes the answer too strong. Let y be the guided answer.
  Scale each *sample* of y so that its standard deviation over (c, h, w) becomes that of `cond`, and
  call this z. Return $k\, z + (1 - k)\, y$ with k = <<calm>>.
- `guide_interval(null, cond, s, t)`: guided only while <<low>> <= t <= <<high>>; for other
  timesteps the answer with the condition alone.

**Expected.** `guide_rescaled(FREE, GIVEN, 3)[1, 0, 2, 2]` is <<rescaled>>.
""")
s.hints(
    "At s = 1 guidance must give `cond`, at s = 0 `null`. Check this first.",
    "`y.std((1, 2, 3), keepdims=True)` has shape (B, 1, 1, 1): one number a sample.",
    "\"The condition alone\" is scale 1.")
s.answer("guide", r"""
def guide(null, cond, s):
    "(B, c, h, w) twice and a scale -> (B, c, h, w)."
    ### BEGIN SOLUTION
    return null + s * (cond - null)
    ### END SOLUTION


def guide_rescaled(null, cond, s):
    "As guide, with part of its extra strength taken back."
    ### BEGIN SOLUTION
    y = guide(null, cond, s)
    strength = [a.std((1, 2, 3), keepdims=True) for a in (cond, y)]
    return <<calm>> * y * strength[0] / strength[1] + (1 - <<calm>>) * y
    ### END SOLUTION


def guide_interval(null, cond, s, t):
    "As guide, but only for timesteps t inside the interval."
    ### BEGIN SOLUTION
    return guide(null, cond, s if <<low>> <= t <= <<high>> else 1)
    ### END SOLUTION
""")
s.check("guide", 2, r"""
import numpy as np

assert np.allclose(guide(FREE, GIVEN, 0), FREE), "scale 0 is null"
assert np.allclose(guide(FREE, GIVEN, 1), GIVEN), "scale 1 is cond"
assert np.allclose(guide(0 * FREE, GIVEN, 3), 3 * GIVEN), "scale 3"
print("fine so far")
""")
s.hidden("guide", 2, r"""
for _s in (-1, .5, 2.5, 7):
    _wanted = _s * GIVEN + (1 - _s) * FREE
    assert np.allclose(guide(FREE, GIVEN, _s), _wanted), f"s = {_s}"
""")
s.check("rescaled", 1, r"""
value = guide_rescaled(FREE, GIVEN, 3)[1, 0, 2, 2]
assert abs(value - <<rescaled>>) < 2e-5, f"{value:.5f}: one deviation a sample?"
print("fine so far")
""")
s.hidden("rescaled", 3, r"""
_null, _cond = np.random.default_rng(66).normal(0, 1, (2, 5, 2, 3, 3))
_cond = _cond * np.arange(1, 6)[:, None, None, None]
for _s in (1, 2, 6):
    _found, _fits = guide_rescaled(_null, _cond, _s), []
    # a mistake in guide alone costs nothing here
    for _y in (_s * _cond + (1 - _s) * _null, guide(_null, _cond, _s)):
        _ratio = np.array([c.ravel().std() / y.ravel().std()
                           for c, y in zip(_cond, _y)]).reshape(5, 1, 1, 1)
        _wanted = _y * (1 - <<calm>> + <<calm>> * _ratio)
        _fits.append(np.allclose(_found, _wanted))
    assert any(_fits), f"s = {_s}"
""")
s.hidden("interval", 3, r"""
for _t, _s in ((<<low>>, 4), (<<high>>, 4), (500, 4), (<<low>> - 1, 1),
               (<<high>> + 1, 1), (0, 1), (999, 1)):
    _found = guide_interval(FREE, GIVEN, 4, _t)
    _ways = (_s * GIVEN + (1 - _s) * FREE, guide(FREE, GIVEN, _s))
    assert any(np.allclose(_found, _way) for _way in _ways), f"t = {_t}"
""")

# ------------------------------------------------------------------------------ task 7

s.md(r"""
## 7 · A sweep, and a choice (10 points)

**A toy with exact scores.** Three classes in the plane, a Gaussian each; `two_scores` below gives
the score of class 2, the score of all, and p(class 2 | z). Write `toy_samples(scale, start)`: begin at
$z = \sigma_0\, \text{start}$ and walk down the noise levels

$$z \leftarrow z + (\sigma_i - \sigma_{i+1})\, \sigma_i\, g(z), \qquad
g = \text{free} + s\, (\text{given} - \text{free})$$

with `sigmas = np.geomspace(<<sigma>>, .01, <<steps>>)`; the scores are taken at $\sigma_i$.

**The choice.** `choose(values)` gets a dict {scale: array (N,)}, one number a pair and larger is
better, the *same* pairs for every scale. Find the scale with the best mean. Choose the smallest scale
that is not worse than the best by more than chance: redraw the pairs <<redraws>> times, with
`index = default_rng(<<seed>>).integers(N, size=(<<redraws>>, N))`, the same index for all scales. For a
scale s take the differences best - s pair by pair, and the mean of each redrawn set. The scale is
*not* worse when the 2.5 % percentile of these means is <= 0. Return that scale and its percentile,
a tuple of two floats.

**Expected.** `toy_samples(3, START).std(0).mean()` is <<spread>>; `choose(SWEEP)` is (<<scale>>, <<lost>>).
""")
s.hints(
    "`for now, then in zip(sigmas, sigmas[1:])` gives both levels of each step.",
    "`(values[best] - values[s])[index]` has shape (redraws, N); its mean over axis 1 is what you "
    "need.",
    "Go through `sorted(values)` and return at the first scale that is good enough. The best scale "
    "always is.")
s.given("toy", r"""
CENTRES = np.array([(-1.5, -1.), (1.5, -1.), (0., 1.6)])


def two_scores(z, sigma):
    "z: (N, 2) -> given, free: (N, 2), p(class 2 | z): (N,)."
    variance = .8 ** 2 + sigma ** 2
    to_centre = CENTRES - z[:, None]  # (N, 3, 2)
    log_p = -(to_centre ** 2).sum(-1) / (2 * variance)
    share = np.exp(log_p - log_p.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    score = to_centre / variance
    return score[:, 2], (share[..., None] * score).sum(1), share[:, 2]


def made_up_sweep(seed, N=60):
    "{scale: (N,)}: pairs are hard or easy for all scales alike."
    rng = default_rng(seed)
    hard = rng.normal(0, 1, N)
    gain = {0.: -1., 1.: 0., 1.5: .25, 2.: .4, 3.: .45, 5.: .42}
    return {s: hard + g + rng.normal(0, .3, N) for s, g in gain.items()}


SWEEP = made_up_sweep(<<seed>>)
""")
s.answer("sweep", r"""
def toy_samples(scale, start):
    "start: (N, 2) standard normal -> (N, 2)."
    ### BEGIN SOLUTION
    sigmas = np.geomspace(<<sigma>>, .01, <<steps>>)
    z = sigmas[0] * start
    for now, then in zip(sigmas, sigmas[1:]):
        given, free, _ = two_scores(z, now)
        z = z + (now - then) * now * (free + scale * (given - free))
    return z
    ### END SOLUTION


def choose(values):
    "{scale: (N,)} -> the chosen scale, and the percentile of what it loses."
    ### BEGIN SOLUTION
    best = max(values, key=lambda s: values[s].mean())
    N = len(values[best])
    index = default_rng(<<seed>>).integers(N, size=(<<redraws>>, N))
    for scale in sorted(values):
        lost = (values[best] - values[scale])[index].mean(1)
        low = float(np.percentile(lost, 2.5))
        if low <= 0:
            return scale, low
    ### END SOLUTION
""")
s.check("toy", 2, r"""
import numpy as np

points = {s: toy_samples(s, START) for s in (0, 1, 3)}
assert points[1].shape == START.shape
sure = {s: two_scores(z, 0)[2].mean() for s, z in points.items()}
assert sure[0] < .5 < sure[1] < sure[3], f"p(class 2) for s = 0, 1, 3: {sure}"
spread = points[3].std(0).mean()
assert abs(spread - <<spread>>) < 2e-5, f"spread {spread:.5f}"
print("fine so far")
""")
s.hidden("toy", 3, r"""
_start = np.random.default_rng(67).standard_normal((50, 2))
for _scale in (0, 1, 2.5):
    _s = <<sigma>> * (.01 / <<sigma>>) ** (np.arange(<<steps>>) / (<<steps>> - 1))
    _z = _start * _s[0]
    for _i in range(<<steps>> - 1):
        _g, _f, _ = two_scores(_z, _s[_i])
        _g = _scale * _g + (1 - _scale) * _f
        _z = _z + _s[_i] * (_s[_i] - _s[_i + 1]) * _g
    assert np.allclose(toy_samples(_scale, _start), _z, atol=1e-6), _scale
""")
s.check("choose", 1, r"""
chosen, percentile = choose(SWEEP)
assert chosen in SWEEP, f"{chosen} is not one of the scales"
assert abs(chosen - <<scale>>) < 1e-9, (
    f"{chosen}: are the differences taken pair by pair?")
assert abs(percentile - <<lost>>) < 2e-5, f"percentile {percentile:.5f}"
print("fine so far")
""")
s.hidden("choose", 4, r"""
for _seed in range(12):
    _sweep = made_up_sweep(9100 + _seed, 40 + 5 * _seed)
    _n = len(_sweep[0.])
    _rows = np.random.default_rng(<<seed>>).integers(_n, size=(<<redraws>>, _n))
    _top = sorted(_sweep, key=lambda s: _sweep[s].sum())[-1]
    _fine = []
    for _scale in _sweep:
        _gap = [(_sweep[_top][r] - _sweep[_scale][r]).mean() for r in _rows]
        if np.quantile(_gap, .025) <= 0:
            _fine.append((_scale, np.quantile(_gap, .025)))
    _found = choose(_sweep)
    assert _found[0] == min(_fine)[0], f"{_found[0]}, wanted {min(_fine)[0]}"
    assert abs(_found[1] - min(_fine)[1]) < 1e-9, "percentile"
""")
s.md(r"""
### The toy, swept (plot, 9 points)

Draw, over the scales 0 to 5 in steps of 0.25, two curves for `toy_samples(scale, START)`: the mean
p(class 2 | z) and the spread (mean standard deviation of the two coordinates). Axes labelled, a legend or
two labelled axes. Below it, answer in two sentences: what does guidance buy, what does it pay with, and at
which scale are the samples truly those of class 2?
""")
s.plot("toyplot", 9, r"""
import matplotlib.pyplot as plt

swept = np.arange(0, 5.01, .25)
clouds = [toy_samples(one, START) for one in swept]
fig, axis = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
sure_of_it = [two_scores(z, 0)[2].mean() for z in clouds]
axis.plot(swept, sure_of_it, label="p(class 2)")
axis.plot(swept, [z.std(0).mean() for z in clouds], label="spread")
axis.axhline(.8, color="k", linestyle="--", label="spread of class 2")
axis.set(xlabel="scale", ylabel="mean over 400 samples")
axis.legend(frameon=False)
plt.show()
print("Guidance buys certainty (p rises towards 1) and pays with variety (the",
      "spread falls below .8). Only at scale 1 is it the class itself.")
# Rubric: 4 both curves right; 2 labels; 3 certainty, variety, scale 1.
""")
s.md(r"""
### The real thing (plot, 9 points)

Load the shipped model (`data/weights/final`), take the pairs 0, 2, 4 and 6 of the benchmark
(`pbe_lite.pairs.make_pair`) and paint each at the scales 0, 1, 3 and 6, always from seed 0. Show one row
a pair: source, exemplar, the four results, the right answer. One sentence for each scale.
""")
s.plot("real", 9, r"""
import matplotlib.pyplot as plt

from pbe_lite import PaintByExamplePipeline, plots
from pbe_lite.pairs import make_pair
from pbe_lite.presets import DATA

pipe = PaintByExamplePipeline.from_pretrained(DATA / "weights" / "final")
pipe.set_progress_bar_config(disable=True)
asked = [make_pair(i) for i in (0, 2, 4, 6)]
tried = (0, 1, 3, 6)
pages = [[p.source.image, p.exemplar,
          *(pipe(p.source.image, p.hole, p.exemplar, guidance_scale=one,
                 seed=0).images[0] for one in tried), p.truth.image]
         for p in asked]
plots.grid(pages, ["source", "exemplar", *(f"s = {one}" for one in tried),
                   "right answer"])
plt.show()
print("0: some object, not the one asked for. 1: its colours, a vague shape.",
      "3: the object itself. 6: hard edges and overdone colours.")
# Rubric: 4 the right pictures in order; 2 same seed, titles; 3 true sentences.
""")
s.md(r"""
### Which scale would you ship? (written, 9 points)

A sweep of some model gave, as means over the same 200 pairs:

| scale | 1 | 1.5 | 2 | 3 | 5 |
|---|---|---|---|---|---|
| right object | .31 | .42 | .49 | .52 | .53 |
| seam (1 = invisible) | 1.02 | 1.05 | 1.09 | 1.18 | 1.52 |
| light error | 44 | 40 | 41 | 46 | 63 |

Which scale would you ship? What else would you have to know before you say that 5 is better than 3
in *right object*? And a colleague's model has its best values at 5: is one of you wrong?
""")
s.written("ship", 9, r"""
**Example answer.** I would ship 2 or 3: up to there the identity rises clearly, while from 3 to 5 it
gains 1 % and the seam and the light get much worse. Whether .53 against .52 is more than chance
cannot be seen from means: one needs the difference pair by pair with its interval. With 200 pairs a
share near .5 has a standard error of about .035, so .01 alone says nothing. Nobody is wrong: the
scale belongs to the model, its training and its data; the null vector of another model may be less
trained, or its answers closer together. It has to be swept for each model.

**Rubric.** 3: 2 or 3, with both kinds of numbers as the reason; 3: interval of the paired difference
(or the standard error); 3: the scale belongs to the model.
""")
s.build()
