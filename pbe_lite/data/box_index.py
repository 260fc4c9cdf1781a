"""Boxes -> an index of images, in Arrow files that `datasets` maps into memory.

    folder/part-<prefix>.arrow   one row an image, in the order of the ids
    folder/index.json            written last: what it was made from, and what was left out

Open Images has 14.6 million training boxes.  They stream through here in blocks: filtered
and spilled to one file per first character of the image's id.  Each of these is small
enough to be sorted, and becomes a part.  So memory does not grow with the data, and a
build that was stopped goes on with the first part that is not there.
"""

import hashlib
import json
import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, concatenate_datasets

from pbe_lite.data.boxes import area as box_area
from pbe_lite.data.boxes import is_box

BOX = ("x0", "y0", "x1", "y1")
ROW = pa.schema([("image_id", pa.string()), *((name, pa.float64()) for name in BOX),
                 ("label", pa.string())])
SIZES = [pa.field(name, pa.int32()) for name in ("width", "height")]
SIZED = pa.schema([*ROW, *SIZES])  # of the picture for whoever drew the box, in pixels
RECORD = pa.schema([
    ("image_id", pa.string()),
    ("path", pa.string()),    # relative to the images' folder: an image, or a shard
    ("offset", pa.int64()),   # where in the shard
    ("size", pa.int64()),     # how much of it; -1: all
    ("boxes", pa.list_(pa.list_(pa.float64(), 4))),
    ("labels", pa.list_(pa.string())),
    *SIZES,  # 0: nobody says; -1: rows of the image contradict each other
])
SORTABLE = 2_000_000  # rows, about 200 MB; a longer spill is split by one more character
DEEPEST = 16          # characters


def fingerprint(*paths, deep=True):
    """A digest of the names, sizes and times of change of files: when it differs, the
    index is made anew.  Of a folder all files in it count or, if not `deep`, its own time
    of change: that something in it was added, renamed or removed."""
    files = []
    for path in map(Path, paths):
        inside = sorted(path.rglob("*")) if deep and path.is_dir() else [path]
        files += [(str(p.relative_to(path.parent)), p.stat()) for p in inside]
    stats = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()


def batched(rows, size=65_536):
    """Tuples (image_id, x0, y0, x1, y1, label[, width, height]) -> record batches of
    schema `ROW` or `SIZED`."""
    block = []
    for row in rows:
        block.append(row)
        if len(block) == size:
            yield _batch(block)
            block = []
    if block:
        yield _batch(block)


def _batch(block):
    schema = SIZED if len(block[0]) == len(SIZED) else ROW
    columns = zip(*block, strict=True)
    return pa.RecordBatch.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def which_are_boxes(rows):
    """(N,) bool: 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1; what is missing is no box."""
    return is_box(*_corners(rows))


def _corners(rows):
    return [rows[name].to_numpy(zero_copy_only=False) for name in BOX]


def keep_boxes(rows, area, counts):
    """The rows, as `SIZED`, whose box covers a share of the picture within `area`, ends
    included.

    counts: {"rows", "not_a_box", "boxes"}, added to."""
    real = which_are_boxes(rows)
    share = box_area(*_corners(rows))
    fits = real & (area[0] <= share) & (share <= area[1])
    counts["rows"] += len(real)
    counts["not_a_box"] += int((~real).sum())
    counts["boxes"] += int(fits.sum())
    if "width" not in rows.schema.names:
        unknown = pa.array(np.zeros(len(real), np.int32))
        rows = pa.RecordBatch.from_arrays([*rows.columns, unknown, unknown], schema=SIZED)
    return rows.filter(pa.array(fits))


def spill(batches, folder, depth):
    """Write batches to one Arrow stream for each beginning, `depth` characters, of ids."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        writers = {}
        for batch in batches:
            prefixes = pc.utf8_slice_codeunits(batch["image_id"], 0, depth)
            for prefix in pc.unique(prefixes).to_pylist():
                if prefix not in writers:
                    path = folder / f"{prefix.encode().hex()}.arrow"  # any id is a name
                    sink = stack.enter_context(pa.OSFile(str(path), "wb"))
                    writers[prefix] = stack.enter_context(pa.ipc.new_stream(sink, SIZED))
                writers[prefix].write_batch(batch.filter(pc.equal(prefixes, prefix)))


def spilled(folder, depth=1):
    """(name, table) of each spill, in the order of ids, none longer than `SORTABLE` rows
    unless ids have the first 16 characters in common."""
    for path in sorted(folder.glob("*.arrow")):
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_stream(source).read_all()
            if table.num_rows <= SORTABLE or depth >= DEEPEST:
                yield path.stem, table
            else:
                spill(table.to_batches(), folder / path.stem, depth + 1)
                yield from spilled(folder / path.stem, depth + 1)


def group(rows, locate):
    """Rows of boxes (`SIZED`) -> one row an image (`RECORD`), in the order of ids; the
    boxes of an image stay in the order of the rows.  Images that `locate` does not know
    are left out and counted in the schema's metadata, as "missing"."""
    rows = rows.sort_by("image_id").combine_chunks()
    ids, labels = (rows[name].chunk(0) for name in ("image_id", "label"))
    codes = ids.dictionary_encode().indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    offsets = pa.array(np.append(starts, len(codes)), pa.int32())
    corners = np.stack([rows[name].to_numpy() for name in BOX], 1).ravel()
    boxes = pa.FixedSizeListArray.from_arrays(pa.array(corners), 4)
    first = ids.take(pa.array(starts))
    sizes = [_agreed(rows[field.name].to_numpy(), starts) for field in SIZES]
    table = pa.Table.from_arrays(
        [first, *locate(first), pa.ListArray.from_arrays(offsets, boxes),
         pa.ListArray.from_arrays(offsets, labels), *sizes], schema=RECORD)
    there = table.filter(table["path"].is_valid())
    missing = table.num_rows - there.num_rows
    return there.replace_schema_metadata({"missing": str(missing)})


def _agreed(numbers, starts):
    """The number that all rows of an image have, an image begins at each of `starts`; -1
    where they differ."""
    low, high = (f.reduceat(numbers, starts) for f in (np.minimum, np.maximum))
    return pa.array(np.where(low == high, low, -1), pa.int32())


@contextmanager
def whole(path):
    """`with whole(path) as partial`: write to `partial`, and `path` appears when that is
    done; after a failure or a kill it is what it was."""
    partial = path.with_suffix(".partial")
    yield partial
    partial.replace(path)


def _write(path, table):
    """The table as an Arrow stream, as `datasets` maps it."""
    with whole(path) as partial, pa.OSFile(str(partial), "wb") as sink, \
            pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)


def _write_json(path, content):
    with whole(path) as partial:
        partial.write_text(json.dumps(content))


def _read_json(path):
    return json.loads(path.read_text()) if path.exists() else {}


def build_index(folder, batches, locate, area=(.02, .8), made_from="", what="the data"):
    """Make an index of record batches (`ROW` or `SIZED`) in `folder`; return `folder`.

    `locate(ids)` gives three arrays, path, offset and size, with a null path for an image
    that is not there.  `made_from` identifies the source: with the same one, and the same
    area, an index that is there is left alone, and `batches`, an iterator, untouched.
    Raises ValueError, naming `what`, when no box is left."""
    folder = Path(folder)
    source = {"made_from": made_from, "area": list(area), "columns": RECORD.names}
    if source.items() <= _read_json(folder / "index.json").items():
        return folder
    counts = _spill_once(folder, batches, area, source)
    for name, table in spilled(folder / "rows"):
        path = folder / f"part-{name}.arrow"
        if not path.exists():
            _write(path, group(table, locate))
    images, missing = _count(folder)
    if images:
        _write_json(folder / "index.json",
                    {**source, **counts, "images": images, "missing": missing})
    shutil.rmtree(folder / "rows")
    if not images:
        raise ValueError(f"area={area} leaves no box of {what}" if not missing else
                         f"none of the {missing:,} images of {what} is there")
    return folder


def _spill_once(folder, batches, area, source):
    """Spill to `folder/rows`, unless that was done already; what was counted."""
    done = folder / "rows" / "done.json"
    if source.items() <= _read_json(done).items():
        return {k: v for k, v in _read_json(done).items() if k not in source}
    shutil.rmtree(folder / "rows", ignore_errors=True)
    for stale in [*folder.glob("part-*.arrow"), folder / "index.json"]:
        stale.unlink(missing_ok=True)
    counts = dict.fromkeys(("rows", "not_a_box", "boxes"), 0)
    spill((keep_boxes(batch, area, counts) for batch in batches), folder / "rows", 1)
    _write_json(done, {**source, **counts})
    return counts


def _count(folder):
    """(images, missing) of all parts."""
    images = missing = 0
    for path in folder.glob("part-*.arrow"):
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            missing += int(stream.schema.metadata[b"missing"])
            images += sum(batch.num_rows for batch in stream)
    return images, missing


def open_index(folder):
    """(`datasets.Dataset` of schema `RECORD`, the content of index.json).

    Its pages are read from disk when a row is.  Raises FileNotFoundError where no index
    has been finished."""
    folder = Path(folder)
    info = _read_json(folder / "index.json")
    if not info:
        raise FileNotFoundError(f"no finished index in {folder}")
    parts = sorted(folder.glob("part-*.arrow"))
    return concatenate_datasets([Dataset.from_file(str(path)) for path in parts]), info
