"""The authors' Lightning checkpoint <-> the layout in which Paint by Example was published.

    python -m pbe_lite convert model.ckpt folder

The checkpoint names its tensors as the latent-diffusion code does: `model.diffusion_model`
is the U-Net, `first_stage_model` the VAE, `cond_stage_model` CLIP and the mapper, with
`proj_out` and `learnable_vector` beside them.  It is mapped into memory, not read: of its
12.6 GB only the weights are touched, one part after another.
"""

import json
import pickle
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from transformers import CLIPVisionConfig

from pbe_lite.config import FULL
from pbe_lite.models.exemplar_encoder import ExemplarEncoder
from pbe_lite.models.unet import build_unet
from pbe_lite.models.weight_files import check_files, check_finite, check_names

# Stable Diffusion's VAE, "KL-f8": the one part that no preset describes
KL_F8 = dict(
    block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
    sample_size=512, down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4)
INDEX = {
    "_class_name": "PaintByExamplePipeline",
    "_diffusers_version": "0.10.0",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "image_encoder": ["paint_by_example", "PaintByExampleImageEncoder"],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
MAPPER = {"attn.c_proj": "attn1.to_out.0", "ln_1": "norm1", "ln_2": "norm3",
          "mlp.c_fc": "ff.net.0.proj", "mlp.c_proj": "ff.net.2"}
# What Lightning writes beside the weights: its callbacks, its settings, its counters
BOOKKEEPING = ("pytorch_lightning.", "lightning.", "omegaconf.", "numpy.", "typing.",
               "collections.", "builtins.list", "builtins.dict")


class Bookkeeping:
    """Stands in for a class of Lightning's, so that nothing of that class is run."""

    def __init__(self, *args):
        pass

    def __setstate__(self, state):
        pass


def read_checkpoint(path):
    """{name: tensor} of a Lightning checkpoint; the tensors stay in the file until they
    are used.

    Raises OSError where the file is missing, not whole, or holds a program."""
    path = Path(path)
    if not path.is_file():
        raise OSError(f"{path}: no such file")
    check_files([path])
    try:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        harmless = [(Bookkeeping, name) for name in unknown if name.startswith(BOOKKEEPING)]
        with torch.serialization.safe_globals(harmless):
            checkpoint = torch.load(path, "cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise OSError(f"{path} is no checkpoint of tensors alone ({reason}); a file that "
                      "holds more can run any program, and is not read") from None
    state = checkpoint.get("state_dict", checkpoint)
    return {name: value for name, value in state.items() if torch.is_tensor(value)}


def encoder_state(state):
    """The tensors of the exemplar encoder, under our names."""
    renamed = {"uncond_vector": "learnable_vector", "proj_out.weight": "proj_out.weight",
               "proj_out.bias": "proj_out.bias",
               "final_layer_norm.weight": "cond_stage_model.final_ln.weight",
               "final_layer_norm.bias": "cond_stage_model.final_ln.bias"}
    found = {new: state[old] for new, old in renamed.items() if old in state}
    for name, tensor in state.items():
        if name.startswith("cond_stage_model.transformer."):
            found["model." + name.removeprefix("cond_stage_model.transformer.")] = tensor
        elif name.startswith("cond_stage_model.mapper.resblocks."):
            found |= _mapper_state(name.split("resblocks.")[1], tensor)
    return found


def _mapper_state(name, tensor):
    """{our name: tensor} of one tensor of the mapper; queries, keys and values are one."""
    block, _, rest = name.partition(".")
    kind, _, end = rest.rpartition(".")
    if kind == "attn.c_qkv":
        return {f"mapper.blocks.{block}.attn1.to_{x}.{end}": part.clone()
                for x, part in zip("qkv", tensor.chunk(3))}
    return {f"mapper.blocks.{block}.{MAPPER.get(kind, kind)}.{end}": tensor}


def read_networks(path, preset=FULL, vae=None):
    """Yield (name, model in eval mode): the U-Net, the VAE and the exemplar encoder of a
    checkpoint, one after another.

    preset: of the sizes that it was trained with; vae: AutoencoderKL's configuration, by
    default Stable Diffusion's.  Raises OSError, naming tensors, where the checkpoint does
    not hold exactly these, and ValueError where a weight is not finite."""
    state, vae = read_checkpoint(path), vae or KL_F8
    with torch.device("meta"):
        unet, codec = build_unet(preset), AutoencoderKL(**vae)
    yield "unet", _fill(unet, convert_ldm_unet_checkpoint(state, unet.config), state,
                        "model.diffusion_model.", path)
    yield "vae", _fill(codec, convert_ldm_vae_checkpoint(state, codec.config), state,
                       "first_stage_model.", path)
    encoder = ExemplarEncoder(CLIPVisionConfig(
        **preset.clip["vision_config"], projection_dim=preset.unet["cross_attention_dim"]))
    yield "image_encoder", _fill(encoder, encoder_state(state), state, "", path)


def _fill(model, found, state, prefix, path):
    """Give a model the tensors `found` for it, as they lie in the file.  What begins with
    `prefix` in `state` belongs to it, and may not be left over."""
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    used = {value.untyped_storage().data_ptr() for value in found.values()}
    left = [name for name, value in state.items() if prefix and name.startswith(prefix)
            and value.untyped_storage().data_ptr() not in used]
    unknown = [name for name in found if name not in wanted]
    other = [k for k, shape in wanted.items() if k in found and found[k].shape != shape]
    check_names(path, wanted.keys() - found.keys(), unknown + left, other)
    model.load_state_dict({name: found[name] for name in wanted}, assign=True)
    check_finite(path, model)
    return model.eval()


def published_scheduler(noise):
    """The published model's PNDM scheduler, with a noise schedule: a preset's, or the
    configuration of another scheduler."""
    return PNDMScheduler.from_config({
        **noise, "skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1})


def write_settings(folder, scheduler, image_size, **extra):
    """All of a published folder but its networks; extra: more entries of the index, which
    is written last, so that a folder that was not finished does not load."""
    from transformers import CLIPImageProcessor  # it says that torchvision is missing
    folder = Path(folder)
    published_scheduler(scheduler).save_pretrained(folder / "scheduler")
    CLIPImageProcessor(
        size={"shortest_edge": image_size},
        crop_size={"height": image_size, "width": image_size},
    ).save_pretrained(folder / "feature_extractor")
    config = folder / "image_encoder" / "config.json"
    names = {**json.loads(config.read_text()), "architectures": INDEX["image_encoder"][1:]}
    config.write_text(json.dumps(names, indent=2) + "\n")
    index = json.dumps({**INDEX, **extra}, indent=2)
    (folder / "model_index.json").write_text(index + "\n")


def convert_checkpoint(path, folder, preset=FULL, vae=None, dtype=None):
    """Write the authors' checkpoint in the published layout, as safetensors.

    dtype: None keeps the checkpoint's.  Raises as `read_networks` does, and OSError where
    the folder holds a model already."""
    folder = Path(folder)
    if (folder / "model_index.json").exists():
        raise OSError(f"{folder} holds a model already: name another folder")
    for name, model in read_networks(path, preset, vae):
        model.to(dtype or model.dtype).save_pretrained(folder / name)
    write_settings(folder, preset.noise, preset.clip["vision_config"]["image_size"])
    return folder


def check_publishable(pipe):
    """Raise ValueError unless a pipeline's parts are of the published kind."""
    problems = {
        "vae": not isinstance(pipe.vae, AutoencoderKL),
        "image_encoder": pipe.image_encoder.tokens != "class",
        "unet": pipe.unet.config.in_channels != 2 * pipe.vae.config.latent_channels + 1
        or pipe.unet.config.class_embed_type is not None,
        "scheduler": pipe.scheduler.config.prediction_type != "epsilon"}
    if wrong := [name for name, problem in problems.items() if problem]:
        raise ValueError("layout 'published' is for the paper's kind of model; this one "
                         f"has another kind of {', '.join(wrong)}: layout='diffusers'")


def save_published(pipe, folder, **options):
    """Write a pipeline in the published layout: the published names of classes, PNDM.

    Raises ValueError where its parts are of another kind."""
    check_publishable(pipe)
    folder, extra = Path(folder), {}
    for name in ("unet", "vae", "image_encoder"):
        getattr(pipe, name).save_pretrained(folder / name, **options)
    if pipe.safety_checker is not None:
        pipe.safety_checker.save_pretrained(folder / "safety_checker", **options)
        extra["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    if pipe.defaults() != (5.0, 50):
        scale, steps = pipe.defaults()
        extra |= {"guidance_scale": scale, "num_inference_steps": steps}
    write_settings(folder, pipe.scheduler.config, pipe.image_encoder.config.image_size,
                   **extra)
