"""A1: triplets and masks."""

from sheet import Sheet

CONSTANTS = {
    "grow": ("0.06", ["0.04", "0.05", "0.07", "0.08", "0.09"]),
    "least": ("0.11", ["0.02", "0.085", "0.13", "0.16"]),
    "most": ("0.38", ["0.31", "0.34", "0.42", "0.46"]),
    "seed_extend": ("4201", ["4207", "4211", "4217", "4219"]),
    "samples": ("17", ["13", "15", "19", "21"]),
    "pull": ("1.4", ["1.2", "1.3", "1.6", "1.7"]),
    "jitter": ("0.008", ["0.007", "0.009", "0.012", "0.014"]),
    "grey": ("119", ["113", "116", "122", "125"]),
    "side": ("24", ["22", "26", "28", "30"]),
    "opacity": ("0.03", ["0.01", "0.015", "0.025", "0.045"]),
    "near": ("5.5", ["4.5", "6.5", "7.5"]),
    "far": ("21.5", ["18.5", "23.5", "26.5"]),
    "seed_case": ("1117", ["1119", "1123", "1129", "1151"]),
}
BOX = "(.25, .3, .6, .8)"
EXPECTED = {
    "hole_pixels": (f"int(hole_mask({BOX}, 64).sum())", "{}"),
    **{f"e{i}": (f"extend_box({BOX}, default_rng(<<seed_extend>>))[{i}]", "{:.5f}")
       for i in range(4)},
    "top_y": (f"outline({BOX}, (.1, .05, .9, .95))[8, 1]", "{:.5f}"),
    "grey_pixels": ("int((paste(np.full((64, 64, 3), 200, np.uint8), DISC, STRIP)"
                    " == <<grey>>).all(-1).sum())", "{}"),
    "leak_pixels": ("int((CASE['hole'].astype(bool) & (CASE['alpha'] < <<opacity>>)"
                    " & (distance(CASE['truth'], CASE['clean']) < <<near>>)"
                    " & (distance(CASE['pasted'], CASE['clean']) > <<far>>)).sum())",
                    "{}"),
    "leak_half": ("leak(CASE['half'], *(CASE[k] for k in"
                    " ('pasted', 'clean', 'truth', 'alpha', 'hole')))", "{:.5f}"),
}

s = Sheet("a1", CONSTANTS, EXPECTED)

s.md(r"""
# A1 · Triplets and masks

**What.** You build what an exemplar-based editor is trained on: from a picture and a box
to the hole, the masked picture and the exemplar. Then the simplest editor, and the number
that catches it.

| | |
|---|---|
| needs | lessons 00, 01 and 05; numpy |
| time | about 100 minutes; all cells together run in seconds |
| points | 100: 65 by tests, 35 by a person |
| hand in | this file, under its own name |

**How it works.** Write your lines where `raise NotImplementedError()` stands. The cell
below each task checks your work and says what is wrong; more tests run when it is graded.
Test cells are put back as they were before grading, so changing them helps nobody. You may
add cells. Restart the kernel and run all cells before you hand in.

The package has relatives of most of these functions. Their details differ on purpose, and
change every term: follow the task, not the package.

**Conventions of this sheet.** A picture is an array (S, S, 3), uint8. A mask is an array
(S, S), float32, and **1 marks the hole**. A box is (x0, y0, x1, y1) in fractions of the
picture, x to the right and y down. Rows are y, columns are x.
""")
s.given("setup", r"""
import warnings

import numpy as np
from numpy.random import default_rng
from PIL import Image, ImageDraw

from pbe_lite.tabletop import Scene

warnings.simplefilter("ignore")
S = 64  # the side of the pictures of this sheet


def resize(picture, height, width):
    "(h, w, 3) uint8 -> (height, width, 3) uint8."
    small = Image.fromarray(picture)
    return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))


def fill(points, size):
    "Inside of a polygon, (N, 2) of x, y -> (size, size) float32, 1 = inside."
    canvas = Image.new("L", (size, size))
    places = [tuple(map(float, p)) for p in np.asarray(points) * size - .5]
    ImageDraw.Draw(canvas).polygon(places, fill=1)
    return np.asarray(canvas, np.float32)
""")

# ------------------------------------------------------------------------------ task 1

s.md(r"""
## 1 · From a box to a hole (8 points)

Write `hole_mask(box, size)`. The hole is the box, grown by <<grow>> of the picture's side on
all four sides. A pixel is in the hole when its *centre* is: the centre of column $c$ lies at
$x = (c + \tfrac12) / \text{size}$, and it is inside when
$x_0 - g \le x < x_1 + g$ with $g =$ <<grow>>. The same for rows and $y$.

$$m: (\text{size}, \text{size}),\ \text{float32}, \qquad m = 1 \text{ in the hole, } 0
\text{ elsewhere}$$

**Expected.** `hole_mask((.25, .3, .6, .8), 64)` has <<hole_pixels>> pixels in the hole.
""")
s.hints(
    "The centres of all columns are `(np.arange(size) + .5) / size`, and so are those of "
    "all rows.",
    "First decide which columns are inside (`size` truth values), and which rows.",
    "A pixel is inside when its row *and* its column is. `rows[:, None] & columns` puts "
    "rows first.")
s.answer("hole", r"""
def hole_mask(box, size):
    "box: (x0, y0, x1, y1) in fractions -> (size, size) float32, 1 = hole."
    ### BEGIN SOLUTION
    x0, y0, x1, y1 = box
    centre = (np.arange(size) + .5) / size
    columns = (x0 - <<grow>> <= centre) & (centre < x1 + <<grow>>)
    rows = (y0 - <<grow>> <= centre) & (centre < y1 + <<grow>>)
    return (rows[:, None] & columns).astype(np.float32)
    ### END SOLUTION
""")
s.check("hole", 3, r"""
import numpy as np

hole = hole_mask((.25, .3, .6, .8), 64)
assert np.shape(hole) == (64, 64), f"shape {np.shape(hole)}, not (64, 64)"
assert hole.dtype == np.float32, f"dtype {hole.dtype}, not float32"
assert set(np.unique(hole)) <= {0, 1}, "a mask holds 0 and 1 only"
assert hole[35, 27] == 1 and hole[2, 2] == 0, "1 marks the hole, 0 the rest"
assert hole.any(1).sum() > hole.any(0).sum(), (
    "this box is higher than wide: are rows and columns mixed up?")
assert hole.sum() == <<hole_pixels>>, (
    f"{hole.sum():.0f} pixels: is the box grown, and on all four sides?")
print("fine so far")
""")
s.hidden("hole", 5, r"""
def _inside(low, high, size):
    at = (np.arange(size) + .5) / size
    return (at >= low - <<grow>>) & (at < high + <<grow>>)


for _seed in range(40):
    _rng = np.random.default_rng([77, _seed])
    (_x0, _x1), (_y0, _y1) = np.sort(_rng.uniform(0, 1, (2, 2)))
    _size = int(_rng.integers(20, 90))
    _wanted = np.outer(_inside(_y0, _y1, _size), _inside(_x0, _x1, _size))
    _found = np.asarray(hole_mask((_x0, _y0, _x1, _y1), _size))
    assert _found.shape == _wanted.shape
    assert (_found == _wanted).all(), f"box {_x0, _y0, _x1, _y1}, size {_size}"
""")

# ------------------------------------------------------------------------------ task 2

s.md(r"""
## 2 · Extend the box (8 points)

A hole that always fits the object tells the model how large the thing is. So each side of
the box moves outwards by a random share of the *free space* on that side, the space between
this side and the picture's edge.

$$x_0' = x_0 - u_1 x_0, \quad y_0' = y_0 - u_2 y_0, \quad x_1' = x_1 + u_3 (1 - x_1), \quad
y_1' = y_1 + u_4 (1 - y_1)$$

with $u \sim U(<<least>>, <<most>>)$. Draw the four numbers with **one** call of
`rng.uniform`, in the order of the formulas; `rng` is a numpy generator. Return a tuple of
four.

**Expected.** With the box (.25, .3, .6, .8) and `default_rng(<<seed_extend>>)`:
<<e0>>, <<e1>>, <<e2>>, <<e3>>.
""")
s.hints(
    "`rng.uniform(low, high, 4)` draws four numbers at once.",
    "Free space on the left is x0, at the top y0. On the right it is 1 - x1.",
    "Unpack the draw into four names, and write the four formulas as they stand.")
s.answer("extend", r"""
def extend_box(box, rng):
    "box: (x0, y0, x1, y1) -> a larger box, drawn with the generator rng."
    ### BEGIN SOLUTION
    x0, y0, x1, y1 = box
    left, top, right, bottom = rng.uniform(<<least>>, <<most>>, 4)
    return (x0 - left * x0, y0 - top * y0,
            x1 + right * (1 - x1), y1 + bottom * (1 - y1))
    ### END SOLUTION
""")
s.check("extend", 3, r"""
import numpy as np

box = (.25, .3, .6, .8)
wide = extend_box(box, np.random.default_rng(<<seed_extend>>))
assert len(wide) == 4, "return four numbers"
assert 0 <= wide[0] < .25 and 0 <= wide[1] < .3, (
    "left and top must move outwards, but not out of the picture")
assert .6 < wide[2] <= 1 and .8 < wide[3] <= 1, (
    "right and bottom must move outwards, but not out of the picture")
assert np.allclose(wide, (<<e0>>, <<e1>>, <<e2>>, <<e3>>), atol=2e-5), (
    f"got {np.round(wide, 5)}: check range, order and free space")
print("fine so far")
""")
s.hidden("extend", 5, r"""
for _seed in range(40):
    _rng, _same = (np.random.default_rng([78, _seed]) for _ in range(2))
    _box = np.array([.05, .1, .4, .7]) + _rng.uniform(0, .2, 4)
    _same.uniform(0, .2, 4)
    _found = np.array(extend_box(tuple(_box), _rng), float)
    _free = np.concatenate([_box[:2], 1 - _box[2:]])
    _move = _same.uniform(<<least>>, <<most>>, 4) * _free
    _wanted = _box + _move * (-1, -1, 1, 1)
    assert np.allclose(_found, _wanted), f"{_found}, wanted {_wanted}"
    assert _rng.uniform() == _same.uniform(), "one call, four numbers"
""")

# ------------------------------------------------------------------------------ task 3

s.md(r"""
## 3 · A Bezier hole (13 points)

**First the outline.** Each side of the box becomes a quadratic Bezier curve from corner
$P_0$ to corner $P_2$:

$$B(t) = (1 - t)^2 P_0 + 2 t (1 - t) P_1 + t^2 P_2, \qquad t = \tfrac{k}{n}, \quad
k = 0 \ldots n - 1, \quad n = \text{<<samples>> points a side}$$

Let $M$ be the middle of that side of the *box*, and $E$ the point straight outwards of it on
the same side of the *extended* box (so $E$ shares $x$ or $y$ with $M$). The control point
goes beyond $E$:

$$P_1 = M + <<pull>>\,(E - M)$$

Write `outline(box, extended)`. Go round clockwise: top, right, bottom, left, starting at the
upper left corner. Return x, y of all points, shape (4 n, 2).

**Then the hole.** Write `bezier_hole(box, size, rng)`: extend the box (your `extend_box`),
take the outline, add to all coordinates a jitter from a normal distribution with mean 0 and
standard deviation <<jitter>> (one call of `rng.normal`, shape of the points), clip to 0..1,
and `fill` the polygon.

**Expected.** With box (.25, .3, .6, .8) and extended box (.1, .05, .9, .95), point 8 of the
top side has y = <<top_y>>.
""")
s.hints(
    "Put the four corners into an array (4, 2), and the four control points into another.",
    "`t` of shape (n, 1) times a point of shape (2,) gives (n, 2): a whole side at once. "
    "`np.roll(corners, -1, 0)` holds the corner that each side ends in.",
    "For the top side M = ((x0 + x1) / 2, y0) and E = ((x0 + x1) / 2, extended[1]).")
s.answer("bezier", r"""
def outline(box, extended):
    "Two boxes -> (4 n, 2), points x, y of the outline, clockwise."
    ### BEGIN SOLUTION
    x0, y0, x1, y1 = box
    middle = np.array([((x0 + x1) / 2, y0), (x1, (y0 + y1) / 2),
                       ((x0 + x1) / 2, y1), (x0, (y0 + y1) / 2)])
    beyond = middle.copy()
    beyond[[3, 1], 0] = extended[0], extended[2]
    beyond[[0, 2], 1] = extended[1], extended[3]
    control = middle + <<pull>> * (beyond - middle)
    start = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    t = (np.arange(<<samples>>) / <<samples>>)[:, None]
    curves = [(1 - t) ** 2 * a + 2 * t * (1 - t) * p + t ** 2 * b
              for a, p, b in zip(start, control, np.roll(start, -1, 0))]
    return np.concatenate(curves)
    ### END SOLUTION


def bezier_hole(box, size, rng):
    "box -> (size, size) float32, 1 = hole, a wobbly blob around the box."
    ### BEGIN SOLUTION
    points = outline(box, extend_box(box, rng))
    moved = points + rng.normal(0, <<jitter>>, points.shape)
    return fill(np.clip(moved, 0, 1), size)
    ### END SOLUTION
""")
s.check("bezier", 4, r"""
import numpy as np

points = outline((.25, .3, .6, .8), (.1, .05, .9, .95))
n = <<samples>>
assert np.shape(points) == (4 * n, 2), f"shape {np.shape(points)}"
for k, corner in enumerate([(.25, .3), (.6, .3), (.6, .8), (.25, .8)]):
    assert np.allclose(points[k * n], corner), f"side {k} starts at {corner}"
assert points[8, 1] < .3 and points[n + 8, 0] > .6, "curves bend outwards"
assert points[2 * n + 8, 1] > .8 and points[3 * n + 8, 0] < .25, "all four"
assert abs(points[8, 1] - <<top_y>>) < 2e-5, (
    f"y = {points[8, 1]:.5f}: check the weights of the curve and P1")
blob = bezier_hole((.25, .3, .6, .8), 64, np.random.default_rng(0))
assert blob.shape == (64, 64) and blob[35, 27] == 1, "1 marks the hole"
print("fine so far")
""")
s.hidden("bezier", 4, r"""
for _seed in range(20):
    _rng = np.random.default_rng([79, _seed])
    _a, _b, _c, _d = np.array([.2, .3, .5, .6]) + _rng.uniform(0, .1, 4)
    _wide = _a - .1, _b - .12, _c + .14, _d + .16
    _found = outline((_a, _b, _c, _d), _wide)
    _l, _t, _r, _m = (p + <<pull>> * (q - p)
                      for p, q in zip((_a, _b, _c, _d), _wide))
    _x, _y = (_a + _c) / 2, (_b + _d) / 2
    _sides = [((_a, _b), (_x, _t), (_c, _b)), ((_c, _b), (_r, _y), (_c, _d)),
              ((_c, _d), (_x, _m), (_a, _d)), ((_a, _d), (_l, _y), (_a, _b))]
    for _k, _side in enumerate(_sides):
        for _i in range(<<samples>>):
            _s = _i / <<samples>>
            _w = np.array([(1 - _s) ** 2, 2 * _s - 2 * _s ** 2, _s ** 2])
            _at = _found[_k * <<samples>> + _i]
            assert np.allclose(_at, _w @ np.array(_side)), f"side {_k}, {_i}"
""")
s.hidden("jitter", 5, r"""
for _seed in range(20):
    _rng, _same = (np.random.default_rng([80, _seed]) for _ in range(2))
    _box = .2 + .01 * _seed, .25, .55, .7
    _found = bezier_hole(_box, 96, _rng)
    _smooth = outline(_box, extend_box(_box, _same))
    _noise = <<jitter>> * _same.standard_normal(_smooth.shape)
    _wanted = fill((_smooth + _noise).clip(0, 1), 96)
    assert _found.shape == (96, 96) and set(np.unique(_found)) == {0, 1}
    _off = (_found != _wanted).sum()
    assert _off <= 2, f"{_off} pixels differ"
""")

# ------------------------------------------------------------------------------ task 4

s.md(r"""
## 4 · The triplet (11 points)

Write `triplet(picture, box)`. It returns three arrays:

- `masked`, (S, S, 3) uint8: the picture with the hole painted in the grey <<grey>> on all
  three channels;
- `hole`, (S, S): your `hole_mask` of the box;
- `exemplar`, (<<side>>, <<side>>, 3) uint8: the part of the picture inside the *box itself* (not
  the grown hole), from row `round(y0 * S)` up to, not including, row `round(y1 * S)`, the same
  for columns; brought to its size with `resize`.

The input must stay as it was.

**Expected.** `masked` equals the picture wherever `hole` is 0, and the exemplar shows no grey.
""")
s.hints(
    "An assignment like `masked[hole == 1] = value` changes three channels at once.",
    "`masked = picture` does not copy: it is another name for the same array.",
    "Cut the exemplar out of the picture, not out of `masked`. Rows come first in an index.")
s.answer("triplet", r"""
def triplet(picture, box):
    "(S, S, 3) uint8 and a box -> masked, hole, exemplar."
    ### BEGIN SOLUTION
    hole = hole_mask(box, len(picture))
    masked = picture.copy()
    masked[hole == 1] = <<grey>>
    left, top, right, bottom = (round(v * len(picture)) for v in box)
    return masked, hole, resize(picture[top:bottom, left:right], <<side>>, <<side>>)
    ### END SOLUTION
""")
s.check("triplet", 4, r"""
import numpy as np

view = Scene(<<seed_case>>).render(S)
before = view.image.copy()
masked, hole, exemplar = triplet(view.image, view.box)
assert (view.image == before).all(), "the input was changed: copy it first"
assert masked.shape == (S, S, 3) and masked.dtype == np.uint8
assert (masked[hole == 1] == <<grey>>).all(), "the hole must be grey"
assert (masked[hole == 0] == before[hole == 0]).all(), "and only the hole"
assert exemplar.shape == (<<side>>, <<side>>, 3), f"exemplar {exemplar.shape}"
assert (exemplar != <<grey>>).any(-1).mean() > .9, (
    "the exemplar is grey: was it cut out of the masked picture?")
print("fine so far")
""")
s.hidden("triplet", 7, r"""
for _seed in range(12):
    _view = Scene(3000 + _seed).render(S)
    _kept = _view.image.copy()
    _masked, _hole, _exemplar = triplet(_view.image, _view.box)
    assert (_view.image == _kept).all(), "the input was changed"
    assert np.array_equal(_hole, hole_mask(_view.box, S))
    _wanted = np.where(np.asarray(_hole)[..., None] == 1, <<grey>>, _kept)
    assert np.array_equal(_masked, _wanted), "masked"
    _c0, _r0, _c1, _r1 = (round(S * v) for v in _view.box)
    _patch = Image.fromarray(np.ascontiguousarray(_kept[_r0:_r1, _c0:_c1]))
    _patch = _patch.resize((<<side>>,) * 2, Image.Resampling.BILINEAR)
    assert np.array_equal(_exemplar, np.asarray(_patch)), "exemplar"
""")
s.md(r"""
### A page of triplets (plot, 9 points)

Show five scenes of your choice, one a row: the picture, the extended box drawn on it (or the
Bezier hole), `hole`, `masked`, `exemplar`. Titles above the columns; no axis ticks. Below the
page print, for each row, the share of the picture that is hole. A reader who has not seen your
code should understand the page.
""")
s.plot("page", 9, r"""
import matplotlib.pyplot as plt

fig, axes = plt.subplots(5, 5, figsize=(8, 8), layout="constrained")
for row, seed in zip(axes, (2001, 2002, 2004, 2007, 2009)):
    view = Scene(seed).render(S)
    grey, box_hole, thing = triplet(view.image, view.box)
    blob = bezier_hole(view.box, S, default_rng(seed))
    for axis, shown in zip(row, (view.image, blob, box_hole, grey, thing)):
        axis.imshow(shown, cmap="gray", vmin=0)
        axis.set(xticks=[], yticks=[])
    print(f"scene {seed}: {box_hole.mean():.0%} hole, blob {blob.mean():.0%}")
for axis, title in zip(axes[0], ("picture", "Bezier hole", "hole", "masked",
                                 "exemplar")):
    axis.set_title(title)
# Rubric: 3 five right rows; 2 extended box or Bezier hole; 2 titles, no ticks;
# 2 the shares, and they fit what is seen.
""")

# ------------------------------------------------------------------------------ task 5

s.md(r"""
## 5 · Whose polarity? (6 points)

Masks found on disk come in all conventions: 0 and 1, 0 and 255, truth values; 1 = hole or 1 =
keep. Luckily each comes with its masked picture, in which the hole was painted in grey <<grey>>
(all three channels). A few grey pixels may stand elsewhere by chance, and a few pixels of the
hole may have been touched up.

Write `as_hole(mask, masked)`: find out what the mask means, and return it in *our* convention,
float32, 1 = hole.

**Expected.** All four spellings of one mask give the same result.
""")
s.hints(
    "First make truth values of it, whatever the numbers: compare with half of the mask's "
    "largest value.",
    "`(masked == <<grey>>).all(-1)` says where the masked picture is grey.",
    "Compare the share of grey pixels among the marked ones with the share among the others.")
s.answer("polarity", r"""
def as_hole(mask, masked):
    "mask: (S, S) of any kind; masked: (S, S, 3) uint8 -> float32, 1 = hole."
    ### BEGIN SOLUTION
    marked = np.asarray(mask) > np.max(mask) / 2
    grey = (masked == <<grey>>).all(-1)
    if grey[marked].mean() < grey[~marked].mean():
        marked = ~marked
    return marked.astype(np.float32)
    ### END SOLUTION
""")
s.check("polarity", 2, r"""
import numpy as np

truth = np.zeros((S, S), bool)
truth[10:30, 20:50] = True
scene = np.where(truth[..., None], <<grey>>, 60).astype(np.uint8)
for spelling in (truth, ~truth, truth * np.float32(1),
                 np.uint8(255) * truth, np.uint8(255) * ~truth):
    answer = as_hole(spelling, scene)
    assert answer.dtype == np.float32, f"dtype {answer.dtype}, not float32"
    assert (answer == truth).all(), (
        f"wrong for {spelling.dtype}, largest value {spelling.max()}")
print("fine so far")
""")
s.hidden("polarity", 4, r"""
for _seed in range(25):
    _rng = np.random.default_rng([81, _seed])
    _hole = np.zeros((40, 40), bool)
    _size = 6 if _seed % 3 == 0 else 33  # small holes, and large ones
    _hole[2:2 + _size, 3:3 + _size] = True
    _picture = _rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)
    _picture[_hole] = <<grey>>
    _picture[_rng.random((40, 40)) < .05] = (<<grey>>, 7, 7)
    _picture[(_rng.random((40, 40)) < .1) & ~_hole] = <<grey>>
    _kinds = [_hole, ~_hole, np.uint8(255) * _hole, np.uint8(255) * ~_hole,
              _hole.astype(np.uint8), (~_hole).astype(float)]
    _found = as_hole(_kinds[_seed % 6], _picture)
    assert (np.asarray(_found) == _hole).all(), f"case {_seed}"
""")
s.md(r"""
### The commonest bug (written, 8 points)

Somebody feeds masks with 1 = keep to a model that was trained with 1 = hole. Nothing crashes.
Describe in at most eight lines what the pictures look like inside and outside of the hole, and
why. Then give one line of code, to be run once before training, that would have caught it.
""")
s.written("bug", 8, r"""
**Example answer.** The model has learnt to keep what the mask calls known and to invent the
rest. With the mask turned round it takes the grey of the hole for known content and keeps it:
the hole stays a grey patch. Outside, where the true picture is given, it believes that it must
invent, and paints the scene over, so that colours and textures change there. No shape or dtype
is wrong, hence no error. A check: `assert (masked[hole == 1] == grey).all()` on one sample, or
`assert hole.mean() < .5` over many, as holes are mostly smaller than half of the picture.

**Rubric.** 3: grey stays inside; 2: outside is painted over; 1: why nothing crashes; 2: a check
that runs and would really fail.
""")

# ------------------------------------------------------------------------------ task 6

s.md(r"""
## 6 · An editor that pastes (9 points)

Write `paste(image, hole, exemplar)`. Unlike the one of lesson 01 it keeps the exemplar's
proportions:

- the *box of the hole* is the smallest rectangle around all pixels with hole = 1, with
  (height H, width W);
- the scale is $s = \min(H / h,\ W / w)$ for an exemplar of h rows and w columns; it is resized
  to `max(1, round(h * s))` rows and `max(1, round(w * s))` columns;
- it is centred in the box: `(H - rows) // 2` rows below the box's top, the same for columns;
- hole pixels that it does not reach become grey <<grey>>;
- outside the hole nothing changes, and the input arrays stay as they were.

**Expected.** In the check below (a round hole, an exemplar of 30 x 12 pixels) <<grey_pixels>>
pixels become grey.
""")
s.hints(
    "`np.flatnonzero(hole.any(1))` are the rows that the hole touches: its first and last "
    "one give top and H.",
    "Paint everything into a copy of the image's size first, grey and exemplar, without a "
    "thought for the shape of the hole.",
    "At the end, `np.where(hole[..., None] == 1, painted, image)` cuts the shape out.")
s.given("cases", r"""
rows, columns = np.mgrid[:64, :64]
DISC = ((rows - 30) ** 2 + (columns - 34) ** 2 < 400).astype(np.float32)
STRIP = np.zeros((30, 12, 3), np.uint8)  # a colour for each direction
STRIP[..., 0] = np.linspace(0, 90, 30).astype(np.uint8)[:, None]
STRIP[..., 1] = np.linspace(150, 250, 12).astype(np.uint8)
""")
s.answer("paste", r"""
def paste(image, hole, exemplar):
    "(S, S, 3) uint8, (S, S) with 1 = hole, (h, w, 3) uint8 -> (S, S, 3)."
    ### BEGIN SOLUTION
    touched = [np.flatnonzero(hole.any(axis)) for axis in (1, 0)]
    (top, left), (H, W) = zip(*((at[0], at[-1] + 1 - at[0]) for at in touched))
    h, w = exemplar.shape[:2]
    scale = min(H / h, W / w)
    h, w = max(1, round(h * scale)), max(1, round(w * scale))
    top, left = top + (H - h) // 2, left + (W - w) // 2
    painted = np.full_like(image, <<grey>>)
    painted[top:top + h, left:left + w] = resize(exemplar, h, w)
    return np.where(hole[..., None] == 1, painted, image)
    ### END SOLUTION
""")
s.check("paste", 3, r"""
import numpy as np

image = np.full((64, 64, 3), 200, np.uint8)
result = paste(image, DISC, STRIP)
assert (image == 200).all(), "the input was changed"
assert result.shape == (64, 64, 3) and result.dtype == np.uint8
assert (result[DISC == 0] == 200).all(), "something outside has changed"
assert (result[DISC == 1] != 200).any(-1).all(), "the old picture shows"
grey = (result == <<grey>>).all(-1).sum()
assert grey == <<grey_pixels>>, f"{grey} grey pixels: check scale and centre"
assert abs(int(result[30, 34, 0]) - 45) < 5, "the exemplar's middle is ..."
assert abs(int(result[30, 34, 1]) - 200) < 12, "... the middle of the hole"
print("fine so far")
""")
s.hidden("paste", 6, r"""
for _seed in range(16):
    _rng = np.random.default_rng([82, _seed])
    _image = _rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    _h, _w = _rng.integers(5, 40, 2)
    _thing = _rng.integers(0, 256, (_h, _w, 3)).astype(np.uint8)
    _y, _x, _a, _b = _rng.uniform((20, 20, 6, 6), (44, 44, 18, 18))
    _where = ((rows - _y) / _a) ** 2 + ((columns - _x) / _b) ** 2 < 1
    _r, _c = np.nonzero(_where)
    _r0, _high = _r.min(), np.ptp(_r) + 1
    _c0, _broad = _c.min(), np.ptp(_c) + 1
    _s = min(_high / len(_thing), _broad / len(_thing[0]))
    _n, _m = (max(1, round(v * _s)) for v in _thing.shape[:2])
    _full = _image.copy()
    _full[_where] = <<grey>>
    _layer = np.full_like(_image, <<grey>>)
    _r0, _c0 = _r0 + (_high - _n) // 2, _c0 + (_broad - _m) // 2
    _layer[_r0:_r0 + _n, _c0:_c0 + _m] = np.asarray(
        Image.fromarray(_thing).resize((_m, _n), Image.Resampling.BILINEAR))
    _full[_where] = _layer[_where]
    _found = paste(_image.copy(), _where.astype(np.float32), _thing)
    assert np.array_equal(_found, _full), f"case {_seed}"
""")

# ------------------------------------------------------------------------------ task 7

s.md(r"""
## 7 · The number that catches it (10 points)

Write `leak(result, pasted, clean, truth, alpha, hole)`. All pictures are (S, S, 3) uint8;
`pasted` is copy-paste's answer, `clean` the scene with no object, `truth` the right answer,
`alpha` (S, S) in 0..1 says where `pasted` shows its *object*. With the distance

$$d(a, b) = \sqrt{\tfrac13 \textstyle\sum_{\text{RGB}} (a - b)^2}: (S, S)$$

(compute it in floats: uint8 wraps around below 0) the pixels in question are

$$P = [\text{hole} = 1] \cap [\alpha < <<opacity>>] \cap [d(\text{truth}, \text{clean}) <
<<near>>] \cap [d(\text{pasted}, \text{clean}) > <<far>>]$$

and the leak is the share of $P$ with $d(\text{result}, \text{pasted}) < d(\text{result},
\text{clean})$. Where $P$ is empty, return `np.nan`.

**Expected.** For the case below P has <<leak_pixels>> pixels. The leak of `pasted` is 1, that of
`truth` is 0. For `half`, in which every third pixel is pasted, it is <<leak_half>>.
""")
s.hints(
    "`a.astype(float)` first, then the difference. `.mean(-1)` is a third of the sum over RGB.",
    "Build P as a boolean array (S, S) with `&` and parentheses.",
    "`nearer[P].mean()` is a share; test `P.any()` before.")
s.given("case", r"""
def stretch(patch, hole_box):
    "A patch laid over a box (rows, columns) of an empty picture."
    top, bottom, left, right = hole_box
    empty = np.zeros((S, S, 3), np.uint8)
    empty[top:bottom, left:right] = resize(patch, bottom - top, right - left)
    return empty


def question(seed):
    "A source, a hole, a plain copy-paste, and the right answer: arrays."
    scene, other = Scene(seed), Scene(seed + 250)
    view, shown = scene.render(S), other.render(S)
    truth = scene.with_object(other.name).render(S)
    low = np.clip(np.minimum(view.box, truth.box)[:2] - .04, 0, 1)
    high = np.clip(np.maximum(view.box, truth.box)[2:] + .08, 0, 1)
    (left, top), (right, bottom) = (S * np.array([low, high])).astype(int)
    place = top, bottom, left, right
    hole = stretch(np.full((2, 2, 3), 255, np.uint8), place)[..., 0] // 255
    a, b, c, d = (round(S * v) for v in shown.box)
    opacity = np.uint8(255 * shown.alpha[b:d, a:c, None]).repeat(3, -1)
    glued = stretch(np.ascontiguousarray(shown.image[b:d, a:c]), place)
    pasted = np.where(hole[..., None] == 1, glued, view.image)
    third = (np.arange(S * S) % 3 == 0).reshape(S, S, 1)
    return {"source": view.image, "clean": view.clean, "truth": truth.image,
            "pasted": pasted, "half": np.where(third, pasted, view.clean),
            "alpha": stretch(opacity, place)[..., 0] / 255,
            "hole": hole.astype(np.float32)}


CASE = question(<<seed_case>>)
""")
s.answer("leak", r"""
def distance(a, b):
    "(S, S, 3) uint8 twice -> (S, S), root mean square over RGB."
    ### BEGIN SOLUTION
    difference = a.astype(float) - b.astype(float)
    return np.sqrt((difference ** 2).mean(-1))
    ### END SOLUTION


def leak(result, pasted, clean, truth, alpha, hole):
    "The share of P that is nearer to the paste; nan where P is empty."
    ### BEGIN SOLUTION
    P = (hole == 1) & (alpha < <<opacity>>)
    P = P & (distance(truth, clean) < <<near>>) & (distance(pasted, clean) > <<far>>)
    nearer = distance(result, pasted) < distance(result, clean)
    return nearer[P].mean() if P.any() else np.nan
    ### END SOLUTION
""")
s.check("leak", 4, r"""
import numpy as np

a, b = np.full((2, 2, 3), 10, np.uint8), np.full((2, 2, 3), 40, np.uint8)
assert np.allclose(distance(a, b), 30), f"d(10, 40) is {distance(a, b)[0, 0]}"
b[..., 1:] = 10
assert np.allclose(distance(a, b), np.sqrt(300)), "mean over RGB, then root"
given = [CASE[k] for k in ("pasted", "clean", "truth", "alpha", "hole")]
found = {k: leak(CASE[k], *given) for k in ("pasted", "truth", "half")}
assert found["pasted"] == 1, f"copy-paste has leak {found['pasted']}"
assert found["truth"] == 0, f"the right answer has leak {found['truth']}"
assert abs(found["half"] - <<leak_half>>) < 2e-5, (
    f"half has leak {found['half']:.5f}: check P, and the distance")
assert np.isnan(leak(CASE["source"], *given[:4], 0 * CASE["hole"])), "empty P"
print("fine so far")
""")
s.hidden("leak", 6, r"""
def _d(a, b):
    return (((a / 1.0) - (b / 1.0)) ** 2).mean(2) ** .5


for _seed in range(25):
    _rng = np.random.default_rng([83, _seed])
    _clean = _rng.integers(60, 200, (30, 30, 3)).astype(np.uint8)
    _noisy = [(_clean + _rng.normal(0, _s, _clean.shape)).clip(0, 255).round()
              .astype(np.uint8) for _s in (30, 23, 5.8)]
    _answer, _glued, _right = _noisy
    _a, _m = _rng.uniform(0, .06, (30, 30)), (_rng.random((30, 30)) < .6) * 1.0
    _P = (_m > 0) & (_a < <<opacity>>)
    _P &= (_d(_right, _clean) < <<near>>) & (_d(_glued, _clean) > <<far>>)
    _wanted = (_d(_answer, _glued) < _d(_answer, _clean))[_P].mean()
    _found = leak(_answer, _glued, _clean, _right, _a, np.float32(_m))
    assert abs(_found - _wanted) < 1e-9, f"{_found}, wanted {_wanted}"
""")
s.md(r"""
### Two questions (written, 18 points)

Run the next cell. It measures three answers to 40 questions with your `leak`.
""")
s.code(r"""
table = {}
for case in map(question, range(1300, 1340)):
    given = [case[k] for k in ("pasted", "clean", "truth", "alpha", "hole")]
    for name in ("pasted", "source", "truth"):
        value = leak(case[name], *given)
        table.setdefault(name, []).append(value)
for name, values in table.items():
    print(f"{name:<8}leak {np.nanmean(values):.2f}, "
          f"without a value: {np.isnan(values).sum()} of {len(values)}")
""")
s.md(r"""
**7a (10 points).** The untouched source was not edited at all, and yet its leak is low. Is it a
good answer? Which second number would you put beside the leak so that no editor wins by doing
nothing, and what would copy-paste get in it? And what does "without a value" mean: should such
cases count as 0, as 1, or not at all?
""")
s.written("leaktable", 10, r"""
**Example answer.** It is no good answer: the object asked for is not in it. The leak only asks
whether the exemplar's *background* came along; where nothing is pasted, nothing can leak. (It
need not be 0: where the old object stands the source differs from the clean plate, and may by
chance be nearer to the paste.) Beside it belongs a number that asks for the object: "right
object", the share of results that a classifier names correctly, or a CLIP score. Copy-paste gets
a very high value there, so the two numbers catch each other's cheat. Cases without a value have
no pixel where a leak could be seen, for instance because the exemplar's background looks like
the scene. They say nothing, so they must be left out; counted as 0 they would flatter everybody.

**Rubric.** 3: not good, and why the leak is low; 3: a second number that the source loses; 2:
copy-paste is good in it; 2: left out, with the reason.
""")
s.md(r"""
**7b (8 points).** In training, the exemplar is cut from the very picture that the model must
restore. In use it comes from another picture. Name two things that a model can learn from the
triplets of this sheet and that are wrong in use. For each, say which of tasks 2 and 3 (if any)
makes it harder to learn.
""")
s.written("shortcut", 8, r"""
**Example answer.** (1) "Paste the exemplar: pose, light and background fit." In training they
always do, in use hardly ever. Nothing in this sheet prevents that; it takes augmentation of the
exemplar, or a bottleneck. (2) "The object is exactly as large as the hole, and touches its
sides." True when the hole is the box grown by a constant. Extending the box at random (task 2)
breaks that. (3) "Holes are rectangles": the Bezier hole (task 3) breaks that, and makes
free-form holes usable.

**Rubric.** 2 for each of two shortcuts that really hold in these triplets; 2 for each right
assignment to task 2, task 3 or none.
""")
s.build()
