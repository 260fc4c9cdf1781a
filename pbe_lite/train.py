"""The one training loop, on accelerate: any objective, one process or many.

    python -m pbe_lite.train --preset lite --arm final --minutes 60

A run stops when its time is up and goes on where it was when called again.  The position
in the data is the step alone: sample n of a run is (epoch, index) = (n // N, p[n % N])
with p a permutation drawn from (seed, epoch), so a resumed run ends bit-identical to one
that never stopped (on the same number of CPU threads).
"""

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast
from diffusers.training_utils import EMAModel
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from pbe_lite.objectives import ARMS, build_objective
from pbe_lite.openimages import load_open_images, write_tabletop
from pbe_lite.optimizers import build_optimizers, trainable
from pbe_lite.pipeline import PaintByExamplePipeline
from pbe_lite.presets import DATA, PRESETS, RUNS
from pbe_lite.tabletop import FIRST_TRAINING_SEED

SAMPLES = {"clip": 96_000, "codec": 48_000, "prior": 88_000}  # the arms: ARM_SAMPLES
ARM_SAMPLES = 390_000
LOG_EVERY = 50


class Positions:
    """Batches of keys (epoch, index) from `step` on, this rank's share of each.

    Raises ValueError for a batch that cannot be shared equally."""

    def __init__(self, size, batch_size, seed, step, steps, rank=0, ranks=1):
        if batch_size % ranks:
            raise ValueError(f"batch_size {batch_size} must be divisible by {ranks} ranks")
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.steps, self.rank, self.ranks = range(step, steps), rank, ranks

    def __len__(self):
        return len(self.steps)

    def __iter__(self):
        share, epoch, order = self.batch_size // self.ranks, None, None
        for step in self.steps:
            first = step * self.batch_size + self.rank * share
            keys = []
            for n in range(first, first + share):
                if n // self.size != epoch:
                    epoch = n // self.size
                    order = np.random.default_rng([self.seed, epoch]).permutation(self.size)
                keys.append((epoch, int(order[n % self.size])))
            yield keys


def learning_rate(step, steps, preset):
    """Share of the peak rate: linear warm-up, then constant or a cosine to zero."""
    warm = min(1, (step + 1) / preset.warmup_steps)
    decay = .5 + .5 * math.cos(math.pi * step / steps) if preset.lr_decay else 1
    return warm * decay


def save_state(path, state):
    """Write a checkpoint so that a kill at any moment leaves the old or the new one."""
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as f:
        torch.save(state, f)
        f.flush()
        os.fsync(f.fileno())
    partial.replace(path)


class Run:
    """A resumable run of one objective: optimiser, EMA, history and checkpoint."""

    def __init__(self, objective, folder, samples, seed=0, accelerator=None, workers=1):
        self.objective, self.folder, self.seed = objective, Path(folder), seed
        preset, self.workers = objective.preset, workers
        self.accelerator = accelerator or Accelerator(mixed_precision=preset.precision)
        self.batch_size = objective.batch_size or preset.batch_size
        self.steps = samples // self.batch_size
        self.step, self.seconds, self.history, self.losses = 0, 0, [], []
        self.parameters = trainable(objective.to(self.accelerator.device))
        self.ema = preset.ema_decay and EMAModel(
            self.parameters.values(), decay=preset.ema_decay, foreach=True)
        self.model, *self.optimizers = self.accelerator.prepare(
            objective, *build_optimizers(objective))
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / "state.pt").exists():
            self._load()

    def _load(self):
        state = torch.load(self.folder / "state.pt", weights_only=True)
        if state["seed"] != self.seed:
            raise ValueError(f"{self.folder} was begun with seed {state['seed']}, not "
                             f"{self.seed}: give the same --seed, or another --out")
        if state["steps"] != self.steps:
            raise ValueError(f"{self.folder} was begun with {state['steps']} steps, not "
                             f"{self.steps}: give the same --samples, or another --out")
        with torch.no_grad():
            for name, value in state["parameters"].items():
                self.parameters[name].copy_(value)
        for optimizer, was in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(was)
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.step, self.history = state["step"], state["history"]
        self.losses, self.seconds = state["losses"], state["seconds"]

    def save(self):
        """Checkpoint to `folder/state.pt`; only the main process writes."""
        if self.accelerator.is_main_process:
            save_state(self.folder / "state.pt", {
                "step": self.step, "steps": self.steps, "seed": self.seed,
                "seconds": self.seconds, "losses": [float(x) for x in self.losses],
                "parameters": {n: p.detach() for n, p in self.parameters.items()},
                "optimizers": [o.state_dict() for o in self.optimizers],
                "ema": self.ema.state_dict() if self.ema else None,
                "history": self.history,
            })

    def export(self, command=""):
        """Write the averaged weights to `folder/weights` in diffusers' layout, and how
        they came about to `folder/run.json`."""
        if self.accelerator.is_main_process:
            (self.folder / "run.json").write_text(json.dumps({
                "arm": self.objective.arm, "command": command, "seed": self.seed,
                "samples": self.step * self.batch_size, "of": self.steps * self.batch_size,
                "minutes": round(self.seconds / 60, 1), "history": self.history}))
            if self.ema:
                self.ema.store(self.parameters.values())
                self.ema.copy_to(self.parameters.values())
            self.objective.export(self.folder / "weights")
            if self.ema:
                self.ema.restore(self.parameters.values())

    def _update(self, batch):
        """One optimiser step; the mean loss as a tensor."""
        share = learning_rate(self.step, self.steps, self.objective.preset)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * share
        with self.accelerator.autocast():
            loss = self.model(batch).mean()
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.parameters.values(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if self.ema:
            self.ema.step(self.parameters.values())
        self.step += 1
        return loss.detach()

    def train(self, minutes=math.inf, checkpoint_minutes=5, callback=None):
        """Train until all samples are seen or the time is up; True when all are.

        callback({"step", "samples", "loss", "rate"}) is called every 50 steps."""
        acc = self.accelerator
        positions = Positions(len(self.objective), self.batch_size, self.seed, self.step,
                              self.steps, acc.process_index, acc.num_processes)
        ahead = {"prefetch_factor": 4} if self.workers else {}
        loader = DataLoader(self.objective, batch_sampler=positions,
                            num_workers=self.workers, **ahead)
        bar = tqdm(total=self.steps * self.batch_size, initial=self.step * self.batch_size,
                   unit="sample", smoothing=.05, disable=not acc.is_main_process,
                   desc=self.folder.name)
        begun = saved = last = time.monotonic()
        for batch in loader:
            batch = {k: v.to(acc.device) for k, v in batch.items()}
            self.losses.append(self._update(batch))
            bar.update(self.batch_size)
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            if self.step % LOG_EVERY == 0:
                self._log(bar, callback)
            if now - saved > 60 * checkpoint_minutes:
                self.save()
                saved = time.monotonic()
            time_up = torch.tensor(int(now - begun > 60 * minutes), device=acc.device)
            if broadcast(time_up):  # the main process's word: all ranks stop together
                break
        bar.close()
        self.save()
        return self.step >= self.steps

    def _log(self, bar, callback):
        loss = float(np.mean([float(x) for x in self.losses]))  # the only wait for a GPU
        self.losses = []
        self.history.append((self.step * self.batch_size, loss))
        bar.set_postfix(loss=f"{loss:.4f}")
        if callback:
            callback({"step": self.step, "samples": self.history[-1][0], "loss": loss,
                      "rate": bar.format_dict["rate"]})


def lite_records(preset):
    """The miniature world's training scenes, rendered once under `runs/`."""
    folder = RUNS / f"tabletop-{preset.resolution}"
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + preset.scenes)
    return load_open_images(write_tabletop(folder, seeds, preset.resolution))


def main(argv=None):
    parser = argparse.ArgumentParser(prog="pbe_lite.train",
                                     description=__doc__.split("\n")[0])
    parser.add_argument("--preset", choices=PRESETS, default="lite")
    parser.add_argument("--arm", choices=[*SAMPLES, *ARMS], required=True)
    parser.add_argument("--minutes", type=float, default=math.inf, help="of this sitting")
    parser.add_argument("--samples", type=int, help="of the whole run, over all sittings")
    parser.add_argument("--data", type=Path, help="a folder in Open Images' layout")
    parser.add_argument("--weights", type=Path, default=DATA / "weights",
                        help="where the parts trained before lie (clip, codec, prior)")
    parser.add_argument("--init", help="start an arm from this model, not from the prior")
    parser.add_argument("--out", type=Path, help="default: runs/<arm>")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args(argv)
    preset = PRESETS[args.preset]
    if args.init and args.arm not in ARMS:
        parser.error(f"--init is for the arms {', '.join(ARMS)}, not for {args.arm}")
    start = args.init and PaintByExamplePipeline.from_pretrained(args.init)
    torch.manual_seed(args.seed)
    with PartialState().main_process_first():  # the others find the scenes rendered
        records = load_open_images(args.data) if args.data else lite_records(preset)
    objective = build_objective(args.arm, preset, records, args.weights, args.seed)
    if start:
        objective.start_from(start)
    run = Run(objective, args.out or RUNS / args.arm,
              args.samples or SAMPLES.get(args.arm, ARM_SAMPLES), args.seed,
              workers=args.workers)
    done = run.train(args.minutes)
    run.export("python -m pbe_lite.train " + " ".join(argv or sys.argv[1:]))
    print(f"{run.step * run.batch_size:,} samples in {run.seconds / 60:.1f} min; weights "
          f"in {run.folder / 'weights'}" + ("" if done else "; call again to go on"))
    run.accelerator.end_training()  # else gloo's threads may abort a finished process


if __name__ == "__main__":
    main()
