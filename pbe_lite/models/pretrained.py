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
from pbe_lite.models.weight_files import (
    check_files,
    check_finite,
    check_names,
    find_weights,
    read_dtype,
)


def read_index(path, **hub):
    """`model_index.json` of a folder, or of a hub's name, as a dict.

    hub: revision, cache_dir, token and the like.  Raises OSError when there is none."""
    for option in ("variant", "use_safetensors"):  # of weights, not of settings
        hub.pop(option, None)
    return DiffusionPipeline.load_config(path, **hub)


def is_paint_by_example(index):
    """Whether a `model_index.json` is of a model that is conditioned on exemplars."""
    return "image_encoder" in index and "text_encoder" not in index


def read_model(kind, path, part, dtype=torch.float32, use_safetensors=None,
               allow_unexpected=False, **hub):
    """A model of class `kind` from `path/part`, or with part "" from `path`, in eval mode.

    `allow_unexpected`: the file may hold more than the model has, as a CLIP of which only
    the vision tower is wanted.
    Raises OSError where it is not there, not whole, or where its .bin holds more than
    tensors; ValueError where a weight is not finite."""
    where = f"{path}/{part}" if part else str(path)
    files = find_weights(where, hub.get("variant"), use_safetensors)
    check_files(files)
    if use_safetensors is None and Path(where).is_dir():  # on the hub the library decides
        use_safetensors = not files or files[0].suffix == ".safetensors"
    hub["torch_dtype" if issubclass(kind, ModelMixin) else "dtype"] = read_dtype(dtype)
    hub |= {"subfolder": part} if part else {}
    try:
        model, report = kind.from_pretrained(path, use_safetensors=use_safetensors,
                                             output_loading_info=True, **hub)
    except pickle.UnpicklingError:
        raise OSError(f"{where}: its .bin file holds more than tensors, and is not "
                      "read: such a file can run any program") from None
    unexpected = () if allow_unexpected else report["unexpected_keys"]
    check_names(where, report["missing_keys"], unexpected, report["mismatched_keys"])
    check_finite(where, model)
    return model.eval()


def read_scheduler(path, index, **hub):
    """The scheduler that the index names."""
    hub.pop("variant", None)
    kind = getattr(diffusers_schedulers, index["scheduler"][1])
    return kind.from_pretrained(path, subfolder="scheduler", **hub)


def read_parts(path, index, dtype=torch.float32, given=None, use_safetensors=None, **hub):
    """{"vae", "image_encoder", "unet", "scheduler"} of a Paint by Example model; a folder
    without `vae`, as `shipping.ship` writes it, shares what lies beside it.

    given: {name: part}, used as they are in place of the model's own.  Raises ValueError
    when the index is of another kind of model."""
    if not is_paint_by_example(index):
        raise ValueError(f"path must hold a Paint by Example model; {path} holds a "
                         f"{index.get('_class_name')}, which has no image_encoder")
    codec = PatchCodec if index["vae"][1] == "PatchCodec" else AutoencoderKL
    folder = Path(path)
    shelf = folder.resolve().parent
    lean = folder.is_dir() and not (folder / "vae").exists()
    options = {"dtype": read_dtype(dtype), "use_safetensors": use_safetensors, **hub}
    readers = {
        "vae": lambda: read_model(codec, shelf / "codec", "", dtype) if lean else
        read_model(codec, path, "vae", **options),
        "image_encoder": lambda: ExemplarEncoder.completed(
            folder / "image_encoder", shelf / "clip", read_dtype(dtype)) if lean else
        read_model(ExemplarEncoder, path, "image_encoder", **options),
        "unet": lambda: read_model(UNet2DConditionModel, path, "unet", **options),
        "scheduler": lambda: read_scheduler(path, index, **hub)}
    given = given or {}
    return {name: given[name] if name in given else read()
            for name, read in readers.items()}


def read_safety(path, index, dtype=torch.float32, checker=True, extractor=None,
                use_safetensors=None, **hub):
    """{"safety_checker", "feature_extractor"}, or {} where there is no checker.

    checker: True for the one that was published with the model, if any; None for none;
    or a checker of your own.  `extractor` prepares pictures for it, None: as published.
    Raises ValueError for a checker of your own without any extractor."""
    listed = lambda name: (index.get(name) or [None])[0] is not None
    if checker is True and listed("safety_checker"):
        checker = read_model(StableDiffusionSafetyChecker, path, "safety_checker", dtype,
                             use_safetensors, **hub)
    if not isinstance(checker, torch.nn.Module):  # none was published, or none is wanted
        return {}
    if extractor is None and not listed("feature_extractor"):
        raise ValueError(f"feature_extractor must be given with safety_checker: {path} "
                         "has none to prepare pictures for it")
    if extractor is None:
        from transformers import CLIPImageProcessor  # it says that torchvision is missing
        hub.pop("variant", None)
        extractor = CLIPImageProcessor.from_pretrained(
            path, subfolder="feature_extractor", **hub)
    return {"safety_checker": checker, "feature_extractor": extractor}
