"""However a class names its files, each answer is found once, under its author's name."""

import json
import os
import shutil
import zipfile
from tempfile import TemporaryDirectory

import nbformat
import pytest

from pbe_lite.classroom import assignments, files, submissions
from pbe_lite.classroom.files import files_of
from pbe_lite.classroom.submissions import Submission, collect, left_out, load


def a_sheet(key="a1", text="x = 1"):
    mark = dict(grade_id=f"{key}_one", grade=False, locked=False, solution=True, task=False,
                schema_version=3)
    answer = {"cell_type": "code", "id": "one", "metadata": {"nbgrader": mark},
              "source": text, "outputs": [], "execution_count": None}
    return {"cells": [answer], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


SOURCE = {"a1": a_sheet("a1"), "a2": a_sheet("a2")}


def found(folder):
    with TemporaryDirectory() as desk:
        return {(s.student, s.assignment): s for s in collect(folder, SOURCE, desk)}


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
    assert files_of(class_ / "ann")[0] == files_of(class_ / "cem.ipynb")[0] == []
    assert found(class_)["ann", "a1"].sheet is None


def test_a_pipe_with_the_name_of_a_notebook_is_not_waited_for(tmp_path):
    assignments.write(a_sheet(), tmp_path / "ann" / "a1.ipynb")
    (tmp_path / "bob").mkdir()
    os.mkfifo(tmp_path / "bob" / "a1.ipynb")
    assert found(tmp_path)["bob", "a1"].sheet is None


def test_checkpoints_are_not_looked_at(tmp_path):
    assignments.write(a_sheet(), tmp_path / "ann" / ".ipynb_checkpoints" / "a1.ipynb")
    assert files_of(tmp_path / "ann")[0] == []


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
        collect(tmp_path, SOURCE, tmp_path / "desk")


def test_where_nothing_can_be_read_the_error_says_why(tmp_path):
    (tmp_path / "ann.ipynb").write_text("{")
    with pytest.raises(ValueError, match="; ann: ann.ipynb is no notebook"):
        collect(tmp_path, SOURCE, tmp_path / "desk")


# ----------------------------------------------------------- what an LMS or a browser wraps


def as_bytes(sheet=None, encoding="utf-8"):
    return json.dumps(sheet or a_sheet()).encode(encoding)


def zipped(path, **members):
    """A zip of {name: bytes}, `_` in a name for the dot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("_", "."), data)
    return path


@pytest.mark.parametrize("name", ["a1.IPYNB", "a1.ipynb.txt", "a1.ipynb.json", ".a1.ipynb"])
def test_a_notebook_with_another_ending_is_one(tmp_path, name):
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / name).write_bytes(as_bytes())
    (tmp_path / f"bob{name.removeprefix('.').removeprefix('a1')}").write_bytes(as_bytes())
    seen = found(tmp_path)
    assert seen["ann", "a1"].sheet and seen["ann", "a1"].notes == [f"renamed: {name}"]
    assert seen["bob", "a1"].sheet and seen["bob", "a1"].notes == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_costs_nothing(tmp_path, encoding):
    (tmp_path / "a1.ipynb").write_bytes(as_bytes(encoding=encoding))
    assert load(tmp_path / "a1.ipynb")["cells"] == load_of(tmp_path, a_sheet())["cells"]


def load_of(folder, sheet):
    (folder / "other.ipynb").write_bytes(as_bytes(sheet))
    return load(folder / "other.ipynb")


def test_bytes_that_are_no_utf_8_are_a_note(tmp_path):
    assignments.write(a_sheet(), tmp_path / "ann" / "a1.ipynb")
    (tmp_path / "bob").mkdir()
    (tmp_path / "bob" / "a1.ipynb").write_bytes(as_bytes().replace(b"x = 1", b"\xe4"))
    one = found(tmp_path)["bob", "a1"]
    assert one.sheet is None and "a1.ipynb is no notebook: Unicode" in one.notes[0]


@pytest.mark.parametrize("place", ["source", "metadata", "id", "a key"])
def test_half_an_emoji_becomes_a_question_mark(tmp_path, place):
    made = a_sheet()
    cell = made["cells"][0]
    changes = {"source": {"source": "'\ud83d'"}, "id": {"id": "\udc00"},
               "metadata": {"metadata": {**cell["metadata"], "tags": ["\ud83d"]}},
               "a key": {"\ud83d": 1}}
    cell.update(changes[place])
    read = load_of(tmp_path, made)
    json.dumps(read, ensure_ascii=False).encode("utf-8")
    assert read["cells"][0]["source"] == ("'?'" if place == "source" else "x = 1")
    assert assignments.recognise(read, SOURCE) == "a1"


def test_a_whole_emoji_stays(tmp_path):
    assert load_of(tmp_path, a_sheet(text="'\U0001f600'"))["cells"][0]["source"] == \
        "'\U0001f600'"


def test_notebooks_of_older_and_newer_versions_are_read(tmp_path):
    three = nbformat.convert(nbformat.from_dict(a_sheet()), 3)
    assert assignments.recognise(load_of(tmp_path, three), SOURCE) == "a1"
    newer = {**a_sheet(), "nbformat_minor": 99}
    assert assignments.recognise(load_of(tmp_path, newer), SOURCE) == "a1"
    with pytest.raises(ValueError, match="is no notebook"):
        load_of(tmp_path, {**a_sheet(), "nbformat": 99})


def test_of_a_cell_only_what_counts_is_kept(tmp_path):
    made = a_sheet()
    picture = {"cell_type": "markdown", "id": "one", "metadata": {"tags": 3},
               "source": "see", "attachments": {"a.png": {"image/png": "AAAA"}}}
    made["cells"] += [picture, {**picture, "id": "not valid!", "attachments": 7}]
    made["cells"][0] |= {"outputs": "none", "execution_count": "x", "more": 1}
    first, second, third = load_of(tmp_path, made)["cells"]
    assert first["outputs"] == [] and "more" not in first
    assert second["attachments"] == picture["attachments"] and second["metadata"] == {}
    assert "attachments" not in third
    assert len({first["id"], second["id"], third["id"]}) == 3 and third["id"] == "own-2"
    nbformat.validate(nbformat.from_dict(load_of(tmp_path, made)))


def test_zips_are_looked_into_also_those_in_a_zip(tmp_path):
    zipped(tmp_path / "ann.zip", a1_ipynb=as_bytes(), mine_py=b"value = 7")
    inner = zipped(tmp_path / "ann.zip", a1_ipynb=as_bytes()).read_bytes()
    zipped(tmp_path / "bob" / "work.ZIP", a1_zip=inner, **{"__MACOSX/._a1_ipynb": b"\0"})
    with TemporaryDirectory() as desk:
        zipped(tmp_path / "ann.zip", a1_ipynb=as_bytes(), mine_py=b"value = 7")
        ann, bob = collect(tmp_path, SOURCE, desk)
        assert (ann.files / "mine.py").read_bytes() == b"value = 7"
    assert (ann.student, bob.student) == ("ann", "bob")
    assert ann.sheet and bob.sheet and not ann.notes and not bob.notes


def test_a_zip_stays_in_its_folder(tmp_path):
    desk = tmp_path / "deep" / "desk"
    zipped(tmp_path / "in" / "ann.zip", **{"../../a1_ipynb": as_bytes(), "/b": b"x"})
    assert collect(tmp_path / "in", SOURCE, desk)[0].sheet
    assert {p.name for p in tmp_path.iterdir()} == {"in", "deep"}
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["desk"]


def broken_zip(path, kind):
    """A zip that cannot be unpacked, for a different reason each."""
    data = bytearray(zipped(path, a1_ipynb=as_bytes()).read_bytes())
    if kind == "cut":
        data = data[:len(data) // 2]
    elif kind == "changed":
        data[60:64] = b"\xff" * 4
    elif kind == "encrypted":
        for signature, offset in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
            data[data.index(signature) + offset] |= 1
    path.write_bytes(data if kind != "empty" else b"")


@pytest.mark.parametrize("kind", ["cut", "changed", "encrypted", "empty"])
def test_a_zip_that_cannot_be_unpacked_is_named(tmp_path, kind):
    assignments.write(a_sheet(), tmp_path / "ann" / "a1.ipynb")
    broken_zip(tmp_path / "bob.zip", kind)
    (tmp_path / "cem").mkdir()
    broken_zip(tmp_path / "cem" / "a1.zip", kind)
    seen = found(tmp_path)
    assert seen["bob", "a1"].notes[0].startswith("bob.zip cannot be unpacked")
    assert seen["cem", "a1"].notes[0].startswith("a1.zip cannot be unpacked")


def test_zips_that_would_fill_the_disk_are_not_unpacked(tmp_path, monkeypatch):
    assignments.write(a_sheet(), tmp_path / "ann" / "a1.ipynb")
    zipped(tmp_path / "bob.zip", a1_ipynb=as_bytes(), zeros=bytes(30_000))
    monkeypatch.setattr(files, "MOST_UNPACKED", 20_000)
    assert "bob.zip cannot be unpacked: it holds 2 files" in \
        found(tmp_path)["bob", "a1"].notes[0]
    monkeypatch.setattr(files, "MOST_ZIPS", 2)
    inner = zipped(tmp_path / "x.zip", a1_ipynb=as_bytes()).read_bytes()
    os.remove(tmp_path / "x.zip")
    zipped(tmp_path / "bob.zip", **{f"{i}_zip": inner for i in range(4)})
    notes = found(tmp_path)["bob", "a1"].notes
    assert sum("was not unpacked: more than 2 zips" in note for note in notes) == 3


# ---------------------------------------------------------------------- odd names and kinds


def test_whatever_was_handed_in_has_a_row_that_names_it(tmp_path):
    assignments.write(a_sheet(), tmp_path / "ann" / "a1.ipynb")
    (tmp_path / "bob.pdf").write_bytes(b"%PDF")
    (tmp_path / "cem").mkdir()
    (tmp_path / "cem" / "a1.rar").write_bytes(b"Rar!")
    (tmp_path / "dan").symlink_to(tmp_path / "ann")
    os.mkfifo(tmp_path / "eve.ipynb")
    (tmp_path / "fay.ipynb").write_bytes(b"")
    (tmp_path / ".gus.ipynb").write_bytes(as_bytes())
    notes = {student: one.notes for (student, _), one in found(tmp_path).items()}
    assert notes.pop("fay")[0].startswith("fay.ipynb is no notebook")
    assert notes == {
        "ann": [], "gus": [],
        "bob": ["nothing handed in but bob.pdf"], "cem": ["nothing handed in but a1.rar"],
        "dan": ["dan is a link: not followed", "nothing handed in"],
        "eve": ["eve.ipynb is neither a file nor a folder", "nothing handed in"]}


def test_litter_and_a_teachers_tables_are_no_students(tmp_path):
    assignments.write(a_sheet(), tmp_path / "ann" / "a1.ipynb")
    assignments.write(a_sheet(), tmp_path / "__MACOSX" / "mac" / "a1.ipynb")
    for name in ("grades.csv", ".DS_Store", "._ann.ipynb"):
        (tmp_path / name).write_bytes(b"\0")
    assert list(found(tmp_path)) == [("ann", "a1")]
    assert left_out(tmp_path) == [".DS_Store", "._ann.ipynb", "__MACOSX", "grades.csv"]


def test_several_files_of_one_name_are_told_apart(tmp_path):
    assignments.write(a_sheet(text="folder"), tmp_path / "ann" / "a1.ipynb")
    (tmp_path / "ann.ipynb").write_bytes(as_bytes(a_sheet(text="file")))
    zipped(tmp_path / "ann.zip", a1_ipynb=as_bytes(a_sheet(text="zip")))
    seen = found(tmp_path)
    assert {s: one.sheet["cells"][0]["source"] for (s, _), one in seen.items()} == {
        "ann": "folder", "ann_": "file", "ann__": "zip"}
    assert seen["ann_", "a1"].notes == ["handed in as ann.ipynb: ann was taken"]


@pytest.mark.parametrize("name", [
    b"\xff\xfe", b"a\nb", b"*", b"-rf", b" ", b"x" * 255, b"a..", "\u0645".encode(),
    b"=1+1", b"100%"])
def test_an_odd_name_is_a_student_whose_name_can_name_a_folder(tmp_path, name):
    assignments.write(a_sheet(), tmp_path / "in" / "ann" / "a1.ipynb")
    shutil.copytree(tmp_path / "in" / "ann", tmp_path / "in" / os.fsdecode(name))
    seen = found(tmp_path / "in")
    student = next(student for student, _ in seen if student != "ann")
    (tmp_path / student / "below").mkdir(parents=True)
    assert (tmp_path / student).parent == tmp_path
    assert student.isprintable() and seen[student, "a1"].sheet
    "; ".join(seen[student, "a1"].notes).encode("utf-8")


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    assignments.write(a_sheet(), tmp_path / "ann" / "a1.ipynb")
    assignments.write(a_sheet(), tmp_path / "bob" / "closed" / "a1.ipynb")
    scandir = os.scandir

    def refuse(path):  # the rights of a file bind every user but root, who may test here
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert found(tmp_path)["bob", "a1"].notes == ["closed: Permission denied",
                                                  "nothing handed in"]


def test_a_notebook_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    assignments.write(a_sheet(), tmp_path / "ann" / "a1.ipynb")
    assignments.write(a_sheet(), tmp_path / "bob" / "a1.ipynb")
    read = type(tmp_path).read_bytes

    def refuse(path):
        if path.parent.name == "bob":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(type(tmp_path), "read_bytes", refuse)
    one = found(tmp_path)["bob", "a1"]
    assert one.sheet is None and "a1.ipynb" in one.notes[0]


def test_odd_words_are_pointed_out():
    one = Submission("ann", "a1", a_sheet(text="open('gradebook.db')\nget_ipython()"))
    assert one.suspects() == ["get_ipython", "gradebook"]
    assert Submission("ann", "a1", a_sheet(text="np.ones(3)")).suspects() == []
    assert Submission("ann", "a1").suspects() == []
