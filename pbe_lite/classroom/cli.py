"""The classroom: release sheets to students, grade submissions, make next term's.

    python -m pbe_lite.classroom release
    python -m pbe_lite.classroom grade submissions/
    python -m pbe_lite.classroom variant --term 2027s

`notebooks/assignments/README.md` is the teacher's guide.
"""

import argparse
import os
import sys
import zipfile
from pathlib import Path

from pbe_lite.classroom import assignments, sandbox
from pbe_lite.config import RUNS

SOURCE = assignments.ASSIGNMENTS / "source"
RELEASE = assignments.ASSIGNMENTS / "release"
PLACE = RUNS / "classroom"
EXTRA = ("nbgrader", "nbformat", "nbclient", "jupyter_client")  # "pbe_lite[classroom]"


def pack(folder, file):
    """Zip the released sheets, flat: a student unpacks and opens them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(Path(folder).glob("*/*.ipynb")):
            archive.write(path, path.name)
    return file


def release(args):
    """Write the student's sheets, without solutions and hidden tests, and their zip."""
    from pbe_lite.classroom import grading
    grading.release(assignments.read_all(args.source), args.to)
    print(pack(args.to, args.zip))


def grade(args):
    """Grade a folder of submissions: grades.csv and one feedback page a student."""
    from pbe_lite.classroom import grading
    from pbe_lite.classroom.runner import Limits
    if not args.unconfined and not sandbox.version():
        raise ValueError(
            "this system cannot keep a submission away from your files (that takes Linux "
            "with Landlock): grade inside a container, or say --unconfined")
    limits = Limits(args.seconds, args.sheet_seconds, not args.unconfined)
    grading.grade(args.submissions, assignments.read_all(args.source), args.out, args.jobs,
                  limits, args.again)
    print(f"{args.out / 'grades.csv'}, pages in {args.out / 'feedback'}")


def variant(args):
    """New constants and expected values, so that last term's answers do not pass."""
    from pbe_lite.classroom import grading
    rules, place = assignments.read_terms(args.terms), args.out or PLACE / args.term
    source = {name: assignments.vary(sheet, rules[name], args.term)
              for name, sheet in assignments.read_all(args.source).items()}
    for name, sheet in source.items():
        assignments.write(sheet, place / "source" / name / f"{name}.ipynb")
    grading.release(source, place / "release")
    print(pack(place / "release", place / f"{args.term}.zip"))
    print(f"grade it with: grade SUBMISSIONS --source {place / 'source'}")


def parser():
    """The command line."""
    whole = argparse.ArgumentParser(prog="pbe_lite.classroom",
                                    description=__doc__.split("\n")[0])
    commands = whole.add_subparsers(required=True)

    def command(function):
        sub = commands.add_parser(function.__name__, help=function.__doc__)
        sub.set_defaults(function=function)
        sub.add_argument("--source", type=Path, default=SOURCE,
                         help="sheets with solutions, <name>/<name>.ipynb")
        return sub

    sub = command(release)
    sub.add_argument("--to", type=Path, default=RELEASE)
    sub.add_argument("--zip", type=Path, default=PLACE / "release.zip")
    sub = command(grade)
    sub.add_argument("submissions", type=Path, help="a folder or a notebook a student")
    sub.add_argument("--out", type=Path, default=PLACE / "grades")
    sub.add_argument("--jobs", type=int, default=min(8, os.cpu_count() or 1),
                     help="submissions at the same time")
    sub.add_argument("--seconds", type=int, default=60, help="for one cell")
    sub.add_argument("--sheet-seconds", type=int, default=600, help="for a whole sheet")
    sub.add_argument("--again", action="store_true",
                     help="run submissions that were graded before, too")
    sub.add_argument("--unconfined", action="store_true",
                     help="run submissions with all the rights that you have")
    sub = command(variant)
    sub.add_argument("--term", required=True, help="any word, for example 2027s")
    sub.add_argument("--terms", type=Path, default=assignments.ASSIGNMENTS / "terms.json")
    sub.add_argument("--out", type=Path, help="default: runs/classroom/<term>")
    return whole


def main(argv=None):
    args = parser().parse_args(argv)
    try:
        args.function(args)
    except ImportError as error:
        missing = (error.name or "nbgrader").split(".")[0]
        if missing not in EXTRA:
            raise
        sys.exit(f"error: {missing} is missing; run: pip install -r requirements.txt")
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")
