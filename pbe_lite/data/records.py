"""Images with boxes, by number, in any order; and a log of those that cannot be read."""

import csv
import io
import logging
import os
import socket
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from pbe_lite.data.box_index import open_index

logger = logging.getLogger("pbe_lite.data")


class UnreadableImage(OSError):
    """An image that is missing, empty, cut off or none; `image_id` says which."""

    def __init__(self, message, image_id=""):
        super().__init__(message)
        self.image_id = image_id


def decode(data, name=""):
    """The bytes of an image file -> a PIL image, turned upright.

    Raises UnreadableImage, naming `name`, for anything else."""
    if not data:
        raise UnreadableImage(f"{name}: empty", name)
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except Exception as error:  # decoders of damaged files raise almost anything
        reason = "no image" if isinstance(error, UnidentifiedImageError) else error
        raise UnreadableImage(f"{name}: {reason}", name) from error


class Records:
    """`records[i]`: a dict of `image_id`; `image`, a PIL image read when it is asked for;
    `boxes`, N times x0, y0, x1, y1 as fractions; `labels`, N names.

    `dataset` is the index as a `datasets.Dataset`, without the images; `info` is the
    content of index.json.  `records[i]` raises UnreadableImage where the image cannot be
    read, IndexError beyond the end."""

    def __init__(self, index, images, alphas=None):
        self.images, self.alphas = images, alphas
        self.dataset, self.info = open_index(index)

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, i):
        row = self.dataset[i]
        path, offset, size = row.pop("path"), row.pop("offset"), row.pop("size")
        try:
            data = self.images.read(path, offset, size)
        except OSError as error:
            reason = error.strerror or error
            raise UnreadableImage(f"{path}: {reason}", row["image_id"]) from error
        try:
            return {**row, "image": decode(data, path), **self._alpha(row["image_id"])}
        except UnreadableImage as error:
            error.image_id = row["image_id"]
            raise


    def _alpha(self, image_id):
        """{"alpha": the object's alpha as a grey PIL image} where there are such files."""
        if self.alphas is None:
            return {}
        return {"alpha": decode((self.alphas / f"{image_id}.png").read_bytes(), image_id)}


class Skipped:
    """What could not be read, one CSV file a process in `folder`: skipped-*.csv."""

    def __init__(self, folder):
        self.folder, self.known = Path(folder), set()

    def note(self, error):
        """Log an UnreadableImage and write it down, once a process."""
        if error.image_id in self.known:
            return
        self.known.add(error.image_id)
        logger.warning("skipped %s: %s", error.image_id, error)
        path = self.folder / f"skipped-{socket.gethostname()}-{os.getpid()}.csv"
        with open(path, "a", newline="", encoding="utf8") as file:
            csv.writer(file).writerow((error.image_id, error))

    def read(self):
        """{image_id: reason} of all processes, those of earlier sittings included."""
        found = {}
        for path in sorted(self.folder.glob("skipped-*.csv")):
            with open(path, newline="", encoding="utf8") as file:
                found |= {row[0]: row[1] for row in csv.reader(file) if len(row) == 2}
        return found
