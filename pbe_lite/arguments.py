"""Numbers, generators and callbacks of a call, under diffusers' names, checked before any
work is done.  The pictures are in `edits`.
"""

import math

import numpy as np
import torch

OUTPUT_TYPES = ("pil", "np", "pt", "latent")
EXEMPLAR_FITS = ("squash", "center_crop")
CALLBACK_TENSORS = ("latents", "condition")


def check_integers(**limits):
    """Raise ValueError unless every name=(value, low, high) is an integer, low to high."""
    for name, (value, low, high) in limits.items():
        if not isinstance(value, (int, np.integer)) or not low <= value <= high:
            raise ValueError(f"{name} must be an integer, {low} to {high}; got {value!r}")


def check_numbers(**limits):
    """Raise ValueError unless every name=(value, low, high) is a finite number, low to
    high."""
    for name, (value, low, high) in limits.items():
        number = isinstance(value, (int, float, np.number)) and np.isfinite(value)
        if not number or not low <= value <= high:
            limit = f">= {low}" if math.isinf(high) else f"from {low} to {high}"
            raise ValueError(f"{name} must be a finite number {limit}; got {value!r}")


def check_choice(name, value, choices):
    """Raise ValueError unless a value is one of some words."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; "
                         f"got {value!r}")


def check_call(most_steps, num_inference_steps, guidance_scale, num_images_per_prompt, eta,
               callback_steps, seed, context, output_type, exemplar_fit,
               guidance_interval):
    """Raise ValueError, naming it, for a number or a word of a call that is none."""
    check_integers(
        num_inference_steps=(num_inference_steps, 1, most_steps), seed=(seed, 0, 2 ** 63),
        num_images_per_prompt=(num_images_per_prompt, 1, math.inf),
        callback_steps=(callback_steps, 1, math.inf))
    check_numbers(guidance_scale=(guidance_scale, -math.inf, math.inf), eta=(eta, 0, 1),
                  context=(context, 1, math.inf))
    check_choice("output_type", output_type, OUTPUT_TYPES)
    check_choice("exemplar_fit", exemplar_fit, EXEMPLAR_FITS)
    check_interval(guidance_interval)


def check_interval(interval):
    """Raise ValueError unless it is (begin, end) with 0 <= begin <= end <= 1."""
    try:
        begin, end = interval
        if 0 <= begin <= end <= 1:
            return
    except (TypeError, ValueError):
        pass
    raise ValueError("guidance_interval must be (begin, end), shares of the steps with "
                     f"0 <= begin <= end <= 1, got {interval!r}")


def merge_callbacks(callback, callback_steps, callback_on_step_end, tensor_inputs,
                    num_inference_steps):
    """Both of diffusers' callbacks as one: (pipe, i, t, tensors) -> changed tensors.

    callback(step, t, latents) is called at every `callback_steps`-th of the steps that
    were asked for; callback_on_step_end(pipe, i, t, tensors) at each of the scheduler's,
    with those tensors that `tensor_inputs` names.  Raises ValueError for unknown ones."""
    tensor_inputs = getattr(callback_on_step_end, "tensor_inputs", tensor_inputs)
    for name in tensor_inputs:
        check_choice("callback_on_step_end_tensor_inputs", name, CALLBACK_TENSORS)

    def after_step(pipe, i, t, tensors):
        changed = {}
        if callback_on_step_end:
            asked = {name: tensors[name] for name in tensor_inputs}
            changed = callback_on_step_end(pipe, i, t, asked) or {}
        # Heun's method takes two of the scheduler's steps for one, PNDM one to warm up
        order, count = pipe.scheduler.order, pipe.num_timesteps
        warm = i >= count - num_inference_steps * order
        whole = i + 1 == count or (warm and (i + 1) % order == 0)
        if callback and whole and (i // order) % callback_steps == 0:
            callback(i // order, t, {**tensors, **changed}["latents"])
        return changed

    return after_step


def check_sizes(edits, height, width, output_type, paste):
    """Raise ValueError unless the results fit into one array, where one is asked for."""
    for name, value in (("height", height), ("width", width)):
        if value is not None:
            check_integers(**{name: (value, 1, 2 ** 16)})
    sizes = {(height or e.source.shape[0], width or e.source.shape[1]) for e in edits}
    if len(sizes) > 1 and paste and output_type in ("np", "pt"):
        raise ValueError(f"output_type {output_type!r} needs pictures of one size: give "
                         "height and width, or take 'pil'")


def check_result(tensor):
    """The tensor itself.  Raises ValueError where it holds no finite numbers."""
    if torch.isfinite(tensor).all():
        return tensor
    raise ValueError("what the model painted holds NaN or infinite numbers: look at "
                     "guidance_scale and at the weights; float16 may overflow where "
                     "bfloat16 and float32 do not")


def make_generators(generator, seed, count):
    """diffusers' `generator`, one or a list of `count`; where it is None one on the CPU
    for each sample i, seeded with `seed` + i."""
    if generator is None:
        return [torch.Generator().manual_seed(int(seed) + i) for i in range(count)]
    several = generator if isinstance(generator, (list, tuple)) else [generator]
    if not all(isinstance(g, torch.Generator) for g in several):
        raise ValueError("generator must be a torch.Generator or a list of them, "
                         f"got {generator!r}")
    if several is generator and len(several) != count:
        raise ValueError(f"generator must be one, or one a result, {count}; "
                         f"got {len(several)}")
    return list(generator) if several is generator else generator
