"""Schematics of the method, drawn by code: one function a drawing.

Each returns a `NotebookFigure`, 900 CSS pixels wide, with an alt text; the sizes in it come
from a preset.  Blue networks are frozen, orange ones are trained, green is what comes from
the exemplar, white is data.
"""

from pbe_lite.schematics.method import ddp, guidance, training_and_test
from pbe_lite.schematics.model import bottleneck, pipeline, unet

__all__ = ["bottleneck", "ddp", "guidance", "pipeline", "training_and_test", "unet"]
