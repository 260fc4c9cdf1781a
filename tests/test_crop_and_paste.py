"""Reading, cropping and pasting: any picture in, untouched pixels out."""

import numpy as np
import pytest
import torch
from conftest import name_of
from PIL import Image

from pbe_lite.crop_and_paste import (
    Window,
    crop,
    feather,
    hole_window,
    paste,
    read_image,
    read_mask,
    resize,
    resize_hole,
)

SHAPES = [(100, 37), (37, 100), (480, 640), (64, 64), (1, 2), (2, 1), (1, 50), (3, 5),
          (7, 7)]


def noise(height, width, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, 3)).astype(np.uint8)


def some_hole(height, width, seed=0):
    """A hole of one or more pixels that leaves at least one."""
    rng = np.random.default_rng(seed)
    hole = np.zeros((height, width), bool)
    y0, y1 = sorted(rng.integers(0, height + 1, 2))
    x0, x1 = sorted(rng.integers(0, width + 1, 2))
    hole[y0:max(y1, y0 + 1), x0:max(x1, x0 + 1)] = True
    if hole.all() or not hole.any():
        hole[:] = False
        hole.flat[0] = True
    return hole


# ------------------------------------------------------------------------- images


def test_every_kind_of_image_reads_the_same(tmp_path):
    array = noise(9, 14)
    Image.fromarray(array).save(tmp_path / "a.png")
    units = (array / 255).astype(np.float32)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    path = tmp_path / "a.png"
    for value in (array, Image.fromarray(array), str(path), path, Image.open(path),
                  units, units.astype(np.float64), tensor, tensor / 255,
                  (tensor / 255).double(), np.asfortranarray(array),
                  array[:, ::-1].copy()[:, ::-1]):
        found = read_image(value)
        assert found.dtype == np.uint8 and found.shape == (9, 14, 3)
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_tensors_are_read(dtype):
    array = noise(5, 6)
    found = read_image(torch.from_numpy(array).permute(2, 0, 1).to(dtype) / 255)
    assert np.abs(found.astype(int) - array).max() <= 1


def test_every_byte_stays_as_it_is():
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = np.stack([every] * 3, -1)
    np.testing.assert_array_equal(read_image(image), image)
    np.testing.assert_array_equal(read_image(image.astype(np.float32) / 255), image)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_other_modes_become_rgb(mode):
    image = Image.fromarray(np.uint8([[[0, 0, 0], [255, 255, 255]]])).convert(mode)
    np.testing.assert_array_equal(read_image(image), [[[0] * 3, [255] * 3]])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_laid_on_white(mode, tmp_path):
    """A cut-out hides any colour below its transparent pixels."""
    pixels = np.uint8([[[90, 90, 90, 255], [90, 90, 90, 0], [90, 90, 90, 51]]])
    image = Image.fromarray(pixels).convert(mode)
    expected = [[[90] * 3, [255] * 3, [222] * 3]]  # 222 = .2 * 90 + .8 * 255
    np.testing.assert_array_equal(read_image(image), expected)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


def test_grey_arrays_become_rgb():
    grey = np.uint8([[0, 100], [200, 255]])
    np.testing.assert_array_equal(read_image(grey), np.stack([grey] * 3, -1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(tmp_path, orientation):
    """`upright` is what a viewer shows; the file stores it as the tag says."""
    upright = noise(6, 10)
    stored = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
              5: upright.transpose(1, 0, 2), 6: np.rot90(upright),
              7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1)}
    stored = stored[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), upright)
    np.testing.assert_array_equal(read_image(Image.open(tmp_path / "a.png")), upright)
    mask = Image.open(tmp_path / "a.png").convert("L")
    mask.save(tmp_path / "mask.png", exif=exif)
    assert read_mask(tmp_path / "mask.png", (6, 10)).shape == (6, 10)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "path, a PIL image, a numpy array"),
        ([[1, 2]], "got list"),
        (7, "got int"),
        (b"abc", "got bytes"),
        ("no/such/file.png", "no file"),
        (np.zeros((4, 4, 4)), "shape"),
        (np.zeros((3, 4, 4)), "shape"),
        (torch.zeros(4, 4, 3), "shape"),
        (torch.zeros(1, 3, 4, 4), "shape"),
        (np.zeros(5), "shape"),
        (np.zeros((0, 4, 3)), "empty"),
        (Image.new("RGB", (0, 5)), "empty"),
        (np.full((4, 4, 3), np.nan), "NaN"),
        (torch.full((3, 4, 4), torch.inf), "infinite"),
        (np.full((4, 4, 3), -.1), "from -0.1"),
        (np.full((4, 4, 3), 200, np.int64), "to 200"),
        (np.full((4, 4, 3), 200.), "0..1 or uint8"),
        (np.ones((4, 4, 3), complex), "real numbers"),
        (np.array([[["a"] * 3]]), "real numbers"),
        (np.array([[[None] * 3]]), "real numbers"),
        (Image.fromarray(np.full((4, 4), 40000, np.uint16)), "8 bits"),
        (Image.new("F", (4, 4)), "8 bits"),
    ],
    ids=name_of,
)
@pytest.mark.parametrize("argument", ["image", "exemplar"])
def test_a_bad_image_is_named_and_what_is_wrong_with_it(value, expected, argument):
    with pytest.raises(ValueError, match=f"^{argument}.*{expected}"):
        read_image(value, argument)


def damaged_files(folder):
    whole = folder / "whole.png"
    Image.fromarray(noise(40, 40)).save(whole)
    raw = whole.read_bytes()
    for name, content in (("empty.png", b""), ("text.png", b"not a picture"),
                          ("head.png", raw[:20]), ("half.png", raw[:len(raw) // 2])):
        (folder / name).write_bytes(content)
        yield folder / name
    Image.fromarray(noise(40, 40)).save(folder / "whole.jpg")
    half = (folder / "whole.jpg").read_bytes()[:600]
    (folder / "half.jpg").write_bytes(half)
    yield folder / "half.jpg"
    yield folder  # a folder is no picture


def test_unreadable_files_are_named(tmp_path):
    for path in damaged_files(tmp_path):
        with pytest.raises(ValueError, match=f"^image: cannot read .*{path.name}"):
            read_image(path)
        with pytest.raises(ValueError, match=f"^mask_image: cannot read .*{path.name}"):
            read_mask(str(path), (40, 40))


def test_a_damaged_picture_that_pil_opened_is_named(tmp_path):
    *_, half, _, _ = damaged_files(tmp_path)
    with pytest.raises(ValueError, match="^exemplar: cannot read"):
        read_image(Image.open(half), "exemplar")


def test_a_picture_too_large_to_decode_is_named(tmp_path, monkeypatch):
    Image.fromarray(noise(40, 40)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="^image: cannot read.*a.png"):
        read_image(tmp_path / "a.png")


# -------------------------------------------------------------------------- masks


def test_every_kind_of_mask_reads_the_same(tmp_path):
    hole = some_hole(9, 14, 3)
    grey = Image.fromarray(hole.astype(np.uint8) * 255)
    grey.save(tmp_path / "m.png")
    for value in (hole, hole.astype(np.float32), hole.astype(np.uint8), hole.astype(int),
                  hole.astype(np.uint8) * 255, hole[..., None], hole[None], grey,
                  grey.convert("RGB"), grey.convert("1"), tmp_path / "m.png",
                  Image.fromarray(hole.astype(np.uint8)), torch.from_numpy(hole),
                  torch.from_numpy(hole)[None], torch.from_numpy(hole).float()[None],
                  torch.from_numpy(hole).bfloat16(), hole * .7 + .2):
        found = read_mask(value, (9, 14))
        assert found.dtype == bool
        np.testing.assert_array_equal(found, hole)


def test_a_mask_one_pixel_high_or_wide_keeps_its_shape():
    for shape in ((1, 5), (5, 1)):
        hole = some_hole(*shape)
        for value in (hole, hole[..., None], torch.from_numpy(hole)[None]):
            np.testing.assert_array_equal(read_mask(value, shape), hole)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.eye(5), r"size \(4, 4\).*\(5, 5\)"),
        (Image.new("L", (4, 3)), r"size \(4, 4\).*\(3, 4\)"),
        (np.zeros((4, 4, 3)), "size"),
        (np.zeros((2, 1, 4, 4)), "size"),
        (np.zeros((4, 4)), "empty"),
        (torch.zeros(1, 4, 4), "empty"),
        (np.full((4, 4), .5), "empty"),
        (np.ones((4, 4)), "covers the whole image"),
        (Image.new("L", (4, 4), 255), "covers the whole image"),
        (np.eye(4) * np.nan, "NaN"),
        (np.eye(4) * 255, "0..1 or uint8"),
        (np.eye(4) - .5, "from -0.5"),
        ([[0, 1], [1, 0]], "got list"),
        (None, "got NoneType"),
        ("no/such/file.png", "no file"),
    ],
    ids=name_of,
)
def test_a_bad_mask_is_named_and_what_is_wrong_with_it(value, expected):
    with pytest.raises(ValueError, match=f"^mask_image.*{expected}"):
        read_mask(value, (4, 4))


# ------------------------------------------------------------------------- windows


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("context", [1, 1.5, 3, 100])
def test_a_window_is_a_square_around_the_hole(shape, context):
    for seed in range(20):
        hole = some_hole(*shape, seed)
        left, top, side = hole_window(hole, context)
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert left <= columns[0] and columns[-1] < left + side
        assert top <= rows[0] and rows[-1] < top + side
        longest = max(np.ptp(rows), np.ptp(columns)) + 1
        assert side == max(longest, min(round(context * longest), *shape))
        for start, length in ((left, shape[1]), (top, shape[0])):
            if side <= length:
                assert 0 <= start <= length - side  # within the picture where it can be
            else:
                assert start <= 0 and start + side >= length


def test_a_window_has_the_hole_in_its_middle_where_there_is_room():
    hole = np.zeros((200, 300), bool)
    hole[100:120, 140:150] = True
    assert hole_window(hole, 3) == Window(145 - 30, 110 - 30, 60)


@pytest.mark.parametrize("shape", SHAPES)
def test_crop_takes_the_windows_pixels_and_mirrors_beyond(shape):
    height, width = shape
    image = noise(*shape)
    mirror = lambda i, n: (i % (2 * n)) if i % (2 * n) < n else 2 * n - 1 - i % (2 * n)
    for left, top, side in ((0, 0, min(shape)), (-3, -2, max(shape) + 6), (-1, 0, 2)):
        found = crop(image, Window(left, top, side))
        assert found.shape == (side, side, 3)
        rng = np.random.default_rng(0)
        for y, x in rng.integers(0, side, (50, 2)):
            expected = image[mirror(top + y, height), mirror(left + x, width)]
            np.testing.assert_array_equal(found[y, x], expected)


def test_a_hole_is_cropped_like_its_picture():
    hole = some_hole(20, 9, 1)
    window = Window(-4, 2, 17)
    as_picture = crop(np.stack([hole.astype(np.uint8)] * 3, -1), window)[..., 0]
    np.testing.assert_array_equal(crop(hole, window), as_picture > 0)


# -------------------------------------------------------------------------- sizes


@pytest.mark.parametrize("factor", [2, 5, 24, 40])
def test_no_part_of_a_hole_is_lost_in_a_smaller_one(factor):
    rng = np.random.default_rng(0)
    hole = np.zeros((16 * factor, 16 * factor), bool)
    points = rng.integers(0, len(hole), (30, 2))
    hole[points[:, 0], points[:, 1]] = True  # single pixels
    expected = hole.reshape(16, factor, 16, factor).any((1, 3))
    np.testing.assert_array_equal(resize_hole(hole, 16), expected)


def test_a_hole_grows_pixel_by_pixel():
    hole = some_hole(8, 8, 5)
    np.testing.assert_array_equal(resize_hole(hole, 32), hole.repeat(4, 0).repeat(4, 1))
    assert resize_hole(hole, 8) is hole


def test_resize_keeps_a_picture():
    image = noise(8, 8)
    assert resize(image, 8) is image
    small = resize(np.full((30, 30, 3), 90, np.uint8), 11)
    assert np.abs(small.astype(int) - 90).max() <= 1


# -------------------------------------------------------------------------- pasting


def test_the_feather_rises_over_its_width_inside_the_hole():
    hole = np.zeros((20, 30), bool)
    hole[5:15, 8:25] = True
    weight = feather(hole, 4)
    assert (weight[~hole] == 0).all()
    np.testing.assert_allclose(weight[10, 8:14], (.25, .5, .75, 1, 1, 1))
    np.testing.assert_allclose(weight[5:10, 16], (.25, .5, .75, 1, 1))
    assert (feather(hole, 0)[hole] == 1).all()


def test_the_pictures_own_border_is_no_edge():
    hole = np.zeros((20, 20), bool)
    hole[:, :10] = True
    assert (feather(hole, 4)[:, :6] == 1).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_outside_the_hole_stay_exactly_as_they_were(shape):
    for seed in range(10):
        image, hole = noise(*shape), some_hole(*shape, seed)
        painted = np.full((16, 16, 3), 255, np.uint8)
        before = image.copy()
        result = paste(image, painted, hole, hole_window(hole))
        np.testing.assert_array_equal(image, before)  # the caller's picture is untouched
        assert result.shape == image.shape and result.dtype == np.uint8
        np.testing.assert_array_equal(result[~hole], image[~hole])
        assert (result[hole] >= image[hole]).all() and (result[hole] > image[hole]).any()


@pytest.mark.parametrize("context", [1, 1.2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_feather_knows_the_whole_hole(shape, context):
    """It is computed near the window alone; that must not show."""
    for seed in range(10):
        image, hole = np.zeros((*shape, 3), np.uint8), some_hole(*shape, seed)
        window = hole_window(hole, context)
        painted = np.full((16, 16, 3), 255, np.uint8)
        expected = np.round(255 * feather(hole, window.side / 8))
        result = paste(image, painted, hole, window, softness=1 / 8)
        np.testing.assert_array_equal(result[..., 0], expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_pasting_the_pictures_own_window_changes_nothing(shape):
    image, hole = noise(*shape), some_hole(*shape, 4)
    window = hole_window(hole, 2)
    np.testing.assert_array_equal(paste(image, crop(image, window), hole, window), image)


def test_what_was_painted_arrives_at_its_place():
    image, hole = noise(60, 90), np.zeros((60, 90), bool)
    hole[10:30, 50:80] = True
    window = Window(40, 0, 48)
    painted = noise(48, 48, 1)
    result = paste(image, painted, hole, window, softness=0)
    np.testing.assert_array_equal(result[10:30, 50:80], painted[10:30, 10:40])
