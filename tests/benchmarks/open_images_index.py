"""Time and peak memory of indexing Open Images at its real size.

    python tests/benchmarks/open_images_index.py             # 14.6 M rows, needs 4 GB disk
    python tests/benchmarks/open_images_index.py --rows 1000000

A CSV with Open Images' own 21 columns is generated (kept, if --folder is given), then
indexed in a process of its own, whose peak memory is read from the kernel.  Beside it the
way of the authors' repository, one text file of boxes an image, on a slice.
"""

import argparse
import csv
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

ROWS, IMAGES, CLASSES = 14_610_229, 1_743_042, 601  # of the training split
COLUMNS = ("ImageID Source LabelName Confidence XMin XMax YMin YMax IsOccluded IsTruncated "
           "IsGroupOf IsDepiction IsInside XClick1X XClick2X XClick3X XClick4X XClick1Y "
           "XClick2Y XClick3Y XClick4Y").split()
BLOCK = 500_000
INDEX = """
import json, resource, sys, time
from pbe_lite.data.open_images import load_open_images

begun = time.perf_counter()
records = load_open_images(sys.argv[1])
seconds = time.perf_counter() - begun
begun = time.perf_counter()
for i in range(0, len(records), max(1, len(records) // 10_000)):
    records.dataset[i]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kB on Linux
print(json.dumps({"seconds": seconds, "peak_gb": peak, **records.info,
                  "ms_a_row": (time.perf_counter() - begun) / 10}))
"""


def block(rng, first, rows, images):
    """Rows `first` to `first + rows` of the CSV: images in order, boxes of every size."""
    number = (first + np.arange(rows)) * images // ROWS
    scattered = number.astype(np.uint64) * np.uint64(10_583_274_001_813)
    ids = [f"{n:016x}" for n in scattered.tolist()]  # the real file is in order: easier
    low = rng.uniform(0, .8, (rows, 2))
    high = np.minimum(low + rng.exponential(.25, (rows, 2)) + .01, 1)
    digits = lambda a: pa.array(np.round(a, 6))
    flags = [pa.array(rng.integers(0, 2, rows)) for _ in range(5)]
    clicks = [digits(rng.uniform(0, 1, rows)) for _ in range(8)]
    labels = [f"/m/{code:05x}" for code in rng.integers(0, CLASSES, rows)]
    return pa.table([pa.array(ids), pa.array(["xclick"] * rows), pa.array(labels),
                     pa.array(np.ones(rows, int)), digits(low[:, 0]), digits(high[:, 0]),
                     digits(low[:, 1]), digits(high[:, 1]), *flags, *clicks],
                    names=COLUMNS)


def generate(folder, rows, images):
    """Write the CSV files, unless they are there."""
    path = folder / "train-annotations-bbox.csv"
    (folder / "train").mkdir(parents=True, exist_ok=True)
    with open(folder / "class-descriptions-boxable.csv", "w", newline="") as file:
        csv.writer(file).writerows((f"/m/{c:05x}", f"thing {c}") for c in range(CLASSES))
    if path.exists():
        return path
    rng, writer, partial = np.random.default_rng(0), None, path.with_suffix(".partial")
    with open(partial, "wb") as sink:
        for first in range(0, rows, BLOCK):
            table = block(rng, first, min(BLOCK, rows - first), images)
            writer = writer or arrow_csv.CSVWriter(sink, table.schema)
            writer.write_table(table)
        writer.close()
    partial.replace(path)
    return path


def one_file_an_image(path, folder, images):
    """Seconds for the first `images` images in the authors' way."""
    begun, seen, out = time.perf_counter(), 0, None
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            target = folder / f"{row['ImageID']}.txt"
            if out is None or out.name != str(target):
                seen += 1
                if out:
                    out.close()
                if seen > images:
                    break
                out = open(target, "a")
            corners = (row[c] for c in ("XMin", "YMin", "XMax", "YMax"))
            print(row["LabelName"], *corners, file=out)
    return time.perf_counter() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--slice", type=int, default=20_000, help="images: authors' way")
    parser.add_argument("--folder", type=Path, help="keep the CSV here")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="open-images-"))
    images = max(1, IMAGES * args.rows // ROWS)
    try:
        begun = time.perf_counter()
        path = generate(folder, args.rows, IMAGES)
        print(f"generated {args.rows:,} rows, {path.stat().st_size / 1e9:.2f} GB, in "
              f"{time.perf_counter() - begun:.0f} s")
        for old in folder.glob("index-*"):
            shutil.rmtree(old)
        done = subprocess.run([sys.executable, "-c", INDEX, str(folder)], check=True,
                              capture_output=True, text=True)
        found = json.loads(done.stdout)
        size = sum(p.stat().st_size for p in folder.glob("index-*/*")) / 1e9
        print(f"index: {found['seconds']:.1f} s, peak memory {found['peak_gb']:.2f} GB, "
              f"{size:.2f} GB on disk; {found['boxes']:,} boxes of {found['images']:,} "
              f"images are left; {found['ms_a_row']:.3f} ms a row")
        with tempfile.TemporaryDirectory() as texts:
            seconds = one_file_an_image(path, Path(texts), min(args.slice, images))
        print(f"one text file an image: {seconds:.1f} s for {min(args.slice, images):,} "
              f"images; for all {IMAGES:,}, computed: "
              f"{seconds * IMAGES / min(args.slice, images):.0f} s")
    finally:
        if not args.folder:
            shutil.rmtree(folder)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"peak memory of the indexing process, as its parent saw it: {peak:.2f} GB")


if __name__ == "__main__":
    main()
