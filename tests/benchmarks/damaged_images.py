"""100,000 images of which 1 % are truncated, empty, no images, or missing.

    python tests/benchmarks/damaged_images.py
    python tests/benchmarks/damaged_images.py --images 10000 --workers 2

Every image is read once, decoded and made into a triplet by PyTorch's data loader, as in
training.  The counts must be exact, and no good image may be lost.
"""

import argparse
import io
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader
from tqdm import tqdm

from pbe_lite.config import LITE
from pbe_lite.data.box_index import batched, build_index
from pbe_lite.data.records import Records, Skipped
from pbe_lite.data.shards import Folder
from pbe_lite.data.triplets import Triplets
from pbe_lite.training.sampler import Positions

HARMS = ("truncated", "empty", "text", "missing")
PRESET = replace(LITE, resolution=32, exemplar_size=16, batch_size=100)


def harm_of(i):
    return HARMS[i // 100 % 4] if i % 100 == 37 else None


def write_images(root, count):
    """Small JPEGs of noise, a hundred patterns by turns; the damaged ones damaged."""
    whole = []
    for i in range(100):
        buffer = io.BytesIO()
        pixels = np.random.default_rng(i).integers(0, 256, (32, 40, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(buffer, "jpeg", quality=90)
        whole.append(buffer.getvalue())
    for i in tqdm(range(count), desc="writing", unit="image"):
        data, harm = whole[i % 100], harm_of(i)
        if harm != "missing":
            half = data[:len(data) // 2]
            harmed = {"truncated": half, "empty": b"", "text": b"text" * 99}
            (root / f"{i:08d}.jpg").write_bytes(harmed.get(harm, data))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        root.mkdir()
        write_images(root, args.images)
        rows = ((f"{i:08d}", .1, .1, .8, .8, str(i)) for i in range(args.images))
        images = Folder(root)
        index = build_index(Path(folder) / "index", batched(rows), images.locate)
        records, skipped = Records(index, images), Skipped(folder)
        steps = args.images // PRESET.batch_size
        loader = DataLoader(Triplets(records, PRESET, skipped=skipped),
                            batch_sampler=Positions(len(records), 100, 0, 0, steps),
                            num_workers=args.workers)
        begun, seen = time.perf_counter(), set()
        for batch in tqdm(loader, desc="reading", unit="batch"):
            seen.update(map(int, batch["name"]))
        seconds = time.perf_counter() - begun
        bad = {i for i in range(args.images) if harm_of(i)}
        found = {int(i) for i in skipped.read()}
        lost = args.images - len(bad) - len(seen)
        print(f"{args.images:,} images in {seconds:.0f} s: {len(found):,} skipped, of "
              f"{len(bad):,} damaged; {lost:,} good ones lost")
        assert found == bad, "the count is wrong"
        assert seen == set(range(args.images)) - bad, "good images were lost"


if __name__ == "__main__":
    main()
