"""A tiny model of every kind: tests need neither minutes nor the shipped weights."""

import os
import re
from dataclasses import replace

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["ACCELERATE_USE_CPU"] = "1"  # tests compare bits; test_cuda.py asks for a GPU

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
import zmq  # noqa: E402
from accelerate import PartialState  # noqa: E402
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel  # noqa: E402
from nbclient.output_widget import OutputWidget  # noqa: E402
from PIL import Image  # noqa: E402
from transformers import CLIPVisionConfig  # noqa: E402

from pbe_lite.config import LITE  # noqa: E402
from pbe_lite.data.open_images import load_open_images  # noqa: E402
from pbe_lite.data.scenes import labels, write_tabletop  # noqa: E402
from pbe_lite.data.tabletop import FIRST_TRAINING_SEED, Scene  # noqa: E402
from pbe_lite.data.triplets import to_signed  # noqa: E402
from pbe_lite.evaluation import evaluate  # noqa: E402
from pbe_lite.evaluation.judge import Judge  # noqa: E402
from pbe_lite.models import clip  # noqa: E402
from pbe_lite.models.autoencoder import PatchCodec  # noqa: E402
from pbe_lite.models.exemplar_encoder import ExemplarEncoder  # noqa: E402
from pbe_lite.models.unet import build_unet  # noqa: E402
from pbe_lite.pipeline import PaintByExamplePipeline  # noqa: E402
from pbe_lite.training import cli, losses  # noqa: E402

torch.set_num_threads(1)  # tiny models gain nothing from more
evaluate.REFERENCES = 100  # a thousand real scenes take 15 seconds to render

# A notebook with `interact` may wait for ever when it is run without a browser: nbclient
# answers an output widget past asyncio, which then misses that the cell's reply has come
# (nbclient issue 312).  To ask for the socket's events makes asyncio look again.
_publish = OutputWidget._publish_msg


def _publish_and_look(self, *args, **kwargs):
    _publish(self, *args, **kwargs)
    self.kernel_client.shell_channel.socket.get(zmq.EVENTS)


OutputWidget._publish_msg = _publish_and_look

TOWER = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=4,
             num_attention_heads=2)
TINY = replace(  # with the paper's U-Net; test_recipe_options adds what lite has beside it
    LITE, resolution=64, latent_channels=4, exemplar_size=16, batch_size=4, warmup_steps=4,
    warmup_share=0, precision="no", scenes=10, hole_octaves=0, alpha_weight=0,
    decoder_noise=0, muon_lr=5e-3,
    clip=dict(
        projection_dim=32, vision_config=dict(TOWER, image_size=16, patch_size=8),
        text_config=dict(TOWER, num_hidden_layers=2, max_position_embeddings=12)),
    unet=dict(
        block_out_channels=(16, 16), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32, attention_head_dim=1),
)


def pytest_configure(config):
    """Train on the CPU, and leave out what diffusers' schedulers make numpy 2 say."""
    PartialState(cpu=True)
    config.addinivalue_line("filterwarnings", "ignore:__array_:DeprecationWarning")


def name_of(value):
    """A test's parameter in its name, without addresses: pytest-xdist's workers could
    not agree on those."""
    return re.sub(" at 0x[0-9a-fA-F]+", "", str(value))


def randomise(module, seed=0, scale=.1):
    """Add noise to all parameters, so that what is initialised to zero counts too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.fixture(scope="session")
def tiny():
    """A preset a hundredth of `lite`'s size."""
    return TINY


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """Ten scenes of the miniature world, as the loader gives them."""
    folder = tmp_path_factory.mktemp("tabletop")
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + TINY.scenes)
    return load_open_images(write_tabletop(folder, seeds, 64))


@pytest.fixture(scope="session")
def scenes():
    """(8, 3, 64, 64) pictures in [-1, 1]."""
    return torch.stack([to_signed(Scene(s).render(64).image) for s in range(2000, 2008)])


@pytest.fixture(scope="session")
def weights(tmp_path_factory, scenes):
    """A folder of untrained tiny parts in the place of `data/weights`."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    model, tokenizer = clip.build_clip(TINY, labels())
    model.save_pretrained(folder / "clip")
    tokenizer.save_pretrained(folder / "clip")
    PatchCodec(8, 4, width=16, blocks=1).fit(scenes).save_pretrained(folder / "codec")
    Judge(widths=(8, 8)).save_pretrained(folder / "judge")
    randomise(build_unet(TINY, 4)).save_pretrained(folder / "prior" / "unet")
    losses.build_scheduler(TINY).save_pretrained(folder / "prior" / "scheduler")
    return folder


@pytest.fixture
def objective(records, weights):
    """build(arm): a tiny objective, the same at every call."""
    def build(arm, seed=0, preset=TINY):
        torch.manual_seed(0)
        return losses.build_objective(arm, preset, records, weights, seed)
    return build


@pytest.fixture
def vision_config():
    """build(tokens): the configuration of a tiny exemplar encoder."""
    return lambda tokens="class": CLIPVisionConfig(
        **TINY.clip["vision_config"], projection_dim=32, tokens=tokens)


def pixels(out):
    """The results of a call, PIL images, as arrays (H, W, 3) uint8."""
    return [np.asarray(image) for image in out.images]


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    for model in (pipe.vae, pipe.image_encoder, pipe.unet):
        model.eval()
    return pipe


@pytest.fixture
def pipe(weights, vision_config):
    """A tiny pipeline with the patch codec: 64 px, latents 4 x 8 x 8, random weights."""
    torch.manual_seed(0)
    return quiet(PaintByExamplePipeline(
        vae=PatchCodec.from_pretrained(weights / "codec"),
        image_encoder=randomise(ExemplarEncoder(vision_config())),
        unet=randomise(build_unet(TINY)),
        scheduler=DDIMScheduler(prediction_type=TINY.prediction, **TINY.noise)))


@pytest.fixture
def kl_pipe(vision_config):
    """A tiny pipeline of the paper's parts: an AutoencoderKL, 4 latent channels, 32 px."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 16), layers_per_block=1, latent_channels=4,
        norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2)
    unet = UNet2DConditionModel(sample_size=16, in_channels=9, out_channels=4, **TINY.unet)
    return quiet(PaintByExamplePipeline(
        vae=vae, image_encoder=randomise(ExemplarEncoder(vision_config())),
        unet=randomise(unet), scheduler=DDIMScheduler(**TINY.noise)))


@pytest.fixture
def picture():
    """build(height, width): a PIL image of smooth colours, none of them flat."""
    def build(height, width):
        return Image.fromarray(Scene(7).render(64).image).resize((width, height))
    return build


@pytest.fixture
def question(picture):
    """image (80 x 120), its hole, an exemplar."""
    hole = np.zeros((80, 120), bool)
    hole[20:50, 60:95] = True
    return {"example_image": picture(33, 21), "image": picture(80, 120),
            "mask_image": hole}


def folder_of(records):
    """Where the records' pictures and annotations lie."""
    return records.images.root.parent


@pytest.fixture
def command(records, weights, tiny, tmp_path, monkeypatch):
    """call(*arguments): `python -m pbe_lite.train`, its lite preset the tiny one."""
    monkeypatch.setitem(cli.PRESETS, "lite", tiny)

    def call(*arguments):
        cli.main(["--data", str(folder_of(records)), "--weights", str(weights),
                  "--workers", "0", "--out", str(tmp_path / "run"), *arguments])
    return call
