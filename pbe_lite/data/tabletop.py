"""Tabletop, the miniature world: one object on a table, and the right answer known.

A `Scene` is a pure function of its seed; rendered at any resolution from 64 to 512 it
gives the picture, the object's box and alpha, and the clean plate (the same table with
no object).  `scene.with_object(...)` renders the ground truth of an edit, which no data
set of photographs can offer.

Objects are MIT-licensed 3-D emoji (see `data/README.md`): 40 kinds that are trained, 8
that are held out, chosen for silhouettes that a person can name.  A kind comes in any
hue: *which* penguin it is, is the colour.  For every kind one arc of hues is never
trained.  Coordinates are fractions of the picture, x to the right and y down; hues are
degrees, red 0, green 120, blue 240.
"""

import csv
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from pbe_lite.config import DATA, SPRITES
from pbe_lite.data.boxes import mask_box
from pbe_lite.data.colours import colour_name, mean_chroma, turn_hue
from pbe_lite.data.surfaces import Surface, draw_surface, hsv, pattern

HELD_OUT_SEEDS = range(1000)  # scenes never trained on; training uses seeds from 1000
FIRST_TRAINING_SEED = 1000
ARC = 60             # degrees of hue that are never trained, for each kind
GOLDEN_ANGLE = 137.5  # consecutive arcs lie this far apart, so they spread evenly
LITTLE_CHROMA = .12  # below it a thing has no colour of its own, and is tinted
MOST_TURNED = 20     # degrees
SCALES = (.46, .74)  # of an object's longer side


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


@lru_cache
def kind_table():
    """{kind: (file, split)} of the 48 kinds; split is "train" or "held_out"."""
    with open(DATA / "kinds.csv", newline="") as f:
        return {row["name"]: (row["file"], row["split"]) for row in csv.DictReader(f)}


@lru_cache
def sprite_files():
    """{name: file} of the 48 kinds and then of all other sprites, which only the lite
    CLIP gets to see."""
    files = {name: file for name, (file, _) in kind_table().items()}
    with open(DATA / "sprites.csv", newline="") as f:
        others = [row for row in csv.DictReader(f) if row["file"] not in files.values()]
    return files | {row["name"]: row["file"] for row in others}


def kind_names(split=None):
    """Names of the kinds, in a fixed order, of the split "train", "held_out" or None: of
    both.  Raises ValueError for another split."""
    if split not in (None, "train", "held_out"):
        raise ValueError(f"split must be None, 'train' or 'held_out', got {split!r}")
    return [name for name, (_, of) in kind_table().items() if split in (None, of)]


def unseen_arc(kind):
    """(start, end) in degrees of the hues in which a kind is never trained; the end may
    lie beyond 360.  A name that is no kind has none: (0, 0)."""
    names = kind_names()
    if kind not in names:
        return 0, 0
    start = names.index(kind) * GOLDEN_ANGLE % 360
    return start, start + ARC


def draw_hue(rng, kind, unseen=False):
    """A hue in degrees, 0..360, outside of the kind's unseen arc; with `unseen` inside of
    it, at least 10 degrees from its ends."""
    start, end = unseen_arc(kind)
    low, high = (start + 10, end - 10) if unseen else (end, start + 360)
    return float(rng.uniform(low, high) % 360)


@lru_cache(maxsize=2048)
def _sprite(name, side):
    """The trimmed sprite, RGBA with premultiplied alpha, its longer side `side` pixels."""
    sprite = Image.open(SPRITES / sprite_files()[name]).convert("RGBA")
    sprite = sprite.crop(sprite.getchannel("A").point(lambda a: 255 * (a > 64)).getbbox())
    ratio = side / max(sprite.size)
    size = [max(1, round(s * ratio)) for s in sprite.size]
    return sprite.convert("RGBa").resize(size, Image.Resampling.BOX if ratio < 1 else
                                         Image.Resampling.BICUBIC)


@lru_cache
def own_colour(name):
    """`mean_chroma` of a sprite as it was drawn."""
    pixels = np.asarray(_sprite(name, 64), np.float32) / 255
    alpha = pixels[..., 3]
    return mean_chroma(pixels[..., :3] / np.maximum(alpha, 1e-3)[..., None], alpha)


def paint_hue(rgb, alpha, name, hue):
    """Premultiplied colours (H, W, 3) of a sprite -> the same thing in another hue.

    A thing with a colour of its own is turned about the grey axis; another is tinted:
    its shades of grey, lifted a little, times the colour."""
    own, chroma = own_colour(name)
    if chroma >= LITTLE_CHROMA:
        return np.clip(turn_hue(rgb, hue - own), 0, alpha[..., None])
    shade = rgb.mean(-1, keepdims=True) / np.maximum(alpha, 1e-3)[..., None]
    tint = np.float32(hsv(hue / 360, .72, 1))
    return np.clip(shade, 0, 1) ** .75 * tint * alpha[..., None]


class Scene:
    """One picture of the miniature world, decided by `seed` alone.

    `name`, `hue` (degrees) and `pose` of the object may be given in place of those drawn
    from the seed: a kind of the split "train" in a hue outside its unseen arc.  Raises
    ValueError for a negative seed or an unknown name."""

    def __init__(self, seed, name=None, hue=None, pose=None):
        if seed < 0:
            raise ValueError(f"seed must be >= 0, got {seed}")
        if name not in (None, *sprite_files()):
            raise ValueError(f"unknown object {name!r}; kind_names() lists the kinds")
        self.seed = seed
        rng = np.random.default_rng([17, seed])
        self.horizon = rng.uniform(.34, .56)
        self.wall: Surface = draw_surface(rng)
        self.floor: Surface = draw_surface(rng)
        self.side = rng.uniform(-1, 1)           # where the light comes from
        self.strength = rng.uniform(.62, 1.12)
        warmth = rng.uniform(-.5, .5) * np.array([.22, 0, -.32])
        self.tint = tuple(1 + warmth + rng.normal(0, .03, 3))
        drawn_name = str(rng.choice(kind_names("train")))
        drawn_pose = _draw_pose(rng, self.horizon)
        self.name = name or drawn_name
        self.hue = draw_hue(rng, self.name) if hue is None else hue % 360
        self.pose = pose or drawn_pose

    def __repr__(self):
        return f"Scene({self.seed}, {self.label!r})"

    @property
    def label(self):
        """Colour and kind in words: "blue penguin"."""
        return f"{colour_name(self.hue)} {self.name}"

    def with_object(self, name=None, hue=None, pose=None):
        """This scene with another object in it: what is not given stays as it is."""
        return Scene(self.seed, name or self.name, self.hue if hue is None else hue,
                     pose or self.pose)

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
        wall = pattern(self.wall, x + 0 * y, y + 0 * x)
        floor = pattern(self.floor, (x - .5) * .45 / depth, .12 / depth + 0 * x)
        fade = np.clip((depth - .12) / .12, 0, 1)  # fine stripes far away would flicker
        floor = .5 + (floor - .5) * fade
        edge = np.clip((y - self.horizon) * 160 + .5, 0, 1)[..., None]
        return _mix(self.wall, wall) * (1 - edge) + _mix(self.floor, floor) * edge

    def _light(self, x):
        return np.float32(self.strength * (1 + .3 * self.side * (2 * x - 1)))

    def _object(self, size):
        """Premultiplied colour (S, S, 3) and alpha (S, S) of the posed, unlit object."""
        side = self.pose.scale * size
        sprite = _sprite(self.name, 2 ** math.ceil(math.log2(min(side * 1.2, 256))))
        posed = sprite.transform((size, size), Image.Transform.AFFINE,
                                 _placement(self.pose, sprite.size, size),
                                 Image.Resampling.BILINEAR)
        posed = np.asarray(posed, np.float32) / 255
        alpha = posed[..., 3]
        return paint_hue(posed[..., :3], alpha, self.name, self.hue), alpha

    def _shadow(self, x, y, alpha):
        """Darkness 0..1 of a soft shadow at the object's foot, away from the light."""
        x0, _, x1, y1 = mask_box(alpha)
        width = (x1 - x0) / 2
        cx, cy = (x0 + x1) / 2 - .3 * self.side * width, y1 - .012
        d = ((x - cx) / (.85 * width)) ** 2 + ((y - cy) / (.24 * width + .01)) ** 2
        return .6 * np.exp(-1.6 * d)


def _mix(surface, weight):
    near, far = (np.float32(colour) for colour in surface.colours)
    return near * (1 - weight[..., None]) + far * weight[..., None]


def _placement(pose, sprite_size, size):
    """The affine map from picture pixels to sprite pixels, as PIL wants it:
    (u, v) = (a x + b y + c, d x + e y + f)."""
    width, height = sprite_size
    zoom = max(sprite_size) / (pose.scale * size)
    cosine = math.cos(math.radians(pose.angle)) * zoom
    sine = math.sin(math.radians(pose.angle)) * zoom
    centre_x, centre_y = pose.x * size, pose.y * size
    mirror = -1 if pose.flip else 1
    c = width / 2 - mirror * (cosine * centre_x - sine * centre_y)
    f = height / 2 - (sine * centre_x + cosine * centre_y)
    return mirror * cosine, -mirror * sine, c, sine, cosine, f


def _draw_pose(rng, horizon):
    scale = rng.uniform(*SCALES)
    x = rng.uniform(.03 + scale / 2, .97 - scale / 2)
    lowest, highest = .97 - scale / 2, horizon + .1 - scale / 3
    y = rng.uniform(min(max(highest, .03 + scale / 2), lowest), lowest)
    angle = rng.uniform(-MOST_TURNED, MOST_TURNED)
    return Pose(x, y, scale, angle, bool(rng.integers(2)))
