"""Answers to the benchmark's questions: a model's, a baseline's, a cheat's.

Answers are (raw, results), two lists of (S, S, 3) uint8: the whole square as it was
painted, and its hole pasted into the source, feathered as an edit is.
"""

import numpy as np
import torch
from tqdm.auto import tqdm

from pbe_lite.config import WEIGHTS
from pbe_lite.crop_and_paste import Window, paste
from pbe_lite.data.images import squash, to_bytes, to_clip, to_signed
from pbe_lite.evaluation.baselines import blended_diffusion, load_prior, poisson_blend
from pbe_lite.models.autoencoder import PatchCodec
from pbe_lite.models.clip import embed, text_features

BASELINES = ("poisson", "text_inpainting", "blended_text", "blended_image")
CHEATS = ("copy_paste", "flat_patch", "ground_truth", "round_trip")


def paint_pairs(pipe, pairs, guidance_scale=None, steps=None, batch_size=25, seed=0):
    """The model's answers."""
    size = pipe.image_encoder.config.image_size

    def paint(batch, images, holes, seeds):
        exemplars = torch.stack([to_clip(squash(p.exemplar, size)) for p in batch])
        return pipe.paint(exemplars, images, holes, pipe.noise(seeds), steps,
                          guidance_scale)

    return _in_batches(paint, pairs, batch_size, seed)


def paint_baseline(name, pairs, steps=25, batch_size=25, seed=0, weights=WEIGHTS):
    """The answers of one of `BASELINES`; names and exemplars are the pairs'.

    Raises ValueError for another name."""
    if name not in BASELINES:
        raise ValueError(f"name must be one of {BASELINES}, got {name!r}")
    if name == "poisson":
        results = [poisson_blend(p.source.image, p.hole, p.exemplar)
                   for p in tqdm(pairs, desc="blending", unit="pair")]
        return results, results
    prior = load_prior(weights)
    shape = (prior.unet.config.in_channels,) + (prior.unet.config.sample_size,) * 2

    def paint(batch, images, holes, seeds):
        names, target, scale = [p.name for p in batch], None, 3.0
        if name != "text_inpainting":
            with torch.no_grad():
                target = embed(prior.clip, [p.exemplar for p in batch]) if \
                    name == "blended_image" else \
                    text_features(prior.clip, prior.tokenizer, names)
            names, scale = [""] * len(batch), 1.0
        noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(s))
                             for s in seeds])
        return blended_diffusion(prior, images, holes, names, noise, scale, steps, target)

    return _in_batches(paint, pairs, batch_size, seed)


def _in_batches(paint, pairs, batch_size, seed):
    """Answers of paint(batch, images, holes, seeds), raw and pasted."""
    raw = []
    for start in tqdm(range(0, len(pairs), batch_size), desc="painting", unit="batch"):
        batch = pairs[start:start + batch_size]
        raw += list(to_bytes(paint(
            batch, torch.stack([to_signed(p.source.image) for p in batch]),
            torch.stack([torch.from_numpy(p.hole)[None] for p in batch]),
            range(seed + start, seed + start + len(batch)))))
    return raw, paste_back(pairs, raw)


def paste_back(pairs, raw):
    """The results that come of raw answers."""
    return [paste(p.source.image, r, p.hole, Window(0, 0, len(r)))
            for p, r in zip(pairs, raw, strict=True)]


def cheat(name, pairs, weights=WEIGHTS):
    """The answers of one of `CHEATS`: no models, but rows that show what a number rewards.

    Raises ValueError for another name."""
    if name == "round_trip":
        codec = PatchCodec.from_pretrained(weights / "codec", torch_dtype=torch.float32)
        raw = round_trip(pairs, codec.eval())
        return raw, paste_back(pairs, raw)
    answers = {"copy_paste": lambda p: p.pasted, "flat_patch": flat_patch,
               "ground_truth": lambda p: p.answer}
    if name not in answers:
        raise ValueError(f"name must be one of {CHEATS}, got {name!r}")
    results = [answers[name](p) for p in pairs]
    return results, results


def flat_patch(pair):
    """The exemplar's mean colour in the hole: a cheat without any shape."""
    colour = np.asarray(pair.exemplar).reshape(-1, 3).mean(0).round().astype(np.uint8)
    return np.where(pair.hole[..., None], colour, pair.source.image)


@torch.no_grad()
def round_trip(pairs, codec):
    """The right answers through the codec: the best that a latent model can do, raw."""
    return [to_bytes(codec(to_signed(p.truth.image)[None]))[0] for p in pairs]
