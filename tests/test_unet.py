"""The U-Net's input, its widening, and attention to a single token."""

import pytest
import torch
from conftest import randomise
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from pbe_lite.config import FULL, LITE
from pbe_lite.models.unet import (
    OneTokenAttention,
    build_unet,
    fold_one_token,
    unet_input,
    widen_conv_in,
)


@pytest.fixture
def make_unet(tiny):
    def build(in_channels=None):
        torch.manual_seed(0)
        return randomise(build_unet(tiny, in_channels)).eval()
    return build


@pytest.fixture
def inputs():
    """z (2, 9, 8, 8), t (2,), condition (2, 1, 32)."""
    generator = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(shape, generator=generator)
    return normal(2, 9, 8, 8), torch.tensor([3, 700]), normal(2, 1, 32)


# -------------------------------------------------------------------------- sizes


def test_the_papers_unet_takes_nine_channels_and_has_860_million_parameters():
    with torch.device("meta"):
        unet = build_unet(FULL)
    assert unet.conv_in.weight.shape == (320, 9, 3, 3) and unet.config.out_channels == 4
    parameters = sum(p.numel() for p in unet.parameters())
    assert parameters == 859_520_964 + 320 * 5 * 9  # Stable Diffusion's, and five channels
    assert unet.config.sample_size == 64 and FULL.latent_size == 64


def test_the_lite_unet_is_small():
    with torch.device("meta"):
        unet = build_unet(LITE)
    hole = 1 + 2 + 4 * LITE.hole_octaves  # to keep or not, and where in the hole
    assert unet.config.in_channels == 2 * LITE.latent_channels + hole
    assert sum(p.numel() for p in unet.parameters()) < 9e6


# -------------------------------------------------------------------------- input


def test_input_is_latents_masked_latents_and_what_to_keep():
    z, z_masked = torch.full((2, 4, 8, 8), 5.), torch.full((2, 4, 8, 8), 7.)
    hole = torch.zeros(2, 1, 64, 64)
    hole[0, :, 16:32, 8:24] = 1
    x = unet_input(z, z_masked, hole)
    assert x.shape == (2, 9, 8, 8)
    assert (x[:, :4] == 5).all() and (x[:, 4:8] == 7).all()
    expected = torch.ones(2, 8, 8)
    expected[0, 2:4, 1:3] = 0  # 1 = keep, as the published weights have it
    assert torch.equal(x[:, 8], expected)


def test_the_mask_stays_binary_and_takes_any_type():
    torch.manual_seed(0)
    hole = torch.rand(1, 1, 64, 64) > .5
    for given in (hole, hole.float(), hole.double()):
        keep = unet_input(torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8), given)[:, 4:]
        assert keep.dtype == torch.float32
        assert torch.equal(keep, 1 - hole[..., ::8, ::8].float())  # nearest: first of cell


# ------------------------------------------------------------------------ widening


def test_new_channels_start_without_effect(make_unet, inputs):
    x, t, condition = inputs
    prior, wide = make_unet(4), widen_conv_in(make_unet(4), 9)
    assert wide.conv_in.weight.shape[1] == wide.config.in_channels == 9
    with torch.no_grad():
        expected = prior(x[:, :4], t, condition).sample
        for content in (x, 100 * x, torch.cat([x[:, :4], torch.zeros(2, 5, 8, 8)], 1)):
            same_latents = torch.cat([x[:, :4], content[:, 4:]], 1)
            torch.testing.assert_close(wide(same_latents, t, condition).sample, expected,
                                       atol=1e-5, rtol=1e-5)


def test_new_channels_can_learn(make_unet, inputs):
    x, t, condition = inputs
    wide = widen_conv_in(make_unet(4), 9)
    wide(x, t, condition).sample.square().sum().backward()
    gradient = wide.conv_in.weight.grad
    assert (gradient.abs().amax((0, 2, 3)) > 0).all()


def test_a_widened_unet_saves_and_loads(make_unet, inputs, tmp_path):
    x, t, condition = inputs
    wide = widen_conv_in(make_unet(4), 9)
    wide.save_pretrained(tmp_path)
    loaded = type(wide).from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(x, t, condition).sample, wide(x, t, condition).sample)


@pytest.mark.parametrize("channels", [4, 3])
def test_it_cannot_be_widened_to_less(make_unet, channels):
    with pytest.raises(ValueError, match=f"in_channels must be > 4, got {channels}"):
        widen_conv_in(make_unet(4), channels)


# ------------------------------------------------------------------------ one token


def cross_attention(unet):
    return [m for n, m in unet.named_modules() if n.endswith("attn2")]


@pytest.mark.parametrize("processor", [AttnProcessor, AttnProcessor2_0])
def test_one_token_needs_no_attention(make_unet, processor):
    torch.manual_seed(1)
    for attention in cross_attention(make_unet()):
        x, c = torch.randn(3, 16, attention.query_dim), torch.randn(3, 1, 32)
        expected = processor()(attention, x, c)
        found = OneTokenAttention()(attention, x, c)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        assert found.shape == x.shape
        torch.testing.assert_close(found[:, :1].expand_as(found), found)


@pytest.mark.parametrize("condition", [torch.zeros(1, 2, 32), torch.zeros(1, 0, 32), None])
def test_more_or_less_than_a_token_is_refused(make_unet, condition):
    attention = cross_attention(make_unet())[0]
    with pytest.raises(ValueError, match="one token"):
        OneTokenAttention()(attention, torch.zeros(1, 4, attention.query_dim), condition)


def test_folded_the_whole_net_gives_the_same(make_unet, inputs):
    plain, folded = make_unet(), fold_one_token(make_unet())
    with torch.no_grad():
        torch.testing.assert_close(folded(*inputs).sample, plain(*inputs).sample,
                                   atol=1e-5, rtol=1e-5)
    assert {n for n, p in folded.attn_processors.items()
            if isinstance(p, OneTokenAttention)} == {
        n for n in folded.attn_processors if ".attn2." in n}
    with pytest.raises(ValueError, match="one token"):
        folded(*inputs[:2], torch.zeros(2, 3, 32))


def test_queries_and_keys_of_one_token_get_exactly_zero_gradient(make_unet, inputs):
    plain, folded = make_unet(), fold_one_token(make_unet())
    plain.set_attn_processor(AttnProcessor())  # the fused one leaves rounding errors
    for unet in (plain, folded):
        unet(*inputs).sample.square().sum().backward()
    for name, parameter in plain.named_parameters():
        if ".attn2.to_q." in name or ".attn2.to_k." in name:
            assert torch.equal(parameter.grad, torch.zeros_like(parameter)), name
        elif ".attn2." in name:
            assert parameter.grad.abs().max() > 0, name
    for (name, a), b in zip(plain.named_parameters(), folded.parameters(), strict=True):
        if b.grad is not None:  # what the fold leaves out had no gradient to give
            torch.testing.assert_close(b.grad, a.grad, atol=1e-4, rtol=1e-3, msg=name)
        else:
            assert torch.equal(a.grad, torch.zeros_like(a)), name
