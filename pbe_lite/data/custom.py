"""Your own pictures: boxes in COCO JSON or CSV, or a mask beside each image.

    folder/images/                 any names, in folders or not
    folder/annotations.json        COCO: images, annotations with bbox, categories
 or folder/boxes.csv               image,x0,y0,x1,y1[,label][,width,height]
 or folder/masks/                  <name of the image>.png or <name>_<anything>.png, white
                                   is the object; several masks are several objects

In boxes.csv the corners are fractions of the picture; where there are columns width and
height they are pixels.  Masks in folders belong to images in folders of the same name, or
else to the one image of their name.  An object is trained on as a box of Open Images is:
its box is the hole, and cropped the exemplar.

A photograph that its EXIF turns is used as its boxes are: where their width and height, or
those of the mask, are the file's before it is turned, it stays as it is stored.
"""

import logging
from collections import defaultdict
from pathlib import Path

from pbe_lite.data import boxes
from pbe_lite.data.annotations import Problem, coco_rows, csv_rows, is_text
from pbe_lite.data.box_index import batched, build_index, fingerprint
from pbe_lite.data.images import load, turn_upright
from pbe_lite.data.open_images import find_csvs, load_open_images
from pbe_lite.data.reading import to_levels
from pbe_lite.data.records import Records
from pbe_lite.data.shards import SUFFIXES, Folder, is_junk, picture_files

logger = logging.getLogger("pbe_lite.data")


def find_layout(folder, split="train"):
    """(name, what tells it): "open images", "coco", "csv" or "masks".

    Raises FileNotFoundError, saying what was looked for, for a folder of no layout, and
    ValueError for one of several."""
    folder = Path(folder)
    csvs = find_csvs(folder, f"*{split}-annotations-bbox.csv")
    own = {"coco": folder / "annotations.json", "csv": folder / "boxes.csv",
           "masks": folder / "masks"}
    found = [("open images", path) for path in csvs]
    found += [(name, path) for name, path in own.items() if path.exists()]
    if len(found) > 1:
        raise ValueError(f"folder {folder} holds {', '.join(p.name for _, p in found)}: "
                         "which of them is meant?  Keep one")
    if found:
        return found[0]
    raise FileNotFoundError(
        f"folder {folder} holds no data: expected *{split}-annotations-bbox.csv (Open "
        "Images), annotations.json (COCO), boxes.csv or masks/, the last three beside "
        "images/")


def pair_masks(folder, tell=lambda problem: None):
    """{image, relative to folder/images: [its masks]}, in order, for all images.

    `tell` is called with each Problem: a mask of no image or of two, an image of no mask,
    a name that is not in UTF-8."""
    folder = Path(folder)
    pairs = {}
    names = defaultdict(list)  # {(folder, name): images}, and {name: images} of any folder
    for path in picture_files(folder / "images"):
        if not is_text(str(path)):
            tell(Problem("odd name", str(path), "it is not in UTF-8: rename the image"))
            continue
        pairs[path.as_posix()] = []
        for key in (path.parent, path.stem), path.stem:
            names[key].append(path.as_posix())
    for mask in sorted((folder / "masks").rglob("*")):
        parts = mask.relative_to(folder / "masks").parts
        if any(map(is_junk, parts)) or mask.is_dir():
            continue
        image = _image_of(mask, Path(*parts).parent, names, tell)
        if image:
            pairs[image].append(mask)
    for image, masks in pairs.items():
        if not masks:
            tell(Problem("image without mask", image, f"expected masks/{image}"))
    return pairs


def _image_of(mask, parent, names, tell):
    """The image that a mask belongs to, or None."""
    if mask.suffix.lower() not in SUFFIXES:
        return tell(Problem("unknown kind", str(mask), f"masks are {', '.join(SUFFIXES)}"))
    found = _images_called(mask.stem, parent, names)
    if not found:
        text = f"images/{mask.stem}.jpg, or a name before the last '_' that is there"
        return tell(Problem("mask without image", str(mask), f"expected {text}"))
    if len(found) > 1:
        return tell(Problem("mask of two images", str(mask), f"{' or '.join(found)}: put "
                            "it in a folder of the image's folder's name"))
    return found[0]


def _images_called(stem, parent, names):
    """The images of that name, or of a name before one of its "_", the longest first; of
    those in the mask's own folder, if it has one, before those anywhere."""
    parts = stem.split("_")
    stems = ["_".join(parts[:i]) for i in range(len(parts), 0, -1)]
    beside = [(parent, s) for s in stems if (parent, s) in names]
    anywhere = [(parent, s) if (parent, s) in names else s for s in stems if s in names]
    keys = (beside if parent.parts else []) + anywhere
    return names[keys[0]] if keys else []


def read_mask_file(path):
    """A mask file -> (H, W) uint8, upright, 255 = the object.

    Raises UnreadableImage where it cannot be read, ValueError where it is no clear mask,
    see `reading.to_levels`."""
    return to_levels(turn_upright(load(path.read_bytes(), str(path))))


def mask_box(path):
    """The box around what is white, as fractions, or None where nothing is and for what
    is no clear mask.

    Raises UnreadableImage where it cannot be read."""
    try:
        return boxes.mask_box(read_mask_file(path) > 127)
    except ValueError:
        return None


def mask_rows(folder):
    """One row a mask.  What is no mask is logged and left out."""
    for image, masks in pair_masks(folder).items():
        for mask in masks:
            try:
                marked = read_mask_file(mask) > 127
                box = boxes.mask_box(marked)
            except (OSError, ValueError) as error:
                logger.warning("skipped mask %s: %s", mask, error)
                continue
            height, width = marked.shape
            yield (image, *box, "object", width, height)


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
    made_from = [path, folder / "images"] if layout == "masks" else [path]
    build_index(index, batched(rows), images.locate, area, fingerprint(*made_from),
                str(folder))
    return Records(index, images)
