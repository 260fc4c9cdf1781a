"""The user's pictures and the model's squares: read one or several, cut and prepared, and
the results pasted back.  `crop_and_paste` does so with one picture.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from diffusers.utils import BaseOutput
from PIL import Image

from pbe_lite import crop_and_paste
from pbe_lite.data.images import resize, resize_hole, squash, to_clip, to_signed
from pbe_lite.data.reading import read_image, read_mask


@dataclass
class EditOutput(BaseOutput):
    """`images`: all results, those of one image together, of the source's size (of the
    model's with `paste=False`).  `nsfw_content_detected`: for each whether the safety
    checker objected, and what was painted is black; None without a checker."""

    images: list
    nsfw_content_detected: list = None


class Edit(NamedTuple):
    """One question: source (H, W, 3) uint8, hole (H, W) bool, exemplar, a PIL image."""

    source: np.ndarray
    hole: np.ndarray
    exemplar: Image.Image


def read_edits(example_image, image, mask_image):
    """A list of `Edit`: each argument is one picture or several, as many as the others.

    Several are a list, or an array or tensor with one axis more.  Raises ValueError that
    names the argument, with its index where there are several."""
    given = {"example_image": _as_list(example_image), "image": _as_list(image),
             "mask_image": _as_list(mask_image, mask=True)}
    counts = {name: len(pictures) for name, pictures in given.items()}
    most = max(counts.values())
    if not set(counts.values()) <= {1, most} or 0 in counts.values():
        raise ValueError(f"example_image, image and mask_image must be one or as many as "
                         f"the others, got {', '.join(map(str, counts.values()))}")
    return [_read_edit(i, given) for i in range(most)]


def _as_list(value, mask=False):
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, (np.ndarray, torch.Tensor)):
        several_masks = mask and value.ndim == 3 and 1 not in (value.shape[0],
                                                               value.shape[2])
        if value.ndim == 4 or several_masks:
            return list(value)
    return [value]


def _read_edit(i, given):
    """The i-th of several, or the only one."""
    value = {name: p[i] if len(p) > 1 else p[0] for name, p in given.items()}
    name = {n: f"{n}[{i}]" if len(p) > 1 else n for n, p in given.items()}
    source = read_image(value["image"], name["image"])
    hole = read_mask(value["mask_image"], source.shape[:2], name["mask_image"])
    exemplar = read_image(value["example_image"], name["example_image"])
    return Edit(source, hole, Image.fromarray(exemplar))


def fit_exemplar(picture, size, fit="squash"):
    """A PIL image -> (size, size, 3) uint8 for CLIP.

    "squash": its aspect ratio ignored, as the authors' training and test code has it.
    "center_crop": the shorter side resized and the middle cut out, as diffusers has it."""
    if fit == "squash":
        return squash(picture, size)
    width, height = picture.size
    short = min(width, height)
    scaled = (int(size * width / short), int(size * height / short))
    left, top = (scaled[0] - size) // 2, (scaled[1] - size) // 2
    picture = picture.convert("RGB").resize(scaled, Image.Resampling.BICUBIC)
    return np.asarray(picture.crop((left, top, left + size, top + size)))


def model_squares(edits, resolution, exemplar_size, context=3.0, exemplar_fit="squash"):
    """What the model sees of B edits, as `pipeline.sample` takes it: exemplars
    (B, 3, E, E), images (B, 3, S, S) in [-1, 1] and holes (B, 1, S, S), 1 = hole."""
    exemplars, images, holes = [], [], []
    for source, hole, exemplar in edits:
        window = crop_and_paste.hole_window(hole, context)
        square = resize(crop_and_paste.crop(source, window), resolution)
        inside = crop_and_paste.crop(hole, window)
        exemplars.append(to_clip(fit_exemplar(exemplar, exemplar_size, exemplar_fit)))
        images.append(to_signed(square))
        holes.append(torch.from_numpy(resize_hole(inside, resolution))[None])
    return torch.stack(exemplars), torch.stack(images), torch.stack(holes)


def paste_squares(edits, painted, context=3.0):
    """Results (B n, S, S, 3) in 0..1, n for each of B edits, each laid into its source: a
    list of (H, W, 3) uint8."""
    copies, results = len(painted) // len(edits), []
    for i, square in enumerate(painted):
        source, hole, _ = edits[i // copies]
        window = crop_and_paste.hole_window(hole, context)
        results.append(crop_and_paste.paste(source, _to_bytes(square), hole, window))
    return results


def to_output(images, output_type, height=None, width=None):
    """(H, W, 3) arrays, uint8 or floats in 0..1 -> what `output_type` says.

    "pil": a list of PIL images; "np": (B, H, W, 3) floats in 0..1; "pt": (B, 3, H, W)."""
    images = [_resize(image, height, width) for image in images]
    if output_type == "pil":
        return [Image.fromarray(_to_bytes(image)) for image in images]
    array = np.stack([image / np.float32(255) if image.dtype == np.uint8 else image
                      for image in images])
    return array if output_type == "np" else torch.from_numpy(array).permute(0, 3, 1, 2)


def _resize(image, height, width):
    size = (width or image.shape[1], height or image.shape[0])
    if size == image.shape[1::-1]:
        return image
    return np.asarray(Image.fromarray(_to_bytes(image)).resize(
        size, Image.Resampling.LANCZOS))


def _to_bytes(image):
    return image if image.dtype == np.uint8 else np.round(image * 255).astype(np.uint8)
