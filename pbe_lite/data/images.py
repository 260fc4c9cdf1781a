"""Pixels: files and PIL images of every kind -> 8-bit RGB -> what the networks take.

An EXIF orientation is followed, colours are taken to sRGB, what is transparent is laid on
white, and what would have to be guessed is refused.  `reading` takes what a user passes.
"""

import io
from functools import lru_cache

import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from pbe_lite.data.boxes import to_pixels

CLIP_MEAN = np.float32((.48145466, .4578275, .40821073))
CLIP_STD = np.float32((.26862954, .26130258, .27577711))
TURN = Image.Transpose
TURNS = {2: TURN.FLIP_LEFT_RIGHT, 3: TURN.ROTATE_180, 4: TURN.FLIP_TOP_BOTTOM,
         5: TURN.TRANSPOSE, 6: TURN.ROTATE_270, 7: TURN.TRANSVERSE, 8: TURN.ROTATE_90}


class UnreadableImage(OSError):
    """An image that is missing, damaged or none, or of whose boxes nobody can be sure;
    `image_id` says which."""

    def __init__(self, message, image_id=""):
        super().__init__(message)
        self.image_id = image_id


# -------------------------------------------------------------------------- PIL images


def orientation(image):
    """The EXIF orientation, 1 to 8; 1 (as it is) where there is none that can be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # PIL raises almost anything for damaged metadata
        return 1
    return value if value in TURNS else 1


def turn_upright(image):
    """The picture as a viewer shows it: its EXIF orientation followed."""
    turn = orientation(image)
    return image if turn == 1 else image.transpose(TURNS[turn])


def to_rgb(image):
    """A PIL image of any mode -> RGB in sRGB.

    Raises ValueError for more than 8 bits a channel, whose range only its maker knows."""
    check_depth(image)
    profile = image.info.get("icc_profile")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    elif image.mode not in ("RGB", "CMYK", "L"):  # modes that a profile can be of
        image = image.convert("RGB")
    transform = profile and _to_srgb(profile, image.mode)
    if transform:
        return ImageCms.applyTransform(image, transform)
    return image if image.mode == "RGB" else image.convert("RGB")


def check_depth(image):
    """Raise ValueError for a PIL image of more than 8 bits a channel."""
    if image.mode[0] in "IF":
        raise ValueError(f"must have 8 bits a channel; got PIL's {image.mode!r}")


@lru_cache(maxsize=16)
def _to_srgb(profile, mode):
    """The transform from an embedded colour profile; None where none is needed, and for
    a profile that is damaged or of another mode: it is then ignored, as browsers do."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None


def load(data, name=""):
    """The bytes of an image file -> a PIL image as it is stored, in its own mode.

    Raises UnreadableImage, naming `name`, for anything else."""
    if not data:
        raise UnreadableImage(f"{name}: empty", name)
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return image
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"{name}: no image", name) from error
    except Exception as error:  # decoders of damaged files raise almost anything
        raise UnreadableImage(f"{name}: {error}", name) from error


def finish(image, name="", turn=True):
    """What `load` gives -> an RGB image without metadata; turn: upright, or as stored.

    Raises UnreadableImage, naming `name`, where `to_rgb` raises ValueError."""
    try:
        picture = to_rgb(turn_upright(image) if turn else image).copy()
    except ValueError as error:
        raise UnreadableImage(f"{name}: {error}", name) from error
    picture.info = {}  # else it would be turned once more, where it is read again
    return picture


def decode(data, name=""):
    """The bytes of an image file -> an upright RGB PIL image.

    Raises UnreadableImage, naming `name`, for anything else."""
    return finish(load(data, name), name)


def crop_box(image, box):
    """The part of a PIL image inside `box` (fractions), at least one pixel large; its
    pixels are those that `box_mask` marks."""
    return image.crop(to_pixels(box, image.size))


# --------------------------------------------------------------------- sizes and tensors


def squash(image, size):
    """A PIL image -> (size, size, 3) uint8, its aspect ratio ignored."""
    image = to_rgb(image)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3))


def resize(array, side):
    """(H, W, 3) uint8 -> (side, side, 3) uint8."""
    if array.shape[:2] == (side, side):
        return array
    return np.asarray(Image.fromarray(array).resize((side, side), Image.Resampling.LANCZOS))


def resize_hole(hole, side):
    """(H, W) bool -> (side, side) bool; a cell is in the hole when any of it is."""
    if hole.shape == (side, side):
        return hole
    picture = Image.fromarray(hole.astype(np.float32))  # 8 bits would lose small parts
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX)) > 0


def to_signed(array):
    """(H, W, 3) uint8 -> (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.array(array)).permute(2, 0, 1) / 127.5 - 1


def to_unit(images):
    """(B, 3, S, S) in [-1, 1] -> (B, S, S, 3) floats in 0..1, a numpy array."""
    return (images.float().cpu().permute(0, 2, 3, 1) / 2 + .5).clamp(0, 1).numpy()


def to_bytes(images):
    """(B, 3, S, S) in [-1, 1] -> (B, S, S, 3) uint8, a numpy array."""
    scaled = (images.float().cpu().permute(0, 2, 3, 1) * 127.5 + 127.5).clamp(0, 255)
    return scaled.round().to(torch.uint8).numpy()


def to_alpha(picture, size):
    """A grey PIL image -> (1, size, size) float32 in 0..1."""
    small = picture.convert("L").resize((size, size), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small, np.float32) / 255)[None]


def to_clip(array):
    """(H, W, 3) uint8 -> (3, H, W) float32, normalised as CLIP expects."""
    normal = (np.asarray(array, np.float32) / 255 - CLIP_MEAN) / CLIP_STD
    return torch.from_numpy(normal).permute(2, 0, 1).contiguous()
