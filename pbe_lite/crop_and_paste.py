"""Between the user's picture and the model's square: read, check, crop, paste back.

Images may be a path, a PIL image, a numpy array (H, W, 3) or a tensor (3, H, W); numbers
are uint8 in 0..255 or floats in 0..1.  Masks have no channel axis; 1 (or 255) = hole.
Everything that is wrong raises ValueError, naming the argument.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from scipy import ndimage


def _decode(image, argument):
    """A PIL image, opened or not yet read, -> (H, W[, 3]) uint8, turned upright; where a
    picture is transparent it is laid on white."""
    if image.mode[0] in "IF":
        raise ValueError(f"{argument} must have 8 bits a channel; got PIL's {image.mode!r}")
    upright = ImageOps.exif_transpose(image)
    if argument == "mask":
        return np.asarray(upright.convert("L"))
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright)
    return np.asarray(upright.convert("RGB"))


def _open(value, argument):
    try:
        if isinstance(value, Image.Image):
            return _decode(value, argument)
        with Image.open(value) as image:
            return _decode(image, argument)
    except FileNotFoundError:
        raise ValueError(f"{argument}: no file {str(value)!r}") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{argument}: cannot read {str(value)!r}: {error}") from None


def _to_array(value, argument):
    """Anything image-like -> a numpy array of numbers."""
    if isinstance(value, (str, Path, Image.Image)):
        return _open(value, argument)
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
        value = value.transpose(1, 2, 0) if value.ndim == 3 else value
    if not isinstance(value, np.ndarray):
        raise ValueError(
            f"{argument} must be a path, a PIL image, a numpy array (H, W, 3) or a tensor "
            f"(3, H, W); got {type(value).__name__}")
    if value.dtype.kind not in "buif":
        raise ValueError(f"{argument} must hold real numbers; got dtype {value.dtype}")
    return value


def _to_unit(array, argument):
    """Numbers -> float32 in 0..1; uint8 is divided by 255."""
    if array.size == 0:
        raise ValueError(f"{argument} is empty: its shape is {array.shape}")
    if array.dtype == np.uint8:
        return array.astype(np.float32) / 255
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{argument} holds NaN or infinite values; expected 0..1")
    if array.min() < 0 or array.max() > 1:
        raise ValueError(f"{argument} must be floats in 0..1 or uint8 in 0..255; got "
                         f"values from {array.min():.3g} to {array.max():.3g}")
    return array


def read_image(value, argument="image"):
    """-> (H, W, 3) uint8."""
    array = _to_array(value, argument)
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, -1)
    if array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"{argument} must have shape (H, W, 3), or (3, H, W) as a tensor; "
                         f"got {array.shape}")
    return np.round(_to_unit(array, argument) * 255).astype(np.uint8)


def read_mask(value, shape):
    """-> (H, W) bool, True = hole; `shape` is the image's (H, W)."""
    array = _to_array(value, "mask")
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array.squeeze(2 if array.shape[2] == 1 else 0)
    if array.ndim != 2 or array.shape != tuple(shape):
        raise ValueError(f"mask must have the image's size {tuple(shape)}; "
                         f"got {array.shape}")
    if array.dtype == np.uint8 and array.max(initial=0) <= 1:
        array = array.astype(bool)
    hole = _to_unit(array, "mask") > .5
    if not hole.any():
        raise ValueError("mask is empty: mark the hole with 1 (or 255)")
    if hole.all():
        raise ValueError("mask covers the whole image: leave some of it, 0 = keep")
    return hole


class Window(NamedTuple):
    """A square part of a picture, in pixels; it may reach beyond the picture's edge."""

    left: int
    top: int
    side: int


def hole_box(hole):
    """(left, top, right, bottom) in pixels around a hole (H, W)."""
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def hole_window(hole, context=3.0):
    """The square around a hole (H, W) that the model gets to see: `context` times the
    hole's longer side, but within the picture wherever that is large enough."""
    x0, y0, x1, y1 = hole_box(hole)
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


def resize(array, side):
    """(H, W, 3) uint8 -> (side, side, 3) uint8."""
    if array.shape[:2] == (side, side):
        return array
    return np.asarray(Image.fromarray(array).resize((side, side), Image.Resampling.LANCZOS))


def resize_hole(hole, side):
    """(H, W) bool -> (side, side) bool; a cell is in the hole when any of it is."""
    if hole.shape == (side, side):
        return hole
    picture = Image.fromarray(hole.astype(np.float32))  # 8 bits would lose small parts
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX)) > 0


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
