"""The one training loop, on accelerate: any objective, one process or many.

    python -m pbe_lite.train --preset lite --arm final --minutes 60
    torchrun --nproc-per-node 8 -m pbe_lite.train --preset full --data /open-images

A run stops when its time is up, or on SIGTERM, and goes on where it was when called
again.  The position in the data is the step alone, see `sampler`, so a resumed run ends
bit-identical to one that never stopped (on the same number of CPU threads).
"""

import json
import math
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from pbe_lite.training.checkpoint import (
    StopSignal,
    load_newest,
    outlive_sigterm,
    save_step,
    to_cpu,
)
from pbe_lite.training.distributed import build_accelerator
from pbe_lite.training.optim import (
    build_optimizers,
    check_owners,
    learning_rate,
    trainable,
)
from pbe_lite.training.sampler import Positions

LOG_EVERY = 50


class Run:
    """A resumable run of one objective: optimiser, EMA, history and checkpoints.

    samples: of the whole run; accumulate: in how many parts a rank computes its share of
    a batch; keep: how many checkpoints stay.  Raises ValueError for a folder that was
    begun otherwise, and for numbers that do not go together."""

    def __init__(self, objective, folder, samples, seed=0, accelerator=None, workers=1,
                 accumulate=1, keep=2):
        self.objective, self.folder, self.seed = objective, Path(folder), seed
        preset, self.workers, self.keep = objective.preset, workers, keep
        acc = accelerator or build_accelerator(preset, self.folder)
        self.accelerator = acc
        self.batch_size = objective.batch_size or preset.batch_size
        self.steps, self.accumulate = samples // self.batch_size, accumulate
        self._check(samples)
        self.step, self.seconds, self.history, self.losses = 0, 0, [], []
        self.stopped = False
        # The engine moves the weights to its device, even to a copy where they are on it
        # already, so the optimisers are built on what it has made of them.
        self.model = acc.prepare(objective)
        self.parameters = trainable(objective)
        self.optimizers = [acc.prepare(o) for o in build_optimizers(objective)]
        check_owners(self.parameters, self.optimizers)
        self.ema = preset.ema_decay and EMAModel(
            self.parameters.values(), decay=preset.ema_decay, foreach=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.skipped = objective.log_skipped(self.folder)
        self._load()

    def _check(self, samples):
        ranks = self.accelerator.num_processes
        if self.steps < 1:
            raise ValueError(f"samples must be at least a batch of {self.batch_size}, "
                             f"got {samples}")
        if self.batch_size % (ranks * self.accumulate):
            raise ValueError(f"batch_size {self.batch_size} must be divisible by {ranks} "
                             f"ranks x accumulate {self.accumulate}")
        if not self.objective.divisible and ranks * self.accumulate > 1:
            raise ValueError(f"{self.objective.arm} compares all samples of a batch: "
                             "train it on one rank, with accumulate 1")

    def _load(self):
        state = load_newest(self.folder)
        if state is None:
            return
        if state["seed"] != self.seed:
            raise ValueError(f"{self.folder} was begun with seed {state['seed']}, not "
                             f"{self.seed}: give the same --seed, or another --out")
        if state["steps"] != self.steps:
            raise ValueError(f"{self.folder} was begun with {state['steps']} steps, not "
                             f"{self.steps}: give the same --samples and --batch-size, or "
                             "another --out")
        with torch.no_grad():
            for name, value in state["parameters"].items():
                self.parameters[name].copy_(value)
        for optimizer, was in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(was)
        if self.ema:
            self.ema.load_state_dict(state["ema"])
            self.ema.to(self.accelerator.device)
        self.step, self.history = state["step"], state["history"]
        self.losses, self.seconds = state["losses"], state["seconds"]

    def save(self):
        """Write a checkpoint; the main process does."""
        if not self.accelerator.is_main_process:
            return
        state = to_cpu({
            "step": self.step, "steps": self.steps, "seed": self.seed,
            "seconds": self.seconds, "losses": [float(x) for x in self.losses],
            "parameters": self.parameters,
            "optimizers": [o.state_dict() for o in self.optimizers],
            "ema": self.ema.state_dict() if self.ema else None, "history": self.history,
        })
        save_step(self.folder, self.step, state, self.keep)

    def export(self, command=""):
        """Write the averaged weights to `folder/weights` in diffusers' layout, and how
        they came about to `folder/run.json`."""
        if not self.accelerator.is_main_process:
            return
        skipped = self.skipped.read() if self.skipped else {}
        (self.folder / "run.json").write_text(json.dumps({
            "arm": self.objective.arm, "command": command, "seed": self.seed,
            "samples": self.step * self.batch_size, "of": self.steps * self.batch_size,
            "minutes": round(self.seconds / 60, 1), "skipped_images": len(skipped),
            "history": self.history}))
        if self.ema:
            self.ema.store(self.parameters.values())
            self.ema.copy_to(self.parameters.values())
        self.objective.export(self.folder / "weights")
        if self.ema:
            self.ema.restore(self.parameters.values())

    def close(self):
        """Let the ranks leave together.  The engine goes with them: as long as it lives,
        so do gloo's threads, and those may abort a Python that is ending."""
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        self.accelerator.free_memory()
        self.model = None

    def _update(self, batch):
        """One optimiser step; the mean loss of this rank's share as a tensor."""
        acc, total, parts = self.accelerator, 0, self.accumulate
        share = learning_rate(self.step, self.steps, self.objective.preset)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * share
        chunks = {name: value.chunk(parts) for name, value in batch.items()}
        for i in range(parts):
            part = {name: values[i] for name, values in chunks.items()}
            with acc.no_sync(self.model) if i + 1 < parts else nullcontext():
                with acc.autocast():
                    loss = self.model(part).mean() / parts
                acc.backward(loss)
            total = total + loss.detach()
        acc.clip_grad_norm_(self.parameters.values(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if self.ema:
            self.ema.step(self.parameters.values())
        self.step += 1
        return total

    def _agree(self, loss, *flags):
        """The ranks' mean loss, and each flag: True where it is for any rank."""
        if self.accelerator.num_processes == 1:
            return loss, *flags
        values = torch.stack([loss.float(), *(loss.new_tensor(float(f)) for f in flags)])
        loss, *shares = self.accelerator.reduce(values.float(), "mean")
        return loss, *(bool(share > 0) for share in shares)

    def _loader(self):
        acc, ahead = self.accelerator, {"prefetch_factor": 4} if self.workers else {}
        positions = Positions(len(self.objective), self.batch_size, self.seed, self.step,
                              self.steps, acc.process_index, acc.num_processes)
        return DataLoader(self.objective, batch_sampler=positions, **ahead,
                          num_workers=self.workers, worker_init_fn=outlive_sigterm,
                          pin_memory=acc.device.type == "cuda")

    def train(self, minutes=math.inf, checkpoint_minutes=5, callback=None):
        """Train until all samples are seen, the time is up, or SIGTERM came (`stopped`
        then is True); True when all are seen.

        callback({"step", "samples", "loss", "rate"}) is called every 50 steps."""
        acc = self.accelerator
        bar = tqdm(total=self.steps * self.batch_size, initial=self.step * self.batch_size,
                   unit="sample", smoothing=.05, disable=not acc.is_main_process,
                   desc=self.folder.name)
        begun = saved = last = time.monotonic()
        with StopSignal() as signal:
            for batch in self._loader():
                batch = {k: v.to(acc.device, non_blocking=True) for k, v in batch.items()}
                loss = self._update(batch)
                now = time.monotonic()
                loss, over, due = self._agree(
                    loss, signal.requested or now - begun > 60 * minutes,
                    now - saved > 60 * checkpoint_minutes)
                self.losses.append(loss)
                bar.update(self.batch_size)
                self.seconds, last = self.seconds + now - last, now
                if self.step % LOG_EVERY == 0:
                    self._log(bar, callback)
                if due:
                    self.save()
                    saved = time.monotonic()
                if over:
                    break
            bar.close()
            self.save()
            self.stopped = signal.requested
        return self.step >= self.steps

    def _log(self, bar, callback):
        loss = float(np.mean([float(x) for x in self.losses]))  # waits for a GPU
        self.losses = []
        self.history.append((self.step * self.batch_size, loss))
        bar.set_postfix(loss=f"{loss:.4f}")
        entry = {"step": self.step, "samples": self.history[-1][0], "loss": loss,
                 "rate": bar.format_dict["rate"]}
        if self.accelerator.trackers:
            lr = self.optimizers[0].param_groups[0]["lr"]
            skipped = len(self.skipped.read()) if self.skipped else 0
            self.accelerator.log({"loss": loss, "lr": lr, "skipped_images": skipped,
                                  "samples_per_second": entry["rate"] or 0}, self.step)
        if callback:
            callback(entry)
