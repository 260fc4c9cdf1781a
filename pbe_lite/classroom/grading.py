"""Grade a class: every submission is run apart, then graded by nbgrader.

Submissions run elsewhere (runner.py), several at a time; nbgrader (course.py) gets them
executed and grades without executing, one after another.  What a submission does costs
its author marks at most: whatever was handed in, the class gets its grades.csv.
"""

import contextlib
import csv
import hashlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from pbe_lite.classroom import assignments
from pbe_lite.classroom.course import Course
from pbe_lite.classroom.files import files_in, is_notebook, printable
from pbe_lite.classroom.runner import Limits, run_apart, unrun
from pbe_lite.classroom.submissions import collect, left_out

COLUMNS = ("student", "assignment", "auto", "auto_max", "by_hand", "max", "failed", "notes")
MOST_FILES = 500_000_000  # bytes beside a notebook that are copied for its run


def say(text):
    """Print a line on any terminal; what it cannot show becomes a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


def release(source, folder):
    """Write `folder/<assignment>/<assignment>.ipynb`, without solutions and hidden tests,
    for {assignment: sheet}."""
    with TemporaryDirectory() as course:
        for name, sheet in Course(course).generate(source).items():
            assignments.write(sheet, Path(folder) / name / f"{name}.ipynb")


# ----------------------------------------------------------------------- before it is run


class Task(NamedTuple):
    """One submission, made ready.

    sheet: what runs if `to_run`, else as it is graded; blank: the sheet as released, which
    is graded where this one cannot be; files: the folder it may need; fingerprint: what
    its marks depend on, "" where it is to be run the next time, too."""

    student: str
    assignment: str
    sheet: dict
    blank: dict
    to_run: bool
    files: Path | None
    fingerprint: str
    notes: tuple


def fingerprint(sheet, files):
    """What the marks of a submission depend on, as a hash: its cells, its other files."""
    cells = [[c["cell_type"], c["source"], assignments.mark(c)] for c in sheet["cells"]]
    found = hashlib.sha256(json.dumps(cells, sort_keys=True).encode())
    for path in other_files(files):
        found.update(f"\0{path.relative_to(files)}\0".encode("utf-8", "replace"))
        with contextlib.suppress(OSError):  # one that cannot be read is not copied
            with open(path, "rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def other_files(folder):
    """The files of a folder that a run may need; none without a folder."""
    return [p for p in files_in(folder) if not is_notebook(p)] if folder else []


def make_ready(submission, source, blank):
    """The Task of a submission, `source` and `blank` its sheet with solutions and as
    released.  It changes nothing, and raises nothing: what cannot be mended counts as
    blank."""
    one = submission
    if one.sheet is None:
        unanswered = unrun(blank, "nothing was handed in")
        return Task(one.student, one.assignment, unanswered, blank, False, None,
                    fingerprint(blank, None), tuple(one.notes))
    try:
        sheet, changed = assignments.mend(one.sheet, source, blank)
        files, left_behind = small_enough(one.files)
        look = [f"worth a look: {', '.join(words)}"] if (words := one.suspects()) else []
        return Task(one.student, one.assignment, sheet, blank, True, files,
                    fingerprint(sheet, files),
                    (*one.notes, *changed, *left_behind, *look))
    except Exception as error:  # whatever is in it, it is this submission's alone
        return Task(one.student, one.assignment, unrun(blank, "it could not be run"), blank,
                    False, None, "", (*one.notes, counted_as_blank(error)))


def small_enough(folder):
    """(folder, notes): None in its place where its files are too large to be copied."""
    size = sum(path.stat().st_size for path in other_files(folder))
    if size <= MOST_FILES:
        return folder, []
    return None, [f"its other files, {size / 1e6:.0f} MB, are too large to be copied"]


def counted_as_blank(error):
    """The note on a submission that was answered with the released sheet's marks."""
    return printable(f"counted as blank: {error!r}")


# --------------------------------------------------------------------------------- grade


def grade(folder, source, out, jobs=2, limits=None, again=False, report=say):
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


def must_lie_apart(submissions, course):
    """Raise ValueError where one of the two folders lies in the other."""
    if submissions.is_relative_to(course) or course.is_relative_to(submissions):
        raise ValueError(f"out: {course} and the submissions in {submissions} "
                         "must lie apart")


def grade_tasks(course, tasks, source, jobs, limits, again, report):
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


def execute(task, limits):
    """(executed sheet, notes) of a Task; it changes nothing and raises nothing."""
    if not task.to_run:
        return task.sheet, []
    try:
        return run_apart(task.sheet, limits, task.files), []
    except Exception as error:
        return unrun(task.blank, "it could not be run"), [counted_as_blank(error)]


def record(course, task, executed, notes):
    """Let nbgrader grade one executed sheet; returns all notes on it.  What nbgrader
    cannot digest counts as blank, and runs again the next time."""
    notes, who = list(notes), (task.assignment, task.student)
    try:
        course.autograde(executed, *who)
    except Exception as error:
        notes.append(counted_as_blank(error))
        _autograde_blank(course, task, notes)
    digested = not notes
    try:
        course.write_feedback(*who)
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


def row_of(course, task, sheet, notes):
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


def progress(rows, total, as_before):
    """A line on the row that was added last."""
    row = rows[-1]
    before = ", as before" if as_before else ""
    return (f"{len(rows)}/{total} {row['student']}: {row['assignment']} "
            f"{row['auto']:g} of {row['auto_max']:g}{before} {row['notes']}")


def write_grades(path, rows):
    """Write grades.csv: whole points without a decimal point."""
    with open(path, "w", newline="", encoding="utf-8", errors="replace") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for row in rows:
            table.writerow({key: f"{value:g}" if isinstance(value, float) else value
                            for key, value in row.items()})
