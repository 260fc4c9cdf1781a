"""What stands in for the canvas where a front end cannot load it: two sliders."""

import ipywidgets as widgets

from pbe_lite import plots
from pbe_lite.studio.controls import WIDE
from pbe_lite.studio.pictures import png

MISSING = ("<b>The drawing canvas cannot be loaded here.</b> Set the box with the sliders; "
           "to draw, install <code>anywidget</code> where Jupyter itself runs, and reload "
           "the page.")


class BoxSliders(widgets.VBox):
    """A box by two sliders, and the picture with it: core ipywidgets only.

    `act(box)` is called when a slider was moved; box: fractions."""

    def __init__(self, box, act):
        x0, y0, x1, y1 = box
        options = dict(min=0., max=1., step=.01, continuous_update=False,
                       readout_format=".0%", layout=WIDE)
        self.across = widgets.FloatRangeSlider(value=(x0, x1), description="left, right",
                                               **options)
        self.down = widgets.FloatRangeSlider(value=(y0, y1), description="top, bottom",
                                             **options)
        self.picture = widgets.Image(layout={"max_width": "100%"})
        super().__init__([widgets.HTML(MISSING), self.across, self.down, self.picture])
        self.add_class("pbe-fallback")
        self.act = act
        for slider in (self.across, self.down):
            slider.observe(self._moved, "value")

    def _moved(self, _):
        (x0, x1), (y0, y1) = self.across.value, self.down.value
        if x0 < x1 and y0 < y1:
            self.act((x0, y0, x1, y1))

    def show(self, image, mask):
        """image: PIL; mask: (H, W) of its size, 1 = hole."""
        self.picture.value = png(plots.overlay(image, mask))
