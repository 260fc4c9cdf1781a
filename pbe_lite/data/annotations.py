"""Boxes in COCO JSON or in boxes.csv, one row a box, and whatever is wrong with them.

Each reader takes `tell`, a function that is called with every `Problem`: training's,
`stop`, raises ValueError for what cannot be read and passes over what is only left out;
check-data's prints them all.  So what is checked is what is trained on.

A row is (image, x0, y0, x1, y1, label, width, height): corners in fractions, cut off at
the picture's edge; the size in pixels that the picture had for whoever drew the box, 0
where nobody says, -1 where that is contradictory.
"""

import codecs
import csv
import io
import json
from numbers import Real
from pathlib import Path
from typing import NamedTuple

from pbe_lite.data.boxes import clip_box, is_box, to_fractions

CORNERS = ("x0", "y0", "x1", "y1")
FATAL = ("no bbox", "no size", "no name", "not a number", "too many cells")
NOTES = ("crowd", "encoding")  # worth telling, but nothing is wrong
LARGEST = 1e9  # pixels: what is larger is no place in a picture


class Problem(NamedTuple):
    """`kind` is counted, `file` and `text` are shown."""

    kind: str
    file: str
    text: str


def stop(problem):
    """Raise ValueError, naming the place, where a file cannot be read as it is."""
    if problem.kind in FATAL:
        raise ValueError(f"{problem.file}: {problem.text}")


def is_text(value):
    """Whether a value is a string that can be written as UTF-8; not every file name is."""
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def read_text(path, tell=stop):
    """The text of a file in UTF-8, or in UTF-16 with its byte-order mark, which is told.

    Raises ValueError, naming file and line, for another encoding."""
    data = Path(path).read_bytes()
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if utf16:
        tell(Problem("encoding", str(path), "its byte-order mark says UTF-16: read so"))
    try:
        return data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: {error.reason}: it is not in "
                         f"{'UTF-16' if utf16 else 'UTF-8'}; save it as UTF-8") from None


def _cut(where, said, corners, size, tell):
    """Corners in pixels -> in fractions, cut off at the edge, which is told if it is more
    than a pixel: what is less comes from rounding."""
    x0, y0, x1, y1 = corners
    width, height = size
    if min(size) <= 0:
        cut = (float("nan"),) * 4
    else:
        cut = clip_box(to_fractions(corners, size))
    if not is_box(*cut):
        tell(Problem("not a box", where,
                     f"{said} in {width:g} x {height:g}; it is left out"))
    elif min(x0, y0) < -1 or x1 > width + 1 or y1 > height + 1:
        tell(Problem("beyond the picture", where,
                     f"{said} in {width:g} x {height:g}; it will be cut off"))
    return cut


# ------------------------------------------------------------------------------- COCO


def coco_rows(path, tell=stop):
    """The rows of COCO's JSON, whose bbox is (left, top, width, height) in pixels.

    Crowds (iscrowd = 1) are left out: many objects in one box.  Raises ValueError, naming
    the file, when it is no COCO JSON, and when all of it is left out as crowds."""
    found = crowds = 0
    try:
        data = json.loads(read_text(path, tell))
        images = _coco_images(data["images"], path, tell)
        names = {c["id"]: str(c["name"]) for c in data.get("categories", [])}
        for place, box in enumerate(data["annotations"]):
            crowds += bool(box.get("iscrowd"))
            where = f"{path}, annotation {box.get('id', f'at place {place}')}"
            row = _coco_row(box, path, where, images, names, tell)
            if row:
                found += 1
                yield row
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} must be COCO JSON with images (id, file_name, width, "
                         "height) and annotations (image_id, bbox); "
                         f"{type(error).__name__}: {error}") from None
    if crowds and not found:
        raise ValueError(f"{path}: all {crowds} annotations of its images are crowds "
                         "(iscrowd = 1), which are left out")


def _coco_images(entries, path, tell):
    """{id: (file name, width, height, whether the id is there once)}."""
    images = {}
    for entry in entries:
        where = f"{path}, image {entry['id']}"
        name = entry["file_name"]
        image = (name, entry.get("width"), entry.get("height"), True)
        before = images.get(entry["id"], image)
        if not is_text(name):
            tell(Problem("no name", where, f"file_name {name!r}: expected text"))
            continue
        if image != before:
            tell(Problem("id twice", where, f"{before[0]} and {name}: whose boxes are "
                                            "whose?  None of them is trained on"))
            image = (*image[:3], False)
        images[entry["id"]] = image
    return images


def _coco_row(box, path, where, images, names, tell):
    """The row of one annotation, or None where there is none."""
    bbox = box.get("bbox")
    if box["image_id"] not in images:
        return tell(Problem("no such image", where, f"image_id {box['image_id']}"))
    name, width, height, once = images[box["image_id"]]
    if box.get("iscrowd"):
        return tell(Problem("crowd", where, "iscrowd = 1, many objects: it is left out"))
    if not (isinstance(bbox, list) and len(bbox) == 4 and all(map(_is_number, bbox))):
        return tell(Problem("no bbox", where, f"bbox {bbox!r}: expected left, top, width, "
                                              "height in pixels, four numbers"))
    if not (_is_number(width) and _is_number(height) and width > 0 and height > 0):
        return tell(Problem("no size", f"{path}, image {box['image_id']} ({name})",
                            f"width {width!r}, height {height!r}: expected pixels"))
    corners = _coco_corners(where, bbox, (width, height), tell)
    size = (round(width), round(height)) if once else (-1, -1)
    return (name, *corners, _coco_label(where, box, names, tell), *size)


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool) \
        and not abs(value) > LARGEST


def _coco_corners(where, bbox, size, tell):
    left, top, width, height = bbox
    if not (width > 0 and height > 0 and left == left and top == top):  # NaN is not itself
        tell(Problem("not a box", where, f"bbox {bbox}: expected left, top, width > 0, "
                                         "height > 0, in pixels"))
        return (float("nan"),) * 4
    return _cut(where, f"bbox {bbox}", (left, top, left + width, top + height), size, tell)


def _coco_label(where, box, names, tell):
    label = names.get(box.get("category_id"))
    if is_text(label):
        return label
    if names:
        tell(Problem("unknown category", where, f"category_id {box.get('category_id')!r}: "
                                                "it is called 'object'"))
    return "object"


# ------------------------------------------------------------------------------- CSV


def csv_table(path, tell=stop):
    """(line number, row) of boxes.csv, its cells divided by commas, semicolons or tabs.

    Raises ValueError, naming the file, without its columns, and where it is no CSV."""
    text = read_text(path, tell)
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""),
                            delimiter=max(",;\t", key=header.count))
    missing = [c for c in ("image", *CORNERS) if c not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(f"{path} must have a header with image,x0,y0,x1,y1; "
                         f"{', '.join(missing)} is missing")
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.reader.line_num}: {error}") from None


def csv_rows(path, tell=stop):
    """The rows of boxes.csv: its corners are fractions of the picture as it is shown, or
    pixels where there are width and height."""
    for line, cells in csv_table(path, tell):
        where = f"{path}, line {line}"
        if any(cells.pop(None, ())):
            tell(Problem("too many cells", where, "more than the header has: are there "
                                                  "commas in numbers or labels?"))
        elif not cells["image"]:
            tell(Problem("no name", where, "the cell of column image is empty"))
        else:
            try:
                corners, size = _csv_corners(where, cells, tell)
            except ValueError as error:
                tell(Problem("not a number", where, str(error)))
                continue
            yield (cells["image"], *corners, cells.get("label") or "object", *size)


def _csv_corners(where, cells, tell):
    """(corners in fractions, size) of a row; ValueError for what is no number."""
    corners = tuple(_number(cells, name) for name in CORNERS)
    said = f"x0, y0, x1, y1 = {corners}"
    if cells.get("width") or cells.get("height"):
        size = _number(cells, "width"), _number(cells, "height")
        if not max(map(abs, size)) < LARGEST:
            raise ValueError(f"width and height must be pixels; got {size}")
        return _cut(where, said, corners, size, tell), tuple(map(round, size))
    if not is_box(*corners):
        tell(not_a_box(where, cells))
    return corners, (0, 0)


def _number(cells, name):
    try:
        return float(cells.get(name))
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number; got {cells.get(name)!r}") from None


def not_a_box(where, cells):
    """The problem of corners, in fractions, that are no box."""
    corners = ", ".join(f"{cells[name]}" for name in CORNERS)
    return Problem("not a box", where, f"x0, y0, x1, y1 = {corners}: expected fractions, "
                                       "0 <= x0 < x1 <= 1, the same for y")
