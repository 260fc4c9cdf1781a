"""The benchmark's questions: 400 fixed pairs whose right answer is known.

A pair is a scene never trained on, a hole around its object, and an exemplar cropped,
background and all, from another such scene with other light and pose.  What the exemplar
shows differs from the old object in kind and in hue.  Three splits:

    seen            200 pairs: trained kinds in hues outside their unseen arcs
    new_colourway   100 pairs: trained kinds in hues of their unseen arcs
    new_kind        100 pairs: the 8 held-out kinds
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from pbe_lite.data.boxes import around, mask_box
from pbe_lite.data.colours import colour_name, hue_distance
from pbe_lite.data.images import crop_box
from pbe_lite.data.masks import box_mask
from pbe_lite.data.tabletop import HELD_OUT_SEEDS, Render, Scene, draw_hue, kind_names
from pbe_lite.evaluation.baselines import copy_paste
from pbe_lite.evaluation.metrics import distance

PAIRS = 400
ORDER = ("seen", "new_colourway", "seen", "new_kind")
SPLITS = ("seen", "new_colourway", "new_kind")
APART = 60  # least degrees between the hues of the old object and the exemplar


class Pair(NamedTuple):
    """One question of the benchmark and its answer; see the module's docstring.

    hole: (S, S) bool; box: around the old object and the right one, in fractions;
    pasted: the copy-paste answer, (S, S, 3) uint8; pasted_alpha: the object's alpha in
    it, (S, S) in 0..1."""

    split: str
    kind: str
    hue: float
    source: Render
    truth: Render
    hole: np.ndarray
    box: tuple
    exemplar: Image.Image
    pasted: np.ndarray
    pasted_alpha: np.ndarray

    @property
    def name(self):
        """The exemplar's object in words: "blue penguin"."""
        return f"{colour_name(self.hue)} {self.kind}"

    @property
    def answer(self):
        """The best that an editor can do: `truth` in the hole, `source` around it."""
        return np.where(self.hole[..., None], self.truth.image, self.source.image)


def split_of(index):
    """The split that pair `index` belongs to."""
    return ORDER[index % len(ORDER)]


def _ask(index, kinds):
    """(kind, hue) of the exemplar of a pair."""
    rng = np.random.default_rng([19, index])
    split = split_of(index)
    names = kind_names("held_out") if split == "new_kind" else kinds or kind_names("train")
    turn = sum(split_of(i) == split for i in range(index))  # each kind has its turn
    kind = names[turn % len(names)]
    if kind == Scene(HELD_OUT_SEEDS[index]).name:
        kind = names[(turn + 1) % len(names)]
    hue = draw_hue(rng, kind, unseen=split == "new_colourway")
    return kind, hue


def _source(index, hue):
    """The scene of a pair; its object's hue lies at least `APART` from the exemplar's."""
    scene = Scene(HELD_OUT_SEEDS[index])
    if hue_distance(scene.hue, hue) >= APART:
        return scene
    return scene.with_object(hue=hue + 180)


def make_pair(index, size=128, grow=.05, kinds=None):
    """Pair `index` of the benchmark at `size` pixels; a pure function of both.

    kinds: names of trained kinds to ask for, by default all.  `box` holds the old object
    and the right answer, grown by `grow` of its sides; the hole holds `box` and the
    shadows of both, as far as they darken by 16 levels.  Raises ValueError for an index
    outside the 400."""
    if not 0 <= index < PAIRS:
        raise ValueError(f"index must be from 0 to {PAIRS - 1}, got {index}")
    kind, hue = _ask(index, kinds)
    scene = _source(index, hue)
    other = Scene(HELD_OUT_SEEDS[index + PAIRS])
    source = scene.render(size)
    truth = scene.with_object(kind, hue).render(size)
    shown = other.with_object(kind, hue).render(size)
    box = around((source.box, truth.box), grow)
    hole = box_mask(around((box, _changed(source), _changed(truth))), size) > 0
    exemplar = crop_box(Image.fromarray(shown.image), shown.box)
    alpha = crop_box(Image.fromarray((255 * shown.alpha).astype(np.uint8)), shown.box)
    pasted_alpha = copy_paste(np.zeros_like(source.image), hole, alpha)[..., 0] / 255
    return Pair(split_of(index), kind, hue, source, truth, hole, box, exemplar,
                copy_paste(source.image, hole, exemplar), pasted_alpha)


def _changed(render):
    """The box around everything that the object and its shadow change by 16 levels."""
    return mask_box(distance(render.image, render.clean) > 16)
