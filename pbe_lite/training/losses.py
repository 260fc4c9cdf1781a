"""The losses, one class each, in the order in which a miniature model is trained.

    clip    Contrastive     crops against captions, see `contrastive`
    codec   Reconstruction  of pictures from their latents
    prior   TextPrior       text -> scene, the miniature Stable Diffusion
    scratch, naive, naive_augment, bottleneck, augment, final   Inpaint: the paper's arms
"""

import copy

import torch
from diffusers import DPMSolverMultistepScheduler
from torch.nn import functional as F

from pbe_lite.config import ARMS
from pbe_lite.data.images import squash, to_alpha, to_signed
from pbe_lite.data.records import Skipped
from pbe_lite.data.triplets import Triplets
from pbe_lite.models import clip as lite_clip
from pbe_lite.models.autoencoder import PatchCodec
from pbe_lite.models.unet import build_unet, denoise, fold_one_token, unet_input
from pbe_lite.pipeline import PaintByExamplePipeline
from pbe_lite.training.contrastive import Contrastive
from pbe_lite.training.initialize import from_weights, read_codec
from pbe_lite.training.objective import (  # noqa: F401
    LatentObjective,
    Objective,
    build_scheduler,
)


class Reconstruction(Objective):
    """The codec's decoder; its encoder is fitted to the first pictures, not trained."""

    batch_size, lr, betas = 32, 1e-3, (.9, .999)

    def __init__(self, preset, records, weights, seed):
        super().__init__(preset, records, seed)
        images = [to_signed(squash(records[i]["image"], preset.resolution))
                  for i in range(min(512, len(records)))]
        self.codec = PatchCodec(preset.latent_factor, preset.latent_channels)
        self.codec.fit(torch.stack(images))

    def sample(self, epoch, index):
        """A picture, mirrored or not, and the noise on its latent."""
        rng = self.rng(epoch, index)
        image = squash(self.records[index]["image"], self.preset.resolution)
        image = to_signed(image[:, ::-1] if rng.uniform() < .5 else image)
        shape = (self.preset.latent_channels,) + (self.preset.latent_size,) * 2
        level = self.preset.decoder_noise * rng.uniform()
        noise = level * rng.standard_normal(shape, dtype="float32")
        return {"image": image, "noise": torch.from_numpy(noise)}

    def forward(self, batch):
        """L = mean((D(z + std(z) n) - x)^2 + .05 |D(z + std(z) n) - x|), (B,).

        D is the decoder, the absolute error keeps edges sharp.  image x: (B, 3, S, S) in
        [-1, 1]; noise n: (B, c, h, w), of up to `preset.decoder_noise` deviations, since
        what a sampler gives the decoder is never exact (Zheng et al., 2025)."""
        with torch.no_grad():
            z = self.codec.encode(batch["image"]).latent_dist.mode()
        z = z + batch["noise"] * z.std((1, 2, 3), keepdim=True)
        error = self.codec.decode(z).sample.float() - batch["image"]
        return (error.square() + .05 * error.abs()).mean((1, 2, 3))

    def export(self, folder):
        self.codec.save_pretrained(folder)


class Diffusion(LatentObjective):
    """The denoising loss, which the prior and the arms share."""

    def denoising_loss(self, z, batch, condition, model_input=lambda z_t: z_t,
                       summary=None):
        """L = w_t mean((f(z_t, t, c) - y)^2) + alpha_weight H(alpha, f_alpha), (B,);
        z_t = sqrt(a_t) z + sqrt(1 - a_t) eps; H is the binary cross-entropy.

        "epsilon", as in the paper: y = eps, w_t = 1.  "sample": y = z, and w_t is the SNR
        a_t / (1 - a_t) kept within 1 and 5: between the truncated SNR of Salimans & Ho
        (2022) and the min-SNR of Hang et al. (2023).  z: (B, c, h, w) scaled latents;
        condition c: (B, T, D); model_input: z_t -> what the U-Net takes, (B, C, h, w)."""
        t, noise = batch["timestep"], batch["noise"]
        z_t = self.scheduler.add_noise(z, noise, t)
        predicted = denoise(self.unet, model_input(z_t), t, condition, summary)
        extra = 0
        if self.preset.alpha_weight:
            predicted, logits = predicted.split((z.shape[1], 1), 1)
            alpha = F.adaptive_avg_pool2d(batch["alpha"], logits.shape[-2:])
            extra = self.preset.alpha_weight * F.binary_cross_entropy_with_logits(
                logits.float(), alpha, reduction="none").mean((1, 2, 3))
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
        # A copy: the loaded model is shared with everybody who asks for it.
        self.text = copy.deepcopy(model.text_model).requires_grad_(False)
        self.unet = self.prepare_unet(build_unet(preset, preset.latent_channels))

    def sample(self, epoch, index):
        """A picture, its caption's tokens, and the noise."""
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
        """`denoising_loss` of a U-Net that sees z_t: (B, c, h, w) and the caption's T
        hidden states as c: (B, T, D).  image: (B, 3, S, S) in [-1, 1]; ids: (B, T)."""
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
        self.traits = traits
        self.triplets = Triplets(records, preset, seed, traits.augment, traits.augment)
        self.encoder = start.encoder.requires_grad_(True)
        self.encoder.model.requires_grad_(False)
        self.unet = self.prepare_unet(start.unet).requires_grad_(True)
        if traits.tokens == "class":
            fold_one_token(self.unet)
        self.encoder.uncond_vector.requires_grad_(traits.null)

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
        """`denoising_loss` of a U-Net that sees [z_t, E(x (1 - m)), 1 - m] and the
        exemplar's tokens c: (B, T, D); c = v, the null vector, where a sample's drop is
        below `preset.null_probability`, for classifier-free guidance (section 3.2).

        image x: (B, 3, S, S) in [-1, 1]; hole m: (B, 1, S, S), 1 = hole; exemplar:
        (B, 3, E, E) normalised for CLIP; E is the codec's encoder."""
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
            self.codec, self.encoder, self.exported_unet(), sampler, guidance,
            self.preset.sampling_steps)

    def export(self, folder):
        self.pipeline().save_pretrained(folder)


def build_objective(name, preset, records, weights, seed=0, start=None):
    """The objective called `name`; an arm begins with the parts of `start`, a
    `initialize.Start`, by default with those in `weights`.  "clip" renders scenes of its
    own: it needs neither records nor weights.

    Raises ValueError for an unknown one."""
    parts = {"codec": Reconstruction, "prior": TextPrior}
    if name == "clip":
        return Contrastive(preset, seed=seed)
    if name not in (*parts, *ARMS):
        raise ValueError(f"arm must be one of {['clip', *parts, *ARMS]}, got {name!r}")
    objective = parts[name](preset, records, weights, seed) if name in parts else \
        Inpaint(preset, records, weights, seed, name, start)
    objective.arm = name
    return objective
