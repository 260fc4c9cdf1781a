"""The benchmark: 400 fixed questions, and the scores of those who know the answer."""

import json

import numpy as np
import pytest
import torch
from conftest import pixels
from PIL import Image

from pbe_lite.config import DATA, RESULTS
from pbe_lite.data.tabletop import FIRST_TRAINING_SEED, HELD_OUT_SEEDS, Scene, object_names
from pbe_lite.evaluation import evaluate as benchmark
from pbe_lite.evaluation import metrics
from pbe_lite.evaluation.benchmark import make_pair, split_of
from pbe_lite.evaluation.evaluate import (
    METRICS,
    evaluate,
    evaluate_rows,
    format_table,
    paint_pairs,
    read_results,
    score,
    write_json,
)


@pytest.fixture(scope="module")
def pairs():
    return [make_pair(i) for i in range(16)]


@pytest.fixture(scope="module")
def table(pairs):
    """Scores of copy-paste, the truth, a flat grey hole and the clean plate."""
    fill = lambda what: [np.where(p.hole[..., None], what(p), p.source.image)
                         for p in pairs]
    rows = {"copy_paste": [p.pasted for p in pairs],
            "ground_truth": fill(lambda p: p.truth.image),
            "grey": fill(lambda p: np.uint8(128)),
            "clean": fill(lambda p: p.source.clean)}
    return evaluate_rows({row: (results, results) for row, results in rows.items()}, pairs)


def mean(table, row, metric, split="seen"):
    return table["rows"][row][split][metric]["mean"]


# --------------------------------------------------------------------------- pairs


def test_a_pair_is_a_pure_function_of_its_index():
    first, again = make_pair(5, 64), make_pair(5, 64)
    for part in ("name", "split", "box"):
        assert getattr(first, part) == getattr(again, part)
    for part in ("hole", "pasted", "pasted_alpha"):
        np.testing.assert_array_equal(getattr(first, part), getattr(again, part))
    np.testing.assert_array_equal(first.source.image, again.source.image)
    np.testing.assert_array_equal(first.exemplar, again.exemplar)


def test_pairs_stay_what_the_published_numbers_were_measured_on():
    names = [(make_pair(i, 64).name, make_pair(i, 64).split) for i in (0, 1, 2, 3, 399)]
    assert names == [("candy", "seen"), ("chestnut", "held_out"), ("candy", "seen"),
                     ("rose", "held_out"), ("bucket", "held_out")]


@pytest.fixture(scope="module")
def all_pairs():
    return [make_pair(i, 64) for i in range(400)]


def test_half_of_the_400_show_objects_never_seen_in_training(all_pairs):
    seen = [p for p in all_pairs if p.split == "seen"]
    held_out = [p for p in all_pairs if p.split == "held_out"]
    assert len(seen) == len(held_out) == 200
    assert {p.name for p in seen} <= set(object_names("train"))
    assert len({p.name for p in seen}) > 120
    names = [p.name for p in held_out]
    assert {n: names.count(n) for n in names} == dict.fromkeys(object_names("held_out"), 5)
    assert [split_of(i) for i in range(400)] == [p.split for p in all_pairs]


def test_source_and_answer_are_a_held_out_scene_with_another_object(all_pairs):
    for index in range(0, 400, 9):
        pair, scene = all_pairs[index], Scene(HELD_OUT_SEEDS[index])
        np.testing.assert_array_equal(pair.source.image, scene.render(64).image)
        answer = scene.with_object(pair.name).render(64)
        np.testing.assert_array_equal(pair.truth.image, answer.image)
        assert pair.name != scene.name
        np.testing.assert_array_equal(pair.truth.clean, pair.source.clean)


def test_the_exemplar_comes_from_another_held_out_scene(all_pairs):
    for index in range(0, 400, 9):
        pair = all_pairs[index]
        found = []
        for seed in HELD_OUT_SEEDS[(index + 250) % 500:][:1]:
            assert seed != HELD_OUT_SEEDS[index]
            render = Scene(seed).with_object(pair.name).render(64)
            x0, y0, x1, y1 = (round(64 * v) for v in render.box)
            found.append(render.image[y0:y1, x0:x1])
        np.testing.assert_array_equal(pair.exemplar, found[0])


def test_the_hole_holds_the_old_object_and_the_right_answer(all_pairs):
    for pair in all_pairs:
        assert pair.hole.any() and not pair.hole.all()
        for render in (pair.source, pair.truth):
            assert (render.alpha[~pair.hole] < .02).all()
            # nor does it cut off a shadow that could be seen
            difference = metrics.distance(render.image, render.clean)
            assert difference[~pair.hole].max() <= 8


def test_the_box_is_a_tenth_larger_than_both_objects(all_pairs):
    for pair in all_pairs[::7]:
        low = np.minimum(pair.source.box[:2], pair.truth.box[:2])
        high = np.maximum(pair.source.box[2:], pair.truth.box[2:])
        grown = [*np.maximum(low - .1 * (high - low), 0),
                 *np.minimum(high + .1 * (high - low), 1)]
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


@pytest.mark.parametrize("index", [-1, 400])
def test_there_are_no_other_pairs(index):
    with pytest.raises(ValueError, match=f"index must be from 0 to 399, got {index}"):
        make_pair(index)


# -------------------------------------------------------------------------- scores


@pytest.mark.parametrize("split", ["seen", "held_out"])
def test_copy_paste_leaks_all_and_the_truth_nothing(table, split):
    rows = ("copy_paste", "ground_truth", "clean")
    leaks = [mean(table, row, "leak", split) for row in rows]
    assert leaks == [1, 0, 0]
    assert 0 < mean(table, "grey", "leak", split) < 1


def test_the_truth_has_no_seam_and_copy_paste_and_grey_do(table):
    for split in ("seen", "held_out"):
        assert mean(table, "ground_truth", "seam", split) == pytest.approx(1)
        assert mean(table, "copy_paste", "seam", split) > 2
        assert mean(table, "grey", "seam", split) > 2


def test_the_truth_has_its_own_light(table):
    assert mean(table, "ground_truth", "light") == 0
    assert mean(table, "copy_paste", "light") > 5 and mean(table, "grey", "light") > 5


def test_the_judge_knows_the_truth_and_the_pasted_object(table):
    for split in ("seen", "held_out"):
        assert mean(table, "ground_truth", "right_object", split) >= .7
        assert mean(table, "copy_paste", "right_object", split) >= .7
        assert mean(table, "grey", "right_object", split) <= .25
        assert mean(table, "clean", "right_object", split) <= .25


def test_fid_tells_scenes_from_frames_and_these_from_grey_holes(table):
    for split in ("seen", "held_out"):
        truth, pasted, grey = (mean(table, row, "clip_fid", split) for row in
                               ("ground_truth", "copy_paste", "grey"))
        assert 0 < truth < pasted < grey


def test_fid_of_many_scenes_is_less_than_half_that_of_grey_holes(all_pairs):
    pairs = [p for p in all_pairs if p.split == "seen"][:100]
    grey = [np.where(p.hole[..., None], np.uint8(128), p.answer) for p in pairs]
    truth, grey = (metrics.clip_fid(benchmark.picture_features(pictures),
                                    benchmark.reference("seen")[0])
                   for pictures in ([p.answer for p in pairs], grey))
    assert 0 < truth < grey / 2


def test_whole_pictures_show_a_wall_that_boxes_hide(all_pairs):
    pairs = all_pairs[::4]
    walls, right = [], [p.answer for p in pairs]
    for p, other in zip(pairs, pairs[7:] + pairs[:7]):
        alpha = p.truth.alpha[..., None]
        mixed = alpha * p.truth.image + (1 - alpha) * other.source.clean
        walls.append(np.where(p.hole[..., None], mixed, p.answer).astype(np.uint8))
    by_box, whole = (
        metrics.clip_fid(features(walls), features(right)) for features in
        (lambda ys: benchmark.box_features(pairs, ys), benchmark.picture_features))
    assert whole > 1.3 * by_box


def test_real_scenes_have_a_qs_of_100_and_are_in_no_pair():
    features, mixture, likely = benchmark.reference("seen")
    assert features.shape == (benchmark.REFERENCES, 128)
    scores = 100 * mixture.score_samples(features.numpy()) / likely
    assert scores.mean() == pytest.approx(100)
    wrong = torch.nn.functional.normalize(features.flip(1), dim=1)  # no such pictures
    assert 100 * mixture.score(wrong.numpy()) / likely < 20
    assert FIRST_TRAINING_SEED > max(HELD_OUT_SEEDS)


def test_clip_score_rewards_copy_paste(table):
    rows = ("copy_paste", "ground_truth", "grey")
    copied, truth, grey = (mean(table, row, "clip_score") for row in rows)
    assert 100 >= copied > truth > grey


def test_the_background_is_exact_in_every_pasted_row(table):
    for row in table["rows"].values():
        for split in row.values():
            assert split["background_psnr"] == {
                "mean": None, "low": None, "high": None, "exact": True}


def test_a_changed_background_is_measured_in_decibels(pairs):
    raw = [np.clip(p.source.image.astype(int) + 10, 0, 255).astype(np.uint8) for p in pairs]
    pasted = [p.source.image for p in pairs]
    table = evaluate_rows({"arm": (raw, pasted)}, pairs)
    assert table["rows"]["arm"]["seen"]["background_psnr"]["exact"]
    found = table["rows"]["arm"]["seen"]["background_psnr_raw"]
    assert found["low"] <= found["mean"] <= found["high"] and "exact" not in found
    assert found["mean"] == pytest.approx(28.13, abs=.3)


def test_right_object_is_about_the_named_object(pairs):
    """Another pair's answer is a wrong one, however well it is painted."""
    results = [Scene(HELD_OUT_SEEDS[i]).with_object(pairs[(i + 4) % 16].name).render().image
               for i in range(16)]
    found = score(pairs, results, results)["right_object"]
    changed = [p.name != pairs[(i + 4) % 16].name for i, p in enumerate(pairs)]
    assert found[changed].mean() < .2


def test_scores_belong_to_pairs(pairs):
    results = [p.pasted for p in pairs]
    whole = score(pairs, results, results)
    part = score(pairs[4:6], results[4:6], results[4:6])
    for metric in ("leak", "light", "right_object", "clip_score"):
        np.testing.assert_allclose(whole[metric][4:6], part[metric], rtol=1e-4)


# ------------------------------------------------------------------------- the model


def test_the_models_answers_are_pasted_back_and_do_not_depend_on_the_batch(pipe):
    questions = [make_pair(i, 64) for i in range(4)]
    raw, pasted = paint_pairs(pipe, questions, steps=2, batch_size=4)
    again, _ = paint_pairs(pipe, questions, steps=2, batch_size=3)
    for pair, r, a, p in zip(questions, raw, again, pasted, strict=True):
        assert np.abs(r.astype(int) - a).max() <= 1
        np.testing.assert_array_equal(p[~pair.hole], pair.source.image[~pair.hole])
        assert (p[pair.hole] != pair.source.image[pair.hole]).any()
    other, _ = paint_pairs(pipe, questions, steps=2, seed=9)
    assert (other[0] != raw[0]).any()


def test_an_answer_is_the_pipelines_own(pipe):
    pair = make_pair(2, 64)
    raw, pasted = paint_pairs(pipe, [pair], 3., steps=2, seed=4)
    call = dict(image=pair.source.image, mask_image=pair.hole, guidance_scale=3., seed=4,
                example_image=pair.exemplar, num_inference_steps=2, context=100)
    found = pixels(pipe(**call, paste=False))[0]
    assert np.abs(found.astype(int) - raw[0]).max() <= 1
    assert np.abs(pixels(pipe(**call))[0].astype(int) - pasted[0]).max() <= 1


def test_the_json_is_what_the_readme_promises(pipe, tmp_path):
    table = evaluate(pipe, "tiny", pairs=6, guidance_scale=2., steps=2, seed=1)
    write_json(table, tmp_path / "new" / "out.json")

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    found = json.loads((tmp_path / "new" / "out.json").read_text(), parse_constant=refuse)
    assert found["pairs"] == 6
    assert (found["guidance_scale"], found["steps"], found["seed"]) == (2., 2, 1)
    assert found["rows"].keys() == {"copy_paste", "ground_truth", "tiny"}
    required = {"leak", "right_object", "clip_score", "seam", "light", "background_psnr"}
    for row in found["rows"].values():
        assert row.keys() == {"seen", "held_out"}
        for split in row.values():
            assert split.keys() >= required and split.keys() == set(METRICS)
            for value in split.values():
                assert value.keys() - {"exact"} == {"mean", "low", "high"}
                if value["mean"] is None:
                    assert value["exact"] is True
                else:
                    assert value["low"] <= value["mean"] <= value["high"]
            assert split["background_psnr"]["exact"] is True
    raw = found["rows"]["tiny"]["seen"]["background_psnr_raw"]
    assert 0 < raw["mean"] < 40


def test_one_pair_has_one_split(pipe):
    table = evaluate(pipe, "tiny", pairs=1, steps=1)
    assert all(row.keys() == {"seen"} for row in table["rows"].values())


def test_without_a_single_leak_pixel_there_is_no_leak_but_a_table(pairs, monkeypatch):
    monkeypatch.setattr(metrics, "leak", lambda *_: np.nan)
    results = [p.pasted for p in pairs]
    table = evaluate_rows({"copy_paste": (results, results)}, pairs)
    assert mean(table, "copy_paste", "leak") is None
    assert "exact" not in table["rows"]["copy_paste"]["seen"]["leak"]
    assert " - " in format_table(table)
    json.dumps(table, allow_nan=False)


def test_the_table_has_a_line_a_row_and_split(table):
    lines = format_table(table).splitlines()
    assert len(lines) == 2 + 4 * 2
    assert all(metric in lines[0] for metric in METRICS)
    (line,) = [li for li in lines if li.startswith("| copy_paste | seen |")]
    assert "1.00 [1.00, 1.00]" in line and "identical" in line
    assert {li.count("|") for li in lines} == {3 + len(METRICS)}
    (short,) = format_table({"rows": {"x": table["rows"]["copy_paste"]}}, ("leak",),
                            ["held_out"]).splitlines()[2:]
    assert short == "| x | held_out | 1.00 [1.00, 1.00] |"


def test_a_gallery_has_a_unit_vector_for_every_name():
    galleries = benchmark.galleries()
    for split, names in (("seen", object_names()), ("held_out", object_names("held_out"))):
        assert galleries[split][0] == names
        norms = galleries[split][1].norm(dim=1)
        torch.testing.assert_close(norms, torch.ones(len(names)))


def test_the_gallerys_scenes_are_in_no_pair_and_in_no_training():
    for seed in benchmark.GALLERY_SEEDS:
        assert seed not in HELD_OUT_SEEDS and seed < FIRST_TRAINING_SEED


def test_guidance_and_steps_are_by_default_the_pipelines_own(pipe):
    pipe.register_to_config(guidance_scale=1.5, steps=2)
    table = evaluate(pipe, "tiny", pairs=2)
    assert (table["guidance_scale"], table["steps"]) == (1.5, 2)
    assert table == evaluate(pipe, "tiny", pairs=2, guidance_scale=1.5, steps=2)


SHOWN = ("leak", "right_object", "clip_score", "clip_fid", "seam")  # in the README's tables


def test_the_readme_shows_the_results_files():
    table = json.loads((RESULTS / "final.json").read_text())
    assert table["pairs"] == benchmark.PAIRS
    readme = (DATA.parent / "README.md").read_text()
    assert format_table(table) in readme
    for name in ("table1", "table2"):
        assert format_table(read_results(name), SHOWN, ["seen"]) in readme


def test_results_are_read_by_name():
    assert read_results("final") == json.loads(
        (RESULTS / "final.json").read_text())
    with pytest.raises(FileNotFoundError, match="no results 'fnal' in .*only: .*final"):
        read_results("fnal")
