"""Assignment sheets: notebooks with nbgrader's marks, as plain dicts of JSON.

A sheet has one source, with its solutions and hidden tests between nbgrader's own
delimiters.  Everything else comes from it: the release, the graders, next term's sheet.
`terms.json` names the constants of each source and the values that follow from them.
"""

import contextlib
import copy
import io
import json
import random
import re
from pathlib import Path

from pbe_lite.config import DATA

ASSIGNMENTS = DATA.parent / "notebooks" / "assignments"


def read(path):
    """A notebook file as a dict, each cell's source one string."""
    sheet = json.loads(Path(path).read_text(encoding="utf-8"))
    for cell in sheet["cells"]:
        cell["source"] = "".join(cell["source"])
    return sheet


def write(sheet, path):
    """Write a sheet as Jupyter would; parents are made."""
    sheet = copy.deepcopy(sheet)
    for cell in sheet["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(sheet, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    path.write_bytes(text.encode("utf-8", "replace"))  # half an emoji: a question mark


def read_all(folder):
    """{assignment: sheet} of `folder/<assignment>/<assignment>.ipynb`.

    Raises ValueError where there is none."""
    found = {p.stem: read(p) for p in sorted(Path(folder).glob("*/*.ipynb"))
             if p.stem == p.parent.name}
    if not found:
        raise ValueError(f"source: no sheets <name>/<name>.ipynb in {folder}")
    return found


# ------------------------------------------------------------------- nbgrader's marks


def mark(cell):
    """nbgrader's metadata of a cell, {} for one that it does not know."""
    return cell["metadata"].get("nbgrader") or {}


def name(cell):
    """The grade_id of a marked cell, else None."""
    return mark(cell).get("grade_id")


def is_answer(cell):
    """Does it belong to the student?"""
    return bool(mark(cell).get("solution"))


def is_test(cell):
    """Is it graded by running it?"""
    return bool(mark(cell).get("grade")) and not is_answer(cell)


def is_written(cell):
    """Is it an answer (text or plot) that a person grades?"""
    return bool(mark(cell).get("grade")) and is_answer(cell)


def is_locked(cell):
    """Must its text be the source's?"""
    return not is_answer(cell) and (is_test(cell) or bool(mark(cell).get("locked")))


def points(sheet, kind=is_test):
    """{grade_id: points} of the cells of one kind."""
    return {name(c): c["metadata"]["nbgrader"]["points"] for c in sheet["cells"] if kind(c)}


# ------------------------------------------------------------------------- submissions


def recognise(sheet, sources):
    """The assignment whose grade_ids a notebook has most of; None where it has none."""
    ours = {name(c) for c in sheet["cells"]} - {None}
    shared = {a: len(ours & {name(c) for c in s["cells"]}) for a, s in sources.items()}
    best = max(shared, key=shared.get)
    return best if shared[best] else None


def _last_of_each(cells):
    """Of cells that were copied with their grade_id the last stays marked, as in
    nbgrader; marks that the source does not know are gone before."""
    seen, kept = set(), []
    for cell in reversed(cells):
        if name(cell) in seen:
            cell["metadata"].pop("nbgrader")
        seen |= {name(cell)} - {None}
        kept.append(cell)
    return kept[::-1]


def _as_issued(cell, issued):
    """A student's cell in the type and with the marks that it was issued with."""
    cell["metadata"]["nbgrader"] = copy.deepcopy(mark(issued))
    cell["cell_type"] = issued["cell_type"]
    if issued["cell_type"] == "code":
        cell.pop("attachments", None)
        cell.setdefault("outputs", [])
        cell.setdefault("execution_count", None)
    else:
        cell.pop("outputs", None)
        cell.pop("execution_count", None)
    return cell


def mend(submitted, source, release):
    """(sheet, notes): a submission in which all that is not its author's is right.

    Locked cells get the source's text, hidden tests included.  Missing ones, and missing
    written answers as they were released, are put before the next marked cell.  Cells
    that the author added stay where they are.  `notes` says what was done."""
    locked = {name(c): c for c in source["cells"] if is_locked(c)}
    issued = {name(c): c for c in release["cells"] if name(c)}
    cells, edited = copy.deepcopy(submitted["cells"]), []
    for cell in cells:
        if name(cell) not in issued:
            cell["metadata"].pop("nbgrader", None)
    cells = _last_of_each(cells)
    for i, cell in enumerate(cells):
        key = name(cell)
        if key in locked:
            if cell["source"] not in (issued[key]["source"], locked[key]["source"]):
                edited.append(key)
            cells[i] = copy.deepcopy(locked[key])
        elif key:
            cells[i] = _as_issued(cell, issued[key])
    spare = {**{k: c for k, c in issued.items() if is_written(c)}, **locked}
    missing = _put_back(cells, list(issued), spare)
    notes = []
    if edited:
        notes.append(f"edited: {listed(edited)}")
    if missing:
        notes.append(f"missing: {listed(missing)}")
    return {**copy.deepcopy(source), "cells": cells}, notes


def listed(names, most=3):
    """The first few names, for a note: "a, b, c ..."."""
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "")


def _put_back(cells, order, spare):
    """Insert the cells of `spare` {grade_id: cell} that `cells` lacks; their names."""
    missing = [key for key in order if key in spare and key not in map(name, cells)]
    for key in reversed(missing):
        later = set(order[order.index(key):])
        place = next((i for i, c in enumerate(cells) if name(c) in later), len(cells))
        cells.insert(place, copy.deepcopy(spare[key]))
    return missing


# --------------------------------------------------------------------------- run, terms


def run(sheet):
    """Run a sheet's cells here and now, all but those that a person grades.

    Returns ({grade_id: exception or None} of the tests, the namespace).  It has no
    kernel, no time limit and no confinement: for our own sheets alone."""
    space, verdicts = {"__name__": "__main__"}, {}
    for cell in sheet["cells"]:
        if cell["cell_type"] != "code" or is_written(cell):
            continue
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(cell["source"], f"<{name(cell)}>", "exec"), space)
            failure = None
        except Exception as error:
            failure = error
        if is_test(cell):
            verdicts[name(cell)] = failure
    return verdicts, space


def substitute(sheet, tokens, uses):
    """A copy of a sheet with every whole number or word of `tokens` {old: new} replaced,
    all at once.

    Raises ValueError unless each stands there as often as `uses` {old: count} says."""
    either = "|".join(re.escape(t) for t in sorted(tokens, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w.])({either})(?!\w|\.\d)")
    sheet, found = copy.deepcopy(sheet), dict.fromkeys(tokens, 0)
    for cell in sheet["cells"]:
        for match in pattern.findall(cell["source"]):
            found[match] += 1
        cell["source"] = pattern.sub(lambda m: tokens[m[1]], cell["source"])
    wrong = {t: n for t, n in found.items() if n != uses[t]}
    if wrong:
        raise ValueError(f"the sheet and terms.json differ: found {wrong}, "
                         f"expected { {t: uses[t] for t in wrong} }")
    return sheet


def read_terms(path=ASSIGNMENTS / "terms.json"):
    """{assignment: {"constants", "expected"}}: see `vary`."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def with_expected(sheet, expected, values):
    """(sheet, {name: text}): the expected values computed anew by its own solution.

    expected: {name: {"value", "uses", "code", "format"}}, `code` an expression in which
    <<constant>> stands for what `values` {constant: text} gives."""
    _, space = run(sheet)
    new = {}
    for key, rule in expected.items():
        code = re.sub(r"<<(\w+)>>", lambda m: values[m[1]], rule["code"])
        new[key] = rule["format"].format(eval(code, space))
    tokens = {rule["value"]: new[key] for key, rule in expected.items()}
    uses = {rule["value"]: rule["uses"] for rule in expected.values()}
    return substitute(sheet, tokens, uses), new


def vary(sheet, rules, term):
    """The sheet of another term: new constants, and what is expected with them.

    rules["constants"]: {name: {"value", "uses", "choices"}}.  The draw is decided by
    `term` and the constant's name alone; `choices` does not hold `value`."""
    constants = rules["constants"]
    new = {key: random.Random(f"{term} {key}").choice(rule["choices"])
           for key, rule in constants.items()}
    tokens = {rule["value"]: new[key] for key, rule in constants.items()}
    sheet = substitute(sheet, tokens, {r["value"]: r["uses"] for r in constants.values()})
    return with_expected(sheet, rules["expected"], new)[0]
