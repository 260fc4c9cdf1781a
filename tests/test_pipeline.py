"""The pipeline: diffusers' own numbers, any picture, and no surprise outside the hole."""

import warnings

import diffusers
import numpy as np
import pytest
import torch
from conftest import name_of, pixels
from diffusers.pipelines.deprecated import paint_by_example as stock_parts
from PIL import Image

from pbe_lite import PaintByExamplePipeline, crop_and_paste
from pbe_lite.data.augmentation import squash
from pbe_lite.data.triplets import to_clip, to_signed
from pbe_lite.pipeline import to_bytes

SCHEDULERS = [
    "DDIMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler",
    "EulerDiscreteScheduler", "DDPMScheduler", "LMSDiscreteScheduler",
    "DEISMultistepScheduler",
]
# diffusers' own limit: these take a net that predicts the noise, as the paper's does,
# and none that predicts the sample, as the lite one does
FOR_NOISE_ONLY = [
    "PNDMScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler"]


def set_scheduler(pipe, name, **options):
    kind = getattr(diffusers, name)
    pipe.scheduler = kind.from_config(pipe.scheduler.config, **options)
    return pipe


def squares(pipe, batch=2):
    """A batch of what `paint` takes."""
    side, latent = pipe.resolution, pipe.unet.config.sample_size
    exemplar = pipe.image_encoder.config.image_size
    generator = torch.Generator().manual_seed(5)
    image = torch.rand(batch, 3, side, side, generator=generator) * 2 - 1
    hole = torch.zeros(batch, 1, side, side)
    hole[:, :, side // 4:side // 2, side // 8:side // 2] = 1
    return (torch.randn(batch, 3, exemplar, exemplar, generator=generator), image, hole,
            torch.randn(batch, 4, latent, latent, generator=generator))


# ------------------------------------------------------- next to diffusers' pipeline


def stock(pipe):
    """diffusers' deprecated pipeline, put together in memory from the same parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoder = stock_parts.PaintByExampleImageEncoder(pipe.image_encoder.config).eval()
        encoder.load_state_dict({k.replace("vision_model.", ""): v for k, v in
                                 pipe.image_encoder.state_dict().items()})
        theirs = stock_parts.PaintByExamplePipeline(
            vae=pipe.vae, image_encoder=encoder, unet=pipe.unet, scheduler=pipe.scheduler,
            safety_checker=None, feature_extractor=None)
    theirs.set_progress_bar_config(disable=True)
    return theirs


@pytest.mark.parametrize("guidance", [1, 5])
@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "PNDMScheduler"])
def test_the_raw_decode_equals_diffusers_own(kl_pipe, scheduler, guidance):
    set_scheduler(kl_pipe, scheduler)
    exemplar, image, hole, noise = squares(kl_pipe, 1)
    ours = kl_pipe.paint(exemplar, image, hole, noise, 6, guidance,
                         generator=torch.Generator().manual_seed(3))
    theirs = stock(kl_pipe)(
        example_image=exemplar, image=image, mask_image=hole, latents=noise,
        num_inference_steps=6, guidance_scale=guidance, output_type="pt",
        generator=torch.Generator().manual_seed(3)).images
    assert 0 < theirs.std() < 1
    torch.testing.assert_close(ours / 2 + .5, theirs, atol=1e-4, rtol=0)


def test_the_whole_call_equals_diffusers_own(kl_pipe, picture):
    """PIL images of the model's size, preprocessing and all."""
    image, exemplar = picture(32, 32), picture(16, 16)
    hole = np.zeros((32, 32), bool)
    hole[8:20, 10:26] = True
    ours = pixels(kl_pipe(
        exemplar, image, hole, num_inference_steps=4, latents=kl_pipe.noise([11]),
        generator=torch.Generator().manual_seed(11), context=100, paste=False))[0]
    theirs = stock(kl_pipe)(
        example_image=to_clip(np.asarray(exemplar))[None], image=image,
        mask_image=Image.fromarray(hole.astype(np.uint8) * 255),
        latents=kl_pipe.noise([11]), num_inference_steps=4, guidance_scale=5.,
        output_type="np", generator=torch.Generator().manual_seed(11)).images[0]
    assert np.abs(ours - 255 * theirs).max() <= .51


# -------------------------------------------------------------------------- paint


def test_guidance_is_the_formula(pipe):
    exemplar, image, hole, noise = squares(pipe, 1)
    seen = []

    class Recorder(torch.nn.Module):
        config, device, dtype = pipe.unet.config, pipe.unet.device, pipe.unet.dtype

        def forward(self, x, t, condition):
            seen.append((x, condition))
            value = condition.mean((1, 2))[:, None, None, None]
            return diffusers.utils.BaseOutput(sample=value.expand(-1, 4, 8, 8))

    pipe.register_modules(unet=Recorder())
    step = pipe.scheduler.step
    predicted = []
    pipe.scheduler.step = lambda out, *a, **k: predicted.append(out) or step(out, *a, **k)
    pipe.paint(exemplar, image, hole, noise, guidance_scale=3, num_inference_steps=2)
    condition, null = pipe.image_encoder(exemplar), pipe.image_encoder.uncond_vector
    x, used = seen[0]
    torch.testing.assert_close(used, torch.cat([null, condition]))
    torch.testing.assert_close(x[0], x[1])
    expected = null.mean() + 3 * (condition.mean() - null.mean())
    torch.testing.assert_close(predicted[0], expected.expand(1, 4, 8, 8))
    seen.clear()
    pipe.paint(exemplar, image, hole, noise, guidance_scale=1, num_inference_steps=2)
    assert all(len(x) == 1 for x, _ in seen)  # the second half is not computed


def test_guidance_acts_in_its_interval_only(pipe):
    exemplar, image, hole, noise = squares(pipe, 2)
    sizes, forward = [], pipe.unet.forward

    def count(x, *args, **options):
        sizes.append(len(x))
        return forward(x, *args, **options)

    def paint(**options):
        sizes.clear()
        return pipe.sample(exemplar, image, hole, noise, 4, **options)

    pipe.unet.forward = count
    guided, plain = paint(guidance_scale=3), paint(guidance_scale=1)
    nowhere = paint(guidance_scale=3, guidance_interval=(.5, .5))
    torch.testing.assert_close(nowhere, plain)
    between = paint(guidance_scale=3, guidance_interval=(.25, .75))
    assert sizes == [2, 4, 4, 2]
    assert (between - plain).abs().max() > 1e-3 and (between - guided).abs().max() > 1e-3


def test_what_is_in_the_hole_cannot_be_seen(pipe):
    exemplar, image, hole, noise = squares(pipe)
    other = torch.where(hole > 0, -image, image)
    a, b = (pipe.paint(exemplar, i, hole, noise, 3) for i in (image, other))
    torch.testing.assert_close(a, b)
    outside = torch.where(hole > 0, image, -image)
    assert not torch.allclose(a, pipe.paint(exemplar, outside, hole, noise, 3))


def test_each_of_a_batch_is_painted_alone(pipe):
    inputs = squares(pipe, 3)
    together = pipe.paint(*inputs, num_inference_steps=3)
    for i in range(3):
        alone = pipe.paint(*(x[i:i + 1] for x in inputs), num_inference_steps=3)
        torch.testing.assert_close(together[i:i + 1], alone, atol=1e-4, rtol=1e-4)


def test_hole_exemplar_and_noise_all_count(pipe):
    inputs = list(squares(pipe, 1))
    first = pipe.paint(*inputs, num_inference_steps=3)
    for position, other in ((0, -inputs[0]), (2, inputs[2].flip(-1)), (3, -inputs[3])):
        changed = [*inputs[:position], other, *inputs[position + 1:]]
        assert (pipe.paint(*changed, num_inference_steps=3) - first).abs().max() > 1e-3


@pytest.mark.parametrize(("name", "prediction"), [
    *((name, prediction) for name in SCHEDULERS for prediction in ("epsilon", "sample")),
    *((name, "epsilon") for name in FOR_NOISE_ONLY)])
def test_any_scheduler_paints(pipe, question, name, prediction):
    set_scheduler(pipe, name, prediction_type=prediction)
    images = [pixels(pipe(**question, num_inference_steps=5, seed=2, paste=False))[0]
              for _ in range(2)]
    np.testing.assert_array_equal(*images)  # stochastic or not, and with no state left over
    assert images[0].shape == (64, 64, 3) and images[0].std() > 1
    moved = pixels(pipe(**question, num_inference_steps=5, seed=3, paste=False))[0]
    assert (moved != images[0]).any()


@pytest.mark.parametrize(("spacing", "offset", "most"), [
    ("leading", 0, 1000), ("leading", 1, 999), ("trailing", 1, 1000)])
def test_as_many_steps_as_there_are_noise_levels(pipe, spacing, offset, most):
    set_scheduler(pipe, "DDIMScheduler", timestep_spacing=spacing, steps_offset=offset)
    pipe.scheduler.set_timesteps(pipe.most_steps)
    assert pipe.most_steps == most
    assert pipe.scheduler.timesteps.max() == 999 and pipe.scheduler.timesteps.min() >= 0


def test_schedulers_agree_on_where_they_are_going(pipe):
    """Different solvers of the same equation end near each other after many steps."""
    for block in pipe.unet.parameters():
        block.data.mul_(.5)  # a tamer net
    inputs, ends = squares(pipe, 1), []
    for name in ("DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler",
                 "UniPCMultistepScheduler", "PNDMScheduler"):
        set_scheduler(pipe, name, timestep_spacing="trailing", prediction_type="epsilon")
        ends.append(pipe.paint(*inputs, guidance_scale=1, num_inference_steps=100))
    spread = max(float((end - ends[0]).square().mean().sqrt()) for end in ends[1:])
    different = pipe.paint(*inputs[:3], -inputs[3], 20, guidance_scale=1)
    assert spread < .2 * float((different - ends[-1]).square().mean().sqrt())


# --------------------------------------------------------------------------- calls


def test_sample_i_is_the_single_call_with_seed_plus_i(pipe, question):
    for scheduler in ("DDIMScheduler", "EulerAncestralDiscreteScheduler"):
        set_scheduler(pipe, scheduler, prediction_type="epsilon")
        several = pixels(pipe(**question, num_inference_steps=4, seed=7,
                              num_images_per_prompt=3))
        assert len(several) == 3
        for i, image in enumerate(several):
            alone = pixels(pipe(**question, num_inference_steps=4, seed=7 + i))[0]
            assert np.abs(image.astype(int) - alone).max() <= 1
        assert (several[0] != several[1]).any()


def test_samples_are_single_calls_with_a_vae_that_draws_too(kl_pipe, question):
    with torch.no_grad():  # a posterior wide enough to be seen
        kl_pipe.vae.quant_conv.bias[4:] += 2
    several = pixels(kl_pipe(**question, num_inference_steps=3, seed=1,
                             num_images_per_prompt=2))
    for i, image in enumerate(several):
        alone = pixels(kl_pipe(**question, num_inference_steps=3, seed=1 + i))[0]
        assert np.abs(image.astype(int) - alone).max() <= 1


def test_numpy_seeds_are_seeds(pipe, question):
    a, b = (pixels(pipe(**question, num_inference_steps=2, seed=s))[0]
            for s in (5, np.int64(5)))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "shape", [(100, 37), (37, 100), (480, 640), (64, 64), (1, 2), (2, 1), (1, 40), (9, 7)]
)
def test_any_size_and_not_a_pixel_changed_outside_the_hole(pipe, picture, shape):
    image = np.array(picture(*shape))
    hole = np.zeros(shape, bool)
    hole[shape[0] // 4:(shape[0] + 1) // 2, shape[1] // 4:(shape[1] + 1) // 2] = True
    assert hole.any() and not hole.all()
    result = pipe(picture(20, 30), image, hole, num_inference_steps=2).images[0]
    assert result.size == shape[::-1] and result.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(result)[~hole], image[~hole])
    assert (np.asarray(result)[hole] != image[hole]).any()


def test_every_kind_of_input_gives_the_same(pipe, question, tmp_path):
    array, hole = np.asarray(question["image"]), question["mask_image"]
    exemplar = np.asarray(question["example_image"])
    arrays = {"image": array, "mask": hole * np.uint8(255), "exemplar": exemplar}
    for name, a in arrays.items():
        Image.fromarray(a).save(tmp_path / f"{name}.png")
    tensor = lambda a: torch.from_numpy(a.copy()).permute(2, 0, 1)
    path = lambda name: tmp_path / f"{name}.png"
    kinds = [
        (question["example_image"], question["image"], Image.fromarray(hole)),
        (exemplar, array, hole),
        (tensor(exemplar), tensor(array), torch.from_numpy(hole)[None]),
        (tensor(exemplar) / 255, tensor(array) / 255, torch.from_numpy(hole).float()),
        (path("exemplar"), path("image"), str(path("mask"))),
        (exemplar, array / 255, hole.astype(float)),
    ]
    results = [pixels(pipe(*kind, num_inference_steps=2))[0] for kind in kinds]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_inputs_are_left_as_they_were(pipe, question):
    arrays = {k: np.array(v) for k, v in question.items()}
    before = {k: v.copy() for k, v in arrays.items()}
    pipe(**arrays, num_inference_steps=2)
    for k in arrays:
        np.testing.assert_array_equal(arrays[k], before[k])


def test_output_types_hold_the_same_picture(pipe, question):
    pil, array, tensor = (pipe(**question, num_inference_steps=2, output_type=t).images[0]
                          for t in ("pil", "np", "pt"))
    assert isinstance(pil, Image.Image) and array.dtype == np.float32
    np.testing.assert_allclose(np.asarray(pil), array * 255, atol=1e-4)
    assert tensor.shape == (3, 80, 120) and tensor.dtype == torch.float32
    np.testing.assert_array_equal(tensor.permute(1, 2, 0), array)


def test_pasted_is_the_raw_decode_laid_into_the_hole(pipe, question):
    raw = pixels(pipe(**question, num_inference_steps=2, paste=False))[0]
    pasted = pixels(pipe(**question, num_inference_steps=2))[0]
    assert raw.shape == (64, 64, 3)
    image, hole = np.asarray(question["image"]), question["mask_image"]
    expected = crop_and_paste.paste(image, raw, hole, crop_and_paste.hole_window(hole, 3))
    np.testing.assert_array_equal(pasted, expected)


def test_the_model_sees_the_window_around_the_hole(pipe, question, monkeypatch):
    seen = {}

    def sample(exemplar, image, hole, latents, *rest, **more):
        seen.update(image=image, hole=hole, exemplar=exemplar)
        return pipe.encode(image)

    monkeypatch.setattr(pipe, "sample", sample)
    pipe(**question, context=2)
    image, mask = np.asarray(question["image"]), question["mask_image"]
    window = crop_and_paste.hole_window(mask, 2)
    left, top, side = window
    assert side == 70  # twice the hole's longer side
    square = Image.fromarray(image[top:top + side, left:left + side])
    expected = to_signed(np.asarray(square.resize((64, 64), Image.Resampling.LANCZOS)))
    assert torch.equal(seen["image"][0], expected)
    share = mask.sum() / side ** 2
    assert seen["hole"].float().mean() == pytest.approx(share, rel=.1)
    assert torch.equal(seen["exemplar"][0], to_clip(squash(question["example_image"], 16)))


def test_a_painter_who_changes_nothing_leaves_the_picture_alone(
        pipe, question, monkeypatch):
    monkeypatch.setattr(pipe, "sample", lambda exemplar, image, *rest, **more: image)
    monkeypatch.setattr(pipe, "decode", lambda image: image)
    result = np.asarray(pipe(**question, context=64 / 35).images[0])  # a 64 px window
    np.testing.assert_array_equal(result, np.asarray(question["image"]))


def test_a_condition_stands_in_for_the_exemplar(pipe):
    exemplar, image, hole, noise = squares(pipe)
    condition = pipe.image_encoder(exemplar)
    painted = pipe.paint(exemplar, image, hole, noise, 3, 3.0)
    assert torch.equal(painted, pipe.paint(None, image, hole, noise, 3, 3.0,
                                           condition=condition))
    assert not torch.equal(painted, pipe.paint(None, image, hole, noise, 3, 3.0,
                                               condition=condition.flip(0)))


def test_the_callback_watches_every_step(pipe, question):
    seen = []

    def watch(watched, step, timestep, tensors):
        assert watched is pipe and pipe.num_timesteps == 4
        seen.append((step, int(timestep), tensors["latents"]))

    call = dict(num_inference_steps=4, num_images_per_prompt=2)
    pipe(**question, **call, callback_on_step_end=watch)
    assert [step for step, _, _ in seen] == [0, 1, 2, 3]
    assert [t for _, t, _ in seen] == pipe.scheduler.timesteps.tolist()
    assert all(latents.shape == (2, 4, 8, 8) for _, _, latents in seen)
    final = to_bytes(pipe.decode(seen[-1][2]))
    raw = pixels(pipe(**question, **call, paste=False))
    np.testing.assert_array_equal(final, raw)


# ------------------------------------------------------------------- save and load


@pytest.mark.parametrize("fixture", ["pipe", "kl_pipe"])
@pytest.mark.parametrize("scheduler", ["DPMSolverMultistepScheduler", "PNDMScheduler"])
def test_saved_and_loaded_it_paints_the_same(
        fixture, scheduler, question, tmp_path, request):
    pipe = set_scheduler(request.getfixturevalue(fixture), scheduler,
                         prediction_type="epsilon")
    pipe.save_pretrained(tmp_path)
    loaded = PaintByExamplePipeline.from_pretrained(tmp_path)
    assert type(loaded.scheduler).__name__ == scheduler
    assert type(loaded.vae) is type(pipe.vae)
    assert loaded.resolution == pipe.resolution
    assert not any(m.training for m in (loaded.vae, loaded.image_encoder, loaded.unet))
    loaded.set_progress_bar_config(disable=True)
    a, b = (pixels(p(**question, num_inference_steps=5))[0] for p in (pipe, loaded))
    assert np.abs(a.astype(int) - b).max() <= 1  # loaded, it attends by the short cut
    again = PaintByExamplePipeline.from_pretrained(str(tmp_path))
    assert torch.equal(again.unet.conv_in.weight, pipe.unet.conv_in.weight)


def test_weights_bring_their_own_guidance_and_steps(pipe, question, tmp_path):
    assert pipe.defaults() == (5.0, 50)  # the paper's
    pipe.register_to_config(guidance_scale=2.5, num_inference_steps=3)
    pipe.save_pretrained(tmp_path)
    loaded, seen = PaintByExamplePipeline.from_pretrained(tmp_path), []
    loaded.set_progress_bar_config(disable=True)
    parts = {name for name, part in loaded.components.items() if part is not None}
    assert parts == {"vae", "image_encoder", "unet", "scheduler"}
    image = pixels(loaded(**question, callback=lambda *step: seen.append(step)))[0]
    assert len(seen) == 3
    given = pixels(loaded(**question, guidance_scale=2.5, num_inference_steps=3))[0]
    np.testing.assert_array_equal(image, given)
    other = pixels(loaded(**question, guidance_scale=1))[0]
    assert (other != image).any()
    index = tmp_path / "model_index.json"  # as it was written before
    index.write_text(index.read_text().replace("num_inference_steps", "steps"))
    assert PaintByExamplePipeline.from_pretrained(tmp_path).defaults() == (2.5, 3)


def test_the_published_layout_loads(kl_pipe, question, tmp_path):
    """`model_index.json` as published names classes that diffusers cannot load."""
    kl_pipe.save_pretrained(tmp_path)
    index = (tmp_path / "model_index.json").read_text()
    index = index.replace('"pbe_lite.models.exemplar_encoder"', '"paint_by_example"')
    index = index.replace('"ExemplarEncoder"', '"PaintByExampleImageEncoder"')
    assert "PaintByExampleImageEncoder" in index
    (tmp_path / "model_index.json").write_text(index)
    loaded = PaintByExamplePipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    a, b = (pixels(p(**question, num_inference_steps=2))[0] for p in (kl_pipe, loaded))
    assert np.abs(a.astype(int) - b).max() <= 1


def test_half_precision_files_load_as_float32(pipe, tmp_path):
    pipe.to(torch.float16).save_pretrained(tmp_path)
    loaded = PaintByExamplePipeline.from_pretrained(tmp_path)
    dtypes = lambda p: {m.dtype for m in (p.vae, p.image_encoder, p.unet)}
    assert dtypes(loaded) == {torch.float32}
    half = PaintByExamplePipeline.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    assert dtypes(half) == {torch.bfloat16}


def test_half_precision_paints_nearly_the_same(pipe, question):
    full = pixels(pipe(**question, num_inference_steps=3))[0]
    half = pixels(pipe.to(torch.bfloat16)(**question, num_inference_steps=3))[0]
    assert np.abs(full.astype(int) - half).mean() < 4


def test_no_such_model_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        PaintByExamplePipeline.from_pretrained(tmp_path / "nowhere")


def test_sizes_are_read_from_the_parts(pipe, kl_pipe):
    assert (pipe.latent_factor, pipe.resolution) == (8, 64)
    assert (kl_pipe.latent_factor, kl_pipe.resolution) == (2, 32)


# -------------------------------------------------------------------------- errors


@pytest.fixture
def sleeping(pipe):
    """A pipeline whose every part fails when it is used."""
    def fail(*args, **kwargs):
        raise AssertionError("sampling has begun")

    pipe.unet.forward = pipe.vae.encode = pipe.image_encoder.forward = fail
    return pipe


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"image": None}, "image must be"),
        ({"image": "no/such.png"}, "image: no file"),
        ({"image": np.full((80, 120, 3), np.nan)}, "image holds NaN"),
        ({"image": np.zeros((80, 120, 4), np.uint8)}, "image must have shape"),
        ({"mask_image": np.eye(80)}, r"mask_image must have the image's size \(80, 120\)"),
        ({"mask_image": np.zeros((80, 120))}, "mask_image is empty"),
        ({"mask_image": np.ones((80, 120))}, "mask_image covers"),
        ({"mask_image": np.full((80, 120), np.nan)}, "mask_image holds NaN"),
        ({"mask_image": {}}, "mask_image must be"),
        ({"example_image": Image.new("RGB", (0, 9))}, "example_image is empty"),
        ({"example_image": np.zeros((0, 4, 3), np.uint8)}, "example_image is empty"),
        ({"example_image": torch.full((3, 4, 4), torch.nan)}, "example_image holds NaN"),
        ({"example_image": 3}, "example_image must be"),
        ({"num_inference_steps": 0}, "num_inference_steps must be an integer"),
        ({"num_inference_steps": 2.5}, "num_inference_steps must be an integer"),
        ({"num_inference_steps": 5000}, "num_inference_steps must be an integer, 1 to 999"),
        ({"seed": -1}, "seed must be an integer"),
        ({"seed": 2 ** 70}, "seed must be an integer"),
        ({"seed": None}, "seed must be an integer"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt must be an integer"),
        ({"guidance_scale": float("nan")}, "guidance_scale must be a finite"),
        ({"guidance_scale": "5"}, "guidance_scale must be a finite"),
        ({"context": .5}, "context must be a finite number >= 1"),
        ({"context": float("inf")}, "context must be a finite"),
        ({"context": float("nan")}, "context must be a finite"),
        ({"context": "3"}, "context must be a finite"),
        ({"output_type": "jpg"}, "output_type must be"),
        ({"guidance_interval": (.6, .2)}, r"guidance_interval must be \(begin, end\)"),
        ({"guidance_interval": (0, 1.5)}, r"guidance_interval must be \(begin, end\)"),
        ({"guidance_interval": .5}, r"guidance_interval must be \(begin, end\)"),
    ],
    ids=name_of,
)
def test_bad_input_is_named_before_any_sampling(sleeping, question, change, expected):
    with pytest.raises(ValueError, match=f"^{expected}"):
        sleeping(**{**question, **change})


def test_the_sleeping_pipeline_would_tell(sleeping, question):
    with pytest.raises(AssertionError, match="sampling has begun"):
        sleeping(**question)


def test_to_bytes_rounds_and_clips():
    values = torch.tensor([-1., 1, 0, -3, 3, 1 / 127.5])
    expected = [0, 255, 128, 0, 255, 128]
    found = to_bytes(values.view(1, 1, 1, 6).expand(1, 3, 1, 6))
    assert found[0, 0, :, 0].tolist() == expected
