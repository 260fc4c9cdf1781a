"""Pick an exemplar: a shipped object, one's own picture, or a piece of the scene."""

import ipywidgets as widgets
import numpy as np
from PIL import Image
from traitlets import Int

from pbe_lite.data.colours import COLOURS
from pbe_lite.data.images import crop_box
from pbe_lite.data.scenes import labels
from pbe_lite.data.tabletop import Scene
from pbe_lite.studio.controls import LABEL, OPEN, WIDE, button, notice, row
from pbe_lite.studio.mask_painter import Gallery, MaskPainter
from pbe_lite.studio.pictures import read_picture, read_upload
from pbe_lite.studio.still import Pictured
from pbe_lite.studio.uploads import Upload

SHOWN_SEED = 4  # the scene that shipped exemplars stand in: a light of its own
THUMBNAILS = ("red mushroom", "yellow duck", "yellow hamburger", "orange penguin",
              "green cactus", "purple crown", "blue t-shirt", "red crab", "pink owl",
              "green teapot", "blue balloon", "orange pizza slice")  # in trained hues
WHOLE, MIDDLE = (0, 0, 1, 1), (.3, .3, .7, .7)


def _cut(image, box):
    """The part of image (H, W, 3) uint8 inside a box of fractions, as a PIL image."""
    return crop_box(Image.fromarray(image), box)


class ExemplarPicker(Pictured):
    """Thumbnails, all kinds in eight colours by name, upload, or a piece of `scene`; and a
    crop box on whatever was picked.

    scene: the picture to cut from, as `read_image` takes it, or None; assign to
    `picker.scene` when it changes.  `picker.exemplar`: what is inside the crop box, a PIL
    image.  `picker.changes` counts: observe it.  Errors are shown in the widget."""

    changes = Int(0, help="how often the exemplar has changed")

    def __init__(self, scene=None, name=THUMBNAILS[0], size=128):
        super().__init__(layout=OPEN)
        self.add_class("pbe-picker").add_class("pbe-zone")
        self.size, self._scene = size, scene
        shown = {n: self._render(n) for n in THUMBNAILS}
        self.gallery = Gallery({n: _cut(r.image, r.box) for n, r in shown.items()},
                               self.show)
        self.gallery.mark(name)
        self.notice = widgets.HTML(notice())
        shown = self._render(name)
        self.cropper = MaskPainter(shown.image, shown.box, tools=("box",), crop=True,
                                   label="crop box")
        self.cropper.observe(self._changed, "changes")
        self.children = (self.gallery, self._name_list(name), self._other_sources(),
                         self.notice, self.cropper)

    def _name_list(self, name):
        self.names = widgets.Dropdown(
            options=labels(), value=name, layout=WIDE, style=LABEL,
            description="object", tooltip="all kinds, in eight colours")
        self.names.observe(lambda change: change["new"] and self.show(change["new"]),
                           "value")
        return self.names

    def _other_sources(self):
        self.upload = Upload("Own exemplar", self._take, self._fail, drops=True,
                             tip="choose a picture, or drop or paste it here")
        self.cut = button("Cut from this scene", lambda: self.use(self.scene, MIDDLE),
                          tooltip="move the crop box over the source picture",
                          disabled=self.scene is None)
        return row(self.upload, self.cut)

    @property
    def exemplar(self):
        """The picture inside the crop box, a PIL image."""
        return _cut(self.cropper.image, self.cropper.box)

    @property
    def scene(self):
        """The picture to cut from, or None."""
        return self._scene

    @scene.setter
    def scene(self, value):
        self._scene = value
        self.cut.disabled = value is None

    def stills(self):
        """{caption: picture}: the exemplar."""
        return {"exemplar": self.exemplar}

    def show(self, name):
        """Pick a shipped object by its colour and kind, as "blue penguin"."""
        if self.names.value != name:
            self.names.value = name  # which calls this function again
            return
        shown = self._render(name)
        self._pick(shown.image, shown.box)
        self.gallery.mark(name)

    def use(self, picture, box=WHOLE):
        """Pick a picture, as `read_image` takes it, and a crop box on it."""
        self._pick(read_picture(picture, "exemplar"), box)
        self.names.value = None  # so that the last name can be chosen again

    def _pick(self, picture, box):
        self.gallery.mark(None)
        self.notice.value = notice()
        self.cropper.reset(picture, box)

    def _take(self, file):
        self.use(read_upload(file))

    def _render(self, name):
        colour, kind = name.split(" ", 1)
        return Scene(SHOWN_SEED, kind, COLOURS[colour]).render(
            int(np.clip(self.size, 64, 512)))

    def _changed(self, _):
        self.changes += 1

    def _fail(self, error):
        self.notice.value = notice(error, "error")
