"""Where training starts: every kind of model gives a U-Net in the paper's order."""

from dataclasses import replace

import pytest
import torch
from layouts import parts, published, stable_diffusion
from torch.utils.data import default_collate
from transformers import CLIPModel, CLIPVisionConfig, CLIPVisionModel

from pbe_lite import PaintByExamplePipeline
from pbe_lite.config import ARMS, FULL
from pbe_lite.models.unet import (
    adopt_inpainting_order,
    build_unet,
    fold_one_token,
    unet_input,
)
from pbe_lite.training.initialize import from_model
from pbe_lite.training.losses import build_objective
from pbe_lite.training.optim import build_optimizers, trainable
from pbe_lite.training.trainer import Run

FINAL = ARMS["final"]


@pytest.fixture
def paper(tiny):
    """The tiny preset with what is the paper's: noise is predicted, AdamW alone."""
    return replace(tiny, prediction="epsilon", muon_lr=0, ema_decay=0, timesteps=())


@pytest.fixture
def question():
    """z, z_masked (2, 4, 8, 8), hole (2, 1, 64, 64), t, condition (2, 1, 32)."""
    generator = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(shape, generator=generator)
    hole = torch.zeros(2, 1, 64, 64)
    hole[0, :, 16:40, 8:40] = hole[1, :, 24:64, 32:64] = 1
    return normal(2, 4, 8, 8), normal(2, 4, 8, 8), hole, torch.tensor([3, 700]), \
        normal(2, 1, 32)


@torch.no_grad()
def predict(unet, question):
    z, z_masked, hole, t, condition = question
    return unet(unet_input(z, z_masked, hole), t, condition).sample


# ---------------------------------------------------------------- Stable Diffusion


def test_four_channels_are_widened_without_effect(tmp_path, paper, question):
    made = stable_diffusion(tmp_path)
    start = from_model(tmp_path, paper, FINAL, tmp_path / "clip")
    z, _, _, t, condition = question
    with torch.no_grad():
        expected = made["unet"](z, t, condition).sample
    torch.testing.assert_close(predict(start.unet, question), expected,
                               atol=1e-5, rtol=1e-5)
    assert start.unet.config.in_channels == 9
    codec = start.codec.state_dict()
    assert all(torch.equal(v, codec[k]) for k, v in made["vae"].state_dict().items())
    tower = start.encoder.model.vision_model.state_dict()
    assert all(torch.equal(v, tower[k]) for k, v in made["tower"].state_dict().items())


def theirs(unet, question):
    """The first layer of Stable Diffusion inpainting, in its own order and polarity."""
    z, z_masked, hole, _, _ = question
    mask = torch.nn.functional.interpolate(hole, size=(8, 8))
    return unet.conv_in(torch.cat([z, mask, z_masked], 1))


@torch.no_grad()
def test_inpainting_channels_are_brought_into_the_papers_order(tmp_path, paper, question):
    made = stable_diffusion(tmp_path, inpainting=True)
    expected = theirs(made["unet"], question)
    unet = from_model(tmp_path, paper, FINAL, tmp_path / "clip").unet
    found = unet.conv_in(unet_input(*question[:3]))
    inner = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(found[inner], expected[inner], atol=1e-5, rtol=1e-5)
    # at the edge both masks are padded with 0, which means keep there, hole here
    weight = made["unet"].conv_in.weight[:, 4]
    above = weight[:, 0].sum(-1)  # the taps outside, at the upper edge
    torch.testing.assert_close((found - expected)[0, :, 0, 3], above, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_unchanged_channels_would_be_wrong(tmp_path, question):
    """So the test above tells something."""
    unet = stable_diffusion(tmp_path, inpainting=True)["unet"]
    wrong = unet.conv_in(unet_input(*question[:3]))
    assert (wrong - theirs(unet, question))[..., 1:-1, 1:-1].abs().max() > .1


def test_only_nine_channels_have_an_inpainting_order():
    with pytest.raises(ValueError, match="unet must take 9 channels, got 4"):
        adopt_inpainting_order(parts(4)["unet"])


def test_an_arm_without_a_prior_takes_only_codec_and_tower(tmp_path, paper, question):
    stable_diffusion(tmp_path)
    torch.manual_seed(0)
    start = from_model(tmp_path, paper, ARMS["scratch"], tmp_path / "clip")
    assert start.encoder.tokens == "all" and start.unet.config.in_channels == 9
    prior = from_model(tmp_path, paper, ARMS["naive"], tmp_path / "clip")
    assert not torch.equal(start.unet.conv_out.weight, prior.unet.conv_out.weight)


def test_the_tower_may_be_part_of_a_whole_clip(tmp_path, paper, weights):
    stable_diffusion(tmp_path)
    start = from_model(tmp_path, paper, FINAL, weights / "clip")
    expected = CLIPModel.from_pretrained(weights / "clip").vision_model.state_dict()
    tower = start.encoder.model.vision_model.state_dict()
    assert all(torch.equal(v, tower[k]) for k, v in expected.items())


# --------------------------------------------------------------- Paint by Example


@pytest.mark.parametrize("safetensors", [True, False])
def test_a_published_model_is_fine_tuned_from_all_of_it(
        tmp_path, paper, question, safetensors):
    made = published(tmp_path, safetensors)
    start = from_model(tmp_path, paper, FINAL)
    pairs = ((start.codec, "vae"), (start.encoder, "image_encoder"), (start.unet, "unet"))
    for found, part in pairs:
        state = found.state_dict()
        assert all(torch.equal(v, state[k]) for k, v in made[part].state_dict().items())


@pytest.mark.parametrize("kind", ["published", "four", "inpainting"])
def test_a_run_from_it_trains_and_is_exported(
        tmp_path, paper, records, weights, picture, kind):
    folder = tmp_path / "init"
    if kind == "published":
        published(folder)
    else:
        stable_diffusion(folder, kind == "inpainting")
    start = from_model(folder, paper, FINAL, folder / "clip")
    objective = build_objective("final", paper, records, weights, start=start)
    frozen = {n: p.detach().clone() for n, p in objective.named_parameters()
              if not p.requires_grad}
    run = Run(objective, tmp_path / "run", 8, workers=0)
    assert run.train() is True
    run.export()
    for name, parameter in objective.named_parameters():
        assert name not in frozen or torch.equal(parameter, frozen[name]), name
    pipe = PaintByExamplePipeline.from_pretrained(tmp_path / "run" / "weights")
    assert torch.equal(pipe.unet.conv_in.weight, objective.unet.conv_in.weight)
    assert pipe.config.guidance_scale == paper.guidance_scale


def test_a_start_needs_no_other_weights(tmp_path, paper, records):
    published(tmp_path)
    start = from_model(tmp_path, paper, FINAL)
    build_objective("final", paper, records, tmp_path / "nowhere", start=start)


# -------------------------------------------------------------------------- errors


def test_what_does_not_fit_is_named(tmp_path, paper):
    stable_diffusion(tmp_path)
    wide = replace(paper, unet={**paper.unet, "cross_attention_dim": 1024})
    with pytest.raises(ValueError, match="init must have a U-Net with cross_attention_dim "
                                         "1024 as the preset 'lite' has, got 32"):
        from_model(tmp_path, wide, FINAL, tmp_path / "clip")
    with pytest.raises(ValueError, match="tower must name a CLIP model"):
        from_model(tmp_path, paper, FINAL)
    other = CLIPVisionConfig(**{**paper.clip["vision_config"], "hidden_size": 64})
    CLIPVisionModel(other).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="tower must have hidden_size 32, .* has 64"):
        from_model(tmp_path, paper, FINAL, tmp_path / "other")
    with pytest.raises(OSError):
        from_model(tmp_path / "nowhere", paper, FINAL)


def test_other_tokens_are_refused(tmp_path, paper):
    published(tmp_path)
    with pytest.raises(ValueError, match="init must be a model with 'all' tokens, got one "
                                         "with 'class'"):
        from_model(tmp_path, paper, ARMS["naive"])


# ----------------------------------------------------------- no state for nothing


def attention_keys(unet):
    return {id(p) for n, p in unet.named_parameters()
            if ".attn2.to_q." in n or ".attn2.to_k." in n}


def test_queries_and_keys_of_one_token_get_no_optimiser_state(
        tmp_path, paper, records, weights):
    published(tmp_path)
    start = from_model(tmp_path, paper, FINAL)
    objective = build_objective("final", paper, records, weights, start=start)
    (adam,) = build_optimizers(objective)
    learned = {id(p) for group in adam.param_groups for p in group["params"]}
    assert attention_keys(objective.unet) and not attention_keys(objective.unet) & learned
    objective(default_collate([objective[0, i] for i in range(2)])).sum().backward()
    adam.step()
    assert len(adam.state) == len(learned) == len(trainable(objective))


def test_what_that_saves_at_full_scale():
    with torch.device("meta"):
        unet = fold_one_token(build_unet(FULL))
    spared = sum(p.numel() for p in unet.parameters() if not p.requires_grad)
    # 16 cross-attentions: to_q d x d, to_k d x 768, and the norm before them 2 d
    widths = [320] * 5 + [640] * 5 + [1280] * 6
    assert spared == sum(d * d + d * 768 + 2 * d for d in widths)


def test_several_tokens_need_their_queries_and_keys(objective):
    naive = objective("naive")
    learned = {id(p) for p in trainable(naive).values()}
    assert attention_keys(naive.unet) <= learned


# ---------------------------------------------------------------------- activations


def test_checkpointing_changes_no_gradient(tmp_path, paper, records, weights):
    published(tmp_path)
    gradients = []
    for checkpointing in (False, True):
        start = from_model(tmp_path, paper, FINAL)
        built = build_objective("final", paper, records, weights, start=start)
        if checkpointing:
            built.unet.enable_gradient_checkpointing()
        built(default_collate([built[0, i] for i in range(3)])).sum().backward()
        gradients.append({n: p.grad for n, p in trainable(built).items()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)
