"""The one training loop, on accelerate: any objective, one process or many.

    python -m pbe_lite.train --preset lite --arm final --minutes 60
    torchrun --nproc-per-node 8 -m pbe_lite.train --preset full --data /open-images

A run stops when its time is up, or on SIGTERM, and goes on where it was when called
again.  The position in the data is the step alone, see `sampler`, so a resumed run ends
bit-identical to one that never stopped (on the same number of CPU threads).
"""

import math
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from tqdm.auto import tqdm

from pbe_lite.training.checkpoint import StopSignal, claim, load_newest, save_step, to_cpu
from pbe_lite.training.distributed import any_rank, build_accelerator
from pbe_lite.training.identity import check_same, config_of, describe, write_record
from pbe_lite.training.optim import (
    averaged,
    build_optimizers,
    check_finite,
    check_owners,
    learning_rate,
    set_rate,
    trainable,
)
from pbe_lite.training.preview import look
from pbe_lite.training.sampler import build_loader, check_batch

LOG_EVERY = 50  # steps
CLIP_NORM = 1.0  # longest gradient that is stepped along


class Run:
    """A resumable run of one objective.

    samples: of the whole run; accumulate: in how many parts a rank computes its share of
    a batch; keep: how many checkpoints stay; held_out: records that are not trained on,
    for the previews of an arm.  Raises ValueError for a folder that was begun otherwise or
    is in use, and for numbers that do not go together."""

    def __init__(self, objective, folder, samples, seed=0, accelerator=None, workers=1,
                 accumulate=1, keep=2, held_out=None):
        self.objective = objective
        self.folder = Path(folder)
        self.seed = seed
        self.workers = workers
        self.accumulate = accumulate
        self.keep = keep
        self.held_out = held_out
        self.batch_size = objective.batch_size or objective.preset.batch_size
        self.steps = samples // self.batch_size

        # What a checkpoint holds beside weights, average and optimisers.
        self.step = 0
        self.seconds = 0.0
        self.losses = []   # of the steps since the last entry of the history
        self.history = []  # (samples, mean loss of LOG_EVERY steps)
        self.previews = []  # (samples, mean loss on `held_out`)
        self.stopped = False  # by SIGTERM

        # The engine: one process, or several that share each batch.
        self.accelerator = accelerator or build_accelerator(objective.preset, folder)
        check_batch(objective, self.batch_size, samples, accumulate,
                    self.accelerator.num_processes)
        self.lock = claim(self.folder) if self.accelerator.is_main_process else None
        self.skipped = objective.log_skipped(self.folder)
        self.config = describe(objective, seed, self.steps, self.batch_size)

        # The engine moves the weights to its device, even to a copy where they are on it
        # already, so the optimisers are built on what it has made of them.
        self.model = self.accelerator.prepare(objective)
        self.parameters = trainable(objective)
        self.optimizers = [self.accelerator.prepare(o) for o in build_optimizers(objective)]
        check_owners(self.parameters, self.optimizers)
        self.ema = EMAModel(self.parameters.values(), decay=objective.preset.ema_decay,
                            foreach=True) if objective.preset.ema_decay else None
        self._resume()

    def _resume(self):
        """Go on from the newest checkpoint, if there is one."""
        state = load_newest(self.folder, self.accelerator.print)
        if state is None:
            return
        was = config_of(state, self.config, self.accelerator.print)
        check_same(self.folder, was, self.config)
        with torch.no_grad():
            for name, value in state["parameters"].items():
                self.parameters[name].copy_(value)
        for optimizer, was in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(was)
        if self.ema:
            self.ema.load_state_dict(state["ema"])
            self.ema.to(self.accelerator.device)
        self.step = state["step"]
        self.seconds = state["seconds"]
        self.losses = state["losses"]
        self.history = state["history"]
        self.previews = state.get("previews", [])

    def save(self):
        """Write a checkpoint; the main process does."""
        if not self.accelerator.is_main_process:
            return
        state = to_cpu({
            "config": self.config,
            "step": self.step, "steps": self.steps, "seed": self.seed,
            "seconds": self.seconds, "losses": [float(x) for x in self.losses],
            "parameters": self.parameters,
            "optimizers": [o.state_dict() for o in self.optimizers],
            "ema": self.ema.state_dict() if self.ema else None,
            "history": self.history, "previews": self.previews,
        })
        save_step(self.folder, self.step, state, self.keep)

    def train(self, minutes=math.inf, checkpoint_minutes=5, callback=None,
              preview_minutes=math.inf):
        """Train until all samples are seen, the time is up, or SIGTERM came (`stopped`
        then is True); True when all are seen.

        callback({"step", "samples", "loss", "rate"}) is called every 50 steps.  Raises
        FloatingPointError, with the state before it saved, where a loss or a gradient is
        no finite number."""
        acc = self.accelerator
        bar = tqdm(total=self.steps * self.batch_size, initial=self.step * self.batch_size,
                   unit="sample", smoothing=.05, disable=not acc.is_main_process,
                   desc=self.folder.name)
        begun = saved = shown = last = time.monotonic()
        with StopSignal() as signal:
            loader = build_loader(self.objective, self.batch_size, self.seed, self.step,
                                  self.steps, acc, self.workers)
            for batch in loader:
                batch = {k: v.to(acc.device, non_blocking=True) for k, v in batch.items()}
                self.losses.append(self._update(batch))
                bar.update(self.batch_size)
                now = time.monotonic()
                self.seconds += now - last
                last = now
                if self.step % LOG_EVERY == 0:
                    self._log(bar, callback)
                if now - shown > 60 * preview_minutes:
                    self.preview()
                    shown = time.monotonic()
                # All ranks must stop and save at one step, whose clocks differ.
                over, due = any_rank(acc, signal.requested or now - begun > 60 * minutes,
                                     now - saved > 60 * checkpoint_minutes)
                if due:
                    self.save()
                    saved = time.monotonic()
                if over:
                    break
            bar.close()
            self.save()
            self.stopped = signal.requested
        return self.step >= self.steps

    def _update(self, batch):
        """One optimiser step; the ranks' mean loss as a tensor."""
        acc = self.accelerator
        set_rate(self.optimizers,
                 learning_rate(self.step, self.steps, self.objective.preset))

        # Forward and backward, a part of the batch at a time; ranks add their gradients
        # up with the last one.
        loss = 0
        parts = {name: value.chunk(self.accumulate) for name, value in batch.items()}
        for i in range(self.accumulate):
            part = {name: chunks[i] for name, chunks in parts.items()}
            last = i + 1 == self.accumulate
            with nullcontext() if last else acc.no_sync(self.model):
                with acc.autocast():
                    part_loss = self.model(part).mean() / self.accumulate
                acc.backward(part_loss)
            loss = loss + part_loss.detach().float()
        norm = acc.clip_grad_norm_(self.parameters.values(), CLIP_NORM)
        if acc.num_processes > 1:
            loss = acc.reduce(loss, "mean")
        self._stop_unless_finite(loss, norm)

        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if self.ema:
            self.ema.step(self.parameters.values())
        self.step += 1
        return loss

    def _stop_unless_finite(self, loss, norm):
        """Before anything is stepped: one NaN in a gradient is a NaN in every weight."""
        if torch.isfinite(loss) and torch.isfinite(norm):
            return
        self.save()
        raise FloatingPointError(
            f"the loss is {float(loss):g}, its gradient's norm {float(norm):g} at step "
            f"{self.step} of {self.steps}: stopped before it, nothing exported, the state "
            f"kept in {self.folder}; begin anew with a lower --lr or --precision no")

    def _log(self, bar, callback):
        """An entry of the history: the mean loss since the last one."""
        loss = float(np.mean([float(x) for x in self.losses]))
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

    def preview(self):
        """The mean loss on pictures never trained on, and `folder/samples.png` of what is
        painted on some of them; the main process does, the other ranks wait."""
        if not self.accelerator.is_main_process:
            return
        at_once = self.batch_size // (self.accelerator.num_processes * self.accumulate)
        with averaged(self.ema, self.parameters), self.accelerator.autocast():
            loss = look(self.objective, self.held_out, at_once, self.folder / "samples.png")
        self.previews.append((self.step * self.batch_size, loss))
        self.accelerator.log({"held_out_loss": loss}, self.step)
        tqdm.write(f"{self.step * self.batch_size:,} samples: loss {loss:.4f} on pictures "
                   f"never trained on; {self.folder / 'samples.png'}")

    def export(self, command=""):
        """Write the averaged weights to `folder/weights` in diffusers' layout, and how
        they came about to `folder/run.json`.  Raises FloatingPointError for weights that
        are no finite numbers."""
        if not self.accelerator.is_main_process:
            return
        with averaged(self.ema, self.parameters):
            check_finite(self.parameters)
            self.objective.export(self.folder / "weights")
        write_record(self, command)

    def close(self):
        """Let the ranks leave together.  The engine goes with them: as long as it lives,
        so do gloo's threads, and those may abort a Python that is ending."""
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        self.accelerator.free_memory()
        self.model = None
