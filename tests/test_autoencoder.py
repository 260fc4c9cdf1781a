"""The patch codec: principal components of patches behind AutoencoderKL's interface."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from pbe_lite.models.autoencoder import PatchCodec, ResidualBlock


def to_patches(images, p):
    """(N, 3, S, S) -> (N S^2 / p^2, 3 p^2), channel first, then row, then column."""
    n, c, h, w = images.shape
    split = images.reshape(n, c, h // p, p, w // p, p)
    return split.transpose(0, 2, 4, 1, 3, 5).reshape(-1, c * p * p)


def from_patches(patches, shape, p):
    n, c, h, w = shape
    split = patches.reshape(n, h // p, w // p, c, p, p)
    return split.transpose(0, 3, 1, 4, 2, 5).reshape(shape)


def random_images(n=40, size=32, seed=0):
    """Correlated noise, so that its principal components are well apart."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(n, 3, size // 8, size // 8)).repeat(8, 2).repeat(8, 3)
    slope = rng.normal(size=(n, 3, 1, 1)) * np.linspace(-1, 1, size)
    images = coarse + .5 * slope + .1 * rng.normal(size=(n, 3, size, size))
    return torch.from_numpy((.3 * images).astype(np.float32))


@pytest.mark.parametrize(("p", "c"), [(4, 4), (8, 8), (2, 3)])
def test_untrained_it_is_the_principal_component_reconstruction(p, c):
    train, test = random_images().double().numpy(), random_images(4, seed=1)
    codec = PatchCodec(p, c, width=16, blocks=1).fit(random_images())
    patches = to_patches(train, p)
    centred = patches - patches.mean(0)
    _, _, components = np.linalg.svd(centred, full_matrices=False)
    basis = components[:c]
    colour = np.repeat(train.mean((0, 2, 3)), p * p)
    away = to_patches(test.double().numpy(), p) - colour
    expected = from_patches(away @ basis.T @ basis + colour, test.shape, p)
    with torch.no_grad():
        np.testing.assert_allclose(codec(test), expected, atol=2e-4)


def test_latents_are_the_leading_components_up_to_sign():
    p, c = 4, 5
    images = random_images()
    codec = PatchCodec(p, c, width=16, blocks=1).fit(images)
    patches = to_patches(images.double().numpy(), p)
    away = patches - np.repeat(images.double().numpy().mean((0, 2, 3)), p * p)
    values, vectors = np.linalg.eigh(np.cov(patches.T))
    deviations = np.sqrt(values[::-1][:c])
    # half-whitened: each component divided by the root of its deviation, all by one number
    scores = away @ vectors[:, ::-1][:, :c] / np.sqrt(deviations * deviations.mean())
    z = codec.encode(images).latent_dist.mode()
    ours = z.permute(0, 2, 3, 1).reshape(-1, c).double().numpy()
    signs = np.sign((ours * scores).sum(0))
    np.testing.assert_allclose(ours, scores * signs, atol=2e-3)


@pytest.mark.parametrize("p", [4, 8])
def test_latents_are_uncorrelated_and_half_whitened(scenes, p):
    codec = PatchCodec(p, 4, width=16, blocks=1).fit(scenes)
    z = codec.encode(scenes).latent_dist.mode().permute(1, 0, 2, 3).flatten(1)
    covariance = torch.cov(z)
    values = np.linalg.eigvalsh(np.cov(to_patches(scenes.double().numpy(), p).T))
    deviations = torch.from_numpy(values[::-1][:4] ** .5)
    expected = torch.diag(deviations / deviations.mean()).float()
    torch.testing.assert_close(covariance, expected, atol=2e-3, rtol=0)
    assert covariance.trace() == pytest.approx(4, abs=.01)  # unit variance on average
    assert z.mean(1).abs().max() < .5


def test_more_components_lose_less(scenes):
    errors = []
    for c in (2, 4, 8):
        codec = PatchCodec(8, c, width=16, blocks=1).fit(scenes)
        with torch.no_grad():
            errors.append(float((codec(scenes) - scenes).square().mean()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < .5 * float((scenes - scenes.mean((0, 2, 3), True)).square().mean())


def test_only_the_decoder_learns(scenes):
    codec = PatchCodec(8, 4, width=16, blocks=1).fit(scenes)
    (codec(scenes) - scenes).square().mean().backward()
    linear = [p for part in (codec.analysis, codec.synthesis) for p in part.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in linear)
    assert all(p.requires_grad for p in codec.detail.parameters())
    assert codec.detail[-2].weight.grad.abs().max() > 0


def test_a_residual_block_adds_two_convolutions():
    torch.manual_seed(0)
    block, x = ResidualBlock(4), torch.randn(1, 4, 5, 5)
    swish = lambda v: v * torch.sigmoid(v)
    conv = lambda layer, v: torch.nn.functional.conv2d(v, layer.weight, layer.bias,
                                                       padding=1)
    expected = x + conv(block.second, swish(conv(block.first, swish(x))))
    torch.testing.assert_close(block(x), expected)


# ---------------------------------------------------------------------- interface


def kl():
    return AutoencoderKL(block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4,
                         down_block_types=("DownEncoderBlock2D",) * 2,
                         up_block_types=("UpDecoderBlock2D",) * 2)


@pytest.mark.parametrize("build", [kl, lambda: PatchCodec(2, 4, width=16, blocks=1)])
def test_it_is_used_as_autoencoder_kl_is(build):
    codec, x = build(), torch.zeros(2, 3, 16, 24)
    with torch.no_grad():
        posterior = codec.encode(x).latent_dist
        assert codec.encode(x, return_dict=False)[0].mode().equal(posterior.mode())
        z = posterior.sample(torch.Generator().manual_seed(0))
        assert z.shape == posterior.mode().shape == posterior.mean.shape == (2, 4, 8, 12)
        out = codec.decode(z / codec.config.scaling_factor).sample
        assert out.shape == x.shape
        assert codec.decode(z, return_dict=False, generator=None)[0].shape == x.shape
    assert codec.config.latent_channels == 4


def test_its_distribution_has_no_width(scenes, weights):
    codec = PatchCodec.from_pretrained(weights / "codec")
    posterior = codec.encode(scenes).latent_dist
    samples = [posterior.sample(torch.Generator().manual_seed(s)) for s in (0, 1)]
    assert torch.equal(samples[0], posterior.mode()) and torch.equal(*samples)
    assert torch.equal(posterior.kl(), torch.zeros(1))


def test_saved_and_loaded_it_is_the_same(tmp_path, scenes):
    codec = PatchCodec(4, 6, width=16, blocks=2, scaling_factor=.5).fit(scenes)
    with torch.no_grad():
        codec.detail[-2].weight.normal_(std=.1)
        codec.save_pretrained(tmp_path)
        loaded = PatchCodec.from_pretrained(tmp_path)
        assert dict(loaded.config).items() >= dict(
            patch_size=4, latent_channels=6, width=16, blocks=2, scaling_factor=.5).items()
        assert torch.equal(loaded(scenes), codec(scenes))
    assert (tmp_path / "diffusion_pytorch_model.safetensors").exists()


@pytest.mark.parametrize("patch_size", [-4, 0, 1, 3, 6, 12])
def test_a_patch_size_it_cannot_have_is_named(patch_size):
    with pytest.raises(ValueError, match=f"patch_size must be a power of 2.*{patch_size}"):
        PatchCodec(patch_size)


def test_the_lite_decoder_is_small():
    parameters = sum(p.numel() for p in PatchCodec().detail.parameters())
    assert 5e5 < parameters < 2e6
