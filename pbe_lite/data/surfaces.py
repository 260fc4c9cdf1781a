"""Walls and floors of the miniature world: two colours and a texture between them."""

import math
from dataclasses import dataclass

import numpy as np

TEXTURES = ("plain", "stripes", "checks", "waves", "noise")


@dataclass(frozen=True)
class Surface:
    """Two colours (RGB, 0..1) and a texture between them; `phase` holds 4 numbers."""

    colours: tuple
    texture: str
    frequency: float
    phase: tuple


def draw_surface(rng):
    """A wall or a floor: two colours of nearly one hue, and a texture."""
    hue, saturation, value = rng.uniform(), rng.uniform(.05, .5), rng.uniform(.45, .95)
    near = hsv(hue, saturation, value)
    step = rng.choice((-1, 1)) * rng.uniform(.12, .35)
    far = hsv(hue + rng.normal(0, .06), saturation, min(1, max(.2, value + step)))
    texture = str(rng.choice(TEXTURES))
    return Surface((near, far), texture, rng.uniform(3, 8), tuple(rng.uniform(size=4)))


def hsv(h, s, v):
    """Hue (any number: 1 is once round), saturation and value -> (r, g, b) in 0..1."""
    offsets = (np.array([5, 3, 1]) + 6 * h) % 6
    return tuple(v - v * s * np.clip(np.minimum(offsets, 4 - offsets), 0, 1))


def pattern(surface, u, v):
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
