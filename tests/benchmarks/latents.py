"""Which latents for the lite models?  The same arm on every candidate, then compared.

    python tests/benchmarks/latents.py --codec-samples 16000 --arm-samples 16000

Each candidate (resolution, patch size, latent channels) gets its own codec, then the
`final` arm without a prior, on the same number of samples; written
to data/results/latents.json with pictures under runs/latents/.  Run it on an idle machine:
the minutes are part of the answer.
"""

import argparse
import dataclasses
import json

import numpy as np
import torch
from PIL import Image

from pbe_lite.config import LITE, RESULTS, RUNS, WEIGHTS
from pbe_lite.data.augmentation import squash
from pbe_lite.data.scenes import training_records
from pbe_lite.data.tabletop import HELD_OUT_SEEDS, Scene
from pbe_lite.data.triplets import to_signed
from pbe_lite.evaluation.benchmark import make_pair
from pbe_lite.evaluation.evaluate import score_row, write_json
from pbe_lite.evaluation.painting import paint_pairs
from pbe_lite.pipeline import PaintByExamplePipeline, to_bytes
from pbe_lite.training import losses
from pbe_lite.training.trainer import Run

CANDIDATES = ((128, 8, 8), (128, 8, 16), (64, 4, 4))


@torch.no_grad()
def codec_figures(codec, size):
    """PSNR in dB on 200 held-out scenes, over the picture and over the object's box."""
    squares, boxed = [], []
    for seed in HELD_OUT_SEEDS[:200]:
        render = Scene(seed).render(size)
        out = to_bytes(codec(to_signed(render.image)[None]))[0].astype(float)
        error = (out - render.image) ** 2
        x0, y0, x1, y1 = (round(v * size) for v in render.box)
        squares.append(error.mean())
        boxed.append(error[y0:y1, x0:x1].mean())
    psnr = lambda errors: round(float(10 * np.log10(255 ** 2 / np.mean(errors))), 2)
    return {"psnr": psnr(squares), "psnr_in_box": psnr(boxed)}


def train(arm, preset, records, folder, samples):
    weights = folder if arm != "codec" else None
    torch.manual_seed(0)
    objective = losses.build_objective(arm, preset, records, weights)
    run = Run(objective, folder / f"{arm}-run", samples)
    run.train()
    run.export()
    return run


def candidate(size, patch, channels, args, records):
    preset = dataclasses.replace(LITE, resolution=size, latent_factor=patch,
                                 latent_channels=channels)
    folder = RUNS / "latents" / f"{size}px-f{patch}-c{channels}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in (("clip", WEIGHTS / "clip"),
                         ("codec", folder / "codec-run" / "weights")):
        if not (folder / name).exists():
            (folder / name).symlink_to(source)
    row = {"resolution": size, "patch": patch, "channels": channels}
    run = train("codec", preset, records, folder, args.codec_samples)
    row |= codec_figures(run.objective.codec.eval(), size)
    row["codec_minutes"] = round(run.seconds / 60, 1)
    run = train("final_scratch", preset, records, folder, args.arm_samples)
    pipe = PaintByExamplePipeline.from_pretrained(folder / "final_scratch-run" / "weights")
    pipe.set_progress_bar_config(disable=True)
    pairs = [make_pair(i, size) for i in range(0, 96, 2)]
    raw, results = paint_pairs(pipe, pairs, guidance_scale=4)
    pictures = [np.concatenate([p.source.image, squash(p.exemplar, size), r, p.truth.image])
                for p, r in zip(pairs[:12], raw, strict=False)]
    Image.fromarray(np.concatenate(pictures, 1)).save(folder / "pictures.png")
    values = score_row(pairs, raw, results)["seen"]
    row |= {"arm_minutes": round(run.seconds / 60, 1),
            **{m: round(values[m]["mean"], 3) for m in
               ("right_kind", "leak", "clip_score", "light", "seam")}}
    print(json.dumps(row), flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--codec-samples", type=int, default=16_000)
    parser.add_argument("--arm-samples", type=int, default=16_000)
    args = parser.parse_args()
    records = training_records(LITE)
    rows = [candidate(*c, args, records) for c in CANDIDATES]
    write_json({"samples": vars(args), "rows": rows}, RESULTS / "latents.json")


if __name__ == "__main__":
    main()
