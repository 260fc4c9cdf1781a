"""Widgets that the browser draws: a picture to mark a hole on, and a row of thumbnails.

They are `anywidget`s, plain JavaScript and no build.  Where the front end cannot load
them, sliders of core ipywidgets stand in and say so.
"""

import operator

import numpy as np
from PIL import Image
from traitlets import Bool, Bytes, Int, List, Unicode

from pbe_lite import plots
from pbe_lite.data.boxes import check_box, mask_box
from pbe_lite.studio import strokes
from pbe_lite.studio.assets import STYLE, Base, Drawn, module
from pbe_lite.studio.box_sliders import BoxSliders
from pbe_lite.studio.controls import OPEN
from pbe_lite.studio.pictures import encode, png, read_picture, read_upload, shrink
from pbe_lite.studio.still import Pictured
from pbe_lite.studio.uploads import Upload

TOOLS = ("brush", "eraser", "box", "lasso")
BOX = (.3, .4, .7, .85)  # the default hole
SHOWN = 1024  # pixels: a longer picture is shown smaller
DRAWN = 2048  # pixels: marks on a longer picture are drawn at this size and stretched


class Canvas(Base):
    """What canvas.js shows and sends; MaskPainter speaks to it."""

    _esm = module("canvas.js")
    _css = STYLE
    picture = Bytes(help="PNG or JPEG").tag(sync=True)
    size = List(Int(), help="width and height of the picture as shown").tag(sync=True)
    mask = Bytes(help="of that size, see strokes.pack").tag(sync=True)
    done = Unicode(help="id of the last message that is in the mask").tag(sync=True)
    note = Unicode(help="what was wrong with it").tag(sync=True)
    tools = List(Unicode()).tag(sync=True)
    crop = Bool(False, help="one box, tinted outside").tag(sync=True)
    label = Unicode().tag(sync=True)
    can_undo = Bool(False).tag(sync=True)
    can_redo = Bool(False).tag(sync=True)


class MaskPainter(Pictured):
    """A picture to mark a hole on: brush, eraser, box, lasso, undo, redo, clear; invert,
    grow, shrink; zoom and pan; a mask from and to a file.

    Mouse, pen and touch draw; so do keys (arrows, Enter).  The hole starts as `box`,
    fractions of the picture, so it is valid before anybody has drawn.

    image: as `read_image` takes it; assign to `painter.image` to show another.
    `painter.mask`: (H, W) float32 of the image's size, 1 = hole; assign an array (H, W)
    to set it.  `painter.hole`: the same as bool.  `painter.box`: (x0, y0, x1, y1) around
    it.  `painter.changes` counts: `painter.observe(function, "changes")` calls after
    every stroke.
    With `crop`, there is one box at a time, and what lies outside is tinted.

    Raises ValueError for what is no image and for what is no box."""

    changes = Int(0, help="how often the mask has changed")

    def __init__(self, image, box=BOX, tools=TOOLS, crop=False, label="hole"):
        check_box(box)
        super().__init__(layout=OPEN)
        self.add_class("pbe-painter")
        self.canvas = Canvas(tools=list(tools), crop=crop, label=label)
        self.canvas.on_msg(self._receive)
        self.sliders = BoxSliders(box, self._slide)
        self.loader = Upload("Load mask", self.load, self._fail,
                             tip="a picture, white where the hole is")
        self._drawn = False  # whether a browser has shown the canvas
        self.history = None
        self._show(image, box)
        self.children = self._parts(crop)

    def _parts(self, crop):
        if not Drawn:
            return (self.sliders,)
        return (self.canvas, self.sliders) + (() if crop else (self.loader,))

    @property
    def image(self):
        """(H, W, 3) uint8; the marks stay when another one is assigned."""
        return self._image

    @image.setter
    def image(self, value):
        self._show(value)

    @property
    def hole(self):
        """(H, W) bool, True = hole; may be empty after Clear.  Not a copy: only to read."""
        if self._hole is None:
            self._hole = strokes.large_mask(self.history.marks, self._image.shape[:2],
                                            DRAWN) > .5
        return self._hole

    @property
    def mask(self):
        """(H, W) float32, 1 = hole, a copy; may be empty after Clear."""
        return self.hole.astype(np.float32)

    @mask.setter
    def mask(self, value):
        wanted = self._image.shape[:2]
        if np.shape(value) != wanted:
            raise ValueError(f"mask must have the image's size {wanted}; "
                             f"got {np.shape(value)}")
        self._draw({"kind": "array", "mask": np.array(value)})

    @property
    def box(self):
        """(x0, y0, x1, y1) around the mask, fractions; ValueError when it is empty."""
        return mask_box(self.hole)

    @property
    def small(self):
        """The picture as shown, PIL, at most SHOWN pixels long."""
        return self._shown

    def stills(self):
        """{caption: picture}: the picture with its hole."""
        return {self.canvas.label: plots.overlay(self._shown, self._mask)}

    def load(self, file):
        """Take the hole from an uploaded `File`, white on black; it is stretched to the
        picture's size.  Raises ValueError for what is no picture and for an empty one."""
        mask = read_upload(file).mean(-1) > 127
        if not mask.any():
            raise ValueError(f"{file.name} marks nothing: a mask is white in the hole")
        self._draw({"kind": "array", "mask": mask})

    def reset(self, image, box=BOX):
        """Another picture, the hole a box again, nothing to undo."""
        self._show(image, box)

    def _show(self, image, box=None):
        image, history = read_picture(image), self.history
        if box is not None:
            history = strokes.add(strokes.History(()), {"kind": "frame", "box": box})
        self._image, self.history, self._shown = image, history, shrink(image, SHOWN)
        self._known, self._mask = (), None
        with self.canvas.hold_sync():
            self.canvas.size = list(self._shown.size)
            self.canvas.picture = encode(self._shown)
            self._update()

    def _draw(self, mark):
        self.history = strokes.add(self.history, mark)
        self._update()

    def _slide(self, box):
        self._draw({"kind": "frame", "box": box})

    def _fail(self, error):
        self.canvas.note = str(error)

    def _receive(self, _, message, buffers):
        """A message of canvas.js."""
        if message.get("do") == "ready":
            self._drawn = True
            return
        if message.get("do") == "save":
            self.canvas.send({"do": "save", "name": f"{self.canvas.label}.png"},
                             [png(Image.fromarray(self.hole).convert("L"))])
            return
        try:
            self.history, note = strokes.change(self.history, message), ""
        except ValueError as error:
            note = str(error)
        self._update(note, message.get("id", ""))

    def _update(self, note="", done=""):
        """The mask anew from the history, in one message to the browser."""
        self._mask = self._masked()
        self._hole = None
        with self.canvas.hold_sync():
            self.canvas.mask = strokes.pack(self._mask)
            self.canvas.note = note
            self.canvas.done = done or self.canvas.done
            self.canvas.can_undo = len(self.history.marks) > 1
            self.canvas.can_redo = bool(self.history.undone)
        if not self._drawn:
            self.sliders.show(self._shown, self._mask)
        self.changes += 1

    def _masked(self):
        """The mask as shown; where marks were only added, just those are drawn."""
        marks, known = self.history.marks, self._known
        self._known = marks
        if 0 < len(known) <= len(marks) and all(map(operator.is_, known, marks)):
            return strokes.draw_all(self._mask, marks[len(known):])
        return strokes.marks_mask(marks, self.canvas.size[::-1])


class Gallery(Base):
    """Thumbnails to pick one from; pictures: {name: image}, as `shrink` takes them.

    `act(name)` is called for the one that was picked."""

    _esm = module("gallery.js")
    _css = STYLE
    pictures = List(Bytes(), help="PNG").tag(sync=True)
    names = List(Unicode()).tag(sync=True)
    index = Int(-1, help="the one that is marked").tag(sync=True)

    def __init__(self, pictures, act, longest=96):
        super().__init__(pictures=[png(shrink(p, longest)) for p in pictures.values()],
                         names=list(pictures))
        self.act = act
        self.on_msg(self._receive)

    def mark(self, name):
        """Mark a name; one that is not shown takes the mark away."""
        self.index = self.names.index(name) if name in self.names else -1

    def _receive(self, _, message, buffers):
        index = message.get("index", -1)
        if message.get("do") == "pick" and 0 <= index < len(self.names):
            self.act(self.names[index])
