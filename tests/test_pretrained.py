"""The published checkpoint: its folder loads, and the real sizes have its names."""

import json
import pickle
import shutil
import warnings

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.pipelines.deprecated import paint_by_example as stock_parts
from layouts import ENCODER, INDEX, UNET, VAE, published, stable_diffusion, write
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig

from pbe_lite import PaintByExamplePipeline
from pbe_lite import __main__ as cli
from pbe_lite.config import FULL, WEIGHTS
from pbe_lite.models.exemplar_encoder import ExemplarEncoder
from pbe_lite.models.unet import OneTokenAttention, build_unet

MODELS = ("vae", "image_encoder", "unet")
CHECKED = (*MODELS, "safety_checker")


def load(folder, **options):
    pipe = PaintByExamplePipeline.from_pretrained(folder, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def assert_same_weights(pipe, parts, names=MODELS):
    for name in names:
        expected, found = parts[name].state_dict(), getattr(pipe, name).state_dict()
        assert found.keys() == expected.keys()
        assert not [k for k in found if not torch.equal(found[k], expected[k])], name


# ---------------------------------------------------------------------- the layout


@pytest.mark.parametrize("safetensors", [False, True])
@pytest.mark.parametrize("checker", [False, True])
def test_a_folder_as_published_loads_to_the_last_number(tmp_path, safetensors, checker):
    """Old names of attention and CLIP, `position_ids`, old configs and all."""
    parts = published(tmp_path, safetensors, checker)
    suffixes = {p.suffix for p in tmp_path.rglob("*model*.*")} - {".json"}
    assert suffixes == ({".safetensors"} if safetensors else {".bin"})
    pipe = load(tmp_path)
    names = CHECKED if checker else MODELS
    assert_same_weights(pipe, parts, names)
    assert (pipe.safety_checker is not None) == checker
    assert type(pipe.scheduler).__name__ == "PNDMScheduler"
    assert pipe.scheduler.config.skip_prk_steps and pipe.scheduler.config.steps_offset == 1
    assert pipe.config.guidance_scale == 5.0 and pipe.config.num_inference_steps == 50
    assert pipe.vae.config.scaling_factor == .18215  # not in the published config
    assert pipe.image_encoder.tokens == "class" and pipe.resolution == 64
    processors = pipe.unet.attn_processors
    assert all(isinstance(p, OneTokenAttention) == (".attn2." in n)
               for n, p in processors.items())
    assert not any(getattr(pipe, name).training for name in names)


def test_the_published_index_is_the_hubs(tmp_path):
    published(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["safety_checker"] == [None, None]
    assert index["_diffusers_version"] == "0.10.0.dev0"
    assert not (tmp_path / "safety_checker").exists()
    assert {p.suffix for p in tmp_path.rglob("*.*")} == {".json", ".bin"}


def test_it_paints_what_diffusers_own_pipeline_paints(tmp_path):
    parts = published(tmp_path)
    ours = load(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoder = stock_parts.PaintByExampleImageEncoder(parts["image_encoder"].config)
        encoder.load_state_dict({k.replace("vision_model.", ""): v for k, v in
                                 parts["image_encoder"].state_dict().items()})
        theirs = stock_parts.PaintByExamplePipeline(
            vae=parts["vae"], image_encoder=encoder.eval(), unet=parts["unet"],
            scheduler=ours.scheduler, safety_checker=None, feature_extractor=None)
    theirs.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(5)
    image = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    hole = torch.zeros(1, 1, 64, 64)
    hole[:, :, 16:32, 8:40] = 1
    exemplar = torch.randn(1, 3, 16, 16, generator=generator)
    noise = ours.noise([3])
    expected = theirs(example_image=exemplar, image=image, mask_image=hole, latents=noise,
                      num_inference_steps=6, guidance_scale=5, output_type="pt",
                      generator=torch.Generator().manual_seed(3)).images
    found = ours.paint(exemplar, image, hole, noise, 6, 5,
                       generator=torch.Generator().manual_seed(3))
    assert expected.std() > 0
    torch.testing.assert_close(found / 2 + .5, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("spelt", ["type", "string", "short"])
def test_half_precision(tmp_path, dtype, spelt):
    parts = published(tmp_path, safetensors=True, checker=True)
    name = str(dtype).removeprefix("torch.")
    pipe = load(tmp_path, **{"type": {"torch_dtype": dtype}, "short": {"dtype": dtype},
                             "string": {"torch_dtype": name}}[spelt])
    assert {getattr(pipe, name).dtype for name in CHECKED} == {dtype}
    weight = parts["unet"].conv_in.weight.to(dtype)
    assert torch.equal(pipe.unet.conv_in.weight, weight)


def test_half_precision_edits_a_picture(tmp_path, question):
    published(tmp_path)
    pipe = load(tmp_path, torch_dtype=torch.bfloat16)
    image = pipe(**question, num_inference_steps=2).images[0]
    assert image.size == (120, 80)


def test_saved_again_it_loads_again(tmp_path):
    parts = published(tmp_path / "published", checker=True)
    load(tmp_path / "published").save_pretrained(tmp_path / "again")
    assert list((tmp_path / "again").rglob("*.bin")) == []
    assert_same_weights(load(tmp_path / "again"), parts, CHECKED)


def test_a_variant_is_read_when_it_is_asked_for(tmp_path):
    parts = published(tmp_path, safetensors=True, checker=True)
    for path in list(tmp_path.rglob("*model.safetensors")):
        path.rename(path.with_suffix(".fp16.safetensors"))
    assert_same_weights(load(tmp_path, variant="fp16"), parts, CHECKED)
    with pytest.raises(OSError, match="diffusion_pytorch_model.safetensors"):
        load(tmp_path)


def test_a_full_bin_is_found_beside_a_half_variant(tmp_path):
    parts = published(tmp_path)
    for part in MODELS:
        (path,) = (tmp_path / part).glob("*.bin")
        name = path.stem.replace("pytorch_", "") if part == "image_encoder" else path.stem
        save_file({"other": torch.zeros(1)}, path.with_name(f"{name}.fp16.safetensors"))
    assert_same_weights(load(tmp_path), parts)
    with pytest.raises(OSError, match="lack"):
        load(tmp_path, variant="fp16")


def test_bin_files_are_read_where_they_are_asked_for(tmp_path):
    parts = published(tmp_path)
    for part in MODELS:
        (path,) = (tmp_path / part).glob("*.bin")
        name = path.stem.replace("pytorch_", "") if part == "image_encoder" else path.stem
        save_file({"other": torch.zeros(1)}, path.with_name(f"{name}.safetensors"))
    assert_same_weights(load(tmp_path, use_safetensors=False), parts)
    with pytest.raises(OSError, match="lack"):
        load(tmp_path)


@pytest.mark.parametrize("value", ["fp16", "int64", 16, torch.int64])
def test_a_type_that_is_none_is_named(tmp_path, value):
    with pytest.raises(ValueError, match="torch_dtype must be float32, float16 or bfloat"):
        load(tmp_path, torch_dtype=value)


# ----------------------------------------------------------------------- half there


def weights_of(folder, part):
    (path,) = (*(folder / part).glob("*.bin"), *(folder / part).glob("*.safetensors"))
    return path


DAMAGES = {
    "is a Git-LFS pointer": lambda path: path.write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 9\n"),
    "is cut off or damaged": lambda path: path.write_bytes(path.read_bytes()[:-999]),
    "is empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("part", CHECKED)
@pytest.mark.parametrize("safetensors", [False, True])
@pytest.mark.parametrize("told", DAMAGES)
def test_a_file_that_is_half_there_is_told_in_one_line(tmp_path, part, safetensors, told):
    published(tmp_path, safetensors, checker=True)
    path = weights_of(tmp_path, part)
    DAMAGES[told](path)
    with pytest.raises(OSError, match=f"^{path} {told}") as raised:
        load(tmp_path)
    assert "\n" not in str(raised.value) and "any program" not in str(raised.value)


def edited(path, change):
    """Let `change` work on the tensors of a file."""
    read = load_file if path.suffix == ".safetensors" else torch.load
    state = read(path)
    change(state)
    if path.suffix == ".safetensors":
        save_file(state, path, metadata={"format": "pt"})
    else:
        torch.save(state, path)


NAMES = {"vae": "decoder.conv_in.bias", "unet": "mid_block.resnets.0.conv1.bias",
         "image_encoder": "uncond_vector", "safety_checker": "concept_embeds"}


@pytest.mark.parametrize("part", CHECKED)
@pytest.mark.parametrize("safetensors", [False, True])
def test_tensors_that_are_missing_or_left_over_are_named(tmp_path, part, safetensors):
    published(tmp_path, safetensors, checker=True)
    path, name = weights_of(tmp_path, part), NAMES[part]
    tensors = {}
    edited(path, lambda state: tensors.update({name: state.pop(name)}))
    with pytest.raises(OSError, match=f"{part} lack {name}: the download is not whole"):
        load(tmp_path)
    edited(path, lambda state: state.update(tensors, stray=torch.zeros(2)))
    with pytest.raises(OSError, match=f"{part} have no place for stray"):
        load(tmp_path)


@pytest.mark.parametrize("part", CHECKED)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, part, value):
    published(tmp_path, checker=True)
    edited(weights_of(tmp_path, part), lambda state: state[NAMES[part]].fill_(value))
    with pytest.raises(ValueError, match=f"{part} hold NaN or infinite.*{NAMES[part]}"):
        load(tmp_path)


def test_weights_too_large_for_half_precision_are_refused(tmp_path):
    published(tmp_path)
    edited(weights_of(tmp_path, "unet"), lambda state: state[NAMES["unet"]].fill_(1e5))
    assert load(tmp_path).unet.dtype == torch.float32
    with pytest.raises(ValueError, match="too large for float16"):
        load(tmp_path, torch_dtype="float16")


def test_a_lean_folder_is_checked_too(tmp_path):
    for part in ("clip", "codec", "final"):
        shutil.copytree(WEIGHTS / part, tmp_path / part)
    path = weights_of(tmp_path / "final", "image_encoder")
    load(tmp_path / "final")
    edited(path, lambda state: state.pop("proj_out.bias"))
    with pytest.raises(OSError, match="lack proj_out.bias"):
        load(tmp_path / "final")
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(OSError, match="Git-LFS pointer"):
        load(tmp_path / "final")


# ------------------------------------------------------------------------- pickles


class Attack:
    def __reduce__(self):
        return exec, ("raise SystemExit('a program in the weights was run')",)


@pytest.mark.parametrize("part", CHECKED)
def test_a_bin_file_that_holds_a_program_is_not_read(tmp_path, part):
    published(tmp_path, checker=True)
    (path,) = (tmp_path / part).glob("*.bin")
    for write_file in (lambda: torch.save({"weight": Attack()}, path),
                       lambda: path.write_bytes(pickle.dumps(Attack()))):
        write_file()
        with pytest.raises(OSError, match=f"{path.name}|more than tensors"):
            load(tmp_path)


def test_safetensors_go_first(tmp_path):
    parts = published(tmp_path, safetensors=True, checker=True)
    for part in CHECKED:
        (file,) = (tmp_path / part).glob("*.safetensors")
        name = "pytorch_model.bin" if file.stem == "model" else f"{file.stem}.bin"
        (tmp_path / part / name).write_bytes(pickle.dumps(Attack()))
    assert_same_weights(load(tmp_path), parts, CHECKED)


# -------------------------------------------------------------------------- safety


def objecting(folder, objects):
    """The published folder, its checker made to object to all or to nothing."""
    parts = published(folder, checker=True)
    checker = parts["safety_checker"]
    with torch.no_grad():
        checker.concept_embeds_weights.fill_(-2 if objects else 2)
        checker.special_care_embeds_weights.fill_(2)
    config = json.loads((folder / "safety_checker" / "config.json").read_text())
    write(folder / "safety_checker", config, checker.state_dict(), "model", False)


@pytest.mark.parametrize("objects", [True, False])
def test_what_the_checker_objects_to_is_black_and_told(tmp_path, question, objects):
    objecting(tmp_path, objects)
    pipe = load(tmp_path)
    out = pipe(**question, num_inference_steps=2, num_images_per_prompt=2,
               output_type="np", paste=False)
    assert out.nsfw_content_detected == [objects, objects]
    assert all((image == 0).all() == objects for image in out.images)
    pasted = np.asarray(pipe(**question, num_inference_steps=2).images[0])
    source, hole = np.asarray(question["image"]), question["mask_image"]
    np.testing.assert_array_equal(pasted[~hole], source[~hole])


def test_the_checker_is_left_out_when_told(tmp_path, question):
    objecting(tmp_path, True)
    pipe = load(tmp_path, safety_checker=None)
    assert pipe.safety_checker is None and pipe.feature_extractor is None
    out = pipe(**question, num_inference_steps=2, paste=False, output_type="np")
    assert out.nsfw_content_detected is None and out.images[0].std() > 0


def test_the_command_has_the_checker_on_and_can_leave_it_out(tmp_path, picture, capsys):
    objecting(tmp_path, True)
    hole = np.zeros((80, 120), np.uint8)
    hole[20:50, 60:95] = 255
    picture(80, 120).save(tmp_path / "image.png")
    picture(20, 20).save(tmp_path / "example-image.png")
    Image.fromarray(hole).save(tmp_path / "mask-image.png")
    call = ["edit", "--model", str(tmp_path), "--num-inference-steps", "2"]
    for name in ("example-image", "image", "mask-image", "out"):
        call += [f"--{name}", str(tmp_path / f"{name}.png")]
    cli.main(call)
    assert "the safety checker objected" in capsys.readouterr().out
    black = np.asarray(Image.open(tmp_path / "out.png"))[35, 77]
    cli.main([*call, "--no-safety-checker"])
    assert "objected" not in capsys.readouterr().out
    assert black.max() == 0 < np.asarray(Image.open(tmp_path / "out.png"))[35, 77].max()


def test_a_model_published_without_a_checker_has_none(tmp_path):
    published(tmp_path)
    for missing in ([None, None], None):
        index = {**INDEX, "safety_checker": missing}
        (tmp_path / "model_index.json").write_text(json.dumps(index))
        assert load(tmp_path).safety_checker is None


@pytest.mark.parametrize("checker", [False, True])
def test_a_checker_of_ones_own_is_used(tmp_path, question, checker):
    """As strict as can be, in a folder with a checker and without."""
    mine = published(tmp_path, checker=checker)["safety_checker"]
    mine.concept_embeds_weights.data.fill_(-2)
    mine.special_care_embeds_weights.data.fill_(2)
    pipe = load(tmp_path, safety_checker=mine)
    assert pipe.safety_checker is mine and pipe.feature_extractor is not None
    assert pipe(**question, num_inference_steps=2).nsfw_content_detected == [True]
    extractor = pipe.feature_extractor
    index = {**INDEX, "feature_extractor": [None, None]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="feature_extractor must be given"):
        load(tmp_path, safety_checker=mine)
    again = load(tmp_path, safety_checker=mine, feature_extractor=extractor)
    assert again.feature_extractor is extractor


def test_parts_that_are_given_are_used_and_not_read(tmp_path):
    parts = published(tmp_path)
    given = {"unet": parts["unet"], "vae": parts["vae"],
             "image_encoder": parts["image_encoder"], "scheduler": DDIMScheduler()}
    for part in MODELS:
        weights_of(tmp_path, part).unlink()
    pipe = load(tmp_path, **given)
    assert all(getattr(pipe, name) is part for name, part in given.items())


# -------------------------------------------------------------------------- errors


def test_another_kind_of_model_is_named(tmp_path):
    stable_diffusion(tmp_path)
    with pytest.raises(ValueError, match="path must hold a Paint by Example model; .*"
                                         "holds a StableDiffusionPipeline"):
        load(tmp_path)


@pytest.mark.parametrize("part", CHECKED)
def test_a_missing_part_is_an_os_error(tmp_path, part):
    published(tmp_path, checker=True)
    (path,) = (tmp_path / part).glob("*.bin")
    path.unlink()
    with pytest.raises(OSError, match="model.safetensors"):
        load(tmp_path)


# ------------------------------------------------------------------ the real sizes


def shapes(module):
    return {k: tuple(v.shape) for k, v in module.state_dict().items()}


def on_meta(build):
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build()


def test_the_full_unet_has_the_published_names_and_shapes():
    ours = shapes(on_meta(lambda: build_unet(FULL)))
    theirs = shapes(on_meta(lambda: UNet2DConditionModel.from_config(UNET)))
    assert ours == theirs and len(ours) == 686
    assert ours["conv_in.weight"] == (320, 9, 3, 3)
    block = "down_blocks.1.attentions.0.transformer_blocks.0"
    assert ours[f"{block}.attn2.to_k.weight"] == (640, 768)
    assert ours["down_blocks.1.attentions.0.proj_in.weight"] == (640, 640, 1, 1)


def test_the_full_encoder_has_the_published_names_and_shapes():
    config = CLIPVisionConfig(**FULL.clip["vision_config"], tokens="class",
                              projection_dim=FULL.unet["cross_attention_dim"])
    ours = shapes(on_meta(lambda: ExemplarEncoder(config)))
    theirs = shapes(on_meta(lambda: stock_parts.PaintByExampleImageEncoder(
        CLIPVisionConfig(**ENCODER))))
    theirs = {k.replace("model.", "model.vision_model.", 1) if k.startswith("model.")
              else k: v for k, v in theirs.items()}
    assert ours == theirs
    # 24 layers of 16, 7 around them; 5 mapper blocks of 16; norm, projection, null vector
    assert len(ours) == 24 * 16 + 7 + 5 * 16 + 5
    assert ours["uncond_vector"] == (1, 1, 768)
    assert ours["model.vision_model.embeddings.position_embedding.weight"] == (257, 1024)


def test_the_full_vae_is_the_published_one():
    vae = on_meta(lambda: AutoencoderKL.from_config(VAE))
    assert len(shapes(vae)) == 248
    assert sum(p.numel() for p in vae.parameters()) == 83_653_863
    assert 2 ** (len(vae.config.block_out_channels) - 1) == FULL.latent_factor
    assert vae.config.latent_channels == FULL.latent_channels
    assert shapes(vae)["encoder.conv_out.weight"] == (8, 512, 3, 3)


def test_what_the_full_model_trains_is_about_923_million_numbers():
    config = CLIPVisionConfig(**FULL.clip["vision_config"], projection_dim=768)
    encoder = on_meta(lambda: ExemplarEncoder(config))
    unet = on_meta(lambda: build_unet(FULL))
    count = sum(p.numel() for p in [*unet.parameters(), *encoder.parameters()]
                if p.requires_grad)
    assert count == pytest.approx(923e6, rel=.002)
