"""From marks to a hole: what somebody drew, kept as data, and the mask that it makes.

A mark is a dict; all lengths are fractions of the picture, x to the right and y down:

    {"kind": "brush", "points": [[x, y], ...], "width": w}    w of the shorter side
    {"kind": "eraser", "points": [[x, y], ...], "width": w}
    {"kind": "box", "box": [x0, y0, x1, y1]}
    {"kind": "lasso", "points": [[x, y], ...]}
    {"kind": "frame", "box": [x0, y0, x1, y1]}    a box in place of all that was there
    {"kind": "clear"}
    {"kind": "invert"}
    {"kind": "grow", "by": w}    w of the shorter side; the hole shrinks where w < 0
    {"kind": "array", "mask": (h, w) array}       set from Python, not drawn

Marks are drawn one after another onto an empty mask, so undo is leaving out the last one,
and the same marks give a mask of any size.
"""

from functools import reduce
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from pbe_lite.data.masks import box_mask, polygon_mask, strokes_mask


class History(NamedTuple):
    """`marks` that are drawn and those `undone`, each with the latest one last.  The first
    mark is what the widget started with; it can be cleared but not undone."""

    marks: tuple
    undone: tuple = ()


def add(history, mark):
    """One more mark; what was undone cannot be redone any more.

    Raises ValueError for a mark that cannot be drawn."""
    draw(np.zeros((8, 8), np.float32), mark)
    return History((*history.marks, mark))


def undo(history):
    """Without the last mark; the first one stays."""
    if len(history.marks) < 2:
        return history
    *marks, last = history.marks
    return History(tuple(marks), (*history.undone, last))


def redo(history):
    """With the mark that was undone last."""
    if not history.undone:
        return history
    *undone, last = history.undone
    return History((*history.marks, last), tuple(undone))


def change(history, message):
    """What a message from the browser does: {"do": "mark", "mark": mark}, {"do": "undo"}
    or {"do": "redo"}.  Raises ValueError for any other."""
    if message.get("do") == "mark":
        return add(history, message.get("mark") or {})
    if message.get("do") not in ("undo", "redo"):
        raise ValueError(f"unknown message from the browser: {message!r}")
    return (undo if message["do"] == "undo" else redo)(history)


def marks_mask(marks, size):
    """All marks as one mask, (H, W) float32 of 0 and 1; size: (height, width)."""
    return draw_all(np.zeros(tuple(size), np.float32), marks)


def draw_all(mask, marks):
    """A mask with more marks on it, one after another; `mask` itself stays as it is."""
    return reduce(draw, marks, mask)


def large_mask(marks, size, most):
    """`marks_mask`, but drawn at most `most` pixels long and stretched to `size`: on a
    photograph of many million pixels the feathered edge hides the difference."""
    height, width = size
    scale = min(1, most / max(size))
    drawn = marks_mask(marks, [max(1, round(v * scale)) for v in size])
    return drawn if scale == 1 else _resize(drawn > .5, (height, width))


def draw(mask, mark):
    """The mask (H, W) float32 with one more mark; `mask` itself stays as it is.

    Raises ValueError for a mark that is not as the module's docstring says."""
    kind = mark.get("kind")
    if kind not in _DRAW:
        raise ValueError(f"a mark's kind must be one of {', '.join(_DRAW)}; got {kind!r}")
    return _DRAW[kind](mask, mark)


def _points(mark, least):
    """(N, 2) float array of a mark's points, N >= least."""
    points = np.asarray(mark.get("points", ()), float)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < least \
            or not np.isfinite(points).all():
        raise ValueError(f"a {mark['kind']} needs {least} or more points (x, y)")
    return points


def _stroke(mask, mark):
    width = mark.get("width", 0)
    if not 0 < width <= 1:
        raise ValueError(f"a {mark['kind']}'s width must be in 0..1; got {width!r}")
    return strokes_mask([_points(mark, 1)], mask.shape, width)


def _box(mask, mark):
    box = mark.get("box", ())
    if len(box) != 4:
        raise ValueError(f"a {mark['kind']} needs (x0, y0, x1, y1); got {box!r}")
    return box_mask(box, mask.shape)


def _array(mask, mark):
    return _resize(np.asarray(mark["mask"]) > .5, mask.shape).astype(np.float32)


def _resize(hole, size):
    height, width = size
    picture = Image.fromarray(hole.astype(np.uint8))
    return np.asarray(picture.resize((width, height), Image.Resampling.NEAREST))


def _grow(mask, mark):
    """The picture's own border is no edge of the hole: nothing shrinks away from it."""
    by = mark.get("by", 0)
    if not 0 < abs(by) <= 1:
        raise ValueError(f"a hole grows by -1..1, not by 0; got {by!r}")
    hole = np.pad(mask > .5, 1, mode="edge")
    if not hole.any():
        return mask
    distance = ndimage.distance_transform_edt(~hole if by > 0 else hole)[1:-1, 1:-1]
    pixels = max(1, abs(by) * min(mask.shape))
    return (distance <= pixels if by > 0 else distance > pixels).astype(np.float32)


_DRAW = {
    "brush": lambda mask, mark: np.maximum(mask, _stroke(mask, mark)),
    "eraser": lambda mask, mark: mask * (1 - _stroke(mask, mark)),
    "box": lambda mask, mark: np.maximum(mask, _box(mask, mark)),
    "lasso": lambda mask, mark: np.maximum(
        mask, polygon_mask(_points(mark, 3), mask.shape)),
    "frame": _box,
    "clear": lambda mask, mark: np.zeros_like(mask),
    "invert": lambda mask, mark: 1 - mask,
    "grow": _grow,
    "array": _array,
}


def pack(mask):
    """A mask (H, W) as bytes, 8 pixels a byte, row after row, the first in the top bit."""
    return np.packbits(np.asarray(mask) > .5).tobytes()
