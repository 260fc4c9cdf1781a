"""A Lightning checkpoint as the authors' code writes it, from tiny parts: the names of
latent diffusion's U-Net and VAE, of their encoder, and of what Lightning adds."""

import re
import sys
from dataclasses import replace
from types import ModuleType

import torch
from conftest import TINY, randomise
from diffusers import AutoencoderKL
from transformers import CLIPVisionConfig

from pbe_lite.config import FULL
from pbe_lite.models.exemplar_encoder import ExemplarEncoder
from pbe_lite.models.unet import build_unet

# the paper's U-Net and VAE with all their levels, narrow
NARROW = replace(FULL, resolution=64, clip=dict(vision_config=TINY.clip["vision_config"]),
                 unet=dict(FULL.unet, block_out_channels=(8, 8, 16, 16), norm_num_groups=4,
                           attention_head_dim=2, cross_attention_dim=32))
NARROW_KL = dict(
    block_out_channels=(4, 4, 8, 8), layers_per_block=2, latent_channels=4,
    norm_num_groups=2, sample_size=64, down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4)

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1",
          "conv_shortcut": "skip_connection"}
TOP = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
       "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
VAE = [(r"\.resnets\.", ".block."), (r"conv_shortcut", "nin_shortcut"),
       (r"mid_block\.block\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
       (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
       (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
       (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
       (r"down_blocks\.(\d)", r"down.\1"), (r"downsamplers\.0", "downsample"),
       (r"up_blocks\.(\d)", lambda m: f"up.{3 - int(m[1])}"),
       (r"upsamplers\.0", "upsample"), (r"conv_norm_out", "norm_out")]
MAPPER = {"attn1.to_out.0": "attn.c_proj", "norm1": "ln_1", "norm3": "ln_2",
          "ff.net.0.proj": "mlp.c_fc", "ff.net.2": "mlp.c_proj"}


def parts():
    """unet, vae and image_encoder, with random weights, the same at every call."""
    torch.manual_seed(0)
    config = CLIPVisionConfig(**NARROW.clip["vision_config"], projection_dim=32)
    made = {"unet": build_unet(NARROW), "vae": AutoencoderKL(**NARROW_KL),
            "image_encoder": ExemplarEncoder(config)}
    return {name: randomise(part).eval() for name, part in made.items()}


def unet_name(name):
    """diffusers' name of a tensor -> latent diffusion's."""
    stem, _, end = name.rpartition(".")
    if stem in TOP:
        return f"{TOP[stem]}.{end}"
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        kind, j, rest = found[1], int(found[2]), found[3]
        block = f"middle_block.{2 * j if kind == 'resnets' else 1}"
        return f"{block}.{_resnet(rest) if kind == 'resnets' else rest}"
    side, i, kind, j, rest = re.match(
        r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", name).groups()
    i, j = int(i), int(j)
    if kind == "downsamplers":
        return f"input_blocks.{3 * (i + 1)}.0.{rest.replace('conv', 'op')}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * i + 2}.{1 if i == 0 else 2}.{rest}"
    block = f"input_blocks.{3 * i + j + 1}" if side == "down" else \
        f"output_blocks.{3 * i + j}"
    return f"{block}.{'0.' + _resnet(rest) if kind == 'resnets' else '1.' + rest}"


def _resnet(name):
    stem, _, end = name.rpartition(".")
    return f"{RESNET[stem]}.{end}"


def vae_name(name):
    """diffusers' name of a tensor -> latent diffusion's."""
    for pattern, new in VAE:
        name = re.sub(pattern, new, name)
    return name


def encoder_state(state):
    """Our tensors of the encoder under the authors' names."""
    found = {"learnable_vector": state["uncond_vector"]}
    for end in ("weight", "bias"):
        found[f"proj_out.{end}"] = state[f"proj_out.{end}"]
        found[f"cond_stage_model.final_ln.{end}"] = state[f"final_layer_norm.{end}"]
    for name, tensor in state.items():
        if name.startswith("model."):
            found[f"cond_stage_model.transformer.{name.removeprefix('model.')}"] = tensor
        elif name.startswith("mapper.blocks."):
            block, rest = name.removeprefix("mapper.blocks.").split(".", 1)
            kind, _, end = rest.rpartition(".")
            if kind in MAPPER:
                found[f"cond_stage_model.mapper.resblocks.{block}.{MAPPER[kind]}.{end}"] = \
                    tensor
            elif kind == "attn1.to_q":
                all_three = [state[name.replace("to_q", f"to_{x}")] for x in "qkv"]
                found[f"cond_stage_model.mapper.resblocks.{block}.attn.c_qkv.{end}"] = \
                    torch.cat(all_three)
    count = state["model.vision_model.embeddings.position_embedding.weight"].shape[0]
    ids = "cond_stage_model.transformer.vision_model.embeddings.position_ids"
    return {**found, ids: torch.arange(count)[None]}


def lightning_state(made):
    """The state dict of the authors' model, buffers of its noise schedule included."""
    state = {f"model.diffusion_model.{unet_name(k)}": v
             for k, v in made["unet"].state_dict().items()}
    for name, tensor in made["vae"].state_dict().items():
        if "attn" in vae_name(name) and name.endswith("weight") and "norm" not in name:
            tensor = tensor[:, :, None, None]  # a convolution of one pixel, there
        state[f"first_stage_model.{vae_name(name)}"] = tensor
    return {**state, **encoder_state(made["image_encoder"].state_dict()),
            "betas": torch.linspace(.00085, .012, 1000),
            "scale_factor": torch.tensor(.18215)}


def write(path, made=None, **changes):
    """Write a checkpoint with Lightning's own entries, a class of Lightning's among them;
    changes: to its state dict, None takes a name out.  Returns its parts."""
    made = made or parts()
    state = {k: v.detach().clone() for k, v in lightning_state(made).items()}
    state = {k: v for k, v in {**state, **changes}.items() if v is not None}
    module = ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    callback = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = callback
    names = ["pytorch_lightning", "pytorch_lightning.callbacks", module.__name__]
    sys.modules.update({name: module for name in names})
    try:
        torch.save({"epoch": 3, "global_step": 9, "pytorch-lightning_version": "1.4.2",
                    "state_dict": state, "callbacks": {callback: {"best": torch.ones(1)}},
                    "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}]}, path)
    finally:
        for name in names:
            del sys.modules[name]
    return made
