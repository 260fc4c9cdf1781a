"""One command makes every weight and table, and goes on where it was stopped."""

import json
import os
import signal
import time

import numpy as np
import pytest

from pbe_lite.config import WEIGHTS
from pbe_lite.evaluation import cli, tables
from pbe_lite.evaluation.benchmark import make_pair
from pbe_lite.evaluation.evaluate import METRICS, read_results, score_row
from pbe_lite.evaluation.painting import BASELINES, CHEATS, paint_pairs
from pbe_lite.evaluation.tables import IDEAS, PARTS, ROWS, Stopped, Study
from pbe_lite.pipeline import PaintByExamplePipeline
from pbe_lite.training import trainer

CELLS = ("leak", "clip_score", "right_kind", "right_colour")
WIDTHS = {1: "bottleneck", 5: "naive"}  # a tiny exemplar has four patches
STEPS = 42  # of the whole plan


@pytest.fixture
def study(tmp_path, records, weights, tiny, objective, monkeypatch):
    """begin(): the same tiny study, as a new process would begin it, its parts shipped."""
    shelf = tmp_path / "weights"
    shelf.mkdir()
    for part in weights.iterdir():
        (shelf / part.name).symlink_to(part)
    objective("final").export(shelf / "final")
    monkeypatch.setattr(tables, "training_records", lambda preset, runs: records)
    monkeypatch.setattr(tables, "WIDTHS", WIDTHS)
    monkeypatch.setitem(ROWS, "width", tuple(WIDTHS.values()))

    def begin(samples=8, **options):
        every = dict.fromkeys((*PARTS, "shipped", *IDEAS), samples)
        options = {"pairs": 4, "samples": every, **options}
        return Study(tmp_path / "runs", tmp_path / "results", shelf, tiny,
                     records=tmp_path, **options)

    return begin


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def left(study):
    return [step.name for step in study.steps() if not step.is_done()]


# ------------------------------------------------------------------------ the plan


def test_a_part_comes_before_what_stands_on_it(tmp_path):
    names = left(Study(tmp_path / "runs", tmp_path, tmp_path / "weights"))
    assert names[:4] == ["train codec", "train clip", "train judge", "train prior"]
    for arm in ("naive", "final", "shipped", "tokens_17"):
        assert names.index(f"train {arm}") < names.index(f"score {arm}")
    assert names.index("train naive") < names.index("ship naive")
    assert names.index("score tokens_17") < names.index("write width")
    assert len(names) == len(set(names)) == STEPS


def test_an_arm_is_done_when_it_has_seen_all_of_its_samples(study):
    write(study().runs / "naive" / "run.json", {"samples": 4, "of": 8, "minutes": 1})
    assert "train naive" in left(study())
    write(study().runs / "naive" / "run.json", {"samples": 8, "of": 8, "minutes": 1})
    assert "train naive" not in left(study())


def test_what_is_shipped_is_not_trained_again(study, tmp_path):
    names = left(study())
    assert not {"train codec", "train judge", "train shipped"} & set(names)
    (tmp_path / "weights" / "judge").unlink()
    assert "train judge" in left(study())


def test_its_minutes_are_those_of_the_arms_trained_so_far(study):
    write(study().runs / "naive" / "run.json", {"samples": 8, "of": 8, "minutes": .5})
    assert study().minutes("final") == pytest.approx(.5)


@pytest.mark.parametrize("only, expected", [
    ("judge", ["train judge"]), ("train naive", ["train naive"]),
    ("naive", ["train naive", "ship naive", "score naive"]),
    ("shipped", ["train shipped", "score shipped"])])
def test_steps_are_chosen_by_their_name_or_that_of_their_thing(study, only, expected):
    assert [s.name for s in tables.chosen(study().steps(), only)] == expected
    with pytest.raises(ValueError, match="only must name a step.*train judge.*'judg'"):
        tables.chosen(study().steps(), "judg")


def test_the_plan_tells_what_is_left_and_does_nothing(study, monkeypatch, capsys):
    begun = study()
    monkeypatch.setattr(tables, "Study", lambda *args, **options: begun)
    cli.main(["--plan"])
    lines = capsys.readouterr().out.splitlines()
    steps = len(begun.steps())
    assert f"{steps - 5} of {steps} steps are left" in lines[-1]
    assert not list(begun.runs.rglob("*"))
    write(begun.runs / "poisson.json", {})
    cli.main(["--plan"])
    lines = capsys.readouterr().out.splitlines()
    assert f"{steps - 6} of {steps} steps are left" in lines[-1]
    assert "    done  score poisson" in lines
    cli.main(["--plan", "--only", "judge"])
    assert capsys.readouterr().out.splitlines()[0] == "    done  train judge"


def test_cheats_stand_in_both_tables():
    for name in ("table1", "table2"):
        assert set(CHEATS) <= set(ROWS[name])


# ---------------------------------------------------------------------- what is refused


def test_arms_of_another_number_of_samples_are_not_mixed_in(study):
    write(study().runs / "naive" / "run.json", {"samples": 8, "of": 8, "minutes": 1})
    study(samples=11)  # 11 // 4 * 4 is 8
    with pytest.raises(ValueError, match="naive must be trained on 12 samples, was on 8"):
        study(samples=12)


def test_scores_on_another_number_of_pairs_are_not_mixed_in(study):
    write(study().runs / "naive.json", {"pairs": 4, "rows": {}})
    study()
    with pytest.raises(ValueError, match="naive.json must be of 5 pairs, is of 4"):
        study(pairs=5)


def test_the_command_says_in_one_line_what_it_cannot_mix(tmp_path):
    write(tmp_path / "naive" / "run.json", {"samples": 8, "of": 8, "minutes": 1})
    with pytest.raises(SystemExit, match="error: .*naive must be trained on"):
        cli.main(["--plan", "--runs", str(tmp_path)])


# ------------------------------------------------------------------------- the steps


def test_the_judge_is_trained_and_shipped_by_its_name(study, tmp_path, capsys):
    (tmp_path / "weights" / "judge").unlink()
    begun = study(samples=64)
    begun.run("judge")
    assert capsys.readouterr().out.startswith("train judge: about")
    assert left(begun)[0] != "train judge"
    record = begun.record("judge")
    assert record["samples"] == record["of"] == 64
    assert record["command"] == "python -m pbe_lite.reproduce --only judge"
    assert (tmp_path / "weights" / "judge" / "config.json").exists()


def test_the_clip_and_the_long_run_are_shipped_under_the_names_that_others_read(
        study, tmp_path):
    (tmp_path / "weights" / "clip").unlink()
    names = [step.name for step in study(samples=128).steps()]
    study(samples=128).run("clip")
    assert (tmp_path / "weights" / "clip" / "tokenizer.json").exists()
    (tmp_path / "weights" / "final").rename(tmp_path / "before")
    study(samples=128).steps()[names.index("train shipped")].work()
    assert study(samples=128).record("shipped")["arm"] == "final"
    assert (tmp_path / "weights" / "final" / "unet" / "config.json").exists()


@pytest.mark.slow
def test_every_row_of_every_table_is_made(study, tmp_path, capsys):
    study().run()
    read = lambda name: json.loads((tmp_path / "results" / f"{name}.json").read_text())
    tables = {name: read(name) for name in ROWS}
    assert list(tables["table1"]["rows"]) == list(ROWS["table1"])
    assert set(tables["table2"]["rows"]) == {*CHEATS, *IDEAS}
    assert list(tables["width"]["rows"]) == ["bottleneck", "naive"]
    assert tables["width"]["rows"]["naive"] == tables["table2"]["rows"]["naive"]
    scales = tables["guidance"]["rows"]
    assert scales["shipped@3"] == tables["table1"]["rows"]["shipped"] and len(
        {json.dumps(row) for row in scales.values()}) == len(scales)
    for table in tables.values():
        assert (table["pairs"], table["samples"]["final"], table["seed"]) == (4, 8, 0)
        for row in table["rows"].values():
            assert row.keys() == {"seen", "new_colourway", "new_kind"}
            assert all(split.keys() == set(METRICS) for split in row.values())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("train naive: about") and "33 steps" in lines[0]
    assert lines[-1].startswith("write losses") and "1 steps" in lines[-1]
    assert set(read("losses")) == set(IDEAS)
    assert {"naive", "bottleneck"} <= {p.name for p in (tmp_path / "weights").iterdir()}


def test_stopped_in_the_middle_it_does_only_what_is_left(study, tmp_path, monkeypatch):
    done = []

    def train(self, arm):
        if arm == "final" and "again" not in done:
            raise KeyboardInterrupt
        done.append(f"train {arm}")
        write(self.runs / arm / "run.json", {"samples": 8, "of": 8, "minutes": 1,
                                             "history": []})

    monkeypatch.setattr(Study, "train", train)
    monkeypatch.setattr(tables, "ship", lambda run, weights: (
        done.append(f"ship {run.name}"), (weights / run.name).mkdir()))
    monkeypatch.setattr(Study, "score", lambda self, name: (
        done.append(name), write(self.runs / f"{name}.json", {"rows": {name: {}}})))
    with pytest.raises(KeyboardInterrupt):
        study().run()
    assert done == ["train naive", "ship naive", "naive", "train bottleneck",
                    "ship bottleneck", "bottleneck", "shipped"]
    done.append("again")
    study().run()
    assert done[8:12] == ["train final", "final", "train augment", "augment"]
    assert done[-11:] == [*BASELINES, "round_trip", "ground_truth", *ROWS["guidance"]]
    assert len(done) == len(set(done))


def test_an_arm_that_was_stopped_is_not_done(study, monkeypatch, capsys):
    """By SIGTERM in reproduce, or by pbe_lite.train, which exports what there is."""
    begun = study()
    update, steps = trainer.Run._update, []

    def update_then_sigterm(run, batch):
        steps.append(run.step)
        loss = update(run, batch)
        os.kill(os.getpid(), signal.SIGTERM)
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Run, "_update", update_then_sigterm)
        patch.setattr(tables, "Study", lambda *args, **options: begun)
        cli.main([])  # exit code 0: all was saved
    assert "naive: stopped at 4 of 8 samples; call again" in capsys.readouterr().out
    assert steps == [0] and "train naive" in left(begun)
    half = trainer.Run(begun.objective("naive"), begun.runs / "naive", 8, workers=0)
    half.export()  # run.json is there now
    half.close()
    assert begun.record("naive") and "train naive" in left(begun)
    begun.train("naive")
    assert "train naive" not in left(begun)
    record = begun.record("naive")
    assert record["samples"] == record["of"] == 8


def test_a_sitting_ends_when_its_minutes_are_over(study):
    begun = study(minutes=0)
    with pytest.raises(Stopped, match="time is up; .* steps are left"):
        begun.run()
    assert not list(begun.runs.rglob("*")) and begun.until <= time.monotonic()


def test_tables_hold_the_rows_of_their_scores(study):
    begun = study()
    for row in ROWS["guidance"]:
        write(begun.runs / f"{row}.json", {"rows": {row: {"seen": {"leak": row}}}})
    begun.table("guidance")
    table = json.loads((begun.results / "guidance.json").read_text())
    assert list(table["rows"]) == list(ROWS["guidance"])
    assert table["rows"]["shipped@2"]["seen"]["leak"] == "shipped@2"
    assert "write guidance" not in left(begun)


# ----------------------------------------------------------------- what was published


@pytest.fixture(scope="module")
def recomputed():
    """{shipped arm: its row on 40 of the published `seen` questions}."""
    pairs, rows = [make_pair(i) for i in range(0, 80, 2)], {}
    for arm in ("naive", "bottleneck", "final"):
        pipe = PaintByExamplePipeline.from_pretrained(WEIGHTS / arm)
        pipe.set_progress_bar_config(disable=True)
        rows[arm] = score_row(pairs, *paint_pairs(pipe, pairs, batch_size=20))["seen"]
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("table, row, arm", [
    ("table1", "shipped", "final"), ("table2", "naive", "naive"),
    ("table2", "bottleneck", "bottleneck"), ("width", "bottleneck", "bottleneck")])
def test_the_published_cells_come_from_the_shipped_weights(table, row, arm, cell,
                                                           recomputed):
    stated = read_results(table)["rows"][row]["seen"][cell]
    ours = recomputed[arm][cell]
    # 40 pairs scatter sqrt(200 / 40) times as widely as the table's 200
    reach = np.sqrt(200 / 40) * (stated["high"] - stated["low"]) / 2
    assert abs(ours["mean"] - stated["mean"]) < reach
    assert ours["low"] <= stated["mean"] <= ours["high"]


@pytest.mark.slow
def test_another_rows_cells_would_be_noticed(recomputed):
    rows = read_results("table2")["rows"]
    assert rows["naive"]["seen"]["leak"]["mean"] > recomputed["bottleneck"]["leak"]["high"]
