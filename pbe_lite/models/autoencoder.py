"""The lite latent codec: principal components of patches, and a residual decoder.

The encoder is linear and not trained: the PCA of p x p patches keeps c numbers of 3 p^2,
half-whitened.  The decoder adds what a small network infers to the
PCA reconstruction.  It speaks AutoencoderKL's interface (`encode(x).latent_dist`,
`decode(z).sample`, `config.scaling_factor`), so the `full` preset swaps that in.
"""

import math

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """x: (B, c, h, w) -> x + conv(silu(conv(silu(x))))."""

    def __init__(self, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.second(F.silu(self.first(F.silu(x))))


class PatchCodec(ModelMixin, ConfigMixin):
    """Pictures (B, 3, S, S) in [-1, 1] <-> latents (B, c, S/p, S/p), about N(0, 1)."""

    @register_to_config
    def __init__(self, patch_size=8, latent_channels=8, width=128, blocks=3,
                 scaling_factor=1.0):
        super().__init__()
        doublings = round(math.log2(max(patch_size, 1)))
        if 2 ** doublings != patch_size or patch_size < 2:
            raise ValueError(f"patch_size must be a power of 2, >= 2; got {patch_size}")
        self.analysis = nn.Conv2d(3, latent_channels, patch_size, patch_size)
        self.synthesis = nn.ConvTranspose2d(latent_channels, 3, patch_size, patch_size)
        self.analysis.requires_grad_(False)
        self.synthesis.requires_grad_(False)
        layers = [nn.Conv2d(latent_channels, width, 3, padding=1)]
        layers += [ResidualBlock(width) for _ in range(blocks)]
        for _ in range(doublings - 1):
            layers += [nn.Conv2d(width, 2 * width, 3, padding=1), nn.PixelShuffle(2),
                       nn.SiLU()]
            width //= 2
        layers += [nn.Conv2d(width, 12, 3, padding=1), nn.PixelShuffle(2)]
        nn.init.zeros_(layers[-2].weight)
        nn.init.zeros_(layers[-2].bias)
        self.detail = nn.Sequential(*layers)

    @torch.no_grad()
    def fit(self, images):
        """Set both linear maps to the PCA of the patches of images: (N, 3, S, S).

        With patches x, mean m, leading eigenvectors V (3 p^2, c) and eigenvalues L of
        their covariance: z = D^-1 V^T (x - m), and back x = m + V D z.  Half-whitened:
        D is proportional to L^1/4, so that channels keep some of their rank (noise then
        hides fine detail before it hides colours), and z has unit variance on average."""
        p, c = self.config.patch_size, self.config.latent_channels
        patches = F.unfold(images, p, stride=p).transpose(1, 2).reshape(-1, 3 * p * p)
        values, vectors = torch.linalg.eigh(torch.cov(patches.T))
        deviations, vectors = values[-c:].flip(0).sqrt(), vectors[:, -c:].flip(1)
        scale = (deviations * deviations.mean()).sqrt()
        analysis = (vectors / scale).T
        colour = images.mean((0, 2, 3))  # patches come from anywhere: m is one colour
        self.analysis.weight.copy_(analysis.view(c, 3, p, p))
        self.analysis.bias.copy_(-analysis @ colour.repeat_interleave(p * p))
        self.synthesis.weight.copy_((vectors * scale).T.view(c, 3, p, p))
        self.synthesis.bias.copy_(colour)
        return self

    @apply_forward_hook
    def encode(self, x, return_dict=True):
        """x: (B, 3, S, S) in [-1, 1] -> .latent_dist, a distribution without width."""
        mean = self.analysis(x)
        moments = torch.cat([mean, torch.full_like(mean, -30)], 1)
        posterior = DiagonalGaussianDistribution(moments, deterministic=True)
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    @apply_forward_hook
    def decode(self, z, return_dict=True, generator=None):
        """z: (B, c, h, w) -> .sample: (B, 3, h p, w p), about [-1, 1]."""
        x = self.synthesis(z) + self.detail(z)
        return DecoderOutput(sample=x) if return_dict else (x,)

    def forward(self, x):
        """The round trip."""
        return self.decode(self.encode(x).latent_dist.mode()).sample
