"""The plan of the second edition: what counts as done, and what a table holds."""

import json

import numpy as np
import pytest
import torch

from pbe_lite.second import clip, contact_sheet, tables
from pbe_lite.second.benchmark import make_pair


@pytest.fixture
def study(tmp_path):
    return tables.Study(tmp_path / "runs", tmp_path / "results", tmp_path / "weights",
                        records=tmp_path)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def left(study):
    return [step.name for step in study.steps() if not step.is_done()]


def test_a_part_comes_before_what_stands_on_it(study):
    names = left(study)
    assert names[:4] == ["train codec", "train clip", "train judge", "train prior"]
    for arm in ("naive", "final", "shipped", "tokens_17"):
        assert names.index(f"train {arm}") < names.index(f"score {arm}")
    assert names.index("score tokens_17") < names.index("write width")


def test_an_arm_is_done_when_it_has_seen_all_of_its_samples(study):
    write(study.runs / "naive" / "run.json", {"samples": 32_000, "of": 112_000})
    assert "train naive" in left(study)
    write(study.runs / "naive" / "run.json", {"samples": 112_000, "of": 112_000})
    assert "train naive" not in left(study)


def test_a_stopped_run_ends_the_command_and_scores_nothing(study, monkeypatch):
    class Stopped:
        def __init__(self, *args, **kwargs): pass
        def train(self): return False
        def export(self, command): pass
        def close(self): pass
    monkeypatch.setattr(tables, "build", lambda *args, **kwargs: None)
    monkeypatch.setattr(tables, "Run", Stopped)
    with pytest.raises(SystemExit, match="not yet trained; call again"):
        study.train("naive")


def test_tables_hold_the_rows_of_their_scores(study):
    for row in tables.ROWS["width"]:
        write(study.runs / f"{row}.json", {"rows": {row: {"seen": {"leak": row}}}})
    study.table("width")
    table = json.loads((study.results / "width.json").read_text())
    assert list(table["rows"]) == ["bottleneck", "tokens_5", "tokens_17", "naive"]
    assert table["rows"]["tokens_5"]["seen"]["leak"] == "tokens_5"
    assert "write width" not in left(study)


def test_cheats_stand_in_both_tables():
    for name in ("table1", "table2"):
        assert set(tables.CHEATS) == {"copy_paste", "flat_patch", "ground_truth",
                                      "round_trip"} <= set(tables.ROWS[name])


def test_a_sheet_shows_question_and_result_in_the_benchmarks_order():
    pairs = contact_sheet.first_pairs(3)
    assert [p.kind for p in pairs] == [make_pair(i).kind for i in (0, 2, 4)]
    results = [p.answer for p in pairs]
    sheet = np.asarray(contact_sheet.contact_sheet(pairs, results, columns=3))
    source, exemplar = contact_sheet.shown(pairs[0])
    np.testing.assert_array_equal(sheet[:128, :128], source)
    np.testing.assert_array_equal(sheet[:128, 129:257], exemplar)
    np.testing.assert_array_equal(sheet[:128, 258:386], results[0])
    assert (source[pairs[0].hole] == 128).all()


def test_a_blind_sheet_is_shuffled_and_has_its_key():
    pairs = contact_sheet.first_pairs(6)
    results = [np.full((128, 128, 3), 10 * i, np.uint8) for i in range(6)]
    sheet, key = contact_sheet.blind_sheet(pairs, results, seed=3, columns=6)
    shown = [int(np.asarray(sheet)[5, i * 132 + 5, 0]) // 10 for i in range(6)]
    assert sorted(shown) == list(range(6)) != shown
    assert key == [pairs[i].kind for i in shown]


def test_grey_crops_are_captioned_without_a_colour(tiny):
    torch.manual_seed(0)
    objective = clip.WideContrastive(tiny, scenes=100)
    named = 0
    for index in range(40):
        sample = objective.sample(0, index)
        words = objective.tokenizer.decode(sample["ids"]).split()
        coloured = words[5] in clip.COLOURS
        picture = sample["pixels"].numpy().transpose(1, 2, 0) * clip_std() + clip_mean()
        grey = np.ptp(picture, -1).max() < 1e-3
        assert not (grey and coloured)
        named += coloured
    assert 5 < named < 30  # of 40: about half of the coloured crops


def clip_std():
    return np.float32((.26862954, .26130258, .27577711))


def clip_mean():
    return np.float32((.48145466, .4578275, .40821073))
