"""Image + boxes -> (image, hole, exemplar): self-supervised training triplets.

A box in a picture is both the hole and, cropped, the exemplar (section 3.1).  A triplet
is a pure function of (seed, epoch, index): workers, ranks and order change nothing.  An
image that cannot be read is skipped: another, drawn from the same key, stands in for it.
"""

import numpy as np
import torch

from pbe_lite.data.augmentation import augment_exemplar
from pbe_lite.data.boxes import box_within
from pbe_lite.data.images import (
    CLIP_MEAN,
    CLIP_STD,
    UnreadableImage,
    crop_box,
    squash,
    to_alpha,
    to_clip,
    to_signed,
)
from pbe_lite.data.masks import box_mask, random_hole

__all__ = ["CLIP_MEAN", "CLIP_STD", "Triplets", "crop_box", "crop_to_square", "cut_square",
           "sample_rng", "square_crop", "to_clip", "to_signed"]  # some for the lessons

SUBSTITUTE = 2  # the purpose of the generator that draws another record
TRIES = 100


def sample_rng(seed, epoch, index, purpose=0):
    """The generator of one sample; `purpose` separates triplet, noise, ..."""
    return np.random.default_rng([seed, epoch, index, purpose])


def square_crop(size, box, rng):
    """(left, top, right, bottom) in pixels of a random square of the picture's shorter
    side that holds `box`, or None when the box is longer than that side; size: (w, h)."""
    side = min(size)
    offsets = []
    for length, low, high in zip(size, box[:2], box[2:], strict=True):
        least, most = max(0, high * length - side), min(low * length, length - side)
        if least > most:
            return None
        offsets.append(int(round(rng.uniform(least, most))))
    return (*offsets, offsets[0] + side, offsets[1] + side)


def crop_to_square(image, box, rng):
    """A random square PIL image that holds `box`, and the box in its coordinates."""
    return cut_square(image, box, square_crop(image.size, box, rng))


def cut_square(image, box, window):
    """The part of a PIL image inside the window of `square_crop`, and the box in its
    coordinates.

    Where no square fits, the whole picture is returned and squashed later, as the
    authors do."""
    if window is None:
        return image, box
    return image.crop(window), box_within(box, image.size, window)


class Triplets(torch.utils.data.Dataset):
    """Training triplets from a dataset of `load_open_images`' schema.

    `triplets[epoch, index]` gives a dict: `image` (3, S, S) in [-1, 1]; `hole`
    (1, S, S), 1 = hole; `exemplar` (3, E, E) normalised for CLIP; `name` of the object.
    With `augment=False` the exemplar is only squashed; with `shapes=False` the hole is
    the box itself.  `skipped`, a `records.Skipped`, is told of what cannot be read;
    after 100 such images for one sample UnreadableImage is raised."""

    def __init__(self, records, preset, seed=0, augment=True, shapes=True, skipped=None):
        self.records, self.preset, self.seed = records, preset, seed
        self.augment, self.shapes, self.skipped = augment, shapes, skipped

    def __len__(self):
        return len(self.records)

    def record(self, epoch, index):
        """Record `index`, or where that cannot be read another one."""
        rng = sample_rng(self.seed, epoch, index, SUBSTITUTE)
        for _ in range(TRIES):
            try:
                record = self.records[index]
                if "fault" in record:
                    raise UnreadableImage(record["fault"], record["image_id"])
                return record
            except UnreadableImage as error:
                if self.skipped:
                    self.skipped.note(error)
            index = int(rng.integers(len(self)))
        raise UnreadableImage(f"{TRIES} images in a row cannot be read; what is wrong says "
                              "python -m pbe_lite check-data")

    def _alpha(self, record):
        """The object's alpha, where the preset asks for it, else None."""
        if not self.preset.alpha_weight:
            return None
        if "alpha" not in record:
            raise ValueError("a preset with alpha_weight needs the alpha of every object; "
                             f"{record['image_id']} has none")
        return record["alpha"]

    def __getitem__(self, key):
        epoch, index = key
        rng = sample_rng(self.seed, epoch, index)
        record = self.record(epoch, index)
        i = int(rng.integers(len(record["boxes"])))
        whole, box = record["image"], record["boxes"][i]
        alpha = self._alpha(record)
        window = square_crop(whole.size, box, rng)
        image, moved = cut_square(whole, box, window)
        exemplar = self._exemplar(crop_box(whole, box), rng)
        triplet = {
            "image": to_signed(squash(image, self.preset.resolution)),
            "hole": torch.from_numpy(self._hole(moved, rng))[None],
            "exemplar": to_clip(exemplar),
            "name": record["labels"][i],
        }
        if alpha:
            alpha, _ = cut_square(alpha, box, window)
            triplet["alpha"] = to_alpha(alpha, self.preset.resolution)
        return triplet

    def _exemplar(self, crop, rng):
        size = self.preset.exemplar_size
        return augment_exemplar(crop, size, rng) if self.augment else squash(crop, size)

    def _hole(self, box, rng):
        size = self.preset.resolution
        return random_hole(box, size, rng) if self.shapes else box_mask(box, size)
