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
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from PIL import Image
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from pbe_lite.training.checkpoint import (
    StopSignal,
    claim,
    load_newest,
    outlive_sigterm,
    save_step,
    to_cpu,
)
from pbe_lite.training.distributed import build_accelerator
from pbe_lite.training.identity import check_same, describe
from pbe_lite.training.optim import (
    build_optimizers,
    check_owners,
    learning_rate,
    trainable,
)
from pbe_lite.training.preview import held_out_loss, paint_samples, undisturbed
from pbe_lite.training.sampler import Positions

LOG_EVERY = 50  # steps
CLIP_NORM = 1.0  # longest gradient that is stepped along


class Run:
    """A resumable run of one objective: optimisers, average, history and checkpoints.

    samples: of the whole run; accumulate: in how many parts a rank computes its share of
    a batch; keep: how many checkpoints stay; held_out: records that are not trained on,
    for the previews of an arm.  Raises ValueError for a folder that was begun otherwise or
    is in use, and for numbers that do not go together."""

    def __init__(self, objective, folder, samples, seed=0, accelerator=None, workers=1,
                 accumulate=1, keep=2, held_out=None):
        preset = objective.preset
        self.objective = objective
        self.folder = Path(folder)
        self.seed = seed
        self.workers = workers
        self.accumulate = accumulate
        self.keep = keep
        self.held_out = held_out
        self.batch_size = objective.batch_size or preset.batch_size
        self.steps = samples // self.batch_size

        # What a checkpoint holds beside weights, average and optimisers.
        self.step = 0
        self.seconds = 0.0
        self.losses = []   # of the steps since the last entry of the history
        self.history = []  # (samples, mean loss of LOG_EVERY steps)
        self.previews = []  # (samples, mean loss on `held_out`)
        self.stopped = False  # by SIGTERM

        # The engine: one process, or several that share each batch.
        self.accelerator = accelerator or build_accelerator(preset, self.folder)
        self._check(samples)
        self.lock = claim(self.folder) if self.accelerator.is_main_process else None
        self.skipped = objective.log_skipped(self.folder)
        self.config = describe(objective, seed, self.steps, self.batch_size)

        # The engine moves the weights to its device, even to a copy where they are on it
        # already, so the optimisers are built on what it has made of them.
        self.model = self.accelerator.prepare(objective)
        self.parameters = trainable(objective)
        self.optimizers = [self.accelerator.prepare(o) for o in build_optimizers(objective)]
        check_owners(self.parameters, self.optimizers)
        self.ema = None
        if preset.ema_decay:
            self.ema = EMAModel(self.parameters.values(), decay=preset.ema_decay,
                                foreach=True)
        self._resume()

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

    def _resume(self):
        """Go on from the newest checkpoint, if there is one."""
        say = self.accelerator.print
        state = load_newest(self.folder, say)
        if state is None:
            return
        if "config" not in state:  # written by version 0.1.0
            say(f"{self.folder}: the checkpoint does not say with which options it was "
                "begun; only seed and steps are compared")
        old = {**self.config, "seed": state["seed"], "steps": state["steps"]}
        check_same(self.folder, state.get("config", old), self.config)
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
            for batch in self._loader():
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
                over, due = self._any(signal.requested or now - begun > 60 * minutes,
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

    def _loader(self):
        """Batches of this rank's samples, from the step on."""
        acc = self.accelerator
        positions = Positions(len(self.objective), self.batch_size, self.seed, self.step,
                              self.steps, acc.process_index, acc.num_processes)
        ahead = {"prefetch_factor": 4} if self.workers else {}
        return DataLoader(self.objective, batch_sampler=positions, **ahead,
                          num_workers=self.workers, worker_init_fn=outlive_sigterm,
                          pin_memory=acc.device.type == "cuda")

    def _update(self, batch):
        """One optimiser step; the ranks' mean loss as a tensor."""
        acc = self.accelerator
        share = learning_rate(self.step, self.steps, self.objective.preset)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * share

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
            f"{self.step} of {self.steps}: stopped before that step, with nothing exported "
            f"and the state in {self.folder}; a lower --lr or --precision no may help")

    def _any(self, *flags):
        """Each flag: True where it is for any rank."""
        acc = self.accelerator
        if acc.num_processes == 1:
            return flags
        values = torch.tensor(flags, dtype=torch.float32, device=acc.device)
        return [bool(share > 0) for share in acc.reduce(values, "mean")]

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
        with self.averaged(), undisturbed(self.objective), self.accelerator.autocast():
            loss = held_out_loss(self.objective, self.held_out, at_once)
            picture = paint_samples(self.objective, self.held_out)
        Image.fromarray(picture).save(self.folder / "samples.png")
        self.previews.append((self.step * self.batch_size, loss))
        self.accelerator.log({"held_out_loss": loss}, self.step)
        tqdm.write(f"{self.step * self.batch_size:,} samples: loss {loss:.4f} on pictures "
                   f"never trained on; {self.folder / 'samples.png'}")

    @contextmanager
    def averaged(self):
        """The averaged weights in the place of the trained ones, while it lasts."""
        if self.ema is None:
            yield
            return
        self.ema.store(self.parameters.values())
        self.ema.copy_to(self.parameters.values())
        try:
            yield
        finally:
            self.ema.restore(self.parameters.values())

    def export(self, command=""):
        """Write the averaged weights to `folder/weights` in diffusers' layout, and how
        they came about to `folder/run.json`.  Raises FloatingPointError for weights that
        are no finite numbers."""
        if not self.accelerator.is_main_process:
            return
        with self.averaged():
            bad = [n for n, p in self.parameters.items() if not torch.isfinite(p).all()]
            if bad:
                raise FloatingPointError(f"nothing exported: {bad[0]} and {len(bad) - 1} "
                                         "more tensors hold NaN or infinite numbers")
            self.objective.export(self.folder / "weights")
        self._write_record(command)

    def _write_record(self, command):
        skipped = self.skipped.read() if self.skipped else {}
        record = {
            "arm": self.objective.arm, "command": command, "seed": self.seed,
            "samples": self.step * self.batch_size, "of": self.steps * self.batch_size,
            "minutes": round(self.seconds / 60, 1), "skipped_images": len(skipped),
            "history": self.history, "held_out": self.previews}
        (self.folder / "run.json").write_text(json.dumps(record, allow_nan=False))

    def close(self):
        """Let the ranks leave together.  The engine goes with them: as long as it lives,
        so do gloo's threads, and those may abort a Python that is ending."""
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        self.accelerator.free_memory()
        self.model = None
