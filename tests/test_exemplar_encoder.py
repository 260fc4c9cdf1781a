"""The exemplar encoder: the published checkpoint's names, and the same numbers."""

import re

import pytest
import torch
from conftest import randomise
from diffusers.pipelines.deprecated.paint_by_example.image_encoder import (
    PaintByExampleImageEncoder,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig

from pbe_lite.models.exemplar_encoder import ExemplarEncoder, pool_tokens


@pytest.fixture
def encoders(vision_config):
    """Ours and diffusers' own, with the same weights under the published names."""
    torch.manual_seed(0)
    theirs = randomise(PaintByExampleImageEncoder(vision_config())).eval()
    ours = ExemplarEncoder(vision_config()).eval()
    ours.load_state_dict(published(theirs.state_dict()))
    return ours, theirs


def published(state):
    """diffusers' names as they are in the published file: transformers 5 dropped the
    level `vision_model` that it has below `model`."""
    return {re.sub(r"^model\.(?!vision_model)", "model.vision_model.", k): v
            for k, v in state.items()}


@pytest.fixture
def pixels(tiny):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 3, tiny.exemplar_size, tiny.exemplar_size, generator=generator)


def test_names_are_those_of_the_published_checkpoint(vision_config):
    theirs = PaintByExampleImageEncoder(vision_config()).state_dict()
    ours = ExemplarEncoder(vision_config()).state_dict()
    assert ours.keys() == published(theirs).keys()
    assert all(ours[k].shape == v.shape for k, v in published(theirs).items())


def test_a_few_of_those_names_word_by_word(vision_config):
    names = ExemplarEncoder(vision_config()).state_dict().keys()
    block = "mapper.blocks.0"
    assert names >= {
        "model.vision_model.embeddings.class_embedding",
        "model.vision_model.embeddings.patch_embedding.weight",
        "model.vision_model.pre_layrnorm.weight",
        "model.vision_model.encoder.layers.3.self_attn.q_proj.weight",
        "model.vision_model.post_layernorm.bias",
        f"{block}.norm1.weight", f"{block}.attn1.to_q.weight", f"{block}.attn1.to_q.bias",
        f"{block}.attn1.to_out.0.weight", f"{block}.norm3.weight",
        f"{block}.ff.net.0.proj.weight", f"{block}.ff.net.2.weight",
        "final_layer_norm.weight", "proj_out.weight", "uncond_vector",
    }
    mapper = [name for name in names if name.startswith("mapper.")]
    assert not any("attn2" in name or "norm2" in name for name in mapper)


def test_the_papers_size_has_five_blocks_of_width_1024():
    config = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24,
        num_attention_heads=16, patch_size=14, projection_dim=768)
    with torch.device("meta"):
        encoder = ExemplarEncoder(config)
    assert len(encoder.mapper.blocks) == 5
    assert encoder.mapper.blocks[4].attn1.to_q.weight.shape == (1024, 1024)
    assert encoder.proj_out.weight.shape == (768, 1024)
    assert encoder.uncond_vector.shape == (1, 1, 768)


def test_the_same_weights_give_diffusers_own_output(encoders, pixels):
    ours, theirs = encoders
    with torch.no_grad():
        expected, null = theirs(pixels, return_uncond_vector=True)
        condition = ours(pixels)
    assert condition.shape == (3, 1, 32)
    torch.testing.assert_close(condition, expected, atol=1e-6, rtol=1e-6)
    assert torch.equal(ours.null(condition), null.expand(3, 1, 32))


def test_a_published_file_loads(tmp_path, encoders, pixels):
    """As published: the names above, `position_ids` from older transformers included."""
    ours, theirs = encoders
    theirs.config.architectures = ["PaintByExampleImageEncoder"]
    theirs.config.save_pretrained(tmp_path)
    state = {k: v.contiguous() for k, v in published(theirs.state_dict()).items()}
    state["model.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = ExemplarEncoder.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(pixels), theirs(pixels), atol=1e-6, rtol=1e-6)
    assert torch.equal(loaded.uncond_vector, theirs.uncond_vector)


@pytest.mark.parametrize("tokens", ["class", "all", 4])
def test_saved_and_loaded_it_is_the_same(tmp_path, vision_config, tokens, pixels):
    encoder = randomise(ExemplarEncoder(vision_config(tokens))).eval()
    encoder.save_pretrained(tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() == encoder.state_dict().keys()
    loaded = ExemplarEncoder.from_pretrained(tmp_path).eval()
    assert loaded.tokens == tokens
    with torch.no_grad():
        assert torch.equal(loaded(pixels), encoder(pixels))


# ------------------------------------------------------------------------- tokens


def test_all_tokens_are_the_class_token_and_one_a_patch(vision_config, pixels):
    torch.manual_seed(0)
    encoders = {t: ExemplarEncoder(vision_config(t)).eval() for t in ("class", "all")}
    encoders["all"].load_state_dict(encoders["class"].state_dict())
    with torch.no_grad():
        features = {t: e.features(pixels) for t, e in encoders.items()}
        assert encoders["all"](pixels).shape == (3, 1 + 4, 32)  # 16 px in patches of 8
    assert features["class"].shape == (3, 1, 32)
    torch.testing.assert_close(features["all"][:, :1], features["class"])


def test_patch_tokens_may_come_from_a_lower_layer(tmp_path, vision_config, pixels):
    config = vision_config("all")
    config.patch_layer = 1
    randomise(ExemplarEncoder(config)).save_pretrained(tmp_path)
    encoder = ExemplarEncoder.from_pretrained(tmp_path).eval()
    tower = encoder.model.vision_model
    with torch.no_grad():
        out = tower(pixels, output_hidden_states=True)
        found = encoder.features(pixels)
        patches = tower.post_layernorm(out.hidden_states[1][:, 1:])
    assert torch.equal(found[:, 0], out.pooler_output)  # of the last layer, as ever
    assert torch.equal(found[:, 1:], patches)
    assert not torch.allclose(out.hidden_states[1], out.hidden_states[-1])


def test_the_null_vector_takes_the_conditions_shape(vision_config):
    encoder = ExemplarEncoder(vision_config("all"))
    like = torch.zeros(2, 5, 32, dtype=torch.float64)
    null = encoder.null(like)
    assert null.shape == (2, 5, 32) and null.dtype == torch.float64
    for row in null.flatten(0, 1):
        torch.testing.assert_close(row, encoder.uncond_vector[0, 0].double())


def test_pooled_tokens_are_the_means_of_equal_squares(vision_config, pixels):
    rows = torch.arange(36.).view(6, 6)
    pooled = pool_tokens(rows.reshape(1, 36, 1), 9)
    assert pooled[0, :, 0].tolist() == [
        rows[2 * i:2 * i + 2, 2 * j:2 * j + 2].mean() for i in range(3) for j in range(3)]
    every = ExemplarEncoder(vision_config("all")).eval()
    for count in (1, 4):
        encoder = ExemplarEncoder(vision_config(count)).eval()
        encoder.load_state_dict(every.state_dict())
        with torch.no_grad():
            patches = every.features(pixels)[:, 1:]
            expected = patches if count == 4 else patches.mean(1, keepdim=True)
            torch.testing.assert_close(encoder.features(pixels), expected)
            assert encoder(pixels).shape == (3, count, 32)


@pytest.mark.parametrize("tokens", ["some", 0, -4, 2, 9, 16, 4.])
def test_an_unknown_kind_of_token_is_named(vision_config, tokens):
    with pytest.raises(ValueError, match=f"tokens must be .*got {re.escape(repr(tokens))}"):
        ExemplarEncoder(vision_config(tokens))


# ---------------------------------------------------------------------- gradients


@pytest.mark.parametrize("tokens", ["class", "all"])
def test_the_tower_is_frozen_and_the_mapper_learns(vision_config, pixels, tokens):
    encoder = ExemplarEncoder(vision_config(tokens))
    encoder(pixels).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        if name.startswith("model."):
            assert parameter.grad is None and not parameter.requires_grad, name
        elif name != "uncond_vector":
            assert parameter.grad is not None, name
    assert encoder.proj_out.weight.grad.abs().max() > 0
    assert encoder.mapper.blocks[0].ff.net[0].proj.weight.grad.abs().max() > 0
