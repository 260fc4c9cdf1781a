"""Files from the reader's computer: chosen, dropped or pasted.

They come in pieces, each far below the 10 MB that a Jupyter server lets through in one
message.  Before a long one, the browser sends a small copy, so that work can begin."""

import io

import numpy as np
from PIL import Image
from traitlets import Bool, Unicode

from pbe_lite.studio.assets import STYLE, Base, module
from pbe_lite.studio.pictures import File

MOST = 200_000_000  # bytes of a file


class Upload(Base):
    """A button that takes a file; with `drops`, files dropped on or pasted into the part
    of the page around it (the class `pbe-zone`) come here too.

    act(file) takes a `File` and may raise ValueError; fail(error) shows it.
    glance(picture), if given, takes the small copy, (H, W, 3) uint8, of a file that is
    still on its way; `pending` names that file meanwhile."""

    _esm = module("upload.js")
    _css = STYLE
    label = Unicode().tag(sync=True)
    tip = Unicode().tag(sync=True)
    drops = Bool(False).tag(sync=True)
    glances = Bool(False).tag(sync=True)
    pending = Unicode()

    def __init__(self, label, act, fail, glance=None, **options):
        super().__init__(label=label, glances=glance is not None, **options)
        self.act, self.fail, self.glance = act, fail, glance
        self._id, self._pieces = None, []
        self.on_msg(self._receive)

    def _receive(self, _, message, buffers):
        """{do: "glance", id, name} or {do: "piece", id, name, last}, a buffer with each."""
        do, name = message.get("do"), str(message.get("name", "file"))
        try:
            if do == "glance":
                self.pending = name
                self._look(buffers[0])
            elif do == "piece" and self._add(message, buffers[0]):
                data = b"".join(self._pieces)
                self._id, self.pending = None, ""
                self.act(File(name, data))
            elif do == "refuse":
                raise ValueError(f"{name}: {message.get('why')}")
        except ValueError as error:
            self.fail(error)

    def _look(self, data):
        with Image.open(io.BytesIO(bytes(data))) as image:
            self.glance(np.asarray(image.convert("RGB")))

    def _add(self, message, data):
        """One more piece; True when the file is complete."""
        if message.get("id") != self._id:
            self._id, self._pieces = message.get("id"), []
        self._pieces.append(bytes(data))
        if sum(map(len, self._pieces)) > MOST:
            self._pieces = []
            raise ValueError(f"a file may have {MOST // 10 ** 6} MB")
        return bool(message.get("last"))
