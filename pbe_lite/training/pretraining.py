"""What is trained first: the lite CLIP and the latent codec, and the base of all
objectives: one module each, `forward(batch) -> losses (B,)`, and `sample(epoch, index)`,
one training sample with all its randomness, which belongs to the sample, not the process.
"""

import torch
from torch import nn
from torch.nn import functional as F

from pbe_lite.data.boxes import grow_box
from pbe_lite.data.images import crop_box, squash, to_clip, to_signed
from pbe_lite.data.tabletop import object_names
from pbe_lite.data.triplets import sample_rng
from pbe_lite.models import clip as lite_clip
from pbe_lite.models.autoencoder import PatchCodec


class Objective(nn.Module):
    """Base of all objectives; `export(folder)` writes what was trained."""

    batch_size = lr = betas = None  # None: the preset's
    divisible = True  # whether the loss of a batch is the mean of its parts' losses

    arm = None

    def __init__(self, preset, records, seed):
        super().__init__()
        self.preset, self.records, self.seed = preset, records, seed

    def __len__(self):
        return len(self.records)

    def __getitem__(self, key):
        return self.sample(*key)

    def log_skipped(self, folder):
        """Have images that cannot be read written down in `folder`, where they can be
        skipped; what is written down, a `records.Skipped`, or None."""


class Contrastive(Objective):
    """CLIP's symmetric loss; crops of the same object in a batch are all positives."""

    batch_size, lr, betas = 256, 1e-3, (.9, .999)
    divisible = False  # every sample is contrasted with all others of the batch

    def __init__(self, preset, records, weights, seed):
        super().__init__(preset, records, seed)
        self.model, self.tokenizer = lite_clip.build_clip(preset, object_names())

    def sample(self, epoch, index):
        rng, record = sample_rng(self.seed, epoch, index), self.records[index]
        box = grow_box(record["boxes"][0], rng.uniform(0, .3, 4))
        crop = squash(crop_box(record["image"], box), self.preset.exemplar_size)
        crop = crop[:, ::-1] if rng.uniform() < .5 else crop
        text = lite_clip.caption(record["labels"][0])
        tokens = lite_clip.tokenize(self.tokenizer, [text])
        return {"pixels": to_clip(crop), "ids": tokens.input_ids[0],
                "attention": tokens.attention_mask[0]}

    def forward(self, batch):
        out = self.model(input_ids=batch["ids"], attention_mask=batch["attention"],
                         pixel_values=batch["pixels"])
        same = (batch["ids"][:, None] == batch["ids"][None]).all(-1).float()
        target = same / same.sum(1, keepdim=True)
        logits = out.logits_per_image.float()
        return (F.cross_entropy(logits, target, reduction="none")
                + F.cross_entropy(logits.T, target, reduction="none")) / 2

    def export(self, folder):
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


class Reconstruction(Objective):
    """The codec's decoder: squared error, plus a little absolute error for edges.

    With `preset.decoder_noise` it learns to decode latents with noise of up to that share
    of their deviation (Zheng et al., 2025): what a sampler gives it is never exact."""

    batch_size, lr, betas = 32, 1e-3, (.9, .999)

    def __init__(self, preset, records, weights, seed):
        super().__init__(preset, records, seed)
        images = [to_signed(squash(records[i]["image"], preset.resolution))
                  for i in range(min(512, len(records)))]
        self.codec = PatchCodec(preset.latent_factor, preset.latent_channels)
        self.codec.fit(torch.stack(images))

    def sample(self, epoch, index):
        rng = sample_rng(self.seed, epoch, index)
        image = squash(self.records[index]["image"], self.preset.resolution)
        image = to_signed(image[:, ::-1] if rng.uniform() < .5 else image)
        shape = (self.preset.latent_channels,) + (self.preset.latent_size,) * 2
        level = self.preset.decoder_noise * rng.uniform()
        noise = level * rng.standard_normal(shape, dtype="float32")
        return {"image": image, "noise": torch.from_numpy(noise)}

    def forward(self, batch):
        with torch.no_grad():
            z = self.codec.encode(batch["image"]).latent_dist.mode()
        z = z + batch["noise"] * z.std((1, 2, 3), keepdim=True)
        error = self.codec.decode(z).sample.float() - batch["image"]
        return (error.square() + .05 * error.abs()).mean((1, 2, 3))

    def export(self, folder):
        self.codec.save_pretrained(folder)
