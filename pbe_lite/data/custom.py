"""Your own pictures: boxes in COCO JSON or CSV, or a mask beside each image.

    folder/images/                 any names, in folders or not
    folder/annotations.json        COCO: images, annotations with bbox, categories
 or folder/boxes.csv               image,x0,y0,x1,y1[,label][,width,height]
 or folder/masks/                  <name of the image>.png or <name>_<anything>.png, white
                                   is the object; several masks are several objects

In boxes.csv the corners are fractions of the picture; where there are columns width and
height they are pixels.  An object is trained on as a box of Open Images is: its box is the
hole, and cropped the exemplar.
"""

import csv
import json
import logging
from pathlib import Path

from PIL import Image

from pbe_lite.data.box_index import batched, build_index, fingerprint
from pbe_lite.data.open_images import load_open_images
from pbe_lite.data.records import Records
from pbe_lite.data.shards import SUFFIXES, Folder

logger = logging.getLogger("pbe_lite.data")
CORNERS = ("x0", "y0", "x1", "y1")


def find_layout(folder, split="train"):
    """(name, what tells it): "open images", "coco", "csv" or "masks".

    Raises FileNotFoundError, saying what was looked for, for a folder of no layout."""
    folder = Path(folder)
    csvs = sorted(folder.glob(f"*{split}-annotations-bbox.csv"))
    own = {"coco": folder / "annotations.json", "csv": folder / "boxes.csv",
           "masks": folder / "masks"}
    if csvs:
        return "open images", csvs[0]
    for name, path in own.items():
        if path.exists():
            return name, path
    raise FileNotFoundError(
        f"folder {folder} holds no data: expected *{split}-annotations-bbox.csv (Open "
        "Images), annotations.json (COCO), boxes.csv or masks/, the last three beside "
        "images/")


def coco_rows(path):
    """COCO's boxes, (left, top, width, height) in pixels, as (image, x0, y0, x1, y1,
    label) in fractions, cut off at the picture's edge; crowds are left out.

    Raises ValueError, naming the file, when it is no COCO JSON."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf8"))
        images = {image["id"]: image for image in data["images"]}
        names = {c["id"]: c["name"] for c in data.get("categories", [])}
        for box in data["annotations"]:
            image = images.get(box["image_id"])
            if image is not None and not box.get("iscrowd"):
                left, top, width, height = box["bbox"]
                corners = (left, top, left + width, top + height)
                label = names.get(box.get("category_id"), "object")
                yield (image["file_name"], *_fractions(corners, image), label)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} must be COCO JSON with images (id, file_name, width, "
                         "height) and annotations (image_id, bbox); "
                         f"{type(error).__name__}: {error}") from None


def _fractions(corners, size):
    sides = (float(size["width"]), float(size["height"])) * 2
    if min(sides) <= 0:
        return (float("nan"),) * 4
    return tuple(min(max(float(c) / s, 0), 1) for c, s in zip(corners, sides))


def csv_table(path):
    """(line number, row) of boxes.csv; ValueError, naming the file, without its columns."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [c for c in ("image", *CORNERS) if c not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path} must have a header with image,x0,y0,x1,y1; "
                             f"{', '.join(missing)} is missing")
        for row in reader:
            yield reader.line_num, row


def csv_rows(path):
    """The rows of boxes.csv as (image, x0, y0, x1, y1, label), the corners in fractions.

    Raises ValueError, naming file and line, for what is no number."""
    for line, row in csv_table(path):
        try:
            corners = csv_corners(row)
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
        yield (row["image"], *corners, row.get("label") or "object")


def csv_corners(row):
    """(x0, y0, x1, y1) of a row of boxes.csv in fractions; pixels are cut off at the
    picture's edge."""
    corners = tuple(float(row[c]) for c in CORNERS)
    return _fractions(corners, row) if row.get("width") else corners


def pair_masks(folder):
    """{image, relative to folder/images: [its masks]}, in order, for all images."""
    images = folder / "images"
    paths = sorted(p for p in images.rglob("*") if p.suffix.lower() in SUFFIXES)
    pairs = {path.relative_to(images).as_posix(): [] for path in paths}
    names = {path.stem: path.relative_to(images).as_posix() for path in paths}
    for mask in sorted((folder / "masks").iterdir()):
        stem = mask.stem
        while stem not in names and "_" in stem:
            stem = stem.rpartition("_")[0]
        if stem in names:
            pairs[names[stem]].append(mask)
    return pairs


def mask_box(path):
    """The box around what is white, as fractions, or None for a black mask.

    Raises OSError where it cannot be read."""
    with Image.open(path) as image:
        white = image.convert("L").point(lambda level: 255 * (level > 127))
    box = white.getbbox()
    return box and tuple(v / s for v, s in zip(box, white.size * 2))


def mask_rows(folder):
    """One row a mask.  What cannot be read is logged and left out."""
    for image, masks in pair_masks(folder).items():
        for mask in masks:
            try:
                box = mask_box(mask)
            except (OSError, SyntaxError) as error:
                logger.warning("skipped mask %s: %s", mask, error)
                continue
            if box:
                yield (image, *box, "object")


def load_data(folder, split="train", area=(.02, .8), index=None):
    """`Records` of a folder in any layout that `find_layout` knows.

    area: the share of the picture that a box must cover.  The index is made in `index`,
    by default in the folder.  Raises FileNotFoundError and ValueError for a folder that
    cannot be used; `python -m pbe_lite check-data` says why, file by file."""
    folder = Path(folder)
    layout, path = find_layout(folder, split)
    if layout == "open images":
        return load_open_images(folder, split, area, index)
    if not (folder / "images").is_dir():
        raise FileNotFoundError(f"no folder images in {folder}, beside {path.name}")
    rows = {"coco": coco_rows, "csv": csv_rows}[layout](path) if layout != "masks" else \
        mask_rows(folder)
    images = Folder(folder / "images", suffix="")
    index = Path(index or folder / f"index-{area[0]:g}-{area[1]:g}")
    build_index(index, batched(rows), images.locate, area, fingerprint(path), str(folder))
    return Records(index, images)
