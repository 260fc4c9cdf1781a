"""Hole masks, (H, W) float32 arrays with one polarity everywhere: **1 = hole**.

Boxes are (x0, y0, x1, y1) in fractions of the picture.  `size` is a side in pixels or
(height, width).  Section 3.2 of the paper ("mask shape augmentation") describes the
Bezier mask; see `bezier_points` for its construction.
"""

import numpy as np
from PIL import Image, ImageDraw

from pbe_lite.data.boxes import check_box, to_pixels

JITTER = 1 / 512, 5 / 512  # the paper jitters by 1 to 5 pixels of a 512 px picture


def _height_width(size):
    return (size, size) if np.isscalar(size) else tuple(size)


def polygon_mask(points, size):
    """The inside of a polygon; points: (N, 2) of x, y as fractions."""
    height, width = _height_width(size)
    canvas = Image.new("L", (width, height))
    xy = np.asarray(points) * (width, height) - .5
    ImageDraw.Draw(canvas).polygon([tuple(p) for p in xy], fill=1)
    return np.asarray(canvas, np.float32)


def box_mask(box, size):
    """A rectangle; a pixel is in the hole when its centre is, and at least one pixel is."""
    check_box(box)
    height, width = _height_width(size)
    x0, y0, x1, y1 = to_pixels(box, (width, height))
    mask = np.zeros((height, width), np.float32)
    mask[y0:y1, x0:x1] = 1
    return mask


def extend_box(box, rng, most=.4):
    """Move each side outwards by U(0, most) of the free space on that side."""
    check_box(box)
    x0, y0, x1, y1 = box
    a, b, c, d = rng.uniform(0, most, 4)
    return (x0 - a * x0, y0 - b * y0, x1 + c * (1 - x1), y1 + d * (1 - y1))


def bezier_points(box, extended, rng, samples=20, jitter=JITTER):
    """(4 * samples, 2) points of a wobbly outline around `box`.

    Each side of the box becomes a quadratic Bezier curve
    B(t) = (1-t)^2 P0 + 2 t (1-t) P1 + t^2 P2 from corner P0 to corner P2; the control
    point P1 is the middle of that side, moved out to the extended box.  Every sampled
    point is then moved by 1 to 5 px (of 512) in a random direction of each axis."""
    x0, y0, x1, y1 = box
    e0, f0, e1, f1 = extended
    mx, my = (x0 + x1) / 2, (y0 + y1) / 2
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    controls = np.array([(mx, f0), (e1, my), (mx, f1), (e0, my)])
    t = np.linspace(0, 1, samples, endpoint=False)[:, None]
    sides = [(1 - t) ** 2 * p0 + 2 * t * (1 - t) * p1 + t ** 2 * p2
             for p0, p1, p2 in zip(corners, controls, np.roll(corners, -1, 0), strict=True)]
    points = np.concatenate(sides)
    move = rng.uniform(*jitter, points.shape) * rng.choice((-1, 1), points.shape)
    return np.clip(points + move, 0, 1)


def bezier_mask(box, size, rng):
    """The paper's shape augmentation: an arbitrary blob around the box."""
    return polygon_mask(bezier_points(box, extend_box(box, rng), rng), size)


def random_hole(box, size, rng):
    """The hole of a training sample: with p = .5 a Bezier blob, else an extended box."""
    if rng.uniform() < .5:
        return bezier_mask(box, size, rng)
    return box_mask(extend_box(box, rng), size)


def strokes_mask(strokes, size, width=.08):
    """Free-form strokes; strokes: a list of (N, 2) polylines of x, y as fractions;
    width: the brush's diameter as a fraction of the shorter side."""
    height, w = _height_width(size)
    canvas = Image.new("L", (w, height))
    draw = ImageDraw.Draw(canvas)
    brush = max(1, round(width * min(height, w)))
    for stroke in strokes:
        xy = [tuple(p) for p in np.asarray(stroke) * (w, height)]
        draw.line(xy, fill=1, width=brush, joint="curve")
        for x, y in (xy[0], xy[-1]):
            r = brush / 2
            draw.ellipse((x - r, y - r, x + r, y + r), fill=1)
    return np.asarray(canvas, np.float32)


def random_strokes(box, rng, strokes=3, points=5):
    """Hand-drawn-looking strokes that wander through the box, for the demos."""
    check_box(box)
    low, high = np.array(box[:2]), np.array(box[2:])
    return [rng.uniform(low, high, (points, 2)) for _ in range(strokes)]
