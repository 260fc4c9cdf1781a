"""Models in diffusers' folder layout, ours and the published ones, part by part.

diffusers 0.42 refuses the paper's checkpoint, `Fantasy-Studio/Paint-by-Example`: its
`model_index.json` names classes that have been moved away.  Its parts are plain, though,
and each is read here by the class that has its state-dict names.  Weights are read from
safetensors; where there is only a .bin file, a pickle, nothing but tensors is taken.
"""

import pickle
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, ModelMixin, UNet2DConditionModel
from diffusers import schedulers as diffusers_schedulers
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

from pbe_lite.models.autoencoder import PatchCodec
from pbe_lite.models.exemplar_encoder import ExemplarEncoder


def read_index(path, **hub):
    """`model_index.json` of a folder, or of a hub's name, as a dict.

    hub: revision, cache_dir, token and the like.  Raises OSError when there is none."""
    hub.pop("variant", None)
    return DiffusionPipeline.load_config(path, **hub)


def is_paint_by_example(index):
    """Whether a `model_index.json` is of a model that is conditioned on exemplars."""
    return "image_encoder" in index and "text_encoder" not in index


def find_safetensors(path, part):
    """Whether to look for safetensors: False for a local part that has only .bin files,
    None on the hub, where the libraries look for safetensors first."""
    folder = Path(path) / part
    if not folder.is_dir():
        return None
    return any(folder.glob("*.safetensors")) or not any(folder.glob("*.bin"))


def read_model(kind, path, part, dtype=torch.float32, **hub):
    """A model of class `kind` from `path/part`, or with part "" from `path`, in eval mode.

    Raises OSError where it is not there, or where its .bin holds more than tensors, and
    ValueError where a weight is no finite number."""
    hub["torch_dtype" if issubclass(kind, ModelMixin) else "dtype"] = dtype
    hub |= {"subfolder": part} if part else {}
    try:
        model = kind.from_pretrained(
            path, use_safetensors=find_safetensors(path, part), **hub)
    except pickle.UnpicklingError:
        raise OSError(f"{path}/{part}: its .bin file holds more than tensors, and is not "
                      "read: such a file can run any program") from None
    return check_finite(model, f"{path}/{part}").eval()


def check_finite(model, name):
    """The model; ValueError where a weight is NaN or infinite: a bad download, or a run
    that diverged, paints black without a word."""
    bad = [n for n, value in model.state_dict().items() if not value.isfinite().all()]
    if bad:
        raise ValueError(f"{name} holds NaN or infinite numbers, first in {bad[0]}: "
                         "get these weights anew")
    return model


def read_scheduler(path, index, **hub):
    """The scheduler that the index names."""
    hub.pop("variant", None)
    kind = getattr(diffusers_schedulers, index["scheduler"][1])
    return kind.from_pretrained(path, subfolder="scheduler", **hub)


def read_parts(path, index, dtype=torch.float32, **hub):
    """{"vae", "image_encoder", "unet", "scheduler"} of a Paint by Example model; a folder
    without `vae`, as `shipping.ship` writes it, shares what lies beside it.

    Raises ValueError when the index is of another kind of model."""
    if not is_paint_by_example(index):
        raise ValueError(f"path must hold a Paint by Example model; {path} holds a "
                         f"{index.get('_class_name')}, which has no image_encoder")
    codec = PatchCodec if index["vae"][1] == "PatchCodec" else AutoencoderKL
    lean = Path(path).is_dir() and not (Path(path) / "vae").exists()
    first = _shared_parts(Path(path), codec, dtype) if lean else {
        "vae": read_model(codec, path, "vae", dtype, **hub),
        "image_encoder": read_model(ExemplarEncoder, path, "image_encoder", dtype, **hub)}
    return {**first, "unet": read_model(UNet2DConditionModel, path, "unet", dtype, **hub),
            "scheduler": read_scheduler(path, index, **hub)}


def _shared_parts(folder, codec, dtype):
    """Codec and encoder of a folder under `data/weights`, completed from `codec` and
    `clip` beside it."""
    shelf = folder.resolve().parent
    vae = read_model(codec, shelf / "codec", "", dtype)
    encoder = ExemplarEncoder.completed(folder / "image_encoder", shelf / "clip", dtype)
    check_finite(encoder, folder / "image_encoder")
    return {"vae": vae, "image_encoder": encoder.eval()}


def read_safety(path, index, dtype=torch.float32, **hub):
    """{"safety_checker", "feature_extractor"} where the index has them, else {}."""
    if (index.get("safety_checker") or [None])[0] is None:
        return {}
    from transformers import CLIPImageProcessor  # it says that torchvision is missing
    checker = read_model(StableDiffusionSafetyChecker, path, "safety_checker", dtype, **hub)
    hub.pop("variant", None)
    return {"safety_checker": checker,
            "feature_extractor": CLIPImageProcessor.from_pretrained(
                path, subfolder="feature_extractor", **hub)}
