"""Where images lie: files in a folder or its sub-folders, or shards, tar or Parquet.

`locate(ids)` says where each image is, as three Arrow arrays: path, relative to the
folder, null for an image that is not there; offset; size.  The index keeps them, and
`read(path, offset, size)` gives the bytes of one image from there, in any order.
"""

import logging
import os
import tarfile
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pbe_lite.data.annotations import is_text

logger = logging.getLogger("pbe_lite.data")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
ARCHIVES = (".gz", ".tgz", ".zip", ".xz", ".bz2", ".zst")
JUNK = ("__macosx", "thumbs.db", "desktop.ini")  # beside names that begin with a dot
PLACE = pa.schema([("image_id", pa.string()), ("path", pa.string()),
                   ("offset", pa.int64()), ("size", pa.int64())])


def is_junk(name):
    """Whether a file or folder is one that macOS, Windows or Jupyter leaves behind."""
    return name.startswith(".") or name.lower() in JUNK


def picture_files(root):
    """The image files in `root` and its folders, as paths relative to it, in order."""
    root = Path(root)
    paths = [p.relative_to(root) for p in root.rglob("*") if p.suffix.lower() in SUFFIXES]
    return sorted(p for p in paths if not any(map(is_junk, p.parts)))


class Folder:
    """Image files: `<id><suffix>` in `root`.  None is looked for before it is read: a
    folder of millions of files takes long to list."""

    def __init__(self, root, suffix=".jpg"):
        self.root, self.suffix = Path(root), suffix

    def files(self):
        """What an index depends on, beside the ids."""
        return []

    def locate(self, ids):
        nowhere = pa.nulls(len(ids), pa.int64())
        return (pc.binary_join_element_wise(ids, self.suffix, ""),
                nowhere.fill_null(0), nowhere.fill_null(-1))

    def read(self, path, offset=0, size=-1):
        return (self.root / path).read_bytes()


class _Shards:
    """Shards are listed once, when an index is made of them."""

    suffix = None

    def __init__(self, root):
        self.root = Path(root)

    def files(self):
        return sorted(self.root.glob(f"*{self.suffix}"))

    @cached_property
    def places(self):
        """A table of schema `PLACE`.  Raises ValueError when there is not one image."""
        table = pa.concat_tables([self._table(shard) for shard in self.files()])
        if not table.num_rows:
            raise ValueError(f"no image in the *{self.suffix} files of {self.root}")
        return self._without_twins(table).combine_chunks()

    def _without_twins(self, table):
        """Ids that are there twice are logged and left out: which of them is meant?"""
        counts = pc.value_counts(table["image_id"])
        twins = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
        if not len(twins):
            return table
        logger.warning("%d images are there more than once in %s and left out: %s",
                       len(twins), self.root, ", ".join(twins[:5].to_pylist()))
        return table.filter(pc.invert(pc.is_in(table["image_id"], value_set=twins)))

    def _table(self, shard):
        """Of one shard; if it is damaged that is logged, and what came before counts."""
        rows = []
        try:
            for place in self._list(shard):
                rows.append(place)
        except (tarfile.TarError, pa.ArrowInvalid, OSError) as error:
            logger.warning("damaged shard %s: %s", shard, error)
        columns = zip(*rows, strict=True) if rows else [()] * len(PLACE)
        return pa.Table.from_arrays(
            [pa.array(c, f.type) for c, f in zip(columns, PLACE)], schema=PLACE)

    def locate(self, ids):
        row = pc.index_in(ids, value_set=self.places["image_id"].chunk(0))
        return tuple(self.places[name].take(row) for name in ("path", "offset", "size"))


class Tars(_Shards):
    """Uncompressed `*.tar` in `root`; an image's id is its name without folders and
    suffix, as WebDataset and Open Images' own archives have it."""

    suffix = ".tar"

    @staticmethod
    def _list(shard):
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                name = Path(member.name)
                if member.isfile() and name.suffix.lower() in SUFFIXES:
                    yield name.stem, shard.name, member.offset_data, member.size
                tar.members = []  # else the headers of all images stay in memory

    def read(self, path, offset, size):
        with open(self.root / path, "rb") as file:
            file.seek(offset)
            return file.read(size)


class Parquets(_Shards):
    """`*.parquet` in `root` with columns `image_id` and `image`: bytes, or a struct with
    `bytes` as Hugging Face writes it.  The offset is the row group, the size the row in
    it.  A row group is read whole, so let it hold few images: 16, not 1,000."""

    suffix = ".parquet"

    @staticmethod
    def _list(shard):
        file = pq.ParquetFile(shard)
        if not {"image_id", "image"} <= set(file.schema_arrow.names):
            raise ValueError(f"{shard} must have columns image_id and image, has "
                             f"{', '.join(file.schema_arrow.names)}")
        for number in range(file.num_row_groups):
            ids = file.read_row_group(number, columns=["image_id"])["image_id"]
            for row, image_id in enumerate(ids.to_pylist()):
                yield str(image_id), shard.name, number, row

    def read(self, path, offset, size):
        value = _row_group(self.root / path, offset)[size].as_py()
        return value["bytes"] if isinstance(value, dict) else value


@lru_cache(maxsize=4)
def _row_group(path, number):
    return pq.ParquetFile(path).read_row_group(number, columns=["image"])["image"]


class Folders(_Shards):
    """Image files in sub-folders of `root`, by their name without suffix: train_0/ to
    train_f/, as Open Images' archives unpack.  They are listed once, for the index."""

    suffix = "/"

    def __init__(self, root, folders):
        super().__init__(root)
        self.folders = folders

    def files(self):
        return self.folders

    def _list(self, folder):
        for entry in os.scandir(folder):
            name = Path(entry.name)
            if name.suffix.lower() in SUFFIXES and not is_junk(name.name) \
                    and is_text(name.name):
                yield name.stem, f"{folder.name}/{name}", 0, -1

    def read(self, path, offset=0, size=-1):
        return (self.root / path).read_bytes()


def open_images(root, suffix=".jpg"):
    """The images in `root`: `Tars`, `Parquets` or `Folders` where there are such, else a
    `Folder`; where there is no `root`, the folders beside it called train_0 to train_f.

    Raises FileNotFoundError when there is no such folder, and ValueError for archives
    that must be unpacked first: of a compressed one no single picture can be read."""
    root = Path(root)
    inside = list(islice(root.iterdir(), 1000)) if root.is_dir() else _beside(root)
    suffixes = {path.suffix.lower() for path in inside}
    for kind in (Tars, Parquets):
        if root.is_dir() and kind.suffix in suffixes:
            return kind(root)
    if not suffixes & set(SUFFIXES):
        folders = sorted(p for p in inside if p.is_dir() and not is_junk(p.name))
        archives = [p for p in inside if p.suffix.lower() in ARCHIVES]
        if folders:
            return Folders(folders[0].parent, folders)
        if archives:
            raise ValueError(f"{archives[0]} must be unpacked first: of a compressed "
                             "archive no single picture can be read")
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: expected images or shards in it")
    return Folder(root, suffix)


def _beside(root):
    """What Open Images' archives are called, or unpack to: train_0 for a `root` train."""
    one = f"{root.name}_[0-9a-f]"
    return [*root.parent.glob(one), *root.parent.glob(f"{one}.*")]
