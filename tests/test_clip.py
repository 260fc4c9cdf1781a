"""The lite CLIP: a tokenizer of words, and features of unit length."""

import numpy as np
import pytest
import torch
from PIL import Image

from pbe_lite.config import LITE
from pbe_lite.data.augmentation import squash
from pbe_lite.data.scenes import labels
from pbe_lite.data.tabletop import Scene, draw_hue, kind_names
from pbe_lite.data.triplets import to_clip
from pbe_lite.models import clip
from pbe_lite.models.clip import (
    build_tokenizer,
    caption,
    embed,
    image_features,
    text_features,
    tokenize,
)

PAD, UNKNOWN, BOS, EOS = range(4)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(LITE.clip["text_config"]["max_position_embeddings"],
                           labels())


@pytest.fixture(scope="module")
def tiny_clip(tiny):
    torch.manual_seed(0)
    model, tokenizer = clip.build_clip(tiny, labels())
    return model.eval(), tokenizer


# ---------------------------------------------------------------------- tokenizer


def test_captions_are_sentences_and_no_name_is_no_caption():
    assert caption("pizza slice") == "a picture of a pizza slice"
    assert caption("") == ""


def test_every_caption_comes_back_from_its_tokens(tokenizer):
    captions = [caption(name) for name in labels()]
    ids = tokenize(tokenizer, captions).input_ids
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == captions
    assert not (ids == UNKNOWN).any()


def test_no_caption_is_cut_off_and_all_differ(tokenizer):
    ids = tokenize(tokenizer, map(caption, labels())).input_ids
    length = LITE.clip["text_config"]["max_position_embeddings"]
    assert ids.shape == (384, length)
    assert ((ids == EOS).sum(1) == 1).all() and (ids[:, 0] == BOS).all()
    assert len(ids.unique(dim=0)) == 384


def test_padding_follows_the_end_and_is_masked(tokenizer):
    tokens = tokenize(tokenizer, ["a picture of a pizza slice", ""])
    assert tokens.input_ids[1, :2].tolist() == [BOS, EOS]
    assert tokens.attention_mask.sum(1).tolist() == [8, 2]
    assert torch.equal(tokens.attention_mask == 0, tokens.input_ids == PAD)


def test_unknown_words_are_told_apart_from_known_ones(tokenizer):
    ids = tokenize(tokenizer, ["a picture of a zeppelin"]).input_ids[0]
    assert ids.tolist().count(UNKNOWN) == 1


# ------------------------------------------------------------------- text features


def test_the_pooled_feature_is_read_at_the_end_of_the_caption(tiny_clip):
    model, tokenizer = tiny_clip
    tokens = tokenize(tokenizer, map(caption, ("pizza slice", "taco")))
    with torch.no_grad():
        out = model.text_model(input_ids=tokens.input_ids)
        position = tokens.attention_mask.sum(1) - 1
        expected = out.last_hidden_state[torch.arange(2), position]
    torch.testing.assert_close(out.pooler_output, expected)


def test_the_text_feature_changes_with_the_name_and_not_with_padding(tiny_clip):
    model, tokenizer = tiny_clip
    with torch.no_grad():
        a, b = text_features(model, tokenizer, ["pizza slice", "hot pepper"])
        assert float((a - b).norm()) > 1e-3
        ids = tokenizer([caption("pizza slice")], return_tensors="pt").input_ids
        assert ids.shape[1] < 12  # this one without padding
        short = torch.nn.functional.normalize(
            model.get_text_features(input_ids=ids).pooler_output[0], dim=-1)
        torch.testing.assert_close(short, a, atol=1e-5, rtol=1e-5)
        # without the mask, causal attention still keeps the padding out
        tokens = tokenize(tokenizer, [caption("pizza slice")])
        bare = model.get_text_features(input_ids=tokens.input_ids).pooler_output[0]
        torch.testing.assert_close(torch.nn.functional.normalize(bare, dim=-1), a,
                                   atol=1e-5, rtol=1e-5)


def test_the_last_word_counts(tiny_clip):
    model, tokenizer = tiny_clip
    with torch.no_grad():
        features = text_features(model, tokenizer, labels())
    torch.testing.assert_close(features.norm(dim=1), torch.ones(384))
    assert (features @ features.T).fill_diagonal_(0).max() < 1 - 1e-6


# ------------------------------------------------------------------ image features


def test_image_features_are_unit_vectors_of_each_image_alone(tiny_clip, tiny):
    model, _ = tiny_clip
    pixels = torch.randn(3, 3, tiny.exemplar_size, tiny.exemplar_size)
    with torch.no_grad():
        features = image_features(model, pixels)
        torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
        torch.testing.assert_close(image_features(model, pixels[1:2])[0], features[1])
        out = model.vision_model(pixel_values=pixels).pooler_output
        projected = model.visual_projection(out)
    torch.testing.assert_close(features, projected / projected.norm(dim=1, keepdim=True))


def test_embed_crops_squashes_and_normalises(tiny_clip, tiny):
    model, _ = tiny_clip
    array = Scene(1).render(64).image
    image = Image.fromarray(array)
    cropped = Image.fromarray(array[16:48, 8:56])
    pixels = to_clip(squash(cropped, tiny.exemplar_size))[None]
    expected = image_features(model, pixels).detach()
    found = embed(model, [image], [(8 / 64, .25, 56 / 64, .75)])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(embed(model, [cropped]), expected)
    with pytest.raises(ValueError):
        embed(model, [image, image], [(0, 0, 1, 1)])


# --------------------------------------------------------------- load and shipped


def test_saved_and_loaded_it_is_the_same(weights):
    model, tokenizer = clip.load_clip(weights / "clip")
    assert not model.training and model.dtype == torch.float32
    fresh = build_tokenizer(12, labels())
    assert tokenizer.get_vocab() == fresh.get_vocab()
    texts = list(map(caption, labels()[:20])) + [""]
    for part in ("input_ids", "attention_mask"):
        assert torch.equal(tokenize(tokenizer, texts)[part], tokenize(fresh, texts)[part])
    assert tokenizer.model_max_length == 12


def test_every_caller_gets_a_frozen_copy_of_its_own(weights, monkeypatch):
    first, _ = clip.load_clip(weights / "clip")
    assert not any(p.requires_grad for p in first.parameters())
    monkeypatch.setattr(clip.CLIPModel, "from_pretrained", None)  # kept, not read again
    before = {k: v.clone() for k, v in first.state_dict().items()}
    first.train().requires_grad_(True).to(torch.float64)
    first.logit_scale.data.fill_(7)
    second, _ = clip.load_clip(str(weights / "clip"))
    assert not second.training and second.dtype == torch.float32
    assert not any(p.requires_grad for p in second.parameters())
    after = second.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())


def test_building_and_moving_the_prior_leaves_the_clip_alone(objective, weights):
    prior = objective("prior").to(torch.float64)
    assert prior.text.dtype == torch.float64
    model, _ = clip.load_clip(weights / "clip")
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def named(model, tokenizer, scenes):
    """The share of scenes whose kind is the nearest of the 48 captions without a colour."""
    renders = [scene.render(128) for scene in scenes]
    images = embed(model, [Image.fromarray(r.image) for r in renders],
                   [r.box for r in renders])
    with torch.no_grad():
        nearest = (images @ text_features(model, tokenizer, kind_names()).T).argmax(1)
    return np.mean([kind_names()[i] == s.name for i, s in zip(nearest, scenes)])


def test_the_shipped_clip_names_unseen_scenes():
    assert named(*clip.load_clip(), [Scene(seed) for seed in range(96)]) >= .9


def test_the_shipped_clip_names_kinds_in_hues_that_it_never_saw():
    rng = np.random.default_rng(0)
    scenes = [Scene(i, kind, draw_hue(rng, kind, unseen=True))
              for i, kind in enumerate(2 * kind_names())]
    assert named(*clip.load_clip(), scenes) >= .9
