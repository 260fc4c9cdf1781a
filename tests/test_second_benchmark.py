"""The second benchmark: three splits, a judge of its own, and the cheats."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pbe_lite.second import evaluate, judge
from pbe_lite.second.benchmark import APART, PAIRS, SPLITS, make_pair, split_of
from pbe_lite.second.colours import hue_distance
from pbe_lite.second.tabletop import HELD_OUT_SEEDS, Scene, kind_names, unseen_arc


@pytest.fixture(scope="module")
def pairs():
    return [make_pair(i) for i in range(16)]


# -------------------------------------------------------------------------- pairs


def test_the_splits_are_200_100_and_100_pairs():
    splits = [split_of(i) for i in range(PAIRS)]
    assert [splits.count(s) for s in SPLITS] == [200, 100, 100]


def test_pairs_ask_for_what_their_split_says(pairs):
    for pair in pairs:
        in_arc = (pair.hue - unseen_arc(pair.kind)[0]) % 360 < 60
        assert in_arc == (pair.split == "new_colourway")
        held_out = pair.kind in kind_names("held_out")
        assert held_out == (pair.split == "new_kind")


def test_the_exemplar_differs_from_the_old_object_in_kind_and_hue(pairs):
    from pbe_lite.second.benchmark import _source
    for i, pair in enumerate(pairs):
        before = _source(i, pair.hue)
        assert before.name != pair.kind and before.seed in HELD_OUT_SEEDS
        assert hue_distance(before.hue, pair.hue) >= APART


def test_the_first_80_seen_pairs_ask_for_all_trained_kinds():
    from pbe_lite.second.benchmark import _ask
    seen = [i for i in range(PAIRS) if split_of(i) == "seen"]
    assert {_ask(i, None)[0] for i in seen[:80]} == set(kind_names("train"))


def test_the_hole_holds_both_objects_and_their_shadows(pairs):
    for pair in pairs:
        outside = ~pair.hole
        for render in (pair.source, pair.truth):
            changed = np.abs(render.image.astype(int) - render.clean).max(-1)
            assert not (render.alpha > .5)[outside].any()
            assert changed[outside].max(initial=0) <= 30
        assert .1 < pair.hole.mean() < .8


def test_pairs_beyond_the_400_are_refused():
    with pytest.raises(ValueError, match="index.*0 to 399"):
        make_pair(400)


# ------------------------------------------------------------------------ metrics


def test_colour_is_right_for_the_truth_and_wrong_in_another_hue(pairs):
    for i, pair in enumerate(pairs[:8]):
        assert evaluate.right_colour(pair, pair.answer) == 1
        wrong = Scene(HELD_OUT_SEEDS[i]).with_object(pair.kind, pair.hue + 120)
        other = np.where(pair.hole[..., None], wrong.render(128).image, pair.source.image)
        assert evaluate.right_colour(pair, other) == 0
        empty = np.where(pair.hole[..., None], pair.source.clean, pair.source.image)
        assert evaluate.right_colour(pair, empty) == 0  # nothing stands there


def test_sharpness_is_one_for_the_truth_and_small_for_a_flat_patch(pairs):
    assert evaluate.sharpness(pairs[0].truth.image, pairs[0]) == pytest.approx(1)
    assert evaluate.sharpness(evaluate.flat_patch(pairs[0]), pairs[0]) < .6


def test_the_changed_box_is_where_the_object_stands(pairs):
    for pair in pairs[:8]:
        found = evaluate.changed_box(pair, pair.answer)
        assert np.abs(np.subtract(found, pair.truth.box)).max() < .25
        empty = np.where(pair.hole[..., None], pair.source.clean, pair.source.image)
        assert evaluate.changed_box(pair, empty) == pair.box


# ---------------------------------------------------------------------- the judge


def test_the_judge_sees_no_colour_no_light_and_no_contrast():
    torch.manual_seed(0)
    model = judge.Judge().eval()
    image = Scene(5).render(128).image
    crop = judge.grey_crop(image, judge.window_around(Scene(5).render(128).box, 128))
    assert crop.shape == (48, 48) and 0 <= crop.min() and crop.max() <= 1
    swapped = judge.grey_crop(image[..., ::-1],
                              judge.window_around(Scene(5).render(128).box, 128))
    np.testing.assert_array_equal(crop, swapped)
    x = torch.from_numpy(crop)[None, None]
    with torch.no_grad():
        assert torch.allclose(model(x), model(.5 * x + .3), atol=.3)
        assert model(x).shape == (1, 49)


def test_a_window_beyond_the_picture_goes_on_with_its_border():
    image = np.full((128, 128, 3), 51, np.uint8)
    assert np.allclose(judge.grey_crop(image, (-30, 90, 80)), .2)


def test_spoiled_objects_differ_from_what_they_were():
    render, rng = Scene(7).render(128), np.random.default_rng(0)
    decode = lambda image, level, rng: image
    x0, y0, x1, y1 = (round(v * 128) for v in render.box)
    inside = np.s_[y0:y1, x0:x1]
    for spoil in (judge._shuffled, judge._blurred, judge._halved, judge._warped,
                  judge._empty):
        spoiled = spoil(render, rng, decode)
        assert spoiled.shape == (128, 128, 3) and spoiled.dtype == np.uint8
        difference = np.abs(spoiled[inside].astype(int) - render.image[inside])
        assert difference.mean() > 5, spoil.__name__


def test_the_judge_learns_from_several_views_of_a_picture(tiny, weights, tmp_path):
    torch.manual_seed(0)
    training = judge.JudgeTraining(tiny, weights, scenes=50)
    training._decode = lambda image, level, rng: image  # the tiny codec is of another size
    samples = [training.sample(0, i) for i in range(12)]
    labels = [s["label"] for s in samples]
    assert all(s["crops"].shape == (judge.VIEWS, 48, 48) for s in samples)
    assert max(labels) <= 48 and len(set(labels)) > 6
    first, second = samples[0]["crops"][:2]
    assert not torch.equal(first, second)
    again = training.sample(0, 0)
    assert torch.equal(again["crops"], samples[0]["crops"])  # a pure function of its key
    batch = torch.utils.data.default_collate(samples)
    losses = training(batch)
    assert losses.shape == (12,) and losses.isfinite().all()
    training.export(tmp_path)
    assert evaluate.load_judge(tmp_path).config.kinds == 48


def test_only_a_certain_judge_counts(pairs):
    names = kind_names()
    def verdict(probability):
        logits = torch.zeros(2 * len(pairs), 49)
        for i, pair in enumerate(pairs):
            rest = (1 - probability) / 48
            logits[2 * i:2 * i + 2] = np.log(rest)
            logits[2 * i:2 * i + 2, names.index(pair.kind)] = np.log(probability)
        return lambda crops: logits
    results = [p.answer for p in pairs]
    assert evaluate.right_kinds(pairs, results, verdict(.6)).mean() == 1
    assert evaluate.right_kinds(pairs, results, verdict(.4)).mean() == 0


def test_pairs_as_a_named_tuple_have_the_words_for_a_caption(pairs):
    assert pairs[0].name.split(" ", 1)[1] == pairs[0].kind
    assert isinstance(SimpleNamespace(**pairs[0]._asdict()).hue, float)
