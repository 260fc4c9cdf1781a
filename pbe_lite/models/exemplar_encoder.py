"""The exemplar encoder: a frozen CLIP tower, the bottleneck, a mapper, the null vector.

Section 3.2 ("content bottleneck"): only CLIP's class token conditions the U-Net, one
token for the whole exemplar.  `tokens="all"` keeps every patch token instead: the naive
baseline, which pastes.  A square number keeps so many means of patch tokens: a wider
bottleneck.  State-dict names are those of the published checkpoint.
"""

import math
import re
from pathlib import Path

import torch
from diffusers.models.attention import BasicTransformerBlock
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPPreTrainedModel, CLIPVisionConfig, CLIPVisionModel

from pbe_lite.models.clip import load_clip
from pbe_lite.models.weight_files import check_files, check_finite, check_names


def check_tokens(tokens, patches):
    """Raise ValueError unless `tokens` is "class", "all", a square number of means that a
    square grid of `patches` patch tokens can be divided into, or "class+" such a number."""
    if tokens in ("class", "all"):
        return
    means = str(tokens).removeprefix("class+")
    side = math.isqrt(int(means)) if means.isdigit() else 0
    if not side or side ** 2 != int(means) or math.isqrt(patches) % side:
        raise ValueError("tokens must be 'class', 'all' or a square number whose root "
                         f"divides {math.isqrt(patches)}, got {tokens!r}")


def pool_tokens(patches, count):
    """Means of a square grid of patch tokens over `count` equal squares, row by row:
    (B, n, D) -> (B, count, D)."""
    side = math.isqrt(patches.shape[1])
    cell = side // math.isqrt(count)
    grid = patches.unflatten(1, (side // cell, cell, side // cell, cell))
    return grid.mean((2, 4)).flatten(1, 2)


def tower_tokens(tower, pixel_values, layer=-1):
    """All tokens of a CLIP vision tower, normalised: (B, 3, E, E) -> (B, 1 + n, d), the
    class token first; the n patch tokens are taken after `layer`, 1 the first, -1 the
    last."""
    out = tower(pixel_values=pixel_values, output_hidden_states=True)
    patches = tower.post_layernorm(out.hidden_states[layer][:, 1:])
    return torch.cat([out.pooler_output[:, None], patches], 1)


class Tower(nn.Module):
    """A CLIP vision tower under the name it had when the checkpoint was published."""

    def __init__(self, config):
        super().__init__()
        self.vision_model = CLIPVisionModel(config)


class Mapper(nn.Module):
    """Transformer blocks with one head; on one token they are a deep MLP."""

    def __init__(self, width, layers):
        super().__init__()
        self.blocks = nn.ModuleList(
            BasicTransformerBlock(width, 1, width, activation_fn="gelu",
                                  attention_bias=True)
            for _ in range(layers)
        )

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class ExemplarEncoder(CLIPPreTrainedModel):
    """Exemplars (B, 3, E, E), normalised for CLIP -> condition (B, T, D).

    `config.tokens` is "class" (T = 1), "all" (T = 1 + number of patches), T itself, the
    number of means of patch tokens, or "class+4": the class token and 4 means (T = 5);
    patch tokens are taken after layer `config.patch_layer` of the tower, by default the
    last; D = `config.projection_dim`.  `uncond_vector` (1, 1, D) is the learnable null
    vector of classifier-free guidance.  Raises ValueError for another `config.tokens`."""

    config_class = CLIPVisionConfig

    def __init__(self, config):
        super().__init__(config)
        self.tokens = getattr(config, "tokens", "class")
        self.patch_layer = getattr(config, "patch_layer", -1)
        check_tokens(self.tokens, (config.image_size // config.patch_size) ** 2)
        width = config.hidden_size
        self.model = Tower(config)
        self.mapper = Mapper(width, (config.num_hidden_layers + 1) // 5)
        self.final_layer_norm = nn.LayerNorm(width)
        self.proj_out = nn.Linear(width, config.projection_dim)
        self.uncond_vector = nn.Parameter(torch.randn(1, 1, config.projection_dim))
        self.post_init()
        self.model.requires_grad_(False)

    @classmethod
    def around(cls, tower, preset, tokens):
        """A new encoder of the preset's size around a copy of a trained CLIP tower."""
        config = CLIPVisionConfig(**preset.clip["vision_config"], tokens=tokens,
                                  patch_layer=preset.patch_layer,
                                  projection_dim=preset.unet["cross_attention_dim"])
        return cls._with_tower(config, tower)

    @classmethod
    def _with_tower(cls, config, tower):
        encoder = cls(config)
        encoder.model.vision_model.load_state_dict(tower.state_dict())
        return encoder

    @classmethod
    def adopt(cls, encoder):
        """diffusers' PaintByExampleImageEncoder as one of ours, which shares its weights;
        one of ours is returned as it is."""
        if isinstance(encoder, cls):
            return encoder
        ours = cls(encoder.config)
        state = {re.sub("^model[.](?!vision_model)", "model.vision_model.", name): tensor
                 for name, tensor in encoder.state_dict().items()}
        ours.load_state_dict(state, assign=True)
        return ours.to(encoder.device).eval()

    @classmethod
    def completed(cls, folder, clip, dtype=torch.float32):
        """The encoder of a folder that holds the trained part alone, its tower taken from
        the CLIP in the folder `clip`.  Raises OSError when either is missing or not whole,
        ValueError where a weight is not finite."""
        encoder = cls._with_tower(CLIPVisionConfig.from_pretrained(folder),
                                  load_clip(clip)[0].vision_model)
        file = Path(folder) / "model.safetensors"
        check_files([file])
        report = encoder.load_state_dict(load_file(file), strict=False)
        missing = [k for k in report.missing_keys if not k.startswith("model.")]
        check_names(folder, missing, report.unexpected_keys)
        check_finite(folder, encoder)
        return encoder.to(dtype)

    def features(self, pixel_values):
        """What is kept of the frozen tower's output: (B, T, width)."""
        tower = self.model.vision_model
        if self.tokens == "class":
            return tower(pixel_values=pixel_values).pooler_output[:, None]
        tokens = tower_tokens(tower, pixel_values, self.patch_layer)
        if self.tokens == "all":
            return tokens
        if isinstance(self.tokens, int):
            return pool_tokens(tokens[:, 1:], self.tokens)
        means = pool_tokens(tokens[:, 1:], int(self.tokens.removeprefix("class+")))
        return torch.cat([tokens[:, :1], means], 1)

    def forward(self, pixel_values):
        with torch.no_grad():
            x = self.features(pixel_values)
        return self.proj_out(self.final_layer_norm(self.mapper(x)))

    def null(self, like):
        """The null vector in the shape of a condition `like`: (B, T, D)."""
        return self.uncond_vector.to(like).expand_as(like)
