"""The one style of every figure, and how a figure shows itself in a notebook.

A figure shows itself as <img alt="...">: JupyterLab 4 drops the alt text of an image/png
output, while it and nbconvert both keep that of HTML, trusted or not.  Sizes are in CSS
pixels; two device pixels are drawn for each, so that text and edges stay sharp.  The paper
is opaque, so that a figure reads alike on a light and on a dark page.
"""

import base64
import io
from functools import wraps
from html import escape

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image

DPI = 100      # CSS pixels an inch
DENSITY = 2    # device pixels a CSS pixel
QUALITIES = (80, 70, 50, 20, 0)  # of WebP, for photos: the best that fits
MOST_BYTES = 430_000  # of such a figure, before base64 makes a third more of them
TEXT = 10      # points, of headers and labels

PAPER, INK, FAINT = "#fafaf8", "#262626", "#6b6b6b"
MUTED, CHEAT = "#a5b8c7", "#cccac5"
# Okabe and Ito's colours, which colour-blind readers tell apart
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d")
STYLE = {
    "figure.dpi": DPI, "figure.facecolor": PAPER, "axes.facecolor": PAPER,
    "figure.figsize": (6.4, 3.4),
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine has it
    "font.size": TEXT, "axes.titlesize": TEXT + 1, "legend.fontsize": TEXT - 1,
    "text.color": INK, "axes.labelcolor": INK, "axes.titlecolor": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": "#a8a8a4",
    "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": "#e2e2de",
    "axes.prop_cycle": matplotlib.cycler(color=PALETTE), "lines.linewidth": 2,
    "legend.frameon": False, "image.interpolation": "nearest",
}


def styled(function):
    """A decorator: what is drawn has the style, and whoever calls need not call `setup`.

    The first figure of a notebook also switches its backend on, interactively; that must
    outlive the style, or no later figure would be shown."""
    @wraps(function)
    def call(*args, **options):
        with matplotlib.rc_context(STYLE):
            result = function(*args, **options)
            interactive = matplotlib.is_interactive()
        matplotlib.interactive(interactive)
        return result
    return call


def setup() -> None:
    """The style for figures made by hand too: rcParams, and PNG at twice the density."""
    plt.rcParams.update(STYLE)
    if "inline" in matplotlib.get_backend():
        from matplotlib_inline.backend_inline import set_matplotlib_formats
        set_matplotlib_formats("retina")


class NotebookFigure(Figure):
    """A figure that shows itself, once, as an image with an alt text.

    `alt` says in words what is to be seen.  A figure that holds pictures (`photo`) becomes
    WebP, on them a quarter of PNG's size; any other a PNG of 256 colours."""

    alt = ""
    photo = False

    @property
    def description(self) -> str:
        """The alt text; where there is none, the words of titles and axes."""
        texts = [text for axis in self.axes for text in
                 (axis.get_title("left"), axis.get_title(), axis.get_xlabel(),
                  axis.get_ylabel()) if text]
        return self.alt or "Figure: " + "; ".join(texts)

    @styled
    def draw(self, renderer):
        super().draw(renderer)  # ticks are made only now, so they need the style

    def encode(self) -> bytes:
        """The file that a notebook holds, WebP or PNG."""
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=DENSITY * DPI)
        image = Image.open(file).convert("RGB")
        if not self.photo:  # lines and letters need few colours: a third of the bytes
            file = io.BytesIO()
            image.quantize(256, dither=Image.Dither.NONE).save(file, "png", optimize=True)
            return file.getvalue()
        for quality in QUALITIES:
            file = io.BytesIO()
            image.save(file, "webp", quality=quality, method=6)
            if file.tell() <= MOST_BYTES:
                break
        return file.getvalue()

    def to_html(self) -> str:
        """<img> with the alt text, as wide as the figure in CSS pixels."""
        kind = "webp" if self.photo else "png"
        data = base64.b64encode(self.encode()).decode()
        width = round(self.get_figwidth() * DPI)
        return (f'<img alt="{escape(self.description)}" width="{width}" style="max-width:'
                f'100%;height:auto" src="data:image/{kind};base64,{data}">')

    def _ipython_display_(self):
        from IPython.display import display
        for number in plt.get_fignums():  # what the cell drew before comes first
            earlier = plt.figure(number)
            if isinstance(earlier, NotebookFigure) and number < self.number:
                earlier._ipython_display_()
        display({"text/html": self.to_html(), "text/plain": self.description}, raw=True)
        plt.close(self)  # or the cell's end would show it a second time


@styled
def figure(width: int = 640, height: int = 340, alt: str = "", photo: bool = False,
           **options) -> NotebookFigure:
    """An empty figure of the style, for drawings of one's own; sizes in CSS pixels.

    `alt` says in words what will be seen; `photo`: whether it will hold pictures or
    shades; `options` are those of `plt.figure`."""
    size = (width + 1e-6) / DPI, (height + 1e-6) / DPI  # or 8.21 in would be 820 pixels
    fig = plt.figure(FigureClass=NotebookFigure, dpi=DPI, figsize=size, **options)
    fig.alt = alt
    fig.photo = photo
    return fig


def text_width(text: str, size: float = TEXT) -> float:
    """Width of the widest line in CSS pixels, with some room for how glyphs are hinted."""
    widths = [TextPath((0, 0), line, size=size).get_extents().x1
              for line in text.split("\n") if line.strip()]
    return 1.06 * max(widths, default=0) * DPI / 72


def wrap(text: str, width: float, size: float = TEXT) -> str:
    """The text with line breaks, so that no line but a single word is wider than `width`;
    formulas are left alone."""
    if "$" in text:
        return text
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and text_width(longer, size) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return "\n".join(lines)


def text_height(texts, size: float = TEXT) -> int:
    """Height of the tallest of some texts in CSS pixels, 0 if none says anything."""
    lines = max((t.count("\n") + 1 for t in texts if t), default=0)
    return round(lines * 1.3 * size * DPI / 72)


def pixel_axes(fig, x, y, width, height):
    """Axes without ticks and frame, at pixels counted from the upper left corner."""
    full, tall = fig.get_size_inches() * DPI
    axis = fig.add_axes((x / full, 1 - (y + height) / tall, width / full, height / tall))
    axis.set(xticks=[], yticks=[])
    axis.set_frame_on(False)
    return axis


def show_picture(axis, picture):
    """Let a picture fill its axes; only one that has to shrink is smoothed."""
    shrinks = picture.shape[1] > round(axis.bbox.width)
    flat = picture.dtype == bool or np.ptp(picture) == 0  # nothing to stretch greys over
    limits = dict(vmin=0, vmax=max(1, picture.max())) if flat else {}
    axis.imshow(picture, cmap="gray" if picture.ndim == 2 else None, aspect="auto",
                interpolation="hanning" if shrinks else "nearest", **limits)
    axis.autoscale(False)  # lines drawn over a picture must not stretch it


def plain_numbers(axes, which, log):
    """0.2 and 20,000 in place of powers of ten on the axis "x" or "y"."""
    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    if log:
        axes.set(**{f"{which}scale": "log"})
        low, high = getattr(axes, f"get_{which}lim")()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1e4 * low else (1,)))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(lambda value, _: f"{value:,g}")
