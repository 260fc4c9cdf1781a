"""Typical mistakes, as changes of a sheet's own solution, and the tests each must fail.

A mutant fails *exactly* the named tests: a mistake costs the marks of its own task, and
none of the others'.
"""

import copy
from typing import NamedTuple

from pbe_lite.classroom import assignments


class Mutant(NamedTuple):
    """In the answer `cell` the text `old`, which stands there once, becomes `new`;
    `fails`: grade_ids, all without their assignment's prefix."""

    name: str
    cell: str
    old: str
    new: str
    fails: str


def full(key, names):
    """The grade_ids of short names in one string."""
    return {f"{key}_{name}" for name in names.split()}


def mutate(sheet, key, mutant):
    """A copy of a sheet with the mistake in its solution.

    Raises ValueError unless `old` stands in the cell exactly once."""
    sheet = copy.deepcopy(sheet)
    (cell,) = [c for c in sheet["cells"] if assignments.name(c) == f"{key}_{mutant.cell}"]
    if cell["source"].count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: {mutant.old!r} stands "
                         f"{cell['source'].count(mutant.old)} times in {mutant.cell}")
    cell["source"] = cell["source"].replace(mutant.old, mutant.new)
    return sheet
