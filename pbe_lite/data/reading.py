"""What a user passes -> arrays: pictures and masks from anywhere, told apart and checked.

A picture may be a path, a PIL image, a numpy array (H, W, 3) or a tensor (3, H, W), of
uint8 in 0..255 or floats in 0..1.  Masks have no channel axis; 1 (or 255) = hole.
Everything that is wrong raises ValueError, naming the argument.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from pbe_lite.data.images import check_depth, to_rgb, turn_upright

PLAIN = "expected black and white"


def to_levels(image):
    """An upright PIL image of a mask -> (H, W) uint8, 255 = marked; edges may be soft.

    Raises ValueError for what is not clearly a mask: more than 8 bits, transparent parts
    (are they the hole, or the rest?), colours, a map of labels."""
    check_depth(image)
    if image.has_transparency_data:
        opacity = image.convert("RGBA").getchannel("A")
        if opacity.getextrema() != (255, 255):
            raise ValueError(f"has transparent parts (an alpha channel); {PLAIN} alone")
    colours = np.asarray(image.convert("RGB"))
    if np.ptp(colours, -1).max(initial=0) > 32:  # a JPEG's grey is not quite grey
        raise ValueError(f"has colours, as maps of labels have; {PLAIN}, a file an object")
    return check_levels(np.asarray(image.convert("L")))


def check_levels(grey):
    """A mask (H, W) uint8 -> the same, 0 and 1 made 0 and 255.

    Raises ValueError for a map of labels: flat areas of levels other than these."""
    most = grey.max(initial=0)
    if most <= 1:
        return grey * np.uint8(255)
    if most < 128:
        raise ValueError(f"has levels 0 to {most}; {PLAIN}: 0 and 255, or 0 and 1")
    levels = np.unique(grey)
    flat = ndimage.maximum_filter(grey, 3) == ndimage.minimum_filter(grey, 3)
    between = flat & (grey > 0) & (grey < 250)
    if len(levels) <= 32 and between.sum() > .05 * (grey > 0).sum():
        raise ValueError(f"has flat areas of levels {', '.join(map(str, levels[:6]))}, as "
                         f"maps of labels have; {PLAIN}, a file an object")
    return grey


def _open(value, argument):
    """A PIL image or a path -> a PIL image whose pixels have been read."""
    try:
        if isinstance(value, Image.Image):
            value.load()
            return value
        with Image.open(value) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise ValueError(f"{argument}: no file {str(value)!r}") from None
    except Exception as error:  # decoders of damaged files raise almost anything
        raise ValueError(f"{argument}: cannot read {str(value)!r}: {error}") from None


def _checked(check, value, argument):
    """check(value), its ValueError with the argument's name."""
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"{argument} {error}") from None


def _to_array(value, argument, convert):
    """Anything image-like -> a numpy array of numbers; `convert` is for PIL images."""
    if isinstance(value, (str, Path, Image.Image)):
        image = turn_upright(_open(value, argument))
        return np.asarray(_checked(convert, image, argument))
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
    """Anything image-like -> (H, W, 3) uint8, RGB.

    Raises ValueError, naming the argument, for what is none."""
    array = _to_array(value, argument, to_rgb)
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, -1)
    if array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"{argument} must have shape (H, W, 3), or (3, H, W) as a tensor; "
                         f"got {array.shape}")
    return np.round(_to_unit(array, argument) * 255).astype(np.uint8)


def read_mask(value, shape, argument="mask_image"):
    """Anything mask-like -> (H, W) bool, True = hole; `shape` is the image's (H, W).

    Raises ValueError for another size, for an empty or full mask, and for what is not
    clearly black and white: colours, transparency, a map of labels."""
    array = _to_array(value, argument, to_levels)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array.squeeze(2 if array.shape[2] == 1 else 0)
    if array.ndim != 2 or array.shape != tuple(shape):
        raise ValueError(f"{argument} must have the image's size {tuple(shape)}; "
                         f"got {array.shape}")
    if array.dtype == np.uint8:
        array = _checked(check_levels, array, argument)
    hole = _to_unit(array, argument) > .5
    if not hole.any():
        raise ValueError(f"{argument} is empty: mark the hole with 1 (or 255)")
    if hole.all():
        raise ValueError(f"{argument} covers the whole image: leave some of it, 0 = keep")
    return hole
