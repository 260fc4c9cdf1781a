"""How a pipeline loads, from a folder or a hub, part by part, or from another pipeline; and
how it does with less memory.
"""

import torch

from pbe_lite.config import FULL
from pbe_lite.models.convert import published_scheduler, read_networks, save_published
from pbe_lite.models.exemplar_encoder import ExemplarEncoder
from pbe_lite.models.pretrained import read_index, read_parts, read_safety
from pbe_lite.models.unet import fold_one_token
from pbe_lite.models.weight_files import read_dtype


class LoadingMixin:
    """What the pipeline has besides painting, under the names that diffusers' have."""

    @classmethod
    def from_pretrained(cls, path, torch_dtype=torch.float32, safety_checker=True,
                        feature_extractor=None, use_safetensors=None, **options):
        """Load from a folder in diffusers' layout, or from a hub's name such as
        "Fantasy-Studio/Paint-by-Example".

        A folder under `data/weights` holds no `vae`: its codec and its frozen CLIP tower
        lie in the folders beside it, once for all; `save_pretrained` writes them all.
        torch_dtype, or dtype: float32, float16 or bfloat16, or its name;
        `safety_checker`: True for the one published with the model, if it has one, None
        for none, or your own; `use_safetensors`: False for .bin files where there are
        both.  options: `unet`, `vae`, `image_encoder` or `scheduler`, to be used in place
        of the model's; and variant, revision, cache_dir, token and the like for the hub.

        Raises OSError when there is no such model or it is not whole; ValueError when it
        is none of Paint by Example, or its weights are not finite."""
        dtype = read_dtype(options.pop("dtype", torch_dtype))
        parts = ("unet", "vae", "image_encoder", "scheduler")
        given = {name: options.pop(name) for name in parts if name in options}
        options["use_safetensors"] = use_safetensors
        index = read_index(path, **options)
        loaded = read_parts(path, index, dtype, given, **options)
        loaded |= read_safety(path, index, dtype, safety_checker, feature_extractor,
                              **options)
        if "steps" in index:  # its name in the first edition
            index["num_inference_steps"] = index.pop("steps")
        pipe = cls(**loaded, **{name: index[name] for name in (
            "guidance_scale", "num_inference_steps") if name in index})
        if pipe.image_encoder.tokens == "class" and "unet" not in given:
            fold_one_token(pipe.unet)
        return pipe

    @classmethod
    def from_single_file(cls, path, torch_dtype=torch.float32, preset=FULL, vae=None,
                         **parts):
        """Load the authors' Lightning checkpoint, whose weights stay in the file until
        they are used; `convert_checkpoint` writes them once for all.

        preset, vae: sizes, as of `convert.read_networks`; parts: `scheduler`,
        `safety_checker` and the like, in place of none.  Raises OSError where the file
        is no such checkpoint."""
        networks = dict(read_networks(path, preset, vae))
        networks["scheduler"] = published_scheduler(preset.noise)
        pipe = cls(**{**networks, **parts}).to(read_dtype(torch_dtype))
        fold_one_token(pipe.unet)
        return pipe

    def save_pretrained(self, folder, layout="diffusers", **options):
        """Write a folder that `from_pretrained` reads.

        layout: "diffusers" keeps every part as it is; "published" is Paint by Example's
        own, for other tools, with the PNDM scheduler, and ValueError for a model that
        is not of the paper's kind.  options: variant, safe_serialization and the like."""
        if layout not in ("diffusers", "published"):
            raise ValueError(f"layout must be 'diffusers' or 'published', got {layout!r}")
        if layout == "published":
            return save_published(self, folder, **options)
        return super().save_pretrained(folder, **options)

    @classmethod
    def from_pipe(cls, pipeline, **parts):
        """A pipeline of the parts of another, also of diffusers' own (deprecated) one; no
        weights are copied.  parts: used in place of its own, as `scheduler`."""
        parts.setdefault("dtype", read_dtype(parts.pop("torch_dtype", pipeline.dtype)))
        if "image_encoder" not in parts:
            parts["image_encoder"] = ExemplarEncoder.adopt(pipeline.image_encoder)
        return super().from_pipe(pipeline, **parts)

    def enable_attention_slicing(self, slice_size="auto"):
        """Compute attention a few heads at a time.  diffusers' "auto" takes half of them;
        where there is but one head, one."""
        single = self.unet.config.attention_head_dim == 1  # there the number of heads
        super().enable_attention_slicing(
            "max" if single and slice_size == "auto" else slice_size)

    def enable_vae_slicing(self):
        """Encode and decode one picture of a batch at a time; the lite codec, which is
        small, is left as it is."""
        self._ask_vae("enable_slicing")

    def disable_vae_slicing(self):
        """Encode and decode a batch at once again."""
        self._ask_vae("disable_slicing")

    def enable_vae_tiling(self):
        """Encode and decode large pictures in overlapping tiles; the lite codec is left as
        it is."""
        self._ask_vae("enable_tiling")

    def disable_vae_tiling(self):
        """Encode and decode pictures whole again."""
        self._ask_vae("disable_tiling")

    def _ask_vae(self, name):
        getattr(self.vae, name, lambda: None)()
