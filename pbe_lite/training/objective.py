"""What every loss has: samples that carry all of their randomness, and a way out.

Mask, augmentation, time step, noise and the drop of the condition belong to the sample,
drawn on the CPU from (seed, epoch, index), and not to the process.  So the number of
workers, ranks and parts of a batch changes nothing, and neither does a restart.
"""

import copy
import math

import numpy as np
import torch
from diffusers import DDPMScheduler
from torch import nn

from pbe_lite.config import Loss
from pbe_lite.data.triplets import sample_rng
from pbe_lite.models.unet import set_out_channels

NOISE = 1  # the purpose of a sample's second generator; the first draws the triplet


class Objective(nn.Module):
    """Base of all losses: `forward(batch) -> losses (B,)`; `sample(epoch, index)`, a dict
    of one training sample; `export(folder)`, which writes what was trained."""

    batch_size = lr = betas = None  # None: the preset's
    divisible = True  # whether the loss of a batch is the mean of its parts' losses
    arm = None        # its name, "clip", "codec", "prior" or an arm

    def __init__(self, preset, records, seed):
        super().__init__()
        self.preset = preset
        self.records = records
        self.seed = seed

    def __len__(self):
        return len(self.records)

    def __getitem__(self, key):
        return self.sample(*key)

    def rng(self, epoch, index, purpose=0):
        """The generator of one sample; `purpose` separates triplet, noise, ..."""
        return sample_rng(self.seed, epoch, index, purpose)

    def log_skipped(self, folder):
        """Have images that cannot be read written down in `folder`, where they can be
        skipped; what is written down, a `records.Skipped`, or None."""


def build_scheduler(preset: Loss) -> DDPMScheduler:
    """The training noise schedule: Stable Diffusion's."""
    return DDPMScheduler(prediction_type=preset.prediction, **preset.noise)


def draw_timestep(rng: np.random.Generator, preset: Loss) -> int:
    """A training time step: uniform as in the paper, or as `preset.timesteps` says."""
    count = preset.noise["num_train_timesteps"]
    if not preset.timesteps:
        return int(rng.integers(count))
    mean, deviation = preset.timesteps
    u = 1 / (1 + math.exp(-(mean + deviation * rng.standard_normal())))
    return min(int(count * u), count - 1)


class LatentObjective(Objective):
    """What is trained on latents: a frozen codec, a noise schedule, a U-Net."""

    def __init__(self, preset, records, seed, codec):
        super().__init__(preset, records, seed)
        if preset.prediction not in ("epsilon", "sample"):
            raise ValueError("preset.prediction must be 'epsilon' or 'sample', "
                             f"got {preset.prediction!r}")
        self.codec = codec.requires_grad_(False)
        self.scheduler = build_scheduler(preset)
        self.unet = None

    def noise_sample(self, epoch, index):
        """`timestep`, `noise` (c, h, w) and `drop`, a number in [0, 1) that decides
        whether the condition is dropped, as a dict."""
        rng = self.rng(epoch, index, NOISE)
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
        if not self.preset.alpha_weight:
            return unet
        return set_out_channels(unet, self.preset.latent_channels + 1)

    def exported_unet(self):
        """The U-Net as sampling uses it."""
        if not self.preset.alpha_weight:
            return self.unet
        return set_out_channels(copy.deepcopy(self.unet), self.preset.latent_channels)
