"""Every weight and every number of the course, from nothing on.

    python -m pbe_lite.reproduce                # all of it; call again after a stop
    python -m pbe_lite.reproduce --plan         # only say what is left, and for how long
    python -m pbe_lite.reproduce --only judge   # only what has to do with the judge

Trains the parts (codec, CLIP, judge, prior) and ships them to `data/weights`; trains the
paper's six arms from the same prior, on the same samples, with the same seed, so that a
difference between two of them is the idea's; two bottlenecks of other widths; and the
long run that the demos show.  Scores each on the benchmark, and writes to `data/results`
Table 1 (against other methods), Table 2 (what each idea adds), the widths, what guidance
does, and the losses.  Not done again: a table or score whose file is there, weights that
are shipped, an arm that has seen all of its samples.
"""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from pbe_lite.config import LITE, RESULTS, RUNS, WEIGHTS
from pbe_lite.data.scenes import training_records
from pbe_lite.evaluation.benchmark import PAIRS, make_pair
from pbe_lite.evaluation.evaluate import score_row, write_json
from pbe_lite.evaluation.judge import JudgeTraining
from pbe_lite.evaluation.painting import (
    BASELINES,
    CHEATS,
    cheat,
    paint_baseline,
    paint_pairs,
)
from pbe_lite.models.shipping import ship
from pbe_lite.pipeline import PaintByExamplePipeline
from pbe_lite.training.cli import ARM_SAMPLES, SAMPLES
from pbe_lite.training.contrastive import Contrastive
from pbe_lite.training.losses import Reconstruction, build_objective
from pbe_lite.training.trainer import Run

JUDGE_SAMPLES = 72_000
PARTS = ("codec", "clip", "judge", "prior")
IDEAS = ("bottleneck", "naive", "final", "augment", "naive_augment", "scratch")
WIDTHS = {1: "bottleneck", 5: "tokens_5", 17: "tokens_17", 65: "naive"}  # in tokens
SHIPPED_ARMS = ("naive", "bottleneck")  # beside the long run, which is shipped as "final"
ROWS = {
    "table1": ("copy_paste", "flat_patch", *BASELINES, "shipped", "round_trip",
               "ground_truth"),
    "table2": ("copy_paste", "flat_patch", "scratch", "naive", "naive_augment",
               "bottleneck", "augment", "final", "round_trip", "ground_truth"),
    "width": tuple(WIDTHS.values()),
    "guidance": ("shipped@1", "shipped@1.5", "shipped@2", "shipped@3", "shipped@4"),
}
RATE = 80  # samples a second on 2 cores, until this machine has shown its own
OWN_BATCH = {"codec": Reconstruction, "clip": Contrastive, "judge": JudgeTraining}


class Step(NamedTuple):
    """A part of the plan; `name` is what it does and with what: "train judge"."""

    name: str
    minutes: float
    is_done: Callable
    work: Callable


class Stopped(Exception):
    """Time was up, or SIGTERM came, before all was done; what was done is kept."""


class Study:
    """Where everything lies, and what each step does.

    records: where the training scenes are rendered; samples: changes to how many each
    run sees, by its name; minutes: of training in this sitting.  Raises ValueError when
    `runs` holds runs of another number of samples or scores on another number of pairs."""

    def __init__(self, runs=RUNS / "arms", results=RESULTS, weights=WEIGHTS, preset=LITE,
                 pairs=PAIRS, samples=None, records=RUNS, seed=0, minutes=math.inf):
        self.runs, self.results, self.weights = Path(runs), Path(results), Path(weights)
        self.preset, self.pairs, self.seed, self.records = preset, pairs, seed, records
        arms = dict.fromkeys((*SHIPPED_ARMS, "shipped", *IDEAS, *WIDTHS.values()))
        self.samples = {**{part: SAMPLES.get(part, JUDGE_SAMPLES) for part in PARTS},
                        **dict.fromkeys(arms, ARM_SAMPLES), "shipped": SAMPLES["final"],
                        **(samples or {})}
        self.arms = list(arms)
        self.until = time.monotonic() + 60 * minutes
        self._questions = None
        self.check_runs()

    def check_runs(self):
        """Raise ValueError for runs that no table of this study may hold."""
        for name in self.samples:
            record = self.record(name)
            wanted = self.samples[name] - self.samples[name] % self.batch_size(name)
            if record and record["of"] != wanted:
                raise ValueError(f"{self.runs / name} must be trained on {wanted} samples, "
                                 f"was on {record['of']}: give another folder of runs")
        for path in self.runs.glob("*.json"):
            found = json.loads(path.read_text()).get("pairs", self.pairs)
            if found != self.pairs:
                raise ValueError(f"{path} must be of {self.pairs} pairs, is of {found}: "
                                 "give another folder of runs")

    def batch_size(self, name):
        """Samples a step of what is trained under a name."""
        return OWN_BATCH.get(name, self.preset).batch_size

    def record(self, name):
        """What the run of a name says of itself, None where there is no word of it."""
        path = self.runs / name / "run.json"
        return json.loads(path.read_text()) if path.exists() else None

    # -------------------------------------------------------------------- the plan

    def steps(self):
        """The whole plan, in order: what others stand on comes first."""
        plan = [self.part_step(part, part) for part in PARTS]
        for arm in self.arms:
            plan += self.arm_steps(arm)
        names = dict.fromkeys(name for rows in ROWS.values() for name in rows)
        plan += [self.score_step(name) for name in names if name not in self.samples]
        return plan + [Step(f"write {name}", 0, (self.runs / f"{name}.json").exists,
                            lambda name=name: self.table(name)) for name in
                       (*ROWS, "losses")]

    def arm_steps(self, arm):
        """Train, ship where it is to be shipped, score."""
        if arm == "shipped":
            return [self.part_step(arm, "final"), self.score_step(arm)]
        shipped = [Step(f"ship {arm}", 0, (self.weights / arm).exists,
                        lambda: ship(self.runs / arm, self.weights))]
        train = Step(f"train {arm}", self.minutes(arm), lambda: self.seen_all(arm),
                     lambda: self.train(arm))
        return [train, *(shipped if arm in SHIPPED_ARMS else ()), self.score_step(arm)]

    def part_step(self, name, folder):
        """Train what other steps find in `weights / folder`, unless it is there."""
        def work():
            self.train(name)
            ship(self.runs / name, self.weights)
        return Step(f"train {name}", self.minutes(name), (self.weights / folder).exists,
                    work)

    def score_step(self, name):
        return Step(f"score {name}", self.pairs / 250,
                    (self.runs / f"{name}.json").exists, lambda: self.score(name))

    def minutes(self, name):
        """How long a training takes, at the rate of the arms done so far."""
        records = filter(None, map(self.record, self.arms))
        rate = min((r["samples"] / 60 / r["minutes"] for r in records if r["minutes"]),
                   default=RATE)
        return self.samples[name] / rate / 60

    def seen_all(self, arm):
        """Whether a run has seen all of its samples: a stopped one has a record too."""
        record = self.record(arm)
        return bool(record) and record["samples"] >= record["of"]

    # ------------------------------------------------------------------- the steps

    def objective(self, name):
        """What is trained under a name, the same at every call."""
        torch.manual_seed(self.seed)  # what begins at random, begins the same every time
        if name == "judge":
            return JudgeTraining(self.preset, self.weights, seed=self.seed + 1)
        records = None if name == "clip" else training_records(self.preset,
                                                               runs=self.records)
        arm = "final" if name == "shipped" else name
        return build_objective(arm, self.preset, records, self.weights, self.seed)

    def train(self, name):
        """Train to the end and export.

        Raises Stopped when time or SIGTERM ends it sooner: half an arm is no row."""
        workers = 2 if name in ("clip", "judge") else 1  # these render their scenes
        run = Run(self.objective(name), self.runs / name, self.samples[name], self.seed,
                  workers=workers)
        try:
            if not run.train((self.until - time.monotonic()) / 60):
                raise Stopped(f"{name}: stopped at {run.step * run.batch_size:,} of "
                              f"{self.samples[name]:,} samples")
            run.export(f"python -m pbe_lite.reproduce --only {name}")
        finally:
            run.close()

    def questions(self):
        if self._questions is None:
            self._questions = [make_pair(i, self.preset.resolution)
                               for i in range(self.pairs)]
        return self._questions

    def answers(self, name):
        """(raw, results) of a cheat, a baseline, or a model at a guidance scale."""
        pairs = self.questions()
        if name in CHEATS:
            return cheat(name, pairs, self.weights)
        if name in BASELINES:
            return paint_baseline(name, pairs, self.preset.sampling_steps, seed=self.seed,
                                  weights=self.weights)
        arm, _, scale = name.partition("@")
        folder = self.weights / "final" if arm == "shipped" else self.runs / arm / "weights"
        pipe = PaintByExamplePipeline.from_pretrained(folder)
        pipe.set_progress_bar_config(disable=True)
        return paint_pairs(pipe, pairs, float(scale) if scale else None, seed=self.seed)

    def score(self, name):
        row = score_row(self.questions(), *self.answers(name), self.weights)
        write_json({"pairs": self.pairs, "rows": {name: row}}, self.runs / f"{name}.json")

    def table(self, name):
        table = self.losses() if name == "losses" else {
            "pairs": self.pairs, "samples": self.samples, "seed": self.seed, "rows": {
                row: json.loads((self.runs / f"{row}.json").read_text())["rows"][row]
                for row in ROWS[name]}}
        for folder in (self.results, self.runs):  # the latter says that it is done
            write_json(table, folder / f"{name}.json")

    def losses(self):
        """The training losses, {run: [[samples, mean loss of 50 steps], ...]}."""
        return {name: [(n, round(loss, 5)) for n, loss in record["history"]]
                for name in self.samples if (record := self.record(name))}

    def run(self, only=None):
        """Do what is left of `chosen(steps, only)`, and say how long it will take; how many
        steps were done.  Raises Stopped when time is up."""
        done = 0
        while left := [s for s in chosen(self.steps(), only) if not s.is_done()]:
            if time.monotonic() >= self.until:
                raise Stopped(f"time is up; {len(left)} steps are left")
            print(f"{left[0].name}: about {left[0].minutes:.0f} min; {len(left)} steps, "
                  f"about {sum(s.minutes for s in left):.0f} min are left", flush=True)
            left[0].work()
            done += 1
        return done


def chosen(steps, only=None):
    """All steps, or one by its name, or those of one thing: "judge" is "train judge".

    Raises ValueError where there is none."""
    found = [s for s in steps if only in (None, s.name, s.name.split(" ", 1)[1])]
    if not found:
        raise ValueError(f"only must name a step, as 'train judge' or 'judge', of "
                         f"{', '.join(s.name for s in steps)}; got {only!r}")
    return found
