"""The U-Net: built from a preset, widened from a prior, and one-token cross-attention.

The paper starts from Stable Diffusion, whose U-Net takes 4 channels, and widens
`conv_in` with zeros to take [z_t, z_masked, mask] (9 channels; here 2 c + 1).  Stable
Diffusion's own inpainting model takes as many, but in another order and with the mask
the other way round.
"""

import math

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from torch.nn import functional as F


def build_unet(preset, in_channels=None):
    """A U-Net of the preset's size; `in_channels` defaults to [z_t, z_masked, mask]."""
    return UNet2DConditionModel(
        sample_size=preset.latent_size, out_channels=preset.latent_channels,
        in_channels=in_channels or preset.unet_channels, **preset.unet,
    )


def hole_coordinates(hole, octaves):
    """Where in the hole's bounding box each cell lies: (B, 1, h, w) -> (B, 2 + 4 octaves,
    h, w).

    u and v run from -1 to 1 over the box, and are cut off at -2 and 2 beyond it; then
    sin and cos of pi u, 2 pi u, 4 pi u, ..., the same of v.  An empty hole has the whole
    picture for its box.  Known from the mask alone."""
    channels = []
    for axis in (3, 2):  # u along the width, v along the height
        length = hole.shape[axis]
        inside = hole.amax(5 - axis, keepdim=True) > .5
        place = torch.arange(length, device=hole.device).view(
            (1, 1, 1, -1) if axis == 3 else (1, 1, -1, 1))
        first = torch.where(inside, place, length).amin(axis, keepdim=True)
        last = torch.where(inside, place, -1).amax(axis, keepdim=True)
        empty = last < first
        first, last = first.masked_fill(empty, 0), last.masked_fill(empty, length - 1)
        position = (2 * place + 1 - first - last - 1) / (last - first + 1)
        channels.append(position.clamp(-2, 2).expand(-1, -1, *hole.shape[2:]))
    angles = [math.pi * 2 ** k * p for p in channels for k in range(octaves)]
    return torch.cat([*channels, *map(torch.sin, angles), *map(torch.cos, angles)], 1)


def unet_input(z, z_masked, hole, octaves=0):
    """[z_t, z_masked, mask] for the U-Net: (B, 2 c + 1, h, w), followed by
    `hole_coordinates` where there are octaves.

    z, z_masked: (B, c, h, w) latents, scaled; hole: (B, 1, H, W), 1 = hole.  The
    published weights want 1 = keep, so the mask is inverted here and nowhere else; it
    is brought to the latent grid by nearest neighbour, as theirs is."""
    hole = F.interpolate(hole.to(z), size=z.shape[-2:])
    where = [hole_coordinates(hole, octaves).to(z)] if octaves else []
    return torch.cat([z, z_masked, 1 - hole, *where], 1)


def octaves_of(unet, latent_channels):
    """How many octaves of `hole_coordinates` a U-Net takes: 0 for the paper's."""
    return max(0, unet.config.in_channels - (2 * latent_channels + 1) - 2) // 4


def denoise(unet, x, timestep, condition, summary=None):
    """The U-Net's prediction from x: (B, C, h, w) and condition: (B, T, D).

    A U-Net that was built for it (diffusers' `class_embed_type`) also gets one vector
    that summarises the condition, `summary` (B, D), by default its first token, as scale
    and shift of every residual block.  The published weights know no such path."""
    extra = {}
    if getattr(unet, "class_embedding", None) is not None:
        extra["class_labels"] = condition[:, 0] if summary is None else summary
    return unet(x, timestep, condition, **extra).sample


@torch.no_grad()
def set_out_channels(unet, out_channels):
    """Give `conv_out` more channels, which start at zero, or take its last ones away."""
    old = unet.conv_out
    kept = min(out_channels, old.out_channels)
    new = torch.nn.Conv2d(old.in_channels, out_channels, old.kernel_size,
                          padding=old.padding).to(old.weight)
    new.weight.zero_()
    new.bias.zero_()
    new.weight[:kept], new.bias[:kept] = old.weight[:kept], old.bias[:kept]
    unet.conv_out = new
    unet.register_to_config(out_channels=out_channels)
    return unet


@torch.no_grad()
def widen_conv_in(unet, in_channels):
    """Let a trained U-Net take more input channels; the new ones start with no effect.

    Raises ValueError when `in_channels` is not more than it has."""
    old = unet.conv_in
    if in_channels <= old.in_channels:
        raise ValueError(f"in_channels must be > {old.in_channels}, got {in_channels}")
    wide = torch.nn.Conv2d(in_channels, old.out_channels, old.kernel_size,
                           padding=old.padding).to(old.weight)
    wide.weight.zero_()
    wide.weight[:, :old.in_channels] = old.weight
    wide.bias.copy_(old.bias)
    unet.conv_in = wide
    unet.register_to_config(in_channels=in_channels)
    return unet


@torch.no_grad()
def adopt_inpainting_order(unet):
    """[z_t, mask, z_masked] with 1 = hole, as Stable Diffusion inpainting has it, ->
    [z_t, z_masked, mask] with 1 = keep.

    With hole = 1 - keep, W hole = sum(W) - W keep: the mask's weights change sign, and
    their sum is added to the bias.  That is exact but at the outermost cells of the
    latent grid, where the convolution pads both masks with 0.  Raises ValueError when
    the U-Net does not take 2 c + 1 channels."""
    conv, c = unet.conv_in, unet.config.out_channels
    if conv.in_channels != 2 * c + 1:
        raise ValueError(f"unet must take {2 * c + 1} channels, got {conv.in_channels}")
    z, hole, z_masked = conv.weight.clone().split((c, 1, c), 1)
    conv.weight.copy_(torch.cat([z, z_masked, -hole], 1))
    conv.bias.add_(hole.sum((1, 2, 3)))
    return unet


class OneTokenAttention:
    """Cross-attention to one token, without the attention.

    softmax over a single key is 1, so every position gets to_out(to_v(c)): a bias that
    does not look at the picture, and to_q, to_k have exactly zero gradient."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **kwargs):
        """hidden_states: (B, N, d), encoder_hidden_states: (B, 1, D) -> (B, N, d)."""
        if encoder_hidden_states is None or encoder_hidden_states.shape[1] != 1:
            raise ValueError("OneTokenAttention needs a condition of one token, (B, 1, D)")
        bias = attn.to_out[0](attn.to_v(encoder_hidden_states))
        return bias.expand(-1, hidden_states.shape[1], -1)


def fold_one_token(unet):
    """Give every cross-attention (`attn2`) of a U-Net the one-token short cut; to_q, to_k
    and the norm before them, which would never get a gradient, are frozen."""
    unet.set_attn_processor({
        name: OneTokenAttention() if ".attn2." in name else processor
        for name, processor in unet.attn_processors.items()
    })
    for block in unet.modules():
        if isinstance(block, BasicTransformerBlock):
            for unused in (block.attn2.to_q, block.attn2.to_k, block.norm2):
                unused.requires_grad_(False)
    return unet
