"""What notebooks show: strips and grids of pictures, curves; nothing is computed here."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image


def to_picture(value):
    """PIL image, (H, W[, 3]) array or (3, H, W) tensor in [-1, 1] -> what imshow takes."""
    if isinstance(value, Image.Image):
        return np.asarray(value)
    if isinstance(value, torch.Tensor):
        value = value.detach().float().cpu()
        value = (value.permute(1, 2, 0) / 2 + .5).clamp(0, 1) if value.ndim == 3 else value
        return value.numpy()
    return np.asarray(value)


def grid(rows, titles=(), labels=(), side=1.5):
    """A figure of rows of pictures; `titles` above the columns, `labels` to the left.

    Masks (H, W) are drawn in grey, white = 1.  None leaves a place empty."""
    columns = max(map(len, rows))
    fig, axes = plt.subplots(len(rows), columns, squeeze=False, layout="constrained",
                             figsize=(side * columns,
                                      side * len(rows) + .25 * bool(titles)))
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.set_frame_on(False)
    for axis_row, row in zip(axes, rows, strict=True):
        for axis, value in zip(axis_row, row, strict=False):
            if value is not None:
                picture = to_picture(value)
                axis.imshow(picture, cmap="gray" if picture.ndim == 2 else None,
                            interpolation="nearest")
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=9)
    for axis, label in zip(axes[:, 0], labels, strict=False):
        axis.set_ylabel(label, fontsize=9)
    return fig


def strip(pictures, titles=(), side=1.8):
    """One row of pictures."""
    return grid([pictures], titles, side=side)


def curves(lines, xlabel, ylabel, title="", log_x=False):
    """lines: {label: (x, y)} -> a figure with one curve each."""
    fig, axis = plt.subplots(figsize=(5.5, 3), layout="constrained")
    for label, (x, y) in lines.items():
        axis.plot(x, y, label=label)
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title,
             xscale="log" if log_x else "linear")
    axis.grid(alpha=.3)
    axis.spines[["top", "right"]].set_visible(False)
    if len(lines) > 1:
        axis.legend(frameon=False)
    return fig


def bars(groups, label, title="", bar=None):
    """groups: {label: {"mean", "low", "high"}} -> horizontal bars with their intervals;
    a dashed line at `bar`, if given."""
    fig, axis = plt.subplots(figsize=(5.5, .6 + .3 * len(groups)), layout="constrained")
    means = np.array([g["mean"] for g in groups.values()])
    reach = [means - [g["low"] for g in groups.values()],
             [g["high"] for g in groups.values()] - means]
    axis.barh(list(groups), means, xerr=reach, color="C0", alpha=.7,
              error_kw=dict(elinewidth=1, capsize=2))
    if bar is not None:
        axis.axvline(bar, color="k", linestyle="--", linewidth=1)
    axis.invert_yaxis()
    axis.set(xlabel=label, title=title)
    axis.grid(alpha=.3, axis="x")
    axis.spines[["top", "right"]].set_visible(False)
    return fig


def overlay(image, hole, colour=(255, 60, 60), strength=.55):
    """The image (H, W, 3) uint8 with its hole tinted."""
    image, hole = np.asarray(image), np.asarray(hole) > .5
    tinted = (1 - strength) * image + strength * np.array(colour)
    return np.where(hole[..., None], tinted, image).astype(np.uint8)
