"""Marks: what is drawn is what the mask holds, and undo takes it back."""

import numpy as np
import pytest

from pbe_lite.data.boxes import mask_box
from pbe_lite.data.masks import box_mask, polygon_mask, strokes_mask
from pbe_lite.studio import strokes
from pbe_lite.studio.strokes import History, add, change, draw, marks_mask, redo, undo

SHAPE = (60, 80)
BOX = {"kind": "box", "box": [.25, .2, .75, .6]}
BRUSH = {"kind": "brush", "points": [[.1, .1], [.9, .8]], "width": .1}
DOT = {"kind": "brush", "points": [[.5, .5]], "width": .2}
ERASER = {"kind": "eraser", "points": [[.5, 0], [.5, 1]], "width": .1}
LASSO = {"kind": "lasso", "points": [[.1, .1], [.9, .2], [.3, .9]]}
FRAME = {"kind": "frame", "box": [0, .5, .5, 1]}
CLEAR = {"kind": "clear"}


def same(mask, expected):
    assert mask.shape == SHAPE and mask.dtype == np.float32
    np.testing.assert_array_equal(mask, expected)


# --------------------------------------------------------------------- marks to mask


def test_no_mark_is_an_empty_mask():
    same(marks_mask([], SHAPE), np.zeros(SHAPE))


def test_each_mark_alone_is_the_shape_that_masks_draws():
    same(marks_mask([BOX], SHAPE), box_mask(BOX["box"], SHAPE))
    same(marks_mask([BRUSH], SHAPE), strokes_mask([BRUSH["points"]], SHAPE, .1))
    same(marks_mask([LASSO], SHAPE), polygon_mask(LASSO["points"], SHAPE))


def test_marks_add_up_and_the_eraser_takes_away_what_is_below_it():
    both = np.maximum(box_mask(BOX["box"], SHAPE), polygon_mask(LASSO["points"], SHAPE))
    same(marks_mask([BOX, LASSO], SHAPE), both)
    gone = strokes_mask([ERASER["points"]], SHAPE, .1)
    same(marks_mask([BOX, LASSO, ERASER], SHAPE), both * (1 - gone))
    same(marks_mask([ERASER, BOX, LASSO], SHAPE), both)


def test_a_frame_and_an_array_replace_what_was_there_and_clear_leaves_nothing():
    same(marks_mask([BOX, FRAME], SHAPE), box_mask(FRAME["box"], SHAPE))
    same(marks_mask([BOX, BRUSH, CLEAR], SHAPE), np.zeros(SHAPE))
    given = np.random.default_rng(0).integers(0, 2, SHAPE)
    same(marks_mask([BOX, {"kind": "array", "mask": given}], SHAPE), given)


def test_an_array_of_another_size_is_stretched():
    given = np.zeros((6, 8))
    given[:3] = 1
    same(marks_mask([{"kind": "array", "mask": given}], SHAPE),
         np.repeat(np.repeat(given, 10, 0), 10, 1))


def test_the_same_marks_cover_the_same_part_of_a_picture_of_any_size():
    marks = [BOX, BRUSH, ERASER, LASSO]
    small, large = marks_mask(marks, (60, 80)), marks_mask(marks, (600, 800))
    assert small.mean() == pytest.approx(large.mean(), abs=.02)


def test_drawing_leaves_the_mask_that_it_starts_from_alone():
    start = np.ones(SHAPE, np.float32)
    for mark in (BOX, BRUSH, ERASER, LASSO, FRAME, CLEAR):
        draw(start, mark)
    assert start.all()


def test_a_click_is_a_dot_and_what_leaves_the_picture_is_cut_off():
    assert marks_mask([DOT], SHAPE).sum() == pytest.approx(np.pi * 36, rel=.25)
    far = {"kind": "brush", "points": [[-1, .5], [2, .5]], "width": .1}
    assert marks_mask([far], SHAPE)[30].all()


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ({"kind": "grow"}, "grows by"),
        ({}, "kind must be"),
        ({"kind": "spray"}, "kind must be"),
        ({"kind": "brush", "width": .1}, "1 or more points"),
        ({"kind": "brush", "points": [], "width": .1}, "1 or more points"),
        ({"kind": "brush", "points": [[.1, np.nan]], "width": .1}, "1 or more points"),
        ({"kind": "brush", "points": [[.1, .2, .3]], "width": .1}, "1 or more points"),
        ({"kind": "eraser", "points": [[.1, .2]]}, "width must be"),
        ({"kind": "brush", "points": [[.1, .2]], "width": 2}, "width must be"),
        ({"kind": "lasso", "points": [[.1, .2], [.3, .4]]}, "3 or more points"),
        ({"kind": "box"}, "needs"),
        ({"kind": "box", "box": [.5, .5, .5, .6]}, "box must be"),
        ({"kind": "frame", "box": [.5, .5, .4, .6]}, "box must be"),
    ],
)
def test_what_cannot_be_drawn_is_named(mark, said):
    with pytest.raises(ValueError, match=said):
        draw(np.zeros(SHAPE, np.float32), mark)
    history = History((BOX,))
    with pytest.raises(ValueError, match=said):
        add(history, mark)


def test_inverting_twice_changes_nothing():
    once = marks_mask([BOX, {"kind": "invert"}], SHAPE)
    same(once, 1 - box_mask(BOX["box"], SHAPE))
    same(marks_mask([BOX, {"kind": "invert"}, {"kind": "invert"}], SHAPE), 1 - once)


def test_growing_adds_a_margin_and_shrinking_takes_it_away():
    box = {"kind": "box", "box": [.25, .2, .75, .6]}  # columns 20..60, rows 12..36
    grown = marks_mask([box, {"kind": "grow", "by": .05}], SHAPE)  # 3 of 60 pixels
    assert grown[9:39, 30].all() and grown[:9].sum() == grown[39:].sum() == 0
    back = marks_mask([box, {"kind": "grow", "by": -.05}], SHAPE)
    np.testing.assert_array_equal(back, box_mask([23 / 80, .25, 57 / 80, .55], SHAPE))


def test_a_hole_at_the_pictures_border_does_not_shrink_away_from_it():
    edge = {"kind": "box", "box": [0, 0, .5, 1]}
    shrunk = marks_mask([edge, {"kind": "grow", "by": -.05}], SHAPE)
    np.testing.assert_array_equal(shrunk, box_mask([0, 0, 37 / 80, 1], SHAPE))
    assert not marks_mask([{"kind": "grow", "by": .1}], SHAPE).any()


def test_a_large_mask_is_drawn_small_and_stretched():
    marks = [BRUSH, LASSO, ERASER]
    large = strokes.large_mask(marks, (600, 800), 100)
    assert large.shape == (600, 800)
    assert (large != marks_mask(marks, (600, 800))).mean() < .05
    np.testing.assert_array_equal(strokes.large_mask(marks, SHAPE, 100),
                                  marks_mask(marks, SHAPE))


# --------------------------------------------------------------------------- history


def test_undo_and_redo_walk_along_the_marks():
    history = add(add(History((BOX,)), BRUSH), LASSO)
    assert history.marks == (BOX, BRUSH, LASSO) and not history.undone
    back = undo(undo(history))
    assert back.marks == (BOX,) and redo(redo(back)) == history
    assert redo(back).marks == (BOX, BRUSH)


def test_the_first_mark_stays_and_there_is_no_redo_without_undo():
    history = History((BOX,))
    assert undo(history) == history and redo(history) == history
    assert undo(History(())) == History(())


def test_a_new_mark_ends_what_could_be_redone():
    history = add(undo(add(History((BOX,)), BRUSH)), LASSO)
    assert history == History((BOX, LASSO))


def test_clearing_can_be_undone():
    history = add(add(History((BOX,)), BRUSH), CLEAR)
    assert not marks_mask(history.marks, SHAPE).any()
    same(marks_mask(undo(history).marks, SHAPE), marks_mask([BOX, BRUSH], SHAPE))


def test_messages_of_the_browser():
    history = change(History((BOX,)), {"do": "mark", "mark": BRUSH, "id": "a:1"})
    assert history == History((BOX, BRUSH))
    assert change(history, {"do": "undo"}) == undo(history)
    assert change(undo(history), {"do": "redo"}) == history


@pytest.mark.parametrize("message", [{}, {"do": "mark"}, {"do": "jump"}])
def test_a_message_that_means_nothing_is_refused(message):
    with pytest.raises(ValueError):
        change(History((BOX,)), message)


# --------------------------------------------------------------------- box and bytes


def test_the_box_around_a_mask_marks_the_same_pixels_again():
    mask = marks_mask([BOX, DOT], SHAPE)
    box = mask_box(mask)
    again = box_mask(box, SHAPE) > 0
    assert again[mask > 0].all()
    for axis in (0, 1):  # as wide and as high, and no more
        np.testing.assert_array_equal(again.any(axis), mask.any(axis))
    assert mask_box(np.ones(SHAPE)) == (0, 0, 1, 1)
    with pytest.raises(ValueError, match="nothing is marked"):
        mask_box(np.zeros(SHAPE))


def test_bytes_hold_a_pixel_a_bit_row_after_row():
    mask = marks_mask([BRUSH], (7, 11))
    data = strokes.pack(mask)
    bits = [(data[i >> 3] >> (7 - (i & 7))) & 1 for i in range(7 * 11)]
    np.testing.assert_array_equal(np.reshape(bits, (7, 11)), mask)
    assert len(data) == 10
