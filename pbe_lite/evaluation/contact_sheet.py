"""Contact sheets: what a reader sees of the benchmark, in its order, nothing chosen.

    python -m pbe_lite.evaluation.contact_sheet --model data/weights/final

writes `data/results/contact_sheet.png`: for each of the first 48 `seen` pairs the source
with its hole, the exemplar, and the result at the defaults a user gets.  With `--blind`
the results alone, in shuffled order, and the key beside them: for naming them.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from pbe_lite.config import RESULTS, WEIGHTS
from pbe_lite.data.images import squash
from pbe_lite.errors import one_line
from pbe_lite.evaluation.benchmark import PAIRS, SPLITS, make_pair, split_of
from pbe_lite.evaluation.painting import paint_pairs
from pbe_lite.pipeline import PaintByExamplePipeline

GREY, GAP = 128, 4  # of the hole; pixels between pictures


def first_pairs(count, split="seen"):
    """The first pairs of a split, in the benchmark's order."""
    chosen = [i for i in range(PAIRS) if split_of(i) == split][:count]
    return [make_pair(i) for i in chosen]


def shown(pair):
    """What was asked: [source with the hole in grey, exemplar], (S, S, 3) uint8 each."""
    source = pair.source.image.copy()
    source[pair.hole] = GREY
    return [source, squash(pair.exemplar, len(source))]


def tile(groups, columns):
    """Groups of pictures (S, S, 3), `columns` groups a row -> one PIL image."""
    size, width = groups[0][0].shape[0], len(groups[0])
    group_width = width * size + (width - 1) + GAP
    rows = -(-len(groups) // columns)
    sheet = np.full((rows * (size + GAP), columns * group_width, 3), 255, np.uint8)
    for n, group in enumerate(groups):
        top, left = n // columns * (size + GAP), n % columns * group_width
        for k, picture in enumerate(group):
            x = left + k * (size + 1)
            sheet[top:top + size, x:x + size] = picture
    return Image.fromarray(sheet)


def contact_sheet(pairs, results, columns=4):
    """Source and hole, exemplar, result, for each pair."""
    return tile([[*shown(p), r] for p, r in zip(pairs, results, strict=True)], columns)


def blind_sheet(pairs, results, seed=0, columns=8):
    """(the results alone in shuffled order, the kinds in that order)."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    return tile([[results[i]] for i in order], columns), [pairs[i].kind for i in order]


def main(argv=None):
    parser = argparse.ArgumentParser(prog="pbe_lite.evaluation.contact_sheet",
                                     description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=WEIGHTS / "final")
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--split", choices=SPLITS, default="seen")
    parser.add_argument("--guidance", type=float, help="default: as the weights say")
    parser.add_argument("--steps", type=int, help="default: as the weights say")
    parser.add_argument("--blind", type=int, metavar="SEED", help="of the shuffled order")
    parser.add_argument("--out", type=Path, default=RESULTS / "contact_sheet.png")
    args = parser.parse_args(argv)
    with one_line():
        draw(args)


def draw(args):
    """The sheet that the options ask for, and with `--blind` the key to it."""
    pipe = PaintByExamplePipeline.from_pretrained(args.model)
    pipe.set_progress_bar_config(disable=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pairs = first_pairs(args.pairs, args.split)
    _, results = paint_pairs(pipe, pairs, args.guidance, args.steps)
    if args.blind is None:
        return contact_sheet(pairs, results).save(args.out, optimize=True)
    sheet, key = blind_sheet(pairs, results, args.blind)
    sheet.save(args.out, optimize=True)
    args.out.with_suffix(".json").write_text(json.dumps(key))


if __name__ == "__main__":
    main()
