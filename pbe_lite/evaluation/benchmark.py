"""The benchmark's questions: 400 fixed pairs whose right answer is known.

A pair is a scene never trained on, a hole around its object, and an exemplar cropped,
background and all, from another such scene with another light.  200 exemplars are of
objects seen in training, 200 of the 40 held out.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from pbe_lite.data.boxes import around, mask_box
from pbe_lite.data.images import crop_box
from pbe_lite.data.masks import box_mask
from pbe_lite.data.tabletop import HELD_OUT_SEEDS, Render, Scene, object_names
from pbe_lite.evaluation import metrics
from pbe_lite.evaluation.baselines import copy_paste

PAIRS = 400
SPLITS = ("seen", "held_out")


class Pair(NamedTuple):
    """One question of the benchmark and its answer; see the module's docstring."""

    split: str
    name: str
    source: Render
    truth: Render
    hole: np.ndarray
    box: tuple
    exemplar: Image.Image
    pasted: np.ndarray
    pasted_alpha: np.ndarray

    @property
    def answer(self):
        """The best that an editor can do: `truth` in the hole, `source` around it."""
        return np.where(self.hole[..., None], self.truth.image, self.source.image)


def split_of(index):
    """"seen" for even pairs, "held_out" for odd ones."""
    return SPLITS[index % 2]


def make_pair(index, size=128, grow=.1):
    """Pair `index` of the benchmark at `size` pixels; a pure function of both.

    `box` holds the old object and the right answer, grown by `grow` of its sides; the
    hole holds `box` and the shadows of both, as far as they darken by 8 levels.
    Raises ValueError for an index outside the 400."""
    if not 0 <= index < PAIRS:
        raise ValueError(f"index must be from 0 to {PAIRS - 1}, got {index}")
    rng = np.random.default_rng([11, index])
    source, split = Scene(HELD_OUT_SEEDS[index]), split_of(index)
    if split == "seen":
        name = str(rng.choice([n for n in object_names("train") if n != source.name]))
    else:
        name = object_names("held_out")[index // 2 % len(object_names("held_out"))]
    truth, before = source.with_object(name).render(size), source.render(size)
    other = HELD_OUT_SEEDS[(index + 250) % len(HELD_OUT_SEEDS)]
    shown = Scene(other).with_object(name).render(size)
    box = around((before.box, truth.box), grow)
    hole = box_mask(around((box, _changed(before), _changed(truth))), size) > 0
    exemplar = crop_box(Image.fromarray(shown.image), shown.box)
    alpha = crop_box(Image.fromarray((255 * shown.alpha).astype(np.uint8)), shown.box)
    pasted_alpha = copy_paste(np.zeros_like(before.image), hole, alpha)[..., 0] / 255
    return Pair(split, name, before, truth, hole, box, exemplar,
                copy_paste(before.image, hole, exemplar), pasted_alpha)


def _changed(render):
    """The box around everything that the object and its shadow change by 8 levels."""
    changed = metrics.distance(render.image, render.clean) > 8
    return mask_box(changed)
