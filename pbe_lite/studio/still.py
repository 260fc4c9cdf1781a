"""A widget as a picture, for pages without a kernel: GitHub, HTML, a closed notebook."""

import base64

import ipywidgets as widgets
from IPython.display import display
from PIL import Image, ImageDraw

from pbe_lite.studio.pictures import png, shrink

VIEW = "application/vnd.jupyter.widget-view+json"
HIGH, GAP, LINE = 200, 12, 18  # pixels


class Pictured(widgets.VBox):
    """A box that is displayed with a picture of itself below.  JupyterLab hides the
    picture (see studio.css) as long as the widget lives; all others show it."""

    def stills(self):
        """{caption: picture}: what the widget shows now."""
        raise NotImplementedError

    def _ipython_display_(self):
        name = type(self).__name__
        live = dict(model_id=self.model_id, version_major=2, version_minor=0)
        display({VIEW: live, "text/plain": ""}, raw=True)
        still = base64.b64encode(png(strip(self.stills()))).decode("ascii")
        display({"image/png": still, "text/plain": f"{name}: run the cell to use it"},
                raw=True)


def strip(pictures):
    """{caption: picture} side by side, a PIL image on white."""
    views = [_as_high(shrink(picture, 2 * HIGH)) for picture in pictures.values()]
    width = sum(max(view.width, HIGH // 2) + GAP for view in views) + GAP
    sheet = Image.new("RGB", (width, HIGH + LINE + 2 * GAP), "white")
    pen, x = ImageDraw.Draw(sheet), GAP
    for caption, view in zip(pictures, views):
        pen.text((x, GAP), caption, "black")
        sheet.paste(view, (x, GAP + LINE))
        x += max(view.width, HIGH // 2) + GAP
    return sheet


def _as_high(image):
    """HIGH pixels high, but never more than three times as wide."""
    width = min(3 * HIGH, max(1, round(image.width * HIGH / image.height)))
    return image.resize((width, HIGH))
