"""Scale is a preset, never a fork: every size in the project is named here, and where
data, weights, results and runs lie.

`lite` fits a laptop CPU and the miniature world; `full` is the paper's model.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple


def find_folders(package: Path) -> tuple[Path, Path, Path]:
    """(data, runs, results): where the data lie that come with `package`, and the folders
    that runs and the numbers of benchmarks go to.

    In a checkout all lie in it.  An installed package has a copy of the data inside, and
    writes nothing beside it: what it makes goes to `runs` in the working directory."""
    data = package.parent / "data"
    if (data / "sprites.csv").is_file():
        return data, data.parent / "runs", data / "results"
    runs = Path.cwd() / "runs"
    return package / "shipped", runs, runs / "results"


DATA, RUNS, RESULTS = find_folders(Path(__file__).resolve().parent)
SPRITES = DATA / "sprites"
WEIGHTS = DATA / "weights"
# what an installed package needs of DATA; setup.py copies it into the wheel
SHIPPED = (DATA / "kinds.csv", DATA / "sprites.csv", DATA / "sprites.LICENSE", SPRITES,
           WEIGHTS)


@dataclass(frozen=True)
class Preset:
    """One scale.  Sizes are in pixels, channels or samples; `lr` is AdamW's peak rate,
    `betas` are its decays; `muon_lr` is Muon's for hidden weights (0: AdamW for all);
    `timesteps` = (m, s): t / 1000 of a training sample is the sigmoid of N(m, s^2), as in
    Esser et al. (2024); empty: uniform.  `batch_size` is that of the whole run: ranks and
    accumulation only share it out.  `epochs` is how long a run is by default; `init` and
    `tower` name the models that it starts from, empty: those in data/weights; `adam8bit`
    keeps AdamW's state in 8 bits.  `unet["attention_head_dim"]` is, in diffusers, the
    number of heads."""

    name: str
    resolution: int
    latent_factor: int
    latent_channels: int
    exemplar_size: int
    prediction: str
    sampling_steps: int
    guidance_scale: float
    batch_size: int
    lr: float
    betas: tuple
    warmup_steps: int
    lr_decay: bool
    precision: str
    muon_lr: float = 0
    timesteps: tuple = ()
    null_probability: float = .2
    area: tuple = (.02, .8)
    ema_decay: float = 0
    adam8bit: bool = False
    epochs: int = 0
    init: str = ""
    tower: str = ""
    scenes: int = 0
    warmup_share: float = 0   # warm-up as a share of the run, in place of warmup_steps
    decay_from: float = 1     # share of the run after which the rate falls to 0, linearly
    hole_octaves: int = 0     # octaves of `unet.hole_coordinates`; 0: no such channels
    alpha_weight: float = 0   # of the loss of one more output channel, the object's alpha
    decoder_noise: float = 0  # most noise on the latents that the decoder is trained on
    clip: dict = field(default_factory=dict)
    unet: dict = field(default_factory=dict)
    noise: dict = field(default_factory=lambda: dict(
        num_train_timesteps=1000, beta_schedule="scaled_linear",
        beta_start=.00085, beta_end=.012, clip_sample=False, steps_offset=1,
    ))

    @property
    def latent_size(self):
        """Side of the latent grid."""
        return self.resolution // self.latent_factor

    @property
    def unet_channels(self):
        """[z_t, z_masked, mask]: 9 for the paper's 4 latent channels; and where in the
        hole a cell lies, where the preset says so."""
        where = 2 + 4 * self.hole_octaves if self.hole_octaves else 0
        return 2 * self.latent_channels + 1 + where


_LITE_TOWER = dict(hidden_size=128, intermediate_size=512, num_hidden_layers=4,
                   num_attention_heads=4)
_VIT_L = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24,
              num_attention_heads=16)
_SD_DOWN = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)

LITE = Preset(
    name="lite", resolution=128, latent_factor=8, latent_channels=8, exemplar_size=32,
    prediction="sample", sampling_steps=25, guidance_scale=3.0, batch_size=32,
    lr=2e-3, betas=(.9, .99), warmup_steps=200, lr_decay=True, precision="bf16",
    muon_lr=5e-3, timesteps=(-.6, 1.1),
    ema_decay=.999, scenes=24_000,
    clip=dict(
        projection_dim=128,
        vision_config=dict(_LITE_TOWER, image_size=32, patch_size=4),
        text_config=dict(_LITE_TOWER, num_hidden_layers=2, max_position_embeddings=12),
    ),
    unet=dict(
        block_out_channels=(64, 112, 112), layers_per_block=1, norm_num_groups=16,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",),
        cross_attention_dim=128, attention_head_dim=1,
    ),
)

FULL = Preset(
    name="full", resolution=512, latent_factor=8, latent_channels=4, exemplar_size=224,
    prediction="epsilon", sampling_steps=50, guidance_scale=5.0,
    batch_size=32,  # 4 on each of 8 GPUs
    lr=1e-5, betas=(.9, .999), warmup_steps=10_000, lr_decay=False, precision="no",
    epochs=40, init="CompVis/stable-diffusion-v1-4", tower="openai/clip-vit-large-patch14",
    clip=dict(vision_config=dict(_VIT_L, image_size=224, patch_size=14)),
    unet=dict(
        block_out_channels=(320, 640, 1280, 1280), layers_per_block=2,
        down_block_types=_SD_DOWN, cross_attention_dim=768, attention_head_dim=8,
        up_block_types=tuple(b.replace("Down", "Up") for b in reversed(_SD_DOWN)),
    ),
)

# The second edition of the miniature world; it becomes `lite` when its weights are final.
BOLD = replace(
    LITE, name="bold", warmup_steps=0, warmup_share=.02, lr_decay=False, decay_from=.5,
    muon_lr=2.5e-3, hole_octaves=3, alpha_weight=.2, decoder_noise=.35, scenes=40_000,
    unet=dict(LITE.unet, class_embed_type="projection",
              projection_class_embeddings_input_dim=128,
              resnet_time_scale_shift="scale_shift"),
)

PRESETS = {p.name: p for p in (LITE, FULL)}


class Arm(NamedTuple):
    """prior: start from the text-conditioned U-Net; tokens: "class", "all" or a number of
    means, see `ExemplarEncoder`; augment: exemplar and hole shape; null: the learnable
    null vector, 20 % of the samples."""

    prior: bool
    tokens: str | int
    augment: bool
    null: bool


ARMS = {
    "scratch": Arm(False, "all", False, False),
    "naive": Arm(True, "all", False, False),
    "naive_augment": Arm(True, "all", True, False),
    "bottleneck": Arm(True, "class", False, False),
    "augment": Arm(True, "class", True, False),
    "final": Arm(True, "class", True, True),
    # the whole method without a prior, for runs of minutes on few kinds
    "final_scratch": Arm(False, "class", True, True),
    # bottlenecks of other widths, for the last lesson
    "tokens_4": Arm(True, 4, False, False),
    "tokens_16": Arm(True, 16, False, False),
    "tokens_64": Arm(True, 64, False, False),
}
