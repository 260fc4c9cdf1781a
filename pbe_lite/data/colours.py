"""Hues: their names, their distances, the hue of a picture and the turning of it.

A hue is an angle in degrees about the grey axis of RGB: red 0, green 120, blue 240.
"""

import math

import numpy as np

COLOURS = {"red": 0, "orange": 30, "yellow": 58, "green": 115, "cyan": 180, "blue": 230,
           "purple": 275, "pink": 320}


def hue_distance(a, b):
    """Degrees between two hues, 0..180."""
    return abs((a - b + 180) % 360 - 180)


def colour_name(hue):
    """The nearest of the eight colour words."""
    return min(COLOURS, key=lambda word: hue_distance(COLOURS[word], hue))


def mean_chroma(rgb, weight):
    """(hue in degrees, chroma) of the weighted mean colour.

    rgb: (..., 3) in 0..1; weight: (...).  Chroma is the mean's distance from the grey
    axis, 0 for any grey, .82 for pure red; the hue is the angle about that axis."""
    r, g, b = (rgb * weight[..., None]).reshape(-1, 3).sum(0) / max(weight.sum(), 1e-6)
    x, y = (2 * r - g - b) / math.sqrt(6), (g - b) / math.sqrt(2)
    return math.degrees(math.atan2(y, x)) % 360, math.hypot(x, y)


def turn_hue(rgb, degrees):
    """Turn colours (..., 3) about the grey axis: greys and brightness stay.

    Rodrigues' rotation about k = (1, 1, 1) / sqrt(3).  May leave 0..1."""
    angle = math.radians(degrees)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    matrix = (math.cos(angle) * np.eye(3) + math.sin(angle) * cross
              + (1 - math.cos(angle)) / 3)
    return rgb @ matrix.T.astype(np.float32)
