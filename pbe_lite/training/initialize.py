"""What an arm starts from: the parts trained before, or a model of Stable Diffusion's kind.

`init` may be a folder, or a hub's name, of
    a Paint by Example model          all of it, to fine-tune
    Stable Diffusion 1.x              the paper's start: 4 channels, widened with zeros
    Stable Diffusion 1.x inpainting   its channels brought into the paper's order
"""

from typing import NamedTuple

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPVisionModel

from pbe_lite.models import clip as lite_clip
from pbe_lite.models.autoencoder import PatchCodec
from pbe_lite.models.exemplar_encoder import ExemplarEncoder
from pbe_lite.models.pretrained import (
    is_paint_by_example,
    read_index,
    read_model,
    read_parts,
)
from pbe_lite.models.unet import adopt_inpainting_order, build_unet, widen_conv_in


class Start(NamedTuple):
    """codec: frozen, to latents; unet: takes [z_t, z_masked, mask], 1 = keep."""

    codec: torch.nn.Module
    encoder: ExemplarEncoder
    unet: UNet2DConditionModel


def read_codec(preset, weights):
    """The latent codec that was trained or put into `weights/codec`, in eval mode.

    Raises OSError where there is none, ValueError where it is not of the preset's size."""
    config = PatchCodec.load_config(weights / "codec")
    kind = PatchCodec if config["_class_name"] == "PatchCodec" else AutoencoderKL
    codec = kind.from_pretrained(weights / "codec", torch_dtype=torch.float32)
    if codec.config.latent_channels != preset.latent_channels:
        raise ValueError(f"{weights / 'codec'} must have {preset.latent_channels} latent "
                         f"channels, has {codec.config.latent_channels}")
    return codec


def from_weights(preset, traits, weights):
    """From the parts in `weights`: clip, codec and, for an arm with a prior, prior."""
    codec = read_codec(preset, weights)
    clip, _ = lite_clip.load_clip(weights / "clip")
    encoder = ExemplarEncoder.around(clip.vision_model, preset, traits.tokens)
    if not traits.prior:
        return Start(codec, encoder, build_unet(preset))
    unet = UNet2DConditionModel.from_pretrained(
        weights / "prior" / "unet", torch_dtype=torch.float32)
    return Start(codec, encoder, widen_conv_in(unet, preset.unet_channels))


def from_model(init, preset, traits, tower=""):
    """From `init`; `tower` is the CLIP model whose vision tower goes with a Stable
    Diffusion model, which has none.

    Raises ValueError where sizes or tokens are not the preset's or the arm's, and OSError
    for a model that is not there."""
    index = read_index(init)
    if not is_paint_by_example(index):
        return _from_stable_diffusion(init, preset, traits, tower)
    parts = read_parts(init, index)
    encoder, unet = parts["image_encoder"], parts["unet"]
    if encoder.tokens != traits.tokens:
        raise ValueError(f"init must be a model with {traits.tokens!r} tokens, got one "
                         f"with {encoder.tokens!r}")
    check_sizes(unet, preset)
    if unet.config.in_channels != preset.unet_channels:
        raise ValueError(f"init must have a U-Net of {preset.unet_channels} input "
                         f"channels, got {unet.config.in_channels}")
    return Start(parts["vae"], encoder, unet)


def _from_stable_diffusion(init, preset, traits, tower):
    unet = read_model(UNet2DConditionModel, init, "unet")
    check_sizes(unet, preset)
    codec = read_model(AutoencoderKL, init, "vae")
    encoder = ExemplarEncoder.around(read_tower(tower, preset), preset, traits.tokens)
    if not traits.prior:
        return Start(codec, encoder, build_unet(preset))
    if unet.config.in_channels == preset.unet_channels:
        return Start(codec, encoder, adopt_inpainting_order(unet))
    return Start(codec, encoder, widen_conv_in(unet, preset.unet_channels))


def read_tower(tower, preset):
    """The vision tower of a CLIP model, whole or alone, in a folder or on the hub."""
    if not tower:
        raise ValueError("tower must name a CLIP model: Stable Diffusion has no image "
                         "encoder; for instance openai/clip-vit-large-patch14")
    model = read_model(CLIPVisionModel, tower, "", allow_unexpected=True)
    for name, size in preset.clip["vision_config"].items():
        if getattr(model.config, name) != size:
            raise ValueError(f"tower must have {name} {size}, {tower} has "
                             f"{getattr(model.config, name)}")
    return model


def check_sizes(unet, preset):
    """Raise ValueError unless a U-Net has the sizes of the preset's."""
    wanted = {**preset.unet, "out_channels": preset.latent_channels}
    for name, size in wanted.items():
        found = unet.config[name]
        found = tuple(found) if isinstance(found, (list, tuple)) else found
        if found != size:
            raise ValueError(f"init must have a U-Net with {name} {size} as the preset "
                             f"{preset.name!r} has, got {found}")
