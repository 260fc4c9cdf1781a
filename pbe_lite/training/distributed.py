"""The engine of a run: one process, DDP, or FSDP, by accelerate."""

import importlib.util
import os

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    FullyShardedDataParallelPlugin,
    parse_flag_from_env,
)

SHARDED = ["BasicTransformerBlock", "ResnetBlock2D", "CLIPEncoderLayer"]  # FSDP's units
PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX")}


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
