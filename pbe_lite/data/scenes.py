"""Scenes as training data: rendered once to disk, or on the fly with any sprite."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from pbe_lite.config import RUNS
from pbe_lite.data.box_index import whole
from pbe_lite.data.colours import COLOURS
from pbe_lite.data.open_images import COLUMNS, load_open_images
from pbe_lite.data.tabletop import (
    FIRST_TRAINING_SEED,
    Scene,
    draw_hue,
    kind_names,
    sprite_files,
)


def labels():
    """All that a caption may call a kind: "red cactus", "orange cactus", ..."""
    return [f"{colour} {kind}" for kind in kind_names() for colour in COLOURS]


def write_tabletop(folder, seeds, size=128, split="train"):
    """Render `Scene(seed)` for all `seeds` into `folder` in Open Images' layout.

    The alpha of each object goes to `<split>-alpha/<ImageID>.png`.  Does nothing when the
    annotations are already there: they are written last.  Raises ValueError when those
    are of other scenes."""
    folder = Path(folder)
    annotations = folder / f"{split}-annotations-bbox.csv"
    if annotations.exists():
        with open(annotations, newline="", encoding="utf8") as f:
            there = [row["ImageID"] for row in csv.DictReader(f)]
        if there != [f"{seed:016x}" for seed in seeds]:
            raise ValueError(f"folder {folder} holds other scenes of {split!r} than those "
                             "asked for: delete it, or give another")
        return folder
    for part in (split, f"{split}-alpha"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    codes = {label: f"/t/{i:03d}" for i, label in enumerate(labels())}
    _write_csv(folder / "class-descriptions-boxable.csv",
               [(code, label) for label, code in codes.items()])
    rows = []
    for seed in tqdm(seeds, desc=f"rendering {size} px scenes", unit="scene"):
        scene = Scene(seed)
        render = scene.render(size)
        image_id = f"{seed:016x}"
        Image.fromarray(render.image).save(folder / split / f"{image_id}.jpg", quality=95)
        alpha = (255 * render.alpha + .5).astype(np.uint8)
        Image.fromarray(alpha).save(folder / f"{split}-alpha" / f"{image_id}.png")
        x0, y0, x1, y1 = render.box
        rows.append((image_id, "tabletop", codes[scene.label], 1, x0, x1, y0, y1,
                     0, 0, 0, 0, 0))
    _write_csv(annotations, [COLUMNS, *rows])
    return folder


def _write_csv(path, rows):
    with whole(path) as partial, open(partial, "w", newline="", encoding="utf8") as f:
        csv.writer(f).writerows(rows)


def training_records(preset, kinds=None, runs=RUNS):
    """The training scenes of the preset, rendered once under `runs`.

    kinds: only scenes of these, out of as many seeds.  Raises ValueError for a name that
    is no trained kind."""
    unknown = set(kinds or ()) - set(kind_names("train"))
    if unknown:
        raise ValueError(f"kinds must be of {', '.join(kind_names('train'))}; got "
                         f"{', '.join(sorted(unknown))}")
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + preset.scenes)
    folder = Path(runs) / f"tabletop-{preset.resolution}"
    if kinds:
        seeds = [s for s in seeds if Scene(s).name in kinds]
        folder = folder.with_name(f"{folder.name}-{len(kinds)}-kinds")
    return load_open_images(write_tabletop(folder, seeds, preset.resolution),
                            area=preset.area)


class FreshScenes:
    """Training scenes that are drawn when they are asked for: a share `wide` of them shows
    a sprite that is none of the 48 kinds.  No object has a hue of its unseen arc."""

    def __init__(self, count, size, wide):
        self.count, self.size, self.wide = count, size, wide
        self.kinds = kind_names()
        self.others = [n for n in sprite_files() if n not in self.kinds]

    def __len__(self):
        return self.count

    def scene(self, i, rng):
        """`Scene` number `i`; its object and hue are drawn from `rng`."""
        names = self.others if rng.uniform() < self.wide else self.kinds
        name = names[rng.integers(len(names))]
        return Scene(FIRST_TRAINING_SEED + i, name, draw_hue(rng, name))
