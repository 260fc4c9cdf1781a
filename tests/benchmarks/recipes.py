"""What each part of the lite recipe is worth: 8 kinds from scratch, one thing taken away.

    python tests/benchmarks/recipes.py --samples 16000       # about 4 minutes a row
    python tests/benchmarks/recipes.py --rows all --samples 20000

Every row trains the whole method (class token, augmentation, null vector) without a prior
on the same scenes with the same seed, and is judged on 72 pairs, 24 of them in hues that
were never trained.  Writes `data/results/recipes.json`: samples a second, minutes until
the judge names .60 of the seen pairs at guidance 2.5, and what it names in the end.
Nothing else may run beside it.
"""

import argparse
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pbe_lite.config import DATA, LITE, RUNS, WEIGHTS
from pbe_lite.data.scenes import training_records
from pbe_lite.evaluation.benchmark import make_pair, split_of
from pbe_lite.evaluation.evaluate import right_colour, right_kinds
from pbe_lite.evaluation.judge import load_judge
from pbe_lite.evaluation.painting import paint_pairs
from pbe_lite.pipeline import PaintByExamplePipeline
from pbe_lite.training.losses import build_objective
from pbe_lite.training.trainer import Run

KINDS = ["cactus", "hamburger", "penguin", "mushroom", "automobile", "house", "teapot",
         "chair"]
SHORT = replace(LITE, batch_size=16)  # in minutes, more steps tell more than larger ones
GUIDANCE = (1.0, 2.5, 4.0)
PLAIN_UNET = {k: v for k, v in LITE.unet.items()
              if k not in ("class_embed_type", "projection_class_embeddings_input_dim")}
FIRST_UNET = {k: v for k, v in PLAIN_UNET.items() if k != "resnet_time_scale_shift"}
ROWS = {
    "all": SHORT,
    "without scale and shift": replace(SHORT, unet=PLAIN_UNET),
    "without hole coordinates": replace(SHORT, hole_octaves=0),
    "without alpha": replace(SHORT, alpha_weight=0),
    "batches of 32": LITE,
    "AdamW in place of Muon": replace(SHORT, muon_lr=0),
    "Muon at 5e-3": replace(SHORT, muon_lr=5e-3),
    "uniform time steps": replace(SHORT, timesteps=()),
    "constant rate in place of the line": replace(SHORT, decay_from=1),
    "none of these": replace(
        SHORT, hole_octaves=0, alpha_weight=0, decoder_noise=0, muon_lr=5e-3,
        warmup_steps=200, warmup_share=0, unet=FIRST_UNET),
}


def benchmark_pairs():
    """48 seen pairs and 24 in hues never trained, of the 8 kinds."""
    pairs = [make_pair(i, kinds=KINDS) for i in range(96) if split_of(i) != "new_kind"]
    return ([p for p in pairs if p.split == "seen"],
            [p for p in pairs if p.split == "new_colourway"])


def load(run, folder):
    """The pipeline of a run's averaged weights, as they are now."""
    shutil.rmtree(folder / "weights", ignore_errors=True)
    run.export()
    pipe = PaintByExamplePipeline.from_pretrained(folder / "weights")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def rate(pipe, judge, pairs, guidance, steps=15):
    """{"right_kind", "right_colour"}, the share of pairs."""
    _, results = paint_pairs(pipe, pairs, guidance, steps, batch_size=24)
    colours = [right_colour(p, r) for p, r in zip(pairs, results, strict=True)]
    return {"right_kind": float(right_kinds(pairs, results, judge).mean()),
            "right_colour": float(np.mean(colours))}, results


def train_row(name, preset, samples, folder, weights, every=4000, runs=RUNS, seed=0):
    """One row of the table, as a dict; the run's folder keeps weights and pictures."""
    seen, unseen = benchmark_pairs()
    judge = load_judge(weights / "judge")
    torch.manual_seed(seed)
    objective = build_objective("final_scratch", preset, training_records(
        preset, KINDS, runs), weights, seed)
    shutil.rmtree(folder, ignore_errors=True)
    run = Run(objective, folder, samples, seed=seed)
    curve, paused = [], 0

    def watch(entry):
        nonlocal paused
        if every and entry["samples"] % every < 50 * preset.batch_size:
            begun = time.monotonic()
            found, _ = rate(load(run, folder), judge, seen, 2.5)
            curve.append((entry["samples"], found["right_kind"]))
            paused += time.monotonic() - begun

    begun = time.monotonic()
    run.train(checkpoint_minutes=60, callback=watch)
    seconds = time.monotonic() - begun - paused
    pipe = load(run, folder)
    row = {"samples": samples, "minutes": seconds / 60,
           "samples_per_second": samples / seconds, "curve": curve}
    row["minutes_to_60"] = next((n / row["samples_per_second"] / 60 for n, share in curve
                                 if share >= .6), None)
    for split, pairs in (("seen", seen), ("new_colourway", unseen)):
        row[split] = {}
        for g in GUIDANCE:
            row[split][str(g)], results = rate(pipe, judge, pairs, g)
            np.save(folder / f"{split}-{g}.npy", np.array(results))
    run.close()
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", nargs="*", default=list(ROWS))
    parser.add_argument("--samples", type=int, default=16_000)
    parser.add_argument("--every", type=int, default=4000)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--json", type=Path, default=DATA / "results" / "recipes.json")
    args = parser.parse_args()
    table = json.loads(args.json.read_text()) if args.json.exists() else {"rows": {}}
    for name in args.rows:
        folder = args.runs / "recipes" / name.replace(" ", "_")
        row = train_row(name, ROWS[name], args.samples, folder, args.weights, args.every,
                        args.runs)
        table["rows"][f"{name} ({args.samples:,})"] = row
        print(name, json.dumps(row))
        args.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
