"""The authors' checkpoint becomes the published layout, and what we publish is that."""

import json
import pickle
import sys
import warnings

import numpy as np
import pytest
import torch
from conftest import pixels
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    UNet2DConditionModel,
)
from diffusers.pipelines.deprecated import paint_by_example as stock_parts
from layouts import INDEX, SCHEDULER
from lightning import NARROW, NARROW_KL, lightning_state, parts, unet_name, vae_name, write
from transformers import CLIPVisionConfig

from pbe_lite import PaintByExamplePipeline
from pbe_lite.config import FULL
from pbe_lite.models import convert
from pbe_lite.models.convert import convert_checkpoint, read_checkpoint, read_networks
from pbe_lite.models.exemplar_encoder import ExemplarEncoder
from pbe_lite.models.unet import build_unet

NETWORKS = ("unet", "vae", "image_encoder")
SIZES = dict(preset=NARROW, vae=NARROW_KL)


def load(folder, **options):
    pipe = PaintByExamplePipeline.from_pretrained(folder, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def assert_same_weights(pipe, made):
    for name in NETWORKS:
        expected, found = made[name].state_dict(), getattr(pipe, name).state_dict()
        assert found.keys() == expected.keys()
        assert not [k for k in found if not torch.equal(found[k], expected[k])], name


# -------------------------------------------------------------------- the checkpoint


def test_the_names_are_the_authors():
    """A few of each kind, as they stand in the published model.ckpt."""
    names = lightning_state(parts())
    for name in (
            "model.diffusion_model.time_embed.0.weight",
            "model.diffusion_model.input_blocks.0.0.weight",
            "model.diffusion_model.input_blocks.1.0.in_layers.2.weight",
            "model.diffusion_model.input_blocks.3.0.op.weight",
            "model.diffusion_model.input_blocks.7.0.skip_connection.bias",
            "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
            "model.diffusion_model.middle_block.1.proj_in.weight",
            "model.diffusion_model.middle_block.2.emb_layers.1.weight",
            "model.diffusion_model.output_blocks.2.1.conv.weight",
            "model.diffusion_model.output_blocks.5.2.conv.weight",
            "model.diffusion_model.output_blocks.11.1.proj_out.weight",
            "model.diffusion_model.out.2.bias",
            "first_stage_model.encoder.down.0.block.1.conv2.weight",
            "first_stage_model.encoder.down.2.downsample.conv.weight",
            "first_stage_model.encoder.mid.attn_1.q.weight",
            "first_stage_model.encoder.mid.block_2.norm1.weight",
            "first_stage_model.decoder.up.3.upsample.conv.bias",
            "first_stage_model.decoder.up.0.block.2.conv1.weight",
            "first_stage_model.decoder.mid.attn_1.proj_out.weight",
            "first_stage_model.post_quant_conv.weight",
            "cond_stage_model.transformer.vision_model.pre_layrnorm.weight",
            "cond_stage_model.mapper.resblocks.0.attn.c_qkv.weight",
            "cond_stage_model.mapper.resblocks.0.mlp.c_fc.bias",
            "cond_stage_model.final_ln.weight", "proj_out.weight", "learnable_vector"):
        assert name in names, name
    assert names["first_stage_model.encoder.mid.attn_1.q.weight"].ndim == 4
    assert names["cond_stage_model.mapper.resblocks.0.attn.c_qkv.weight"].shape == (96, 32)


def test_all_names_of_the_real_sizes_are_known():
    with torch.device("meta"):
        unet, vae = build_unet(FULL), AutoencoderKL(**convert.KL_F8)
    unet_state = {f"model.diffusion_model.{unet_name(k)}": v
                  for k, v in unet.state_dict().items()}
    vae_state = {f"first_stage_model.{vae_name(k)}": v
                 for k, v in vae.state_dict().items()}
    found = convert.convert_ldm_unet_checkpoint(unet_state, unet.config)
    assert {k: v.shape for k, v in found.items()} == {
        k: v.shape for k, v in unet.state_dict().items()} and len(found) == 686
    assert convert.convert_ldm_vae_checkpoint(vae_state, vae.config).keys() \
        == vae.state_dict().keys()
    config = CLIPVisionConfig(**FULL.clip["vision_config"], projection_dim=768)
    with torch.device("meta"):
        encoder = ExemplarEncoder(config)
    assert encoder.proj_out.weight.shape == (768, 1024)


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_a_checkpoint_becomes_the_published_layout(tmp_path, dtype, question):
    made = write(tmp_path / "model.ckpt")
    folder = convert_checkpoint(tmp_path / "model.ckpt", tmp_path / "new", dtype=dtype,
                                **SIZES)
    index = json.loads((folder / "model_index.json").read_text())
    assert {k: v for k, v in index.items() if k[0] != "_" and k != "feature_extractor"} \
        == {k: v for k, v in INDEX.items() if k[0] != "_" and k != "feature_extractor"}
    assert index["_class_name"] == "PaintByExamplePipeline"
    config = json.loads((folder / "image_encoder" / "config.json").read_text())
    assert config["architectures"] == ["PaintByExampleImageEncoder"]
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert {k: v for k, v in SCHEDULER.items() if k[0] != "_" and k != "clip_sample"
            and scheduler[k] != v} == {}
    pipe = load(folder, torch_dtype=dtype)
    for part in made.values():
        part.to(dtype or torch.float32)
    assert_same_weights(pipe, made)
    assert pipe.safety_checker is None and pipe.defaults() == (5.0, 50)
    if dtype is None:
        assert pipe(**question, num_inference_steps=2).images[0].size == (120, 80)


def test_a_single_file_paints_what_the_folder_paints(tmp_path, question):
    made = write(tmp_path / "model.ckpt")
    convert_checkpoint(tmp_path / "model.ckpt", tmp_path / "new", **SIZES)
    pipe = PaintByExamplePipeline.from_single_file(tmp_path / "model.ckpt", **SIZES)
    pipe.set_progress_bar_config(disable=True)
    assert_same_weights(pipe, made)
    call = dict(**question, num_inference_steps=3)
    (a,), (b,) = (pixels(p(**call)) for p in (pipe, load(tmp_path / "new")))
    np.testing.assert_array_equal(a, b)
    scheduler = PNDMScheduler()
    half = PaintByExamplePipeline.from_single_file(
        tmp_path / "model.ckpt", torch_dtype="bfloat16", scheduler=scheduler, **SIZES)
    assert half.unet.dtype == half.image_encoder.dtype == torch.bfloat16
    assert half.scheduler is scheduler


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux")
def test_weights_stay_in_the_file(tmp_path):
    """Its tensors are views of the mapped file, whatever else the file holds."""
    write(tmp_path / "model.ckpt")

    def in_the_file(tensor):
        maps = [line.split() for line in open("/proc/self/maps") if "model.ckpt" in line]
        spans = [[int(x, 16) for x in line[0].split("-")] for line in maps]
        return any(a <= tensor.data_ptr() < b for a, b in spans)

    state = read_checkpoint(tmp_path / "model.ckpt")
    assert all(in_the_file(tensor) for tensor in state.values())
    networks = dict(read_networks(tmp_path / "model.ckpt", **SIZES))
    assert in_the_file(networks["unet"].conv_in.weight)
    assert in_the_file(networks["vae"].decoder.conv_in.weight)
    assert in_the_file(networks["image_encoder"].proj_out.weight)


def test_a_folder_that_holds_a_model_is_left_alone(tmp_path):
    write(tmp_path / "model.ckpt")
    convert_checkpoint(tmp_path / "model.ckpt", tmp_path / "new", **SIZES)
    with pytest.raises(OSError, match="holds a model already"):
        convert_checkpoint(tmp_path / "model.ckpt", tmp_path / "new", **SIZES)


# ------------------------------------------------------------------------- not whole


LOST = {
    "conv_in.weight": {"model.diffusion_model.input_blocks.0.0.weight": None},
    "decoder.conv_out.bias": {"first_stage_model.decoder.conv_out.bias": None},
    "uncond_vector": {"learnable_vector": None},
    "mapper.blocks.0.attn1.to_k.weight": {
        "cond_stage_model.mapper.resblocks.0.attn.c_qkv.weight": None},
}
LEFT = ["model.diffusion_model.input_blocks.12.0.in_layers.0.weight",
        "first_stage_model.encoder.extra", "cond_stage_model.transformer.text.weight"]


@pytest.mark.parametrize("name", LOST)
def test_what_is_missing_is_named(tmp_path, name):
    write(tmp_path / "model.ckpt", **LOST[name])
    with pytest.raises(OSError, match=f"model.ckpt lack {name}"):
        convert_checkpoint(tmp_path / "model.ckpt", tmp_path / "new", **SIZES)
    assert not (tmp_path / "new" / "model_index.json").exists()


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_over_is_named(tmp_path, name):
    write(tmp_path / "model.ckpt", **{name: torch.zeros(2)})
    with pytest.raises(OSError, match="have no place for .*(extra|blocks.3|text.weight)"):
        convert_checkpoint(tmp_path / "model.ckpt", tmp_path / "new", **SIZES)


def test_other_sizes_and_nan_are_named(tmp_path):
    name = "model.diffusion_model.out.2.bias"
    write(tmp_path / "model.ckpt", **{name: torch.zeros(7)})
    with pytest.raises(OSError, match="another shape for conv_out.bias"):
        convert_checkpoint(tmp_path / "model.ckpt", tmp_path / "new", **SIZES)
    write(tmp_path / "model.ckpt", **{name: torch.full((4,), torch.nan)})
    with pytest.raises(ValueError, match="NaN or infinite numbers in conv_out.bias"):
        convert_checkpoint(tmp_path / "model.ckpt", tmp_path / "new", **SIZES)


class Attack:
    def __reduce__(self):
        return exec, ("raise SystemExit('a program in the weights was run')",)


@pytest.mark.parametrize("damage", ["program", "pickle", "cut", "pointer", "gone", "old"])
def test_no_checkpoint_is_told_in_one_line(tmp_path, damage):
    path = tmp_path / "model.ckpt"
    write(path)
    if damage == "program":
        torch.save({"state_dict": {"w": Attack()}}, path)
    elif damage == "pickle":
        path.write_bytes(pickle.dumps(Attack()))
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-2000])
    elif damage == "pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\n")
    elif damage == "old":
        torch.save({"w": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
    else:
        path.unlink()
    with pytest.raises(OSError, match="model.ckpt") as raised:
        convert_checkpoint(path, tmp_path / "new", **SIZES)
    assert "\n" not in str(raised.value)


# ------------------------------------------------------------------------ publishing


def published_pipe(**more):
    made = parts()
    pipe = PaintByExamplePipeline(
        **made, scheduler=DPMSolverMultistepScheduler.from_config(FULL.noise), **more)
    pipe.set_progress_bar_config(disable=True)
    return pipe, made


def test_what_we_publish_is_what_other_tools_read(tmp_path, question):
    """Each part by diffusers' own class; together its own pipeline gives our numbers."""
    pipe, made = published_pipe()
    pipe.save_pretrained(tmp_path, layout="published")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoder = stock_parts.PaintByExampleImageEncoder.from_pretrained(
            tmp_path / "image_encoder")
        theirs = stock_parts.PaintByExamplePipeline(
            vae=AutoencoderKL.from_pretrained(tmp_path / "vae"), image_encoder=encoder,
            unet=UNet2DConditionModel.from_pretrained(tmp_path / "unet"),
            scheduler=PNDMScheduler.from_pretrained(tmp_path / "scheduler"),
            safety_checker=None, feature_extractor=None)
    assert torch.equal(encoder.uncond_vector, made["image_encoder"].uncond_vector)
    theirs.set_progress_bar_config(disable=True)
    ours = load(tmp_path)
    generator = torch.Generator().manual_seed(5)
    image = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    hole = torch.zeros(1, 1, 64, 64)
    hole[:, :, 16:32, 8:40] = 1
    exemplar, noise = torch.randn(1, 3, 16, 16, generator=generator), ours.noise([3])
    expected = theirs(example_image=exemplar, image=image, mask_image=hole, latents=noise,
                      num_inference_steps=6, guidance_scale=5, output_type="pt",
                      generator=torch.Generator().manual_seed(3)).images
    found = ours.paint(exemplar, image, hole, noise, 6, 5,
                       generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(found / 2 + .5, expected, atol=1e-4, rtol=0)


def test_published_and_loaded_it_is_the_same(tmp_path):
    pipe, made = published_pipe(guidance_scale=2.5, num_inference_steps=20)
    pipe.save_pretrained(tmp_path, layout="published")
    again = load(tmp_path)
    assert_same_weights(again, made)
    assert type(again.scheduler) is PNDMScheduler and again.defaults() == (2.5, 20)
    again.save_pretrained(tmp_path / "again", layout="published")
    assert_same_weights(load(tmp_path / "again"), made)


def test_only_the_papers_kind_of_model_is_published(pipe, tmp_path):
    with pytest.raises(ValueError, match="another kind of vae, scheduler"):
        pipe.scheduler.register_to_config(prediction_type="sample")
        pipe.save_pretrained(tmp_path, layout="published")
    with pytest.raises(ValueError, match="layout must be"):
        pipe.save_pretrained(tmp_path, layout="webui")
    assert list(tmp_path.iterdir()) == []
