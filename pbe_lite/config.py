"""Scale is a preset, never a fork: every size in the project is named here, and where
data, weights, results and runs lie.

`lite` fits a laptop CPU and the miniature world; `full` is the paper's model.  A preset is
made of five parts, a class each; all of its values are reached by one name.
"""

from dataclasses import dataclass, field
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


@dataclass(frozen=True, kw_only=True)
class Data:
    """The pictures that a run trains on."""

    resolution: int             # side of the square picture, pixels
    exemplar_size: int          # side of the exemplar, as the tower takes it, pixels
    area: tuple = (.02, .8)     # share of a picture that a box must cover, least and most
    scenes: int = 0             # of the miniature world; 0: photographs, by --data


@dataclass(frozen=True, kw_only=True)
class Model:
    """The networks, and the models that they start from."""

    latent_factor: int          # pixels that a latent cell is wide
    latent_channels: int        # numbers in a latent cell
    unet: dict                  # of diffusers' UNet2DConditionModel; in it
                                # attention_head_dim is, in diffusers, the number of heads
    clip: dict                  # of transformers' CLIPConfig
    patch_layer: int = -1       # of the tower, after which patch tokens are taken where an
                                # arm keeps them; -1: the last
    hole_octaves: int = 0       # of `unet.hole_coordinates`; 0: no such input channels
    init: str = ""              # a model, by folder or hub's name; "": data/weights
    tower: str = ""             # the CLIP model that goes with `init`


@dataclass(frozen=True, kw_only=True)
class Loss:
    """The noise that is added, and what is predicted from it."""

    prediction: str             # "epsilon", the noise, as in the paper; "sample", z itself
    timesteps: tuple = ()       # (m, s): t / 1000 is the sigmoid of N(m, s^2), as in
                                # Esser et al. (2024); (): uniform
    null_probability: float = .2  # share of samples that get the null vector (section 3.2)
    alpha_weight: float = 0     # of one more output channel's loss, the object's alpha
    decoder_noise: float = 0    # most noise on the latents that the decoder is trained on,
                                # in their deviations
    noise: dict = field(default_factory=lambda: dict(  # Stable Diffusion's schedule
        num_train_timesteps=1000, beta_schedule="scaled_linear",
        beta_start=.00085, beta_end=.012, clip_sample=False, steps_offset=1,
    ))


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """How the weights are stepped, and for how long."""

    batch_size: int             # of the whole run; ranks and accumulation share it out
    lr: float                   # AdamW's peak rate
    betas: tuple                # AdamW's decays
    muon_lr: float = 0          # Muon's peak rate, for hidden weights; 0: AdamW for all
    warmup_steps: int = 0       # steps until the peak
    warmup_share: float = 0     # the same as a share of the run; the longer one counts
    decay_from: float = 1       # share of the run after which the rates fall to 0, linearly
    ema_decay: float = 0        # of the averaged weights; 0: none
    precision: str = "no"       # of autocast: "no", float32, or "bf16"
    adam8bit: bool = False      # AdamW's state in 8 bits: less memory
    epochs: int = 0             # length of a run by default; 0: by samples


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """How an exported model paints where a call does not say it."""

    sampling_steps: int
    guidance_scale: float       # 1: none


@dataclass(frozen=True, kw_only=True)
class Preset(Sampler, Optimiser, Loss, Model, Data):
    """One scale: all of the above, by name, as `preset.resolution`."""

    name: str

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
    name="lite",
    # data
    resolution=128,
    exemplar_size=32,
    scenes=40_000,
    # model
    latent_factor=8,
    latent_channels=8,
    patch_layer=1,  # its last layer has forgotten much of where a patch lies
    hole_octaves=3,
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
        # the exemplar's vector also scales and shifts every residual block
        class_embed_type="projection", projection_class_embeddings_input_dim=128,
        resnet_time_scale_shift="scale_shift",
    ),
    # loss
    prediction="sample",
    timesteps=(-.6, 1.1),
    alpha_weight=.2,
    decoder_noise=.35,
    # optimiser
    batch_size=32,
    lr=2e-3,
    betas=(.9, .99),
    muon_lr=2.5e-3,
    warmup_share=.02,
    decay_from=.5,
    ema_decay=.999,
    precision="bf16",
    # sampler
    sampling_steps=25,
    guidance_scale=2.0,
)

FULL = Preset(  # the paper's numbers
    name="full",
    # data
    resolution=512,
    exemplar_size=224,
    # model
    latent_factor=8,
    latent_channels=4,
    init="CompVis/stable-diffusion-v1-4",
    tower="openai/clip-vit-large-patch14",
    clip=dict(vision_config=dict(_VIT_L, image_size=224, patch_size=14)),
    unet=dict(
        block_out_channels=(320, 640, 1280, 1280), layers_per_block=2,
        down_block_types=_SD_DOWN, cross_attention_dim=768, attention_head_dim=8,
        up_block_types=tuple(b.replace("Down", "Up") for b in reversed(_SD_DOWN)),
    ),
    # loss
    prediction="epsilon",
    # optimiser
    batch_size=32,  # 4 on each of 8 GPUs
    lr=1e-5,
    betas=(.9, .999),
    warmup_steps=10_000,
    epochs=40,
    # sampler
    sampling_steps=50,
    guidance_scale=5.0,
)

PRESETS = {p.name: p for p in (LITE, FULL)}


class Arm(NamedTuple):
    """One of the paper's experiments."""

    prior: bool        # starts from the text-conditioned U-Net
    tokens: str | int  # "class", "all" or means of patches, see `ExemplarEncoder`
    augment: bool      # the exemplar, and the hole's shape
    null: bool         # has the learnable null vector, for 20 % of the samples


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
    "tokens_5": Arm(True, "class+4", False, False),
    "tokens_17": Arm(True, "class+16", False, False),
}
