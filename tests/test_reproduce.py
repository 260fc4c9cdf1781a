"""One command re-creates the tables, and goes on where it was stopped."""

import json

import pytest

from pbe_lite import reproduce
from pbe_lite.evaluate import BASELINES, METRICS
from pbe_lite.presets import ARMS
from pbe_lite.reproduce import Study


@pytest.fixture
def study(tmp_path, records, weights, tiny, objective):
    """begin(): the same tiny study, as a new process would begin it."""
    shelf = tmp_path / "weights"
    shelf.mkdir()
    for part in weights.iterdir():
        (shelf / part.name).symlink_to(part)
    objective("final").export(shelf / "final")

    def begin(**options):
        options = {"samples": 8, "pairs": 4, **options}
        return Study(tmp_path / "runs", tmp_path / "results", shelf, tiny, records,
                     **options)

    return begin


def test_every_row_of_both_tables_is_made(study, tmp_path, capsys):
    study().run()
    first, second = (json.loads((tmp_path / "results" / f"table{i}.json").read_text())
                     for i in (1, 2))
    assert set(first["rows"]) == {"copy_paste", *BASELINES, "shipped", "ground_truth"}
    assert list(second["rows"]) == ["copy_paste", *ARMS, "ground_truth"]
    for table in (first, second):
        assert (table["pairs"], table["samples"], table["seed"]) == (4, 8, 0)
        for row in table["rows"].values():
            assert row.keys() == {"seen", "held_out"}
            assert all(split.keys() == set(METRICS) for split in row.values())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("train scratch: about") and "22 steps" in lines[0]
    assert lines[-1].startswith("write table2") and "1 steps" in lines[-1]
    losses = json.loads((tmp_path / "results" / "losses.json").read_text())
    assert list(losses) == list(ARMS)
    different = {json.dumps(row) for row in second["rows"].values()}
    assert len(different) == len(second["rows"])


def test_stopped_in_the_middle_it_does_only_what_is_left(study, tmp_path, monkeypatch):
    done = []
    work = Study.train

    def train(self, arm):
        if arm == "bottleneck" and "again" not in done:
            raise KeyboardInterrupt
        done.append(arm)
        work(self, arm)

    monkeypatch.setattr(Study, "train", train)
    monkeypatch.setattr(Study, "score", lambda self, name: (
        done.append(name), (self.runs / f"{name}.json").write_text('{"rows": {}}')))
    with pytest.raises(KeyboardInterrupt):
        study().run()
    assert done == ["scratch", "naive", "naive_augment"]
    done.append("again")
    study().run()
    assert done[4:7] == ["bottleneck", "augment", "final"]
    assert done[7:] == [*ARMS, *BASELINES, "copy_paste", "ground_truth", "shipped"]


def test_the_plan_tells_what_is_left_and_does_nothing(study, monkeypatch, capsys):
    begun = study()
    monkeypatch.setattr(reproduce, "Study", lambda *args, **options: begun)
    reproduce.main(["--plan"])
    lines = capsys.readouterr().out.splitlines()
    assert "22 of 22 steps are left" in lines[-1]
    assert not list(begun.runs.rglob("*"))
    begun.runs.mkdir()
    (begun.runs / "poisson.json").write_text("{}")
    reproduce.main(["--plan"])
    lines = capsys.readouterr().out.splitlines()
    assert "21 of 22 steps are left" in lines[-1]
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
