"""Holes: 1 inside, 0 outside, and never empty."""

import numpy as np
import pytest

from pbe_lite.data import masks
from pbe_lite.data.masks import (
    bezier_mask,
    bezier_points,
    box_mask,
    extend_box,
    polygon_mask,
    random_hole,
    random_strokes,
    strokes_mask,
)

BOXES = [(.25, .3, .6, .8), (0, 0, .5, .4), (.1, .48, .9, .6), (.56, .2, 1, 1)]
SHAPES = [(64, 64), (128, 128), (50, 90)]


def rng(seed=0):
    return np.random.default_rng(seed)


def centres(height, width):
    """x, y of all pixels' centres, each (height, width), as fractions."""
    y, x = (np.mgrid[:height, :width] + .5) / np.reshape((height, width), (2, 1, 1))
    return x, y


def is_a_hole(mask, shape):
    values = set(np.unique(mask))
    return mask.shape == shape and mask.dtype == np.float32 and values == {0, 1}


# -------------------------------------------------------------------------- boxes


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("box", BOXES)
def test_one_is_inside_the_box(box, shape):
    x, y = centres(*shape)
    x0, y0, x1, y1 = box
    inside = (x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)
    mask = box_mask(box, shape)
    assert is_a_hole(mask, shape)
    np.testing.assert_array_equal(mask, inside)


def test_a_side_is_a_square_and_a_pair_is_height_and_width():
    assert box_mask(BOXES[0], 32).shape == (32, 32)
    assert box_mask((0, 0, .5, 1), (10, 40))[:, :20].all()


@pytest.mark.parametrize(
    "box", [(.5, .5, .501, .501), (.999, .999, 1, 1), (0, 0, .001, .001), (.2, 0, .2001, 1)]
)
def test_a_thin_box_has_at_least_a_pixel(box):
    mask = box_mask(box, 16)
    assert mask.any()
    x, y = centres(16, 16)
    assert abs((x * mask).sum() / mask.sum() - (box[0] + box[2]) / 2) <= 1 / 16
    assert abs((y * mask).sum() / mask.sum() - (box[1] + box[3]) / 2) <= 1 / 16


@pytest.mark.parametrize(
    "box", [(.5, 0, .4, 1), (0, .5, 1, .5), (-.1, 0, 1, 1), (0, 0, 1, 1.01),
            (0, 0, np.nan, 1)]
)
@pytest.mark.parametrize(
    "use", [lambda b: box_mask(b, 8), lambda b: extend_box(b, rng()),
            lambda b: random_strokes(b, rng())]
)
def test_what_is_no_box_is_named(box, use):
    with pytest.raises(ValueError, match="box must be"):
        use(box)


def test_extended_boxes_grow_by_at_most_the_share_of_the_free_space():
    box = np.array(BOXES[0])
    free = np.array([box[0], box[1], 1 - box[2], 1 - box[3]])
    grown = np.array([extend_box(box, rng(seed)) for seed in range(500)])
    share = (grown - box) * (-1, -1, 1, 1) / free
    assert share.min() >= 0 and share.max() <= .4
    assert np.allclose(share.mean(0), .2, atol=.02)  # U(0, .4)
    assert np.abs(np.corrcoef(share.T) - np.eye(4)).max() < .2  # each side its own draw


# ------------------------------------------------------------------------- Bezier


def de_casteljau(p0, p1, p2, t):
    a, b = p0 + t * (p1 - p0), p1 + t * (p2 - p1)
    return a + t * (b - a)


def test_the_outline_is_four_quadratic_bezier_curves():
    box, extended = np.array((.3, .4, .6, .8)), np.array((.2, .1, .9, .95))
    points = bezier_points(box, extended, rng(), samples=10, jitter=(0, 0))
    x0, y0, x1, y1 = box
    middle = (x0 + x1) / 2, (y0 + y1) / 2
    sides = [((x0, y0), (middle[0], extended[1]), (x1, y0)),
             ((x1, y0), (extended[2], middle[1]), (x1, y1)),
             ((x1, y1), (middle[0], extended[3]), (x0, y1)),
             ((x0, y1), (extended[0], middle[1]), (x0, y0))]
    expected = [de_casteljau(*map(np.array, side), i / 10) for side in sides
                for i in range(10)]
    np.testing.assert_allclose(points, expected, atol=1e-12)


def test_points_are_jittered_by_one_to_five_of_512_pixels_both_ways():
    box = (.3, .4, .6, .8)
    still = bezier_points(box, box, rng(), jitter=(0, 0))
    moves = [bezier_points(box, box, rng(s)) - still for s in range(30)]
    moves = np.concatenate(moves) * 512
    assert np.abs(moves).min() >= 1 and np.abs(moves).max() <= 5
    assert np.abs(moves).mean() == pytest.approx(3, abs=.1)
    assert (moves > 0).mean() == pytest.approx(.5, abs=.05)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("box", BOXES)
def test_a_bezier_blob_covers_most_of_the_box_and_little_beyond(box, shape):
    for seed in range(20):
        mask, inner = bezier_mask(box, shape, rng(seed)), box_mask(box, shape) > 0
        assert is_a_hole(mask, shape)
        assert mask[inner].mean() > .85
        width, height = box[2] - box[0], box[3] - box[1]
        limit = (max(0, box[0] - .4 * box[0] - .03), max(0, box[1] - .4 * box[1] - .03),
                 min(1, box[2] + .4 * (1 - box[2]) + .03),
                 min(1, box[3] + .4 * (1 - box[3]) + .03))
        assert not mask[box_mask(limit, shape) == 0].any()
        assert mask.mean() > .8 * width * height


def test_outlines_stay_in_the_picture():
    for seed in range(50):
        points = bezier_points((0, 0, 1, 1), (0, 0, 1, 1), rng(seed))
        assert points.min() >= 0 and points.max() <= 1


def test_a_polygon_holds_the_pixels_whose_centres_it_holds():
    triangle = np.array([(.1, .1), (.9, .2), (.3, .85)])
    mask, (x, y) = polygon_mask(triangle, (60, 80)), centres(60, 80)
    sides = []
    for (ax, ay), (bx, by) in zip(triangle, np.roll(triangle, -1, 0), strict=True):
        cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        sides.append(cross / np.hypot(bx - ax, by - ay))  # distance to this side
    depth = np.min(sides, 0)
    assert mask[depth > .012].all()  # but for the drawn outline, about a pixel wide
    assert not mask[depth < -.012].any()


# ----------------------------------------------------------------- training holes


def test_half_of_the_holes_are_blobs():
    box = (.3, .3, .6, .6)
    rectangles = []
    for seed in range(600):
        mask = random_hole(box, 64, rng(seed)) > 0
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask[box_mask(box, 64) > 0].mean() > .85
        bounds = mask[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
        rectangles.append(bounds.all())
    assert np.mean(rectangles) == pytest.approx(.5, abs=.07)


def test_holes_are_decided_by_the_generator():
    first, again = (random_hole(BOXES[0], 64, rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert any((random_hole(BOXES[0], 64, rng(s)) != first).any() for s in range(3))


# ------------------------------------------------------------------------- strokes


@pytest.mark.parametrize("shape", [(100, 100), (60, 120)])
def test_a_stroke_is_what_its_brush_touches(shape):
    height, width = shape
    a, b = np.array((.2, .3)) * (width, height), np.array((.7, .6)) * (width, height)
    mask = strokes_mask([[(.2, .3), (.7, .6)]], shape, width=.2)
    assert is_a_hole(mask, shape)
    y, x = np.mgrid[:height, :width]
    along = ((x - a[0]) * (b - a)[0] + (y - a[1]) * (b - a)[1]) / ((b - a) ** 2).sum()
    nearest = a + np.clip(along, 0, 1)[..., None] * (b - a)
    distance = np.hypot(x - nearest[..., 0], y - nearest[..., 1])
    radius = .1 * min(shape)
    assert mask[distance < radius - 1.5].all()
    assert not mask[distance > radius + 1.5].any()


def test_a_dot_is_a_stroke():
    mask = strokes_mask([[(.5, .5)]], 50, width=.2)
    assert mask.sum() == pytest.approx(np.pi * 25, rel=.25)


def test_several_strokes_are_joined_and_none_is_an_empty_mask():
    one, two = [(.1, .1), (.9, .1)], [(.1, .9), (.9, .9)]
    both = strokes_mask([one, two], 64)
    np.testing.assert_array_equal(
        both, np.maximum(strokes_mask([one], 64), strokes_mask([two], 64)))
    assert not strokes_mask([], 64).any()


def test_random_strokes_stay_in_the_box():
    strokes = random_strokes((.2, .3, .5, .9), rng(), strokes=4, points=6)
    points = np.concatenate(strokes)
    assert len(strokes) == 4 and points.shape == (24, 2)
    assert (points >= (.2, .3)).all() and (points <= (.5, .9)).all()
    again = random_strokes((.2, .3, .5, .9), rng(), strokes=4, points=6)
    np.testing.assert_array_equal(points, np.concatenate(again))


def test_the_jitter_is_the_papers():
    assert np.array(masks.JITTER) * 512 == pytest.approx((1, 5))
