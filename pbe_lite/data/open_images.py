"""Open Images' own layout, of photographs or of the miniature world.

    folder/train/<ImageID>.jpg                or shards of images, see `shards`
 or folder/train_0/ to train_f/               as the archives unpack, there or in train/
    folder/train-annotations-bbox.csv         one row a box, coordinates as fractions
    folder/class-descriptions-boxable.csv     LabelName,DisplayName
    folder/index-train-0.02-0.8/              made from these at the first call

Boxes are of the pixels as they are stored: an EXIF orientation is not followed, which
would turn the picture and not its boxes.  Groups of objects (IsGroupOf) count as boxes.
The miniature world is written in this layout too, by `scenes.write_tabletop`, so that the
lite run goes through the very loader that the full run uses.
"""

import csv
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from pbe_lite.data.annotations import read_text
from pbe_lite.data.box_index import ROW, build_index, fingerprint
from pbe_lite.data.records import Records
from pbe_lite.data.shards import is_junk, open_images

COLUMNS = ("ImageID Source LabelName Confidence XMin XMax YMin YMax IsOccluded "
           "IsTruncated IsGroupOf IsDepiction IsInside").split()
CORNERS = ("XMin", "YMin", "XMax", "YMax")
BLOCK = 16 << 20  # bytes of CSV in memory at a time


def find_csvs(folder, pattern):
    """The CSV files of the pattern, in order, without what systems leave behind."""
    return sorted(path for path in Path(folder).glob(pattern) if not is_junk(path.name))


def find_csv(folder, pattern):
    """The first CSV file of the pattern; FileNotFoundError where there is none."""
    found = find_csvs(folder, pattern)
    if not found:
        raise FileNotFoundError(f"no {pattern} in {folder}: expected Open Images' layout")
    return found[0]


def class_names(path):
    """{code: display name}; the CSV may have a header.

    Raises ValueError, naming the line, for a row without a name."""
    names = {}
    for line, row in enumerate(csv.reader(io.StringIO(read_text(path), newline="")), 1):
        if row and len(row) < 2:
            raise ValueError(f"{path}, line {line}: expected LabelName,DisplayName; "
                             f"got {row[0]!r}")
        if row and row[0] != "LabelName":
            names[row[0]] = row[1]
    return names


def csv_batches(path, names):
    """Batches (schema `box_index.ROW`) of an annotations CSV, `BLOCK` bytes at a time.

    names: {code: display name}; a class that is not in it keeps its code.  Columns other
    than ImageID, LabelName and the corners may be there or not.  Raises ValueError,
    naming the file, for a missing column and for what is no number."""
    types = {"ImageID": pa.string(), "LabelName": pa.string(),
             **dict.fromkeys(CORNERS, pa.float64())}
    codes, words = (pa.array(list(v), pa.string()) for v in (names, names.values()))
    try:
        for batch in arrow_csv.open_csv(
                path, read_options=arrow_csv.ReadOptions(block_size=BLOCK),
                convert_options=arrow_csv.ConvertOptions(
                    include_columns=list(types), column_types=types)):
            found = pc.index_in(batch["LabelName"], value_set=codes)
            label = pc.coalesce(words.take(found), batch["LabelName"])
            corners = [batch[name] for name in CORNERS]
            yield pa.RecordBatch.from_arrays([batch["ImageID"], *corners, label],
                                             schema=ROW)
    except (pa.ArrowInvalid, KeyError) as error:
        raise ValueError(f"{path}: {error}") from None


def load_open_images(folder, split="train", area=(.02, .8), index=None):
    """Open Images' boxes and images as `Records`, one an image.

    Boxes whose area is outside `area` (fractions of the picture; the paper keeps .02 to
    .8) are dropped, and images without a box left are too.  The index is made in
    `index`, by default beside the CSV files, at the first call and again whenever they
    have changed.  Raises FileNotFoundError for a missing CSV or folder and ValueError
    when no box is left."""
    folder = Path(folder)
    boxes = find_csv(folder, f"*{split}-annotations-bbox.csv")
    classes = find_csv(folder, "*class-descriptions*.csv")
    images = open_images(folder / split)
    index = Path(index or folder / f"index-{split}-{area[0]:g}-{area[1]:g}")
    build_index(index, csv_batches(boxes, class_names(classes)), images.locate, area,
                fingerprint(boxes, classes, *images.files(), deep=False),
                f"{split} in {folder}")
    alphas = folder / f"{split}-alpha"  # the miniature world's
    return Records(index, images, alphas if alphas.is_dir() else None, upright=False)
