"""Writes one assignment in nbgrader's format, and its entry in terms.json.

Texts hold <<name>> where a constant of the term or an expected value stands.  Only for
the first writing: afterwards the notebook under source/ is the source.
"""

import json
import re
import textwrap
from pathlib import Path

from pbe_lite import sheets

OUT = Path(__file__).parents[1] / "repo" / "notebooks" / "assignments"
DRAFT = "0.987654321"  # stands for an expected value until it is computed


def flowed(text):
    """Plain paragraphs wrapped at 92; tables, lists, formulas and headings as they are."""
    parts = []
    for part in text.strip("\n").split("\n\n"):
        plain = not re.match(r"\s*(\||[-#<>]|\d\.|\$\$|###|```)", part) and "$$" not in part \
            and "\n|" not in part and "###" not in part and "\n- " not in part
        if plain:
            part = re.sub(r"\$[^$]+\$|`[^`]+`", lambda m: re.sub(r"\s+", "\0", m[0]), part)
            part = textwrap.fill(" ".join(part.split()), 92, break_long_words=False,
                                 break_on_hyphens=False).replace("\0", " ")
        parts.append(part)
    return "\n\n".join(parts)


def marks(**given):
    kinds = dict(grade=False, locked=False, solution=False, task=False, schema_version=3)
    return {"nbgrader": {**kinds, **given}}


class Sheet:
    """constants: {name: (value, choices)}; expected: {name: (expression, format)}."""

    def __init__(self, key, constants, expected):
        self.key, self.cells = key, []
        self.constants, self.expected = constants, expected

    def _add(self, kind, text, key=None, **given):
        cell = {"cell_type": kind, "id": (key or f"{self.key}-{len(self.cells):03}"),
                "metadata": marks(grade_id=key, **given) if key else {},
                "source": text.strip("\n")}
        if kind == "code":
            cell.update(execution_count=None, outputs=[])
        self.cells.append(cell)

    def md(self, text):
        self._add("markdown", flowed(text))

    def code(self, text):
        self._add("code", text)

    def hints(self, *texts):
        """Folded hints, in the cell of the task before them."""
        folded = [f"<details><summary>Hint {i}</summary>\n\n"
                  f"{textwrap.fill(t, 92, break_long_words=False)}\n\n</details>"
                  for i, t in enumerate(texts, 1)]
        self.cells[-1]["source"] += "\n\n" + "\n".join(folded)

    def given(self, key, text):
        self._add("code", text, f"{self.key}_{key}", locked=True)

    def answer(self, key, text):
        self._add("code", text, f"{self.key}_{key}", solution=True)

    def check(self, key, points, text):
        self._add("code", text, f"{self.key}_{key}_check", grade=True, locked=True,
                  points=points)

    def hidden(self, key, points, text):
        text = ("import numpy as np  # hidden tests run here when it is graded\n\n"
                f"### BEGIN HIDDEN TESTS\n{text.strip()}\n### END HIDDEN TESTS")
        self._add("code", text, f"{self.key}_{key}_hidden", grade=True, locked=True,
                  points=points)

    def written(self, key, points, text):
        text = f"### BEGIN SOLUTION\n{flowed(text)}\n### END SOLUTION"
        self._add("markdown", text, f"{self.key}_{key}", grade=True, solution=True,
                  points=points)

    def plot(self, key, points, text):
        text = f"### BEGIN SOLUTION\n{text.strip()}\n### END SOLUTION"
        self._add("code", text, f"{self.key}_{key}", grade=True, solution=True,
                  points=points)

    # ------------------------------------------------------------------------- finish

    def _count(self, key):
        return sum(cell["source"].count(f"<<{key}>>") for cell in self.cells)

    def _filled(self, values):
        cells = [dict(c, source=re.sub(r"<<(\w+)>>", lambda m: values[m[1]], c["source"]))
                 for c in self.cells]
        python = {"display_name": "Python 3", "language": "python", "name": "python3"}
        return {"cells": cells, "nbformat": 4, "nbformat_minor": 5,
                "metadata": {"kernelspec": python, "language_info": {"name": "python"}}}

    def build(self):
        """Compute the expected values by the sheet's own solution, and write all."""
        values = {k: v for k, (v, _) in self.constants.items()}
        draft = self._filled({**values, **dict.fromkeys(self.expected, DRAFT)})
        _, space = sheets.run(draft)
        for key, (code, form) in self.expected.items():
            values[key] = form.format(eval(re.sub(
                r"<<(\w+)>>", lambda m: values[m[1]], code), space))
        sheet = self._filled(values)
        rules = {
            "constants": {k: {"value": v, "uses": self._count(k), "choices": c}
                          for k, (v, c) in self.constants.items()},
            "expected": {k: {"value": values[k], "uses": self._count(k), "code": c,
                             "format": f} for k, (c, f) in self.expected.items()}}
        self._write(sheet, rules, values)

    def _write(self, sheet, rules, values):
        assert len(set(values.values())) == len(values), sorted(values.values())
        for kind in rules.values():
            unused = [k for k, rule in kind.items() if not rule["uses"]]
            assert not unused, f"never used: {unused}"
        tokens = {v: v for v in values.values()}
        uses = {r["value"]: r["uses"] for kind in rules.values() for r in kind.values()}
        sheets.substitute(sheet, tokens, uses)  # raises where a token stands by chance
        sheets.write(sheet, OUT / "source" / self.key / f"{self.key}.ipynb")
        path = OUT / "terms.json"
        terms = json.loads(path.read_text()) if path.exists() else {}
        terms[self.key] = rules
        path.write_text(json.dumps(dict(sorted(terms.items())), indent=1) + "\n")
        done = [c for c in sheet["cells"]]
        auto, hand = (sum(sheets.points(sheet, kind).values())
                      for kind in (sheets.is_test, sheets.is_written))
        print(f"{self.key}: {len(done)} cells, {auto} + {hand} points")
