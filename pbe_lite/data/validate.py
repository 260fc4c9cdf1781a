"""What is wrong with a data folder, file by file, before a GPU waits for it.

    python -m pbe_lite check-data --data /path/to/folder

First the annotations, by the very functions that training reads them with, then every
image is decoded as training would.  Nothing is changed but the index, which training would
make too.
"""

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import pyarrow.compute as pc
from scipy import ndimage
from tqdm.auto import tqdm

from pbe_lite.data import boxes
from pbe_lite.data.annotations import NOTES, Problem, coco_rows, csv_rows, not_a_box
from pbe_lite.data.box_index import which_are_boxes
from pbe_lite.data.custom import find_layout, load_data, pair_masks, read_mask_file
from pbe_lite.data.images import UnreadableImage, load
from pbe_lite.data.open_images import class_names, csv_batches, find_csv
from pbe_lite.data.records import orient

SHOWN = 20   # of each kind of problem; the rest is only counted
AHEAD = 512  # images in work at a time
SPECK = .01  # of what a mask marks: a part that is smaller may be a slip of the brush


def open_images_problems(path):
    """Rows of an annotations CSV that are no box, and classes without a name."""
    try:
        names = class_names(find_csv(path.parent, "*class-descriptions*.csv"))
    except FileNotFoundError as error:
        yield Problem("layout", str(path.parent), str(error))
        return
    line, nameless = 2, Counter()
    for batch in csv_batches(path, names):
        for i in np.flatnonzero(~which_are_boxes(batch)):
            yield not_a_box(f"{path}, line {line + i}",
                            batch.slice(int(i), 1).to_pylist()[0])
        nameless.update(code for code in pc.unique(batch["label"]).to_pylist()
                        if code.startswith("/"))
        line += batch.num_rows
    for code in nameless:
        yield Problem("class without a name", str(path), f"{code} stays {code!r}")


def row_problems(read, path):
    """All that a reader of `annotations` tells."""
    problems = []
    for _ in read(path, problems.append):
        yield from problems
        problems.clear()
    yield from problems


def mask_problems(folder):
    """Images without mask and masks without image, and masks that are none, mark nothing,
    have stray specks or another shape than their image."""
    problems = []
    pairs = pair_masks(folder, problems.append)
    yield from problems
    for image, masks in pairs.items():
        for mask in masks:
            yield from _mask_problem(folder / "images" / image, mask)


def _mask_problem(path, mask):
    try:
        marked = read_mask_file(mask) > 127
    except OSError as error:
        yield Problem("unreadable", str(mask), str(error))
        return
    except ValueError as error:
        yield Problem("no mask", str(mask), f"it {error}")
        return
    if not marked.any():
        yield Problem("black mask", str(mask), "expected white (over 127) for the object")
        return
    yield from _specks(mask, marked)
    try:
        image = load(path.read_bytes(), str(path))
    except OSError:
        return  # which is told of the image itself
    size = marked.shape[::-1]
    fault = orient(image, size)[1]
    if fault:
        yield Problem("another shape", str(mask), f"{size}, but its image {image.size}; "
                                                  f"{fault}")


def _specks(mask, marked):
    """Whether the box of a mask is much larger for parts that are next to nothing."""
    parts, _ = ndimage.label(marked)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    large = (sizes > SPECK * sizes.sum())[parts]
    whole, rest = boxes.mask_box(marked), boxes.mask_box(large if large.any() else marked)
    if max(np.abs(np.subtract(whole, rest))) > .02:
        box = ", ".join(f"{value:.2f}" for value in rest)
        yield Problem("stray specks", str(mask), f"{int((marked & ~large).sum())} pixels "
                      f"make its box larger; without them it would be {box}")


def image_problems(records, limit=None, workers=8, faults=True):
    """Images of the records (the first `limit`) that cannot be decoded, or whose boxes
    training would not use; the same box of the same label twice."""
    def look(i):
        try:
            record = records[i]
        except UnreadableImage as error:
            return Problem("unreadable", error.image_id, str(error))
        if faults and "fault" in record:
            return Problem("boxes not certain", record["image_id"], record["fault"])
        known = Counter(zip(map(tuple, record["boxes"]), record["labels"], strict=True))
        (box, label), times = known.most_common(1)[0]
        if times > 1:
            return Problem("box twice", record["image_id"], f"{label} {box}, {times} times")

    numbers = iter(range(min(len(records), limit or len(records))))
    with ThreadPoolExecutor(workers) as pool, \
            tqdm(total=len(records), desc="decoding", unit="image") as bar:
        while some := list(islice(numbers, AHEAD)):
            yield from filter(None, pool.map(look, some))
            bar.update(len(some))


def find_problems(folder, split="train", area=(.02, .8), index=None, limit=None):
    """All problems of a folder, as they are found."""
    layout, path = find_layout(folder, split)
    yield from {"open images": open_images_problems,
                "coco": lambda path: row_problems(coco_rows, path),
                "csv": lambda path: row_problems(csv_rows, path),
                "masks": lambda path: mask_problems(path.parent)}[layout](path)
    records = load_data(folder, split, area, index)
    if records.info["missing"]:
        yield Problem("not in any shard", str(folder), f"or there more than once: "
                      f"{records.info['missing']:,} images that have boxes")
    yield from image_problems(records, limit, faults=layout != "masks")


def check_data(folder, split="train", area=(.02, .8), index=None, limit=None):
    """Print what is wrong with a folder and return True if nothing is.

    limit: decode only so many images.  What makes it unusable is a problem too."""
    counts = Counter()
    try:
        for problem in find_problems(folder, split, area, index, limit):
            counts[problem.kind] += 1
            if counts[problem.kind] <= SHOWN:
                _say(f"{problem.kind}: {problem.file}: {problem.text}")
        info = load_data(folder, split, area, index).info
        print(f"{info['rows']:,} boxes, {info['boxes']:,} of them with an area within "
              f"{area[0]:g} to {area[1]:g}, in {info['images']:,} images")
    except (ValueError, OSError, KeyError) as error:
        counts["unusable"] += 1
        _say(f"unusable: {error}")
    for kind, count in counts.items():
        print(f"{count:,} x {kind}")
    wrong = counts.keys() - set(NOTES)
    print("something is wrong, see above" if wrong else "ok")
    return not wrong


def _say(text):
    """Print, also names of files that the terminal has no letters for."""
    code = sys.stdout.encoding or "utf-8"
    print(text.encode(code, "backslashreplace").decode(code))
