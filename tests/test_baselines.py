"""Editing without training for it: pasting, Poisson's equation, blended diffusion."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from pbe_lite.crop_and_paste import hole_box
from pbe_lite.data.tabletop import Scene
from pbe_lite.evaluation.baselines import (
    blended_diffusion,
    copy_paste,
    load_prior,
    poisson_blend,
)
from pbe_lite.models.clip import embed, text_features
from pbe_lite.pipeline import to_bytes

METHODS = [copy_paste, poisson_blend]


def noise(height, width, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, 3)).astype(np.uint8)


def rectangle(height, width, y0, y1, x0, x1):
    hole = np.zeros((height, width), bool)
    hole[y0:y1, x0:x1] = True
    return hole


def blob(height=24, width=30):
    y, x = np.mgrid[:height, :width]
    ellipse = (y - 11) ** 2 / 49 + (x - 16) ** 2 / 81 < 1
    return ellipse & ((y - 10) ** 2 + (x - 15) ** 2 >= 6)


HOLES = {
    "inside": rectangle(20, 26, 5, 12, 6, 18),
    "at the border": rectangle(20, 26, 0, 9, 10, 26),
    "a corner to corner band": rectangle(20, 26, 0, 20, 8, 14),
    "one pixel": rectangle(20, 26, 7, 8, 9, 10),
    "with an island": blob(),
    "two parts": rectangle(20, 26, 2, 6, 2, 7) | rectangle(20, 26, 12, 18, 15, 25),
}


@pytest.fixture(params=HOLES, ids=str)
def hole(request):
    return HOLES[request.param]


# ------------------------------------------------------------------------- common


def test_hole_box_is_the_smallest_around_the_hole(hole):
    x0, y0, x1, y1 = hole_box(hole)
    assert hole[y0:y1, x0:x1].sum() == hole.sum()
    assert all(e.any() for e in (hole[y0], hole[y1 - 1], hole[:, x0], hole[:, x1 - 1]))


@pytest.mark.parametrize("method", METHODS)
def test_nothing_changes_outside_the_hole(method, hole):
    image = noise(*hole.shape)
    before = image.copy()
    result = method(image, hole, Image.fromarray(noise(9, 7, 1)))
    assert result.dtype == np.uint8 and result.shape == image.shape
    np.testing.assert_array_equal(result[~hole], image[~hole])
    np.testing.assert_array_equal(image, before)
    assert not np.shares_memory(result, image)


# --------------------------------------------------------------------- copy, paste


def test_an_exemplar_of_the_holes_size_is_copied_exactly():
    hole = HOLES["inside"]
    image, patch = noise(*hole.shape), noise(7, 12, 1)
    result = copy_paste(image, hole, Image.fromarray(patch))
    np.testing.assert_array_equal(result[5:12, 6:18], patch)


def test_an_exemplar_is_cut_to_the_holes_shape():
    hole = blob()
    x0, y0, x1, y1 = hole_box(hole)
    patch = noise(y1 - y0, x1 - x0, 1)
    result = copy_paste(noise(*hole.shape), hole, Image.fromarray(patch))
    inner = hole[y0:y1, x0:x1]
    np.testing.assert_array_equal(result[y0:y1, x0:x1][inner], patch[inner])


def test_an_exemplar_is_squashed_to_the_holes_box(picture):
    hole, exemplar = HOLES["inside"], picture(60, 33)
    result = copy_paste(noise(*hole.shape), hole, exemplar)
    expected = np.asarray(exemplar.resize((12, 7), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(result[5:12, 6:18], expected)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_other_modes_of_exemplars_are_rgb(mode):
    hole = HOLES["inside"]
    exemplar = Image.new("RGB", (5, 5), (90, 90, 90)).convert(mode)
    assert (copy_paste(noise(*hole.shape), hole, exemplar)[hole] == 90).all()


# ------------------------------------------------------------------------- Poisson


def residual(result, image, hole, exemplar):
    """How far the pixels of the hole are from Poisson's equation, in 8-bit levels: the
    sum over neighbours of f_p - f_q, less the exemplar's steps within the hole."""
    f, g = result.astype(float), copy_paste(image, hole, exemplar).astype(float)
    height, width = hole.shape
    found = []
    for y, x in zip(*np.nonzero(hole), strict=True):
        total = np.zeros(3)
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < height and 0 <= u < width:
                total += f[y, x] - f[v, u]
                if hole[v, u]:
                    total -= g[y, x] - g[v, u]
        found.append(total)
    return np.array(found)


def soft(height, width, seed):
    """A smooth picture of middling colours, so that nothing is clipped at 0 or 255."""
    y, x = np.mgrid[:height, :width] / 10
    planes = [np.sin(y + seed + k) + np.cos(.7 * x - seed * k) for k in range(3)]
    return np.round(128 + 20 * np.stack(planes, -1)).astype(np.uint8)


def test_it_solves_its_equation(hole):
    image, exemplar = soft(*hole.shape, 1), Image.fromarray(soft(11, 17, 5))
    result = poisson_blend(image, hole, exemplar)
    assert result[hole].min() > 0 and result[hole].max() < 255
    # five roundings to whole levels, at most a half each, four of them independent
    assert np.abs(residual(result, image, hole, exemplar)).max() <= 4


def test_the_residual_would_tell():
    hole = HOLES["inside"]
    image, exemplar = soft(*hole.shape, 1), Image.fromarray(soft(11, 17, 5))
    pasted = copy_paste(image, hole, exemplar)
    assert np.abs(residual(pasted, image, hole, exemplar)).max() > 8


def test_flat_exemplars_leave_a_flat_picture_flat(hole):
    image = np.full((*hole.shape, 3), 77, np.uint8)
    result = poisson_blend(image, hole, Image.new("RGB", (8, 8), (200, 10, 120)))
    np.testing.assert_array_equal(result, image)


def test_the_pictures_own_content_comes_back(hole):
    """Its own gradients, but for the step across the border, with its own border."""
    x0, y0, x1, y1 = hole_box(hole)
    image = np.full((*hole.shape, 3), 100, np.uint8)
    image[y0 + 1:y1 - 1, x0 + 1:x1 - 1] = 140  # an object within the hole
    result = poisson_blend(image, hole, Image.fromarray(image[y0:y1, x0:x1]))
    inside = hole & np.pad(hole[1:-1, 1:-1], 1, constant_values=True)
    if hole.sum() == (y1 - y0) * (x1 - x0):  # else the cut-off object ends at the border
        assert np.abs(result[inside].astype(int) - image[inside]).max() <= 1


def test_a_ramp_between_two_walls():
    """Laplace's equation in one dimension: a straight line between the two sides."""
    image = np.zeros((1, 11, 3), np.uint8)
    image[0, :3], image[0, 8:] = 40, 100
    hole = rectangle(1, 11, 0, 1, 3, 8)
    result = poisson_blend(image, hole, Image.new("RGB", (5, 1), (9, 9, 9)))
    assert result[0, 2:9, 0].tolist() == [40, 50, 60, 70, 80, 90, 100]


def test_gradients_of_the_exemplar_are_kept():
    image = np.full((20, 26, 3), 120, np.uint8)
    hole = HOLES["inside"]
    patch = np.full((7, 12, 3), 30, np.uint8)
    patch[3, 5] = 60
    result = poisson_blend(image, hole, Image.fromarray(patch)).astype(int)
    spot = result[8, 11] - result[8, 14]
    assert (np.abs(spot - 30) <= 2).all()  # thirty levels brighter than around it, as shown
    assert np.abs(result[~hole] - 120).max() == 0


# -------------------------------------------------------------- blended diffusion


@pytest.fixture
def prior(weights):
    return load_prior(weights)


@pytest.fixture
def question(scenes):
    """images, holes, names and noise for the tiny prior."""
    holes = torch.zeros(2, 1, 64, 64)
    holes[0, :, 20:45, 10:50], holes[1, :, 40:, :24] = 1, 1
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return scenes[:2], holes, ["red mushroom", "penguin"], noise


def test_outside_the_hole_the_latents_are_the_sources(prior, question):
    images, holes, names, noise = question
    found = prior.codec.encode(blended_diffusion(prior, *question, steps=4))
    z, source = (d.latent_dist.mode() for d in
                 (prior.codec.encode(prior.codec(images).clamp(-1, 1)),
                  prior.codec.encode(images)))
    inside = F.max_pool2d(holes, 8).bool().expand_as(source)
    # the decoder sees neighbours: look two latents away from the hole
    far = F.max_pool2d(inside.float(), 5, 1, 2) == 0
    assert far.any()
    torch.testing.assert_close(found.latent_dist.mode()[far], z[far], atol=1e-4, rtol=0)
    assert (found.latent_dist.mode() - z)[inside].abs().mean() > .2


def test_the_caption_and_the_noise_decide_what_stands_in_the_hole(prior, question):
    images, holes, names, noise = question
    first, again = (blended_diffusion(prior, *question, steps=3) for _ in range(2))
    assert torch.equal(first, again)
    others = ((images, holes, ["owl", "penguin"], noise), (images, holes, names, -noise))
    for other in others:
        assert (blended_diffusion(prior, *other, steps=3)[0] - first[0]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["text", "image"])
def test_clip_guidance_raises_the_clip_score(prior, question, kind):
    images, holes, _, noise = question
    if kind == "text":
        with torch.no_grad():
            target = text_features(prior.clip, prior.tokenizer, ["red duck", "blue crown"])
    else:
        pictures = [Image.fromarray(Scene(s).render(64).image) for s in (5, 6)]
        target = embed(prior.clip, pictures)

    def similarity(strength):
        painted = blended_diffusion(prior, images, holes, ["", ""], noise, 1., steps=8,
                                    target=target, strength=strength)
        boxes = [np.divide(hole_box(h[0].numpy() > 0), 64) for h in holes]
        found = embed(prior.clip, map(Image.fromarray, to_bytes(painted)), boxes)
        return float((found * target).sum(1).mean())

    assert similarity(8.) > similarity(0.) + .01


def test_without_a_prior_there_is_none_to_load(tmp_path, weights):
    for part in ("clip", "codec"):
        (tmp_path / part).symlink_to(weights / part)
    with pytest.raises(OSError):
        load_prior(tmp_path)
