"""The graders are graded: a blank sheet fails every test, the solution passes them all,
and each typical mistake fails exactly the tests that it should."""

import copy
import importlib
import re

import matplotlib
import matplotlib.pyplot as plt
import pytest
from mutants import full, mutate

from pbe_lite.classroom import assignments, cli, grading

matplotlib.use("Agg")
SOURCE = assignments.read_all(cli.SOURCE)
RELEASE = assignments.read_all(cli.RELEASE)
TERMS = assignments.read_terms()
MUTANTS = {key: importlib.import_module(f"mutants.{key}").MUTANTS for key in SOURCE}
CASES = [(key, mutant) for key, mutants in MUTANTS.items() for mutant in mutants]
each_sheet = pytest.mark.parametrize("key", list(SOURCE))


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


def failed(sheet):
    verdicts, _ = assignments.run(sheet)
    return {test for test, error in verdicts.items() if error}


def parts(sheet, begin, end):
    """Lines between delimiters, in all cells."""
    found = []
    for cell in sheet["cells"]:
        inside = False
        for line in cell["source"].split("\n"):
            if begin in line or end in line:
                inside = begin in line
            elif inside:
                found.append(line.strip())
    return found


def secrets(sheet):
    """Lines of solutions and hidden tests, but for imports and very short ones."""
    lines = parts(sheet, "BEGIN SOLUTION", "END SOLUTION")
    lines += parts(sheet, "BEGIN HIDDEN TESTS", "END HIDDEN TESTS")
    return {li for li in lines if len(li) >= 12 and not li.startswith(("import ", "from "))}


# ------------------------------------------------------------------------- the sheets


def test_there_are_four():
    assert list(SOURCE) == ["a1", "a2", "a3", "a4"] == list(TERMS)


@each_sheet
def test_a_sheet_has_100_points_65_of_them_by_tests(key):
    assert sum(assignments.points(SOURCE[key]).values()) == 65
    assert sum(assignments.points(SOURCE[key], assignments.is_written).values()) == 35


@each_sheet
def test_every_mark_is_one_of_the_four_kinds(key):
    for cell in SOURCE[key]["cells"]:
        mark = assignments.mark(cell)
        if mark:
            assert mark["schema_version"] == 3 and not mark["task"]
            assert mark["grade_id"].startswith(f"{key}_")
            assert ("points" in mark) == mark["grade"]
            assert mark["locked"] != mark["solution"]
    names = [assignments.name(c) for c in SOURCE[key]["cells"] if assignments.name(c)]
    assert len(names) == len(set(names))


@each_sheet
def test_every_task_has_three_folded_hints_and_expected_values(key):
    text, tasks = "", 0
    for cell in SOURCE[key]["cells"]:
        if cell["cell_type"] == "markdown" and not assignments.is_written(cell):
            text = cell["source"]
        elif assignments.is_answer(cell) and not assignments.is_written(cell):
            tasks += 1
            assert text.count("<details><summary>Hint") == 3, assignments.name(cell)
            assert "**Expected.**" in text or assignments.name(cell) == "a2_reading"
    assert tasks >= 6


@each_sheet
def test_every_written_answer_has_an_example_and_points_for_its_parts(key):
    for cell in SOURCE[key]["cells"]:
        if assignments.is_written(cell):
            assert re.search(r"Rubric\W+\d", cell["source"]), assignments.name(cell)


@each_sheet
def test_lines_are_short_and_released_cells_too(key):
    code = [c for c in SOURCE[key]["cells"] if c["cell_type"] == "code"]
    assert not [li for c in code for li in c["source"].splitlines() if len(li) > 79]
    lengths = sorted(len(c["source"].splitlines()) for c in RELEASE[key]["cells"]
                     if c["cell_type"] == "code")
    assert lengths[int(.9 * len(lengths)) - 1] <= 20


# ------------------------------------------------------------------------- the graders


@pytest.mark.slow
@each_sheet
def test_the_solution_passes_every_test(key):
    assert failed(SOURCE[key]) == set()


@pytest.mark.slow
@each_sheet
def test_a_blank_sheet_fails_every_test(key):
    blank, notes = assignments.mend(RELEASE[key], SOURCE[key], RELEASE[key])
    assert not notes
    assert failed(blank) == set(assignments.points(SOURCE[key]))


@pytest.mark.slow
@pytest.mark.parametrize(("key", "mutant"), CASES, ids=[f"{k}-{m.name}" for k, m in CASES])
def test_a_mistake_fails_exactly_the_tests_it_should(key, mutant):
    assert failed(mutate(SOURCE[key], key, mutant)) == full(key, mutant.fails)


@each_sheet
def test_every_task_and_every_test_has_its_mutants(key):
    assert len(MUTANTS[key]) >= 6
    answers = {assignments.name(c) for c in SOURCE[key]["cells"]
               if assignments.is_answer(c) and not assignments.is_written(c)}
    assert {f"{key}_{m.cell}" for m in MUTANTS[key]} == answers
    caught = set().union(*(full(key, m.fails) for m in MUTANTS[key]))
    assert caught == set(assignments.points(SOURCE[key]))


# ------------------------------------------------------------------------- the release


@each_sheet
def test_no_line_of_a_solution_or_a_hidden_test_is_released(key):
    public = {li.strip() for s in RELEASE.values() for c in s["cells"]
              for li in c["source"].split("\n")}
    assert len(secrets(SOURCE[key])) > 50
    assert not secrets(SOURCE[key]) & public


@each_sheet
def test_stubs_say_that_they_are_not_implemented(key):
    for cell in RELEASE[key]["cells"]:
        if assignments.is_answer(cell) and cell["cell_type"] == "code":
            assert "raise NotImplementedError" in cell["source"]
        assert not cell.get("outputs")


@pytest.mark.slow
def test_the_committed_release_is_what_the_source_generates(tmp_path):
    grading.release(SOURCE, tmp_path)
    assert assignments.read_all(tmp_path) == RELEASE, \
        "run: python -m pbe_lite.classroom release"


# --------------------------------------------------------------------------- the terms


@pytest.mark.slow
@each_sheet
def test_expected_values_are_those_of_the_solution(key):
    rules = TERMS[key]
    values = {name: rule["value"] for name, rule in rules["constants"].items()}
    made, *_ = assignments.with_expected(SOURCE[key], rules["expected"], values)
    assert made == SOURCE[key]


@each_sheet
def test_a_choice_is_never_this_term_and_is_no_other_constant(key):
    rules = TERMS[key]["constants"]
    taken = {rule["value"] for rule in rules.values()}
    for rule in rules.values():
        assert len(set(rule["choices"])) == len(rule["choices"]) >= 3
        assert not taken & set(rule["choices"])


@pytest.mark.slow
@pytest.mark.parametrize("term", ["2027s", "2027w"])
@each_sheet
def test_in_another_term_its_own_solution_passes_and_this_terms_does_not(key, term):
    new = assignments.vary(SOURCE[key], TERMS[key], term)
    assert failed(new) == set()
    old = copy.deepcopy(new)
    for mine, theirs in zip(old["cells"], SOURCE[key]["cells"], strict=True):
        if assignments.is_answer(mine):
            mine["source"] = theirs["source"]
    points = assignments.points(new)
    lost = sum(points[test] for test in failed(old))
    assert lost > sum(points.values()) / 2


def test_a_term_is_decided_by_its_name_alone():
    one, two = (assignments.vary(SOURCE["a1"], TERMS["a1"], term) for term in ("x", "x"))
    assert one == two != assignments.vary(SOURCE["a1"], TERMS["a1"], "y")
