"""nbgrader, called from Python: release sheets, grade a class.

A course folder is nbgrader's own: source/, release/, submitted/, autograded/, feedback/
and gradebook.db, so that its formgrader and its commands go on from here.  Submissions
run elsewhere (runner.py); nbgrader gets them executed and grades without executing.
"""

import contextlib
import csv
import hashlib
import json
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

from pbe_lite.classroom import assignments
from pbe_lite.classroom.runner import Limits, run_apart, unrun
from pbe_lite.classroom.submissions import collect, files_in

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

    def _mark(self, one):
        return self.path("autograded", one.student, one.assignment).with_name("sha256")

    def knows(self, one):
        """Was this very submission graded here?"""
        mark = self._mark(one)
        return mark.exists() and mark.read_text() == one.fingerprint

    def remember(self, one):
        """Note that it was; nbgrader removes the note with what it autograded."""
        if one.fingerprint:
            self._mark(one).write_text(one.fingerprint)

    def generate(self, source):
        """Make source/, release/ and the gradebook's entries; {assignment: released}."""
        for name, sheet in source.items():
            assignments.write(sheet, self.folder / "source" / name / f"{name}.ipynb")
            self.convert(GenerateAssignment, name)
        return assignments.read_all(self.folder / "release")


def release(source, folder):
    """Write `folder/<assignment>/<assignment>.ipynb`, without solutions and hidden tests,
    for {assignment: sheet}."""
    with TemporaryDirectory() as course:
        for name, sheet in Course(course).generate(source).items():
            assignments.write(sheet, Path(folder) / name / f"{name}.ipynb")


# --------------------------------------------------------------------------------- grade


def fingerprint(sheet, files):
    """What the marks of a submission depend on, as a hash: its cells, its other files."""
    cells = [[c["cell_type"], c["source"], assignments.mark(c)] for c in sheet["cells"]]
    found = hashlib.sha256(json.dumps(cells, sort_keys=True).encode())
    others = [p for p in files_in(files) if p.suffix != ".ipynb"] if files else []
    for path in others:
        found.update(f"\0{path.relative_to(files)}\0".encode("utf-8", "replace"))
        with contextlib.suppress(OSError):  # one that cannot be read is not copied
            found.update(path.read_bytes())
    return found.hexdigest()


def grade(folder, source, out, jobs=2, limits=None, again=False, report=print):
    """Grade a folder of submissions into the course folder `out`; the rows of grades.csv.

    source: {assignment: sheet}.  What a submission does costs its author marks at most.
    One that `out` has graded as it is keeps its marks, and those given by hand, and does
    not run; `again` runs all.  Raises ValueError where `out` and `folder` overlap, or
    where there is nothing to grade."""
    course, limits = Course(out), limits or Limits()
    place = Path(folder).resolve()
    if place.is_relative_to(course.folder) or course.folder.is_relative_to(place):
        raise ValueError(f"out: {out} and the submissions in {folder} must lie apart")
    given = collect(folder, source)
    used = {name: source[name] for name in sorted({s.assignment for s in given})}
    blank = course.generate(used)
    (course.folder / "feedback").mkdir(exist_ok=True)

    def as_before(one):
        return course.knows(one) and not again

    def run(one):
        """The executed sheet, None where the marks are known."""
        empty = blank[one.assignment]
        if one.sheet is None:
            one.fingerprint = fingerprint(empty, None)
            return None if as_before(one) else unrun(empty, "nothing was handed in")
        try:
            whole, changed = assignments.mend(one.sheet, used[one.assignment], empty)
            one.notes += changed
            one.fingerprint = fingerprint(whole, one.files)
            return None if as_before(one) else run_apart(whole, limits, one.files)
        except Exception as error:  # whatever is in it, it is this submission's alone
            one.notes.append(f"counted as blank: {error!r}")
            one.fingerprint = ""
            return unrun(empty, "it could not be run")

    rows = []
    with ThreadPoolExecutor(jobs) as pool:
        for one, executed in zip(given, pool.map(run, given)):
            if executed:
                record(course, one, executed, blank[one.assignment])
            if look := one.suspects():
                one.notes.append(f"worth a look: {', '.join(look)}")
            row = marks(course, one, used[one.assignment])
            rows.append({**row, "notes": "; ".join(one.notes)})
            report(f"{len(rows)}/{len(given)} {one.student}: {one.assignment} "
                   f"{row['auto']:g} of {row['auto_max']:g}"
                   f"{'' if executed else ', as before'} {rows[-1]['notes']}")
    rows.sort(key=lambda row: (row["assignment"], row["student"]))
    with open(course.folder / "grades.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows({key: f"{value:g}" if isinstance(value, float) else value
                         for key, value in row.items()} for row in rows)
    return rows


def record(course, one, executed, blank):
    """Let nbgrader grade one executed sheet.  What it cannot digest counts as blank."""
    try:
        _autograde(course, one, executed)
    except RuntimeError as error:
        one.notes.append(f"counted as blank: {error}")
        one.fingerprint = ""
        _autograde(course, one, unrun(blank, "it could not be graded"))
    try:
        course.convert(GenerateFeedback, one.assignment, one.student)
    except RuntimeError as error:
        one.notes.append(f"no feedback page: {error}")
    course.remember(one)


def _autograde(course, one, sheet):
    path = course.path("submitted", one.student, one.assignment)
    shutil.rmtree(path.parent, ignore_errors=True)
    assignments.write(sheet, path)
    course.convert(Autograde, one.assignment, one.student, NOT_EXECUTED)


def marks(course, one, sheet):
    """What the gradebook says: points by tests, and points that a person has to give.

    sheet: the source, which tells one from the other."""
    with Gradebook(course.database) as book:
        found = book.find_submission_notebook(one.assignment, one.assignment, one.student)
        grades = [(g.name, g.auto_score or 0, g.max_score, g.needs_manual_grade)
                  for g in found.grades]
    written = assignments.points(sheet, assignments.is_written)
    tests = [grade for grade in grades if grade[0] not in written]
    return {
        "student": one.student, "assignment": one.assignment,
        "auto": sum(score for _, score, _, _ in tests),
        "auto_max": sum(most for _, _, most, _ in tests),
        "by_hand": sum(m for name, _, m, waits in grades if waits and name in written),
        "max": sum(most for _, _, most, _ in grades),
        "failed": " ".join(name for name, score, most, _ in tests if score != most)}
