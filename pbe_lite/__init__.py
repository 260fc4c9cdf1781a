"""Paint by Example in two scales: a laptop's and the paper's."""

from importlib import import_module

__version__ = "0.1.0"

# loaded only when they are asked for: torch, diffusers and widgets take seconds
_HOMES = {
    "PaintByExamplePipeline": "pbe_lite.pipeline",
    "MaskPainter": "pbe_lite.studio.mask_painter",
    "Studio": "pbe_lite.studio.app",
}
__all__ = ["MaskPainter", "PaintByExamplePipeline", "Studio", "__version__"]


def __getattr__(name):
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pbe_lite' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_HOMES})
