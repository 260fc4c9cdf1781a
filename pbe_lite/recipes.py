"""What the options of training mean: which records, which start, which engine."""

import torch

from pbe_lite.objectives import build_objective
from pbe_lite.openimages import load_open_images, write_tabletop
from pbe_lite.options import build_accelerator
from pbe_lite.owndata import load_data
from pbe_lite.presets import ARMS, RUNS
from pbe_lite.starts import from_model
from pbe_lite.tabletop import FIRST_TRAINING_SEED

SAMPLES = {"clip": 96_000, "codec": 48_000, "prior": 88_000}  # the arms: ARM_SAMPLES
ARM_SAMPLES = 390_000


def lite_records(preset):
    """The miniature world's training scenes, rendered once under `runs/`."""
    folder = RUNS / f"tabletop-{preset.resolution}"
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + preset.scenes)
    return load_open_images(write_tabletop(folder, seeds, preset.resolution))


def prepare(args):
    """{"objective", "folder", "samples", "accelerator"} for `train.Run`, from the options
    of `read_options`.

    The model to start from is read first: a wrong one is told before data are prepared.
    Raises ValueError and OSError for what cannot be used."""
    preset, folder = args.preset, args.out or RUNS / args.arm
    accelerator = build_accelerator(preset, folder, args.log, args.fsdp)
    torch.manual_seed(args.seed)
    start = from_model(preset.init, preset, ARMS[args.arm], preset.tower) \
        if preset.init else None
    with accelerator.main_process_first():  # the others find the index made
        records = load_data(args.data, args.split, preset.area, args.index) \
            if args.data else lite_records(preset)
    objective = build_objective(args.arm, preset, records, args.weights, args.seed, start)
    if args.checkpointing:
        objective.unet.enable_gradient_checkpointing()
    samples = args.samples or SAMPLES.get(args.arm) or \
        preset.epochs * len(records) or ARM_SAMPLES
    if args.log:
        accelerator.init_trackers("log", {
            "arm": args.arm, "preset": preset.name, "seed": args.seed, "samples": samples,
            "batch_size": preset.batch_size, "lr": preset.lr})
    return {"objective": objective, "folder": folder, "samples": samples,
            "accelerator": accelerator}
