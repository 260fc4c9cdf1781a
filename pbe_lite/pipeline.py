"""image + mask + exemplar -> image, at any size: the pipeline that every demo uses.

The model sees a square around the hole at its own resolution; what it paints is pasted
back with a feathered edge, so that pixels outside the hole stay exactly as they were.
(The authors decode the whole picture at 512 x 512 only, and the rest changes too.)
"""

import inspect
import math
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from PIL import Image

from pbe_lite import crop_and_paste
from pbe_lite.data.augmentation import squash
from pbe_lite.data.triplets import to_clip, to_signed
from pbe_lite.models.pretrained import read_index, read_parts, read_safety
from pbe_lite.models.unet import denoise, fold_one_token, octaves_of, unet_input


@dataclass
class EditOutput(BaseOutput):
    """`images`: one a sample, in the order of their seeds, all of the source's size (of
    the model's with `paste=False`).  `nsfw_content_detected`: for each whether the safety
    checker objected, and what was painted is black; None without a checker."""

    images: list
    nsfw_content_detected: list = None


class PaintByExamplePipeline(DiffusionPipeline):
    """Exemplar-based image editing (Paint by Example, CVPR 2023).

    `vae` is an AutoencoderKL or a PatchCodec; `image_encoder` an ExemplarEncoder;
    `unet` takes [z_t, z_masked, mask]; `scheduler` is any of diffusers' that knows its
    `prediction_type`; `guidance_scale` and `steps` are what a call uses by default.
    `safety_checker`, with its `feature_extractor`, blackens what it objects to."""

    model_cpu_offload_seq = "image_encoder->unet->vae->safety_checker"
    _optional_components = ["safety_checker", "feature_extractor"]

    def __init__(self, vae, image_encoder, unet, scheduler, guidance_scale=5.0, steps=50,
                 safety_checker=None, feature_extractor=None):
        super().__init__()
        self.register_modules(vae=vae, image_encoder=image_encoder, unet=unet,
                              scheduler=scheduler, safety_checker=safety_checker,
                              feature_extractor=feature_extractor)
        self.register_to_config(guidance_scale=guidance_scale, steps=steps)

    @classmethod
    def from_pretrained(cls, path, torch_dtype=torch.float32, safety_checker=True, **hub):
        """Load from a folder in diffusers' layout, or from a hub's name such as
        "Fantasy-Studio/Paint-by-Example".

        A folder under `data/weights` holds no `vae`: its codec and its frozen CLIP tower
        lie in the folders beside it, once for all; `save_pretrained` writes them all.
        torch_dtype: float32, float16 or bfloat16; `safety_checker=None` leaves out the one
        that was published with a model; hub: variant, revision, cache_dir, token and the
        like.  Raises OSError when there is no such model, and ValueError when it is none
        of Paint by Example."""
        index = read_index(path, **hub)
        parts = read_parts(path, index, torch_dtype, **hub)
        if safety_checker:
            parts |= read_safety(path, index, torch_dtype, **hub)
        pipe = cls(**parts, **{k: index[k] for k in ("guidance_scale", "steps")
                               if k in index})
        if pipe.image_encoder.tokens == "class":
            fold_one_token(pipe.unet)
        return pipe

    @property
    def latent_factor(self):
        """Pixels a latent cell is wide."""
        config = self.vae.config
        return config.get("patch_size") or 2 ** (len(config.block_out_channels) - 1)

    @property
    def resolution(self):
        """The side in pixels of the square that the model paints."""
        return self.unet.config.sample_size * self.latent_factor

    @torch.no_grad()
    def encode(self, image, generator=None):
        """(B, 3, S, S) in [-1, 1] -> (B, c, h, w) scaled latents."""
        distribution = self.vae.encode(image).latent_dist
        return distribution.sample(generator) * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, z):
        """(B, c, h, w) scaled latents -> (B, 3, S, S) in [-1, 1]."""
        return self.vae.decode(z / self.vae.config.scaling_factor).sample.clamp(-1, 1)

    def noise(self, seeds):
        """(B, c, h, w) standard normal, one CPU generator a seed."""
        side = self.unet.config.sample_size
        shape = (self.vae.config.latent_channels, side, side)
        return torch.stack([torch.randn(shape, generator=_generator(s)) for s in seeds])

    @torch.no_grad()
    def paint(self, image, hole, exemplar, noise, guidance_scale=None, steps=None,
              generator=None, callback=None, condition=None):
        """The model alone, on a batch of squares: what comes out is the raw decode.

        image: (B, 3, S, S) in [-1, 1]; hole: (B, 1, S, S), 1 = hole; exemplar:
        (B, 3, E, E) normalised for CLIP; noise: (B, c, h, w).  Returns (B, 3, S, S).

        eps = eps(z_t, v) + s (eps(z_t, c) - eps(z_t, v)) with the null vector v and
        s = `guidance_scale`; at s = 1 the second half is not computed.  None: the
        pipeline's own `config.guidance_scale` and `config.steps`.  `generator`, one
        or a list of B, feeds the VAE's sampling and stochastic schedulers.  `callback`
        gets a dict of step, steps, timestep and latents after each step.  `condition`,
        (B, T, D), stands in for what the encoder makes of `exemplar`, then None.  Raises
        ValueError where what is painted is no finite number."""
        device, dtype = self.unet.device, self.unet.dtype
        image, hole, z = (x.to(device, dtype) for x in (image, hole, noise))
        if condition is None:
            condition = self.image_encoder(exemplar.to(device, dtype))
        condition = condition.to(device, dtype)
        guidance_scale, steps = self.defaults(guidance_scale, steps)
        guided = guidance_scale != 1
        if guided:
            condition = torch.cat([self.image_encoder.null(condition), condition])
        z_masked = self.encode(image * (1 - hole), generator)
        octaves = octaves_of(self.unet, z.shape[1])
        self.scheduler.set_timesteps(steps, device=device)
        z = z * self.scheduler.init_noise_sigma
        takes = inspect.signature(self.scheduler.step).parameters
        extra = {"generator": generator} if "generator" in takes else {}
        timesteps = self.scheduler.timesteps
        for i, t in enumerate(self.progress_bar(timesteps)):
            x = unet_input(self.scheduler.scale_model_input(z, t), z_masked, hole, octaves)
            out = denoise(self.unet, torch.cat([x, x]) if guided else x, t, condition)
            if guided:
                null, conditioned = out.chunk(2)
                out = null + guidance_scale * (conditioned - null)
            z = self.scheduler.step(out, t, z, **extra).prev_sample
            if callback:
                callback({"step": i + 1, "steps": len(timesteps), "timestep": int(t),
                          "latents": z})
        if not z.isfinite().all():
            raise ValueError("the model painted NaN or infinite numbers: either "
                             f"guidance_scale {guidance_scale:g} is too large, or the "
                             "weights are damaged, or float16 is too narrow for them")
        return self.decode(z)

    def defaults(self, guidance_scale=None, steps=None):
        """Both as given, or where they are None as the weights say."""
        return (self.config.guidance_scale if guidance_scale is None else guidance_scale,
                self.config.steps if steps is None else steps)

    def __call__(self, image, mask, exemplar, guidance_scale=None, steps=None, seed=0,
                 samples=1, paste=True, context=3.0, callback=None, output_type="pil"):
        """Put the exemplar's object into the hole of an image of any size.

        image, exemplar: path, PIL image, numpy array (H, W, 3) or tensor (3, H, W), uint8
        or floats in 0..1; mask: the same without channels, of the image's size, 1 = hole.
        `guidance_scale` and `steps`: None for the pipeline's own defaults.
        `context`: side of the square that the model sees, in sides of the hole.  Sample i
        is drawn from `seed + i`.  `paste=False` returns the raw decode of that square.
        `output_type`: "pil", "np" (uint8) or "pt" (floats in 0..1).

        Returns an `EditOutput`.  Raises ValueError, naming the argument, for bad input."""
        guidance_scale, steps = self.defaults(guidance_scale, steps)
        source = crop_and_paste.read_image(image)
        hole = crop_and_paste.read_mask(mask, source.shape[:2])
        reference = Image.fromarray(crop_and_paste.read_image(exemplar, "exemplar"))
        self._check_numbers(guidance_scale, steps, seed, samples, context, output_type)
        window, side = crop_and_paste.hole_window(hole, context), self.resolution
        square = to_signed(crop_and_paste.resize(crop_and_paste.crop(source, window), side))
        square_hole = torch.from_numpy(
            crop_and_paste.resize_hole(crop_and_paste.crop(hole, window), side))
        pixels = to_clip(squash(reference, self.image_encoder.config.image_size))
        generators = [_generator(seed + i) for i in range(samples)]
        painted = self.paint(
            square.expand(samples, -1, -1, -1), square_hole.expand(samples, 1, -1, -1),
            pixels.expand(samples, -1, -1, -1), self.noise(range(seed, seed + samples)),
            guidance_scale, steps, generators, callback)
        painted, flags = self.check_safety(to_bytes(painted))
        if paste:
            painted = [crop_and_paste.paste(source, p, hole, window) for p in painted]
        self.maybe_free_model_hooks()
        return EditOutput(images=[_as_type(p, output_type) for p in painted],
                          nsfw_content_detected=flags)

    def check_safety(self, painted):
        """(B, S, S, 3) uint8 -> the same with black in place of what the safety checker
        objects to, and B bools; without a checker the same and None."""
        if self.safety_checker is None:
            return painted, None
        pixels = self.feature_extractor([Image.fromarray(p) for p in painted],
                                        return_tensors="pt").pixel_values
        pixels = pixels.to(self.unet.device, self.safety_checker.dtype)
        return self.safety_checker(images=painted.copy(), clip_input=pixels)

    @property
    def most_steps(self):
        """The largest number of steps that the scheduler's noise levels allow."""
        config = self.scheduler.config
        leading = config.get("timestep_spacing", "leading") == "leading"
        return config.num_train_timesteps - leading * config.get("steps_offset", 0)

    def _check_numbers(self, guidance_scale, steps, seed, samples, context, output_type):
        integers = (("steps", steps, 1, self.most_steps), ("seed", seed, 0, 2 ** 63),
                    ("samples", samples, 1, math.inf))
        for name, value, low, high in integers:
            if not isinstance(value, (int, np.integer)) or not low <= value <= high:
                raise ValueError(
                    f"{name} must be an integer, {low} to {high}; got {value!r}")
        for name, value, low in (("guidance_scale", guidance_scale, -math.inf),
                                 ("context", context, 1)):
            number = isinstance(value, (int, float, np.number))
            if not (number and np.isfinite(value) and value >= low):
                raise ValueError(f"{name} must be a finite number >= {low}; got {value!r}")
        if output_type not in ("pil", "np", "pt"):
            raise ValueError(
                f"output_type must be 'pil', 'np' or 'pt', got {output_type!r}")


def _generator(seed):
    return torch.Generator().manual_seed(int(seed))


def to_bytes(images):
    """(B, 3, S, S) in [-1, 1] -> (B, S, S, 3) uint8, a numpy array."""
    scaled = (images.float().cpu().permute(0, 2, 3, 1) * 127.5 + 127.5).clamp(0, 255)
    return scaled.round().to(torch.uint8).numpy()


def _as_type(array, output_type):
    if output_type == "pil":
        return Image.fromarray(array)
    return array if output_type == "np" else \
        torch.from_numpy(array.copy()).permute(2, 0, 1) / 255
