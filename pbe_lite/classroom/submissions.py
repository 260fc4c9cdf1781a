"""What came in: the notebooks of a folder of submissions, however they are named.

A student is a folder or a notebook in it.  Which assignment a notebook answers is told by
its cells' marks, not by its name; what cannot be read becomes a note, never an error.
"""

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from pbe_lite.classroom import assignments

LARGEST = 20_000_000  # bytes of a notebook that is handed in
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
    fingerprint: str = ""

    def suspects(self):
        """Words in its own code that a person should look at; no proof of anything."""
        code = [c["source"] for c in (self.sheet or {"cells": []})["cells"]
                if c["cell_type"] == "code" and not assignments.is_locked(c)]
        return sorted({word for source in code for word in A_LOOK.findall(source)})


def load(path):
    """A notebook that was handed in; raises ValueError, saying what is wrong with it."""
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path.name} is larger than {LARGEST // 10 ** 6} MB")
    try:
        sheet = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        for i, cell in enumerate(sheet["cells"]):
            _check(cell, f"own-{i}")
    except Exception as error:  # nbformat has no one kind of error for a broken file
        raise ValueError(f"{path.name} is no notebook: {type(error).__name__}") from None
    return json.loads(json.dumps(sheet))


def _check(cell, name):
    """Raise unless it is a cell; drop marks that are none, give it an id if it has none."""
    if not (isinstance(cell["source"], str) and isinstance(cell["metadata"], dict)
            and cell["cell_type"] in ("code", "markdown", "raw")):
        raise ValueError("no cell")
    cell.setdefault("id", name)
    mark = cell["metadata"].get("nbgrader")
    if not (isinstance(mark, dict) and isinstance(mark.get("grade_id"), str)):
        cell["metadata"].pop("nbgrader", None)


def files_in(folder):
    """The files in and below a folder, in order, but for what is hidden.  Links are not
    followed: they might lead to somebody else's work."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = [Path(place, name) for name in sorted(names) if not name.startswith(".")]
        found += [p for p in paths if os.path.isfile(p) and not os.path.islink(p)]
    return found


def notebooks(entry):
    """The notebooks of one student: `entry` is a folder or a single file, not a link."""
    if entry.is_symlink():
        return []
    files = [entry] if entry.is_file() else files_in(entry)
    return [p for p in files if p.suffix == ".ipynb"]


def collect(folder, source):
    """[Submission] of every student (a folder, or a notebook, in `folder`) and every
    assignment that anybody handed in.

    Raises ValueError where there is nothing to grade."""
    students = {}
    for entry in sorted(Path(folder).resolve().iterdir()):
        if entry.name.startswith(".") or not (entry.is_dir() or notebooks(entry)):
            continue
        student = re.sub(r"[^\w.@-]", "_", entry.stem if entry.is_file() else entry.name)
        while student in students:
            student += "_"
        students[student] = entry, *_recognised(entry, source)
    wanted = sorted({a for _, found, _ in students.values() for a in found})
    if not wanted:
        raise ValueError(f"submissions: no sheet was recognised in {folder}")
    return [_choose(student, a, entry, found.get(a, []), problems)
            for student, (entry, found, problems) in students.items() for a in wanted]


def _recognised(entry, source):
    """{assignment: [(path, sheet)]} of one student, and what could not be used."""
    found, problems = {}, []
    for path in notebooks(entry):
        try:
            sheet = load(path)
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        assignment = assignments.recognise(sheet, source)
        if assignment:
            found.setdefault(assignment, []).append((path, sheet))
        else:
            problems.append(f"{path.name} is no sheet of ours")
    return found, problems


def _choose(student, assignment, entry, candidates, problems):
    if not candidates:
        return Submission(student, assignment, notes=[*problems, "nothing handed in"])
    proper, alone = f"{assignment}.ipynb", entry.is_file()
    ranked = sorted(candidates, key=lambda c: (c[0].name != proper, str(c[0])))
    path, sheet = ranked[0]
    notes = [f"renamed: {path.name}"] if path.name != proper and not alone else []
    notes += [f"not looked at: {p.name}" for p, _ in ranked[1:]]
    return Submission(student, assignment, sheet, None if alone else path.parent,
                      [*problems, *notes])
