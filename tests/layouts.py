"""Folders as they were published, built tiny: names of files, classes and tensors.

`published` is Fantasy-Studio/Paint-by-Example as the hub has it: converted by diffusers
0.10 in November 2022, .bin files only, no safety checker although a feature extractor;
`stable_diffusion` is any Stable Diffusion 1.x, four-channel or inpainting.  Configs and
names follow those files; sizes are the tests'."""

import json
import re

import torch
from conftest import TINY, randomise
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPVisionConfig, CLIPVisionModel

from pbe_lite.models.exemplar_encoder import ExemplarEncoder

INDEX = {
    "_class_name": "PaintByExamplePipeline",
    "_diffusers_version": "0.10.0.dev0",
    "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
    "image_encoder": ["paint_by_example", "PaintByExampleImageEncoder"],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
CHECKER = {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
SD_INDEX = {**{k: v for k, v in INDEX.items() if k != "image_encoder"},
            "_class_name": "StableDiffusionPipeline", **CHECKER,
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"]}
SCHEDULER = {
    "_class_name": "PNDMScheduler", "_diffusers_version": "0.10.0.dev0",
    "beta_end": .012, "beta_schedule": "scaled_linear", "beta_start": .00085,
    "clip_sample": False, "num_train_timesteps": 1000, "prediction_type": "epsilon",
    "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1,
    "trained_betas": None,
}
UNET = {
    "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.10.0.dev0",
    "act_fn": "silu", "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False, "cross_attention_dim": 768,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "downsample_padding": 1, "dual_cross_attention": False, "flip_sin_to_cos": True,
    "freq_shift": 0, "in_channels": 9, "layers_per_block": 2, "mid_block_scale_factor": 1,
    "norm_eps": 1e-5, "norm_num_groups": 32, "num_class_embeds": None,
    "only_cross_attention": False, "out_channels": 4, "sample_size": 64,
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "use_linear_projection": False,
}
VAE = {
    "_class_name": "AutoencoderKL", "_diffusers_version": "0.10.0.dev0", "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4, "in_channels": 3, "latent_channels": 4,
    "layers_per_block": 2, "norm_num_groups": 32, "out_channels": 3, "sample_size": 512,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
ENCODER = {
    "_name_or_path": "openai/clip-vit-large-patch14",
    "architectures": ["PaintByExampleImageEncoder"], "attention_dropout": 0.0,
    "dropout": 0.0, "hidden_act": "quick_gelu", "hidden_size": 1024, "image_size": 224,
    "initializer_factor": 1.0, "initializer_range": .02, "intermediate_size": 4096,
    "layer_norm_eps": 1e-5, "model_type": "clip_vision_model", "num_attention_heads": 16,
    "num_channels": 3, "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768,
    "torch_dtype": "float32", "transformers_version": "4.25.0.dev0",
}
EXTRACTOR = {
    "crop_size": 224, "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True,
    "do_resize": True, "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [.48145466, .4578275, .40821073],
    "image_std": [.26862954, .26130258, .27577711], "resample": 3, "size": 224,
}
TINY_VAE = {**VAE, "block_out_channels": [8, 8, 16, 16], "layers_per_block": 1,
            "norm_num_groups": 4, "sample_size": 64}
TINY_UNET = {**UNET, **{k: list(v) if isinstance(v, tuple) else v
                        for k, v in TINY.unet.items()}, "sample_size": 8}
TINY_ENCODER = {**ENCODER, **TINY.clip["vision_config"], "projection_dim": 32}
TINY_CHECKER = {
    "_name_or_path": "clip-vit-large-patch14/",
    "architectures": ["StableDiffusionSafetyChecker"], "initializer_factor": 1.0,
    "logit_scale_init_value": 2.6592, "model_type": "clip", "projection_dim": 24,
    "text_config": {"model_type": "clip_text_model", "hidden_size": 32,
                    "num_attention_heads": 2, "num_hidden_layers": 2, "dropout": 0.0},
    "text_config_dict": None, "torch_dtype": "float32", "transformers_version": None,
    "vision_config": {**TINY.clip["vision_config"], "model_type": "clip_vision_model",
                      "dropout": 0.0},
    "vision_config_dict": None,
}
BIN = {"model": "pytorch_model"}  # what transformers calls its pickles
OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def old_vae_names(state):
    """As in 2022: attention with the names of another class."""
    for new, old in OLD_ATTENTION.items():
        state = {re.sub(rf"(attentions\.\d+)\.{re.escape(new)}\.", rf"\1.{old}.", k): v
                 for k, v in state.items()}
    return state


def old_clip_names(state, prefix):
    """As in 2022: one more level, and the positions' numbers among the weights."""
    inner = f"{prefix}vision_model."
    state = {re.sub(rf"^{re.escape(prefix)}(?=embeddings|pre_|post_|encoder)", inner, k): v
             for k, v in state.items()}
    count = state[f"{inner}embeddings.position_embedding.weight"].shape[0]
    return {**state, f"{inner}embeddings.position_ids": torch.arange(count)[None]}


def write(folder, config, state, name, safetensors, config_name="config.json"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / config_name).write_text(json.dumps(config))
    state = {k: v.detach().clone().contiguous() for k, v in state.items()}
    if safetensors:
        save_file(state, folder / f"{name}.safetensors", metadata={"format": "pt"})
    else:
        torch.save(state, folder / f"{BIN.get(name, name)}.bin")


def parts(in_channels=9):
    """Random tiny parts, the same at every call: vae, image_encoder, unet, checker."""
    torch.manual_seed(0)
    return {
        "vae": randomise(AutoencoderKL.from_config(TINY_VAE)).eval(),
        "image_encoder": randomise(ExemplarEncoder(CLIPVisionConfig(
            **TINY.clip["vision_config"], projection_dim=32))).eval(),
        "unet": randomise(UNet2DConditionModel.from_config(
            {**TINY_UNET, "in_channels": in_channels})).eval(),
        "safety_checker": randomise(StableDiffusionSafetyChecker(CLIPConfig(
            **{k: TINY_CHECKER[k] for k in ("projection_dim", "text_config",
                                            "vision_config")}))).eval(),
    }


def _shared(folder, index, made, safetensors):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    net = "diffusion_pytorch_model"
    unet = {**TINY_UNET, "in_channels": made["unet"].config.in_channels}
    write(folder / "unet", unet, made["unet"].state_dict(), net, safetensors)
    write(folder / "vae", TINY_VAE, old_vae_names(made["vae"].state_dict()), net,
          safetensors)
    if index["safety_checker"][0]:
        write(folder / "safety_checker", TINY_CHECKER, old_clip_names(
            made["safety_checker"].state_dict(), "vision_model."), "model", safetensors)
    for part, config, name in (
            ("scheduler", SCHEDULER, "scheduler_config.json"),
            ("feature_extractor", {**EXTRACTOR, "crop_size": 16, "size": 16},
             "preprocessor_config.json")):
        (folder / part).mkdir(exist_ok=True)
        (folder / part / name).write_text(json.dumps(config))


def published(folder, safetensors=False, checker=False):
    """Write a tiny Paint by Example model as published; returns its parts.

    checker: with Stable Diffusion's safety checker, as some copies of the model have."""
    made = parts()
    _shared(folder, {**INDEX, **CHECKER} if checker else INDEX, made, safetensors)
    state = made["image_encoder"].state_dict()
    count = state["model.vision_model.embeddings.position_embedding.weight"].shape[0]
    ids = {"model.vision_model.embeddings.position_ids": torch.arange(count)[None]}
    write(folder / "image_encoder", TINY_ENCODER, {**state, **ids}, "model", safetensors)
    return made


def stable_diffusion(folder, inpainting=False, safetensors=True):
    """Write a tiny Stable Diffusion model, and beside it in `clip` a CLIP vision tower;
    returns its parts and the tower."""
    made = parts(9 if inpainting else 4)
    name = "StableDiffusionInpaintPipeline" if inpainting else "StableDiffusionPipeline"
    _shared(folder, {**SD_INDEX, "_class_name": name}, made, safetensors)
    torch.manual_seed(1)
    made["tower"] = randomise(CLIPVisionModel(CLIPVisionConfig(
        **TINY.clip["vision_config"]))).eval()
    made["tower"].save_pretrained(folder / "clip")
    return made
