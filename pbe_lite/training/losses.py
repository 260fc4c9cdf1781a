"""What is trained: one module an objective, `forward(batch) -> losses (B,)`.

    clip    contrastive, crops against names          codec   reconstruction
    prior   text -> scene, the miniature Stable Diffusion
    scratch, naive, naive_augment, bottleneck, augment, final   the paper's arms

`sample(epoch, index)` gives one training sample, all its randomness included: timestep,
noise and the drop of the condition belong to the sample, not to the process.
"""

import copy
import math

import numpy as np
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from torch.nn import functional as F

from pbe_lite.config import ARMS, Arm  # noqa: F401
from pbe_lite.data.augmentation import squash
from pbe_lite.data.records import Skipped
from pbe_lite.data.triplets import Triplets, sample_rng, to_alpha, to_signed
from pbe_lite.models import clip as lite_clip
from pbe_lite.models.unet import (
    build_unet,
    denoise,
    fold_one_token,
    set_out_channels,
    unet_input,
)
from pbe_lite.pipeline import PaintByExamplePipeline
from pbe_lite.training.initialize import from_weights, read_codec
from pbe_lite.training.pretraining import Contrastive, Objective, Reconstruction

NOISE = 1  # the purpose of a sample's second generator


def build_scheduler(preset):
    """The training noise schedule: Stable Diffusion's."""
    return DDPMScheduler(prediction_type=preset.prediction, **preset.noise)


def draw_timestep(rng, preset):
    """A training timestep: uniform as in the paper, or as `preset.timesteps` says."""
    count = preset.noise["num_train_timesteps"]
    if not preset.timesteps:
        return int(rng.integers(count))
    mean, deviation = preset.timesteps
    u = 1 / (1 + math.exp(-(mean + deviation * rng.standard_normal())))
    return min(int(count * u), count - 1)


class Diffusion(Objective):
    """What the prior and the arms share: frozen codec, noise schedule, the loss.

    z_t = sqrt(a_t) z + sqrt(1 - a_t) eps; the U-Net predicts eps as in the paper, or z,
    as the preset says, and the loss is the squared error over the whole latent."""

    def __init__(self, preset, records, seed, codec):
        super().__init__(preset, records, seed)
        if preset.prediction not in ("epsilon", "sample"):
            raise ValueError("preset.prediction must be 'epsilon' or 'sample', "
                             f"got {preset.prediction!r}")
        self.codec = codec.requires_grad_(False)
        self.scheduler = build_scheduler(preset)
        self.unet = None

    def noise_sample(self, epoch, index):
        """timestep, noise (c, h, w) and a number in [0, 1) that decides the drop."""
        rng = sample_rng(self.seed, epoch, index, NOISE)
        shape = (self.preset.latent_channels,) + (self.preset.latent_size,) * 2
        return {
            "timestep": draw_timestep(rng, self.preset),
            "drop": np.float32(rng.uniform()),  # Apple's GPUs have no float64
            "noise": torch.from_numpy(rng.standard_normal(shape, dtype="float32")),
        }

    @torch.no_grad()
    def encode(self, image):
        """(B, 3, S, S) in [-1, 1] -> (B, c, h, w) scaled latents, float32 even under
        autocast: in bf16 the noise schedule would have no noise at small t."""
        with torch.autocast(image.device.type, enabled=False):
            z = self.codec.encode(image).latent_dist.mode()
        return z * self.codec.config.scaling_factor

    def prepare_unet(self, unet):
        """The U-Net with one more output channel where the preset wants the object's
        alpha too; `exported_unet` is without it."""
        extra = bool(self.preset.alpha_weight)
        return set_out_channels(unet, self.preset.latent_channels + extra) if extra \
            else unet

    def exported_unet(self):
        """The U-Net as sampling uses it."""
        if not self.preset.alpha_weight:
            return self.unet
        return set_out_channels(copy.deepcopy(self.unet), self.preset.latent_channels)

    def alpha_loss(self, logits, alpha):
        """Binary cross-entropy of the object's alpha on the latent grid, per sample.

        logits: (B, 1, h, w), alpha: (B, 1, S, S) in 0..1."""
        target = F.adaptive_avg_pool2d(alpha, logits.shape[-2:])
        return F.binary_cross_entropy_with_logits(
            logits.float(), target, reduction="none").mean((1, 2, 3))

    def denoising_loss(self, z, batch, condition, model_input=lambda z_t: z_t,
                       summary=None):
        """Squared error of the prediction per sample, (B,), and that of the alpha.

        "epsilon" is weighted as in the paper: not at all.  The error of z itself
        ("sample") is weighted by SNR_t = a_t / (1 - a_t), kept within 1 and 5: between
        the truncated SNR of Salimans & Ho (2022) and the min-SNR of Hang et al. (2023)."""
        t, noise = batch["timestep"], batch["noise"]
        z_t = self.scheduler.add_noise(z, noise, t)
        predicted = denoise(self.unet, model_input(z_t), t, condition, summary)
        extra = 0
        if self.preset.alpha_weight:
            predicted, logits = predicted.split((z.shape[1], 1), 1)
            extra = self.preset.alpha_weight * self.alpha_loss(logits, batch["alpha"])
        if self.preset.prediction == "epsilon":
            return extra + (predicted.float() - noise).square().mean((1, 2, 3))
        a = self.scheduler.alphas_cumprod.to(t.device)[t]
        weight = (a / (1 - a)).clamp(1, 5)
        return extra + weight * (predicted.float() - z).square().mean((1, 2, 3))


class TextPrior(Diffusion):
    """The miniature Stable Diffusion: caption -> scene; 10 % empty captions."""

    def __init__(self, preset, records, weights, seed):
        super().__init__(preset, records, seed, read_codec(preset, weights))
        model, self.tokenizer = lite_clip.load_clip(weights / "clip")
        self.text = model.text_model.requires_grad_(False)
        self.unet = self.prepare_unet(build_unet(preset, preset.latent_channels))

    def sample(self, epoch, index):
        record, noise = self.records[index], self.noise_sample(epoch, index)
        name = record["labels"][0] if noise["drop"] >= .1 else ""
        tokens = lite_clip.tokenize(self.tokenizer, [lite_clip.caption(name)])
        image = to_signed(squash(record["image"], self.preset.resolution))
        sample = {"image": image, "ids": tokens.input_ids[0],
                  "attention": tokens.attention_mask[0], **noise}
        if self.preset.alpha_weight:
            sample["alpha"] = to_alpha(record["alpha"], self.preset.resolution)
        return sample

    def forward(self, batch):
        with torch.no_grad():
            text = self.text(input_ids=batch["ids"])
        return self.denoising_loss(self.encode(batch["image"]), batch,
                                   text.last_hidden_state, summary=text.pooler_output)

    def export(self, folder):
        self.exported_unet().save_pretrained(folder / "unet")
        self.scheduler.save_pretrained(folder / "scheduler")


class Inpaint(Diffusion):
    """An arm of the paper: fill the hole with the exemplar's object (section 3.1).

    It begins with the parts of `start`, see `initialize`, by default with those in
    `weights`; U-Net, mapper, projection and null vector are trained."""

    def __init__(self, preset, records, weights, seed, arm="final", start=None):
        traits = ARMS[arm]
        start = start or from_weights(preset, traits, weights)
        super().__init__(preset, records, seed, start.codec)
        self.traits, augment = traits, traits.augment
        self.triplets = Triplets(records, preset, seed, augment, augment)
        self.encoder = start.encoder.requires_grad_(True)
        self.encoder.model.requires_grad_(False)
        self.unet = self.prepare_unet(start.unet).requires_grad_(True)
        if self.traits.tokens == "class":
            fold_one_token(self.unet)
        self.encoder.uncond_vector.requires_grad_(self.traits.null)

    def log_skipped(self, folder):
        self.triplets.skipped = Skipped(folder)
        return self.triplets.skipped

    def sample(self, epoch, index):
        return self.with_noise(self.triplets, (epoch, index))

    def with_noise(self, triplets, key):
        """A triplet and what else makes it a sample, as one dict; key: (epoch, index)."""
        triplet = triplets[key]
        triplet.pop("name")
        return {**triplet, **self.noise_sample(*key)}

    def forward(self, batch):
        image, hole = batch["image"], batch["hole"]
        condition = self.encoder(batch["exemplar"])
        if self.traits.null:
            drop = (batch["drop"] < self.preset.null_probability)[:, None, None]
            condition = torch.where(drop, self.encoder.null(condition), condition)
        z_masked = self.encode(image * (1 - hole))
        return self.denoising_loss(
            self.encode(image), batch, condition,
            lambda z_t: unet_input(z_t, z_masked, hole, self.preset.hole_octaves))

    def pipeline(self):
        """The arm as it is used: with a fast sampler, and guidance where it has a null
        vector."""
        sampler = DPMSolverMultistepScheduler.from_config(self.scheduler.config)
        guidance = self.preset.guidance_scale if self.traits.null else 1.0
        return PaintByExamplePipeline(
            vae=self.codec, image_encoder=self.encoder, unet=self.exported_unet(),
            scheduler=sampler, guidance_scale=guidance, steps=self.preset.sampling_steps)

    def export(self, folder):
        self.pipeline().save_pretrained(folder)


def build_objective(name, preset, records, weights, seed=0, start=None):
    """The objective called `name`; an arm begins with the parts of `start`, a
    `initialize.Start`, by default with those in `weights`.

    Raises ValueError for an unknown one."""
    simple = {"clip": Contrastive, "codec": Reconstruction, "prior": TextPrior}
    if name in simple:
        objective = simple[name](preset, records, weights, seed)
    elif name in ARMS:
        objective = Inpaint(preset, records, weights, seed, name, start)
    else:
        raise ValueError(f"arm must be one of {[*simple, *ARMS]}, got {name!r}")
    objective.arm = name
    return objective
