"""nbgrader, called from Python: release sheets, grade a class.

A course folder is nbgrader's own: source/, release/, submitted/, autograded/, feedback/
and gradebook.db, so that its formgrader and its commands go on from here.  Submissions
run elsewhere (runner.py); nbgrader gets them executed and grades without executing.
"""

import contextlib
import csv
import os
import re
import shutil
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from nbgrader.api import Gradebook
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from nbgrader.utils import capture_log
from traitlets.config import Config

from pbe_lite import sheets
from pbe_lite.runner import Limits, run_apart, unrun
from pbe_lite.submissions import collect

COLUMNS = ("student", "assignment", "auto", "auto_max", "by_hand", "max", "failed", "notes")
NOT_EXECUTED = {"Execute": {"enabled": False}, "ClearOutput": {"enabled": False},
                "IgnorePattern": {"pattern": "Warning"}}


@contextlib.contextmanager
def tools():
    """Programs of this environment are found first, activated or not: nbgrader starts
    `alembic` by name.  (Its own `setenv` would lose the PATH.)  And its database calls
    work, but warn."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.environ["PATH"] = before


def _reason(result):
    """What went wrong: the last exception in nbgrader's log."""
    said = f"{result.get('log', '')}\n{result['error']}".splitlines()
    named = [s.strip() for s in said if re.match(r"\s*[\w.]*(Error|Exception)\b", s)]
    return named[0] if named else said[-1]


class Course:
    """An nbgrader course folder."""

    def __init__(self, folder):
        self.folder = Path(folder).resolve()
        self.database = f"sqlite:///{self.folder / 'gradebook.db'}"

    def path(self, step, student, assignment):
        """Where the notebook of one step lies."""
        return self.folder / step / student / assignment / f"{assignment}.ipynb"

    def convert(self, converter, assignment, student="*", settings=None):
        """Run one of nbgrader's converters; raises RuntimeError with its last words."""
        directory = CourseDirectory(root=str(self.folder), assignment_id=assignment,
                                    student_id=student, db_url=self.database)
        job = converter(coursedir=directory, config=Config(settings or {}))
        job.force = True
        with tools():
            result = capture_log(job)
        if not result["success"]:
            raise RuntimeError(f"nbgrader, {assignment}: {_reason(result)}")

    def generate(self, source):
        """Make source/, release/ and the gradebook's entries; {assignment: released}."""
        for name, sheet in source.items():
            sheets.write(sheet, self.folder / "source" / name / f"{name}.ipynb")
            self.convert(GenerateAssignment, name)
        return sheets.read_all(self.folder / "release")


def release(source, folder):
    """Write `folder/<assignment>/<assignment>.ipynb`, without solutions and hidden tests,
    for {assignment: sheet}."""
    with TemporaryDirectory() as course:
        for name, sheet in Course(course).generate(source).items():
            sheets.write(sheet, Path(folder) / name / f"{name}.ipynb")


# --------------------------------------------------------------------------------- grade


def grade(folder, source, out, jobs=2, limits=None, report=print):
    """Grade a folder of submissions into the course folder `out`; the rows of grades.csv.

    source: {assignment: sheet}.  What a submission does costs its author marks at most."""
    course, limits = Course(out), limits or Limits()
    given = collect(folder, source)
    used = {name: source[name] for name in sorted({s.assignment for s in given})}
    blank = course.generate(used)
    (course.folder / "feedback").mkdir(exist_ok=True)

    def run(one):
        if one.sheet is None:
            return unrun(blank[one.assignment], "nothing was handed in")
        try:
            whole, changed = sheets.mend(one.sheet, used[one.assignment],
                                         blank[one.assignment])
            one.notes += changed
            return run_apart(whole, limits, one.files)
        except Exception as error:  # whatever is in it, it is this submission's alone
            one.notes.append(f"counted as blank: {error!r}")
            return unrun(blank[one.assignment], "it could not be run")

    rows = []
    with ThreadPoolExecutor(jobs) as pool:
        for one, executed in zip(given, pool.map(run, given)):
            rows.append(record(course, one, executed, blank[one.assignment]))
            report("{student}: {assignment} {auto:g} of {auto_max:g} {notes}".format(
                **rows[-1]))
    rows.sort(key=lambda row: (row["assignment"], row["student"]))
    with open(course.folder / "grades.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    return rows


def record(course, one, executed, blank):
    """Let nbgrader grade one executed sheet; its row.  A sheet that nbgrader cannot
    digest counts as blank."""
    try:
        _autograde(course, one, executed)
    except RuntimeError as error:
        one.notes.append(f"counted as blank: {error}")
        _autograde(course, one, unrun(blank, "it could not be graded"))
    try:
        course.convert(GenerateFeedback, one.assignment, one.student)
    except RuntimeError as error:
        one.notes.append(f"no feedback page: {error}")
    row = marks(course, one)
    if look := one.suspects():
        one.notes.append(f"worth a look: {', '.join(look)}")
    return {**row, "notes": "; ".join(one.notes)}


def _autograde(course, one, sheet):
    path = course.path("submitted", one.student, one.assignment)
    shutil.rmtree(path.parent, ignore_errors=True)
    sheets.write(sheet, path)
    course.convert(Autograde, one.assignment, one.student, NOT_EXECUTED)


def marks(course, one):
    """What the gradebook says: points by tests, and points that a person has to give."""
    with Gradebook(course.database) as book:
        found = book.find_submission_notebook(one.assignment, one.assignment, one.student)
        grades = [(g.name, g.auto_score or 0, g.max_score, g.needs_manual_grade)
                  for g in found.grades]
    written = sheets.points(sheets.read(course.path("source", ".", one.assignment)),
                            sheets.is_written)
    tests = [grade for grade in grades if grade[0] not in written]
    return {
        "student": one.student, "assignment": one.assignment,
        "auto": sum(score for _, score, _, _ in tests),
        "auto_max": sum(most for _, _, most, _ in tests),
        "by_hand": sum(m for name, _, m, waits in grades if waits and name in written),
        "max": sum(most for _, _, most, _ in grades),
        "failed": " ".join(name for name, score, most, _ in tests if score != most)}
