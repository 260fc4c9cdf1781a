"""Augmentation: each operation against the map or the blur that it claims to be."""

import numpy as np
import pytest
from PIL import Image

from pbe_lite.data import augmentation
from pbe_lite.data.augmentation import affine, augment_exemplar, blur, flip, rotate, squash

SIZES = (33, 64, 224)


class Draws:
    """A generator whose draws are given."""

    def __init__(self, *values):
        self.values = list(values)

    def uniform(self, low=0, high=1, size=None):
        value = np.asarray(self.values.pop(0), float)
        assert value.shape == (size or ())
        assert (value >= low).all() and (value <= high).all()
        return value

    def choice(self, options):
        value = self.values.pop(0)
        assert value in options
        return value


def waves(row, column, size):
    """Smooth colours at pixel coordinates, (..., 3) in 40..215."""
    y, x = row / size, column / size
    planes = np.sin(5 * x + 3 * y), np.cos(6 * y - 2 * x), np.sin(4 * x) * np.cos(3 * y)
    return 127.5 + 87.5 * np.stack(planes, -1)


def smooth(size):
    grid = np.mgrid[:size, :size].astype(float)
    return np.round(waves(*grid, size)).astype(np.uint8), grid


def tolerance(size):
    """8-bit rounding, twice, and linear interpolation between the waves' samples."""
    return 1.1 + 87.5 * (6 / size) ** 2 / 4


# ---------------------------------------------------------------------- operations


def test_squash_ignores_the_aspect_ratio():
    array = np.zeros((20, 60, 3), np.uint8)
    array[:, :30], array[:10, 30:] = (250, 0, 0), (0, 0, 250)
    small = squash(Image.fromarray(array), 16)
    assert small.shape == (16, 16, 3) and small.dtype == np.uint8
    assert np.abs(small[:, :6].astype(int) - (250, 0, 0)).max() < 12
    assert np.abs(small[:6, 10:].astype(int) - (0, 0, 250)).max() < 12
    assert np.abs(small[10:, 10:].astype(int)).max() < 12


def test_flip_mirrors_left_and_right():
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    flipped = flip(array)
    for column in range(4):
        np.testing.assert_array_equal(flipped[:, column], array[:, 3 - column])


@pytest.mark.parametrize("angle", [-20, 7, 20])
@pytest.mark.parametrize("size", SIZES)
def test_rotate_turns_about_the_centre(size, angle):
    array, (row, column) = smooth(size)
    rotated = rotate(array, Draws(angle))
    middle = (size - 1) / 2
    either = []
    for sign in (1, -1):  # which way a positive angle turns is of no account
        z = (column - middle + 1j * (row - middle)) * np.exp(-1j * np.radians(sign * angle))
        source_row, source_column = z.imag + middle, z.real + middle
        inside = np.maximum(np.abs(z.imag), np.abs(z.real)) <= middle - 1
        expected = waves(source_row, source_column, size)
        either.append(np.abs(rotated - expected)[inside].max())
    assert min(either) < tolerance(size) < max(either)


@pytest.mark.parametrize("size", SIZES)
def test_the_anchors_of_the_affine_map_land_where_they_should(size):
    array, _ = smooth(size)
    unit = size / 224
    jitter = np.array([(20, -12), (-8, 15), (10, 5)], float)
    moved = affine(array, Draws(jitter))
    anchors = size / 2 + 74 * unit * np.array([(1, 1), (1, -1), (-1, -1)])
    targets = anchors + unit * jitter
    for anchor, target in zip(anchors, targets, strict=True):
        low = np.floor(target).astype(int)
        weight = target - low  # read the result between its pixels
        value = sum(
            moved[low[0] + i, low[1] + j] * abs(1 - i - weight[0]) * abs(1 - j - weight[1])
            for i in (0, 1) for j in (0, 1))
        assert np.abs(value - waves(*anchor, size)).max() < 1.5 * tolerance(size)


@pytest.mark.parametrize("size", SIZES)
def test_affine_is_the_map_that_its_three_anchors_fix(size):
    array, (row, column) = smooth(size)
    unit = size / 224
    jitter = np.array([(30, -12), (-8, 25), (10, -40)], float)
    moved = affine(array, Draws(jitter))
    a, b, c = size / 2 + 74 * unit * np.array([(1, 1), (1, -1), (-1, -1)])
    p, q, r = np.array((a, b, c)) + unit * jitter
    # barycentric coordinates: point = q + s (p - q) + t (r - q), and the same of a, b, c
    points = np.stack([row, column], -1)
    s, t = np.moveaxis((points - q) @ np.linalg.inv([p - q, r - q]), -1, 0)
    source = b + s[..., None] * (a - b) + t[..., None] * (c - b)
    inside = ((source >= 1) & (source <= size - 2)).all(-1)
    assert inside.mean() > .4
    expected = waves(source[..., 0], source[..., 1], size)
    assert np.abs(moved - expected)[inside].max() < tolerance(size)


def test_without_jitter_the_affine_map_changes_nothing():
    array, _ = smooth(64)
    assert np.abs(affine(array, Draws(np.zeros((3, 2)))) - array.astype(int)).max() <= 1


def test_jitter_and_angle_stay_in_the_papers_ranges():
    low = affine(smooth(64)[0], Draws(np.full((3, 2), -50.)))  # Draws checks the range
    high = affine(smooth(64)[0], Draws(np.full((3, 2), 50.)))
    assert low.shape == high.shape == (64, 64, 3)
    with pytest.raises(AssertionError):
        affine(smooth(64)[0], Draws(np.full((3, 2), 51.)))
    with pytest.raises(AssertionError):
        rotate(smooth(64)[0], Draws(20.5))


@pytest.mark.parametrize("k", [3, 5, 7])
@pytest.mark.parametrize("size", [224, 448])
def test_blur_has_the_variance_of_a_box_of_k_pixels_of_224(size, k):
    array = np.zeros((size, size, 3), np.uint8)
    array[:, size // 2:] = 255
    profile = blur(array, Draws(k))[size // 2, :, 0].astype(float)
    weights = np.diff(profile) / 255
    position = np.arange(len(weights))
    mean = (weights * position).sum()
    variance = (weights * (position - mean) ** 2).sum()
    assert variance == pytest.approx((k ** 2 - 1) / 12 * (size / 224) ** 2, rel=.12)


@pytest.mark.parametrize("operation", [flip, rotate, blur, affine])
def test_a_flat_picture_stays_as_it_is(operation):
    for level in (0, 1, 77, 200, 254, 255):
        array = np.full((32, 32, 3), level, np.uint8)
        for seed in range(5):
            result = operation(array, np.random.default_rng(seed))
            assert (result == level).all() and result.dtype == np.uint8


def test_blur_neither_darkens_nor_brightens():
    array = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    for k in (3, 5, 7):
        assert blur(array, Draws(k)).mean() == pytest.approx(array.mean(), abs=.1)


# ------------------------------------------------------------------- all together


def test_each_operation_is_drawn_as_often_as_the_paper_says(monkeypatch):
    counts = dict.fromkeys(augmentation.PROBABILITY, 0)

    def counting(name):
        def operation(array, rng):
            counts[name] += 1
            return array
        operation.__name__ = name
        return operation

    for name in counts:
        monkeypatch.setattr(augmentation, name, counting(name))
    image, n = Image.new("RGB", (8, 8)), 3000
    for seed in range(n):
        augment_exemplar(image, 8, np.random.default_rng(seed))
    expected = {"flip": .5, "rotate": .5, "blur": .3, "affine": .3}
    assert counts.keys() == expected.keys()
    for name, p in expected.items():
        assert abs(counts[name] / n - p) < 4 * np.sqrt(p * (1 - p) / n), name


def test_nothing_drawn_is_the_squashed_exemplar(picture):
    image = picture(40, 70)
    np.testing.assert_array_equal(
        augment_exemplar(image, 32, Draws(1, 1, 1, 1)), squash(image, 32))


def test_the_operations_follow_in_the_papers_order(picture):
    image, jitter = picture(40, 70), np.full((3, 2), 9.)
    both = augment_exemplar(image, 48, Draws(0, 0, 11, 0, 5, 0, jitter))
    expected = squash(image, 48)[:, ::-1]
    for operation, draw in ((rotate, 11), (blur, 5), (affine, jitter)):
        expected = operation(expected, Draws(draw))
    np.testing.assert_array_equal(both, expected)


@pytest.mark.parametrize("size", [16, 33, 224])
@pytest.mark.parametrize("shape", [(1, 1), (90, 7), (64, 64)])
def test_any_size_in_and_out(picture, shape, size):
    for seed in range(6):
        array = augment_exemplar(picture(*shape), size, np.random.default_rng(seed))
        assert array.shape == (size, size, 3) and array.dtype == np.uint8
        assert array.flags.c_contiguous


def test_augmentation_scales_with_the_picture(picture):
    image = picture(256, 256)
    for seed in range(12):
        small = augment_exemplar(image, 64, np.random.default_rng(seed)).astype(float)
        large = augment_exemplar(image, 256, np.random.default_rng(seed))
        shrunk = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
        assert np.abs(small - shrunk)[4:-4, 4:-4].mean() < 6, seed
