"""How a pipeline loads: from a folder or a hub, part by part, and from other pipelines."""

import torch

from pbe_lite.models.pretrained import read_index, read_parts, read_safety
from pbe_lite.models.unet import fold_one_token
from pbe_lite.models.weight_files import read_dtype


class LoadingMixin:
    """`from_pretrained` for the pipeline, which only brings the class."""

    @classmethod
    def from_pretrained(cls, path, torch_dtype=torch.float32, safety_checker=True,
                        feature_extractor=None, use_safetensors=None, **options):
        """Load from a folder in diffusers' layout, or from a hub's name such as
        "Fantasy-Studio/Paint-by-Example".

        A folder under `data/weights` holds no `vae`: its codec and its frozen CLIP tower
        lie in the folders beside it, once for all; `save_pretrained` writes them all.
        torch_dtype: float32, float16 or bfloat16, or its name; `safety_checker`: True for
        the one published with the model, if it has one, None for none, or your own;
        `use_safetensors`: False for .bin files where there are both.  options: `unet`,
        `vae`, `image_encoder` or `scheduler`, to be used in place of the model's; and
        variant, revision, cache_dir, token and the like for the hub.

        Raises OSError when there is no such model or it is not whole; ValueError when it
        is none of Paint by Example, or its weights are not finite."""
        dtype = read_dtype(torch_dtype)
        parts = ("unet", "vae", "image_encoder", "scheduler")
        given = {name: options.pop(name) for name in parts if name in options}
        options["use_safetensors"] = use_safetensors
        index = read_index(path, **options)
        loaded = read_parts(path, index, dtype, given, **options)
        loaded |= read_safety(path, index, dtype, safety_checker, feature_extractor,
                              **options)
        pipe = cls(**loaded, **{k: index[k] for k in ("guidance_scale", "steps")
                                if k in index})
        if pipe.image_encoder.tokens == "class":
            fold_one_token(pipe.unet)
        return pipe
