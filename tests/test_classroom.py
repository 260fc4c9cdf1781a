"""A whole class is graded in one command, by nbgrader, and each gets the right marks."""

import copy
import csv
import json
import os
import zipfile

import pytest
from mutants import full, mutate
from mutants.a1 import MUTANTS
from nbgrader.api import Gradebook

from pbe_lite.classroom import assignments, cli, grading, sandbox
from pbe_lite.classroom.course import Course
from pbe_lite.models.shipping import hashes

pytestmark = pytest.mark.slow  # live kernels, and nbgrader
SOURCE = assignments.read_all(cli.SOURCE)
RELEASE = assignments.read_all(cli.RELEASE)
POINTS = assignments.points(SOURCE["a1"])
SOURCE_GRADED = {**POINTS, **assignments.points(SOURCE["a1"], assignments.is_written)}
FREE = [] if sandbox.version() else ["--unconfined"]
PICKED = ("the mask is inverted", "normal numbers in place of uniform ones",
          "the factor 2 of the middle term is missing", "the jitter is uniform",
          "the exemplar is cut out of the masked picture", "all but the hole is grey",
          "every mask is taken for 1 = hole", "the exemplar is stretched",
          "the square root is missing", "nearer and farther are swapped")
NOSY = """
import os, sqlite3
from pathlib import Path
for path in {paths}:
    for attempt in (lambda: Path(path).read_bytes(),
                    lambda: Path(path).write_text("mine"),
                    lambda: os.remove(path),
                    lambda: sqlite3.connect(path).execute(
                        "update grade set manual_score = 100")):
        try:
            attempt()
            print("got at", path)
        except Exception as error:
            print(type(error).__name__)
"""


def solved(key="a1", **changes):
    """The solution, with other sources for some answers; None deletes a cell."""
    made = copy.deepcopy(SOURCE[key])
    for cell in made["cells"]:
        cell["source"] = changes.get(assignments.name(cell), cell["source"])
    made["cells"] = [c for c in made["cells"] if c["source"] is not None]
    return made


def hand_in(folder, student, sheet, key="a1", name=None):
    assignments.write(sheet, folder / student / f"{name or key}.ipynb")


def graded(submissions, out, *options):
    """{(student, assignment): row} of the command's grades.csv."""
    cli.main(["grade", str(submissions), "--out", str(out), *options, *FREE])
    with open(out / "grades.csv", newline="") as file:
        return {(r["student"], r["assignment"]): r for r in csv.DictReader(file)}


@pytest.fixture(scope="module")
def class_of_20(tmp_path_factory):
    """({student: tests that must fail}, rows, out, submissions, digests before)."""
    place = tmp_path_factory.mktemp("class")
    folder, out = place / "submissions", place / "graded"
    expected = {}

    def add(student, sheet, fails="", **named):
        hand_in(folder, student, sheet, **named)
        expected[student] = fails if isinstance(fails, set) else full("a1", fails)

    chosen = [m for m in MUTANTS if m.name in PICKED]
    assert len(chosen) == 10
    for i, mutant in enumerate(chosen):
        add(f"mutant-{i}", mutate(SOURCE["a1"], "a1", mutant), mutant.fails)
    for i in range(2):
        add(f"blank-{i}", RELEASE["a1"], set(POINTS))
    add("syntax", solved(a1_polarity="def as_hole(mask, masked:\n    return mask"),
        "polarity_check polarity_hidden")
    add("dies", solved(a1_paste="import os\n\n\ndef paste(*given):\n    os._exit(1)"),
        "paste_check paste_hidden leak_check leak_hidden")
    add("loops", solved(a1_polarity="def as_hole(*given):\n    while True:\n        pass"),
        "polarity_check polarity_hidden")
    add("deletes", solved(a1_hole_check=None, a1_leak_hidden=None))
    targets = [out / "gradebook.db", folder / "right-0" / "a1.ipynb",
               cli.SOURCE / "a1" / "a1.ipynb"]
    nosy = solved()
    nosy["cells"].insert(2, {"cell_type": "code", "id": "nosy", "metadata": {},
                             "outputs": [], "execution_count": None,
                             "source": NOSY.format(paths=[str(t) for t in targets])})
    add("reads-the-gradebook", solved() if FREE else nosy)  # unconfined it would succeed
    for i, name in enumerate(("a1", "a1", "my sheet (2) final")):
        add(f"right-{i}", solved(), name=name)
    assert len(expected) == 20
    watched = (folder, cli.SOURCE, cli.RELEASE)
    before = [hashes(f) for f in watched]
    rows = graded(folder, out, "--seconds", "15")
    return expected, rows, out, before, [hashes(f) for f in watched]


def test_everybody_gets_the_right_marks(class_of_20):
    expected, rows, *_ = class_of_20
    assert {student for student, _ in rows} == set(expected)
    wrong = {}
    for student, fails in expected.items():
        row = rows[student, "a1"]
        marks = 65 - sum(POINTS[test] for test in fails)
        if (float(row["auto"]), set(row["failed"].split())) != (marks, fails):
            wrong[student] = row["auto"], marks, set(row["failed"].split()) ^ fails
    assert not wrong


def test_everybody_has_a_page_and_written_answers_wait_for_a_person(class_of_20):
    expected, rows, out, *_ = class_of_20
    for student in expected:
        page = out / "feedback" / student / "a1" / "a1.html"
        assert "Score" in page.read_text(encoding="utf-8")
        waiting = 0 if student.startswith("blank") else 35
        assert float(rows[student, "a1"]["by_hand"]) == waiting
        assert float(rows[student, "a1"]["max"]) == 100


def test_nothing_outside_a_submission_is_changed(class_of_20):
    _, _, _, before, after = class_of_20
    assert before == after


@pytest.mark.skipif(bool(FREE), reason="no Landlock here")
def test_the_gradebook_was_out_of_reach(class_of_20):
    _, rows, out, *_ = class_of_20
    done = json.loads((out / "autograded" / "reads-the-gradebook" / "a1" / "a1.ipynb")
                      .read_text())
    said = [o["text"] for c in done["cells"] if c.get("id") == "nosy" for o in c["outputs"]]
    assert said and "got at" not in "".join("".join(text) for text in said)
    assert "worth a look: gradebook" in rows["reads-the-gradebook", "a1"]["notes"]


def test_the_gradebook_knows_nobody_else(class_of_20):
    _, _, out, *_ = class_of_20
    assert len(Course(out).grades("a1", "right-0")) == len(SOURCE_GRADED)
    assert Course(out).grades("a1", "nobody") == Course(out).grades("a9", "right-0") == []


def test_notes_say_what_was_put_right(class_of_20):
    _, rows, *_ = class_of_20
    assert rows["deletes", "a1"]["notes"] == "missing: a1_hole_check, a1_leak_hidden"
    assert rows["right-0", "a1"]["notes"] == ""
    assert rows["right-2", "a1"]["notes"] == "renamed: my sheet (2) final.ipynb"


@pytest.fixture
def small_class(tmp_path):
    """(grade, hand in) for a class with a small sheet: an answer, its tests, a question."""
    small = solved()
    small["cells"] = [c for c in small["cells"] if (assignments.name(c) or "").startswith(
        ("a1_setup", "a1_hole", "a1_bug"))]
    assignments.write(small, tmp_path / "source" / "a1" / "a1.ipynb")

    def add(student, extra=""):
        mine = copy.deepcopy(small)
        mine["cells"][1]["source"] += extra
        hand_in(tmp_path / "in", student, mine)

    return add, lambda *options: graded(tmp_path / "in", tmp_path / "out", "--source",
                                        str(tmp_path / "source"), *options)


def test_a_late_answer_costs_no_second_run_of_the_others(small_class, tmp_path, capsys):
    add, grade = small_class
    add("ann")
    (tmp_path / "in" / "zoe").mkdir()  # who hands in nothing
    assert grade()["ann", "a1"]["auto"] == "8"
    with Gradebook(f"sqlite:///{tmp_path / 'out' / 'gradebook.db'}") as book:
        given = book.find_grade("a1_bug", "a1", "a1", "ann")
        given.manual_score, given.needs_manual_grade = 5, False
        book.db.commit()
    add("bob")
    rows = grade()
    assert [rows[s, "a1"]["auto"] for s in ("ann", "bob")] == ["8", "8"]
    assert [rows[s, "a1"]["by_hand"] for s in ("ann", "bob")] == ["0", "8"]
    said = capsys.readouterr().out
    assert "ann: a1 8 of 8, as before" in said and "bob: a1 8 of 8 \n" in said
    assert "zoe: a1 0 of 8, as before nothing handed in" in said
    add("ann", "\n\n\ndef hole_mask(box, size):\n    return 0")
    assert grade()["ann", "a1"]["auto"] == "0"
    with Gradebook(f"sqlite:///{tmp_path / 'out' / 'gradebook.db'}") as book:
        assert book.find_submission("a1", "ann").score == 5  # what a person gave stays
    grade("--again")
    assert "as before" not in capsys.readouterr().out.splitlines()[-2]


def test_a_killed_grading_goes_on(small_class, monkeypatch):
    add, grade = small_class
    for student in ("ann", "bob", "cem"):
        add(student)

    def killed(course, one, *rest, do=grading.record):
        notes = do(course, one, *rest)
        if one.student == "bob":
            raise KeyboardInterrupt
        return notes

    monkeypatch.setattr(grading, "record", killed)
    with pytest.raises(KeyboardInterrupt):
        grade()
    monkeypatch.undo()
    ran = []
    monkeypatch.setattr(grading, "record",
                        lambda course, one, *rest, do=grading.record:
                        ran.append(one.student) or do(course, one, *rest))
    assert {row["auto"] for row in grade().values()} == {"8"}
    assert ran == ["cem"]


# ------------------------------------------------------------------- odd submissions


@pytest.fixture
def odd_class(small_class, tmp_path):
    """(grade, folder of submissions, the right answer as bytes); ann and zoe solved it."""
    add, grade = small_class
    for student in ("ann", "zoe"):
        add(student)
    return grade, tmp_path / "in", (tmp_path / "in" / "ann" / "a1.ipynb").read_bytes()


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def with_cell(right, **cell):
    """The right answer with one more cell."""
    made = json.loads(right)
    made["cells"].insert(1, {"id": "more", "metadata": {}, **cell})
    return json.dumps(made).encode()


def code(source):
    return dict(cell_type="code", source=source, outputs=[], execution_count=None)


def test_what_an_lms_or_a_browser_wraps_is_graded(odd_class):
    grade, folder, right = odd_class
    put(folder / "flat.IPYNB", right)
    put(folder / "txt" / "a1.ipynb.txt", right)
    put(folder / "upper" / "a1.IPYNB", right)
    put(folder / "bom" / "a1.ipynb", b"\xef\xbb\xbf" + right)
    put(folder / "__MACOSX" / "mac" / "._a1.ipynb", b"\0\5\x16\7")
    (folder / "inside").mkdir()
    for path in (folder / "zipper.zip", folder / "inside" / "a1.zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a1.ipynb", right)
    rows = grade()
    assert {student for student, _ in rows} == {
        "ann", "zoe", "flat", "txt", "upper", "bom", "inside", "zipper"}
    assert {row["auto"] for row in rows.values()} == {"8"}
    assert rows["txt", "a1"]["notes"] == "renamed: a1.ipynb.txt"


def test_one_students_file_never_ends_the_class(odd_class, capsys):
    grade, folder, right = odd_class
    half = "\ud83d"  # of an emoji: no UTF-8 file can hold it
    put(folder / "lone" / "a1.ipynb",
        with_cell(right, cell_type="markdown", source=f"Great {half}"))
    put(folder / "prints" / "a1.ipynb", with_cell(right, **code(f"print('{half}')")))
    put(folder / "escapes" / "a1.ipynb", with_cell(right, **code("print('\\ud83d')")))
    put(folder / "deep" / "a1.ipynb", b"[" * 100_000)
    put(folder / "empty" / "a1.ipynb", b"")
    put(folder / "report.pdf", b"%PDF")
    put(folder / os.fsdecode(b"caf\xe9") / "a1.ipynb", right)
    put(folder / "two" / os.fsdecode(b"\xe9.ipynb"), right)
    put(folder / "two" / "a1.ipynb", right)
    rows = grade()
    auto = {student: row["auto"] for (student, _), row in rows.items()}
    assert auto == {"ann": "8", "zoe": "8", "lone": "8", "prints": "8", "escapes": "8",
                    "deep": "0", "empty": "0", "report": "0", "caf_": "8", "two": "8"}
    notes = {student: row["notes"] for (student, _), row in rows.items()}
    assert notes["two"] == "not looked at: ?.ipynb"
    assert notes["report"] == "nothing handed in but report.pdf"
    assert notes["deep"].startswith("a1.ipynb is no notebook")
    said = capsys.readouterr().out
    assert "taken for no submission" not in said and "10/10 zoe: a1 8 of 8" in said


# ------------------------------------------------------------------------ all four sheets


@pytest.fixture(scope="module")
def all_four(tmp_path_factory):
    """(rows, out) of a student who solved everything, and of one who did nothing."""
    place = tmp_path_factory.mktemp("sheets")
    for key in SOURCE:
        hand_in(place / "in", "solution", SOURCE[key], key)
        hand_in(place / "in", "blank", RELEASE[key], key)
    return graded(place / "in", place / "out", "--seconds", "170"), place / "out"


@pytest.mark.parametrize("key", list(SOURCE))
def test_nbgrader_gives_the_release_nothing_and_the_solution_everything(all_four, key):
    rows, _ = all_four
    assert float(rows["blank", key]["auto"]) == 0
    assert float(rows["blank", key]["by_hand"]) == 0
    assert float(rows["solution", key]["auto"]) == 65
    assert float(rows["solution", key]["by_hand"]) == 35


@pytest.mark.parametrize("key", list(SOURCE))
def test_no_cell_of_the_solution_fails_its_plots_included(all_four, key):
    _, out = all_four
    done = json.loads((out / "autograded" / "solution" / key / f"{key}.ipynb").read_text())
    errors = [o["evalue"] for c in done["cells"] for o in c.get("outputs", [])
              if o["output_type"] == "error"]
    assert not errors


# ------------------------------------------------------------------------------ commands


def test_the_release_is_a_zip_of_the_sheets(tmp_path, capsys):
    cli.main(["release", "--to", str(tmp_path / "to"), "--zip",
                    str(tmp_path / "deep" / "sheets.zip")])
    with zipfile.ZipFile(tmp_path / "deep" / "sheets.zip") as archive:
        assert archive.namelist() == [f"{key}.ipynb" for key in SOURCE]
    assert "sheets.zip" in capsys.readouterr().out


def test_a_variant_has_all_that_a_term_needs(tmp_path):
    cli.main(["variant", "--term", "2027s", "--out", str(tmp_path)])
    new = assignments.read_all(tmp_path / "source")
    assert all(new[key] != SOURCE[key] for key in SOURCE)
    assert (tmp_path / "2027s.zip").exists()
    public = json.dumps(assignments.read_all(tmp_path / "release"))
    assert "BEGIN SOLUTION" not in public and "BEGIN HIDDEN" not in public
