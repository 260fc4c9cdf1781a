"""The method: training pair against test pair, guidance, training on several GPUs."""

import numpy as np
from matplotlib.patches import Rectangle

from pbe_lite.plots import to_picture
from pbe_lite.schematics.drawing import (
    EXEMPLAR,
    SHARED,
    TRAINED,
    arrow,
    block,
    canvas,
    dot,
    picture,
    words,
)
from pbe_lite.style import FAINT, TEXT, NotebookFigure, styled

GREY = 128  # what fills a hole


@styled
def training_and_test(image, box, source, hole, exemplar, answer=None) -> NotebookFigure:
    """A training pair above a test pair: why copying pays in training, and not in use.

    image: (H, W, 3) uint8, and box: (x0, y0, x1, y1) in fractions of it, the training
    pair, whose box is both the hole and the exemplar; source: (H, W, 3) uint8, hole:
    (H, W), 1 = hole, exemplar: a picture that does not come from `source`, and answer:
    the right one, where it is known, the test pair.  Raises ValueError for an empty box
    and for a hole of another size than its source."""
    image, source, exemplar = map(to_picture, (image, source, exemplar))
    hole = np.asarray(hole) > .5
    if hole.shape != source.shape[:2]:
        raise ValueError(f"hole must be {source.shape[:2]}, as source is, got {hole.shape}")
    height, width = image.shape[:2]
    x0, y0, x1, y1 = np.round(np.array(box) * (width, height, width, height)).astype(int)
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(f"box must be x0 < x1, y0 < y1 in 0..1, got {box}")
    cut = np.zeros((height, width), bool)
    cut[y0:y1, x0:x1] = True

    fig, axis = canvas(492, (
        "A training pair above a test pair. In training one picture gives everything: a "
        "box in it is the hole, the same box is the exemplar, and the picture itself is "
        "the right answer, so pasting the exemplar back is exactly right. In a test the "
        "exemplar comes from another picture, so pasting brings in another light, another "
        "pose and another background, and is wrong."), photo=True)
    first, *_ = _pair(
        axis, 138, "Training: one picture gives hole, exemplar and right answer",
        (image, _emptied(image, cut), image[y0:y1, x0:x1], image),
        "paste the\nexemplar:\nexactly right", EXEMPLAR)
    first.add_patch(Rectangle((x0 - .5, y0 - .5), x1 - x0, y1 - y0, fill=False,
                              edgecolor="white", linewidth=2.5))
    arrow(axis, (104, 216), (104, 230), (520, 230), (520, 217), color=EXEMPLAR)
    words(axis, 312, 243, "the same box", TEXT - 1, EXEMPLAR)
    _pair(axis, 402, "Test: the exemplar comes from another picture",
          (source, _emptied(source, hole), exemplar, answer),
          "paste the\nexemplar:\nwrong light,\nwrong pose,\nwrong\nbackground", TRAINED)
    return fig


def _pair(axis, y, title, pictures, verdict, color):
    """A row: origin, source with its hole, exemplar, right answer; what pasting does."""
    names = ("picture", "source, hole grey", "exemplar", "right answer")
    words(axis, 29, y - 116, title, TEXT + 1, ha="left", fontweight="bold")
    shown = []
    for x, name, image in zip((104, 312, 520, 796), names, pictures):
        words(axis, x, y - 88, name, TEXT - 1, FAINT)
        if image is None:
            block(axis, x, y, 150, 150, "?", "pale", TEXT + 14)
        else:
            shown.append(picture(axis, x, y, to_picture(image)))
    arrow(axis, (184, y), (231, y))
    arrow(axis, (604, y - 56), (712, y - 56), color=color)
    words(axis, 658, y - 44, verdict, color=color, va="top", linespacing=1.3)
    return shown


def _emptied(image, hole):
    return np.where(hole[..., None], GREY, image).astype(np.uint8)


@styled
def guidance(scale: float = 3.0) -> NotebookFigure:
    """Classifier-free guidance as vectors: null, conditioned, guided.

    Raises ValueError for a scale of 1 or less, which does not guide."""
    if scale <= 1:
        raise ValueError(f"scale must be more than 1, got {scale}")
    fig, axis = canvas(444, (
        "Classifier-free guidance as vectors from one point. The U-Net's guess with the "
        "null vector v is the first arrow, its guess with the exemplar's token c the "
        "second. The guided guess starts at the first, goes to the second and on in the "
        f"same direction, {scale:g} times as far: guess(v) + s [guess(c) - guess(v)] with "
        f"s = {scale:g}."))
    start, null, guided = np.array([(70, 300), (450, 326), (560, 46)], float)
    given = null + (guided - null) / scale
    arrow(axis, null, guided, color=FAINT, line=(0, (4, 3)), style="-")
    for end, color in ((null, FAINT), (given, EXEMPLAR), (guided, SHARED)):
        arrow(axis, start, end, color=color, width=2.4)
    for s in range(2, int(np.ceil(scale))):
        dot(axis, *(null + s * (guided - null) / scale), "", FAINT, 3)
    dot(axis, *start, "", "#262626", 4)
    words(axis, *(start + (0, 20)), "$z_t$", TEXT + 1)
    texts = ((f"$s = {scale:g}$:  the guided guess", guided, SHARED),
             (r"$s = 1$:  $\epsilon(c)$, with the exemplar's token", given, EXEMPLAR),
             (r"$s = 0$:  $\epsilon(v)$, with the null vector", null, FAINT))
    for text, (x, y), color in texts:
        words(axis, x + 14, y, text, color=color, ha="left")
    block(axis, 206, 396, 300, 52,
          r"guided = $\epsilon(v) + s\,[\,\epsilon(c) - \epsilon(v)\,]$",
          size=TEXT + 1)
    words(axis, 390, 396, "$v$ is learned: in training it takes the place of $c$ in 20 % "
          "of the\nsamples. Larger $s$: more of the exemplar, less variety.",
          TEXT - 1, FAINT, ha="left", linespacing=1.5)
    return fig


@styled
def ddp(batch: int = 8) -> NotebookFigure:
    """Data-parallel training on two ranks: halves of the batch, one mean gradient.

    Raises ValueError for a batch that two ranks cannot share equally."""
    if batch < 2 or batch % 2:
        raise ValueError(f"batch must be even, 2 or more, got {batch}")
    fig, axis = canvas(490, (
        f"Data-parallel training on two ranks. A batch of {batch} samples is shared out, "
        f"{batch // 2} to each rank. Both ranks hold the same weights, and compute a "
        "gradient from their own half. An all-reduce gives both the mean of the two "
        "gradients; each makes the same optimizer step with it, so that the weights stay "
        "the same without being sent."))
    block(axis, 450, 38, 190, 44, f"batch of {batch} samples")
    for rank, x in enumerate((190, 710)):
        block(axis, x, 278, 320, 370, kind="pale")
        words(axis, x - 146, 112, f"rank {rank}", TEXT + 1, ha="left", fontweight="bold")
        block(axis, x, 146, 150, 40, f"{batch // 2} samples")
        block(axis, x, 226, 230, 50, "forward and backward pass\nthe same weights $w$",
              "trained")
        block(axis, x, 316, 230, 44, f"gradient $g_{rank}$ of its half")
        block(axis, x, 420, 230, 50,
              r"optimizer step with $\bar{g}$" + "\nthe same new $w$", "trained")
        side = 1 if rank == 0 else -1
        arrow(axis, (450 - 97 * side, 38), (x, 38), (x, 124))
        for top, bottom in ((167, 199), (252, 292)):
            arrow(axis, (x, top), (x, bottom))
        arrow(axis, (x + 116 * side, 316), (450 - 84 * side, 316), color=SHARED)
        arrow(axis, (450 - 40 * side, 352), (450 - 40 * side, 420), (x + 118 * side, 420),
              color=SHARED)
    block(axis, 450, 316, 164, 68, "all-reduce\n" + r"$\bar{g} = (g_0 + g_1)\,/\,2$",
          "shared")
    words(axis, 450, 262, "in a step, gradients\nalone are sent", TEXT - 1, FAINT)
    return fig
