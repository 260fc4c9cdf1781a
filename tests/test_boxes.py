"""Boxes: each operation once, against the plainest way to say the same."""

import numpy as np
import pytest
from PIL import Image

from pbe_lite.data import boxes
from pbe_lite.data.boxes import (
    around,
    bounding_box,
    box_within,
    check_box,
    clip_box,
    grow_box,
    is_box,
    mask_box,
    to_fractions,
    to_pixels,
)
from pbe_lite.data.images import crop_box
from pbe_lite.data.masks import box_mask

NAN = float("nan")


@pytest.mark.parametrize(("box", "right"), [
    ((0, 0, 1, 1), True), ((.2, .1, .3, .9), True), ((.3, 0, .3, 1), False),
    ((0, .5, 1, .4), False), ((-.01, 0, 1, 1), False), ((0, 0, 1, 1.01), False),
    ((NAN, 0, 1, 1), False), ((0, 0, 1, NAN), False)])
def test_what_is_a_box(box, right):
    assert bool(is_box(*box)) is right
    assert is_box(*np.array([box, box]).T).tolist() == [right, right]
    if right:
        check_box(box)
    else:
        with pytest.raises(ValueError, match="box must be .*got"):
            check_box(box)


def test_a_box_grows_by_its_own_size_within_the_picture():
    np.testing.assert_allclose(grow_box((.4, .4, .6, .8), .5), (.3, .2, .7, 1))
    np.testing.assert_allclose(grow_box((.4, .4, .6, .8), (0, .1, .2, .3)),
                               (.4, .36, .64, .92))
    assert grow_box((.1, .1, .9, .9), 1) == (0, 0, 1, 1)


def test_the_box_around_boxes_holds_them_all():
    pair = (.1, .5, .3, .6), (.2, .2, .8, .55)
    assert around(pair) == (.1, .2, .8, .6)
    np.testing.assert_allclose(around(pair, .1), (.03, .16, .87, .64))


def test_the_box_of_a_mask_is_the_smallest():
    mask = np.zeros((20, 40), bool)
    mask[5, 8] = mask[9, 29] = True
    assert bounding_box(mask) == (8, 5, 30, 10)
    assert mask_box(mask) == mask_box(mask * .8) == (8 / 40, 5 / 20, 30 / 40, 10 / 20)
    with pytest.raises(ValueError, match="nothing is marked"):
        mask_box(mask * .3)


@pytest.mark.parametrize("size", [(40, 30), (7, 90), (1, 1)])
def test_the_pixels_of_a_box_are_those_that_are_cropped_and_marked(size):
    rng, (width, height) = np.random.default_rng(0), size
    for _ in range(200):
        (x0, x1), (y0, y1) = np.sort(rng.uniform(0, 1, (2, 2)))
        left, top, right, bottom = to_pixels((x0, y0, x1, y1), size)
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        mask = box_mask((x0, y0, x1, y1), (height, width))
        assert bounding_box(mask > 0) == (left, top, right, bottom)
        part = crop_box(Image.new("L", size), (x0, y0, x1, y1))
        assert part.size == (right - left, bottom - top)


def test_pixels_and_fractions_are_inverse():
    box = (3, 4, 20, 28)
    assert to_pixels(to_fractions(box, (40, 30)), (40, 30)) == box


def test_a_box_is_seen_from_a_part_of_the_picture():
    seen = box_within((.25, .5, .5, 1), (80, 60), (10, 20, 50, 60))
    np.testing.assert_allclose(seen, (10 / 40, 10 / 40, 30 / 40, 1))
    assert box_within((0, 0, 1, 1), (80, 60), (10, 20, 50, 60)) == (0, 0, 1, 1)


def test_area_and_clipping():
    assert boxes.area(0, .25, .5, .75) == .25
    assert clip_box((-.5, .25, 2, 1)) == (0, .25, 1, 1)
