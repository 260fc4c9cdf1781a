"""Train a part of the second edition:  python -m pbe_lite.second.train --arm clip"""

import argparse
import math
from dataclasses import replace
from pathlib import Path

import torch

from pbe_lite.config import ARMS, BOLD, DATA, RUNS
from pbe_lite.second.clip import WideContrastive
from pbe_lite.second.judge import JudgeTraining
from pbe_lite.second.scenes import training_records
from pbe_lite.training.losses import build_objective
from pbe_lite.training.trainer import Run

WEIGHTS = DATA / "second"
SAMPLES = {"clip": 256_000, "codec": 64_000, "judge": 96_000, "prior": 112_000,
           "final": 640_000}
ARM_SAMPLES = 112_000


def build(arm, preset, weights=WEIGHTS, seed=0, kinds=None, runs=RUNS):
    """The objective called `arm` on the second world."""
    torch.manual_seed(seed)
    if arm == "clip":
        return WideContrastive(preset, seed=seed)
    if arm == "judge":
        return JudgeTraining(preset, weights, seed=seed)
    records = training_records(preset, kinds, runs)
    return build_objective(arm, preset, records, weights, seed)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--arm", choices=("clip", "codec", "judge", "prior", *ARMS))
    parser.add_argument("--samples", type=int)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--plain", action="store_true", help="without scale and shift")
    args = parser.parse_args()
    preset = BOLD
    if args.plain:
        unet = {k: v for k, v in BOLD.unet.items() if k not in (
            "class_embed_type", "projection_class_embeddings_input_dim")}
        preset = replace(BOLD, unet=unet)
    objective = build(args.arm, preset, args.weights, runs=args.runs)
    samples = args.samples or SAMPLES.get(args.arm, ARM_SAMPLES)
    workers = 2 if args.arm in ("clip", "judge") else 1  # these render their scenes
    run = Run(objective, args.out or args.runs / "second" / args.arm, samples,
              workers=workers)
    done = run.train(args.minutes)
    run.export(f"python -m pbe_lite.second.train --arm {args.arm}")
    print("done" if done else "call again to go on")
    run.close()


if __name__ == "__main__":
    main()
