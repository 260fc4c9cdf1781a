"""Submissions made ready to be graded: mended, measured, and unchanged from then on."""

import contextlib
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pbe_lite.classroom import assignments
from pbe_lite.classroom.files import files_in, is_notebook, printable
from pbe_lite.classroom.runner import unrun
from pbe_lite.classroom.submissions import Submission

MOST_FILES = 500_000_000  # bytes beside a notebook that are copied for its run


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


def fingerprint(sheet: dict, files: Path | None) -> str:
    """What the marks of a submission depend on, as a hash: its cells, its other files."""
    cells = [[c["cell_type"], c["source"], assignments.mark(c)] for c in sheet["cells"]]
    found = hashlib.sha256(json.dumps(cells, sort_keys=True).encode())
    for path in other_files(files):
        found.update(f"\0{path.relative_to(files)}\0".encode("utf-8", "replace"))
        with contextlib.suppress(OSError):  # one that cannot be read is not copied
            with open(path, "rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def other_files(folder: Path | None) -> list[Path]:
    """The files of a folder that a run may need; none without a folder."""
    return [p for p in files_in(folder) if not is_notebook(p)] if folder else []


def make_ready(submission: Submission, source: dict, blank: dict) -> Task:
    """The Task of a submission, `source` and `blank` its sheet with solutions and as
    released.  It changes nothing, and raises nothing: what cannot be mended counts as
    blank."""
    if submission.sheet is None:
        return unanswered(submission, blank, "nothing was handed in",
                          fingerprint(blank, None))
    try:
        return mended(submission, source, blank)
    except Exception as error:  # whatever is in it, it is this submission's alone
        submission = replace(submission,
                             notes=[*submission.notes, counted_as_blank(error)])
        return unanswered(submission, blank, "it could not be run", "")


def mended(submission: Submission, source: dict, blank: dict) -> Task:
    """The Task of a submission that can be run."""
    sheet, notes = assignments.mend(submission.sheet, source, blank)
    files, left_behind = small_enough(submission.files)
    notes = [*submission.notes, *notes, *left_behind]
    if words := submission.suspects():
        notes.append(f"worth a look: {', '.join(words)}")
    return Task(submission.student, submission.assignment, sheet, blank, True, files,
                fingerprint(sheet, files), tuple(notes))


def unanswered(submission: Submission, blank: dict, why: str, known_as: str) -> Task:
    """The Task of a submission that is graded as the released sheet."""
    return Task(submission.student, submission.assignment, unrun(blank, why), blank, False,
                None, known_as, tuple(submission.notes))


def small_enough(folder: Path | None) -> tuple[Path | None, list[str]]:
    """(folder, notes): None in its place where its files are too large to be copied."""
    size = sum(path.stat().st_size for path in other_files(folder))
    if size <= MOST_FILES:
        return folder, []
    return None, [f"its other files, {size / 1e6:.0f} MB, are too large to be copied"]


def counted_as_blank(error: Exception) -> str:
    """The note on a submission that was answered with the released sheet's marks."""
    return printable(f"counted as blank: {error!r}")
