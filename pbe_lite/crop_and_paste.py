"""Between the user's picture and the model's square: crop, and paste back."""

from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from pbe_lite.data.boxes import bounding_box
from pbe_lite.data.boxes import bounding_box as hole_box  # as the lessons call it
from pbe_lite.data.images import resize, resize_hole
from pbe_lite.data.reading import read_image, read_mask

__all__ = ["Window", "crop", "feather", "hole_box", "hole_window", "paste", "read_image",
           "read_mask", "resize", "resize_hole"]


class Window(NamedTuple):
    """A square part of a picture, in pixels; it may reach beyond the picture's edge."""

    left: int
    top: int
    side: int


def hole_window(hole, context=3.0):
    """The square around a hole (H, W) that the model gets to see: `context` times the
    hole's longer side, but within the picture wherever that is large enough."""
    x0, y0, x1, y1 = bounding_box(hole)
    height, width = hole.shape
    longest = max(y1 - y0, x1 - x0)
    side = max(longest, min(round(context * longest), height, width))
    return Window(_place(x0, x1, side, width), _place(y0, y1, side, height), int(side))


def _place(low, high, side, length):
    """Start of a stretch of `side` centred on low..high, inside 0..length if it fits."""
    start = (low + high - side) // 2
    return int(np.clip(start, *sorted((0, length - side))))


def crop(array, window):
    """The window's part of (H, W[, C]); beyond the edge the picture is mirrored."""
    left, top, side = window
    height, width = array.shape[:2]
    pads = [(max(0, -top), max(0, top + side - height)),
            (max(0, -left), max(0, left + side - width))]
    padded = np.pad(array, pads + [(0, 0)] * (array.ndim - 2), mode="symmetric")
    top, left = top + pads[0][0], left + pads[1][0]
    return padded[top:top + side, left:left + side]


def feather(hole, pixels):
    """(H, W) bool -> weight in 0..1 of the new content: 0 outside the hole, rising to 1
    over `pixels` inside it.  The picture's own border does not count as an edge.

    A feather of 96 pixels and more is measured on every second, third ... pixel: nobody
    sees the difference, and a photograph of 24 million pixels does not take seconds."""
    step = max(1, int(pixels) // 48)
    padded = np.pad(hole[::step, ::step], 1, mode="edge")
    distance = step * ndimage.distance_transform_edt(padded)[1:-1, 1:-1]
    if step > 1:
        coarse = Image.fromarray(distance.astype(np.float32))
        distance = np.asarray(coarse.resize(hole.shape[::-1], Image.Resampling.BILINEAR))
    return np.clip(distance / max(pixels, 1), 0, 1) * hole


def paste(image, painted, hole, window, softness=1 / 32):
    """Lay the model's square (S, S, 3) uint8 back into image (H, W, 3) uint8.

    Pixels outside the hole stay exactly as they were; `softness` is the feather's width
    as a fraction of the window."""
    left, top, side = window
    x0, y0, x1, y1 = hole_box(hole)
    patch = resize(painted, side)[y0 - top:y1 - top, x0 - left:x1 - left]
    ya, xa = max(0, y0 - 1), max(0, x0 - 1)  # one pixel more: there the hole has ended
    weight = feather(hole[ya:y1 + 1, xa:x1 + 1], softness * side)
    weight = weight[y0 - ya:, x0 - xa:][:y1 - y0, :x1 - x0, None]
    result = image.copy()
    mixed = weight * patch + (1 - weight) * image[y0:y1, x0:x1]
    result[y0:y1, x0:x1] = np.round(mixed).astype(np.uint8)
    return result
