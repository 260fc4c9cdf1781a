"""Options of a preset that the paper's model does without: scale and shift, coordinates
of the hole, the object's alpha, a decoder that has met noise, a rate that falls late."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import randomise

from pbe_lite.config import FULL
from pbe_lite.data.open_images import load_open_images
from pbe_lite.data.scenes import write_tabletop
from pbe_lite.models.unet import (
    build_unet,
    denoise,
    hole_coordinates,
    octaves_of,
    set_out_channels,
    unet_input,
)
from pbe_lite.pipeline import PaintByExamplePipeline
from pbe_lite.training.losses import build_objective
from pbe_lite.training.optim import learning_rate


@pytest.fixture(scope="module")
def rich(tiny):
    """The tiny preset with all options on."""
    return replace(
        tiny, hole_octaves=2, alpha_weight=.2, decoder_noise=.35,
        decay_from=.5, warmup_steps=0, warmup_share=.1,
        unet=dict(tiny.unet, class_embed_type="projection",
                  projection_class_embeddings_input_dim=32,
                  resnet_time_scale_shift="scale_shift"))


@pytest.fixture(scope="module")
def tiny():
    from conftest import TINY
    return TINY


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rich")
    return load_open_images(write_tabletop(folder, range(1000, 1008), 64))


# ------------------------------------------------------------ where in the hole


def test_coordinates_run_from_minus_one_to_one_over_the_holes_box():
    hole = torch.zeros(2, 1, 8, 8)
    hole[0, :, 2:6, 1:5] = 1
    hole[1] = 1
    where = hole_coordinates(hole, 2)
    assert where.shape == (2, 2 + 4 * 2, 8, 8)
    u, v = where[0, :2]
    assert torch.allclose(u[3, 1:5], torch.tensor([-.75, -.25, .25, .75]))
    assert torch.allclose(v[2:6, 3], torch.tensor([-.75, -.25, .25, .75]))
    assert u.min() == -1.25 and u.max() == 2  # beyond the box, cut off at 2
    assert torch.allclose(where[1, 0, 0], (torch.arange(8.) - 3.5) / 4)


def test_the_octaves_are_sines_and_cosines_of_the_coordinates():
    hole = torch.zeros(1, 1, 8, 8)
    hole[..., 1:7, 3:5] = 1
    where = hole_coordinates(hole, 3)[0]
    u, v = where[:2]
    assert torch.allclose(where[2], torch.sin(torch.pi * u), atol=1e-6)
    assert torch.allclose(where[4], torch.sin(4 * torch.pi * u), atol=1e-5)
    assert torch.allclose(where[5], torch.sin(torch.pi * v), atol=1e-6)
    assert torch.allclose(where[8], torch.cos(torch.pi * u), atol=1e-6)


def test_an_empty_hole_has_finite_coordinates():
    assert hole_coordinates(torch.zeros(1, 1, 4, 4), 1).isfinite().all()


def test_they_follow_the_papers_channels(rich):
    z, hole = torch.randn(2, 4, 8, 8), torch.zeros(2, 1, 64, 64)
    hole[:, :, 8:40, 8:40] = 1
    plain, wide = unet_input(z, z, hole), unet_input(z, z, hole, 2)
    assert torch.equal(wide[:, :9], plain) and wide.shape[1] == rich.unet_channels
    assert octaves_of(build_unet(rich), 4) == 2
    with torch.device("meta"):
        assert octaves_of(build_unet(FULL), 4) == 0


# ------------------------------------------------------------------ scale and shift


def test_the_first_token_reaches_the_blocks_also_without_attention(rich):
    torch.manual_seed(0)
    unet = randomise(build_unet(rich)).eval()
    x, t = torch.randn(2, rich.unet_channels, 8, 8), torch.tensor([10, 900])
    condition = torch.randn(2, 3, 32)
    with torch.no_grad():
        direct = unet(x, t, condition, class_labels=condition[:, 0]).sample
        assert torch.equal(denoise(unet, x, t, condition), direct)
        other = denoise(unet, x, t, condition, summary=condition[:, 1])
    assert not torch.allclose(direct, other)


def test_a_unet_without_that_path_is_called_as_ever(tiny):
    unet = randomise(build_unet(tiny)).eval()
    x, t, condition = torch.randn(1, 9, 8, 8), torch.tensor([5]), torch.randn(1, 1, 32)
    with torch.no_grad():
        assert torch.equal(denoise(unet, x, t, condition), unet(x, t, condition).sample)


# ---------------------------------------------------------------------------- alpha


def test_more_output_channels_leave_the_others_as_they_are(tiny):
    unet = randomise(build_unet(tiny)).eval()
    x, t, condition = torch.randn(1, 9, 8, 8), torch.tensor([5]), torch.randn(1, 1, 32)
    with torch.no_grad():
        before = unet(x, t, condition).sample
        wide = set_out_channels(unet, 5)(x, t, condition).sample
        assert torch.allclose(wide[:, :4], before, atol=1e-6)
        assert (wide[:, 4] == 0).all() and unet.config.out_channels == 5
        narrow = set_out_channels(unet, 4)(x, t, condition).sample
    assert torch.allclose(narrow, before, atol=1e-6) and unet.config.out_channels == 4


def test_the_triplet_holds_the_alpha_of_its_object(rich, coloured, weights):
    objective = build_objective("final", rich, coloured, weights_of(rich, weights))
    sample = objective.sample(0, 3)
    assert sample["alpha"].shape == (1, 64, 64)
    x0, y0, x1, y1 = (round(v * 64) for v in coloured[3]["boxes"][0])
    assert (sample["alpha"][0, y0:y1, x0:x1] > .5).float().mean() > .2
    outside = sample["alpha"].clone()
    outside[0, y0:y1, x0:x1] = 0
    assert outside.max() <= .5


@pytest.mark.parametrize("arm", ["prior", "final", "naive"])
def test_every_part_trains_and_exports_what_sampling_takes(
        arm, rich, coloured, weights, tmp_path):
    torch.manual_seed(0)
    objective = build_objective(arm, rich, coloured, weights_of(rich, weights))
    samples = [objective.sample(0, i) for i in range(4)]
    batch = torch.utils.data.default_collate(samples)
    losses = objective(batch)
    assert losses.shape == (4,) and losses.isfinite().all()
    losses.mean().backward()
    assert objective.unet.conv_out.weight.grad[4].abs().max() > 0  # the alpha channel
    assert objective.unet.class_embedding.linear_1.weight.grad.abs().max() > 0
    objective.export(tmp_path)
    assert objective.unet.config.out_channels == 5  # training goes on as it was
    if arm != "prior":
        pipe = PaintByExamplePipeline.from_pretrained(tmp_path)
        assert pipe.unet.config.out_channels == 4
        assert pipe.noise([1]).shape == (1, 4, 8, 8)


class Sure(torch.nn.Module):
    """Predicts a clean latent of zeros, and everywhere the same logit for the alpha."""

    def __init__(self, logit):
        super().__init__()
        self.logit = logit

    def forward(self, x, timestep, condition):
        out = torch.zeros(len(x), 5, *x.shape[2:])
        out[:, 4] = self.logit
        return SimpleNamespace(sample=out)


def test_the_alpha_loss_is_the_cross_entropy_on_the_latent_grid(rich, coloured, weights):
    objective = build_objective("final", rich, coloured, weights_of(rich, weights))
    batch = torch.utils.data.default_collate([objective.sample(0, i) for i in range(2)])
    batch["alpha"][0], batch["alpha"][1] = 0, 1
    losses = {}
    for logit in (-20., 0.):
        objective.unet = Sure(logit)
        losses[logit] = objective(batch)
    # the rest of the loss is the same: what differs is .2 H(alpha, sigmoid(logit))
    difference = losses[-20.] - losses[0.]
    expected = .2 * (torch.tensor([0., 20.]) - np.log(2))
    assert torch.allclose(difference, expected, atol=1e-4)


def weights_of(preset, weights):
    """The tiny parts, their prior rebuilt for the preset."""
    folder = weights.parent / "rich-weights"
    if not folder.exists():
        folder.mkdir()
        for part in ("clip", "codec"):
            (folder / part).symlink_to(weights / part)
        torch.manual_seed(0)
        randomise(build_unet(preset, 4)).save_pretrained(folder / "prior" / "unet")
    return folder


# -------------------------------------------------------------------- codec and rate


def test_the_decoder_meets_noise_up_to_its_share(rich, coloured, weights):
    torch.manual_seed(0)
    objective = build_objective("codec", rich, coloured, weights)
    levels = [float(objective.sample(0, i % 8)["noise"].std()) for i in range(24)]
    assert max(levels) <= .35 * 1.25 and max(levels) > .2 and min(levels) < .15
    quiet = build_objective("codec", replace(rich, decoder_noise=0), coloured, weights)
    assert quiet.sample(0, 0)["noise"].abs().max() == 0


def test_the_rate_warms_up_over_a_share_and_falls_over_the_last_part(rich):
    rates = [learning_rate(step, 100, rich) for step in range(101)]
    assert rates[0] == pytest.approx(.1) and rates[9] == rates[49] == 1
    assert rates[75] == pytest.approx(.5) and rates[100] == 0
    assert (np.diff(rates[50:]) < 0).all()
