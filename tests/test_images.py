"""Pixels: every kind of file becomes what a viewer shows, or is refused with a reason."""

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, PngImagePlugin

from pbe_lite.data import images
from pbe_lite.data.images import UnreadableImage, decode, to_bytes, to_rgb, to_signed
from pbe_lite.data.reading import read_image, read_mask


def encoded(image, format="png", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def noise(height=9, width=14, channels=3):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, channels)).astype(np.uint8)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def both(data, tmp_path, name="a"):
    """What training and what an edit make of the same file."""
    (tmp_path / name).write_bytes(data)
    trained, edited = np.asarray(decode(data)), read_image(tmp_path / name)
    np.testing.assert_array_equal(trained, edited)
    return trained


# ----------------------------------------------------------------------- one reader


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA", "LA"])
def test_training_and_editing_see_the_same_pixels(mode, tmp_path):
    array = noise(channels=4)
    array[:, :7, 3] = 0
    image = Image.fromarray(array).convert(mode)
    found = both(encoded(image), tmp_path)
    assert found.shape == (9, 14, 3)
    if mode in ("RGBA", "LA"):  # a cut-out hides any colour below its transparent pixels
        assert (found[:, :7] == 255).all() and (found[:, 7:] < 255).any()


def test_a_palettes_transparent_colour_is_white(tmp_path):
    image = Image.fromarray(np.uint8([[0, 1]]), "P")
    image.putpalette([9, 9, 9, 200, 0, 0])
    found = both(encoded(image, transparency=0), tmp_path)
    assert found.tolist() == [[[255, 255, 255], [200, 0, 0]]]


def test_a_cmyk_jpeg_keeps_its_colours(tmp_path):
    red = Image.new("RGB", (16, 16), (230, 20, 20))
    found = both(encoded(red.convert("CMYK"), "jpeg", quality=95), tmp_path)
    assert np.abs(found.astype(int) - (230, 20, 20)).max() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_followed_once(orientation, tmp_path):
    data = encoded(Image.fromarray(noise()), exif=turned(orientation))
    found = decode(data)
    assert found.size == ((9, 14) if orientation > 4 else (14, 9))
    np.testing.assert_array_equal(read_image(found), both(data, tmp_path))
    assert images.load(data).size == (14, 9)  # as it is stored


def test_damaged_metadata_do_not_cost_the_picture(tmp_path):
    array = noise()
    for broken in (b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x01\x01\x12"):
        data = encoded(Image.fromarray(array), exif=b"Exif\0\0" + broken)
        np.testing.assert_array_equal(both(data, tmp_path), array)
    data = encoded(Image.fromarray(array), icc_profile=b"this is no profile")
    np.testing.assert_array_equal(both(data, tmp_path), array)


def test_colours_are_taken_to_srgb(tmp_path):
    """A profile whose red is ours in place of green, as an extreme of wide gamuts."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    assert images._to_srgb(lab.tobytes(), "RGB") is None  # of another mode: ignored
    swapped = swapped_profile()
    array = np.full((4, 4, 3), (250, 10, 10), np.uint8)
    found = both(encoded(Image.fromarray(array), icc_profile=swapped), tmp_path)
    assert (found[..., 1] > 240).all() and (found[..., 0] < 40).all()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(
        both(encoded(Image.fromarray(array), icc_profile=srgb), tmp_path), array)


def swapped_profile():
    """sRGB's profile with the tags of the red and the green primary exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
    data[red:red + 4], data[green:green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data).replace(b"s\0R\0G\0B", b"x\0R\0G\0B").replace(b"sRGB", b"xRGB")


@pytest.mark.parametrize(("array", "mode"), [
    (np.full((4, 4), 40000, np.uint16), "I;16"), (np.full((4, 4), 9, np.int32), "I"),
    (np.full((4, 4), .5, np.float32), "F")])
def test_more_than_eight_bits_are_refused_in_training_too(array, mode):
    image = Image.fromarray(array)
    assert image.mode == mode
    with pytest.raises(UnreadableImage, match="a.tif: must have 8 bits a channel"):
        decode(encoded(image, "tiff"), "a.tif")
    with pytest.raises(ValueError, match="8 bits"):
        to_rgb(image)


def test_bombs_are_named(monkeypatch, tmp_path):
    data = encoded(Image.new("L", (64, 64)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UnreadableImage, match="a.png: .*decompression bomb"):
        decode(data, "a.png")
    monkeypatch.undo()
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 10_000_000, zip=True)
    data = encoded(Image.new("L", (8, 8)), pnginfo=text)
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(UnreadableImage, match="a.png: .*too large"):
        decode(data, "a.png")
    with pytest.raises(ValueError, match="image: cannot read .*a.png.*too large"):
        read_image(tmp_path / "a.png")


# ------------------------------------------------------------------------------ masks


HOLE = np.zeros((120, 160), bool)
HOLE[30:90, 40:100] = True
WHITE = np.full((120, 160, 3), 255, np.uint8)


@pytest.mark.parametrize("opacity", [
    np.where(HOLE, 0, 255), np.where(HOLE, 255, 0), np.where(HOLE, 255, 254)])
def test_a_mask_with_transparent_parts_is_refused(opacity, tmp_path):
    """They may be the hole, or all but the hole: both are in use."""
    mask = np.where(HOLE[..., None], WHITE, 0).astype(np.uint8)
    Image.fromarray(np.dstack([mask, opacity.astype(np.uint8)])).save(tmp_path / "m.png")
    told = "^mask_image has transparent parts .*black and white"
    with pytest.raises(ValueError, match=told):
        read_mask(tmp_path / "m.png", HOLE.shape)


def test_a_mask_with_an_opaque_alpha_is_read(tmp_path):
    Image.fromarray(HOLE).convert("RGBA").save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", HOLE.shape), HOLE)


def label_maps():
    palette = [0] * 768
    palette[3:6], palette[45:48], palette[765:] = (128, 0, 0), (192, 128, 128), (224,) * 3
    labels = HOLE.astype(np.uint8)
    edge = np.where(HOLE, labels, 0)
    edge[28:32, 38:102] = 255  # "void"
    two = labels.copy()
    two[100:115, 120:150] = 15
    for name, array in (("one", labels), ("two", two), ("edge", edge)):
        image = Image.fromarray(array, "P")
        image.putpalette(palette)
        yield f"palette, {name}", image, "colours"
    yield "grey, edge", Image.fromarray(edge), "flat areas of levels 0, 1, 255"
    yield "grey, two", Image.fromarray(two), "levels 0 to 15"
    yield "grey, 195", Image.fromarray(two * np.uint8(13)), "flat areas of levels 0, 13"
    yield "16 bits", Image.fromarray(two.astype(np.uint16) * 300), "8 bits"
    yield "strokes", Image.fromarray(np.where(HOLE[..., None], (200, 0, 0), 0)
                                     .astype(np.uint8)), "colours"


@pytest.mark.parametrize(("image", "reason"), [case[1:] for case in label_maps()],
                         ids=[case[0] for case in label_maps()])
def test_a_map_of_labels_is_no_mask(image, reason, tmp_path):
    image.save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=f"^mask_image .*{reason}"):
        read_mask(tmp_path / "m.png", HOLE.shape)
    if image.mode == "L":
        with pytest.raises(ValueError, match=f"^mask_image .*{reason}"):
            read_mask(np.asarray(image), HOLE.shape)


def test_soft_and_compressed_edges_are_no_labels(tmp_path):
    large = Image.fromarray(HOLE).convert("L").resize((800, 600))
    for name, image in (("m.png", large.resize((160, 120), Image.Resampling.LANCZOS)),
                        ("low.jpg", large.resize((160, 120))),
                        ("soft.png", Image.fromarray(HOLE).convert("L").reduce(2)
                         .resize((160, 120), Image.Resampling.BICUBIC))):
        image.convert("RGB").save(tmp_path / name, quality=40)
        found = read_mask(tmp_path / name, HOLE.shape)
        assert (found == HOLE).mean() > .98


# ---------------------------------------------------------------------------- tensors


def test_bytes_and_signed_numbers_are_inverse():
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    np.testing.assert_array_equal(to_bytes(to_signed(every)[None])[0], every)
    assert to_bytes(torch.tensor([-2., 2.]).view(1, 1, 1, 2).expand(1, 3, 1, 2)).tolist() \
        == [[[[0] * 3, [255] * 3]]]


# ---------------------------------------------------------------------------- imports


def test_the_pipeline_needs_no_data_library():
    """Who edits a picture waits for neither data sets nor the miniature world."""
    code = """
import sys
import pbe_lite.pipeline
unwanted = ("datasets", "pyarrow", "pandas", "sklearn", "pbe_lite.data.tabletop",
            "pbe_lite.data.records", "pbe_lite.data.box_index", "pbe_lite.data.triplets",
            "pbe_lite.training", "pbe_lite.evaluation")
print([name for name in unwanted if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr
