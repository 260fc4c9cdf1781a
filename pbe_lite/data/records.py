"""Images with boxes, by number, in any order; and a log of those that cannot be read."""

import csv
import logging
import os
import socket
from pathlib import Path

from pbe_lite.data.box_index import open_index
from pbe_lite.data.images import UnreadableImage, finish, load, orientation

logger = logging.getLogger("pbe_lite.data")


def orient(image, size, upright=True):
    """(whether to turn `image` upright, why its boxes are not certain or None).

    image: as `images.load` gives it; size: (width, height) of the picture that its boxes
    were drawn on, 0 where nobody says, -1 where that is contradictory; upright: whether
    boxes without a size are of the upright picture, or of the pixels as they are stored."""
    turn = orientation(image)
    stored = image.size
    shown = stored[::-1] if turn > 4 else stored
    if size == (0, 0):
        return upright, None
    if min(size) < 0:
        return upright, "its boxes are of several images, or of several sizes of this one"
    if size in (stored, shown):
        fits = [size == stored, size == shown]
    else:
        fits = [same_shape(size, stored), same_shape(size, shown)]
    if not any(fits):
        return upright, f"its boxes are of {size[0]} x {size[1]}, the file is " \
                        f"{shown[0]} x {shown[1]}"
    if all(fits) and turn != 1:
        return upright, f"EXIF turns it (orientation {turn}), whether before or after " \
                        "its boxes were drawn is not certain: save it turned"
    return fits[1], None


def same_shape(size, other):
    """Whether two sizes (width, height) are of one picture, enlarged or not, to 2 px."""
    return abs(size[0] * other[1] - size[1] * other[0]) <= 2 * max(other)


class Records:
    """`records[i]`: a dict of `image_id`; `image`, an RGB PIL image read when it is asked
    for; `boxes`, N times x0, y0, x1, y1 as fractions; `labels`, N names; and `fault` where
    it is not certain that the boxes are of this picture: then it is not for training.

    upright: see `orient`.  `dataset` is the index as a `datasets.Dataset`, without the
    images; `info` is the content of index.json.  `records[i]` raises UnreadableImage where
    the image cannot be read, IndexError beyond the end."""

    def __init__(self, index, images, alphas=None, upright=True):
        self.images, self.alphas, self.upright = images, alphas, upright
        self.dataset, self.info = open_index(index)

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, i):
        row = self.dataset[i]
        size = row.pop("width"), row.pop("height")
        path = row.pop("path")
        place = path, row.pop("offset"), row.pop("size")
        try:
            stored = load(self._read(place), path)
            upright, fault = orient(stored, size, self.upright)
            image = finish(stored, path, upright)
            alpha = self._alpha(row["image_id"])
        except UnreadableImage as error:
            error.image_id = row["image_id"]
            raise
        return {**row, "image": image, **alpha, **({"fault": fault} if fault else {})}

    def _read(self, place):
        try:
            return self.images.read(*place)
        except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
            reason = getattr(error, "strerror", None) or error
            raise UnreadableImage(f"{place[0]}: {reason}") from error

    def _alpha(self, image_id):
        """{"alpha": the object's alpha as a grey PIL image} where there are such files."""
        if self.alphas is None:
            return {}
        return {"alpha": load((self.alphas / f"{image_id}.png").read_bytes(), image_id)}


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
