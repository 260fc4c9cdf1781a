"""Writes studio.ipynb beside this file; needs only json.  Not for the repository."""

import json
from pathlib import Path

CELLS = []


def add(kind, text):
    lines = text.strip("\n").splitlines(keepends=True)
    cell = {"cell_type": kind, "id": f"c{len(CELLS):02}", "metadata": {}, "source": lines}
    if kind == "code":
        cell.update(execution_count=None, outputs=[])
    CELLS.append(cell)


def md(text):
    add("markdown", text)


def code(text):
    add("code", text)


md(r"""
# The studio

**Question.** What does the model make of *your* hole and *your* thing?

| | |
|---|---|
| how | run all cells (Run > Run All Cells), then draw in the widget below |
| time | half a minute to open on 2 CPU cores; about a second for a picture |
| needs | the weights in the repository; no GPU |

Without a running kernel you see a note in place of the widget; the row of pictures
further down shows the same state.
""")
code(r"""
import os

os.environ["TQDM_DISABLE"] = "1"  # no progress bars in this page
import tqdm.auto

tqdm.auto.tqdm = tqdm.std.tqdm  # only the plain bar obeys the switch
""")
code(r"""
from pbe_lite.studio import Studio

studio = Studio()
studio
""")
md(r"""
1. **Mark the hole.** Drag with a brush, a box or a lasso; mouse, pen and finger all draw.
   By keys: click or tab to the picture, move the cross with the arrows, press Enter for
   one corner and again for the other.
2. **Pick an exemplar.** A thumbnail, any shipped object by name, a picture of your own, or
   a piece of the scene. The crop box says which part counts.
3. **Paint.** Tick the arms to compare. *Stop* ends a round at its next step.

Below the results: every earlier picture, each of which can be the next source, and the
Python that paints the same pictures again.
""")
md(r"""
## The first round, from Python

Everything that the buttons do can be called. This cell asks what the widget shows when it
opens, and waits.
""")
code(r"""
studio.paint()
answers = studio.wait()

hole = studio.painter.mask
print(f"source {studio.source.shape}, {studio.source.dtype}")
print(f"hole {hole.shape}, {hole.mean():.0%} of the picture")
print(f"exemplar {studio.picker.exemplar.size}")
print("answers:", ", ".join(answer.title for answer in answers))
assert answers, studio.notice.value
""")
md(r"""
The same round as a picture that needs no kernel:
""")
code(r"""
from pbe_lite import plots

pictures = [studio.source, plots.overlay(studio.source, hole),
            studio.picker.exemplar, *(answer.image for answer in answers)]
titles = ["source", "hole", "exemplar", *(answer.arm for answer in answers)]
plots.strip(pictures, titles, side=1.6);
""")
md(r"""
**What to notice.** *copy-paste* brings the exemplar's own background along and shows the
edge of the hole. A trained arm continues wall and floor through the hole and puts the
object on it. Nothing outside the hole has changed:
""")
code(r"""
import numpy as np

outside = hole == 0
for answer in answers:
    same = np.asarray(answer.image)[outside] == studio.source[outside]
    print(f"{answer.title:<16} outside unchanged: {same.mean():.0%}")
    assert same.all()
""")
md(r"""
The code in the last box is complete: run in a fresh process, it reads the three pictures
from files and gives the same answer, bit by bit.
""")
code(r"""
print(studio.code.value)
found = {}
exec(studio.code.value, found)
again = found["images"][answers[-1].arm][-1]
assert np.array_equal(again, answers[-1].image)
""")
md(r"""
## Things to try

- **Predict**, then look: what happens to the old object where the hole leaves half of it?
- Pick an object that was never seen in training (rose, rocket, tiger, cupcake, bucket).
- Paint with 4 samples. What differs between them, what does not?
- Cut the exemplar from this very scene and put it back in another place.
- Use a result as the next source and put a second thing on the table.
- Upload a photograph as exemplar. What does a model that has only seen *Tabletop* take
  from it?

## With another model, and without the Studio

`Studio(pipe, source="photo.jpg")` takes any `PaintByExamplePipeline`, the full-size one
too. The painter alone fits into a cell of your own; `painter.mask` is an array
(H, W), 1 = hole:
""")
code(r"""
from pbe_lite.widgets import MaskPainter

painter = MaskPainter(studio.source)
print(painter.mask.shape, painter.mask.dtype, f"{painter.mask.mean():.0%}")
painter
""")
md(r"""
Back to [00 · Start here](00_start_here.ipynb)
""")

NOTEBOOK = {
    "cells": CELLS,
    "metadata": {
        "kernelspec": {"display_name": "Python 3", "language": "python",
                       "name": "python3"},
        "language_info": {"codemirror_mode": {"name": "ipython", "version": 3},
                          "file_extension": ".py", "mimetype": "text/x-python",
                          "name": "python", "nbconvert_exporter": "python",
                          "pygments_lexer": "ipython3", "version": "3.11.7"},
    },
    "nbformat": 4,
    "nbformat_minor": 5,
}
path = Path(__file__).with_name("studio.ipynb")
path.write_text(json.dumps(NOTEBOOK, indent=1, ensure_ascii=False) + "\n")
print(path, len(CELLS), "cells")
