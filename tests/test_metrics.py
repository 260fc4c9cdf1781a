"""Each metric on cases whose value is known without it."""

import numpy as np
import pytest
import scipy.linalg
import torch

from pbe_lite.evaluation import metrics
from pbe_lite.evaluation.metrics import (
    background_psnr,
    bootstrap,
    border_gradient,
    clip_score,
    distance,
    leak,
    leak_pixels,
    light_error,
)


def flat(level, size=10):
    return np.full((size, size, 3), level, np.uint8)


@pytest.fixture
def hole():
    hole = np.zeros((10, 10), bool)
    hole[2:8, 3:9] = True
    return hole


def test_distance_is_root_mean_square_over_rgb():
    a, b = flat(10, 1), np.uint8([[[13, 6, 10]]])
    assert distance(a, b) == pytest.approx(np.sqrt((9 + 16 + 0) / 3))
    assert distance(flat(0, 1), flat(255, 1)) == 255  # bytes do not wrap round


# --------------------------------------------------------------------------- leak


def test_leak_pixels_are_shown_background_where_the_clean_plate_is_right(hole):
    clean, truth, pasted = flat(100), flat(100), flat(200)
    alpha = np.zeros((10, 10))
    assert (leak_pixels(pasted, alpha, truth, clean, hole) == hole).all()
    alpha[4, 4] = .5  # the exemplar's object
    truth[5, 5] = 30  # the right answer's object, or its shadow
    pasted[6, 6] = 100 + metrics.DIFFERENT  # the exemplar's background looks the same
    expected = hole.copy()
    expected[(4, 5, 6), (4, 5, 6)] = False
    np.testing.assert_array_equal(leak_pixels(pasted, alpha, truth, clean, hole), expected)


def test_leak_is_one_for_copy_paste_and_zero_for_the_clean_plate(hole):
    clean, pasted = flat(100), flat(200)
    assert leak(pasted, pasted, clean, hole) == 1
    assert leak(clean, pasted, clean, hole) == 0
    mixed = clean.copy()
    mixed[2:5] = 190  # the hole's upper half leaks
    assert leak(mixed, pasted, clean, hole) == .5
    assert leak(flat(150), pasted, clean, hole) == 0  # as near to both: no leak


def test_without_a_pixel_to_show_it_leak_is_not_a_number(hole):
    assert np.isnan(leak(flat(1), flat(2), flat(3), np.zeros_like(hole)))


def test_leak_looks_at_the_given_pixels_only(hole):
    result = np.where(hole[..., None], flat(100), flat(200))
    assert leak(result, flat(200), flat(100), hole) == 0
    assert leak(result, flat(200), flat(100), ~hole) == 1


# --------------------------------------------------------------------------- seam


def test_the_border_gradient_is_the_mean_step_across(hole):
    image = flat(50)
    assert border_gradient(image, hole) == 0
    image[hole] = 80
    assert border_gradient(image, hole) == 30
    image[..., 1] = 50  # one of the three colours has no step
    assert border_gradient(image, hole) == 20


def test_steps_elsewhere_do_not_count(hole):
    image = flat(50)
    image[0], image[4, 5] = 200, 0  # outside, and deep inside
    assert border_gradient(image, hole) == 0


def test_every_crossing_counts_once():
    hole = np.zeros((5, 6), bool)
    hole[1, 1] = hole[3, 4] = True
    image = np.zeros((5, 6, 3), np.uint8)
    image[1, 1] = 80  # four of eight crossings
    assert border_gradient(image, hole) == 40
    hole[:] = False
    hole[0, 0] = True  # in a corner: two crossings
    image[:] = 0
    image[0, 1] = 90
    assert border_gradient(image, hole) == 45


def test_without_a_border_there_is_no_gradient():
    assert np.isnan(border_gradient(flat(9), np.ones((10, 10), bool)))


# ----------------------------------------------------------------- light, background


def test_light_is_the_distance_of_mean_colours_at_the_object():
    alpha = np.zeros((10, 10))
    alpha[2:4, 2:4], alpha[6, 6] = 1, .5
    truth, result = flat(100), flat(0)
    result[2:4, 2:4] = (103, 96, 100)
    assert light_error(result, truth, alpha) == pytest.approx(5)
    result[2, 2:4], result[3, 2:4] = 60, 140  # another texture of the same mean
    assert light_error(result, truth, alpha) == 0


def test_background_psnr_is_of_the_pixels_outside(hole):
    image, result = flat(100), flat(100)
    result[hole] = 0
    assert background_psnr(result, image, hole) == float("inf")
    result[~hole] = 110
    assert background_psnr(result, image, hole) == pytest.approx(10 * np.log10(65025 / 100))
    result[~hole] = 90
    assert background_psnr(result, image, hole) == pytest.approx(28.1308, abs=1e-4)


def test_a_single_level_in_a_single_pixel_is_no_longer_exact(hole):
    image, result = flat(100), flat(100)
    result[0, 0, 0] = 101
    assert background_psnr(result, image, hole) == pytest.approx(
        10 * np.log10(65025 * 64 * 3))


def test_clip_score_is_a_hundred_cosines():
    a = torch.tensor([[1., 0], [.6, .8]])
    b = torch.tensor([[0., 1], [.6, .8]])
    torch.testing.assert_close(clip_score(a, b), torch.tensor([0., 100]))


# ----------------------------------------------------------------------- intervals


def test_the_interval_is_that_of_the_normal_approximation():
    values = np.random.default_rng(1).gamma(2, 3, 400)
    found = bootstrap(values)
    half = 1.96 * values.std(ddof=1) / np.sqrt(400)
    assert found["mean"] == pytest.approx(values.mean())
    assert found["low"] == pytest.approx(values.mean() - half, abs=.1 * half)
    assert found["high"] == pytest.approx(values.mean() + half, abs=.1 * half)


def test_a_share_has_the_binomial_interval():
    values = np.repeat([1., 0], [60, 140])
    found = bootstrap(values)
    half = 1.96 * np.sqrt(.3 * .7 / 200)
    assert found["mean"] == pytest.approx(.3)
    assert found["high"] - found["low"] == pytest.approx(2 * half, rel=.12)


def test_the_interval_is_the_same_every_time_and_for_every_order_of_magnitude():
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap(values) == bootstrap(values)
    scaled = bootstrap(1000 * values + 5)
    assert scaled["low"] == pytest.approx(1000 * bootstrap(values)["low"] + 5)


def test_what_is_not_a_number_is_left_out():
    values = np.array([1., np.nan, 3, np.nan, 2])
    assert bootstrap(values) == bootstrap([1., 3, 2])
    assert bootstrap([4.]) == {"mean": 4, "low": 4, "high": 4}


@pytest.mark.parametrize("values", [[], [np.nan, np.nan]])
def test_of_nothing_there_is_no_mean(values):
    assert bootstrap(values) == {"mean": None, "low": None, "high": None}


# ----------------------------------------------------------------------- CLIP-FID


def features(count, shift=0., seed=0, width=6):
    draw = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return draw * torch.linspace(.1, 1, width) + shift


def frechet(a, b):
    """|m_a - m_b|^2 + tr(A + B - 2 (A B)^1/2), by its definition."""
    a, b = a.double().numpy(), b.double().numpy()
    A, B = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(A @ B).real
    return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(A + B - 2 * root)


@pytest.mark.parametrize("shift", [0, .3])
def test_clip_fid_is_100_times_the_frechet_distance(shift):
    a, b = features(50), features(70, shift, 1)
    assert metrics.clip_fid(a, b) == pytest.approx(100 * frechet(a, b), rel=1e-4)


def test_a_set_is_at_no_distance_from_itself_and_farther_when_moved():
    a = features(50)
    assert metrics.clip_fid(a, a) == pytest.approx(0, abs=1e-3)
    near, far = (metrics.clip_fid(features(50, s, 1), a) for s in (.1, 1))
    assert 0 < near < far


def test_the_interval_of_clip_fid_holds_it_and_narrows():
    reference = features(500, seed=9)
    few, many = (metrics.bootstrap_fid(features(n, .5), reference) for n in (20, 300))
    for found in (few, many):
        assert found["low"] < found["mean"] < found["high"]
    assert many["high"] - many["low"] < few["high"] - few["low"]
    assert few == metrics.bootstrap_fid(features(20, .5), reference)


def test_one_feature_has_no_distribution():
    found = metrics.bootstrap_fid(features(1), features(9))
    assert found == {"mean": None, "low": None, "high": None}
