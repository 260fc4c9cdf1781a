"""Bounding boxes: (x0, y0, x1, y1), left, top, right and bottom, x to the right and y down.

They are fractions of the picture unless a function says pixels.  In pixels, x1 and y1 are
one beyond the last column and row.  `size` is (width, height) in pixels, as PIL has it.
"""

import numpy as np


def is_box(x0, y0, x1, y1):
    """Whether 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1, of numbers or arrays; NaN is not."""
    return (0 <= x0) & (x0 < x1) & (x1 <= 1) & (0 <= y0) & (y0 < y1) & (y1 <= 1)


def check_box(box):
    """Raise ValueError unless `box` is a box, see `is_box`."""
    if not is_box(*box):
        raise ValueError(
            f"box must be (x0, y0, x1, y1), 0 <= x0 < x1 <= 1, the same for y; got {box}")


def area(x0, y0, x1, y1):
    """The share of the picture that a box covers, of numbers or arrays."""
    return (x1 - x0) * (y1 - y0)


def clip_box(box):
    """What of a box lies within the picture."""
    return tuple(min(max(value, 0), 1) for value in box)


def grow_box(box, by):
    """Each side moved outwards by `by` of the box's width or height, within the picture.

    by: one number, or four: left, top, right, bottom."""
    x0, y0, x1, y1 = box
    left, top, right, bottom = np.broadcast_to(by, 4)
    width, height = x1 - x0, y1 - y0
    return clip_box((x0 - left * width, y0 - top * height,
                     x1 + right * width, y1 + bottom * height))


def around(boxes, grow=0):
    """The box around boxes, each side moved outwards by `grow` of its length."""
    return grow_box((*np.min(boxes, 0)[:2], *np.max(boxes, 0)[2:]), grow)


def bounding_box(mask):
    """The smallest box, in pixels, around what is true in mask (H, W) bool.

    Raises ValueError where nothing is."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        raise ValueError("nothing is marked")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def mask_box(mask):
    """The smallest box around mask > .5, mask: (H, W), numbers or bool.

    Raises ValueError where nothing is marked."""
    height, width = mask.shape
    return to_fractions(bounding_box(mask > .5), (width, height))


def to_fractions(box, size):
    """A box in pixels -> in fractions."""
    width, height = size
    x0, y0, x1, y1 = (float(value) for value in box)
    return x0 / width, y0 / height, x1 / width, y1 / height


def to_pixels(box, size):
    """A box in fractions -> in whole pixels: those whose centre it holds, at least one."""
    width, height = size
    x0, y0 = min(width - 1, round(box[0] * width)), min(height - 1, round(box[1] * height))
    x1, y1 = max(x0 + 1, round(box[2] * width)), max(y0 + 1, round(box[3] * height))
    return x0, y0, x1, y1


def box_within(box, size, window):
    """A box seen from a part of the picture, cut off at its edge; window: that part's
    box in pixels."""
    left, top, right, bottom = window
    width, height = size
    moved = (box[0] * width - left, box[1] * height - top,
             box[2] * width - left, box[3] * height - top)
    return clip_box(to_fractions(moved, (right - left, bottom - top)))
