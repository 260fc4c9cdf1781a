"""The benchmark's pairs: 400 fixed questions in three splits."""

import numpy as np
import pytest
from PIL import Image

from pbe_lite.data.colours import hue_distance
from pbe_lite.data.tabletop import HELD_OUT_SEEDS, Scene, kind_names, unseen_arc
from pbe_lite.evaluation import metrics
from pbe_lite.evaluation.benchmark import (
    APART,
    PAIRS,
    SPLITS,
    _ask,
    _source,
    make_pair,
    split_of,
)


@pytest.fixture(scope="module")
def pairs():
    return [make_pair(i) for i in range(16)]


@pytest.fixture(scope="module")
def all_pairs():
    return [make_pair(i, 64) for i in range(400)]


def test_a_pair_is_a_pure_function_of_its_index():
    first, again = make_pair(5, 64), make_pair(5, 64)
    for part in ("name", "kind", "hue", "split", "box"):
        assert getattr(first, part) == getattr(again, part)
    for part in ("hole", "pasted", "pasted_alpha"):
        np.testing.assert_array_equal(getattr(first, part), getattr(again, part))
    np.testing.assert_array_equal(first.source.image, again.source.image)
    np.testing.assert_array_equal(first.exemplar, again.exemplar)


def test_pairs_stay_what_the_published_numbers_were_measured_on():
    names = [(make_pair(i, 64).name, make_pair(i, 64).split) for i in (0, 1, 2, 3, 399)]
    assert names == [("cyan cactus", "seen"), ("orange cactus", "new_colourway"),
                     ("purple mushroom", "seen"), ("pink robot", "new_kind"),
                     ("pink hiking boot", "new_kind")]


def test_the_splits_are_200_100_and_100_pairs():
    splits = [split_of(i) for i in range(PAIRS)]
    assert [splits.count(s) for s in SPLITS] == [200, 100, 100]


def test_a_quarter_of_the_400_shows_kinds_never_seen_in_training(all_pairs):
    held_out = [p.kind for p in all_pairs if p.split == "new_kind"]
    counts = {kind: held_out.count(kind) for kind in held_out}
    assert counts.keys() == set(kind_names("held_out"))
    assert max(counts.values()) - min(counts.values()) <= 2
    assert [split_of(i) for i in range(400)] == [p.split for p in all_pairs]


def test_pairs_ask_for_what_their_split_says(pairs):
    for pair in pairs:
        in_arc = (pair.hue - unseen_arc(pair.kind)[0]) % 360 < 60
        assert in_arc == (pair.split == "new_colourway")
        held_out = pair.kind in kind_names("held_out")
        assert held_out == (pair.split == "new_kind")


def test_the_exemplar_differs_from_the_old_object_in_kind_and_hue(pairs):
    for i, pair in enumerate(pairs):
        before = _source(i, pair.hue)
        assert before.name != pair.kind and before.seed in HELD_OUT_SEEDS
        assert hue_distance(before.hue, pair.hue) >= APART


def test_the_first_80_seen_pairs_ask_for_all_trained_kinds():
    seen = [i for i in range(PAIRS) if split_of(i) == "seen"]
    assert {_ask(i, None)[0] for i in seen[:80]} == set(kind_names("train"))


def test_of_few_kinds_all_seen_pairs_ask_for_these():
    kinds = ["cactus", "owl"]
    assert {make_pair(i, 64, kinds=kinds).kind for i in (0, 1, 2, 4, 5)} == set(kinds)


def test_source_and_answer_are_a_held_out_scene_with_another_object(all_pairs):
    for index in range(0, 400, 9):
        pair, scene = all_pairs[index], _source(index, all_pairs[index].hue)
        assert scene.seed == HELD_OUT_SEEDS[index]
        np.testing.assert_array_equal(pair.source.image, scene.render(64).image)
        answer = scene.with_object(pair.kind, pair.hue).render(64)
        np.testing.assert_array_equal(pair.truth.image, answer.image)
        assert pair.kind != scene.name
        np.testing.assert_array_equal(pair.truth.clean, pair.source.clean)


def test_the_exemplar_comes_from_another_held_out_scene(all_pairs):
    for index in range(0, 400, 9):
        pair, seed = all_pairs[index], HELD_OUT_SEEDS[index + 400]
        render = Scene(seed, pair.kind, pair.hue).render(64)
        x0, y0, x1, y1 = (round(64 * v) for v in render.box)
        np.testing.assert_array_equal(pair.exemplar, render.image[y0:y1, x0:x1])


def test_the_hole_holds_both_objects_and_their_shadows(pairs):
    for pair in pairs:
        outside = ~pair.hole
        for render in (pair.source, pair.truth):
            changed = np.abs(render.image.astype(int) - render.clean).max(-1)
            assert not (render.alpha > .5)[outside].any()
            assert changed[outside].max(initial=0) <= 30
        assert .1 < pair.hole.mean() < .8


def test_the_hole_holds_the_old_object_and_the_right_answer(all_pairs):
    for pair in all_pairs:
        assert pair.hole.any() and not pair.hole.all()
        for render in (pair.source, pair.truth):
            assert (render.alpha[~pair.hole] <= .5).all()
            # nor does it cut off a shadow that could be seen
            difference = metrics.distance(render.image, render.clean)
            assert difference[~pair.hole].max() <= 16


def test_the_box_is_a_twentieth_larger_than_both_objects(all_pairs):
    for pair in all_pairs[::7]:
        low = np.minimum(pair.source.box[:2], pair.truth.box[:2])
        high = np.maximum(pair.source.box[2:], pair.truth.box[2:])
        grown = [*np.maximum(low - .05 * (high - low), 0),
                 *np.minimum(high + .05 * (high - low), 1)]
        np.testing.assert_allclose(pair.box, grown)


def test_what_is_pasted_is_the_exemplar(all_pairs):
    for pair in all_pairs[::20]:
        rows, columns = np.flatnonzero(pair.hole.any(1)), np.flatnonzero(pair.hole.any(0))
        size = (np.ptp(columns) + 1, np.ptp(rows) + 1)
        expected = pair.exemplar.resize(size, Image.Resampling.BICUBIC)
        inside = pair.pasted[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
        np.testing.assert_array_equal(inside, expected)
        outside = ~pair.hole
        np.testing.assert_array_equal(pair.pasted[outside], pair.source.image[outside])
        shown = inside[pair.pasted_alpha[rows[0]:rows[-1] + 1,
                                         columns[0]:columns[-1] + 1] > .99]
        assert len(shown) > 20


def test_every_pair_can_show_a_leak(all_pairs):
    counts = [metrics.leak_pixels(p.pasted, p.pasted_alpha, p.truth.image, p.source.clean,
                                  p.hole).sum() for p in all_pairs]
    assert np.mean(np.array(counts) > 20) > .9


def test_a_pair_has_the_words_for_a_caption(pairs):
    assert [p.name.split(" ", 1)[1] for p in pairs] == [p.kind for p in pairs]


@pytest.mark.parametrize("index", [-1, 400])
def test_there_are_no_other_pairs(index):
    with pytest.raises(ValueError, match=f"index must be from 0 to 399, got {index}"):
        make_pair(index)
