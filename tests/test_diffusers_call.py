"""A call, row by row as diffusers' own (deprecated) pipeline answers it from the same
parts: the names of the arguments, their meaning, and the numbers that come out."""

import inspect
import warnings

import diffusers
import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from conftest import name_of, randomise
from diffusers.pipelines.deprecated import paint_by_example as stock_parts
from PIL import Image
from transformers import CLIPImageProcessor

from pbe_lite import PaintByExamplePipeline

NOISE_ONLY = ("PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler",
              "HeunDiscreteScheduler", "EulerAncestralDiscreteScheduler")


@pytest.fixture
def stock(kl_pipe):
    """diffusers' pipeline, put together in memory from the same parts."""
    size = kl_pipe.image_encoder.config.image_size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoder = stock_parts.PaintByExampleImageEncoder(kl_pipe.image_encoder.config)
        encoder.load_state_dict({k.replace("vision_model.", ""): v for k, v in
                                 kl_pipe.image_encoder.state_dict().items()})
        pipe = stock_parts.PaintByExamplePipeline(
            vae=kl_pipe.vae, image_encoder=encoder.eval(), unet=kl_pipe.unet,
            scheduler=kl_pipe.scheduler, safety_checker=None,
            feature_extractor=CLIPImageProcessor(size={"shortest_edge": size},
                                                 crop_size={"height": size, "width": size}))
    pipe.set_progress_bar_config(disable=True)
    with torch.no_grad():  # a posterior wide enough to be seen
        kl_pipe.vae.quant_conv.bias[4:] += 2
    return pipe


@pytest.fixture
def asked(picture):
    """A square picture of the model's size, its mask, a square exemplar: PIL images."""
    hole = np.zeros((32, 32), np.uint8)
    hole[8:20, 10:26] = 255
    return {"example_image": picture(40, 40), "image": picture(32, 32),
            "mask_image": Image.fromarray(hole)}


def seeded(count=None):
    if count is None:
        return torch.Generator().manual_seed(3)
    return [torch.Generator().manual_seed(3 + i) for i in range(count)]


def both(kl_pipe, stock, asked, **call):
    """The arrays of both, each with generators of its own from the same seed.

    What is ours: the whole picture, not pasted."""
    call = {"num_inference_steps": 4, "output_type": "np", "generator": seeded, **call}
    make = call.pop("generator")
    theirs = stock(**asked, **call, generator=make()).images
    ours = kl_pipe(**asked, **call, generator=make(), context=100, paste=False).images
    return ours, theirs


def assert_close(ours, theirs):
    assert type(ours) is type(theirs) and ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype and ours.std() > 0
    torch.testing.assert_close(torch.as_tensor(ours), torch.as_tensor(theirs), atol=1e-4,
                               rtol=0)


# ------------------------------------------------------------------ names and defaults


def test_the_arguments_have_diffusers_names_order_and_defaults():
    theirs = inspect.signature(stock_parts.PaintByExamplePipeline.__call__).parameters
    ours = inspect.signature(PaintByExamplePipeline.__call__).parameters
    assert list(ours)[:len(theirs)] == list(theirs)
    own = {"num_inference_steps", "guidance_scale"}  # as the weights say
    for name, parameter in theirs.items():
        assert ours[name].default == (None if name in own else parameter.default), name
    assert all(ours[name].kind == inspect.Parameter.KEYWORD_ONLY
               for name in ("seed", "context", "paste", "exemplar_fit"))


def test_the_published_weights_have_diffusers_own_steps_and_guidance(kl_pipe):
    theirs = inspect.signature(stock_parts.PaintByExamplePipeline.__call__).parameters
    assert kl_pipe.defaults() == (theirs["guidance_scale"].default,
                                  theirs["num_inference_steps"].default)


# ------------------------------------------------------------------------ the numbers


@pytest.mark.parametrize("call", [
    {}, {"guidance_scale": 1.0}, {"guidance_scale": 7.5}, {"num_inference_steps": 7},
    {"eta": .7}, {"num_images_per_prompt": 3}, {"negative_prompt": "anything"},
    {"height": 32, "width": 32}, {"output_type": "pt"}, {"output_type": "latent"},
    {"generator": lambda: seeded(1)}], ids=name_of)
def test_a_call_gives_diffusers_own_numbers(kl_pipe, stock, asked, call):
    assert_close(*both(kl_pipe, stock, asked, **call))


def test_the_same_noise_gives_the_same_picture(kl_pipe, stock, asked):
    """latents, and a list of generators, one a result."""
    latents = kl_pipe.noise([5, 6])
    ours, theirs = both(kl_pipe, stock, asked, latents=latents, num_images_per_prompt=2)
    assert_close(ours, theirs)
    assert np.abs(ours[0] - ours[1]).max() > 1e-3
    swapped, _ = both(kl_pipe, stock, asked, latents=latents.flip(0),
                      num_images_per_prompt=2)
    assert np.abs(swapped[::-1] - ours).max() < .05 < np.abs(swapped - ours).max()


@pytest.mark.parametrize("generator", [seeded, lambda: seeded(2)], ids=["one", "list"])
@pytest.mark.parametrize("form", ["list", "tensor"])
def test_a_batch_gives_diffusers_own_numbers(kl_pipe, stock, asked, picture, generator,
                                             form):
    """Two images, masks and exemplars."""
    mask = asked["mask_image"]
    batch = {"example_image": [asked["example_image"], picture(16, 16).rotate(90)],
             "image": [asked["image"], asked["image"].rotate(90)],
             "mask_image": [mask, mask.transpose(Image.Transpose.ROTATE_90)]}
    call = dict(num_inference_steps=4, output_type="np")
    theirs = stock(**batch, **call, generator=generator()).images
    if form == "tensor":
        to_tensor = lambda p: torch.from_numpy(np.array(p)) / 255
        batch["image"] = torch.stack([to_tensor(p).permute(2, 0, 1)
                                      for p in batch["image"]])
        batch["mask_image"] = torch.stack([to_tensor(p)[None] for p in batch["mask_image"]])
    ours = kl_pipe(**batch, **call, generator=generator(), context=100, paste=False).images
    assert_close(ours, theirs)
    assert np.abs(ours[0] - ours[1]).max() > 1e-2


@pytest.mark.parametrize("size", [(16, 16), (33, 21), (21, 64), (300, 190)])
def test_an_exemplar_is_cropped_as_diffusers_does_when_told(kl_pipe, stock, asked, picture,
                                                            size):
    asked["example_image"] = picture(*size)
    call = dict(num_inference_steps=2, output_type="np", context=100, paste=False)
    theirs = stock(**asked, num_inference_steps=2, output_type="np",
                   generator=seeded()).images
    ours = {fit: kl_pipe(**asked, **call, generator=seeded(), exemplar_fit=fit).images
            for fit in ("center_crop", "squash")}
    assert_close(ours["center_crop"], theirs)
    square = size[0] == size[1]
    assert (np.abs(ours["squash"] - theirs).max() < 1e-4) == square


@pytest.mark.parametrize("name", ["DDIMScheduler", *NOISE_ONLY,
                                  "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"])
def test_every_scheduler_gives_diffusers_own_numbers(kl_pipe, stock, asked, name):
    kind = getattr(diffusers, name)
    for pipe in (kl_pipe, stock):
        pipe.scheduler = kind.from_config(pipe.scheduler.config)
    assert_close(*both(kl_pipe, stock, asked))


def test_pil_and_a_tuple_as_diffusers_has_them(kl_pipe, stock, asked):
    call = dict(**asked, num_inference_steps=2, return_dict=False)
    theirs, their_flags = stock(**call, generator=seeded())
    ours, flags = kl_pipe(**call, generator=seeded(), context=100, paste=False)
    assert flags is their_flags is None
    assert isinstance(ours, list) and isinstance(ours[0], Image.Image)
    gap = np.abs(np.asarray(ours[0]).astype(int) - np.asarray(theirs[0]))
    assert ours[0].size == theirs[0].size and gap.max() <= 1


# --------------------------------------------------------------------------- callbacks


@pytest.mark.parametrize("name", [
    "DDIMScheduler", "PNDMScheduler", "HeunDiscreteScheduler"])
def test_the_callback_is_called_as_diffusers_calls_it(kl_pipe, stock, asked, name):
    seen = {}
    for who, pipe in (("ours", kl_pipe), ("theirs", stock)):
        pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config)
        steps = seen[who] = []
        pipe(**asked, num_inference_steps=4, generator=seeded(),
             callback=lambda i, t, z, steps=steps: steps.append((i, int(t), z.clone())))
    assert [s[:2] for s in seen["ours"]] == [s[:2] for s in seen["theirs"]]
    assert len(seen["ours"]) == 4


def test_callback_steps_leaves_some_out(kl_pipe, asked):
    seen = []
    kl_pipe(**asked, num_inference_steps=5, callback=lambda i, t, z: seen.append(i),
            callback_steps=2)
    assert seen == [0, 2, 4]


def test_what_the_callback_returns_is_what_goes_on(kl_pipe, asked):
    call = dict(**asked, num_inference_steps=3, output_type="latent")
    zeros = lambda pipe, i, t, tensors: {"latents": torch.zeros_like(tensors["latents"])}
    assert kl_pipe(**call).images.std() > 0
    assert (kl_pipe(**call, callback_on_step_end=zeros).images == 0).all()
    seen = []
    kl_pipe(**call, callback_on_step_end=lambda p, i, t, tensors: seen.append(tensors),
            callback_on_step_end_tensor_inputs=["condition"])
    assert all(s.keys() == {"condition"} for s in seen)
    assert seen[0]["condition"].shape == (2, 1, 32)  # null vector and exemplar
    with pytest.raises(ValueError, match="callback_on_step_end_tensor_inputs must be one"):
        kl_pipe(**call, callback_on_step_end=zeros,
                callback_on_step_end_tensor_inputs=["prompt_embeds"])


# --------------------------------------------------------- what diffusers cannot do


def test_a_batch_of_images_with_several_results_each(pipe, question, picture):
    """Result k n + i is of image k, and what a call of its own gives."""
    hole = np.zeros((50, 40), bool)
    hole[10:30, 10:30] = True
    images, masks = [question["image"], picture(50, 40)], [question["mask_image"], hole]
    exemplar = question["example_image"]
    out = pipe(exemplar, images, masks, num_inference_steps=2, num_images_per_prompt=2,
               seed=4).images
    assert [image.size for image in out] == [(120, 80)] * 2 + [(40, 50)] * 2
    for k in range(4):
        alone = pipe(exemplar, images[k // 2], masks[k // 2], num_inference_steps=2,
                     seed=4 + k).images[0]
        gap = np.abs(np.asarray(out[k]).astype(int) - np.asarray(alone))
        assert gap.max() <= 1, k


def test_one_generator_draws_on(pipe, question):
    """It is not set back: two calls give two pictures, the same again from its seed."""
    def two():
        generator = torch.Generator().manual_seed(9)
        return [np.asarray(pipe(**question, num_inference_steps=2,
                                generator=generator).images[0]) for _ in range(2)]

    (a, b), (c, d) = two(), two()
    assert (a != b).any() and (a == c).all() and (b == d).all()


def test_seed_is_short_for_a_generator_a_result(pipe, question):
    call = dict(**question, num_inference_steps=2, output_type="np")
    short = pipe(**call, seed=7, num_images_per_prompt=2).images
    long = pipe(**call, num_images_per_prompt=2, generator=[
        torch.Generator().manual_seed(7), torch.Generator().manual_seed(8)]).images
    np.testing.assert_array_equal(short, long)


@pytest.mark.parametrize("output_type", ["pil", "np", "pt"])
@pytest.mark.parametrize("paste", [True, False])
def test_height_and_width_are_the_results(pipe, question, output_type, paste):
    call = dict(**question, num_inference_steps=2, output_type=output_type, paste=paste)
    shape = lambda out: {"pil": lambda: out[0].size[::-1], "np": lambda: out.shape[1:3],
                         "pt": lambda: tuple(out.shape[2:])}[output_type]()
    whole = pipe(**call).images
    assert shape(whole) == ((80, 120) if paste else (64, 64))
    assert shape(pipe(**call, height=30, width=50).images) == (30, 50)
    assert shape(pipe(**call, height=30).images) == (30, 120 if paste else 64)
    if output_type == "pil":
        resized = whole[0].resize((50, 30), Image.Resampling.LANCZOS)
        found = pipe(**call, height=30, width=50).images[0]
        np.testing.assert_array_equal(np.asarray(found), np.asarray(resized))


def test_parts_may_have_precisions_of_their_own(kl_pipe, asked):
    """As a VAE in float32, whose float16 overflows, beside a U-Net in half precision."""
    kl_pipe.unet.to(torch.bfloat16)
    full = kl_pipe(**asked, num_inference_steps=2, output_type="np").images
    assert np.isfinite(full).all() and full.std() > 0


def test_a_nan_is_told_and_not_painted(pipe, question):
    with torch.no_grad():
        pipe.unet.conv_out.bias[0] = float("nan")
    with pytest.raises(ValueError, match="holds NaN or infinite numbers: look at guidance"):
        pipe(**question, num_inference_steps=2)


def test_a_nan_of_the_decoder_is_told(pipe, question):
    randomise(pipe.vae.detail)[-2].bias.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="holds NaN or infinite numbers"):
        pipe(**question, num_inference_steps=2)


def test_an_absurd_guidance_is_told(pipe, question):
    with pytest.raises(ValueError, match="look at guidance_scale"):
        pipe(**question, num_inference_steps=2, guidance_scale=1e38)


@pytest.mark.parametrize(("change", "expected"), [
    ({"image": []}, "example_image, image and mask_image must be one or as many"),
    ({"image": [np.zeros((80, 120, 3))] * 2, "example_image": [np.zeros((9, 9, 3))] * 3},
     "example_image, image and mask_image must be one or as many as the others, got 3, 2"),
    ({"image": [np.zeros((80, 120, 3)), np.zeros((80, 120))[:7]]},
     r"mask_image must have the image's size \(7, 120\)"),
    ({"example_image": [np.zeros((9, 9, 3)), None]}, r"example_image\[1\] must be"),
    ({"image": [np.zeros((80, 120, 3)), np.ones((80, 60, 3))], "mask_image": [
        np.eye(80, 120), np.eye(80, 60)], "output_type": "np"}, "output_type 'np' needs"),
    ({"generator": 3}, "generator must be a torch.Generator or a list"),
    ({"generator": seeded(3)}, "generator must be one, or one a result, 1; got 3"),
    ({"latents": torch.zeros(1, 3, 8, 8)}, r"latents must be a tensor \(1, 4, 8, 8\), got"),
    ({"latents": np.zeros((1, 4, 8, 8))}, "latents must be a tensor"),
    ({"height": 0}, "height must be an integer, 1 to"),
    ({"width": 2.5}, "width must be an integer, 1 to"),
    ({"eta": -1}, "eta must be a finite number from 0 to 1"),
    ({"callback_steps": 0}, "callback_steps must be an integer"),
    ({"exemplar_fit": "pad"}, "exemplar_fit must be one of 'squash', 'center_crop'"),
], ids=name_of)
def test_bad_arguments_are_named(pipe, question, change, expected):
    with pytest.raises(ValueError, match=f"^{expected}"):
        pipe(**{**question, "num_inference_steps": 2, **change})


# ------------------------------------------------------------- what pipelines can do


def test_a_pipeline_of_diffusers_becomes_ours(kl_pipe, stock, asked):
    """The weights are shared, not copied."""
    ours = PaintByExamplePipeline.from_pipe(stock)
    ours.set_progress_bar_config(disable=True)
    for part in ("unet", "vae"):
        assert getattr(ours, part) is getattr(stock, part)
    assert ours.image_encoder.proj_out.weight.data_ptr() \
        == stock.image_encoder.proj_out.weight.data_ptr()
    assert ours.feature_extractor is stock.feature_extractor
    call = dict(**asked, num_inference_steps=2, output_type="np")
    theirs = stock(**call, generator=seeded()).images
    found = ours(**call, generator=seeded(), context=100, paste=False).images
    assert_close(found, theirs)


def test_a_pipeline_of_the_same_parts(pipe, question):
    scheduler = diffusers.EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    pipe.register_to_config(guidance_scale=2., steps=3)
    half = pipe.to(torch.bfloat16)
    twin = PaintByExamplePipeline.from_pipe(half, scheduler=scheduler)
    twin.set_progress_bar_config(disable=True)
    assert twin.scheduler is scheduler and twin.image_encoder is pipe.image_encoder
    assert twin.unet.dtype == torch.bfloat16 and twin.defaults() == (2., 3)
    assert twin(**question).images[0].size == (120, 80)


@pytest.mark.parametrize("fixture", ["pipe", "kl_pipe"])
@pytest.mark.parametrize("saving", [
    "enable_attention_slicing", "enable_vae_slicing", "enable_vae_tiling"])
def test_less_memory_gives_the_same_pictures(fixture, saving, question, request):
    pipe = request.getfixturevalue(fixture)
    call = dict(**question, num_inference_steps=2, num_images_per_prompt=2,
                output_type="np")
    before = pipe(**call).images
    getattr(pipe, saving)()
    np.testing.assert_allclose(pipe(**call).images, before, atol=1 / 254)
    getattr(pipe, saving.replace("enable", "disable"))()
    np.testing.assert_allclose(pipe(**call).images, before, atol=1 / 254)


def test_the_vae_is_really_told(kl_pipe):
    kl_pipe.enable_vae_slicing()
    kl_pipe.enable_vae_tiling()
    assert kl_pipe.vae.use_slicing and kl_pipe.vae.use_tiling


@pytest.mark.parametrize("fixture", ["pipe", "kl_pipe"])
@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_offloaded_weights_come_when_they_are_needed(fixture, offload, question, request):
    """On one device: where the weights are away they are on "meta", and cannot be used."""
    pipe = request.getfixturevalue(fixture)
    call = dict(**question, num_inference_steps=2, output_type="np")
    before = pipe(**call).images
    if offload == "model":
        pipe.enable_model_cpu_offload(device="cpu")
    else:  # what enable_sequential_cpu_offload does, which asks for a GPU
        for name in ("vae", "unet"):
            cpu_offload(getattr(pipe, name), torch.device("cpu"))
        assert "image_encoder" in pipe._exclude_from_cpu_offload
        assert pipe.unet.device.type == pipe.vae.device.type == "meta"
    for _ in range(2):
        np.testing.assert_array_equal(pipe(**call).images, before)
    assert pipe._execution_device.type == "cpu"
