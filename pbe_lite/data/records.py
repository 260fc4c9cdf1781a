"""Images with boxes, by number, in any order; and a log of those that cannot be read."""

import csv
import logging
import os
import socket
from pathlib import Path

from pbe_lite.data.box_index import open_index
from pbe_lite.data.images import UnreadableImage, decode

logger = logging.getLogger("pbe_lite.data")


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
