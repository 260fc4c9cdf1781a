"""However a class names its files, each answer is found once, under its author's name."""

import json
import os

import pytest

from pbe_lite.classroom import assignments, submissions
from pbe_lite.classroom.submissions import Submission, collect, load, notebooks


def a_sheet(key="a1", text="x = 1"):
    mark = dict(grade_id=f"{key}_one", grade=False, locked=False, solution=True, task=False,
                schema_version=3)
    answer = {"cell_type": "code", "id": "one", "metadata": {"nbgrader": mark},
              "source": text, "outputs": [], "execution_count": None}
    return {"cells": [answer], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


SOURCE = {"a1": a_sheet("a1"), "a2": a_sheet("a2")}


def found(folder):
    return {(s.student, s.assignment): s for s in collect(folder, SOURCE)}


def test_a_student_is_a_folder_or_a_notebook(tmp_path):
    assignments.write(a_sheet(text="ann"), tmp_path / "ann" / "a1.ipynb")
    assignments.write(a_sheet(text="bob"), tmp_path / "Bob O'Neil.ipynb")
    (tmp_path / "grades.xlsx").write_text("not a student")
    (tmp_path / ".cache").mkdir()
    seen = found(tmp_path)
    assert list(seen) == [("Bob_O_Neil", "a1"), ("ann", "a1")]
    assert seen["ann", "a1"].sheet["cells"][0]["source"] == "ann"
    assert seen["ann", "a1"].files == tmp_path / "ann"
    assert seen["Bob_O_Neil", "a1"].files is None
    assert not any(s.notes for s in seen.values())


def test_who_hands_in_nothing_still_has_a_row_for_each_assignment(tmp_path):
    assignments.write(a_sheet("a1"), tmp_path / "ann" / "a1.ipynb")
    assignments.write(a_sheet("a2"), tmp_path / "bob" / "deep" / "down" / "a2.ipynb")
    (tmp_path / "cem").mkdir()
    seen = found(tmp_path)
    assert set(seen) == {(s, a) for s in ("ann", "bob", "cem") for a in ("a1", "a2")}
    assert seen["bob", "a2"].sheet and seen["bob", "a1"].sheet is None
    assert seen["cem", "a1"].notes == ["nothing handed in"]


def test_a_renamed_notebook_is_recognised_by_its_cells(tmp_path):
    assignments.write(a_sheet("a2"), tmp_path / "ann" / "my work (3) final.ipynb")
    one = found(tmp_path)["ann", "a2"]
    assert one.sheet and one.notes == ["renamed: my work (3) final.ipynb"]


def test_of_two_notebooks_the_one_with_the_right_name_counts(tmp_path):
    assignments.write(a_sheet(text="other"), tmp_path / "ann" / "a1 copy.ipynb")
    assignments.write(a_sheet(text="right"), tmp_path / "ann" / "late" / "a1.ipynb")
    one = found(tmp_path)["ann", "a1"]
    assert one.sheet["cells"][0]["source"] == "right"
    assert one.notes == ["not looked at: a1 copy.ipynb"]


def test_names_that_become_the_same_stay_two_students(tmp_path):
    for name in ("a b", "a_b", "a,b"):
        assignments.write(a_sheet(text=name), tmp_path / name / "a1.ipynb")
    texts = [s.sheet["cells"][0]["source"] for s in found(tmp_path).values()]
    assert sorted(texts) == ["a b", "a,b", "a_b"] and len(found(tmp_path)) == 3


def test_links_are_not_followed(tmp_path):
    assignments.write(a_sheet(), tmp_path / "elsewhere" / "a1.ipynb")
    class_ = tmp_path / "class"
    assignments.write(a_sheet(), class_ / "bob" / "a1.ipynb")
    (class_ / "ann").mkdir()
    (class_ / "ann" / "a1.ipynb").symlink_to(tmp_path / "elsewhere" / "a1.ipynb")
    (class_ / "ann" / "more").symlink_to(tmp_path / "elsewhere")
    (class_ / "cem.ipynb").symlink_to(tmp_path / "elsewhere" / "a1.ipynb")
    assert notebooks(class_ / "ann") == notebooks(class_ / "cem.ipynb") == []
    assert found(class_)["ann", "a1"].sheet is None


def test_a_pipe_with_the_name_of_a_notebook_is_not_waited_for(tmp_path):
    assignments.write(a_sheet(), tmp_path / "ann" / "a1.ipynb")
    (tmp_path / "bob").mkdir()
    os.mkfifo(tmp_path / "bob" / "a1.ipynb")
    assert found(tmp_path)["bob", "a1"].sheet is None


def test_checkpoints_are_not_looked_at(tmp_path):
    assignments.write(a_sheet(), tmp_path / "ann" / ".ipynb_checkpoints" / "a1.ipynb")
    assert notebooks(tmp_path / "ann") == []


@pytest.mark.parametrize("text", [
    "", "{", "[]", "null", '{"cells": 3}', "\ud83d", '{"nbformat": 2, "worksheets": []}',
    json.dumps({**a_sheet(), "cells": [{"cell_type": "code"}]}),
    json.dumps({**a_sheet(), "cells": ["text"]})])
def test_what_cannot_be_read_becomes_a_note(tmp_path, text):
    assignments.write(a_sheet(), tmp_path / "ann" / "a1.ipynb")
    bad = tmp_path / "bob" / "a1.ipynb"
    bad.parent.mkdir()
    bad.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match="a1.ipynb is no notebook"):
        load(bad)
    one = found(tmp_path)["bob", "a1"]
    assert one.sheet is None and one.notes[0].startswith("a1.ipynb is no notebook")


def test_a_huge_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "LARGEST", 100)
    assignments.write(a_sheet(), tmp_path / "a1.ipynb")
    with pytest.raises(ValueError, match="larger than"):
        load(tmp_path / "a1.ipynb")


@pytest.mark.parametrize("mark", ["text", [1], {"grade_id": 3}, {"grade_id": ["x"]}, None])
def test_broken_marks_are_dropped(tmp_path, mark):
    made = a_sheet()
    made["cells"][0]["metadata"]["nbgrader"] = mark
    assignments.write(made, tmp_path / "a1.ipynb")
    assert "nbgrader" not in load(tmp_path / "a1.ipynb")["cells"][0]["metadata"]


def test_an_older_format_gets_what_it_lacks(tmp_path):
    made = a_sheet()
    made["nbformat_minor"] = 4
    made["cells"][0].pop("id")
    assignments.write(made, tmp_path / "a1.ipynb")
    assert load(tmp_path / "a1.ipynb")["cells"][0]["id"]


def test_nothing_to_grade_is_said(tmp_path):
    (tmp_path / "ann").mkdir()
    with pytest.raises(ValueError, match="submissions: no sheet was recognised"):
        collect(tmp_path, SOURCE)


def test_odd_words_are_pointed_out():
    one = Submission("ann", "a1", a_sheet(text="open('gradebook.db')\nget_ipython()"))
    assert one.suspects() == ["get_ipython", "gradebook"]
    assert Submission("ann", "a1", a_sheet(text="np.ones(3)")).suspects() == []
    assert Submission("ann", "a1").suspects() == []
