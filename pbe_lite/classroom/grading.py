"""Grade a class: every submission is run apart, then graded by nbgrader.

Submissions run elsewhere (runner.py), several at a time; nbgrader (course.py) gets them
executed and grades without executing, one after another.  What a submission does costs
its author marks at most: whatever was handed in, the class gets its grades.csv.
"""

import csv
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from pbe_lite.classroom import assignments
from pbe_lite.classroom.course import Course
from pbe_lite.classroom.files import printable
from pbe_lite.classroom.runner import Limits, run_apart, unrun
from pbe_lite.classroom.submissions import collect, left_out
from pbe_lite.classroom.tasks import Task, counted_as_blank, make_ready

COLUMNS = ("student", "assignment", "auto", "auto_max", "by_hand", "max", "failed", "notes")


def say(text: str) -> None:
    """Print a line on any terminal; what it cannot show becomes a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


def release(source: dict, folder: str | Path) -> None:
    """Write `folder/<assignment>/<assignment>.ipynb`, without solutions and hidden tests,
    for {assignment: sheet}."""
    with TemporaryDirectory() as course:
        for name, sheet in Course(course).generate(source).items():
            assignments.write(sheet, Path(folder) / name / f"{name}.ipynb")


# --------------------------------------------------------------------------------- grade


def grade(folder: str | Path, source: dict, out: str | Path, jobs: int = 2,
          limits: Limits | None = None, again: bool = False, report=say) -> list[dict]:
    """Grade a folder of submissions into the course folder `out`; the rows of grades.csv.

    source: {assignment: sheet}.  What a submission does costs its author marks at most.
    One that `out` has graded as it is keeps its marks, and those given by hand, and does
    not run; `again` runs all.  Raises ValueError where `out` and `folder` overlap, or
    where there is nothing to grade."""
    course = Course(out)
    must_lie_apart(Path(folder).resolve(), course.folder)
    if skipped := left_out(folder):
        report(f"taken for no submission: {', '.join(skipped)}")
    with TemporaryDirectory(prefix="pbe-unpacked-", ignore_cleanup_errors=True) as desk:
        submissions = collect(folder, source, desk)
        used = {name: source[name] for name in sorted({s.assignment for s in submissions})}
        blank = course.generate(used)
        (course.folder / "feedback").mkdir(exist_ok=True)
        tasks = [make_ready(s, used[s.assignment], blank[s.assignment])
                 for s in submissions]
        rows = grade_tasks(course, tasks, used, jobs, limits or Limits(), again, report)
    rows.sort(key=lambda row: (row["assignment"], row["student"]))
    write_grades(course.folder / "grades.csv", rows)
    return rows


def must_lie_apart(submissions: Path, course: Path) -> None:
    """Raise ValueError where one of the two folders lies in the other."""
    if submissions.is_relative_to(course) or course.is_relative_to(submissions):
        raise ValueError(f"out: {course} and the submissions in {submissions} "
                         "must lie apart")


def grade_tasks(course: Course, tasks: list[Task], source: dict, jobs: int, limits: Limits,
                again: bool, report) -> list[dict]:
    """The rows of all tasks in order.  `jobs` run at a time; they are graded one after
    another, for a gradebook has one writer."""
    rows = []
    with ThreadPoolExecutor(jobs) as pool:
        known = [course.knows(task) and not again for task in tasks]
        running = [None if done else pool.submit(execute, task, limits)
                   for task, done in zip(tasks, known)]
        try:
            for task, run in zip(tasks, running):
                notes = record(course, task, *run.result()) if run else []
                rows.append(row_of(course, task, source[task.assignment], notes))
                report(progress(rows, len(tasks), as_before=run is None))
        except BaseException:  # Ctrl-C: those that have not begun need not
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return rows


def execute(task: Task, limits: Limits) -> tuple[dict, list[str]]:
    """(executed sheet, notes) of a Task; it changes nothing and raises nothing."""
    if not task.to_run:
        return task.sheet, []
    try:
        return run_apart(task.sheet, limits, task.files), []
    except Exception as error:
        return unrun(task.blank, "it could not be run"), [counted_as_blank(error)]


def record(course: Course, task: Task, executed: dict, notes: list[str]) -> list[str]:
    """Let nbgrader grade one executed sheet; returns all notes on it.  What nbgrader
    cannot digest counts as blank, and runs again the next time."""
    notes = list(notes)
    try:
        course.autograde(executed, task.assignment, task.student)
    except Exception as error:
        notes.append(counted_as_blank(error))
        _autograde_blank(course, task, notes)
    digested = not notes
    try:
        course.write_feedback(task.assignment, task.student)
    except Exception as error:
        notes.append(printable(f"no feedback page: {error}"))
    if digested:
        course.remember(task)
    return notes


def _autograde_blank(course, task, notes):
    """What failed as it was handed in, as a blank sheet; appends to `notes`."""
    blank = unrun(task.blank, "it could not be graded")
    try:
        course.autograde(blank, task.assignment, task.student)
    except Exception as error:  # no fault of the student's: a full disk, a locked file
        notes.append(printable(f"not graded: {error}"))


# ------------------------------------------------------------------------------ the table


def row_of(course: Course, task: Task, sheet: dict, notes: list[str]) -> dict:
    """One row of grades.csv: points by tests, and points that a person has to give.

    sheet: the source, which tells one from the other."""
    grades = course.grades(task.assignment, task.student)
    written = assignments.points(sheet, assignments.is_written)
    tests = [grade for grade in grades if grade[0] not in written]
    waiting = [most for name, _, most, waits in grades if waits and name in written]
    return {
        "student": task.student, "assignment": task.assignment,
        "auto": sum(score for _, score, _, _ in tests),
        "auto_max": sum(most for _, _, most, _ in tests),
        "by_hand": sum(waiting),
        "max": sum(most for _, _, most, _ in grades),
        "failed": " ".join(name for name, score, most, _ in tests if score != most),
        "notes": "; ".join([*task.notes, *notes])}


def progress(rows: list[dict], total: int, as_before: bool) -> str:
    """A line on the row that was added last."""
    row = rows[-1]
    before = ", as before" if as_before else ""
    return (f"{len(rows)}/{total} {row['student']}: {row['assignment']} "
            f"{row['auto']:g} of {row['auto_max']:g}{before} {row['notes']}")


def write_grades(path: Path, rows: list[dict]) -> None:
    """Write grades.csv: whole points without a decimal point."""
    with open(path, "w", newline="", encoding="utf-8", errors="replace") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for row in rows:
            table.writerow({key: f"{value:g}" if isinstance(value, float) else value
                            for key, value in row.items()})
