"""What notebooks show: grids of pictures, curves, bars, tables; nothing is computed here.

All of it in one style, see `pbe_lite.style`.  Sizes are in CSS pixels unless said."""

import numpy as np
import torch
from PIL import Image

from pbe_lite.results_table import (
    METRICS,
    axis_label,
    is_cheat,
    row_words,
    spoken_label,
    table,
)
from pbe_lite.style import (
    CHEAT,
    DPI,
    FAINT,
    INK,
    MUTED,
    PALETTE,
    PAPER,
    TEXT,
    NotebookFigure,
    figure,
    pixel_axes,
    plain_numbers,
    setup,
    show_picture,
    styled,
    text_height,
    text_width,
    wrap,
)

__all__ = ["METRICS", "bars", "curves", "figure", "grid", "overlay", "setup", "strip",
           "table", "to_picture"]

GAP = 6      # between the pictures of a grid
MARGIN = 12  # around it
LABEL = 130  # the widest that labels to the left of a grid get
LINES = ("-", "--", ":")  # of curves, when there are more than colours


def to_picture(value):
    """PIL image, (H, W[, 3]) array or (3, H, W) tensor in [-1, 1] -> what imshow takes."""
    if isinstance(value, Image.Image):
        return np.asarray(value)
    if isinstance(value, torch.Tensor):
        value = value.detach().float().cpu()
        value = (value.permute(1, 2, 0) / 2 + .5).clamp(0, 1) if value.ndim == 3 else value
        return value.numpy()
    return np.asarray(value)


def pictures_of(rows, titles, labels):
    """(rows of pictures, all of the same length, filled up with None; that length)."""
    rows = [[None if v is None else to_picture(v) for v in row] for row in rows]
    columns = max(map(len, rows))
    if len(titles) > columns or len(labels) > len(rows):
        raise ValueError(f"{len(titles)} titles and {len(labels)} labels do not fit "
                         f"{columns} columns and {len(rows)} rows")
    return [row + [None] * (columns - len(row)) for row in rows], columns


def cell_limit(pictures, side, zoom):
    """The longest side that a picture of the grid may have.

    It is `zoom` times the longest side of all pictures; without `zoom`, the whole
    multiple or fraction 1/k of it that comes nearest to `side` inches."""
    longest = max(max(p.shape[:2]) for p in pictures)
    if zoom is None:
        ratio = side * DPI / longest
        zoom = round(ratio) if ratio >= 1 else 1 / round(1 / ratio)
    elif zoom < 1 or zoom != int(zoom):
        raise ValueError(f"zoom must be a whole number from 1 on, got {zoom!r}")
    return int(longest * zoom)


def shown_size(picture, limit):
    """(width, height) of a picture at the largest whole zoom at which no side is longer
    than `limit`; of one that is too large already, at the largest fraction 1/k."""
    height, width = picture.shape[:2]
    zoom = limit // max(height, width)
    if zoom:
        return width * zoom, height * zoom
    k = -(-max(height, width) // limit)
    return max(1, width // k), max(1, height // k)


def grid_alt(rows, titles, labels, caption):
    """What a grid shows, in words."""
    size = " and ".join(f"{count} {name}{'s' * (count > 1)}" for count, name in
                        ((len(rows), "row"), (len(rows[0]), "column")))
    around = [f"{name}: {', '.join(words)}" for name, words in
              (("columns", titles), ("rows", labels)) if words]
    return ". ".join([f"Pictures in {size}", *around, *[caption] * bool(caption)])


@styled
def grid(rows, titles=(), labels=(), side: float = 1.5, zoom: int | None = None,
         caption: str = "", alt: str | None = None) -> NotebookFigure:
    """A figure of rows of pictures; `titles` above the columns, `labels` to the left of
    the rows, `caption` below.

    Every pixel of a picture becomes a square of zoom x zoom CSS pixels, with nothing
    smoothed; smaller pictures get the largest whole zoom that fits.  Without `zoom` it
    follows from `side`, about how large a picture should be, in inches of 100 pixels.
    Masks (H, W) are drawn in grey, white = 1.  None leaves a place empty.  `alt` is made
    from the words around the pictures when it is not given.  Raises ValueError for more
    titles or labels than columns or rows, and for a zoom that is no whole number."""
    titles, labels = [str(t) for t in titles], [str(t) for t in labels]
    rows, columns = pictures_of(rows, titles, labels)
    alt = grid_alt(rows, titles, labels, caption) if alt is None else alt
    limit = cell_limit([p for row in rows for p in row if p is not None], side, zoom)
    sizes = [[(1, 1) if p is None else shown_size(p, limit) for p in row] for row in rows]
    words = [text_width(word) for title in titles
             for word in ([title] if "$" in title else title.split())]
    width = int(max([w for row in sizes for w, _ in row] + words))
    high = max(h for row in sizes for _, h in row)
    titles = [wrap(title, width) for title in titles]
    labels = [wrap(label, LABEL) for label in labels]
    left = MARGIN + int(max(map(text_width, labels), default=0)) + 9 * bool(labels)
    top = MARGIN + text_height(titles)
    step_x, step_y = width + GAP, max(high, text_height(labels)) + GAP
    full = left + columns * step_x - GAP + MARGIN
    caption = wrap(caption, full - left - MARGIN, TEXT - 1)
    bottom = text_height([caption]) + MARGIN

    fig = figure(full, top + len(rows) * step_y - GAP + bottom, alt, photo=True)
    for y, x in np.ndindex(len(rows), columns):
        w, h = (width, high) if rows[y][x] is None else sizes[y][x]
        axis = pixel_axes(fig, left + x * step_x + (width - w) // 2,
                          top + y * step_y + (step_y - GAP - high) // 2, w, h)
        if rows[y][x] is not None:
            show_picture(axis, rows[y][x])
        if y == 0 and x < len(titles):
            axis.set_title(titles[x], fontsize=TEXT, pad=4)
        if x == 0 and y < len(labels):
            axis.set_ylabel(labels[y], rotation=0, ha="right", va="center", labelpad=6)
    fig.text(left / full, MARGIN / 2 / fig.bbox.height, caption, fontsize=TEXT - 1,
             color=FAINT, va="bottom")
    return fig


def strip(pictures, titles=(), side: float = 1.8, zoom: int | None = None,
          caption: str = "", alt: str | None = None) -> NotebookFigure:
    """One row of pictures, see `grid`."""
    return grid([pictures], titles, (), side, zoom, caption, alt)


@styled
def curves(lines: dict, xlabel: str, ylabel: str, title: str = "", log_x: bool = False,
           log_y: bool = False, highlight: str | None = None, better: str | None = None,
           alt: str | None = None) -> NotebookFigure:
    """A figure with one curve each of lines: {label: (x, y)}, or (x, y, low, high) for a
    band around it.

    `ylabel` may be a key of METRICS: its words and its better direction are written out;
    for another measure `better` is "higher", "lower" or None.  The curve `highlight`
    stands out."""
    fig = figure(640, 340, layout="constrained")
    axis = fig.subplots()
    for i, (label, (x, y, *band)) in enumerate(lines.items()):
        (line,) = axis.plot(x, y, label=row_words(label), color=PALETTE[i % len(PALETTE)],
                            linestyle=LINES[i // len(PALETTE) % len(LINES)],
                            linewidth=3 if label == highlight else 2,
                            alpha=1 if highlight in (None, label) else .5)
        if band:
            axis.fill_between(x, *band, color=line.get_color(), alpha=.2, linewidth=0)
    axis.set(xlabel=xlabel, ylabel=axis_label(ylabel, better))
    plain_numbers(axis, "x", log_x)
    plain_numbers(axis, "y", log_y)
    axis.set_title(title, loc="left")
    if len(lines) > 1:
        axis.legend()
    ends = [f"{row_words(name)} from {float(y[0]):.3g} to {float(y[-1]):.3g}"
            for name, (_, y, *_) in lines.items()]
    fig.alt = alt or (f"Curves of {spoken_label(ylabel, better)} over {xlabel}, from left "
                      f"to right: {'; '.join(ends)}")
    return fig


@styled
def bars(groups: dict, label: str, title: str = "", bar: float | None = None,
         highlight: str | None = None, better: str | None = None, bar_label: str = "",
         alt: str | None = None) -> NotebookFigure:
    """groups: {row: {"mean", "low", "high"}} -> horizontal bars with their 95 % intervals;
    a dashed line at `bar`, if given, which `bar_label` names above it.

    `label` says what is measured.  It may be a key of METRICS: its words and its better
    direction are written out; for another measure `better` is "higher", "lower" or None.
    The row `highlight` stands out; cheats are grey.  A mean of None has no bar."""
    names = list(groups)
    mean, low, high = (np.array([g[key] for g in groups.values()], float)
                       for key in ("mean", "low", "high"))
    fig = figure(640, 80 + 30 * len(groups), layout="constrained")
    axis = fig.subplots()
    axis.barh(range(len(names)), mean, xerr=[mean - low, high - mean], height=.68,
              color=[color_of(name, highlight) for name in names],
              error_kw=dict(elinewidth=1.2, capsize=3, ecolor=INK))
    numbers = [written(m, mean) for m in mean]
    for y, number in enumerate(numbers):
        end = 0 if np.isnan(mean[y]) else max(high[y], 0)
        axis.annotate(number, (end, y), (6, 0), textcoords="offset points", va="center",
                      fontweight="bold" if names[y] == highlight else "normal",
                      bbox=dict(facecolor=PAPER, edgecolor="none", pad=1))
    axis.set_yticks(range(len(names)), [row_words(name) for name in names])
    axis.margins(x=.12)
    axis.invert_yaxis()
    axis.grid(False, axis="y")
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(axis_label(label, better))
    axis.set_title(title, loc="left")
    if bar is not None:
        axis.axvline(bar, color=INK, linestyle="--", linewidth=1)
        axis.text(bar, 1, bar_label, transform=axis.get_xaxis_transform(), color=FAINT,
                  ha="center", va="bottom", fontsize=TEXT - 1)
    rows = [f"{row_words(n)} {number}" + ("" if np.isnan(a) else
            f" ({written(a, mean)} to {written(b, mean)})")
            for n, number, a, b in zip(names, numbers, low, high)]
    fig.alt = alt or (f"Bars of {spoken_label(label, better)}, with 95 % intervals: "
                      f"{'; '.join(rows)}")
    return fig


def color_of(name, highlight):
    """The colour of a bar: the one in question stands out, cheats are grey."""
    if name == highlight:
        return PALETTE[1]
    if is_cheat(name):
        return CHEAT
    return PALETTE[0] if highlight is None else MUTED


def written(value, others):
    """A number with as many digits as numbers of that size need."""
    if np.isnan(value):
        return "none"
    largest = np.nanmax(np.abs(others))
    return f"{value:.2f}" if largest < 10 else f"{value:.1f}"


def overlay(image, hole, colour=(255, 60, 60), strength: float = .55) -> np.ndarray:
    """The image (H, W, 3) uint8 with its hole tinted."""
    image, hole = np.asarray(image), np.asarray(hole) > .5
    tinted = (1 - strength) * image + strength * np.array(colour)
    return np.where(hole[..., None], tinted, image).astype(np.uint8)
