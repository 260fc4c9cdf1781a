"""Submissions: the notebooks of a folder, however they are named, a student each.

A student is a folder, a notebook or a zip in it.  Which assignment a notebook answers is
told by its cells' marks, not by its name; what cannot be read becomes a note, never an
error, and whoever handed in anything at all has a row.
"""

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import nbformat

from pbe_lite.classroom import assignments
from pbe_lite.classroom.files import (
    NOTEBOOK_ENDINGS,
    files_of,
    is_litter,
    is_notebook,
    printable,
    with_unpacked,
)

LARGEST = 20_000_000  # bytes of a notebook that is handed in
LONGEST_NAME = 50  # characters of a student's name, with which folders are made
TABLES = (".csv", ".ods", ".xls", ".xlsx")  # a teacher's lists, beside the submissions
A_LOOK = re.compile(r"get_ipython|__builtins__|builtins|sys\.modules|gradebook|_exit\b"
                    r"|input_transformer|subprocess|ctypes|__code__")


@dataclass
class Submission:
    """One student's answer to one assignment, as it was found."""

    student: str
    assignment: str
    sheet: dict = None
    files: Path = None
    notes: list = field(default_factory=list)

    def suspects(self):
        """Words in its own code that a person should look at; no proof of anything."""
        code = [c["source"] for c in (self.sheet or {"cells": []})["cells"]
                if c["cell_type"] == "code" and not assignments.is_locked(c)]
        return sorted({word for source in code for word in A_LOOK.findall(source)})


# ---------------------------------------------------------------------------- a notebook


def load(path: Path) -> dict:
    """A notebook that was handed in, of any version of the format, as a plain dict.

    Half an emoji (a lone surrogate, which no file can hold) becomes a question mark.
    Raises ValueError, saying what is wrong with it."""
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path.name} is larger than {LARGEST // 10 ** 6} MB")
    try:
        given = json.loads(path.read_bytes())  # UTF-8, -16 or -32, with or without a mark
        text = json.dumps(given, ensure_ascii=False).encode("utf-8", "replace").decode()
        sheet = json.loads(text)
        if sheet["nbformat"] != 4:
            sheet = nbformat.reads(text, as_version=4)
        cells = [_clean(cell) for cell in sheet["cells"]]
    except Exception as error:  # nbformat has no one kind of error for a broken file
        reason = str(error).split("\n")[0][:60]
        raise ValueError(f"{path.name} is no notebook: {type(error).__name__}"
                         f"{f' ({reason})' if reason else ''}") from None
    _name_cells(cells)
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def _clean(cell):
    """A cell with what counts of it: its kind, text, mark and pasted pictures.

    Outputs are made anew by running it.  Raises an error unless it is a cell."""
    source = "".join(cell["source"])  # one string, or a list of its lines
    kind, metadata = cell["cell_type"], cell["metadata"]
    if kind not in ("code", "markdown", "raw") or not isinstance(metadata, dict):
        raise ValueError("no cell")
    made = {"cell_type": kind, "id": cell.get("id"), "metadata": {}, "source": source}
    mark = metadata.get("nbgrader")
    if isinstance(mark, dict) and isinstance(mark.get("grade_id"), str):
        made["metadata"]["nbgrader"] = dict(mark)
    if kind == "code":
        made |= {"outputs": [], "execution_count": None}
    elif _are_pictures(cell.get("attachments")):
        made["attachments"] = cell["attachments"]
    return json.loads(json.dumps(made))


def _are_pictures(attachments):
    """Are these attachments {name: {MIME type: text}}, as nbformat wants them?"""
    return isinstance(attachments, dict) and all(
        isinstance(bundle, dict) and all(isinstance(text, str) for text in bundle.values())
        for bundle in attachments.values())


def _name_cells(cells):
    """Give a cell whose id is missing, malformed or taken one of its own, in place."""
    taken = set()
    for i, cell in enumerate(cells):
        key = cell["id"]
        if not (isinstance(key, str) and re.fullmatch(r"[\w-]{1,64}", key, re.ASCII)
                and key not in taken):
            cell["id"] = f"own-{i}"
        taken.add(cell["id"])


# ------------------------------------------------------------------------------ students


class Found(NamedTuple):
    """What one student handed in, as the file or folder `entry`: {assignment: [(path,
    sheet)]}, what could not be used, and the names of the files that are no notebooks."""

    entry: Path
    sheets: dict
    problems: list
    others: list


def is_student(entry: Path) -> bool:
    """Is it a submission, and not a system's litter or a teacher's table?"""
    table = entry.suffix.lower() in TABLES and not os.path.isdir(entry)
    return not (table or is_litter(entry.name))


def left_out(folder: str | Path) -> list[str]:
    """The names in a folder that are taken for no submission."""
    return [printable(e.name) for e in sorted(Path(folder).iterdir()) if not is_student(e)]


def collect(folder: str | Path, source: dict, desk: str | Path) -> list[Submission]:
    """[Submission] of every student (a folder or a file in `folder`) and every assignment
    that anybody handed in.

    source: {assignment: sheet}.  desk: an empty folder, where zips are unpacked.
    Raises ValueError where there is nothing to grade."""
    students = {}
    for entry in sorted(Path(folder).resolve().iterdir()):
        if is_student(entry):
            student, notes = _name(entry, students)
            students[student] = _look_into(entry, Path(desk, student), source, notes)
    wanted = sorted({a for found in students.values() for a in found.sheets})
    if not wanted:
        said = [f"; {student}: {printable(text)}" for student, found in students.items()
                for text in found.problems]
        raise ValueError(f"submissions: no sheet was recognised in {folder}"
                         + "".join(said[:5]))
    return [_choose(student, assignment, found)
            for student, found in students.items() for assignment in wanted]


def _name(entry, taken):
    """(name, notes): a student's name, fit for a folder, after what was handed in."""
    name = entry.name
    if not os.path.isdir(entry):
        ending = next((e for e in NOTEBOOK_ENDINGS if name.lower().endswith(e)),
                      entry.suffix)
        name = name.removesuffix(name[len(name) - len(ending):])
    name = re.sub(r"[^\w.@-]", "_", name).lstrip(".")[:LONGEST_NAME] or "_"
    notes = [f"handed in as {entry.name}: {name} was taken"] if name in taken else []
    while name in taken:
        name += "_"
    return name, notes


def _look_into(entry, desk, source, notes):
    """The `Found` of one student; `notes` come first among the problems."""
    files, unread = files_of(entry)
    files, packed = with_unpacked(files, desk)
    found = Found(entry, {}, [*notes, *unread, *packed], [])
    for path in files:
        if not is_notebook(path):
            found.others.append(path.name)
            continue
        try:
            sheet = load(path)
        except (ValueError, OSError) as error:
            found.problems.append(str(error))
            continue
        assignment = assignments.recognise(sheet, source)
        if assignment:
            found.sheets.setdefault(assignment, []).append((path, sheet))
        else:
            found.problems.append(f"{path.name} is no sheet of ours")
    return found


def _choose(student, assignment, found):
    """The Submission; of several notebooks that with the assignment's own name counts."""
    candidates = found.sheets.get(assignment, [])
    if not candidates:
        but = f" but {assignments.listed(found.others)}" if found.others else ""
        notes = [*found.problems, f"nothing handed in{but}"]
        return Submission(student, assignment, notes=[printable(text) for text in notes])
    proper = f"{assignment}.ipynb"
    ranked = sorted(candidates, key=lambda c: (c[0].name != proper, str(c[0])))
    path, sheet = ranked[0]
    alone = path == found.entry
    notes = list(found.problems)
    if path.name != proper and not alone:
        notes.append(f"renamed: {path.name}")
    notes += [f"not looked at: {other.name}" for other, _ in ranked[1:]]
    files = None if alone else path.parent
    return Submission(student, assignment, sheet, files, [printable(t) for t in notes])
