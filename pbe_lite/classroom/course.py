"""A course folder of nbgrader's, and nbgrader called from Python.

It holds source/, release/, submitted/, autograded/, feedback/ and gradebook.db, so that
nbgrader's formgrader and its commands go on from here.
"""

import contextlib
import os
import re
import shutil
import sys
import warnings
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from nbgrader.utils import capture_log
from traitlets.config import Config

from pbe_lite.classroom import assignments

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
        """Run one of nbgrader's converters; raises RuntimeError with its last words.

        nbgrader catches Ctrl-C, too; here it goes on to the caller."""
        directory = CourseDirectory(root=str(self.folder), assignment_id=assignment,
                                    student_id=student, db_url=self.database)
        job = converter(coursedir=directory, config=Config(settings or {}))
        job.force = True
        with tools():
            result = capture_log(job)
        if not result["success"]:
            if result["error"].rstrip().endswith("KeyboardInterrupt"):
                raise KeyboardInterrupt
            raise RuntimeError(f"nbgrader, {assignment}: {_reason(result)}")

    def _mark(self, task):
        return self.path("autograded", task.student, task.assignment).with_name("sha256")

    def knows(self, task):
        """Was this very submission graded here?"""
        mark = self._mark(task)
        return mark.exists() and mark.read_text() == task.fingerprint

    def remember(self, task):
        """Note that it was; nbgrader removes the note with what it autograded."""
        if task.fingerprint:
            self._mark(task).write_text(task.fingerprint)

    def generate(self, source):
        """Make source/, release/ and the gradebook's entries; {assignment: released}."""
        for name, sheet in source.items():
            assignments.write(sheet, self.folder / "source" / name / f"{name}.ipynb")
            self.convert(GenerateAssignment, name)
        return assignments.read_all(self.folder / "release")

    def autograde(self, sheet, assignment, student):
        """Grade an executed sheet by the outputs that it has; raises RuntimeError."""
        path = self.path("submitted", student, assignment)
        shutil.rmtree(path.parent, ignore_errors=True)
        assignments.write(sheet, path)
        self.convert(Autograde, assignment, student, NOT_EXECUTED)

    def write_feedback(self, assignment, student):
        """Make a student's page; raises RuntimeError."""
        self.convert(GenerateFeedback, assignment, student)

    def grades(self, assignment, student):
        """What the gradebook says: [(grade_id, points by tests, most points, does it wait
        for a person?)]; empty for a submission that it does not have."""
        with tools(), Gradebook(self.database) as book:  # it may have to be made
            try:
                found = book.find_submission_notebook(assignment, assignment, student)
            except MissingEntry:
                return []
            return [(grade.name, grade.auto_score or 0, grade.max_score,
                     grade.needs_manual_grade) for grade in found.grades]
