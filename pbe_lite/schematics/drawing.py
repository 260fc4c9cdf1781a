"""What schematics are drawn with: boxes, arrows, words and small pictures.

Coordinates are CSS pixels, counted from the upper left corner; boxes, stacks and pictures
are given by their centres."""

from matplotlib.patches import Circle, Ellipse, FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path

from pbe_lite.plots import shown_size
from pbe_lite.style import FAINT, INK, TEXT, figure, pixel_axes, show_picture

WIDTH = 900
FROZEN, TRAINED, EXEMPLAR, SHARED = "#0072b2", "#c65500", "#00835f", "#93467a"
KINDS = {"data": ("#ffffff", "#8c8c88"), "frozen": ("#dcebf6", FROZEN),
         "trained": ("#fce6d6", TRAINED), "exemplar": ("#d9f0e7", EXEMPLAR),
         "shared": ("#f4e4ee", SHARED), "pale": ("#f1f1ee", "#c9c9c4")}


def canvas(height, alt, photo=False):
    """(figure, axes) to draw on."""
    fig = figure(WIDTH, height, alt, photo)
    axis = fig.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, WIDTH), ylim=(height, 0))
    axis.set_axis_off()
    return fig, axis


def words(axis, x, y, text, size=TEXT, color=INK, ha="center", va="center", **options):
    """Text around a point."""
    axis.text(x, y, text, fontsize=size, color=color, ha=ha, va=va, **options)


def block(axis, x, y, width, height, text="", kind="data", size=TEXT):
    """A rounded box with its words, in the colours of its kind."""
    fill, edge = KINDS[kind]
    axis.add_patch(FancyBboxPatch(
        (x - width / 2, y - height / 2), width, height, facecolor=fill, edgecolor=edge,
        boxstyle="round,pad=0,rounding_size=6", linewidth=1.4))
    words(axis, x, y, text, size, linespacing=1.35)


def arrow(axis, *points, text="", at=None, color=INK, style="-|>", line="-",
          width=1.4):
    """A line through points that ends in an arrow; its words stand `at` a place."""
    axis.add_patch(FancyArrowPatch(path=Path(points), arrowstyle=style, color=color,
                                   mutation_scale=8 + 2.5 * width, linewidth=width,
                                   linestyle=line, shrinkA=0, shrinkB=0,
                                   joinstyle="round", capstyle="butt"))
    if text:
        words(axis, *at, text, TEXT - 1, color)


def stack(axis, x, y, text, below="", sheets=3):
    """Latents: sheets behind each other, with their sizes below."""
    for i in reversed(range(sheets)):
        axis.add_patch(Rectangle((x - 28 + 4 * i, y - 18 - 4 * i), 50, 40, linewidth=1.1,
                                 facecolor=KINDS["data"][0], edgecolor=KINDS["data"][1]))
    words(axis, x - 3, y + 2, text)
    words(axis, x, y + 32, below, TEXT - 2, FAINT)


def dot(axis, x, y, text, color=EXEMPLAR, radius=9):
    """A round mark with a letter."""
    axis.add_patch(Circle((x, y), radius, facecolor=color, edgecolor="none"))
    words(axis, x, y, text, TEXT - 1, "white")


def icon(axis, x, y, what, size=92):
    """A small picture: "hole", "mask", "exemplar" or "result"."""
    left, top = x - size / 2, y - size / 2
    wall, floor = ("#c9d9e8", "#b59f86") if what != "exemplar" else ("#f0d9b5", "#9db48c")
    if what == "mask":
        wall = floor = "#1c1c1c"
    axis.add_patch(Rectangle((left, top), size, size, facecolor=wall))
    axis.add_patch(Rectangle((left, top + .6 * size), size, .4 * size, facecolor=floor))
    place = dict(xy=(x, y + .1 * size), width=.56 * size, height=.62 * size)
    if what in ("hole", "mask"):
        axis.add_patch(Ellipse(**place, facecolor="#808080" if what == "hole" else "white"))
    if what in ("exemplar", "result"):
        teapot(axis, x, y + .12 * size, .3 * size, 1 if what == "exemplar" else -1)
    axis.add_patch(Rectangle((left, top), size, size, fill=False, edgecolor="#8c8c88"))


def teapot(axis, x, y, r, facing):
    """A green teapot, the exemplar of the small pictures; it faces left (1) or right."""
    color = dict(facecolor="#2f9e77", edgecolor="#1d6b50")
    axis.add_patch(Ellipse((x + facing * r, y), .9 * r, 1.1 * r, fill=False,
                           linewidth=r / 7, edgecolor="#2f9e77"))
    axis.fill([x - facing * r * k for k in (.5, 1.45, 1.25, .4)],
              [y + r * k for k in (.3, -.6, -.7, -.3)], **color)
    axis.add_patch(Ellipse((x, y), 1.9 * r, 1.6 * r, **color))
    axis.add_patch(Circle((x, y - .92 * r), .16 * r, **color))


def key(axis, x, y):
    """What the colours mean."""
    for i, (kind, text) in enumerate((("frozen", "frozen"), ("trained", "trained"),
                                      ("exemplar", "from the exemplar"))):
        block(axis, x, y + 22 * i, 20, 14, kind=kind)
        words(axis, x + 18, y + 22 * i, text, TEXT - 1, ha="left")


def picture(axis, x, y, image, longest=150):
    """A picture around a point, at the largest whole zoom at which no side is longer than
    `longest`, or at 1/k of its size; the axes in which it stands, in its own pixels."""
    width, height = shown_size(image, longest)
    left, top = int(x - width / 2), int(y - height / 2)
    inner = pixel_axes(axis.figure, left, top, width, height)
    show_picture(inner, image)
    return inner


def squares(axis, x, y, count, size):
    """count x count small squares: the patch tokens, or patches, of a picture."""
    step = size / count
    for i in range(count * count):
        corner = x - size / 2 + step * (i % count), y - size / 2 + step * (i // count)
        axis.add_patch(Rectangle(corner, .8 * step, .8 * step, facecolor=KINDS["pale"][1]))
