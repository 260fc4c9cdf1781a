"""How long after a click on Paint does something show?

    python tests/benchmarks/studio_speed.py

The Studio without a browser: from the call that the Paint button makes to the first
preview, to copy-paste and to the last picture of each arm, one sample, default settings.
The first round is a warm-up; medians of the others.  Add what the browser takes to show
it: tests/test_browser.py looks at that.
"""

import argparse
import statistics
import tempfile
import time

import torch

from pbe_lite.studio.app import Studio


def one_round(studio):
    """{what: seconds after the click} of one round; "preview" is the first one."""
    times, begun = {}, time.perf_counter()

    def saw_preview(_):
        times.setdefault("preview", time.perf_counter() - begun)

    def saw_results(_):
        for card in studio.results.cards:
            times.setdefault(card.answer.arm, time.perf_counter() - begun)

    studio.preview.observe(saw_preview, "value")
    studio.results.row.observe(saw_results, "children")
    studio.paint()
    studio.wait()
    studio.preview.unobserve(saw_preview, "value")
    studio.results.row.unobserve(saw_results, "children")
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        studio = Studio(folder=folder)
        rounds = [one_round(studio) for _ in range(args.runs + 1)][1:]
    print(f"{', '.join(studio.pipes)}: {studio.settings.steps.value} steps, "
          f"{torch.get_num_threads()} threads, median of {args.runs}, seconds after Paint:")
    for what in rounds[0]:
        print(f"  {what:<12}{statistics.median(r[what] for r in rounds):7.3f}")


if __name__ == "__main__":
    main()
