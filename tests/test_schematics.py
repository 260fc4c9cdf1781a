"""Schematics say what the code does, with nothing cut off or drawn over."""

from dataclasses import replace
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.patches import FancyBboxPatch
from test_plots import image_of, overlaps, text_boxes
from transformers import CLIPVisionConfig

from pbe_lite import schematics
from pbe_lite.config import FULL, LITE
from pbe_lite.models.exemplar_encoder import ExemplarEncoder
from pbe_lite.models.unet import build_unet


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def pair(**more):
    """Pictures of random pixels for `training_and_test`; the box is 32 x 48 pixels."""
    rng = np.random.default_rng(0)
    image, source, answer = rng.integers(0, 256, (3, 128, 128, 3), np.uint8)
    hole = np.zeros((128, 128))
    hole[40:90, 30:80] = 1
    exemplar = rng.integers(0, 256, (60, 75, 3), np.uint8)
    return dict(image=image, box=(.25, .5, .5, .875), source=source, hole=hole,
                exemplar=exemplar, answer=answer) | more


DRAWINGS = {
    **{f"{draw.__name__}, {preset.name}": lambda draw=draw, preset=preset: draw(preset)
       for draw in (schematics.pipeline, schematics.unet, schematics.bottleneck)
       for preset in (FULL, LITE)},
    "training and test": lambda: schematics.training_and_test(**pair()),
    "test without answer": lambda: schematics.training_and_test(**pair(answer=None)),
    **{f"guidance, {s}": lambda s=s: schematics.guidance(s) for s in (1.5, 3, 5, 10)},
    "ddp": schematics.ddp, "ddp, 256": lambda: schematics.ddp(256),
}


drawing = cache(lambda name: DRAWINGS[name]())


def words_of(fig):
    return [words for words, _ in text_boxes(fig)]


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_text_lies_on_another_or_outside_the_drawing(name):
    assert not overlaps(drawing(name))


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_block_has_room_for_its_words(name):
    fig = drawing(name)
    boxes = text_boxes(fig)
    blocks = [p.get_window_extent() for p in fig.axes[0].patches
              if isinstance(p, FancyBboxPatch)]
    filled = 0
    for block in blocks:
        for words, box in boxes:
            middle = np.mean([box.min, box.max], 0), np.mean([block.min, block.max], 0)
            if np.abs(middle[0] - middle[1]).max() < 4:
                filled += 1
                assert block.x0 < box.x0 and box.x1 < block.x1, words
                assert block.y0 < box.y0 and box.y1 < block.y1, words
    assert filled or not blocks


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_fits_a_cell_is_small_and_is_told_in_words(name):
    fig = drawing(name)
    html = fig.to_html()
    alt, width, _ = image_of(html)
    assert width == 900 and fig.bbox.height <= 620
    assert len(html) < (600_000 if fig.photo else 120_000)
    assert 100 < len(alt) < 900 and "  " not in alt


def test_the_bottlenecks_sizes_are_those_of_the_encoder():
    preset = LITE
    config = CLIPVisionConfig(**preset.clip["vision_config"], tokens="all",
                              projection_dim=preset.unet["cross_attention_dim"])
    encoder = ExemplarEncoder(config).eval()
    size = preset.exemplar_size
    with torch.no_grad():
        features = encoder.features(torch.zeros(1, 3, size, size))
        condition = encoder(torch.zeros(1, 3, size, size))
    words = words_of(schematics.bottleneck(preset))
    assert f"{size} × {size} × 3" in words
    assert f"{features.shape[1]} × {features.shape[2]}" in words
    assert f"1 × {condition.shape[2]}" in words
    assert any(f"\n{len(encoder.mapper.blocks)} block," in w for w in words)


def test_the_papers_bottleneck_has_the_papers_sizes():
    fig = schematics.bottleneck()
    words = words_of(fig)
    for text in ("224 × 224 × 3", "257 × 1024", "1 × 1024", "1 × 768",
                 "256 patch tokens: not used", "mapper:\n5 blocks,\nLayerNorm,\nlinear"):
        assert text in words
    assert "150,528, 263,168, 1,024, 768" in fig.alt


@pytest.mark.parametrize("preset", [
    LITE, replace(LITE, unet={k: v for k, v in LITE.unet.items() if "class" not in k})])
def test_the_unet_is_marked_where_the_exemplar_enters(preset):
    unet = build_unet(preset)
    blocks = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    attending = sum(bool(getattr(block, "attentions", ())) for block in blocks)
    also = unet.class_embedding is not None
    fig = schematics.unet(preset)
    words = words_of(fig)
    assert words.count("c") == attending + 2 + also  # two or three are in the close-up
    assert ("scale, shift,\nin all blocks" in words) == also
    assert f"conv\n{unet.conv_in.in_channels} to {unet.conv_in.out_channels}" in words
    assert f"has {unet.conv_in.in_channels} channels" in fig.alt


def test_the_papers_unet_takes_nine_channels():
    words = words_of(schematics.unet())
    inputs = words[words.index("$z_t$"):][:6]
    assert inputs == ["$z_t$", "4", r"$z_\mathrm{masked}$", "4", "mask", "1"]
    assert {"conv\n9 to 320", "conv\n320 to 4", "1280\n8 × 8"} <= {*words}
    assert words.count("c") == 7 + 2


@pytest.mark.parametrize("preset, guess, size", [(FULL, r"\epsilon", "4 × 64 × 64"),
                                                 (LITE, r"\hat{z}", "8 × 16 × 16")])
def test_the_pipeline_has_the_presets_sizes_and_guess(preset, guess, size):
    words = words_of(schematics.pipeline(preset))
    assert words.count(size) == 3
    (formula,) = [w for w in words if w.startswith("guidance")]
    assert formula == (f"guidance, $s$ = {preset.guidance_scale:g}\n"
                       f"${guess}(v) + s\\,[{guess}(c) - {guess}(v)]$")
    assert any(f"{preset.sampling_steps} steps" in w for w in words)


def test_a_training_pairs_exemplar_is_cut_from_its_hole():
    given = pair()
    fig = schematics.training_and_test(**given)
    shown = [np.asarray(axis.images[0].get_array()) for axis in fig.axes[1:]]
    image, emptied, crop, target, source, opened, exemplar, answer = shown
    assert np.array_equal(image, given["image"]) and np.array_equal(target, image)
    assert np.array_equal(crop, image[64:112, 32:64])
    assert (emptied[64:112, 32:64] == 128).all()
    inside = np.zeros((128, 128), bool)
    inside[64:112, 32:64] = True
    assert np.array_equal(emptied[~inside], image[~inside])
    assert (opened[given["hole"] > 0] == 128).all()
    assert np.array_equal(exemplar, given["exemplar"])
    assert np.array_equal(source, given["source"])
    assert np.array_equal(answer, given["answer"])
    sizes = {(round(a.bbox.width), round(a.bbox.height)) for a in fig.axes[1:]}
    assert sizes == {(128, 128), (96, 144), (150, 120)}  # whole zooms: 1, 3, 2


def test_an_unknown_answer_is_a_question_mark():
    assert "?" in words_of(schematics.training_and_test(**pair(answer=None)))
    assert "?" not in words_of(schematics.training_and_test(**pair()))


@pytest.mark.parametrize("wrong, message", [
    (dict(hole=np.zeros((64, 64))), r"hole must be \(128, 128\).*\(64, 64\)"),
    (dict(box=(.5, .5, .5, .9)), "box must be x0 < x1"),
    (dict(box=(.5, .5, 1.5, .9)), "box must be x0 < x1")])
def test_pairs_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        schematics.training_and_test(**pair(**wrong))


@pytest.mark.parametrize("scale", [1.5, 3, 7.5])
def test_the_guided_guess_lies_where_the_formula_says(scale):
    fig = schematics.guidance(scale)
    at = {t.get_text().split("$")[1]: np.array(t.get_position()) for t in
          fig.axes[0].texts if t.get_text().startswith("$s")}
    null, given, guided = at["s = 0"], at["s = 1"], at[f"s = {scale:g}"]
    np.testing.assert_allclose(guided, null + scale * (given - null))


def test_what_does_not_guide_or_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="scale must be more than 1, got 1"):
        schematics.guidance(1)
    with pytest.raises(ValueError, match="batch must be even, 2 or more, got 7"):
        schematics.ddp(7)


def test_each_rank_gets_half_of_the_batch():
    assert words_of(schematics.ddp(256)).count("128 samples") == 2
