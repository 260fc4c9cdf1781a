"""Each step of grading alone: whatever fails, the others of the class do not notice."""

import copy
import io

import pytest

from pbe_lite.classroom import assignments, cli, grading, sandbox, tasks
from pbe_lite.classroom.course import Course
from pbe_lite.classroom.submissions import Submission

FREE = [] if sandbox.version() else ["--unconfined"]


def small_sheet(sheet):
    """The sheet's first task."""
    kept = ("a1_setup", "a1_hole")
    return {**sheet, "cells": [c for c in sheet["cells"]
                               if (assignments.name(c) or "").startswith(kept)]}


@pytest.fixture
def ready(tmp_path):
    """(Task, sheet with solutions) of a right answer to a sheet of one test."""
    small, blank = (small_sheet(assignments.read_all(folder)["a1"])
                    for folder in (cli.SOURCE, cli.RELEASE))
    (tmp_path / "out").mkdir()
    given = Submission("ann", "a1", copy.deepcopy(small), notes=["renamed: x.ipynb"])
    return Course(tmp_path / "out"), tasks.make_ready(given, small, blank), small


def refuse(*given, **named):
    raise OSError(28, "No space left on device")


def test_what_cannot_be_mended_or_run_counts_as_blank(ready, monkeypatch):
    _, task, small = ready
    monkeypatch.setattr(grading, "run_apart", refuse)
    sheet, notes = grading.execute(task, None)
    assert "No space left" in notes[0]
    assert {c["outputs"][0]["ename"] for c in sheet["cells"]
            if c["cell_type"] == "code"} == {"NotRun"}
    monkeypatch.setattr(assignments, "mend", refuse)
    broken = tasks.make_ready(Submission("ann", "a1", small), small, task.blank)
    assert not broken.to_run and broken.fingerprint == ""
    assert "counted as blank" in broken.notes[0]


def test_what_nbgrader_cannot_digest_has_a_row(ready, monkeypatch):
    course, task, small = ready
    monkeypatch.setattr(Course, "autograde", refuse)
    monkeypatch.setattr(Course, "write_feedback", refuse)
    monkeypatch.setattr(Course, "grades", lambda *given: [])  # as for who is not in it
    notes = grading.record(course, task, task.sheet, [])
    assert [note.split(":")[0] for note in notes] == [
        "counted as blank", "not graded", "no feedback page"]
    row = grading.row_of(course, task, small, notes)
    assert (row["student"], row["auto"], row["by_hand"]) == ("ann", 0, 0)
    assert row["notes"].startswith("renamed: x.ipynb; counted as blank")
    assert not course.knows(task)


def test_making_ready_changes_nothing(ready):
    course, task, small = ready
    given = Submission("ann", "a1", copy.deepcopy(small), notes=["renamed: x.ipynb"])
    before = copy.deepcopy(given)
    again = tasks.make_ready(given, small, task.blank)
    assert given == before and again == task and task.notes == ("renamed: x.ipynb",)


def test_ctrl_c_in_nbgrader_ends_the_grading(ready, monkeypatch):
    course, task, _ = ready
    monkeypatch.setattr("pbe_lite.classroom.course.capture_log", lambda job: {
        "success": False, "error": "Traceback ...\nKeyboardInterrupt\n"})
    with pytest.raises(KeyboardInterrupt):
        grading.record(course, task, task.sheet, [])


def test_large_files_beside_a_notebook_are_left_where_they_are(tmp_path, monkeypatch):
    (tmp_path / "data.bin").write_bytes(bytes(100))
    assert tasks.small_enough(tmp_path) == (tmp_path, [])
    monkeypatch.setattr(tasks, "MOST_FILES", 99)
    folder, notes = tasks.small_enough(tmp_path)
    assert folder is None and "too large to be copied" in notes[0]


def test_a_terminal_without_unicode_is_no_hindrance(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", narrow)
    grading.say("1/2 Zoë: a1")
    assert narrow.buffer.getvalue() == b"1/2 Zo?: a1\n"


# ------------------------------------------------------------------------------ commands


@pytest.mark.parametrize(("arguments", "said"), [
    (["grade", "nowhere"], "No such file"),
    (["grade", ".", "--out", "course"], "must lie apart"),
    (["grade", "course/submitted", "--out", "course"], "must lie apart"),
    (["release", "--source", "."], "no sheets"),
    (["variant", "--term", "x", "--terms", "nowhere"], "No such file")])
def test_what_is_wrong_is_one_line(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    extra = FREE if arguments[0] == "grade" else []
    with pytest.raises(SystemExit, match=f"error: .*{said}"):
        cli.main([*arguments, *extra])


def test_without_landlock_it_asks_before_it_runs_strange_code(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "version", lambda: 0)
    with pytest.raises(SystemExit, match="or say --unconfined"):
        cli.main(["grade", str(tmp_path)])
