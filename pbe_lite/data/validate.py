"""What is wrong with a data folder, file by file, before a GPU waits for it.

    python -m pbe_lite check-data --data /path/to/folder

First the annotations, then every image is decoded as training would.  Nothing is changed
but the index, which training would make too.
"""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
from PIL import Image
from tqdm.auto import tqdm

from pbe_lite.data.box_index import BOX, which_are_boxes
from pbe_lite.data.custom import (
    csv_corners,
    csv_table,
    find_layout,
    load_data,
    mask_box,
    pair_masks,
)
from pbe_lite.data.images import UnreadableImage
from pbe_lite.data.open_images import class_names, csv_rows, find_csv

SHOWN = 20   # of each kind of problem; the rest is only counted
AHEAD = 512  # images in work at a time


class Problem(NamedTuple):
    """`kind` is counted, `file` and `text` are shown."""

    kind: str
    file: str
    text: str


def open_images_problems(path):
    """Rows of an annotations CSV that are no box, and classes without a name."""
    try:
        names = class_names(find_csv(path.parent, "*class-descriptions*.csv"))
    except FileNotFoundError as error:
        yield Problem("layout", str(path.parent), str(error))
        return
    line, nameless = 2, Counter()
    for batch in csv_rows(path, names):
        for i in np.flatnonzero(~which_are_boxes(batch)):
            row = batch.slice(int(i), 1).to_pylist()[0]
            yield _no_box(f"{path}, line {line + i}", row)
        nameless.update(code for code in pc.unique(batch["label"]).to_pylist()
                        if code.startswith("/"))
        line += batch.num_rows
    for code in nameless:
        yield Problem("class without a name", str(path), f"{code} stays {code!r}")


def _no_box(where, row):
    corners = ", ".join(f"{row[name]}" for name in BOX)
    return Problem("not a box", where, f"x0, y0, x1, y1 = {corners}: expected fractions, "
                                       "0 <= x0 < x1 <= 1, the same for y")


def coco_problems(path):
    """Annotations without their image, boxes without area or beyond the picture."""
    data = json.loads(path.read_text(encoding="utf8"))
    images = {image["id"]: image for image in data["images"]}
    for box in data["annotations"]:
        where, image = f"{path}, annotation {box.get('id')}", images.get(box["image_id"])
        left, top, width, height = box["bbox"]
        if image is None:
            yield Problem("no such image", where, f"image_id {box['image_id']}")
        elif width <= 0 or height <= 0:
            yield Problem("not a box", where, f"bbox {box['bbox']}: expected left, top, "
                                              "width > 0, height > 0, in pixels")
        else:
            yield from _beyond(where, f"bbox {box['bbox']}",
                               (left, top, left + width, top + height), image)


def _beyond(where, said, corners, image):
    """More than a pixel, that is: what is less comes from rounding."""
    x0, y0, x1, y1 = corners
    width, height = float(image["width"]), float(image["height"])
    if min(x0, y0) < -1 or x1 > width + 1 or y1 > height + 1:
        yield Problem("beyond the picture", where,
                      f"{said} in {width:g} x {height:g}; it will be cut off")


def csv_problems(path):
    """Lines of boxes.csv that hold no box, or one beyond the picture."""
    for line, row in csv_table(path):
        where = f"{path}, line {line}"
        try:
            x0, y0, x1, y1 = csv_corners(row)
        except (TypeError, ValueError, KeyError) as error:
            yield Problem("not a number", where, str(error))
            continue
        if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
            yield _no_box(where, row)
        elif row.get("width"):
            corners = tuple(float(row[c]) for c in BOX)
            yield from _beyond(where, f"x0, y0, x1, y1 = {corners}", corners, row)


def mask_problems(folder):
    """Images without mask and masks without image, black ones, ones of another shape."""
    pairs = pair_masks(folder)
    used = {mask for masks in pairs.values() for mask in masks}
    for mask in sorted(set((folder / "masks").iterdir()) - used):
        yield Problem("mask without image", str(mask), "expected images/"
                      f"{mask.stem}.jpg, or a name before the last '_' that is there")
    for image, masks in pairs.items():
        if not masks:
            yield Problem("image without mask", image, f"expected masks/{image}")
        for mask in masks:
            yield from _mask_problem(folder / "images" / image, mask)


def _mask_problem(image, mask):
    try:
        box = mask_box(mask)
        with Image.open(mask) as opened:
            sizes = [opened.size]
    except (OSError, SyntaxError) as error:
        yield Problem("unreadable", str(mask), str(error))
        return
    if box is None:
        yield Problem("black mask", str(mask), "expected white (over 127) for the object")
    try:
        with Image.open(image) as opened:
            sizes.append(opened.size)
    except (OSError, SyntaxError):
        return  # which is told of the image itself
    if abs(sizes[0][0] * sizes[1][1] - sizes[0][1] * sizes[1][0]) > max(sizes[1]) * 2:
        yield Problem("another shape", str(mask), f"{sizes[0]}, but its image {sizes[1]}")


def image_problems(records, limit=None, workers=8):
    """Images of the records (the first `limit`) that cannot be decoded."""
    def look(i):
        try:
            records[i]
        except UnreadableImage as error:
            return Problem("unreadable", error.image_id, str(error))

    numbers = iter(range(min(len(records), limit or len(records))))
    with ThreadPoolExecutor(workers) as pool, \
            tqdm(total=len(records), desc="decoding", unit="image") as bar:
        while some := list(islice(numbers, AHEAD)):
            yield from filter(None, pool.map(look, some))
            bar.update(len(some))


def find_problems(folder, split="train", area=(.02, .8), index=None, limit=None):
    """All problems of a folder, as they are found."""
    layout, path = find_layout(folder, split)
    yield from {"open images": open_images_problems, "coco": coco_problems,
                "csv": csv_problems,
                "masks": lambda path: mask_problems(path.parent)}[layout](path)
    records = load_data(folder, split, area, index)
    if records.info["missing"]:
        yield Problem("not in any shard", str(folder),
                      f"{records.info['missing']:,} images that have boxes")
    yield from image_problems(records, limit)


def check_data(folder, split="train", area=(.02, .8), index=None, limit=None):
    """Print what is wrong with a folder and return True if nothing is.

    limit: decode only so many images.  What makes it unusable is a problem too."""
    counts = Counter()
    try:
        for problem in find_problems(folder, split, area, index, limit):
            counts[problem.kind] += 1
            if counts[problem.kind] <= SHOWN:
                print(f"{problem.kind}: {problem.file}: {problem.text}")
        info = load_data(folder, split, area, index).info
        print(f"{info['rows']:,} boxes, {info['boxes']:,} of them with an area within "
              f"{area[0]:g} to {area[1]:g}, in {info['images']:,} images")
    except (ValueError, OSError, KeyError) as error:
        counts["unusable"] += 1
        print(f"unusable: {error}")
    for kind, count in counts.items():
        print(f"{count:,} x {kind}")
    print("something is wrong, see above" if counts else "ok")
    return not counts
