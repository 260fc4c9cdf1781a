"""Where images lie: files in a folder, or shards of many images, tar or Parquet.

`locate(ids)` says where each image is, as three Arrow arrays: path, relative to the
folder, null for an image that is not there; offset; size.  The index keeps them, and
`read(path, offset, size)` gives the bytes of one image from there, in any order.
"""

import logging
import tarfile
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

logger = logging.getLogger("pbe_lite.data")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
PLACE = pa.schema([("image_id", pa.string()), ("path", pa.string()),
                   ("offset", pa.int64()), ("size", pa.int64())])


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
        return table.combine_chunks()

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


def open_images(root, suffix=".jpg"):
    """The images in `root`: `Tars` or `Parquets` where there are such, else a `Folder`.

    Raises FileNotFoundError when there is no such folder."""
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: expected images or shards in it")
    found = {path.suffix for path in islice(root.iterdir(), 1000)}
    for kind in (Tars, Parquets):
        if kind.suffix in found:
            return kind(root)
    return Folder(root, suffix)
