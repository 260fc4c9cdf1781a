"""The Python that paints the same pictures again, with a button that copies it."""

from traitlets import Unicode

from pbe_lite.studio.assets import STYLE, Base, module


class CodeBox(Base):
    """Shows `value`, to read, select and copy."""

    _esm = module("code_box.js")
    _css = STYLE
    value = Unicode(help="Python").tag(sync=True)
