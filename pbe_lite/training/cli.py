"""python -m pbe_lite.train: options, data, model, loop, in this order."""

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path

import torch

from pbe_lite.config import ARMS, PRESETS, RUNS, WEIGHTS
from pbe_lite.data.custom import load_data
from pbe_lite.data.scenes import training_records
from pbe_lite.data.tabletop import kind_names
from pbe_lite.errors import one_line
from pbe_lite.training.checkpoint import claim
from pbe_lite.training.distributed import build_accelerator
from pbe_lite.training.initialize import from_model
from pbe_lite.training.losses import build_objective
from pbe_lite.training.preview import unseen_scenes
from pbe_lite.training.trainer import Run

SAMPLES = {"codec": 64_000, "clip": 256_000, "prior": 80_000, "final": 240_000}
ARM_SAMPLES = 64_000  # of the other arms, and of "final" where arms are compared
PARTS = ("clip", "codec", "prior")  # what lite arms need, trained before them
CHANGES = ("batch_size", "lr", "warmup_steps", "precision", "ema_decay", "adam8bit",
           "init", "tower", "area")  # options that change the preset, by its own names


def main(argv=None):
    """Train, and export what was trained; the command itself."""
    argv = sys.argv[1:] if argv is None else argv
    preset, options = read_options(argv)
    with one_line():
        train(preset, options, "python -m pbe_lite.train " + " ".join(argv))


def train(preset, options, command):
    """The run that `read_options` tells of.

    Raises ValueError, OSError and FloatingPointError for what cannot be used."""
    # The engine, and the folder: told before anything is loaded, held until the end.
    folder = options.out or RUNS / options.arm
    accelerator = build_accelerator(preset, folder, options.log)
    lock = claim(folder) if accelerator.is_main_process else None

    # A model to start from comes first: a wrong one is told before data are prepared.
    torch.manual_seed(options.seed)
    start = from_model(preset.init, preset, ARMS[options.arm], preset.tower) \
        if preset.init else None

    # The data.  The main process makes the index, the others find it made.
    with accelerator.main_process_first():
        records = load_records(preset, options)
        held_out = held_out_records(preset, options)
    preset = fit_loss(options.arm, preset, records, accelerator.print)

    # The model, with its loss.
    objective = build_objective(options.arm, preset, records, options.weights,
                                options.seed, start)
    if options.checkpointing:
        objective.unet.enable_gradient_checkpointing()
    samples = options.samples or default_samples(options.arm, preset, records)
    if options.log:
        accelerator.init_trackers("log", {
            "arm": options.arm, "preset": preset.name, "seed": options.seed,
            "samples": samples, "batch_size": preset.batch_size, "lr": preset.lr})

    # The loop.
    run = Run(objective, folder, samples, options.seed, accelerator, options.workers,
              options.accumulate, options.keep, held_out)
    done = run.train(options.minutes, options.checkpoint_minutes,
                     preview_minutes=options.preview_minutes or math.inf)

    # What comes out.  After SIGTERM there may be no time for it.
    where = "no weights were exported"
    if not run.stopped:
        if held_out:
            run.preview()
        run.export(command)
        where = f"weights in {folder / 'weights'}"
    accelerator.print(f"{run.step * run.batch_size:,} samples in {run.seconds / 60:.1f} "
                      f"min; {where}" + ("" if done else "; call again to go on"))
    run.close()
    del lock


def load_records(preset, options):
    """The data that are given, or the miniature world's training scenes, rendered once
    under `runs/`; None for the CLIP, which renders scenes of its own."""
    if options.data:
        return load_data(options.data, options.split, preset.area, options.index)
    if options.arm == "clip":
        return None
    return training_records(preset, options.kinds, RUNS)


def fit_loss(arm, preset, records, say=print):
    """The preset without the loss on the object's alpha, where the data have none: only
    the miniature world's do.  CLIP and codec have no such loss."""
    if arm in ("clip", "codec") or not preset.alpha_weight or records.alphas is not None:
        return preset
    say("these data hold no alpha of the objects: trained without the loss on it")
    return replace(preset, alpha_weight=0)


def default_samples(arm, preset, records):
    """How many a whole run sees: the preset's epochs, or what the shipped weights saw."""
    if preset.epochs:
        return preset.epochs * len(records)
    return SAMPLES.get(arm, ARM_SAMPLES)


def held_out_records(preset, options):
    """What the previews are of, or None without previews.

    Raises ValueError for the very pictures that are trained on."""
    if options.preview_minutes is None:
        return None
    if not options.held_out:
        return unseen_scenes(preset, options.kinds)
    validation = any(options.held_out.glob("*validation-annotations-bbox.csv"))
    split = "validation" if validation else options.split
    same = options.data and options.held_out.resolve() == options.data.resolve()
    if same and split == options.split:
        raise ValueError(f"--held-out must hold other pictures than --data: {options.data}")
    return load_data(options.held_out, split, preset.area)


def read_options(argv):
    """(preset, options): the scale, with what the options change of it, and the options.

    Wrong ones end the program with exit code 2, as argparse does."""
    parser = build_parser()
    options = parser.parse_args(argv)
    given = {name: getattr(options, name) for name in CHANGES}
    given["area"] = options.area and tuple(options.area)
    preset = replace(PRESETS[options.preset],
                     **{name: value for name, value in given.items() if value is not None})
    check_numbers(parser, options)
    check_together(parser, preset, options)
    return preset, options


def build_parser():
    """All options, in the groups in which `train` uses them."""
    parser = argparse.ArgumentParser(prog="pbe_lite.train",
                                     description="Train one arm, or a part it needs.")
    add = parser.add_argument_group("what").add_argument
    add("--preset", choices=PRESETS, default="lite")
    add("--arm", choices=[*PARTS, *ARMS], default="final")
    add("--seed", type=int, default=0)
    add("--out", type=Path, help="default: runs/<arm>")

    add = parser.add_argument_group("data").add_argument
    add("--data", type=Path, help="a folder in Open Images' layout, or of your own data")
    add("--split", default="train", help="of Open Images")
    add("--area", type=float, nargs=2, metavar=("LEAST", "MOST"),
        help="share of the picture that a box must cover; default: .02 .8")
    add("--kinds", nargs="+", choices=kind_names("train"), metavar="KIND",
        help="of the miniature world, only scenes of these, as cactus crown")
    add("--index", type=Path, help="where the index is made; default: in --data")
    add("--workers", type=int, default=1, help="data processes of each rank")

    add = parser.add_argument_group("model").add_argument
    add("--weights", type=Path, default=WEIGHTS,
        help="where the parts trained before lie (clip, codec, prior)")
    add("--init", help="start an arm from this model: of Paint by Example, or Stable "
                       "Diffusion 1.x; a folder or a hub's name")
    add("--tower", help="the CLIP model that goes with Stable Diffusion")

    add = parser.add_argument_group("steps").add_argument
    add("--samples", type=int, help="of the whole run, over all sittings")
    add("--batch-size", type=int, help="of the whole run; ranks share it out")
    add("--accumulate", type=int, default=1, metavar="K",
        help="a rank computes its share of a batch in K parts: less memory")
    add("--lr", type=float, help="AdamW's peak rate")
    add("--warmup", type=int, metavar="STEPS", dest="warmup_steps",
        help="steps until the rate has reached its peak; the paper: 10,000")
    add("--precision", choices=("no", "bf16"), help="no: float32, as the paper")
    add("--ema", type=float, dest="ema_decay",
        help="decay of the averaged weights, 0 for none")
    add("--adam8bit", action="store_true", default=None,
        help="AdamW of bitsandbytes: less memory")
    add("--checkpointing", action="store_true",
        help="compute activations twice in place of keeping them: less memory")

    add = parser.add_argument_group("sitting").add_argument
    add("--minutes", type=float, default=math.inf, help="of this sitting")
    add("--checkpoint-minutes", type=float, default=5)
    add("--keep", type=int, default=2, help="how many checkpoints stay")
    add("--log", help="tensorboard, or another of accelerate's trackers")
    add("--preview-minutes", type=float, metavar="N",
        help="every so often, paint pictures never trained on and note their loss")
    add("--held-out", type=Path, metavar="FOLDER",
        help="the preview's pictures, in a layout of --data; of Open Images the split "
             "validation; default for lite: scenes that no run trains on")
    return parser


def check_numbers(parser, options):
    """End the program for a number that cannot be."""
    least = {"accumulate": 1, "keep": 1, "warmup_steps": 1, "batch_size": 1, "samples": 1,
             "seed": 0, "workers": 0, "minutes": 0, "checkpoint_minutes": 0}
    for name, low in least.items():
        value = getattr(options, name)
        if value is not None and not value >= low:  # nan is not, either
            option = "warmup" if name == "warmup_steps" else name.replace("_", "-")
            parser.error(f"--{option} must be at least {low}")
    if options.lr is not None and not 0 < options.lr < math.inf:
        parser.error(f"--lr must be a positive number, got {options.lr}")
    if options.ema_decay is not None and not 0 <= options.ema_decay < 1:
        parser.error(f"--ema must be at least 0 and below 1, got {options.ema_decay}")
    if options.preview_minutes is not None and not options.preview_minutes > 0:
        parser.error("--preview-minutes must be more than 0")


def check_together(parser, preset, options):
    """End the program for options that do not go together."""
    arm, preview = options.arm, options.preview_minutes is not None
    if arm not in ARMS and options.init:
        parser.error(f"--init is for the arms {', '.join(ARMS)}, not for {arm}")
    if arm not in ARMS and not preset.scenes:
        parser.error(f"--arm {arm} is a lite part: {preset.name} starts from --init")
    if not preset.scenes and not options.data:
        parser.error(f"--preset {preset.name} needs --data, a folder of photographs")
    if arm in ("clip", "codec") and options.checkpointing:
        parser.error(f"--checkpointing is for U-Nets, not for {arm}")
    own = {"clip": ("batch_size",), "codec": ("lr", "batch_size")}.get(arm, ())
    for name in filter(lambda name: getattr(options, name), own):
        parser.error(f"--{name.replace('_', '-')} is not for {arm}, which has its own")
    if options.kinds and (options.data or arm == "clip"):
        parser.error("--kinds is for the miniature world's training scenes: not for "
                     + ("--data" if options.data else "clip, which sees all sprites"))
    if options.data and arm == "clip":
        parser.error("--data is not for clip, which renders its own scenes")
    if preview and arm not in ARMS:
        parser.error(f"--preview-minutes is for the arms {', '.join(ARMS)}")
    if preview and options.data and not options.held_out:
        parser.error("--preview-minutes needs --held-out, a folder of pictures that are "
                     "not in --data")
    if options.held_out and not preview:
        parser.error("--held-out is for --preview-minutes: give that too")
