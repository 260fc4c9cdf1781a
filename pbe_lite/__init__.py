"""Paint by Example in two scales: a laptop's and the paper's."""

__version__ = "0.1.0"


def __getattr__(name):
    """Load the pipeline only when it is asked for: torch and diffusers take seconds."""
    if name == "PaintByExamplePipeline":
        from pbe_lite.pipeline import PaintByExamplePipeline
        return PaintByExamplePipeline
    raise AttributeError(f"module 'pbe_lite' has no attribute {name!r}")
