"""One command re-creates the tables, and goes on where it was stopped."""

import json
import os
import signal

import numpy as np
import pytest
import torch

from pbe_lite.config import WEIGHTS
from pbe_lite.evaluation import tables
from pbe_lite.evaluation.benchmark import make_pair
from pbe_lite.evaluation.evaluate import (
    BASELINES,
    METRICS,
    paint_pairs,
    read_results,
    score,
)
from pbe_lite.evaluation.metrics import bootstrap
from pbe_lite.evaluation.tables import IDEAS, ROWS, Study
from pbe_lite.pipeline import PaintByExamplePipeline
from pbe_lite.training import trainer
from pbe_lite.training.losses import build_objective

CELLS = ("leak", "clip_score", "right_object")
WIDTHS = {1: "bottleneck", 4: "tokens_4"}  # a tiny exemplar has four patches


@pytest.fixture
def study(tmp_path, records, weights, tiny, objective):
    """begin(): the same tiny study, as a new process would begin it."""
    shelf = tmp_path / "weights"
    shelf.mkdir()
    for part in weights.iterdir():
        (shelf / part.name).symlink_to(part)
    objective("final").export(shelf / "final")

    def begin(**options):
        options = {"samples": 8, "pairs": 4, "widths": WIDTHS, **options}
        return Study(tmp_path / "runs", tmp_path / "results", shelf, tiny, records,
                     **options)

    return begin


@pytest.mark.slow
def test_every_row_of_every_table_is_made(study, tmp_path, capsys):
    study().run()
    read = lambda name: json.loads((tmp_path / "results" / f"{name}.json").read_text())
    tables = {name: read(name) for name in ("table1", "table2", "width", "guidance")}
    assert set(tables["table1"]["rows"]) == {
        "copy_paste", *BASELINES, "shipped", "ground_truth"}
    assert set(tables["table2"]["rows"]) == {"copy_paste", *IDEAS, "ground_truth"}
    assert list(tables["width"]["rows"]) == ["1", "4"]
    assert tables["width"]["rows"]["1"] == tables["table2"]["rows"]["bottleneck"]
    scales = tables["guidance"]["rows"]
    assert scales["3"] == tables["table2"]["rows"]["final"] and len(
        {json.dumps(row) for row in scales.values()}) == 3
    for table in tables.values():
        assert (table["pairs"], table["samples"], table["seed"]) == (4, 8, 0)
        for row in table["rows"].values():
            assert row.keys() == {"seen", "held_out"}
            assert all(split.keys() == set(METRICS) for split in row.values())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("train bottleneck: about") and "28 steps" in lines[0]
    assert lines[-1].startswith("write guidance") and "1 steps" in lines[-1]
    assert set(read("losses")) == {*IDEAS, "tokens_4"}
    different = {json.dumps(row) for row in tables["table2"]["rows"].values()}
    assert len(different) == len(ROWS["table2"])


def test_stopped_in_the_middle_it_does_only_what_is_left(study, tmp_path, monkeypatch):
    done = []
    work = Study.train

    def train(self, arm):
        if arm == "final" and "again" not in done:
            raise KeyboardInterrupt
        done.append(f"train {arm}")
        work(self, arm)

    monkeypatch.setattr(Study, "train", train)
    monkeypatch.setattr(Study, "score", lambda self, name: (
        done.append(name),
        (self.runs / f"{name}.json").write_text(json.dumps({"rows": {name: {}}}))))
    with pytest.raises(KeyboardInterrupt):
        study().run()
    assert done == ["train bottleneck", "bottleneck", "train naive", "naive"]
    done.append("again")
    study().run()
    assert done[5:9] == ["train final", "final", "train augment", "augment"]
    assert done[-11:] == ["train tokens_4", "tokens_4", *BASELINES, "copy_paste",
                          "ground_truth", "shipped", "final@1", "final@2"]
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
        tables.main([])  # exit code 0: all was saved
    assert "bottleneck: stopped at 4 of 8 samples; call again" in capsys.readouterr().out
    assert steps == [0] and not begun.steps()[0].done
    half = trainer.Run(*begun_arm(begun, "bottleneck"), workers=0)
    half.export()  # run.json is there now
    assert begun.steps()[0].file.exists() and not begun.steps()[0].done
    begun.train("bottleneck")
    assert begun.steps()[0].done
    record = json.loads((begun.runs / "bottleneck" / "run.json").read_text())
    assert record["samples"] == record["of"] == 8


def begun_arm(study, arm):
    """What the run of an arm is built of."""
    torch.manual_seed(study.seed)
    objective = build_objective(arm, study.preset, study.records(), study.weights,
                                study.seed)
    return objective, study.runs / arm, study.samples


def test_the_plan_tells_what_is_left_and_does_nothing(study, monkeypatch, capsys):
    begun = study()
    monkeypatch.setattr(tables, "Study", lambda *args, **options: begun)
    tables.main(["--plan"])
    lines = capsys.readouterr().out.splitlines()
    assert "28 of 28 steps are left" in lines[-1]
    assert not list(begun.runs.rglob("*"))
    begun.runs.mkdir()
    (begun.runs / "poisson.json").write_text("{}")
    tables.main(["--plan"])
    lines = capsys.readouterr().out.splitlines()
    assert "27 of 28 steps are left" in lines[-1]
    assert [li for li in lines if li.split()[0] == "done"] == ["    done  score poisson"]


def test_its_minutes_are_those_of_the_arms_trained_so_far(study):
    begun = study(samples=8)
    folder = begun.runs / "naive"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(
        {"samples": 8, "of": 8, "minutes": .5}))
    assert study().rate() == pytest.approx(8 / 30)
    assert study().steps()[0].minutes == pytest.approx(.5)


def test_arms_of_another_number_of_samples_are_not_mixed_in(study):
    folder = study().runs / "naive"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"samples": 8, "of": 8, "minutes": 1}))
    study(samples=11)  # 11 // 4 * 4 is 8
    with pytest.raises(ValueError, match="samples must be 8, as .*naive.*, not 12"):
        study(samples=12)


@pytest.fixture(scope="module")
def recomputed():
    """{shipped arm: per-pair values of the published questions 0, 2, ... 78}."""
    pairs, values = [make_pair(i) for i in range(0, 80, 2)], {}
    for arm in ("naive", "bottleneck", "final"):
        pipe = PaintByExamplePipeline.from_pretrained(WEIGHTS / arm)
        pipe.set_progress_bar_config(disable=True)
        values[arm] = score(pairs, *paint_pairs(pipe, pairs, batch_size=20))
    return values


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("table, row, arm", [
    ("table1", "shipped", "final"), ("table2", "naive", "naive"),
    ("table2", "bottleneck", "bottleneck"), ("width", "1", "bottleneck")])
def test_the_published_cells_come_from_the_shipped_weights(table, row, arm, cell,
                                                           recomputed):
    stated = read_results(table)["rows"][row]["seen"][cell]
    ours = bootstrap(recomputed[arm][cell])
    # 40 pairs scatter sqrt(200 / 40) times as widely as the table's 200
    reach = np.sqrt(200 / 40) * (stated["high"] - stated["low"]) / 2
    assert abs(ours["mean"] - stated["mean"]) < reach
    assert ours["low"] <= stated["mean"] <= ours["high"]


@pytest.mark.slow
def test_another_rows_cells_would_be_noticed(recomputed):
    rows = read_results("table2")["rows"]
    for cell in CELLS:
        ours = bootstrap(recomputed["bottleneck"][cell])
        assert rows["naive"]["seen"][cell]["mean"] > ours["high"]
