"""The benchmark's scores: of models, of cheats, and of those who know the answer."""

import json

import numpy as np
import pytest
import torch
from conftest import pixels
from PIL import Image

from pbe_lite.config import RESULTS
from pbe_lite.data.tabletop import FIRST_TRAINING_SEED, HELD_OUT_SEEDS, Scene
from pbe_lite.evaluation import evaluate, metrics
from pbe_lite.evaluation.benchmark import SPLITS, make_pair
from pbe_lite.evaluation.evaluate import (
    METRICS,
    format_table,
    read_results,
    reference,
    right_kinds,
    score_row,
    write_json,
)
from pbe_lite.evaluation.painting import CHEATS, cheat, flat_patch, paint_pairs
from pbe_lite.models.clip import embed, load_clip


@pytest.fixture(scope="module")
def pairs():
    return [make_pair(i) for i in range(32)]


@pytest.fixture(scope="module")
def all_pairs():
    return [make_pair(i, 64) for i in range(400)]


@pytest.fixture(scope="module")
def table(pairs):
    """Scores, by the shipped judge and CLIP, of the cheats, of a flat grey hole and of the
    clean plate."""
    fill = lambda what: [np.where(p.hole[..., None], what(p), p.source.image)
                         for p in pairs]
    rows = {name: cheat(name, pairs) for name in CHEATS}
    rows["grey"] = (fill(lambda p: np.uint8(128)),) * 2
    rows["clean"] = (fill(lambda p: p.source.clean),) * 2
    return {"rows": {row: score_row(pairs, *found) for row, found in rows.items()}}


def features(pictures, boxes=None):
    return embed(load_clip()[0], map(Image.fromarray, pictures), boxes)


def mean(table, row, metric, split="seen"):
    return table["rows"][row][split][metric]["mean"]


# -------------------------------------------------------------------------- scores


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
    assert evaluate.sharpness(flat_patch(pairs[0]), pairs[0]) < .6


def test_the_changed_box_is_where_the_object_stands(pairs):
    for pair in pairs[:8]:
        found = evaluate.changed_box(pair, pair.answer)
        assert np.abs(np.subtract(found, pair.truth.box)).max() < .25
        empty = np.where(pair.hole[..., None], pair.source.clean, pair.source.image)
        assert evaluate.changed_box(pair, empty) == pair.box


@pytest.mark.parametrize("split", SPLITS)
def test_copy_paste_leaks_all_and_the_truth_nothing(table, split):
    rows = ("copy_paste", "ground_truth", "clean")
    leaks = [mean(table, row, "leak", split) for row in rows]
    assert leaks == [1, 0, 0]
    assert 0 < mean(table, "grey", "leak", split) < 1


def test_the_truth_has_no_seam_and_copy_paste_and_grey_do(table):
    for split in SPLITS:
        assert mean(table, "ground_truth", "seam", split) == pytest.approx(1)
        assert mean(table, "copy_paste", "seam", split) > 2
        assert mean(table, "grey", "seam", split) > 2


def test_the_truth_has_its_own_light(table):
    assert mean(table, "ground_truth", "light") == 0
    assert mean(table, "copy_paste", "light") > 5 and mean(table, "grey", "light") > 5


def test_the_judge_knows_the_truth_and_no_cheat_without_a_shape(table):
    for split in SPLITS:
        assert mean(table, "ground_truth", "right_kind", split) >= .9
        assert mean(table, "round_trip", "right_kind", split) >= .9
        for row in ("flat_patch", "grey", "clean"):
            assert mean(table, row, "right_kind", split) <= .1


def test_colours_are_right_for_the_truth_and_its_round_trip(table):
    for split in SPLITS:
        assert mean(table, "ground_truth", "right_colour", split) == 1
        assert mean(table, "round_trip", "right_colour", split) >= .9
        assert mean(table, "clean", "right_colour", split) == 0


def test_fid_tells_scenes_from_frames_and_these_from_grey_holes(table):
    for split in SPLITS:
        truth, pasted, grey = (mean(table, row, "clip_fid", split) for row in
                               ("ground_truth", "copy_paste", "grey"))
        assert 0 < truth < pasted < grey


def test_fid_of_many_scenes_is_less_than_half_that_of_grey_holes(all_pairs):
    pairs = [p for p in all_pairs if p.split == "seen"][:100]
    grey = [np.where(p.hole[..., None], np.uint8(128), p.answer) for p in pairs]
    truth, grey = (metrics.clip_fid(features(pictures), reference("seen")[0])
                   for pictures in ([p.answer for p in pairs], grey))
    assert 0 < truth < grey / 2


def test_whole_pictures_show_a_wall_that_boxes_hide(all_pairs):
    pairs = all_pairs[::4]
    walls, right = [], [p.answer for p in pairs]
    for p, other in zip(pairs, pairs[7:] + pairs[:7]):
        alpha = p.truth.alpha[..., None]
        mixed = alpha * p.truth.image + (1 - alpha) * other.source.clean
        walls.append(np.where(p.hole[..., None], mixed, p.answer).astype(np.uint8))
    boxes = [p.box for p in pairs]
    by_box, whole = (metrics.clip_fid(features(walls, b), features(right, b))
                     for b in (boxes, None))
    assert whole > 1.3 * by_box


def test_real_scenes_have_a_qs_of_100_and_are_in_no_pair():
    features, mixture, likely = reference("seen")
    assert features.shape == (evaluate.REFERENCES, 128)
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


def test_a_raw_answer_counts_for_the_hard_edge_alone(pairs, weights):
    raw = [np.clip(p.answer.astype(int) + 60, 0, 255).astype(np.uint8) for p in pairs]
    pasted = [p.answer for p in pairs]
    row = score_row(pairs, raw, pasted, weights)
    assert row["seen"]["seam"]["mean"] == pytest.approx(1)
    assert row["seen"]["seam_hard"]["mean"] > 2
    assert row["seen"]["background_psnr"]["exact"]


def test_a_changed_background_is_measured_in_decibels(pairs, weights):
    changed = [np.clip(p.source.image.astype(int) + 10, 0, 255).astype(np.uint8)
               for p in pairs]
    found = score_row(pairs, changed, changed, weights)["seen"]["background_psnr"]
    assert found["low"] <= found["mean"] <= found["high"] and "exact" not in found
    assert found["mean"] == pytest.approx(28.13, abs=.3)


def test_right_kind_is_about_the_asked_kind(pairs):
    """Another pair's answer is a wrong one, however well it is painted."""
    results = [np.where(p.hole[..., None], Scene(HELD_OUT_SEEDS[i]).with_object(
        pairs[(i + 4) % len(pairs)].kind).render().image, p.source.image)
        for i, p in enumerate(pairs)]
    changed = [p.kind != pairs[(i + 4) % len(pairs)].kind for i, p in enumerate(pairs)]
    assert right_kinds(pairs, results)[changed].mean() < .1


def test_scores_belong_to_pairs(pairs, weights):
    """The row of a split is the mean of what its pairs score alone."""
    seen = [p for p in pairs if p.split == "seen"][:3]
    score = lambda chosen: score_row(chosen, *cheat("copy_paste", chosen), weights)["seen"]
    one_by_one = [score([p]) for p in seen]
    for metric in ("leak", "light", "right_kind", "right_colour", "clip_score"):
        expected = np.mean([row[metric]["mean"] for row in one_by_one])
        assert score(seen)[metric]["mean"] == pytest.approx(expected, rel=1e-4)


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


def test_the_json_is_what_the_readme_promises(pipe, tmp_path, weights):
    table = evaluate.evaluate(pipe, "tiny", 8, 2., 2, 1, weights)
    write_json(table, tmp_path / "new" / "out.json")

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    found = json.loads((tmp_path / "new" / "out.json").read_text(), parse_constant=refuse)
    assert found["pairs"] == 8
    assert (found["guidance_scale"], found["steps"], found["seed"]) == (2., 2, 1)
    assert found["rows"].keys() == {*CHEATS, "tiny"}
    required = {"leak", "right_kind", "clip_score", "seam", "light", "background_psnr"}
    for row in found["rows"].values():
        assert row.keys() == set(SPLITS)
        for split in row.values():
            assert split.keys() >= required and split.keys() == set(METRICS)
            for value in split.values():
                assert value.keys() - {"exact"} == {"mean", "low", "high"}
                if value["mean"] is None:
                    assert value["exact"] is True
                else:
                    assert value["low"] <= value["mean"] <= value["high"]
            assert split["background_psnr"]["exact"] is True


def test_one_pair_has_one_split(pipe, weights):
    table = evaluate.evaluate(pipe, "tiny", pairs=1, steps=1, weights=weights)
    assert all(row.keys() == {"seen"} for row in table["rows"].values())


def test_without_a_single_leak_pixel_there_is_no_leak_but_a_table(
        pairs, monkeypatch, weights):
    monkeypatch.setattr(metrics, "leak", lambda *_: np.nan)
    row = score_row(pairs, *cheat("copy_paste", pairs), weights)
    table = {"rows": {"copy_paste": row}}
    assert mean(table, "copy_paste", "leak") is None
    assert "exact" not in table["rows"]["copy_paste"]["seen"]["leak"]
    assert " - " in format_table(table)
    json.dumps(table, allow_nan=False)


def test_the_table_has_a_line_a_row_and_split(table):
    lines = format_table(table).splitlines()
    assert len(lines) == 2 + 6 * 3
    assert all(metric in lines[0] for metric in METRICS)
    (line,) = [li for li in lines if li.startswith("| copy_paste | seen |")]
    assert "1.00 [1.00, 1.00]" in line and "identical" in line
    assert {li.count("|") for li in lines} == {3 + len(METRICS)}
    (short,) = format_table({"rows": {"x": table["rows"]["copy_paste"]}}, ("leak",),
                            ["new_kind"]).splitlines()[2:]
    assert short == "| x | new_kind | 1.00 [1.00, 1.00] |"


def test_guidance_and_steps_are_by_default_the_pipelines_own(pipe, weights):
    pipe.register_to_config(guidance_scale=1.5, steps=2)
    table = evaluate.evaluate(pipe, "tiny", pairs=2, weights=weights)
    assert (table["guidance_scale"], table["steps"]) == (1.5, 2)
    assert table == evaluate.evaluate(pipe, "tiny", 2, 1.5, 2, weights=weights)


def test_a_missing_judge_is_told_before_anything_is_painted(pipe, weights, tmp_path,
                                                            monkeypatch):
    for part in ("clip", "codec"):
        (tmp_path / part).symlink_to(weights / part)
    monkeypatch.setattr(evaluate, "paint_pairs", None)
    with pytest.raises(OSError, match="judge"):
        evaluate.evaluate(pipe, "tiny", pairs=1, steps=1, weights=tmp_path)


def test_results_are_read_by_name():
    assert read_results("full_size") == json.loads(
        (RESULTS / "full_size.json").read_text())
    with pytest.raises(FileNotFoundError, match="no results 'fnal' in .*only: .*full_size"):
        read_results("fnal")
