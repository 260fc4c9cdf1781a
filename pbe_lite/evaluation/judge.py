"""The judge: which kind stands in the hole?  It sees grey crops only, and conditions no
model, so a result pleases it by its shape or not at all.

A small convolutional network with a seed, an architecture and training pictures of its
own.  Beside the 48 kinds it knows the answer "none of these".  Half of the kinds that it
learns from are as rough as a weak model paints them, yet can be named (a little bent, or
decoded from noised latents); for "none" it sees what cannot: patches shuffled, noise,
blobs, lumps, half an object, strong bends, empty tables.
"""

from functools import lru_cache

import numpy as np
import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from PIL import Image
from scipy import ndimage
from torch import nn
from torch.nn import functional as F

from pbe_lite.config import WEIGHTS
from pbe_lite.data.images import to_bytes, to_signed
from pbe_lite.data.scenes import FreshScenes
from pbe_lite.data.tabletop import kind_names
from pbe_lite.training.initialize import read_codec
from pbe_lite.training.objective import Objective

SIDE = 48           # pixels of a crop
VIEWS = 2           # crops of a picture: to render it takes longer than to look at it
NONE = .3           # share of training crops that show none of the kinds
ROUGH = .5          # share of the others that are bent or decoded from noised latents


class Judge(ModelMixin, ConfigMixin):
    """Grey crops (B, 1, 48, 48) in 0..1 -> logits (B, kinds + 1), the last for "none"."""

    @register_to_config
    def __init__(self, kinds=48, widths=(24, 48, 96, 160)):
        super().__init__()
        layers, before = [], 1
        for i, width in enumerate(widths):
            layers += [nn.Conv2d(before, width, 3, padding=1, stride=2 if i else 1),
                       nn.GroupNorm(8, width), nn.SiLU(),
                       nn.Conv2d(width, width, 3, padding=1),
                       nn.GroupNorm(8, width), nn.SiLU()]
            before = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(before, kinds + 1)

    def forward(self, crops):
        x = crops - crops.mean((2, 3), keepdim=True)
        x = x / (x.std((2, 3), keepdim=True) + .05)  # light and contrast say nothing
        return self.head(self.features(x).mean((2, 3)))


@lru_cache
def load_judge(folder=WEIGHTS / "judge"):
    """The trained judge in eval mode, float32.

    Raises FileNotFoundError, saying how to train it, where there is none."""
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"no judge in {folder}; to train it: "
                                "python -m pbe_lite.reproduce --only judge")
    return Judge.from_pretrained(folder, torch_dtype=torch.float32).eval()


def grey_crop(image, window, weights=(1 / 3, 1 / 3, 1 / 3)):
    """The square `window` (left, top, side, in pixels) of an image (S, S, 3) uint8 as a
    grey crop (48, 48) in 0..1; beyond the picture's edge its border goes on."""
    left, top, side = window
    grey = Image.fromarray((image @ np.float32(weights)).astype(np.uint8))
    pad = max(0, -left, -top, left + side - grey.width, top + side - grey.height)
    grey = Image.fromarray(np.pad(np.asarray(grey), int(np.ceil(pad)), mode="edge"))
    box = (left + np.ceil(pad), top + np.ceil(pad))
    box = (*box, box[0] + side, box[1] + side)
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX, box=box),
                      np.float32) / 255


def window_around(box, size, grow=1.15):
    """(left, top, side) in pixels of the square around a box of fractions."""
    x0, y0, x1, y1 = (v * size for v in box)
    side = max(x1 - x0, y1 - y0, 8) * grow
    return (x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side


class JudgeTraining(Objective):
    """Cross-entropy on grey crops of scenes of its own, none of them the benchmark's."""

    arm = "judge"
    batch_size = 64  # pictures, of `VIEWS` crops each

    def __init__(self, preset, weights, scenes=400_000, seed=1):
        super().__init__(preset, FreshScenes(scenes, 128, wide=0), seed + 1)
        self.judge = Judge(len(kind_names()))
        self.codec = read_codec(preset, weights).requires_grad_(False).eval()

    def sample(self, epoch, index):
        """`VIEWS` crops of one picture, and the number of what it shows."""
        rng = self.rng(epoch, index)
        names = kind_names()
        label = int(rng.integers(len(names)))
        scene = self.records.scene(index, rng).with_object(names[label],
                                                           rng.uniform(0, 360))
        render = scene.render(128)
        image, none = render.image, rng.uniform() < NONE
        if none:
            image, label = spoil(render, rng, self._decode), len(names)
        elif rng.uniform() < ROUGH:
            image = self._roughen(image, rng)
        views = [view(image, render.box, rng) for _ in range(VIEWS)]
        return {"crops": torch.from_numpy(np.stack(views)), "label": label}

    def _roughen(self, image, rng):
        """Drawn badly, but still to be named."""
        if rng.uniform() < .4:
            image = bend(image, rng.uniform(1, 4), rng)
        return self._decode(image, rng.uniform(0, .9), rng)

    @torch.no_grad()
    def _decode(self, image, level, rng):
        """The picture through the codec, with noise of `level` deviations on its latent."""
        z = self.codec.encode(to_signed(image)[None]).latent_dist.mode()
        noise = torch.from_numpy(rng.standard_normal(z.shape, dtype="float32"))
        return to_bytes(self.codec.decode(z + level * z.std() * noise).sample)[0]

    def forward(self, batch):
        """Cross-entropy, the mean over views: crops (B, V, 48, 48), label (B,) -> (B,)."""
        crops = batch["crops"]
        logits = self.judge(crops.flatten(0, 1)[:, None]).float()
        labels = batch["label"].repeat_interleave(crops.shape[1])
        losses = F.cross_entropy(logits, labels, reduction="none")
        return losses.view(len(crops), -1).mean(1)

    def export(self, folder):
        self.judge.save_pretrained(folder)


def view(image, box, rng):
    """One look at an object, (48, 48) float32: another window, mix of the channels and
    sharpness, mirrored or not."""
    crop = grey_crop(image, jitter_window(box, len(image), rng), rng.dirichlet((1, 1, 1)))
    crop = crop[:, ::-1] if rng.uniform() < .5 else crop
    crop = ndimage.gaussian_filter(crop, rng.uniform(0, 1) ** 2)
    return np.float32(crop + rng.normal(0, .02, crop.shape))


def jitter_window(box, size, rng):
    """A window about the object, as a hole's box may lie about it."""
    left, top, side = window_around(box, size)
    grown = side * rng.uniform(.85, 1.6)
    move = rng.uniform(-.12, .12, 2) * side
    return left + (side - grown) / 2 + move[0], top + (side - grown) / 2 + move[1], grown


def bend(image, strength, rng):
    """An image (S, S, 3) uint8 moved by a smooth random field, `strength` its deviation
    in pixels."""
    size = len(image)
    field = ndimage.gaussian_filter(rng.normal(size=(2, size, size)), (0, 7, 7))
    grid = np.mgrid[:size, :size] + strength * field / field.std()
    return np.stack([ndimage.map_coordinates(image[..., c], grid, order=1,
                                             mode="reflect") for c in range(3)], -1)


def spoil(render, rng, decode):
    """A picture (S, S, 3) uint8 in which a person would name none of the kinds."""
    return rng.choice((_shuffled, _noisy, _blurred, _halved, _warped, _lump, _empty))(
        render, rng, decode)


def _object_box(render):
    return [round(v * len(render.image)) for v in render.box]


def _shuffled(render, rng, decode):
    """The object cut into 3 x 3 to 5 x 5 patches, in another order."""
    n = int(rng.integers(3, 6))
    x0, y0, x1, y1 = _object_box(render)
    w, h = (x1 - x0) // n, (y1 - y0) // n
    image, order = render.image.copy(), rng.permutation(n * n)
    for i, j in enumerate(order):
        y, x, v, u = y0 + i // n * h, x0 + i % n * w, y0 + j // n * h, x0 + j % n * w
        image[y:y + h, x:x + w] = render.image[v:v + h, u:u + w]
    return decode(image, rng.uniform(0, .4), rng)


def _noisy(render, rng, decode):
    """Decoded from a latent that is mostly noise."""
    return decode(render.image, rng.uniform(1.5, 2.5), rng)


def _blurred(render, rng, decode):
    """So soft that only a blob is left."""
    sigma = rng.uniform(.1, .2) * max(np.subtract(render.box[2:], render.box[:2])) * 128
    soft = ndimage.gaussian_filter(render.image.astype(float), (sigma, sigma, 0))
    return soft.round().astype(np.uint8)


def _halved(render, rng, decode):
    """One half of the object, or less, over the clean table."""
    x0, y0, x1, y1 = _object_box(render)
    image, share = render.image.copy(), rng.uniform(.5, .8)
    across, down = round(share * (x1 - x0)), round(share * (y1 - y0))
    cuts = (np.s_[:, :x0 + across], np.s_[:, x1 - across:],
            np.s_[:y0 + down], np.s_[y1 - down:])
    part = cuts[rng.integers(4)]
    image[part] = render.clean[part]
    return image


def _warped(render, rng, decode):
    """Bent until its outline is gone."""
    return bend(render.image, rng.uniform(10, 16), rng)


def _lump(render, rng, decode):
    """A lump of the object's colours where it stood: no parts, and a round outline."""
    side = max(np.subtract(render.box[2:], render.box[:2])) * len(render.image)
    sigma = rng.uniform(.12, .2) * side
    weight = ndimage.gaussian_filter(render.alpha.astype(float), sigma)
    spread = ndimage.gaussian_filter(render.image * render.alpha[..., None],
                                     (sigma, sigma, 0)) / (weight[..., None] + 1e-3)
    lump = np.clip(12 * (weight / weight.max() - rng.uniform(.35, .55)), 0, 1)[..., None]
    image = render.clean * (1 - lump) + spread * lump
    return decode(image.clip(0, 255).astype(np.uint8), rng.uniform(0, .6), rng)


def _empty(render, rng, decode):
    """The table alone, or a flat patch in place of the object."""
    if rng.uniform() < .5:
        return render.clean
    x0, y0, x1, y1 = _object_box(render)
    image = render.clean.copy()
    image[y0:y1, x0:x1] = rng.uniform(0, 255, 3)
    return image
