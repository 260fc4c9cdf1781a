"""What `python -m pbe_lite.train` takes, and the engine that it makes of it."""

import argparse
import importlib.util
import math
import os
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    FullyShardedDataParallelPlugin,
    parse_flag_from_env,
)

from pbe_lite.presets import ARMS, DATA, PRESETS

PARTS = ("clip", "codec", "prior")  # what lite arms need, trained before them
SHARDED = ["BasicTransformerBlock", "ResnetBlock2D", "CLIPEncoderLayer"]  # FSDP's units
PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX")}


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
    add("--fsdp", action="store_true", help="split weights and AdamW over several GPUs")


def _folders(parser):
    add = parser.add_argument
    add("--data", type=Path, help="a folder in Open Images' layout, or of your own data")
    add("--split", default="train", help="of Open Images")
    add("--area", type=float, nargs=2, metavar=("LEAST", "MOST"),
        help="share of the picture that a box must cover; default: .02 .8")
    add("--index", type=Path, help="where the index is made; default: in --data")
    add("--weights", type=Path, default=DATA / "weights",
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
        if args.preset.name == "full":
            parser.error(f"--arm {args.arm} is a lite part: full starts from --init")
    if args.preset.name == "full" and not args.data:
        parser.error("--preset full needs --data, a folder of photographs")
    if args.checkpointing and args.arm in ("clip", "codec"):
        parser.error(f"--checkpointing is for U-Nets, not for {args.arm}")
    for name in ("accumulate", "keep", "warmup"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if args.adam8bit and args.fsdp:
        parser.error("--adam8bit and --fsdp do not go together: take one")


def build_accelerator(preset, folder, log=None, fsdp=False):
    """accelerate's engine: one process, DDP, or FSDP; trackers write to `folder`.

    Raises ValueError where what is asked for cannot be had here."""
    needed = PACKAGES.get(log, ())
    if needed and not any(map(importlib.util.find_spec, needed)):
        raise ValueError(f"log {log!r} needs a package; run: pip install {log}")
    ranks, here = (int(os.environ.get(k, 1)) for k in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    gpus = torch.cuda.device_count()
    if here > gpus > 0 and not parse_flag_from_env("ACCELERATE_USE_CPU"):
        raise ValueError(f"{here} processes were started here, where {gpus} GPUs are: give "
                         f"torchrun --nproc-per-node {gpus}, or set ACCELERATE_USE_CPU=1")
    plugin = fsdp_plugin(preset) if fsdp else None
    ddp = DistributedDataParallelKwargs(gradient_as_bucket_view=True)  # one copy, not two
    return Accelerator(mixed_precision=preset.precision, log_with=log, project_dir=folder,
                       cpu=ranks > 1 and not gpus,  # accelerate would train each alone
                       fsdp_plugin=plugin, kwargs_handlers=None if fsdp else [ddp])


def fsdp_plugin(preset):
    """FSDP2 over every transformer and residual block.  It casts nothing: autocast does,
    as in DDP, so that latents and noise schedule stay float32.

    Raises ValueError without several GPUs, and for a preset that trains with Muon."""
    from torch.distributed.fsdp import MixedPrecisionPolicy
    state = PartialState()
    if state.num_processes < 2 or state.device.type == "cpu":
        raise ValueError("fsdp needs several GPUs, one process each; start them with "
                         "torchrun --nproc-per-node")
    if preset.muon_lr:
        raise ValueError(f"fsdp splits matrices, which Muon needs whole: the preset "
                         f"{preset.name!r} cannot be trained so")
    return FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=SHARDED, cpu_ram_efficient_loading=False,
        mixed_precision_policy=MixedPrecisionPolicy())
