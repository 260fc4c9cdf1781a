"""What a run is: all that decides its numbers, kept in every checkpoint.

A run goes on only as what it was begun: another arm, rate or data set would give weights
that no single command can give again.  What does not change the numbers may change from
sitting to sitting: minutes, workers, ranks, accumulation, how many checkpoints stay, the
log, and where the pictures lie.
"""

import json
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from pbe_lite.training.objective import Objective

ROWS = 64  # of an index, spread over it, stand for all
NOT_TRAINED_ON = ("name", "epochs", "scenes", "sampling_steps", "guidance_scale")
OPTIONS = {"steps": "--samples", "batch_size": "--batch-size", "ema_decay": "--ema",
           "warmup_steps": "--warmup", "images": "--data", "boxes": "--data",
           "frozen_parts": "--weights",
           **{name: f"--{name}" for name in ("arm", "seed", "lr", "precision", "adam8bit",
                                             "init", "tower", "area")}}


def describe(objective: Objective, seed: int, steps: int, batch_size: int) -> dict:
    """{name: value} of a run's configuration, flat, of numbers, strings and tuples."""
    preset = {k: v for k, v in asdict(objective.preset).items() if k not in NOT_TRAINED_ON}
    own = {"lr": objective.lr, "betas": objective.betas}
    return flat({**preset, **{k: v for k, v in own.items() if v}, "arm": objective.arm,
                 "seed": seed, "steps": steps, "batch_size": batch_size,
                 "images": len(objective), "boxes": boxes_digest(objective.records),
                 "frozen_parts": frozen_digest(objective)})


def flat(values: dict, prefix: str = "") -> dict:
    """Nested dicts as one, {"unet.layers_per_block": 2, ...}; lists become tuples."""
    found = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = tuple(value) if isinstance(value, list) else value
    return found


def boxes_digest(records) -> str:
    """A checksum of some ids, boxes and labels, wherever their folder lies; "" for
    pictures that have no index, since they are drawn."""
    index = getattr(records, "dataset", None)
    if index is None:
        return ""
    every = max(1, len(index) // ROWS)
    rows = [index[i] for i in range(0, len(index), every)]
    text = repr([(row["image_id"], row["boxes"], row["labels"]) for row in rows])
    return f"{zlib.crc32(text.encode()):08x}"


def frozen_digest(objective: Objective) -> str:
    """A checksum of the parts trained before, which no checkpoint holds: codec, CLIP."""
    encoder = getattr(objective, "encoder", None)
    parts = [getattr(objective, "codec", None), getattr(objective, "text", None),
             getattr(encoder, "model", None)]
    digest = 0
    for part in parts:
        if part is not None and not any(p.requires_grad for p in part.parameters()):
            for value in part.state_dict().values():
                numbers = value.detach().cpu().contiguous().reshape(-1)
                digest = zlib.crc32(numbers.view(torch.uint8).numpy(), digest)
    return f"{digest:08x}"


def config_of(state: dict, config: dict, say: Callable = print) -> dict:
    """The configuration in a checkpoint.  Version 0.1.0 kept only seed and steps: the rest
    is taken to be as in `config`, and said."""
    if "config" in state:
        return state["config"]
    say("the checkpoint does not say with which options it was begun: only seed and steps "
        "are compared")
    return {**config, "seed": state["seed"], "steps": state["steps"]}


def check_same(folder: Path, was: dict, now: dict) -> None:
    """Raise ValueError, naming what differs and both values, unless a run's configuration
    is the one that its folder was begun with."""
    names = [n for n in dict.fromkeys((*was, *now)) if was.get(n) != now.get(n)]
    if not names:
        return
    told = [f"{was.get(n)} steps, not {now.get(n)}" if n == "steps" else
            f"{n} {was.get(n)!r}, not {now.get(n)!r}" for n in names]
    options = dict.fromkeys(OPTIONS.get(n, "--preset") for n in names)
    raise ValueError(f"{folder} was begun with {', '.join(told)}: give the same "
                     f"{' and '.join(options)}, or another --out")


def write_record(run, command: str) -> None:
    """How a run came about, as strict JSON, in `run.json` of its folder."""
    skipped = run.skipped.read() if run.skipped else {}
    record = {
        "arm": run.objective.arm, "command": command, "seed": run.seed,
        "samples": run.step * run.batch_size, "of": run.steps * run.batch_size,
        "minutes": round(run.seconds / 60, 1), "skipped_images": len(skipped),
        "history": run.history, "held_out": run.previews}
    (run.folder / "run.json").write_text(json.dumps(record, allow_nan=False))
