"""Every number and every weight of the second edition, from nothing on.

    python -m pbe_lite.second.tables --plan     # what is left to do, and for how long
    python -m pbe_lite.second.tables            # do it; after a stop, call it again

Trains the parts (codec, CLIP, judge, prior) and ships them to `weights`; trains the
paper's six arms from the same prior, on the same samples, with the same seed, so that a
difference between two of them is the idea's; two bottlenecks of other widths; and the
long run that the demos show.  Scores each on the benchmark, and writes the tables to
`data/results/`.  A step whose file is there, and whole, is not done again.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pbe_lite.config import BOLD, RESULTS, RUNS
from pbe_lite.evaluation.evaluate import (
    BASELINES,
    paint_baseline,
    paint_pairs,
    write_json,
)
from pbe_lite.models.shipping import ship
from pbe_lite.pipeline import PaintByExamplePipeline
from pbe_lite.second.benchmark import PAIRS, make_pair
from pbe_lite.second.evaluate import CHEATS, WEIGHTS, cheat, score_row
from pbe_lite.second.train import ARM_SAMPLES, SAMPLES, build
from pbe_lite.training.trainer import Run

PARTS = ("codec", "clip", "judge", "prior")
IDEAS = ("bottleneck", "naive", "final", "augment", "naive_augment", "scratch")
WIDTHS = {1: "bottleneck", 5: "tokens_5", 17: "tokens_17", 65: "naive"}
SCALES = ("1", "1.5", "2", "3", "4")
ROWS = {
    "table1": ("copy_paste", "flat_patch", *BASELINES, "shipped", "round_trip",
               "ground_truth"),
    "table2": ("copy_paste", "flat_patch", "scratch", "naive", "naive_augment",
               "bottleneck", "augment", "final", "round_trip", "ground_truth"),
    "width": tuple(WIDTHS.values()),
    "guidance": tuple(f"shipped@{scale}" for scale in SCALES),
}
RATE = 80  # samples a second on 2 cores


class Step(NamedTuple):
    """A part of the plan; done when `is_done()`."""

    name: str
    minutes: float
    is_done: Callable
    work: Callable


class Study:
    """Where everything lies, and what each step does."""

    def __init__(self, runs=RUNS / "second", results=RESULTS, weights=WEIGHTS, preset=BOLD,
                 pairs=PAIRS, samples=None, records=RUNS):
        self.runs, self.results, self.weights = Path(runs), Path(results), Path(weights)
        self.preset, self.pairs, self.records = preset, pairs, records
        self.samples = {**dict.fromkeys((*IDEAS, *WIDTHS.values()), ARM_SAMPLES),
                        **{part: SAMPLES[part] for part in PARTS},
                        "shipped": SAMPLES["final"], **(samples or {})}
        self._questions = None

    def steps(self):
        """The whole plan, in order: what others stand on comes first."""
        plan = [self.part_step(part) for part in PARTS]
        for arm in dict.fromkeys(("naive", "bottleneck", "shipped", *IDEAS,
                                  *WIDTHS.values())):
            plan += [self.train_step(arm), self.score_step(arm)]
        names = dict.fromkeys(name for rows in ROWS.values() for name in rows)
        plan += [self.score_step(name) for name in names if name not in self.samples]
        tables = [*ROWS, "losses"]
        return plan + [Step(f"write {name}", 0, (self.runs / f"{name}.json").exists,
                            lambda name=name: self.table(name)) for name in tables]

    def part_step(self, part):
        def work():
            self.train(part)
            ship(self.runs / part, self.weights)
        return Step(f"train {part}", self.samples[part] / RATE / 60,
                    (self.weights / part).exists, work)

    def train_step(self, arm):
        return Step(f"train {arm}", self.samples[arm] / RATE / 60,
                    lambda: self.seen_all(arm), lambda: self.train(arm))

    def score_step(self, name):
        return Step(f"score {name}", self.pairs / 250,
                    (self.runs / f"{name}.json").exists, lambda: self.score(name))

    def seen_all(self, arm):
        """Whether a run has seen all of its samples: a stopped one has a record too."""
        path = self.runs / arm / "run.json"
        if not path.exists():
            return False
        record = json.loads(path.read_text())
        return record["samples"] == record["of"]

    def train(self, name):
        arm = "final" if name == "shipped" else name
        objective = build(arm, self.preset, self.weights, runs=self.records)
        run = Run(objective, self.runs / name, self.samples[name], workers=1)
        done = run.train()
        run.export("python -m pbe_lite.second.tables")
        run.close()
        if not done:
            raise SystemExit(f"{name} is not yet trained; call again to go on")

    def questions(self):
        if self._questions is None:
            self._questions = [make_pair(i) for i in range(self.pairs)]
        return self._questions

    def answers(self, name):
        """(raw, results) of a cheat, a baseline, or a model at a guidance scale."""
        pairs = self.questions()
        if name in CHEATS:
            return cheat(name, pairs, self.weights)
        if name in BASELINES:
            return paint_baseline(name, pairs, self.preset.sampling_steps,
                                  weights=self.weights)
        arm, _, scale = name.partition("@")
        pipe = PaintByExamplePipeline.from_pretrained(self.runs / arm / "weights")
        pipe.set_progress_bar_config(disable=True)
        return paint_pairs(pipe, pairs, float(scale) if scale else None)

    def score(self, name):
        row = score_row(self.questions(), *self.answers(name), self.weights)
        write_json({"rows": {name: row}}, self.runs / f"{name}.json")

    def table(self, name):
        table = self.losses() if name == "losses" else {
            "pairs": self.pairs, "samples": self.samples, "rows": {
                row: json.loads((self.runs / f"{row}.json").read_text())["rows"][row]
                for row in ROWS[name]}}
        for folder in (self.results, self.runs):  # the latter says that it is done
            write_json(table, folder / f"{name}.json")

    def losses(self):
        """The training losses, {arm: [[samples, mean loss of 50 steps], ...]}."""
        return {path.parent.name: [(n, round(loss, 5)) for n, loss in
                                   json.loads(path.read_text())["history"]]
                for path in sorted(self.runs.glob("*/run.json"))}

    def run(self):
        """Do what is left, and say how long it will take."""
        while left := [step for step in self.steps() if not step.is_done()]:
            print(f"{left[0].name}: about {left[0].minutes:.0f} min; {len(left)} steps, "
                  f"about {sum(s.minutes for s in left):.0f} min are left", flush=True)
            left[0].work()


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--plan", action="store_true", help="only print what is left")
    parser.add_argument("--runs", type=Path, default=RUNS / "second")
    parser.add_argument("--records", type=Path, default=RUNS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    args = parser.parse_args(argv)
    study = Study(args.runs, args.results, args.weights, records=args.records)
    if not args.plan:
        return study.run()
    for step in study.steps():
        print(f"{'done' if step.is_done() else f'{step.minutes:4.0f} min':>8}  {step.name}")


if __name__ == "__main__":
    main()
