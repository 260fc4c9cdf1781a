"""What editors can do that were not trained for the task (the paper's Table 1).

`copy_paste` and `poisson_blend` take image (H, W, 3) uint8, hole (H, W) bool, exemplar
PIL image, and return (H, W, 3) uint8 that equals the image outside the hole;
`blended_diffusion` asks the text-conditioned prior.
"""

from typing import NamedTuple

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from PIL import Image
from scipy import sparse
from scipy.sparse.linalg import spsolve
from torch.nn import functional as F

from pbe_lite.config import WEIGHTS
from pbe_lite.data.boxes import bounding_box
from pbe_lite.data.images import CLIP_MEAN, CLIP_STD
from pbe_lite.models import clip as lite_clip
from pbe_lite.models.autoencoder import PatchCodec
from pbe_lite.models.unet import denoise


def copy_paste(image, hole, exemplar):
    """The exemplar, background and all, squashed to the hole's box and cut to its shape."""
    x0, y0, x1, y1 = bounding_box(hole)
    patch = exemplar.convert("RGB").resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC)
    pasted = image.copy()
    pasted[y0:y1, x0:x1] = np.asarray(patch)
    return np.where(hole[..., None], pasted, image)


def poisson_blend(image, hole, exemplar):
    """Poisson image editing (Perez et al. 2003): keep the exemplar's gradients, meet the
    picture at the hole's border.

    Solves, for the pixels p of the hole, sum_q (f_p - f_q) = sum_q (g_p - g_q): on the
    left over all neighbours q within the picture, with f = image outside the hole; on the
    right, with g the pasted exemplar, over those within the hole."""
    pasted = copy_paste(image, hole, exemplar).astype(float)
    index = np.full(hole.shape, -1)
    index[hole] = np.arange(hole.sum())
    ys, xs = np.nonzero(hole)
    rows, columns, degree = [], [], np.zeros(len(ys))
    right = np.zeros((len(ys), 3))
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        y, x = ys + dy, xs + dx
        inside = (0 <= y) & (y < hole.shape[0]) & (0 <= x) & (x < hole.shape[1])
        p = np.flatnonzero(inside)
        y, x = y[p], x[p]
        degree[p] += 1
        unknown = hole[y, x]
        # the guidance is the exemplar's own gradient; across the border it has none
        right[p[unknown]] += (pasted[ys, xs][p] - pasted[y, x])[unknown]
        right[p[~unknown]] += image[y, x][~unknown]
        rows.append(p[unknown])
        columns.append(index[y, x][unknown])
    r, c = np.concatenate(rows), np.concatenate(columns)
    laplacian = sparse.diags(degree) - sparse.coo_matrix((np.ones(len(r)), (r, c)),
                                                         (len(ys),) * 2)
    solved = spsolve(laplacian.tocsc(), right)
    result = image.copy()
    result[hole] = np.clip(np.round(solved), 0, 255).astype(np.uint8)
    return result


class Prior(NamedTuple):
    """The miniature Stable Diffusion and what it is asked through."""

    unet: UNet2DConditionModel
    scheduler: DDIMScheduler
    codec: PatchCodec
    clip: torch.nn.Module
    tokenizer: object


def load_prior(weights=WEIGHTS):
    """The text-conditioned prior with its codec and CLIP from `weights`.

    Raises OSError when a part is missing."""
    clip, tokenizer = lite_clip.load_clip(weights / "clip")
    whole = dict(torch_dtype=torch.float32)
    return Prior(
        UNet2DConditionModel.from_pretrained(weights / "prior" / "unet", **whole).eval(),
        DDIMScheduler.from_pretrained(weights / "prior" / "scheduler"),
        PatchCodec.from_pretrained(weights / "codec", **whole).eval(), clip, tokenizer)


def _condition(prior, names):
    """(B, L, D) hidden states of the captions, and (B, D), their last one."""
    tokens = lite_clip.tokenize(prior.tokenizer, map(lite_clip.caption, names))
    text = prior.clip.text_model(input_ids=tokens.input_ids)
    return text.last_hidden_state, text.pooler_output


def _pull(prior, z, boxes, target):
    """The direction, of norm 1 a sample, in which z: (B, c, h, w) looks more like the
    CLIP features `target`: (B, D) inside boxes of pixels."""
    size = prior.clip.config.vision_config.image_size
    mean, std = (torch.from_numpy(v).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        pictures = prior.codec.decode(z / prior.codec.config.scaling_factor).sample
        pictures = pictures.clamp(-1, 1) / 2 + .5
        crops = torch.cat([
            F.interpolate(p[None, :, y0:y1, x0:x1], (size, size), mode="bilinear",
                          antialias=True)
            for p, (x0, y0, x1, y1) in zip(pictures, boxes, strict=True)])
        features = lite_clip.image_features(prior.clip, (crops - mean) / std)
        (gradient,) = torch.autograd.grad((features * target).sum(), z)
    return F.normalize(gradient.flatten(1), dim=1).view_as(z)


@torch.no_grad()
def blended_diffusion(prior, images, holes, names, noise, guidance_scale=3.0, steps=25,
                      target=None, strength=40.0):
    """Fill holes with a U-Net that never saw one (Avrahami et al., 2022 and 2023).

    images: (B, 3, S, S) in [-1, 1]; holes: (B, 1, S, S), 1 = hole; names: B objects, ""
    for no caption; noise: (B, c, h, w).  Returns (B, 3, S, S).

    After each step all latents outside the hole are replaced by the source's, corrupted
    to the same timestep: z = m z + (1 - m) q(z_source, t).  With captions this is text
    inpainting; with `target`, CLIP features (B, D), every prediction of the clean latent
    is moved towards them by `strength` sqrt(1 - a_t), a norm: CLIP guidance."""
    source = prior.codec.encode(images).latent_dist.mode() \
        * prior.codec.config.scaling_factor
    inside = F.adaptive_max_pool2d(holes.float(), source.shape[-2:])
    boxes = [bounding_box(hole[0].numpy() > .5) for hole in holes]
    condition, summary = _condition(prior, [""] * len(names) + list(names))
    prior.scheduler.set_timesteps(steps)
    timesteps, z = prior.scheduler.timesteps, noise
    for i, t in enumerate(timesteps):
        both = denoise(prior.unet, torch.cat([z, z]), t, condition, summary)
        free, asked = both.chunk(2)
        clean = free + guidance_scale * (asked - free)
        if target is not None:
            far = (1 - prior.scheduler.alphas_cumprod[t]).sqrt()
            clean = clean + strength * far * _pull(prior, clean, boxes, target)
        z = prior.scheduler.step(clean, t, z).prev_sample
        known = source if i + 1 == len(timesteps) else \
            prior.scheduler.add_noise(source, noise, timesteps[i + 1])
        z = inside * z + (1 - inside) * known
    return prior.codec.decode(z / prior.codec.config.scaling_factor).sample.clamp(-1, 1)
