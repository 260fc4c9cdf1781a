"""image + mask + exemplar -> image, at any size: the pipeline that every demo uses.

The model sees a square around the hole at its own resolution; what it paints is pasted
back with a feathered edge, so that pixels outside the hole stay exactly as they were.
(The authors decode the whole picture at 512 x 512 only, and the rest changes too.)
"""

import inspect

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image

from pbe_lite.arguments import (
    check_call,
    check_result,
    check_sizes,
    make_generators,
    merge_callbacks,
)
from pbe_lite.data.images import to_bytes, to_unit  # to_bytes also for the lessons
from pbe_lite.edits import (
    EditOutput,
    model_squares,
    paste_squares,
    read_edits,
    to_output,
)
from pbe_lite.models.autoencoder import PatchCodec
from pbe_lite.models.exemplar_encoder import ExemplarEncoder
from pbe_lite.models.loading import LoadingMixin
from pbe_lite.models.unet import denoise, octaves_of, unet_input


class PaintByExamplePipeline(LoadingMixin, DiffusionPipeline):
    """Exemplar-based image editing (Paint by Example, CVPR 2023).

    `vae` is an AutoencoderKL or a PatchCodec; `image_encoder` an ExemplarEncoder;
    `unet` takes [z_t, z_masked, mask]; `scheduler` is any of diffusers' that knows its
    `prediction_type`; `guidance_scale` and `steps` are what a call uses by default.
    `safety_checker`, with its `feature_extractor`, blackens what it objects to."""

    model_cpu_offload_seq = "image_encoder->unet->vae"
    # both have weights that are used outside of `forward`, where they would be away
    _exclude_from_cpu_offload = ["image_encoder", "safety_checker"]
    _optional_components = ["safety_checker", "feature_extractor"]

    def __init__(self, vae: AutoencoderKL | PatchCodec, image_encoder: ExemplarEncoder,
                 unet: UNet2DConditionModel, scheduler, guidance_scale=5.0, steps=50,
                 safety_checker=None, feature_extractor=None):
        super().__init__()
        self.register_modules(vae=vae, image_encoder=image_encoder, unet=unet,
                              scheduler=scheduler, safety_checker=safety_checker,
                              feature_extractor=feature_extractor)
        self.register_to_config(guidance_scale=guidance_scale, steps=steps)

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
    def encode(self, image, generator=None, copies=1):
        """(B, 3, S, S) in [-1, 1] -> (B copies, c, h, w) scaled latents.

        A list of generators, one a copy, draws each for itself; otherwise all copies of
        an image are one draw of the VAE."""
        before, after = (copies, 1) if isinstance(generator, list) else (1, copies)
        pixels = image.to(self.vae.dtype).repeat_interleave(before, 0)
        z = self.vae.encode(pixels).latent_dist.sample(generator)
        z = z.to(image.dtype) * self.vae.config.scaling_factor
        return z.repeat_interleave(after, 0)

    @torch.no_grad()
    def decode(self, z):
        """(B, c, h, w) scaled latents -> (B, 3, S, S) in [-1, 1]."""
        z = z.to(self.vae.dtype) / self.vae.config.scaling_factor
        return self.vae.decode(z).sample.clamp(-1, 1)

    def noise(self, seeds):
        """(B, c, h, w) standard normal, one CPU generator a seed."""
        seeds = list(seeds)
        generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        return self._prepare_latents(None, len(seeds), generators)

    @property
    def num_timesteps(self):
        """How many steps the running, or the last, call takes."""
        return len(self.scheduler.timesteps)

    def defaults(self, guidance_scale=None, num_inference_steps=None):
        """Both as given, or where they are None as the weights say."""
        config = self.config
        return (config.guidance_scale if guidance_scale is None else guidance_scale,
                config.steps if num_inference_steps is None else num_inference_steps)

    @torch.no_grad()
    def sample(self, example_image, image, mask_image, latents, num_inference_steps=None,
               guidance_scale=None, eta=0.0, generator=None, callback_on_step_end=None,
               condition=None, guidance_interval=(0.0, 1.0)):
        """Denoise the latents of squares that the model sees whole.

        example_image: (B, 3, E, E) normalised for CLIP; image: (B, 3, S, S) in [-1, 1];
        mask_image: (B, 1, S, S), 1 = hole; latents: (B n, c, h, w) standard normal, n for
        each of B, one after another.  Returns (B n, c, h, w).  `condition`, (B, T, D),
        stands in for what the encoder makes of `example_image`, then None.

        eps = eps(z_t, v) + s (eps(z_t, c) - eps(z_t, v)) with the null vector v and
        s = `guidance_scale`; at s = 1 and outside of `guidance_interval`, see a call, the
        null half is not computed.  None: the pipeline's own `config.guidance_scale` and
        `config.steps`.  A list of generators, one a result, or a single one that draws
        for all feeds the VAE's sampling and stochastic schedulers.
        `callback_on_step_end` as in a call, with all tensors.
        Raises ValueError where the result is no finite number."""
        device, dtype = self._execution_device, self.unet.dtype
        guidance_scale, num_inference_steps = self.defaults(guidance_scale,
                                                            num_inference_steps)
        guided, copies = guidance_scale != 1, len(latents) // len(image)
        image, hole, z = (x.to(device, dtype) for x in (image, mask_image, latents))
        condition = self._condition(example_image, condition, copies, guided)
        z_masked = self.encode(image * (1 - hole), generator, copies)
        hole = hole.repeat_interleave(copies, 0)
        octaves = octaves_of(self.unet, z.shape[1])
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        z = z * self.scheduler.init_noise_sigma
        takes = inspect.signature(self.scheduler.step).parameters
        extra = {k: v for k, v in (("generator", generator), ("eta", eta)) if k in takes}
        begin, end = (share * len(self.scheduler.timesteps) for share in guidance_interval)
        for i, t in enumerate(self.progress_bar(self.scheduler.timesteps)):
            x = unet_input(self.scheduler.scale_model_input(z, t), z_masked, hole, octaves)
            if guided and begin <= i < end:
                null, conditioned = denoise(self.unet, torch.cat([x, x]), t,
                                            condition).chunk(2)
                out = null + guidance_scale * (conditioned - null)
            else:
                out = denoise(self.unet, x, t, condition[-len(x):])
            z = self.scheduler.step(out, t, z, **extra).prev_sample
            if callback_on_step_end:
                tensors = {"latents": z, "condition": condition}
                tensors |= callback_on_step_end(self, i, t, dict(tensors)) or {}
                z, condition = tensors["latents"], tensors["condition"]
        return check_result(z)

    def _condition(self, example_image, condition, copies, guided):
        """(B n, T, D) for the U-Net; guided: behind as many null vectors."""
        device, dtype = self._execution_device, self.unet.dtype
        if condition is None:
            condition = self.image_encoder(example_image.to(device, dtype))
        condition = condition.to(device, dtype).repeat_interleave(copies, 0)
        null = [self.image_encoder.null(condition)] if guided else []
        return torch.cat([*null, condition])

    def paint(self, example_image, image, mask_image, latents, *args, **options):
        """`sample`, decoded: (B n, 3, S, S) in [-1, 1], the whole square."""
        return check_result(self.decode(self.sample(
            example_image, image, mask_image, latents, *args, **options)))

    def __call__(self, example_image, image, mask_image, height=None, width=None,
                 num_inference_steps=None, guidance_scale=None, negative_prompt=None,
                 num_images_per_prompt=1, eta=0.0, generator=None, latents=None,
                 output_type="pil", return_dict=True, callback=None, callback_steps=1,
                 callback_on_step_end=None,
                 callback_on_step_end_tensor_inputs=("latents",), *, seed=0, context=3.0,
                 paste=True, exemplar_fit="squash", guidance_interval=(0.0, 1.0)):
        """Put the exemplar's object into the hole of an image of any size.  The arguments
        up to the star are diffusers', the others ours.

        example_image, image: path, PIL image, numpy array (H, W, 3) or tensor (3, H, W),
        uint8 or floats in 0..1 (x / 2 + .5 of diffusers' tensors); mask_image: the same
        without channels, of the image's size, 1 = hole.  Lists, or one axis more, are a
        batch; one stands for all.
        height, width: the results are resized to them; None: they keep the image's size.
        num_inference_steps, guidance_scale: None for the weights' own, 50 and 5 for the
        published ones.  A scale below 1 follows the formula of `sample`.
        negative_prompt: ignored, as there: the condition is a picture.
        num_images_per_prompt: results an image, one after another.
        eta: of DDIM, from 0 to 1; other schedulers ignore it.
        generator: one, or a list of one a result; else result i is drawn from `seed` + i.
        latents: (results, c, h, w) standard normal noise, in place of drawn noise.
        output_type: "pil", a list; "np", (B, H, W, 3), or "pt", (B, 3, H, W), floats in
        0..1; "latent", what the model made of the square, neither checked nor pasted.
        callback(step, t, latents) every `callback_steps`; callback_on_step_end(pipe, step,
        t, tensors) may return a dict of other "latents" or "condition".
        context: side of the square that the model sees, in sides of the hole.
        paste: False for the raw decode of that square, at the model's resolution.
        exemplar_fit: "squash" to a square, as the authors do; "center_crop", as diffusers.
        guidance_interval: from which to which share of the steps guidance acts; the others
        take half the time (Kynkaanniemi et al., 2024).

        Returns an `EditOutput`, or with `return_dict=False` a tuple of its two fields.
        Raises ValueError, naming the argument, for bad input."""
        guidance_scale, num_inference_steps = self.defaults(guidance_scale,
                                                            num_inference_steps)
        edits = read_edits(example_image, image, mask_image)
        check_call(self.most_steps, num_inference_steps, guidance_scale,
                   num_images_per_prompt, eta, callback_steps, seed, context, output_type,
                   exemplar_fit, guidance_interval)
        check_sizes(edits, height, width, output_type, paste)
        watch = merge_callbacks(callback, callback_steps, callback_on_step_end,
                                callback_on_step_end_tensor_inputs, num_inference_steps)
        count = len(edits) * num_images_per_prompt
        generator = make_generators(generator, seed, count)
        latents = self._prepare_latents(latents, count, generator)
        size = self.image_encoder.config.image_size
        squares = model_squares(edits, self.resolution, size, context, exemplar_fit)
        z = self.sample(*squares, latents, num_inference_steps, guidance_scale, eta,
                        generator, watch, guidance_interval=guidance_interval)
        images, flags = z, None
        if output_type != "latent":
            images, flags = self.check_safety(check_result(self.decode(z)))
            if paste:
                images = paste_squares(edits, images, context)
            images = to_output(images, output_type, height, width)
        self.maybe_free_model_hooks()
        return EditOutput(images, flags) if return_dict else (images, flags)

    def _prepare_latents(self, latents, count, generator):
        """The noise that was given, checked, or drawn for `count` results."""
        side = self.unet.config.sample_size
        shape = (count, self.vae.config.latent_channels, side, side)
        if latents is None:
            return randn_tensor(shape, generator, self._execution_device, torch.float32)
        if not isinstance(latents, torch.Tensor) or latents.shape != shape:
            found = tuple(getattr(latents, "shape", ())) or type(latents).__name__
            raise ValueError(f"latents must be a tensor {shape}, got {found}")
        return latents

    def check_safety(self, painted):
        """(B, 3, S, S) in [-1, 1] -> (B, S, S, 3) floats in 0..1 with black in place of
        what the safety checker objects to, and B bools; None without a checker."""
        if self.safety_checker is None:
            return to_unit(painted), None
        pictures = [Image.fromarray(picture) for picture in to_bytes(painted)]
        pixels = self.feature_extractor(pictures, return_tensors="pt").pixel_values
        pixels = pixels.to(self._execution_device, self.safety_checker.dtype)
        return self.safety_checker(images=to_unit(painted), clip_input=pixels)

    @property
    def most_steps(self):
        """The largest number of steps that the scheduler's noise levels allow."""
        config = self.scheduler.config
        leading = config.get("timestep_spacing", "leading") == "leading"
        return config.num_train_timesteps - leading * config.get("steps_offset", 0)
