"""A sheet survives what students do to it; constants are replaced whole, all at once."""

import copy

import pytest

from pbe_lite.classroom import assignments


def cell(source, key=None, kind="code", **mark):
    plain = dict(grade=False, locked=False, solution=False, task=False, schema_version=3)
    made = {"cell_type": kind, "source": source, "metadata": {}, "id": key or source[:5]}
    if key:
        made["metadata"]["nbgrader"] = {**plain, "grade_id": key, **mark}
    if kind == "code":
        made |= {"outputs": [], "execution_count": None}
    return made


def sheet(*cells):
    return {"cells": list(cells), "metadata": {"kernelspec": {"name": "python3"}},
            "nbformat": 4, "nbformat_minor": 5}


def test_of(name, hidden=""):
    return cell(f"assert {name}() == 1{hidden}", f"t_{name}", grade=True, locked=True,
                points=2)


test_of.__test__ = False
ISSUED = sheet(
    cell("import math", "t_setup", locked=True), cell("text", kind="markdown"),
    cell("raise NotImplementedError()", "a_one", solution=True), test_of("one"),
    cell("raise NotImplementedError()", "a_two", solution=True), test_of("two"),
    cell("YOUR ANSWER HERE", "w", "markdown", grade=True, solution=True, points=5))
SOURCE = copy.deepcopy(ISSUED)
SOURCE["cells"][3] = test_of("one", "  # hidden")


def handed_in(**changes):
    """The issued sheet with other sources for some cells; None deletes one."""
    mine = copy.deepcopy(ISSUED)
    for c in mine["cells"]:
        if assignments.name(c) in changes:
            c["source"] = changes[assignments.name(c)]
    mine["cells"] = [c for c in mine["cells"] if c["source"] is not None]
    return mine


def mended(submitted):
    made, notes = assignments.mend(submitted, SOURCE, ISSUED)
    return [assignments.name(c) for c in made["cells"]], made, notes


def test_hidden_tests_are_put_in_and_answers_stay():
    names, made, notes = mended(handed_in(a_one="def one():\n    return 1"))
    assert names == [assignments.name(c) for c in ISSUED["cells"]] and not notes
    assert made["cells"][3]["source"].endswith("# hidden")
    assert made["cells"][2]["source"] == "def one():\n    return 1"


def test_nothing_that_is_given_is_changed():
    submitted = handed_in(t_one="pass", a_two=None)
    was = copy.deepcopy((submitted, SOURCE, ISSUED))
    assignments.mend(submitted, SOURCE, ISSUED)
    assert (submitted, SOURCE, ISSUED) == was


def test_an_edited_test_is_put_right():
    _, made, notes = mended(handed_in(t_one="pass", t_setup="import os"))
    assert made["cells"][0]["source"] == "import math"
    assert "one() == 1" in made["cells"][3]["source"]
    assert notes == ["edited: t_setup, t_one"]


def test_missing_tests_come_back_in_their_place_and_answers_do_not():
    names, _, notes = mended(handed_in(t_setup=None, t_one=None, a_two=None, w=None))
    assert names == [None, "t_setup", "a_one", "t_one", "t_two", "w"]
    assert notes == ["missing: t_setup, t_one, w"]


def test_a_missing_test_runs_after_an_answer_that_has_lost_its_marks():
    submitted = handed_in(t_one=None)
    submitted["cells"][2]["metadata"] = {}
    names, _, _ = mended(submitted)
    assert names == ["t_setup", None, None, "t_one", "a_two", "t_two", "w"]


def test_of_copied_cells_the_last_counts():
    submitted = handed_in(a_one="right")
    submitted["cells"].insert(2, {**copy.deepcopy(submitted["cells"][2]), "source": "old"})
    names, made, _ = mended(submitted)
    assert names[2:4] == [None, "a_one"]
    assert [c["source"] for c in made["cells"][2:4]] == ["old", "right"]


def test_cells_of_ones_own_stay_and_unknown_marks_go():
    submitted = handed_in()
    submitted["cells"].insert(2, cell("helper = 1"))
    submitted["cells"].append(cell("x", "from_last_year", solution=True))
    names, made, notes = mended(submitted)
    assert names[2] is None and names[-1] is None and not notes
    assert made["cells"][2]["source"] == "helper = 1"


@pytest.mark.parametrize("mark", [{"points": 100}, {"grade": True}, {"solution": False}])
def test_marks_cannot_be_changed(mark):
    submitted = handed_in()
    for c in submitted["cells"]:
        if c["metadata"]:
            c["metadata"]["nbgrader"].update(mark)
    _, made, _ = mended(submitted)
    assert [assignments.mark(c) for c in made["cells"]] == \
        [assignments.mark(c) for c in ISSUED["cells"]]


def test_a_type_that_was_changed_is_changed_back():
    submitted = handed_in()
    answer = submitted["cells"][-1]
    answer.update(cell_type="code", outputs=[], execution_count=None)
    _, made, _ = mended(submitted)
    assert made["cells"][-1]["cell_type"] == "markdown"
    assert "outputs" not in made["cells"][-1]


def test_a_sheet_is_recognised_by_its_marks():
    other = sheet(cell("x", "b_one", solution=True))
    assert assignments.recognise(handed_in(), {"a": ISSUED, "b": other}) == "a"
    assert assignments.recognise(other, {"a": ISSUED, "b": other}) == "b"
    assert assignments.recognise(sheet(cell("x")), {"a": ISSUED, "b": other}) is None


# --------------------------------------------------------------------------------- run


def test_run_tells_which_tests_fail_and_goes_on():
    made = handed_in(a_one="def one():\n    return 1", a_two="1 / 0")
    made["cells"].append(cell("seen = True"))
    verdicts, space = assignments.run(made)
    assert verdicts["t_one"] is None and isinstance(verdicts["t_two"], NameError)
    assert space["seen"]


# ------------------------------------------------------------------------------- terms


def replaced(text, tokens, **uses):
    counts = {**{t: text.count(t) for t in tokens}, **uses}
    return assignments.substitute(sheet(cell(text)), tokens, counts)["cells"][0]["source"]


@pytest.mark.parametrize(("text", "new"), [
    ("x < 0.3", "x < 0.7"), ("(0.3)", "(0.7)"), ("is 0.3.", "is 0.7."),
    ("-0.3", "-0.7"), ("0.3, 0.3", "0.7, 0.7")])
def test_a_whole_number_is_replaced(text, new):
    assert replaced(text, {"0.3": "0.7"}) == new


@pytest.mark.parametrize("text", ["10.3", "0.34", "a0.3", "0.3x", "0.3.1"])
def test_part_of_a_number_is_not(text):
    made = assignments.substitute(sheet(cell(text)), {"0.3": "0.7"}, {"0.3": 0})
    assert made["cells"][0]["source"] == text


def test_all_are_replaced_at_once():
    assert replaced("1.5 2.5", {"1.5": "2.5", "2.5": "1.5"}) == "2.5 1.5"


def test_a_constant_that_stands_elsewhere_is_noticed():
    with pytest.raises(ValueError, match="differ: found {'12': 2}, expected { ?'12': 1"):
        assignments.substitute(sheet(cell("12 + 12")), {"12": "24"}, {"12": 1})


def test_a_term_has_new_constants_and_what_follows_from_them():
    rules = {"constants": {"k": {"value": "1.5", "uses": 2, "choices": ["2.5"]}},
             "expected": {"double": {"value": "3.0000", "uses": 1, "format": "{:.4f}",
                                     "code": "f(<<k>>)"}}}
    source = sheet(cell("times 1.5: f(1.5) is 3.0000", kind="markdown"),
                   cell("def f(x):\n    return 2 * x"))
    made = assignments.vary(source, rules, "any")
    assert made["cells"][0]["source"] == "times 2.5: f(2.5) is 5.0000"


def test_written_and_read_a_sheet_is_the_same(tmp_path):
    assignments.write(ISSUED, tmp_path / "a" / "a.ipynb")
    assert assignments.read_all(tmp_path) == {"a": ISSUED}
    with pytest.raises(ValueError, match="no sheets"):
        assignments.read_all(tmp_path / "a")
