"""Open Images' own layout <-> a `datasets.Dataset` of images with boxes.

    folder/train/<ImageID>.jpg
    folder/train-annotations-bbox.csv         one row a box, coordinates as fractions
    folder/class-descriptions-boxable.csv     LabelName,DisplayName

The miniature world is written in this layout too, so that the lite run goes through the
very loader that the full run uses.
"""

import csv
from pathlib import Path

import datasets
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from pbe_lite.tabletop import Scene, object_names

COLUMNS = ("ImageID Source LabelName Confidence XMin XMax YMin YMax IsOccluded "
           "IsTruncated IsGroupOf IsDepiction IsInside").split()
BOX = ["XMin", "YMin", "XMax", "YMax"]


def _csv_path(folder, pattern):
    found = sorted(Path(folder).glob(pattern))
    if not found:
        raise FileNotFoundError(f"no {pattern} in {folder}: expected Open Images' layout")
    return found[0]


def _class_names(folder):
    path = _csv_path(folder, "*class-descriptions*.csv")
    with open(path, newline="", encoding="utf8") as f:
        return {row[0]: row[1] for row in csv.reader(f) if row and row[0] != "LabelName"}


def load_open_images(folder, split="train", area=(.02, .8)):
    """Read Open Images' CSVs into a `datasets.Dataset`, one row an image.

    Columns: `image_id`; `image` (decoded when read); `boxes`, (N, 4) of x0, y0, x1, y1
    as fractions; `labels`, N display names (the code of a class without description).
    Boxes whose area is outside `area` (fractions of the picture; the paper keeps .02 to
    .8) are dropped, and images without a box left are too.  Raises FileNotFoundError
    for a missing CSV and ValueError when no box is left."""
    folder = Path(folder)
    rows = pd.read_csv(_csv_path(folder, f"*{split}-annotations-bbox.csv"),
                       usecols=["ImageID", "LabelName", *BOX],
                       dtype={"ImageID": str, "LabelName": str})
    size = (rows.XMax - rows.XMin) * (rows.YMax - rows.YMin)
    rows = rows[size.between(*area)]
    if rows.empty:
        raise ValueError(f"area={area} leaves no box of {split} in {folder}")
    names = rows.LabelName.map(_class_names(folder))
    rows = rows.assign(label=names.fillna(rows.LabelName))
    records = {"image_id": [], "image": [], "boxes": [], "labels": []}
    for image_id, group in rows.groupby("ImageID", sort=True):
        records["image_id"].append(image_id)
        records["image"].append(str(folder / split / f"{image_id}.jpg"))
        records["boxes"].append(group[BOX].to_numpy().tolist())
        records["labels"].append(group.label.tolist())
    return datasets.Dataset.from_dict(records).cast_column("image", datasets.Image())


def write_tabletop(folder, seeds, size=128, split="train"):
    """Render `Scene(seed)` for all `seeds` into `folder` in Open Images' layout.

    Does nothing when the annotations are already there: they are written last.  Raises
    ValueError when those are of other scenes."""
    folder = Path(folder)
    annotations = folder / f"{split}-annotations-bbox.csv"
    if annotations.exists():
        there = pd.read_csv(annotations, usecols=["ImageID"], dtype=str).ImageID
        if list(there) != [f"{seed:016x}" for seed in seeds]:
            raise ValueError(f"folder {folder} holds other scenes of {split!r} than those "
                             "asked for: delete it, or give another")
        return folder
    (folder / split).mkdir(parents=True, exist_ok=True)
    names = object_names()
    codes = {name: f"/t/{i:03d}" for i, name in enumerate(names)}
    _write_csv(folder / "class-descriptions-boxable.csv",
               [(c, n) for n, c in codes.items()])
    rows = []
    for seed in tqdm(seeds, desc=f"rendering {size} px scenes", unit="scene"):
        scene = Scene(seed)
        render = scene.render(size)
        image_id = f"{seed:016x}"
        Image.fromarray(render.image).save(folder / split / f"{image_id}.jpg", quality=95)
        x0, y0, x1, y1 = render.box
        rows.append((image_id, "tabletop", codes[scene.name], 1, x0, x1, y0, y1,
                     0, 0, 0, 0, 0))
    _write_csv(annotations, [COLUMNS, *rows])
    return folder


def _write_csv(path, rows):
    partial = path.with_suffix(".partial")
    with open(partial, "w", newline="", encoding="utf8") as f:
        csv.writer(f).writerows(rows)
    partial.replace(path)
