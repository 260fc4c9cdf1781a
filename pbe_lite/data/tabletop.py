"""Tabletop, the miniature world: one object on a table, and the right answer known.

A `Scene` is a pure function of its seed; rendered at any resolution from 64 to 512 it
gives the picture, the object's box and alpha, and the clean plate (the same table with
no object).  `scene.with_object(...)` renders the ground truth of an edit, which no data
set of photographs can offer.

Objects are the MIT-licensed 3-D emoji under `data/sprites/` (see `data/README.md`).
Coordinates are fractions of the picture, x to the right and y down.
"""

import csv
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from pbe_lite.config import DATA, SPRITES
from pbe_lite.data.boxes import mask_box

HELD_OUT_SEEDS = range(500)  # scenes never trained on; training uses seeds from 1000
FIRST_TRAINING_SEED = 1000
TEXTURES = ("plain", "stripes", "checks", "waves", "noise")


class Render(NamedTuple):
    """image, clean: (S, S, 3) uint8; alpha: (S, S) in 0..1; box: (x0, y0, x1, y1)."""

    image: np.ndarray
    clean: np.ndarray
    alpha: np.ndarray
    box: tuple


@dataclass(frozen=True)
class Pose:
    """Where the object stands: (x, y) its centre, `scale` its longer side, all as
    fractions of the picture; `angle` in degrees, counter-clockwise; mirrored by `flip`."""

    x: float
    y: float
    scale: float
    angle: float
    flip: bool


@dataclass(frozen=True)
class Surface:
    """Two colours (RGB, 0..1) and a texture between them; `phase` holds 4 numbers."""

    colours: tuple
    texture: str
    frequency: float
    phase: tuple


@lru_cache
def sprite_table(split=None):
    """[(file, name)] of all objects, or of the split "train" or "held_out"."""
    with open(DATA / "sprites.csv", newline="") as f:
        rows = [r for r in csv.DictReader(f) if split in (None, r["split"])]
    if not rows:
        raise ValueError(f"split must be None, 'train' or 'held_out', got {split!r}")
    return tuple((r["file"], r["name"]) for r in rows)


def object_names(split=None):
    """Names of the objects, in a fixed order: a name's position is its class label."""
    return [name for _, name in sprite_table(split)]


@lru_cache(maxsize=1024)
def _sprite(name, side):
    """The trimmed sprite with premultiplied alpha, its longer side `side` pixels."""
    files = {n: f for f, n in sprite_table()}
    sprite = Image.open(SPRITES / files[name]).convert("RGBA")
    sprite = sprite.crop(sprite.getchannel("A").point(lambda a: 255 * (a > 64)).getbbox())
    ratio = side / max(sprite.size)
    size = [max(1, round(s * ratio)) for s in sprite.size]
    return sprite.convert("RGBa").resize(size, Image.Resampling.BOX if ratio < 1 else
                                         Image.Resampling.BICUBIC)


def _draw_surface(rng):
    hue, saturation, value = rng.uniform(), rng.uniform(.05, .5), rng.uniform(.45, .95)
    near = _hsv(hue, saturation, value)
    step = rng.choice((-1, 1)) * rng.uniform(.12, .35)
    far = _hsv(hue + rng.normal(0, .06), saturation, min(1, max(.2, value + step)))
    texture = str(rng.choice(TEXTURES))
    return Surface((near, far), texture, rng.uniform(3, 8), tuple(rng.uniform(size=4)))


def _hsv(h, s, v):
    offsets = (np.array([5, 3, 1]) + 6 * h) % 6
    return tuple(v - v * s * np.clip(np.minimum(offsets, 4 - offsets), 0, 1))


def _pattern(surface, u, v):
    """The texture as a mixing weight in 0..1 at surface coordinates u, v."""
    f, (p, q, r, s) = surface.frequency, surface.phase
    turn = 2 * math.pi
    if surface.texture == "plain":
        return .12 * np.sin(turn * (u + p)) + .12
    if surface.texture == "stripes":
        wave = np.sin(turn * (f * (u * math.cos(2 * q) + v * math.sin(2 * q)) + p))
        return .5 + .5 * np.clip(2.5 * wave, -1, 1)
    if surface.texture == "checks":
        wave = np.sin(turn * (f / 2 * u + p)) * np.sin(turn * (f / 2 * v + q))
        return .5 + .5 * np.clip(4 * wave, -1, 1)
    if surface.texture == "waves":
        return .5 + .5 * np.sin(turn * (f * v + .6 * np.sin(turn * (u * 2 + p)) + q))
    noise = sum(
        np.sin(turn * (a * f * u + b * f * v + c))
        for a, b, c in ((.31, .17, p), (-.23, .41, q), (.53, -.29, r), (.13, .61, s))
    )
    return np.clip(.5 + .2 * noise, 0, 1)


@dataclass(frozen=True)
class Scene:
    """One picture of the miniature world, decided by `seed` alone.

    Raises ValueError for a negative seed or an unknown object name."""

    seed: int
    name: str = None
    pose: Pose = None

    def __post_init__(self):
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0, got {self.seed}")
        rng = np.random.default_rng([7, self.seed])
        drawn = {
            "horizon": rng.uniform(.34, .56),
            "wall": _draw_surface(rng),
            "floor": _draw_surface(rng),
            "side": rng.uniform(-1, 1),
            "strength": rng.uniform(.62, 1.12),
            "tint": tuple(1 + rng.uniform(-.5, .5) * np.array([.22, 0, -.32])
                          + rng.normal(0, .03, 3)),
        }
        for key, value in drawn.items():
            object.__setattr__(self, key, value)
        name = str(rng.choice(object_names("train")))
        if self.name not in (None, *object_names()):
            raise ValueError(f"unknown object {self.name!r}; object_names() lists them all")
        pose = _draw_pose(rng, self.horizon)
        object.__setattr__(self, "name", self.name or name)
        object.__setattr__(self, "pose", self.pose or pose)

    def with_object(self, name, pose=None):
        """This scene with another object in it (by default in this object's pose)."""
        return replace(self, name=name, pose=pose or self.pose)

    def render(self, size=128):
        """Draw the scene at size x size pixels, 64 <= size <= 512; see `Render`.

        Raises ValueError for another size and for a pose outside the picture."""
        if not 64 <= size <= 512:
            raise ValueError(f"size must be from 64 to 512 pixels, got {size}")
        y, x = (np.mgrid[:size, :size].astype(np.float32) + .5) / size
        plate = self._table(x[:1], y[:, :1])
        light = self._light(x[:1])[:, :, None] * np.array(self.tint, np.float32)
        colour, alpha = self._object(size)
        if alpha.max() <= .5:
            raise ValueError(f"{self.pose} puts the object outside the picture")
        shaded = plate * (1 - self._shadow(x, y, alpha))[..., None]
        picture = colour + shaded * (1 - alpha)[..., None]
        to_bytes = lambda a: (255 * np.clip(a * light, 0, 1) + .5).astype(np.uint8)
        return Render(to_bytes(picture), to_bytes(plate), alpha, mask_box(alpha))

    def _table(self, x, y):
        """The unlit wall and floor, (S, S, 3); x: (1, S), y: (S, 1)."""
        depth = np.maximum(y - self.horizon, 0) + .12
        wall = _pattern(self.wall, x + 0 * y, y + 0 * x)
        floor = _pattern(self.floor, (x - .5) * .45 / depth, .12 / depth + 0 * x)
        fade = np.clip((depth - .12) / .12, 0, 1)
        floor = .5 + (floor - .5) * fade
        edge = np.clip((y - self.horizon) * 160 + .5, 0, 1)[..., None]
        mix = lambda s, w: np.float32(s.colours[0]) * (1 - w[..., None]) \
            + np.float32(s.colours[1]) * w[..., None]
        return mix(self.wall, wall) * (1 - edge) + mix(self.floor, floor) * edge

    def _light(self, x):
        return np.float32(self.strength * (1 + .3 * self.side * (2 * x - 1)))

    def _object(self, size):
        """Premultiplied colour (S, S, 3) and alpha (S, S) of the posed, unlit object."""
        p = self.pose
        side = p.scale * size
        sprite = _sprite(self.name, 2 ** math.ceil(math.log2(min(side * 1.2, 256))))
        zoom = max(sprite.size) / side
        angle = math.radians(p.angle)
        c, s = math.cos(angle) * zoom, math.sin(angle) * zoom
        m = -1 if p.flip else 1
        cx, cy, w, h = p.x * size, p.y * size, sprite.width / 2, sprite.height / 2
        affine = (m * c, -m * s, w - m * (c * cx - s * cy), s, c, h - s * cx - c * cy)
        posed = sprite.transform((size, size), Image.Transform.AFFINE, affine,
                                 Image.Resampling.BILINEAR)
        posed = np.asarray(posed, np.float32) / 255
        return posed[..., :3], posed[..., 3]

    def _shadow(self, x, y, alpha):
        """Darkness 0..1 of a soft shadow at the object's foot, away from the light."""
        x0, _, x1, y1 = mask_box(alpha)
        width = (x1 - x0) / 2
        cx, cy = (x0 + x1) / 2 - .35 * self.side * width, y1 - .012
        d = ((x - cx) / (width * 1.05)) ** 2 + ((y - cy) / (.3 * width + .01)) ** 2
        return .6 * np.exp(-1.6 * d)


def _draw_pose(rng, horizon):
    scale = rng.uniform(.34, .62)
    x = rng.uniform(.04 + scale / 2, .96 - scale / 2)
    lowest, highest = .97 - scale / 2, horizon + .1 - scale / 3
    y = rng.uniform(min(max(highest, .03 + scale / 2), lowest), lowest)
    return Pose(x, y, scale, rng.uniform(-30, 30), bool(rng.integers(2)))
