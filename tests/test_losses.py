"""What is trained: the losses, what they reach and what they leave alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import default_collate

from pbe_lite import PaintByExamplePipeline
from pbe_lite.config import FULL, LITE
from pbe_lite.data.augmentation import squash
from pbe_lite.data.colours import COLOURS
from pbe_lite.data.images import CLIP_MEAN, CLIP_STD
from pbe_lite.data.triplets import to_clip, to_signed
from pbe_lite.models.clip import caption, tokenize
from pbe_lite.training.contrastive import Contrastive
from pbe_lite.training.losses import ARMS, build_objective, build_scheduler

KEYS = [(0, 0), (0, 3), (1, 3), (4, 7)]
# design.md's list of arms: prior, tokens, exemplar and shape augmentation, null vector
TABLE = {
    "scratch": (False, "all", False, False),
    "naive": (True, "all", False, False),
    "naive_augment": (True, "all", True, False),
    "bottleneck": (True, "class", False, False),
    "augment": (True, "class", True, False),
    "final": (True, "class", True, True),
    "tokens_5": (True, "class+4", False, False),
}


def batch_of(objective, keys=KEYS):
    return default_collate([objective[key] for key in keys])


def alpha_bar(preset, t):
    """Cumulative product of Stable Diffusion's schedule at t (B,), by its definition:
    (B, 1, 1, 1)."""
    noise = preset.noise
    betas = np.linspace(noise["beta_start"] ** .5, noise["beta_end"] ** .5, 1000) ** 2
    return torch.from_numpy(np.cumprod(1 - betas)).float()[t][:, None, None, None]


class Spy(torch.nn.Module):
    """In the place of a U-Net: keeps its input, answers zeros of `channels`."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x, t, encoder_hidden_states):
        self.x, self.t, self.condition = x, t, encoder_hidden_states
        return type("Output", (), {"sample": torch.zeros_like(x[:, :self.channels])})


# ---------------------------------------------------------------------- randomness


@pytest.mark.parametrize("arm", ["prior", "final"])
def test_a_sample_is_a_pure_function_of_seed_epoch_and_index(objective, arm):
    first, again, other = objective(arm), objective(arm), objective(arm, seed=1)
    again[2, 2]  # what was drawn before changes nothing
    for key in KEYS:
        a, b, c = first[key], again[key], other[key]
        assert all(np.array_equal(a[k], b[k]) for k in a)
        assert not torch.equal(a["noise"], c["noise"]) and a["drop"] != c["drop"]


def test_batches_hold_nothing_that_a_gpu_cannot(objective):
    for arm in ("clip", "codec", "prior", "final"):
        dtypes = {v.dtype for v in batch_of(objective(arm)).values()}
        assert dtypes <= {torch.float32, torch.int64}  # float64 is unknown to Apple's GPUs


def test_noise_differs_between_epochs_and_indices_and_is_normal(objective):
    final = objective("final")
    draws = [final.noise_sample(e, i) for e in range(20) for i in range(10)]
    assert len({d["drop"] for d in draws}) == len(draws)
    noise = torch.stack([d["noise"] for d in draws])
    assert noise.shape[1:] == (4, 8, 8) and noise.dtype == torch.float32
    assert abs(float(noise.mean())) < .03 and abs(float(noise.std()) - 1) < .03
    between = torch.corrcoef(noise[:50].flatten(1)).fill_diagonal_(0)
    assert between.abs().max() < .35  # 256 numbers each


def test_the_papers_timesteps_are_uniform(objective, tiny):
    assert FULL.timesteps == ()
    final = objective("final", preset=replace(tiny, timesteps=()))
    t = np.array([final.noise_sample(e, 0)["timestep"] for e in range(3000)])
    assert t.min() >= 0 and t.max() <= 999
    counts = np.histogram(t, 10, (0, 1000))[0]
    assert ((counts - 300) ** 2 / 300).sum() < 30  # chi-square, 9 degrees of freedom


def test_lite_timesteps_are_logit_normal(objective):
    mean, deviation = LITE.timesteps
    final = objective("final")
    t = np.array([final.noise_sample(e, 0)["timestep"] for e in range(3000)])
    assert t.min() >= 0 and t.max() <= 999
    logit = np.log((t + .5) / (1000 - t - .5))
    assert abs(logit.mean() - mean) < 4 * deviation / np.sqrt(3000)
    assert abs(logit.std() / deviation - 1) < .06


def test_a_fifth_of_the_conditions_is_dropped(objective, tiny):
    final = objective("final")
    drops = np.array([final.noise_sample(e, 1)["drop"] for e in range(4000)])
    rate = (drops < tiny.null_probability).mean()
    assert abs(rate - .2) < 4 * np.sqrt(.2 * .8 / 4000)
    assert LITE.null_probability == FULL.null_probability == .2


def test_a_tenth_of_the_captions_is_empty(objective):
    prior = objective("prior")
    empty = tokenize(prior.tokenizer, [""]).input_ids[0]
    found = [prior[e, i] for e in range(20) for i in range(10)]
    is_empty = np.array([torch.equal(s["ids"], empty) for s in found])
    np.testing.assert_array_equal(is_empty, [s["drop"] < .1 for s in found])
    assert .02 < is_empty.mean() < .2


# ---------------------------------------------------------------------------- arms


@pytest.mark.parametrize("arm", TABLE)
def test_arms_differ_as_the_table_says(objective, weights, records, tiny, arm):
    prior, tokens, augment, null = TABLE[arm]
    assert ARMS[arm] == TABLE[arm]
    built = objective(arm)
    batch = batch_of(built)
    built.unet = Spy(4)
    built(batch)
    assert built.unet.x.shape == (4, 9, 8, 8)
    assert built.unet.condition.shape == (4, {"class": 1}.get(tokens, 5), 32)
    assert built.encoder.uncond_vector.requires_grad == null
    crops = [r["image"].crop([round(64 * v) for v in r["boxes"][0]])
             for r in (records[i] for _, i in KEYS)]
    plain = torch.stack([to_clip(squash(crop, 16)) for crop in crops])
    assert torch.equal(batch["exemplar"], plain) == (not augment)


@pytest.mark.parametrize("arm", TABLE)
def test_with_a_prior_training_starts_from_what_it_says(objective, weights, arm):
    from diffusers import UNet2DConditionModel
    prior = UNet2DConditionModel.from_pretrained(weights / "prior" / "unet")
    built = objective(arm).unet
    x, t, c = torch.randn(2, 9, 8, 8), torch.tensor([5, 900]), torch.randn(2, 1, 32)
    with torch.no_grad():
        expected = prior(x[:, :4], t, c).sample
        same = torch.allclose(built(x, t, c).sample, expected, atol=1e-5)
    assert same == TABLE[arm][0]
    assert all(m.dtype == torch.float32 for m in built.parameters())


def test_all_arms_are_the_same_size(objective):
    sizes = {arm: sum(p.numel() for p in objective(arm).parameters()) for arm in TABLE}
    assert len(set(sizes.values())) == 1


def test_an_unknown_arm_is_named(objective):
    with pytest.raises(ValueError, match="arm must be one of.*'fnal'"):
        objective("fnal")


# ------------------------------------------------------------------------- the loss


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
@pytest.mark.parametrize("arm", ["final", "naive", "prior"])
def test_the_loss_is_the_squared_error_of_what_is_predicted(
        objective, tiny, arm, prediction):
    preset = replace(tiny, prediction=prediction)
    built = objective(arm, preset=preset)
    batch = batch_of(built)
    batch["drop"] = torch.ones(4)
    batch["timestep"] = torch.tensor([3, 150, 400, 950])  # all three parts of the weight
    spy = built.unet = Spy(4)
    losses = built(batch)
    z, noise = built.encode(batch["image"]), batch["noise"]
    a = alpha_bar(tiny, batch["timestep"])
    z_t = a.sqrt() * z + (1 - a).sqrt() * noise
    torch.testing.assert_close(spy.x[:, :4], z_t, atol=1e-4, rtol=1e-4)
    assert torch.equal(spy.t, batch["timestep"])
    error = (noise if prediction == "epsilon" else z).square().mean((1, 2, 3))
    snr = (a / (1 - a)).flatten()
    weight = torch.ones(4) if prediction == "epsilon" else snr.clamp(1, 5)
    assert losses.shape == (4,)
    torch.testing.assert_close(losses, weight * error, atol=1e-4, rtol=1e-4)


def test_the_unet_sees_the_picture_with_a_grey_hole(objective):
    final = objective("final")
    batch = batch_of(final)
    spy = final.unet = Spy(4)
    final(batch)
    image, hole = batch["image"], batch["hole"]
    grey = torch.where(hole > 0, torch.zeros(()), image)
    torch.testing.assert_close(spy.x[:, 4:8], final.encode(grey))
    torch.testing.assert_close(spy.x[:, 8:], 1 - hole[..., ::8, ::8])
    seen = spy.x[:, 4:].clone()
    batch["image"] = torch.where(hole > 0, -image, image)
    final(batch)
    assert torch.equal(spy.x[:, 4:], seen)  # what is in the hole is not told


def test_bf16_leaves_latents_and_noise_schedule_exact(objective, tiny):
    """Rounded to bf16, 1 - alpha_bar is 0 at small t: the net would train without noise."""
    final = objective("final")
    batch = batch_of(final)
    batch["timestep"] = torch.tensor([0, 1, 5, 20])
    spy = final.unet = Spy(4)
    expected = final.encode(batch["image"])
    with torch.autocast("cpu", torch.bfloat16):
        final(batch)
    z_t = spy.x[:, :4].float()
    a = alpha_bar(tiny, batch["timestep"])
    torch.testing.assert_close(z_t, a.sqrt() * expected + (1 - a).sqrt() * batch["noise"],
                               atol=1e-4, rtol=1e-4)


def test_the_scheduler_is_stable_diffusions(tiny):
    for preset in (LITE, FULL):
        scheduler = build_scheduler(preset)
        expected = alpha_bar(preset, torch.arange(1000)).flatten()
        torch.testing.assert_close(scheduler.alphas_cumprod, expected, rtol=1e-4, atol=0)
        assert scheduler.config.prediction_type == preset.prediction


# ----------------------------------------------------------------------- gradients


@pytest.mark.parametrize("arm", ["final", "naive", "prior"])
def test_frozen_parts_get_no_gradient_and_all_others_do(objective, arm):
    built = objective(arm)
    batch = batch_of(built)
    if arm == "final":
        batch["drop"][:2], batch["drop"][2:] = 0, 1
    built(batch).sum().backward()
    frozen = ("codec.", "text.", "encoder.model.")
    for name, parameter in built.named_parameters():
        if name.startswith(frozen):
            assert parameter.grad is None and not parameter.requires_grad, name
        elif parameter.requires_grad:
            assert parameter.grad is not None, name  # else several ranks could not train
    assert built.unet.conv_in.weight.grad.abs().max() > 0
    if arm != "prior":
        assert built.encoder.proj_out.weight.grad.abs().max() > 0


def test_the_null_vector_learns_only_from_what_is_dropped(objective):
    final = objective("final")
    batch = batch_of(final)

    def gradients(drop):
        final.zero_grad()
        batch["drop"] = torch.tensor(drop)
        final(batch).sum().backward()
        return [float(p.grad.abs().max()) for p in
                (final.encoder.uncond_vector, final.encoder.proj_out.weight)]

    null, mapped = gradients([.2, .5, .9, .99])
    assert null == 0 and mapped > 0
    null, mapped = gradients([.19, .5, .9, .99])
    assert null > 0 and mapped > 0
    null, mapped = gradients([0, .1, .15, .1999])
    assert null > 0 and mapped == 0


def test_a_dropped_sample_is_conditioned_on_the_null_vector(objective):
    final = objective("final")
    batch = batch_of(final)
    batch["drop"] = torch.tensor([.1, .9, .1, .9])
    spy = final.unet = Spy(4)
    final(batch)
    null = final.encoder.uncond_vector[0, 0]
    is_null = [torch.equal(c[0], null) for c in spy.condition]
    assert is_null == [True, False, True, False]
    torch.testing.assert_close(spy.condition[1], final.encoder(batch["exemplar"])[1])


def test_without_a_null_vector_nothing_is_dropped(objective):
    augment = objective("augment")
    batch = batch_of(augment)
    batch["drop"] = torch.zeros(4)
    spy = augment.unet = Spy(4)
    augment(batch)
    torch.testing.assert_close(spy.condition, augment.encoder(batch["exemplar"]))


@pytest.mark.parametrize("arm", ["clip", "codec", "prior", "final", "naive"])
def test_a_few_steps_on_one_batch_lower_its_loss(objective, arm):
    built = objective(arm)
    batch = batch_of(built)
    learning = [p for p in built.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=2e-3)
    losses = []
    for _ in range(10):
        loss = built(batch).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < .9 * losses[0]


# --------------------------------------------------------------- clip, codec, prior


def test_the_contrastive_loss_counts_all_of_a_name_as_right(objective):
    built = objective("clip")
    names = ["red taco", "hot dog", "red taco"]
    tokens = tokenize(built.tokenizer, map(caption, names))
    batch = {"pixels": torch.randn(3, 3, 16, 16), "ids": tokens.input_ids,
             "attention": tokens.attention_mask}
    with torch.no_grad():
        losses = built(batch)
        image = built.model.get_image_features(pixel_values=batch["pixels"]).pooler_output
        text = built.model.get_text_features(**tokens).pooler_output
        cosines = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
        logits = built.model.logit_scale.exp() * cosines
    by_image, by_text = F.log_softmax(logits, 1), F.log_softmax(logits, 0)
    same = [[0, 2], [1], [0, 2]]
    expected = [-(by_image[i, s].mean() + by_text[s, i].mean()) / 2
                for i, s in enumerate(same)]
    torch.testing.assert_close(losses, torch.stack(expected))


def test_a_contrastive_sample_is_a_crop_of_its_scene_and_a_caption(objective):
    built = objective("clip")
    for index in range(4):
        sample = built[0, index]
        scene = built.records.scene(index, built.rng(0, index))
        text = built.tokenizer.decode(sample["ids"], skip_special_tokens=True)
        assert text in (caption(scene.name), caption(scene.label))
        assert sample["pixels"].shape == (3, 16, 16)
        assert torch.equal(sample["pixels"], built[0, index]["pixels"])
        assert not torch.equal(sample["pixels"], built[1, index]["pixels"])


def test_grey_crops_are_captioned_without_a_colour(tiny):
    torch.manual_seed(0)
    objective = Contrastive(tiny, scenes=100)
    named = 0
    for index in range(40):
        sample = objective.sample(0, index)
        words = objective.tokenizer.decode(sample["ids"]).split()
        coloured = words[5] in COLOURS
        picture = sample["pixels"].numpy().transpose(1, 2, 0) * CLIP_STD + CLIP_MEAN
        grey = np.ptp(picture, -1).max() < 1e-3
        assert not (grey and coloured)
        named += coloured
    assert 5 < named < 30  # of 40: about half of the coloured crops


def test_the_codecs_loss_is_squared_and_a_little_absolute_error(objective):
    built = objective("codec")
    batch = batch_of(built)
    with torch.no_grad():
        error = built.codec(batch["image"]) - batch["image"]
        expected = [float((e ** 2).mean() + .05 * e.abs().mean()) for e in error]
        np.testing.assert_allclose(built(batch), expected, rtol=1e-4)


def test_codec_pictures_are_the_scenes_or_their_mirror_images(objective, records):
    built = objective("codec")
    seen = set()
    for epoch in range(12):
        image = built[epoch, 3]["image"]
        original = to_signed(np.asarray(records[3]["image"]))
        seen.add("same" if torch.equal(image, original) else
                 "mirrored" if torch.equal(image, original.flip(-1)) else "other")
    assert seen == {"same", "mirrored"}


def test_the_prior_reads_the_whole_caption(objective):
    prior = objective("prior")
    batch = batch_of(prior)
    spy = prior.unet = Spy(4)
    prior(batch)
    assert spy.condition.shape == (4, 12, 32) and spy.x.shape == (4, 4, 8, 8)
    assert not torch.equal(spy.condition[0, -1], spy.condition[1, -1])


# -------------------------------------------------------------------------- export


@pytest.mark.parametrize("arm", ["final", "naive"])
def test_an_exported_arm_is_the_pipeline_that_was_trained(
        objective, tmp_path, arm, tiny, picture):
    built = objective(arm)
    built.export(tmp_path)
    pipe = PaintByExamplePipeline.from_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    assert pipe.image_encoder.tokens == TABLE[arm][1]
    assert pipe.scheduler.config.prediction_type == tiny.prediction
    batch = batch_of(built)
    with torch.no_grad():
        condition = built.encoder(batch["exemplar"])
        torch.testing.assert_close(pipe.image_encoder(batch["exemplar"]), condition)
        x, t = torch.randn(4, 9, 8, 8), batch["timestep"]
        torch.testing.assert_close(pipe.unet(x, t, condition).sample,
                                   built.unet(x, t, condition).sample, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pipe.encode(batch["image"]), built.encode(batch["image"]))
    hole = np.zeros((64, 64), bool)
    hole[10:30, 10:30] = True
    out = pipe(picture(16, 16), picture(64, 64), hole, num_inference_steps=2)
    assert out.images[0].size == (64, 64)


@pytest.mark.parametrize(("arm", "part"), [("codec", "codec"), ("clip", "clip")])
def test_an_exported_part_serves_the_next_objective(
        objective, records, weights, tiny, tmp_path, arm, part):
    built = objective(arm)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(.01)
    for name in {"clip", "codec", "prior"} - {part}:
        (tmp_path / name).symlink_to(weights / name)
    built.export(tmp_path / part)
    final = build_objective("final", tiny, records, tmp_path)
    theirs = final.codec if part == "codec" else final.encoder.model.vision_model
    ours = built.codec if part == "codec" else built.model.vision_model
    assert all(torch.equal(v, ours.state_dict()[k]) for k, v in theirs.state_dict().items())


def test_an_exported_prior_is_where_the_arms_start(
        objective, records, weights, tiny, tmp_path):
    prior = objective("prior")
    for name in ("clip", "codec"):
        (tmp_path / name).symlink_to(weights / name)
    prior.export(tmp_path / "prior")
    bottleneck = build_objective("bottleneck", tiny, records, tmp_path)
    wide = bottleneck.unet.conv_in.weight
    assert torch.equal(wide[:, :4], prior.unet.conv_in.weight) and not wide[:, 4:].any()
    assert torch.equal(bottleneck.unet.conv_out.weight, prior.unet.conv_out.weight)


def test_an_unknown_prediction_is_refused(objective, tiny):
    for prediction in ("v_prediction", "x0"):
        with pytest.raises(ValueError, match="preset.prediction must be 'epsilon' or"):
            objective("final", preset=replace(tiny, prediction=prediction))


@pytest.mark.parametrize("arm", ["final", "augment"])
def test_without_a_null_vector_an_arm_is_exported_without_guidance(
        objective, tiny, arm, tmp_path):
    objective(arm).export(tmp_path)
    pipe = PaintByExamplePipeline.from_pretrained(tmp_path)
    expected = tiny.guidance_scale if arm == "final" else 1
    assert pipe.config.guidance_scale == expected != tiny.sampling_steps
    assert pipe.config.num_inference_steps == tiny.sampling_steps
