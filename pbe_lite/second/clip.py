"""Training the lite CLIP so that it sees shape: any sprite in any hue.

The paper's CLIP has met most of what people ask for; this one meets all 381 sprites, the
8 held-out kinds among them.  What it never sees are the unseen arcs of the 48 kinds.
"""

import numpy as np
from PIL import Image

from pbe_lite.data.augmentation import augment_exemplar
from pbe_lite.data.boxes import grow_box
from pbe_lite.data.triplets import crop_box, sample_rng, to_clip
from pbe_lite.models import clip as lite_clip
from pbe_lite.second.colours import COLOURS
from pbe_lite.second.scenes import FreshScenes
from pbe_lite.second.tabletop import (
    sprite_files,
)
from pbe_lite.training.losses import Contrastive
from pbe_lite.training.objective import Objective

GREY = .15   # share of crops without colour; their caption names none
PLAIN = .5   # share of the others whose caption names the kind alone: then only the shape
             # tells a crop from the others in its batch
WIDE = .3    # share of crops of sprites that are none of the 48 kinds


class WideContrastive(Contrastive):
    """CLIP's symmetric loss on crops of scenes with any sprite in any hue; crops of one
    caption in a batch are all positives."""

    arm = "clip"
    batch_size, lr, betas = 128, None, None  # the preset's rates, Muon's among them

    def __init__(self, preset, scenes=400_000, seed=0):
        Objective.__init__(self, preset, FreshScenes(scenes, 64, WIDE), seed)
        words = [f"{colour} {name}" for name in sprite_files() for colour in COLOURS]
        self.model, self.tokenizer = lite_clip.build_clip(preset, words)

    def sample(self, epoch, index):
        rng = sample_rng(self.seed, epoch, index)
        scene = self.records.scene(index, rng)
        render = scene.render(self.records.size)
        crop = crop_box(Image.fromarray(render.image), jitter_box(render.box, rng))
        pixels = augment_exemplar(crop, self.preset.exemplar_size, rng)
        label = scene.name if rng.uniform() < PLAIN else scene.label
        if rng.uniform() < GREY:
            grey = pixels @ rng.dirichlet((1, 1, 1))
            pixels = np.repeat(grey[..., None], 3, -1).round().astype(np.uint8)
            label = scene.name
        tokens = lite_clip.tokenize(self.tokenizer, [lite_clip.caption(label)])
        return {"pixels": to_clip(pixels), "ids": tokens.input_ids[0],
                "attention": tokens.attention_mask[0]}


def jitter_box(box, rng, outwards=.3, inwards=.1):
    """A box with each side moved by up to `outwards` or `inwards` of the box's size."""
    return grow_box(box, rng.uniform(-inwards, outwards, 4))
