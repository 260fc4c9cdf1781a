"""What the model sees of a question, and what it has painted so far."""

import time

import numpy as np

from pbe_lite import crop_and_paste
from pbe_lite.data.images import resize, resize_hole, to_bytes


def seen_by(pipe, question):
    """The window around the hole; its part of the picture, (S, S, 3) uint8, and of the
    hole, (S, S) bool, as the pipeline sees them."""
    window, side = crop_and_paste.hole_window(question.hole), pipe.resolution
    square = resize(crop_and_paste.crop(question.image, window), side)
    hole = resize_hole(crop_and_paste.crop(question.hole, window), side)
    return window, square, hole


def previewer(pipe, question):
    """A function from latents (B, c, h, w) to a picture (S, S, 3) uint8: the square that
    the model sees, its hole filled with the first sample as it stands."""
    _, square, hole = seen_by(pipe, question)

    def show(latents):
        painted = to_bytes(pipe.decode(latents[:1]))[0]
        whole = crop_and_paste.Window(0, 0, len(hole))
        return crop_and_paste.paste(square, painted, hole, whole)

    return show


def now_and_then(function, gap=.1, share=.2, clock=time.perf_counter):
    """`function`, but a call returns None while it is too early: within `gap` seconds of
    the last one, or when it would take more than `share` of the time."""
    due = -np.inf

    def call(*args):
        nonlocal due
        begun = clock()
        if begun < due:
            return None
        value = function(*args)
        cost = clock() - begun
        due = begun + cost + max(gap, cost * (1 / share - 1))
        return value

    return call
