"""python -m pbe_lite.train: its options, and the run that they ask for."""

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path

import torch

from pbe_lite.config import ARMS, PRESETS, RUNS, WEIGHTS
from pbe_lite.data.custom import load_data
from pbe_lite.data.open_images import load_open_images, write_tabletop
from pbe_lite.data.tabletop import FIRST_TRAINING_SEED
from pbe_lite.errors import one_line
from pbe_lite.training.checkpoint import claim
from pbe_lite.training.distributed import build_accelerator
from pbe_lite.training.initialize import from_model
from pbe_lite.training.losses import build_objective
from pbe_lite.training.preview import unseen_scenes
from pbe_lite.training.trainer import Run

SAMPLES = {"clip": 96_000, "codec": 48_000, "prior": 88_000}  # the arms: ARM_SAMPLES
ARM_SAMPLES = 390_000
PARTS = ("clip", "codec", "prior")  # what lite arms need, trained before them


def _numbers(parser):
    add = parser.add_argument
    add("--batch-size", type=int, help="of the whole run; ranks share it out")
    add("--accumulate", type=int, default=1, metavar="K",
        help="a rank computes its share of a batch in K parts: less memory")
    add("--lr", type=float, help="AdamW's peak rate")
    add("--warmup", type=int, metavar="STEPS",
        help="steps until the rate has reached its peak; the paper: 10,000")
    add("--precision", choices=("no", "bf16"), help="no: float32, as the paper")
    add("--ema", type=float, help="decay of the averaged weights, 0 for none")
    add("--adam8bit", action="store_true", help="AdamW of bitsandbytes: less memory")
    add("--checkpointing", action="store_true",
        help="compute activations twice in place of keeping them: less memory")


def _folders(parser):
    add = parser.add_argument
    add("--data", type=Path, help="a folder in Open Images' layout, or of your own data")
    add("--split", default="train", help="of Open Images")
    add("--held-out", type=Path, metavar="FOLDER",
        help="the preview's pictures, in a layout of --data; of Open Images the split "
             "validation; default for lite: scenes that no run trains on")
    add("--area", type=float, nargs=2, metavar=("LEAST", "MOST"),
        help="share of the picture that a box must cover; default: .02 .8")
    add("--index", type=Path, help="where the index is made; default: in --data")
    add("--weights", type=Path, default=WEIGHTS,
        help="where the parts trained before lie (clip, codec, prior)")
    add("--init", help="start an arm from this model: of Paint by Example, or Stable "
                       "Diffusion 1.x; a folder or a hub's name")
    add("--tower", help="the CLIP model that goes with Stable Diffusion")
    add("--out", type=Path, help="default: runs/<arm>")


def read_options(argv):
    """The options as a namespace; `preset` is the preset itself, changed as they say.

    Wrong options end the program, as argparse does."""
    parser = argparse.ArgumentParser(prog="pbe_lite.train",
                                     description="Train one arm, or a part it needs.")
    add = parser.add_argument
    add("--preset", choices=PRESETS, default="lite")
    add("--arm", choices=[*PARTS, *ARMS], default="final")
    add("--minutes", type=float, default=math.inf, help="of this sitting")
    add("--samples", type=int, help="of the whole run, over all sittings")
    add("--seed", type=int, default=0)
    add("--workers", type=int, default=1, help="data processes of each rank")
    add("--log", help="tensorboard, or another of accelerate's trackers")
    add("--checkpoint-minutes", type=float, default=5)
    add("--preview-minutes", type=float, metavar="N",
        help="every so often, paint pictures never trained on and note their loss")
    add("--keep", type=int, default=2, help="how many checkpoints stay")
    _numbers(parser)
    _folders(parser)
    args = parser.parse_args(argv)
    args.preset = change_preset(PRESETS[args.preset], args)
    _check(parser, args)
    return args


def change_preset(preset, args):
    """The preset with what the options say in place of its own values."""
    given = {"batch_size": args.batch_size, "lr": args.lr,
             "warmup_steps": args.warmup, "precision": args.precision,
             "ema_decay": args.ema, "adam8bit": args.adam8bit or None,
             "init": args.init, "tower": args.tower,
             "area": args.area and tuple(args.area)}
    return replace(preset, **{k: v for k, v in given.items() if v is not None})


def _check(parser, args):
    if args.arm not in ARMS:
        if args.init:
            parser.error(f"--init is for the arms {', '.join(ARMS)}, not for {args.arm}")
        if not args.preset.scenes:
            parser.error(f"--arm {args.arm} is a lite part: {args.preset.name} starts from "
                         "--init")
    if not args.preset.scenes and not args.data:
        parser.error(f"--preset {args.preset.name} needs --data, a folder of photographs")
    if args.checkpointing and args.arm in ("clip", "codec"):
        parser.error(f"--checkpointing is for U-Nets, not for {args.arm}")
    if args.preview_minutes is not None:
        if args.arm not in ARMS:
            parser.error(f"--preview-minutes is for the arms {', '.join(ARMS)}")
        if args.data and not args.held_out:
            parser.error("--preview-minutes needs --held-out, a folder of pictures that "
                         "are not in --data")
        if not args.preview_minutes > 0:
            parser.error("--preview-minutes must be more than 0")
    elif args.held_out:
        parser.error("--held-out is for --preview-minutes: give that too")
    if args.arm in ("clip", "codec") and (args.lr or args.batch_size):
        parser.error(f"--lr and --batch-size are not for {args.arm}, which has its own")
    for name in ("accumulate", "keep", "warmup", "batch_size", "samples"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    for name in ("seed", "workers", "minutes", "checkpoint_minutes"):
        if not getattr(args, name) >= 0:  # nan is not, either
            parser.error(f"--{name.replace('_', '-')} must be at least 0")
    if args.lr is not None and not 0 < args.lr < math.inf:
        parser.error(f"--lr must be a positive number, got {args.lr}")
    if args.ema is not None and not 0 <= args.ema < 1:
        parser.error(f"--ema must be at least 0 and below 1, got {args.ema}")


def lite_records(preset):
    """The miniature world's training scenes, rendered once under `runs/`."""
    folder = RUNS / f"tabletop-{preset.resolution}"
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + preset.scenes)
    return load_open_images(write_tabletop(folder, seeds, preset.resolution))


def held_out_records(args):
    """What the previews are of, or None without previews.

    Raises ValueError for the very pictures that are trained on."""
    if args.preview_minutes is None:
        return None
    if not args.held_out:
        return unseen_scenes(args.preset)
    validation = any(args.held_out.glob("*validation-annotations-bbox.csv"))
    split = "validation" if validation else args.split
    if args.held_out.resolve() == args.data.resolve() and split == args.split:
        raise ValueError(f"--held-out must hold other pictures than --data: {args.data}")
    return load_data(args.held_out, split, args.preset.area)


def main(argv=None):
    """Options, data, model, loop: all of a run, in this order."""
    argv = sys.argv[1:] if argv is None else argv
    with one_line():
        train(read_options(argv), "python -m pbe_lite.train " + " ".join(argv))


def train(args, command):
    """The run that the options of `read_options` ask for.

    Raises ValueError, OSError and FloatingPointError for what cannot be used."""
    preset, folder = args.preset, args.out or RUNS / args.arm
    accelerator = build_accelerator(preset, folder, args.log)
    # Told before anything is loaded; held until the end.
    lock = claim(folder) if accelerator.is_main_process else None
    torch.manual_seed(args.seed)
    # A wrong model is told before data are prepared.
    start = from_model(preset.init, preset, ARMS[args.arm], preset.tower) \
        if preset.init else None
    with accelerator.main_process_first():  # the others find the index made
        records = load_data(args.data, args.split, preset.area, args.index) \
            if args.data else lite_records(preset)
        held_out = held_out_records(args)
    objective = build_objective(args.arm, preset, records, args.weights, args.seed, start)
    if args.checkpointing:
        objective.unet.enable_gradient_checkpointing()
    samples = args.samples or SAMPLES.get(args.arm) or \
        preset.epochs * len(records) or ARM_SAMPLES
    if args.log:
        accelerator.init_trackers("log", {
            "arm": args.arm, "preset": preset.name, "seed": args.seed, "samples": samples,
            "batch_size": preset.batch_size, "lr": preset.lr})

    run = Run(objective, folder, samples, args.seed, accelerator, args.workers,
              args.accumulate, args.keep, held_out)
    done = run.train(args.minutes, args.checkpoint_minutes,
                     preview_minutes=args.preview_minutes or math.inf)
    if held_out and not run.stopped:
        run.preview()
    if not run.stopped:
        run.export(command)
    where = "no weights were exported" if run.stopped else \
        f"weights in {run.folder / 'weights'}"
    run.accelerator.print(
        f"{run.step * run.batch_size:,} samples in {run.seconds / 60:.1f} min; {where}"
        + ("" if done else "; call again to go on"))
    run.close()
    del lock
