"""Every number of the course's tables, from the shipped CLIP, codec and prior on.

    python -m pbe_lite.reproduce            # all of it; call again after a stop
    python -m pbe_lite.reproduce --plan     # only say what is left to do

Trains the paper's six arms from the same prior, on the same samples, with the same seed,
so that a difference between two of them is the idea's, and three bottlenecks of other
widths; scores each on the benchmark; and writes Table 1 (against other methods), Table 2
(what each idea adds), the widths and what guidance does to `final` to `data/results/`.  A
step that is done is not done again: a table or score whose file is there, an arm that has
seen all of its samples.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from pbe_lite.config import LITE, RESULTS, RUNS, WEIGHTS
from pbe_lite.errors import one_line
from pbe_lite.evaluation.benchmark import PAIRS, make_pair
from pbe_lite.evaluation.evaluate import (
    BASELINES,
    evaluate_rows,
    paint_baseline,
    paint_pairs,
    write_json,
)
from pbe_lite.pipeline import PaintByExamplePipeline
from pbe_lite.training.cli import lite_records
from pbe_lite.training.losses import build_objective
from pbe_lite.training.trainer import Run

SAMPLES = 80_000  # an arm; the shipped `final`, which the demos show, has seen more
IDEAS = ("bottleneck", "naive", "final", "augment", "naive_augment", "scratch")
WIDTHS = {1: "bottleneck", 4: "tokens_4", 16: "tokens_16", 64: "tokens_64"}
SCALES = {"1": "final@1", "2": "final@2", "3": "final"}  # the arm's guidance: its own is 3
ROWS = {
    "table1": ("copy_paste", *BASELINES, "shipped", "ground_truth"),
    "table2": ("copy_paste", "scratch", "naive", "naive_augment", "bottleneck", "augment",
               "final", "ground_truth"),
}
RATE = 70  # samples a second on 2 cores, until this machine has shown its own


class Step(NamedTuple):
    """A part of the plan."""

    name: str
    file: Path
    minutes: float
    work: Callable

    @property
    def done(self):
        """Whether `file` is there; that of an arm, `run.json`, is also written by a run
        that was stopped, and then says that samples are left."""
        if not self.file.exists():
            return False
        if self.file.name != "run.json":
            return True
        record = json.loads(self.file.read_text())
        return record["samples"] >= record["of"]


class Stopped(Exception):
    """SIGTERM came while an arm was trained; its checkpoint is there."""


class Study:
    """Where everything lies, and what each step does.

    Raises ValueError when `runs` holds arms trained on another number of samples."""

    def __init__(self, runs=RUNS / "arms", results=RESULTS, weights=WEIGHTS,
                 preset=LITE, records=None, samples=SAMPLES, pairs=PAIRS, seed=0,
                 widths=WIDTHS):
        self.runs, self.results, self.weights = Path(runs), Path(results), weights
        self.preset, self.samples, self.pairs, self.seed = preset, samples, pairs, seed
        self.rows = {name: {row: row for row in rows} for name, rows in ROWS.items()}
        self.rows["width"] = {str(width): arm for width, arm in widths.items()}
        self.rows["guidance"] = SCALES
        self._records, self._questions = records, None
        for path in self.runs.glob("*/run.json"):
            seen = json.loads(path.read_text())["of"]
            if seen != samples - samples % preset.batch_size:
                raise ValueError(f"samples must be {seen}, as {path.parent} was trained "
                                 f"with, not {samples}; or give another runs folder")

    def steps(self):
        """The whole plan, in order: what the first lessons need comes first."""
        plan, minutes = [], self.samples / self.rate() / 60
        for arm in dict.fromkeys((*IDEAS, *self.rows["width"].values())):
            plan += [Step(f"train {arm}", self.runs / arm / "run.json", minutes,
                          lambda arm=arm: self.train(arm)), self.score_step(arm)]
        others = (*BASELINES, "copy_paste", "ground_truth", "shipped",
                  *(name for name in SCALES.values() if "@" in name))
        plan += [self.score_step(name) for name in others]
        plan.append(Step("write losses", self.runs / "losses.json", 0, self.losses))
        return plan + [Step(f"write {name}", self.runs / f"{name}.json", 0,
                            lambda name=name: self.table(name)) for name in self.rows]

    def score_step(self, name):
        return Step(f"score {name}", self.runs / f"{name}.json", self.pairs / 250,
                    lambda: self.score(name))

    def rate(self):
        """Samples a second of the arms trained so far, the slowest counting."""
        records = [json.loads(p.read_text()) for p in self.runs.glob("*/run.json")]
        return min((r["samples"] / 60 / r["minutes"] for r in records if r["minutes"]),
                   default=RATE)

    def records(self):
        if self._records is None:
            self._records = lite_records(self.preset)
        return self._records

    def questions(self):
        if self._questions is None:
            self._questions = [make_pair(i, self.preset.resolution)
                               for i in range(self.pairs)]
        return self._questions

    def train(self, arm):
        """Train an arm to its end and export it.

        Raises Stopped when SIGTERM ends it sooner: half an arm is no row of a table."""
        torch.manual_seed(self.seed)  # what begins at random, begins the same every time
        objective = build_objective(arm, self.preset, self.records(), self.weights,
                                    self.seed)
        run = Run(objective, self.runs / arm, self.samples, self.seed, workers=0)
        if not run.train():
            raise Stopped(f"{arm}: stopped at {run.step * run.batch_size:,} of "
                          f"{self.samples:,} samples")
        run.export("python -m pbe_lite.reproduce")

    def score(self, name):
        pairs = self.questions()
        if name in BASELINES:
            answers = paint_baseline(name, pairs, self.preset.sampling_steps,
                                     seed=self.seed, weights=self.weights)
        elif name in ("copy_paste", "ground_truth"):
            answers = ([p.pasted if name == "copy_paste" else p.answer for p in pairs],) * 2
        else:
            arm, _, scale = name.partition("@")
            folder = self.weights / "final" if name == "shipped" else \
                self.runs / arm / "weights"
            pipe = PaintByExamplePipeline.from_pretrained(folder)
            pipe.set_progress_bar_config(disable=True)
            answers = paint_pairs(pipe, pairs, float(scale) if scale else None,
                                  seed=self.seed)
        write_json(evaluate_rows({name: answers}, pairs), self.runs / f"{name}.json")

    def losses(self):
        """The arms' training losses, {arm: [[samples, mean loss of 50 steps], ...]}."""
        runs = {path.parent.name: json.loads(path.read_text())
                for path in sorted(self.runs.glob("*/run.json"))}
        self.write("losses", {
            arm: [(n, round(loss, 5)) for n, loss in run["history"]]
            for arm, run in runs.items()})

    def table(self, name):
        rows = {title: json.loads((self.runs / f"{row}.json").read_text())["rows"][row]
                for title, row in self.rows[name].items()}
        self.write(name, {"pairs": self.pairs, "samples": self.samples, "seed": self.seed,
                          "rows": rows})

    def write(self, name, table):
        for folder in (self.results, self.runs):  # the latter says that it is done
            write_json(table, folder / f"{name}.json")

    def run(self):
        """Do what is left, and say how long it will take."""
        while left := [step for step in self.steps() if not step.done]:
            print(f"{left[0].name}: about {left[0].minutes:.0f} min; "
                  f"{len(left)} steps, about {self.minutes(left):.0f} min are left")
            left[0].work()

    @staticmethod
    def minutes(steps):
        return sum(step.minutes for step in steps)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="pbe_lite.reproduce",
                                     description=__doc__.split("\n")[0])
    parser.add_argument("--plan", action="store_true", help="only print what is left")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="of each arm")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--runs", type=Path, default=RUNS / "arms")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    if args.samples < 1 or not 1 <= args.pairs <= PAIRS:
        parser.error(f"--samples must be at least 1, --pairs from 1 to {PAIRS}")
    with one_line():
        study = Study(args.runs, args.results, samples=args.samples, pairs=args.pairs)
        if args.plan:
            return print_plan(study)
        try:
            study.run()
        except Stopped as stopped:  # all was saved, so the exit code is 0
            print(f"{stopped}; call again to go on")


def print_plan(study):
    """A line for each step, done or with its minutes, and what is left in all."""
    steps = study.steps()
    for step in steps:
        print(f"{'done' if step.done else f'{step.minutes:4.0f} min':>8}  {step.name}")
    left = [step for step in steps if not step.done]
    print(f"{len(left)} of {len(steps)} steps are left, about "
          f"{study.minutes(left) / 60:.1f} h")
