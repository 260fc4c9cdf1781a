"""Pictures as bytes and files: shrunk, encoded, read from an upload."""

import hashlib
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pbe_lite.data.images import UnreadableImage, load
from pbe_lite.data.reading import read_image

EXACT = 512  # pixels: up to here the browser gets a PNG, above a JPEG a tenth as long
LARGE = 2 ** 22  # pixels from which on speed counts more than the length of a PNG


class File(NamedTuple):
    """A file from the browser: its name there and its bytes."""

    name: str
    data: bytes


def read_upload(file):
    """A `File` -> (H, W, 3) uint8.  Raises ValueError for what is no picture."""
    try:
        image = load(bytes(file.data))
    except UnreadableImage:
        raise ValueError(f"{file.name} cannot be read: it is no picture, or a broken one; "
                         "PNG, JPEG and WebP are fine") from None
    return read_image(image, file.name)


def read_picture(value, argument="image"):
    """As `reading.read_image`; what has been read already is taken as it is."""
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 \
            and value.ndim == 3 and value.shape[2] == 3 and value.size:
        return value
    return read_image(value, argument)


def as_image(picture):
    """PIL, or (H, W[, 3]) uint8 or bool, -> PIL."""
    return picture if isinstance(picture, Image.Image) else Image.fromarray(picture)


def shrink(picture, longest):
    """A picture, PIL or (H, W, 3) uint8, as a PIL image whose longer side has at most
    `longest` pixels."""
    image = as_image(picture)
    image = image.copy() if image is picture else image
    image.thumbnail((longest, longest))
    return image


def png(picture, **options):
    """A picture, PIL or (H, W[, 3]) uint8, as the bytes of a PNG file."""
    image, stream = as_image(picture), io.BytesIO()
    level = 1 if image.width * image.height > LARGE else 6
    image.save(stream, "png", compress_level=level, **options)
    return stream.getvalue()


def encode(picture):
    """For the browser: the bytes of a PNG of a small picture, of a JPEG of a large one."""
    image, stream = as_image(picture), io.BytesIO()
    if max(image.size) <= EXACT:
        return png(image)
    image.save(stream, "jpeg", quality=92)
    return stream.getvalue()


def save_bytes(data, folder, name, suffix=".png"):
    """Write `data` to `folder` and return its path; part of the file's name comes from
    its content, so that no other picture is overwritten.  Raises OSError."""
    path = Path(folder) / f"{name}-{hashlib.sha256(data).hexdigest()[:8]}{suffix}"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return path


def save_png(picture, folder, name):
    """Write a picture to `folder` as PNG and return its path, as `save_bytes` does."""
    return save_bytes(png(picture), folder, name)
