"""python -m pbe_lite.reproduce: every weight and every number of the course."""

import argparse
import math
from pathlib import Path

from pbe_lite.config import RESULTS, RUNS, WEIGHTS
from pbe_lite.errors import one_line
from pbe_lite.evaluation import tables


def main(argv=None):
    """Do what is left of the plan, or only print it.

    Exit code 0 also when time was up or SIGTERM came: all that was done is kept."""
    args = build_parser().parse_args(argv)
    with one_line():
        study = tables.Study(args.runs, args.results, args.weights, records=args.records,
                             minutes=args.minutes)
        if args.plan:
            return print_plan(tables.chosen(study.steps(), args.only))
        try:
            if not study.run(args.only):
                print(f"nothing is left to do: delete what {args.weights} or {args.runs} "
                      "hold of it to do it again")
        except tables.Stopped as stopped:
            print(f"{stopped}; call again to go on")


def build_parser():
    parser = argparse.ArgumentParser(prog="pbe_lite.reproduce",
                                     description=tables.__doc__.split("\n")[0])
    add = parser.add_argument
    add("--plan", action="store_true", help="only print what is left")
    add("--only", metavar="STEP", help="a step, as 'train judge', or all of one thing, as "
                                       "'judge' or 'naive'; see --plan")
    add("--minutes", type=float, default=math.inf, help="of this sitting")
    add("--runs", type=Path, default=RUNS / "arms", help="where runs and scores are kept")
    add("--records", type=Path, default=RUNS, help="where the scenes are rendered")
    add("--results", type=Path, default=RESULTS, help="where the tables go")
    add("--weights", type=Path, default=WEIGHTS, help="where the weights go; what is "
                                                      "there is not trained again")
    return parser


def print_plan(steps):
    """A line for each step, done or with its minutes, and what is left in all."""
    for step in steps:
        print(f"{'done' if step.is_done() else f'{step.minutes:4.0f} min':>8}  {step.name}")
    left = [step for step in steps if not step.is_done()]
    print(f"{len(left)} of {len(steps)} steps are left, about "
          f"{sum(step.minutes for step in left) / 60:.1f} h")
