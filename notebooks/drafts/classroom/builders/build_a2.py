"""A2: the bottleneck."""

from sheet import Sheet

CONSTANTS = {
    "share": ("0.35", ["0.15", "0.25", "0.45", "0.65"]),
    "gain": ("0.7", ["0.4", "0.6", "0.8", "0.9"]),
    "eps": ("3e-3", ["1e-3", "2e-3", "5e-3"]),
    "temperature": ("1.25", ["1.35", "1.45", "1.55", "1.75"]),
    "h": ("1e-4", ["2e-4", "3e-4", "5e-4"]),
    "cut": ("0.015", ["0.005", "0.012", "0.018", "0.021"]),
    "seed": ("6203", ["6211", "6217", "6221", "6229"]),
    "seed_study": ("6301", ["6311", "6317", "6323", "6329"]),
}
EXPECTED = {
    "blend": ("keep(TOKENS, 'blend')[1, 0, 2]", "{:.5f}"),
    "normed": ("layer_norm(TOKENS[0, :1], 1 + TOKENS[0, 1], TOKENS[0, 2])[0, 3]",
               "{:.5f}"),
    "mapped": ("mapper(TOKENS[:, 0], MAPPER)[2, 0, 4]", "{:.5f}"),
    "attended": ("cross_attention(X, TOKENS, ATTENTION)[0][0, 1, 5]", "{:.5f}"),
    "weight": ("cross_attention(X, TOKENS, ATTENTION)[1][0, 1].max()", "{:.5f}"),
    "jacobian": ("softmax_jacobian(np.array([1., 2., 4.]))[1, 2]", "{:.5f}"),
    "folded": ("fold(TOKENS[:, :1], ATTENTION)[1, 0, 3]", "{:.5f}"),
    "looked": ("looked_at(np.full((1, 26), 1 / 26), PLACES ** 2)[0, 0]", "{:.5f}"),
}

s = Sheet("a2", CONSTANTS, EXPECTED)

s.md(r"""
# A2 · The bottleneck

**What.** One token for a whole exemplar: you build what makes it, prove what it does to
cross-attention, and look at what it costs.

| | |
|---|---|
| needs | lessons 03 and 04; numpy. The last plot uses the shipped lite CLIP |
| time | about 110 minutes; all cells together run in seconds, the last plot in half a minute |
| points | 100: 65 by tests, 35 by a person |
| hand in | this file, under its own name |

**How it works.** Write your lines where `raise NotImplementedError()` stands. The cell
below each task checks your work and says what is wrong; more tests run when it is graded.
Test cells are put back as they were before grading, so changing them helps nobody. You may
add cells. Restart the kernel and run all cells before you hand in.

The package and the lessons have relatives of these functions. Details differ on purpose and
change every term: follow the task.

**Conventions of this sheet.** All numbers are float64 numpy arrays, so a formula can be
checked to nine digits. Tokens have shape (B, 1 + P, d): B exemplars, the **class token first**,
then the tokens of P patches. A linear map has a weight (out, in) and no bias: `x @ W.T`.
""")
s.given("setup", r"""
import warnings

import numpy as np
from numpy.random import default_rng
from scipy.special import erf

warnings.simplefilter("ignore")


def weights(seed, **shapes):
    "{name: array} of the given shapes, small enough to keep numbers near 1."
    return {name: default_rng([seed, i]).normal(0, shape[-1] ** -.5, shape)
            for i, (name, shape) in enumerate(shapes.items())}


TOKENS = default_rng(<<seed>>).normal(0, 1, (3, 26, 8))  # B = 3, P = 25, d = 8
X = default_rng([<<seed>>, 1]).normal(0, 1, (3, 10, 6))  # ten places of a picture
MAPPER = weights(<<seed>>, v=(8, 8), o=(8, 8), up=(32, 8), down=(8, 32),
                 out=(7, 8), scale=(3, 8), shift=(3, 8))
ATTENTION = weights(<<seed>>, q=(6, 6), k=(6, 8), v=(6, 8), o=(6, 6))
""")

# ------------------------------------------------------------------------------ task 1

s.md(r"""
## 1 · What may pass (8 points)

Write `keep(tokens, kind)` for three kinds of bottleneck:

| kind | result | shape |
|---|---|---|
| `"class"` | the class token | (B, 1, d) |
| `"patches"` | all patch tokens | (B, P, d) |
| `"blend"` | $(1 - a)\, h_0 + a\, \bar h$ with $a =$ <<share>> | (B, 1, d) |

Here $h_0$ is the class token and $\bar h$ the mean of the *patch* tokens. Raise `ValueError` for any other kind. Do not change `tokens`.

**Expected.** `keep(TOKENS, "blend")[1, 0, 2]` is <<blend>>.
""")
s.hints(
    "`tokens[:, 0]` has lost an axis; `tokens[:, :1]` has kept it.",
    "The mean over patches is a mean over axis 1 of the patch tokens alone; `keepdims=True` "
    "keeps the axis.",
    "`raise ValueError(f\"unknown kind {kind!r}\")` as the last line catches all other kinds.")
s.answer("keep", r"""
def keep(tokens, kind):
    "(B, 1 + P, d) -> (B, T, d)."
    ### BEGIN SOLUTION
    first, patches = tokens[:, :1], tokens[:, 1:]
    if kind == "class":
        return first
    if kind == "patches":
        return patches
    if kind == "blend":
        return (1 - <<share>>) * first + <<share>> * patches.mean(1, keepdims=True)
    raise ValueError(f"kind must be class, patches or blend, got {kind!r}")
    ### END SOLUTION
""")
s.check("keep", 3, r"""
import numpy as np

shapes = {kind: keep(TOKENS, kind).shape
          for kind in ("class", "patches", "blend")}
assert shapes == {"class": (3, 1, 8), "patches": (3, 25, 8),
                  "blend": (3, 1, 8)}, f"shapes {shapes}"
assert np.array_equal(keep(TOKENS, "class")[:, 0], TOKENS[:, 0]), (
    "the class token is the first one")
value = keep(TOKENS, "blend")[1, 0, 2]
assert abs(value - <<blend>>) < 2e-5, (
    f"{value:.5f}: is the class token in the mean, or a on the wrong side?")
print("fine so far")
""")
s.hidden("keep", 5, r"""
for _seed in range(10):
    _h = np.random.default_rng([90, _seed]).normal(0, 1, (2, 5 + _seed, 4))
    _was = _h.copy()
    _mean = (_h.sum(1) - _h[:, 0]) / (_h.shape[1] - 1)
    _wanted = _h[:, 0] + <<share>> * (_mean - _h[:, 0])
    assert np.allclose(keep(_h, "blend")[:, 0], _wanted), "blend"
    assert np.array_equal(keep(_h, "patches"), _was[:, 1:]), "patches"
    assert np.array_equal(keep(_h, "class"), _was[:, :1]), "class"
    assert np.array_equal(_h, _was), "the tokens were changed"
for _kind in ("all", "", None):
    try:
        keep(_h, _kind)
    except ValueError:
        continue
    raise AssertionError(f"kind {_kind!r} must raise ValueError")
""")

# ------------------------------------------------------------------------------ task 2

s.md(r"""
## 2 · The mapper on one token (12 points)

**First the layer norm** over the last axis, with $\epsilon =$ <<eps>>:

$$\mathrm{LN}(u) = \frac{u - \bar u}{\sqrt{\sigma^2 + \epsilon}} \odot \text{scale} +
\text{shift}, \qquad \sigma^2 = \tfrac1d \textstyle\sum_j (u_j - \bar u)^2, \quad u: (B, d)$$

**Then the mapper.** On one token self-attention can only look at itself, so a block is a deep
MLP with skip connections. In ours each branch is damped by $g =$ <<gain>>:

$$u \leftarrow u + g\, W_o W_v\, \mathrm{LN}_0(u), \qquad
u \leftarrow u + g\, W_{\text{down}}\, \mathrm{GELU}(W_{\text{up}}\, \mathrm{LN}_1(u)), \qquad
c = W_{\text{out}}\, \mathrm{LN}_2(u)$$

with $\mathrm{GELU}(v) = \tfrac12 v\, (1 + \mathrm{erf}(v / \sqrt 2))$. The dict `w` holds `v`,
`o`, `up`, `down`, `out`, and `scale` and `shift` with one row for each of the three norms.
Return shape (B, 1, D): one token a sample.

**Expected.** In the check below the norm gives <<normed>>, and
`mapper(TOKENS[:, 0], MAPPER)[2, 0, 4]` is <<mapped>>.
""")
s.hints(
    "`u.var(-1, keepdims=True)` divides by d, as the formula does. The root belongs over the "
    "sum of variance and epsilon.",
    "$W_o W_v x$ for rows x is `x @ w[\"v\"].T @ w[\"o\"].T`: the map that acts first stands "
    "first.",
    "The second line of the mapper starts from the u that the first line has made.")
s.answer("mapper", r"""
def layer_norm(u, scale, shift):
    "u: (B, d), scale, shift: (d,) -> (B, d)."
    ### BEGIN SOLUTION
    centred = u - u.mean(-1, keepdims=True)
    deviation = np.sqrt(u.var(-1, keepdims=True) + <<eps>>)
    return centred / deviation * scale + shift
    ### END SOLUTION


def mapper(u, w):
    "Class tokens (B, d) and weights -> conditions (B, 1, D)."
    ### BEGIN SOLUTION
    norms = list(zip(w["scale"], w["shift"]))
    u = u + <<gain>> * (layer_norm(u, *norms[0]) @ w["v"].T @ w["o"].T)
    wide = layer_norm(u, *norms[1]) @ w["up"].T
    u = u + <<gain>> * (wide * (1 + erf(wide / 2 ** .5)) / 2) @ w["down"].T
    return (layer_norm(u, *norms[2]) @ w["out"].T)[:, None]
    ### END SOLUTION
""")
s.check("norm", 2, r"""
import numpy as np

ones, zeros = np.ones(8), np.zeros(8)
plain = layer_norm(5 + 3 * TOKENS[0], ones, zeros)
assert plain.shape == (26, 8)
assert np.allclose(plain.mean(-1), 0), "the mean of each row must become 0"
assert np.allclose(plain.std(-1), 1, atol=.02), "its deviation must become 1"
value = layer_norm(TOKENS[0, :1], 1 + TOKENS[0, 1], TOKENS[0, 2])[0, 3]
assert abs(value - <<normed>>) < 2e-5, f"{value:.5f}: check scale and shift"
print("fine so far")
""")
s.hidden("norm", 3, r"""
for _seed in range(10):
    _u, _a, _b = np.random.default_rng([91, _seed]).normal(0, .1, (3, 6, 9))
    _z = _u - _u.sum(1)[:, None] / 9
    _wanted = _z * ((_z ** 2).mean(1)[:, None] + <<eps>>) ** -.5 * _a[0] + _b[0]
    assert np.allclose(layer_norm(_u, _a[0], _b[0]), _wanted, atol=1e-9)
""")
s.check("mapper", 3, r"""
import numpy as np

before = TOKENS.copy()
c = mapper(TOKENS[:, 0], MAPPER)
assert c.shape == (3, 1, 7), f"shape {c.shape}, not (3, 1, 7)"
assert np.array_equal(before, TOKENS), "the tokens were changed"
assert abs(c[2, 0, 4] - <<mapped>>) < 2e-5, (
    f"{c[2, 0, 4]:.5f}: check skips, gain, and the order of the maps")
print("fine so far")
""")
s.hidden("mapper", 4, r"""
_erf = erf


def _mapped(u, w):
    _n = [lambda x, k=k: layer_norm(x, w["scale"][k], w["shift"][k])
          for k in range(3)]
    _one = u + <<gain>> * np.einsum("ij,jk,bk->bi", w["o"], w["v"], _n[0](u))
    _v = np.einsum("ij,bj->bi", w["up"], _n[1](_one))
    _v = _v / 2 + _v / 2 * _erf(_v * np.sqrt(.5))
    _two = _one + <<gain>> * np.einsum("ij,bj->bi", w["down"], _v)
    return np.einsum("ij,bj->bi", w["out"], _n[2](_two))


for _seed in range(10):
    _w = weights(7000 + _seed, v=(5, 5), o=(5, 5), up=(9, 5), down=(5, 9),
                 out=(4, 5), scale=(3, 5), shift=(3, 5))
    _u = np.random.default_rng([92, _seed]).normal(0, 2, (6, 5))
    assert np.allclose(mapper(_u, _w)[:, 0], _mapped(_u, _w), atol=1e-9)
""")

# ------------------------------------------------------------------------------ task 3

s.md(r"""
## 3 · Cross-attention (10 points)

Write `cross_attention(x, c, w)`: places `x` (B, n, d) read from tokens `c` (B, T, D). It returns
the output (B, n, d) and the weights A (B, n, T).

$$q = W_q x, \quad k = W_k c, \quad v = W_v c, \qquad
A_{ij} = \frac{e^{s_{ij}}}{\sum_{j'} e^{s_{ij'}}}, \quad
s_{ij} = \frac{q_i \cdot k_j}{\tau \sqrt d}, \qquad \mathrm{out} = W_o\, (A v)$$

with $\tau =$ <<temperature>> and d the width of q. `w` holds `q`, `k`, `v`, `o`. Scores of a
trained model can be large: yours must give no `nan` for a score of 2000.

**Expected.** For `X`, `TOKENS`, `ATTENTION`: `out[0, 1, 5]` is <<attended>>, and the largest
weight of place 1 in sample 0 is <<weight>>.
""")
s.hints(
    "`q @ k.transpose(0, 2, 1)` is (B, n, T): every place against every token.",
    "The weights of a *place* sum to 1: the sum runs over tokens, the last axis.",
    "Subtracting the largest score of a row from that row changes no weight, and keeps the "
    "exponential from overflowing.")
s.answer("attention", r"""
def cross_attention(x, c, w):
    "x: (B, n, d), c: (B, T, D) -> out (B, n, d), A (B, n, T)."
    ### BEGIN SOLUTION
    q, k, v = x @ w["q"].T, c @ w["k"].T, c @ w["v"].T
    scores = q @ k.transpose(0, 2, 1) / (<<temperature>> * np.sqrt(q.shape[-1]))
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    A = raised / raised.sum(-1, keepdims=True)
    return A @ v @ w["o"].T, A
    ### END SOLUTION
""")
s.check("attention", 4, r"""
import numpy as np

out, A = cross_attention(X, TOKENS, ATTENTION)
assert out.shape == (3, 10, 6) and A.shape == (3, 10, 26), (out.shape, A.shape)
assert np.allclose(A.sum(-1), 1), "the weights of a place sum to 1"
assert abs(A[0, 1].max() - <<weight>>) < 2e-5, (
    f"largest weight {A[0, 1].max():.5f}: check the scale of the scores")
assert abs(out[0, 1, 5] - <<attended>>) < 2e-5, f"output {out[0, 1, 5]:.5f}"
loud, _ = cross_attention(2000 * X, TOKENS, ATTENTION)
assert np.isfinite(loud).all(), "large scores overflow"
print("fine so far")
""")
s.hidden("attention", 6, r"""
for _seed in range(10):
    _w = weights(7100 + _seed, q=(7, 7), k=(7, 4), v=(7, 4), o=(7, 7))
    _rng = np.random.default_rng([93, _seed])
    _x, _c = _rng.normal(0, 2, (2, 5, 7)), _rng.normal(0, 2, (2, 1 + _seed, 4))
    _out, _A = cross_attention(_x, _c, _w)
    for _b in range(2):
        for _i in range(5):
            _s = [(_w["q"] @ _x[_b, _i]) @ (_w["k"] @ _t) for _t in _c[_b]]
            _p = np.exp(np.array(_s) / <<temperature>> / 7 ** .5)
            _p = _p / _p.sum()
            assert np.allclose(_A[_b, _i], _p, atol=1e-9), "weights"
            _o = _w["o"] @ (_w["v"] @ (_p @ _c[_b]))
            assert np.allclose(_out[_b, _i], _o, atol=1e-9), "output"
_loud = cross_attention(3e3 * _x, _c, _w)
assert all(np.isfinite(_part).all() for _part in _loud), "overflow"
""")

# ------------------------------------------------------------------------------ task 4

s.md(r"""
## 4 · The gradient that is zero (15 points)

**The derivative of the softmax.** For scores $s: (T,)$ and weights
$p_j = e^{s_j / \tau} / \sum_k e^{s_k / \tau}$ with $\tau =$ <<temperature>>,

$$J_{jk} = \frac{\partial p_j}{\partial s_k} = \frac1\tau\, p_j\, (\delta_{jk} - p_k),
\qquad J: (T, T)$$

Write `softmax_jacobian(s)`.

**Slopes without calculus.** Write `slope(loss, W)`: the gradient of a number `loss(W)` by *central*
differences with $h =$ <<h>>,

$$G_{ij} = \frac{\mathrm{loss}(W + h E_{ij}) - \mathrm{loss}(W - h E_{ij})}{2 h},
\qquad G, W: (\cdot, \cdot)$$

where $E_{ij}$ is 1 at (i, j) and 0 elsewhere. Afterwards `W` must be what it was.

**The experiment.** Write `sizes(x, c, w, target)`: for each of `q`, `k`, `v`, `o` the Frobenius
norm of the slope of $L = \mathrm{mean}\,(\mathrm{out} - \text{target})^2$ with respect to that
weight, as a dict of four floats. Use your `slope` and `cross_attention`; `w` must stay as it was.

**Expected.** `softmax_jacobian(np.array([1., 2., 4.]))[1, 2]` is <<jacobian>>. With one token
the sizes of `q` and `k` are 0 *exactly*, and with two they are not.
""")
s.hints(
    "`np.diag(p) - np.outer(p, p)` is the bracket of the first formula, times p.",
    "Work on a copy of `W`: set one entry to its value plus h, ask, then minus h, ask, then back.",
    "`{**w, name: W}` is the dict of weights with one of them replaced. "
    "`lambda W: ...` makes a function of W out of it.")
s.answer("gradient", r"""
def softmax_jacobian(s):
    "s: (T,) -> (T, T), row j, column k: change of weight j with score k."
    ### BEGIN SOLUTION
    p = np.exp((s - s.max()) / <<temperature>>)
    p = p / p.sum()
    return (np.diag(p) - np.outer(p, p)) / <<temperature>>
    ### END SOLUTION


def slope(loss, W):
    "loss: function of a matrix like W -> a number; returns its gradient."
    ### BEGIN SOLUTION
    G, moved = np.zeros_like(W), W.copy()
    for at in np.ndindex(W.shape):
        moved[at] = W[at] + <<h>>
        above = loss(moved)
        moved[at] = W[at] - <<h>>
        G[at] = (above - loss(moved)) / (2 * <<h>>)
        moved[at] = W[at]
    return G
    ### END SOLUTION


def sizes(x, c, w, target):
    "Norms of the loss's slopes: {'q': ..., 'k': ..., 'v': ..., 'o': ...}."
    ### BEGIN SOLUTION
    def loss(name):
        return lambda W: ((cross_attention(x, c, {**w, name: W})[0]
                           - target) ** 2).mean()

    return {name: float(np.linalg.norm(slope(loss(name), w[name])))
            for name in "qkvo"}
    ### END SOLUTION
""")
s.check("jacobian", 2, r"""
import numpy as np

J = softmax_jacobian(np.array([1., 2., 4.]))
assert J.shape == (3, 3) and np.allclose(J.sum(0), 0), (
    "weights sum to 1, so each column of J sums to 0")
assert J[1, 2] < 0 < J[1, 1], "a score lifts its own weight, lowers others"
assert abs(J[1, 2] - <<jacobian>>) < 2e-5, f"{J[1, 2]:.5f}: check tau"
assert softmax_jacobian(np.array([3.])) == 0, "one token"
print("fine so far")
""")
s.hidden("jacobian", 3, r"""
for _seed in range(10):
    _s = np.random.default_rng([94, _seed]).normal(0, 2, 2 + _seed)
    _p = np.exp(_s / <<temperature>>)
    _p /= _p.sum()
    _wanted = [[_p[j] * ((j == k) - _p[k]) / <<temperature>>
                for k in range(len(_s))] for j in range(len(_s))]
    assert np.allclose(softmax_jacobian(_s), _wanted, atol=1e-9)
""")
s.check("slope", 2, r"""
import numpy as np

W = np.arange(6.).reshape(2, 3)
before = W.copy()
G = slope(lambda W: (W ** 2).sum(), W)
assert G.shape == W.shape, f"shape {G.shape}"
assert np.array_equal(W, before), "W was changed"
assert np.allclose(G, 2 * before, atol=1e-6), f"the slope of W^2 is 2 W: {G}"
print("fine so far")
""")
s.hidden("slope", 4, r"""
_W = np.random.default_rng(95).normal(0, 1, (3, 4))
_asked = []


def _cubic(W):
    _asked.append(np.abs(W - _W).max())
    return (W ** 3).sum()


_G = slope(_cubic, _W)
assert np.allclose(_G, 3 * _W ** 2, atol=3 * <<h>> ** 2), "central differences"
assert len(_asked) <= 25, f"{len(_asked)} calls of loss for 12 numbers"
assert np.allclose(max(_asked), <<h>>, rtol=1e-6), "h"
""")
s.hidden("sizes", 4, r"""
_w = weights(7200, q=(4, 4), k=(4, 5), v=(4, 5), o=(4, 4))
_rng = np.random.default_rng(96)
_x, _c, _y = (_rng.normal(0, 1, shape)
              for shape in ((2, 6, 4), (2, 3, 5), (2, 6, 4)))
_was = {name: value.copy() for name, value in _w.items()}
_one, _many = sizes(_x, _c[:, :1], _w, _y), sizes(_x, _c, _w, _y)
assert set(_one) == set("qkvo"), f"keys {set(_one)}"
assert _one["q"] == _one["k"] == 0, "one token: exactly 0"
assert min(_one["v"], _one["o"]) > .01, "v and o do learn"
assert min(_many.values()) > .0002, "three tokens: all four learn"
_out, _A = cross_attention(_x, _c, _w)
_g = 2 * np.einsum("bni,bnj->ij", _out - _y, _A @ _c @ _w["v"].T) / _y.size
assert abs(_many["o"] - np.linalg.norm(_g)) < 1e-6, "the size of o"
_kept = [np.array_equal(_w[name], _was[name]) for name in _w]
assert all(_kept), "w was changed"
""")
s.md(r"""
### Prove it (written, 10 points)

(a) Show with the chain rule, in three or four lines, that $\partial L / \partial W_q = 0$ for
T = 1, for any loss. Say where T = 1 enters. (b) The lessons' code *freezes* `to_q` and `to_k` of
such a model, although their gradient is zero anyway. What would happen to them in an optimiser
with weight decay if it did not? Would the pictures change?
""")
s.written("proof", 10, r"""
**Example answer.** (a) $W_q$ acts on the loss only through the scores, and the scores only through
the weights: $\partial L / \partial W_q = \sum_{i,j,k} (\partial L / \partial A_{ij})\,
(\partial A_{ij} / \partial s_{ik})\, (\partial s_{ik} / \partial W_q)$. The middle factor is the
softmax's derivative, $A_{ij} (\delta_{jk} - A_{ik}) / \tau$. With T = 1 there is one j = k, and
$A_{i1} = 1$ whatever the score, so it is $1 \cdot (1 - 1) / \tau = 0$. Every summand holds this
factor, hence the sum is 0, whatever the other two factors are. (b) Weight decay shrinks a weight
without asking for its gradient: both matrices would decay to zero. The pictures would not change
at all, since the output does not depend on them; but the weights of the prior would be lost for
whoever goes back to several tokens, and optimiser state would be spent on numbers that do nothing.

**Rubric.** 3: chain rule through scores and weights; 3: the softmax's derivative is 0 because
A = 1 for T = 1; 2: decay to zero; 2: pictures unchanged, with the reason.
""")

# ------------------------------------------------------------------------------ task 5

s.md(r"""
## 5 · Fold it away (4 points)

With one token the output is the same vector at every place: a bias. Write `fold(c, w)` for `c`
(B, 1, D): return that vector, (B, 1, d), without queries, keys or a softmax. Raise `ValueError`
when `c` has more than one token.

**Expected.** `fold(TOKENS[:, :1], ATTENTION)[1, 0, 3]` is <<folded>>.
""")
s.hints(
    "What is A when T = 1? Put it into out = W_o (A v).",
    "Two matrices are left.",
    "`c.shape[1]` is the number of tokens.")
s.answer("fold", r"""
def fold(c, w):
    "c: (B, 1, D) -> (B, 1, d), what cross-attention adds at every place."
    ### BEGIN SOLUTION
    if c.shape[1] != 1:
        raise ValueError(f"one token is needed, got {c.shape[1]}")
    return c @ w["v"].T @ w["o"].T
    ### END SOLUTION
""")
s.check("fold", 1, r"""
bias = fold(TOKENS[:, :1], ATTENTION)
assert bias.shape == (3, 1, 6), f"shape {bias.shape}"
assert abs(bias[1, 0, 3] - <<folded>>) < 2e-5, f"{bias[1, 0, 3]:.5f}"
print("fine so far")
""")
s.hidden("fold", 3, r"""
_w = weights(7300, q=(6, 6), k=(6, 8), v=(6, 8), o=(6, 6))
_c = np.random.default_rng(97).normal(0, 1, (4, 1, 8))
_wanted = [_w["o"] @ (_w["v"] @ t[0]) for t in _c]
assert np.allclose(fold(_c, _w)[:, 0], _wanted)
try:
    fold(np.zeros((2, 2, 8)), _w)
except ValueError:
    pass
else:
    raise AssertionError("two tokens must raise ValueError")
""")

# ------------------------------------------------------------------------------ task 6

s.md(r"""
## 6 · Where all tokens look (9 points)

A model that pastes reads the exemplar *by place*. For each place of the picture, write down the
mean place that it looks at: `looked_at(A, r)` with weights A (n, 1 + P) and patch centres
r (P, 2), result (n, 2).

1. Drop the class token: it has no place.
2. Weights below <<cut>> are noise: set them to 0. (After dropping, before anything else.)
3. Divide by what is left, so that each row sums to 1.
4. Take the weighted mean of r. Rows in which nothing was left become `nan`.

**Expected.** Even weights over 26 tokens, with the centres of the check squared, look at
x = <<looked>>.
""")
s.hints(
    "`A[:, 1:]` are the patches. `np.where(condition, these, 0)` cuts.",
    "`total = kept.sum(1, keepdims=True)` keeps the axis, so that a division works row by row.",
    "0 / 0 gives `nan` in numpy by itself, with a warning that this sheet has switched off.")
s.given("places", r"""
ticks = (np.arange(5) + .5) / 5
PLACES = np.stack(np.meshgrid(ticks, ticks), -1).reshape(25, 2)  # x, y
""")
s.answer("looked", r"""
def looked_at(A, r):
    "A: (n, 1 + P), r: (P, 2) -> (n, 2)."
    ### BEGIN SOLUTION
    kept = np.where(A[:, 1:] < <<cut>>, 0, A[:, 1:])
    share = kept / kept.sum(1, keepdims=True)
    return share @ r
    ### END SOLUTION
""")
s.check("looked", 3, r"""
import numpy as np

one = np.zeros((2, 26))
one[0, 1 + 7], one[1, 1 + 24] = .4, .2
one[:, 0] = 1 - one.sum(1)
found = looked_at(one, PLACES)
assert found.shape == (2, 2), f"shape {found.shape}"
assert np.allclose(found, PLACES[[7, 24]]), (
    f"{found}: token 1 + j is patch j, and rows must sum to 1 again")
even = looked_at(np.full((1, 26), 1 / 26), PLACES ** 2)
assert abs(even[0, 0] - <<looked>>) < 2e-5, f"{even[0, 0]:.5f}"
none = looked_at(np.full((1, 26), <<cut>> / 2), PLACES)
assert np.isnan(none).all(), "a row in which nothing is left must be nan"
print("fine so far")
""")
s.hidden("looked", 6, r"""
for _seed in range(20):
    _rng = np.random.default_rng([98, _seed])
    _A = _rng.dirichlet(np.full(1 + 25, .4), 30)
    _r = _rng.uniform(0, 1, (25, 2))
    _found = looked_at(_A.copy(), _r)
    for _a, _f in zip(_A, _found):
        _w = [(v, p) for v, p in zip(_a[1:], _r) if v >= <<cut>>]
        _sum = sum(v for v, _ in _w)
        _wanted = sum(v * p for v, p in _w) / _sum
        assert np.allclose(_f, _wanted, atol=1e-9), f"{_f}, wanted {_wanted}"
""")

# ------------------------------------------------------------------------------ task 7

s.md(r"""
## 7 · Reading a plot (7 points)

Three models were trained on the same samples: one with all tokens, two with the class token. Their
leak was measured at five guidance scales, with 95 % intervals. (The numbers are made up, new every
term.) Run the cell and look.
""")
s.given("study", r"""
SCALES = np.arange(1, 6)


def study(seed):
    "{model: (means, low, high)}, each (5,)."
    rng = default_rng(seed)
    start, rise = np.array([.05, .05, .2]), np.array([.003, .02, .12])
    means = start[:, None] + rise[:, None] * (SCALES - 1)
    half = rng.uniform(.012, .024, (3, 5))
    order = rng.permutation(3)
    return {name: (means[k], means[k] - half[k], means[k] + half[k])
            for name, k in zip("ABC", order)}


STUDY = study(<<seed_study>>)
""")
s.code(r"""
import matplotlib.pyplot as plt

fig, axis = plt.subplots(figsize=(5.5, 3), layout="constrained")
for model, (mean, low, high) in STUDY.items():
    axis.errorbar(SCALES, mean, (mean - low, high - mean), capsize=3,
                  label=model)
axis.set(xlabel="guidance scale", ylabel="leak")
axis.legend()
plt.show()
""")
s.md(r"""
Fill in `reading`:

- `"all tokens"`: which model is it, `"A"`, `"B"` or `"C"`? (2 points)
- `"apart"`: the smallest scale at which the intervals of the *other two* models do not overlap,
  `None` if there is none; (3 points)
- `"copy-paste"`: the leak that copy-paste would have at scale 3, were it in the plot. (2 points)
""")
s.hints(
    "Pasting does not mean a bad picture, but a high leak.",
    "Two intervals do not overlap when the low end of one lies above the high end of the other. "
    "If you cannot see it, print the numbers: `STUDY[\"A\"]`.",
    "The definition of the leak (lesson 03) names copy-paste. Guidance does not enter it.")
s.answer("reading", r"""
reading = {"all tokens": None, "apart": None, "copy-paste": None}
### BEGIN SOLUTION
by_leak = sorted(STUDY, key=lambda m: STUDY[m][0].max())
separate = STUDY[by_leak[1]][1] > STUDY[by_leak[0]][2]
reading = {"all tokens": by_leak[2],
           "apart": int(SCALES[separate][0]) if separate.any() else None,
           "copy-paste": 1}
### END SOLUTION
""")
s.hidden("letter", 2, r"""
_worst = max(STUDY, key=lambda m: STUDY[m][0][-1])
assert reading["all tokens"] == _worst, "which model pastes?"
""")
s.hidden("apart", 3, r"""
_low, _high = sorted((m for m in STUDY if STUDY[m][0][-1] < .4),
                     key=lambda m: STUDY[m][0][-1])
_gaps = [int(s) for s, a, b in zip(SCALES, STUDY[_high][1], STUDY[_low][2])
         if a > b]
assert reading["all tokens"] is not None, "nothing was filled in"
assert reading["apart"] == (_gaps[0] if _gaps else None), "apart"
""")
s.hidden("paste", 2, r"""
assert float(reading["copy-paste"]) == 1, "the leak of copy-paste"
""")
s.md(r"""
### The real class token (plot, 10 points)

Take the shipped lite CLIP and ten objects of your choice, two crops of each from different scenes.
Compare three descriptions of a crop: class token, mean of the patch tokens, plain pixels. For each,
find out how often the nearest other crop (by cosine) shows the same object, and draw a bar chart
of the three shares. One sentence below the chart says what it shows.

`pbe_lite.clip.load_clip()` gives the model; `model.vision_model(pixel_values=...)` gives
`last_hidden_state` (N, 65, 128), which still needs `model.vision_model.post_layernorm`. Lesson 04,
section 1, has all other pieces.
""")
s.plot("neighbours", 10, r"""
import torch
from PIL import Image

from pbe_lite.augment import squash
from pbe_lite.clip import load_clip
from pbe_lite.tabletop import Scene, object_names
from pbe_lite.triplets import crop_box, to_clip

names = object_names("train")[::34][:10]
crops = []
for k, name in enumerate(names + names):
    shot = Scene(40_000 + k).with_object(name).render(128)
    crops.append(squash(crop_box(Image.fromarray(shot.image), shot.box), 32))
pixels = torch.stack([to_clip(crop) for crop in crops])
tower = load_clip()[0].vision_model
with torch.no_grad():
    h = tower.post_layernorm(tower(pixel_values=pixels).last_hidden_state)
h = h.double().numpy()
views = {"class token": h[:, 0], "mean of patches": h[:, 1:].mean(1),
         "pixels": pixels.double().numpy().reshape(20, -1)}
shares = {}
for view, f in views.items():
    f = f / np.linalg.norm(f, axis=1, keepdims=True)
    likeness = f @ f.T - 9 * np.eye(20)
    shares[view] = np.mean(likeness.argmax(1) % 10 == np.arange(20) % 10)
fig, axis = plt.subplots(figsize=(5, 2), layout="constrained")
axis.barh(list(shares), list(shares.values()))
axis.set(xlabel="nearest crop shows the same object, share", xlim=(0, 1))
plt.show()
# The class token finds the object in another scene far more often than pixels.
# Rubric: 3 crops from two scenes and the right tokens; 3 cosines right, and no
# crop is compared with itself; 2 a chart that can be read; 2 a true sentence.
""")
s.md(r"""
### What it costs (written, 15 points)

**7a (8 points).** Count: how many numbers has an exemplar of 224 x 224 pixels, how many have all
of CLIP ViT-L/14's 257 tokens of width 1024, how many has the class token? Which of the two
bottlenecks *must* forget something, and why can a model with all tokens paste, but one with the
class token cannot?
""")
s.written("count", 8, r"""
**Example answer.** Pixels: 3 x 224 x 224 = 150,528 numbers. All tokens: 257 x 1024 = 263,168, more
than went in, so nothing forces them to forget. Class token: 1,024, less than a hundredth of the
picture: it must forget most. With all tokens each place of the hole can ask for the patch at the
same place of the exemplar and get its content: a channel from place to place, through which
pixels can be copied, background included. One token gives every place the same vector; nothing in
it can depend on where it is read, so the U-Net has to draw from a description.

**Rubric.** 3: the three counts; 2: only the class token must forget; 3: by place against the same
vector everywhere.
""")
s.md(r"""
**7b (7 points).** Readers of the paper report: a particular robot goes in, some other robot comes
out. Explain this with what you built. Then name one use in which you would accept more tokens, and
one in which you would not, each with a reason.
""")
s.written("robot", 7, r"""
**Example answer.** CLIP's class token is trained to agree with a caption: it keeps what a caption
would say ("a robot, white") and not what tells this robot from another. Whatever is lost there
cannot come back behind it, so the model paints *a* robot that fits the description. More tokens are
worth their leak where identity counts and the exemplar is cut out cleanly, for instance a product
on a plain ground that must be shown as it is. One token is better where the exemplar's pose, light
and background must not come along, for instance a casual photo as the exemplar.

**Rubric.** 3: what the class token keeps and what it loses; 2 for each use with a reason.
""")
s.build()
