"""The engine of a run: one process, or several that share each batch (DDP)."""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, parse_flag_from_env

from pbe_lite.config import Optimiser

PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX")}


def build_accelerator(preset: Optimiser, folder: Path, log: str = None) -> Accelerator:
    """accelerate's engine for one process or DDP; trackers write to `folder`.

    Raises ValueError where what is asked for cannot be had here."""
    needed = PACKAGES.get(log, ())
    if needed and not any(map(importlib.util.find_spec, needed)):
        raise ValueError(f"log {log!r} needs a package; run: pip install {log}")
    ranks, here = (int(os.environ.get(k, 1)) for k in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    gpus = torch.cuda.device_count()
    if here > gpus > 0 and not parse_flag_from_env("ACCELERATE_USE_CPU"):
        raise ValueError(f"{here} processes were started here, where {gpus} GPUs are: give "
                         f"torchrun --nproc-per-node {gpus}, or set ACCELERATE_USE_CPU=1")
    ddp = DistributedDataParallelKwargs(gradient_as_bucket_view=True)  # one copy, not two
    return Accelerator(mixed_precision=preset.precision, log_with=log, project_dir=folder,
                       cpu=ranks > 1 and not gpus,  # accelerate would train each alone
                       kwargs_handlers=[ddp])


def any_rank(accelerator: Accelerator, *flags: bool) -> Sequence[bool]:
    """Each flag: True where it is for any rank.  All ranks call it at one step."""
    if accelerator.num_processes == 1:
        return flags
    values = torch.tensor(flags, dtype=torch.float32, device=accelerator.device)
    return [bool(share > 0) for share in accelerator.reduce(values, "mean")]
