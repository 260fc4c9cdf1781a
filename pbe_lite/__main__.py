"""python -m pbe_lite edit | convert | demo | evaluate | check | check-data | ship.

Each command imports what it needs: `check` runs where all of it is missing.
"""

import argparse
import math
import sys
from pathlib import Path

from pbe_lite.config import RUNS, WEIGHTS
from pbe_lite.edit import add_arguments as add_edit_arguments
from pbe_lite.edit import edit
from pbe_lite.environment import check_environment
from pbe_lite.errors import one_line


def _pipeline(args):
    from pbe_lite.pipeline import PaintByExamplePipeline
    return PaintByExamplePipeline.from_pretrained(args.model)


def convert(args):
    """The authors' Lightning checkpoint -> a folder in the published layout."""
    from pbe_lite.models.convert import convert_checkpoint
    from pbe_lite.models.weight_files import read_dtype
    print(convert_checkpoint(args.checkpoint, args.folder,
                             dtype=args.dtype and read_dtype(args.dtype)))


def demo(args):
    """Edit one scene of the miniature world and say where the picture is."""
    from pbe_lite.evaluation.benchmark import make_pair
    from pbe_lite.plots import strip
    pair, pipe = make_pair(args.pair), _pipeline(args)
    out = pipe(pair.exemplar, pair.source.image, pair.hole, seed=args.seed).images[0]
    path = RUNS / "demo.png"
    path.parent.mkdir(exist_ok=True)
    strip([pair.source.image, pair.hole, pair.exemplar, out],
          ["source", "hole", f"exemplar: {pair.name}", "result"]).savefig(path, dpi=150)
    print(f"source, hole, exemplar and result side by side: {path}")


def evaluate(args):
    """The benchmark: a row for the arm, and for each answer that is no model's."""
    from pbe_lite.evaluation import evaluate as benchmark
    args.model = args.model or args.weights / args.arm
    if args.steps is not None and args.steps < 1:
        raise ValueError(f"steps must be at least 1, got {args.steps}")
    if args.guidance is not None and not math.isfinite(args.guidance):
        raise ValueError(f"guidance must be a finite number, got {args.guidance}")
    if args.json:  # told now, not after minutes
        args.json.parent.mkdir(parents=True, exist_ok=True)
    pipe = _pipeline(args)
    pipe.set_progress_bar_config(disable=True)
    table = benchmark.evaluate(pipe, args.arm, args.pairs, args.guidance, args.steps,
                               args.seed, args.weights)
    print(benchmark.format_table(table))
    if args.json:
        benchmark.write_json(table, args.json)


def check(args):
    """One line a requirement: ok, or what to do."""
    sys.exit(0 if check_environment() else 1)


def check_folder(args):
    """What is wrong with a folder of training data, file by file."""
    from pbe_lite.data.validate import check_data
    sys.exit(0 if check_data(args.data, args.split, tuple(args.area), args.index,
                             args.limit) else 1)


def ship_run(args):
    """Copy a run's weights to data/weights in half precision, with its manifest entry."""
    from pbe_lite.models.shipping import read_manifest, ship
    print(ship(args.run))
    print(f"{len(read_manifest())} arms in the manifest")


def main(argv=None):
    parser = argparse.ArgumentParser(prog="pbe_lite", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)

    def command(function, name=None):
        sub = commands.add_parser(name or function.__name__, help=function.__doc__)
        sub.set_defaults(function=function)
        return sub

    def sampling(sub):
        sub.add_argument("--guidance", type=float, help="default: as the weights say")
        sub.add_argument("--steps", type=int, help="default: as the weights say")
        sub.add_argument("--seed", type=int, default=0)

    add_edit_arguments(command(edit))
    sub = command(convert)
    sub.add_argument("checkpoint", type=Path, help="as model.ckpt, 12.6 GB")
    sub.add_argument("folder", type=Path, help="a new one")
    sub.add_argument("--dtype", choices=("float32", "float16", "bfloat16"),
                     help="default: the checkpoint's")
    sub = command(demo)
    sub.add_argument("--model", default=WEIGHTS / "final")
    sub.add_argument("--pair", type=int, default=4, help="of the benchmark's 400")
    sub.add_argument("--seed", type=int, default=0)
    sub = command(evaluate)
    sub.add_argument("--arm", default="final")
    sub.add_argument("--model", help="a folder of weights; default: <weights>/<arm>")
    sub.add_argument("--weights", type=Path, default=WEIGHTS,
                     help="where codec, clip and judge lie, which the scores need")
    sub.add_argument("--pairs", type=int, default=400)
    sub.add_argument("--json", type=Path)
    sampling(sub)
    command(check)
    sub = command(check_folder, "check-data")
    sub.add_argument("--data", type=Path, required=True)
    sub.add_argument("--split", default="train", help="of Open Images")
    sub.add_argument("--area", type=float, nargs=2, default=(.02, .8),
                     metavar=("LEAST", "MOST"), help="share of the picture, as in training")
    sub.add_argument("--index", type=Path, help="where the index is made; default: --data")
    sub.add_argument("--limit", type=int, help="decode only so many images")
    sub = command(ship_run, "ship")
    sub.add_argument("--run", type=Path, required=True)
    args = parser.parse_args(argv)
    with one_line():
        args.function(args)


if __name__ == "__main__":
    main()
