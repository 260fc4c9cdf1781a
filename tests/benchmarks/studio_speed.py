"""How long after a click on Paint does something show?

    python tests/benchmarks/studio_speed.py
    python tests/benchmarks/studio_speed.py --arm final --megapixels 1 24

The Studio without a browser: from the call that the Paint button makes to the first
preview, to copy-paste and to the last picture of each arm, one sample, default settings.
With --megapixels the source is a photograph of that size, its hole a brush stroke and the
box that it starts with; "mark" is how long a stroke takes.  The first round is a warm-up;
medians of the others.  Add what the browser takes to show it: tests/test_browser.py looks
at that.
"""

import argparse
import statistics
import tempfile
import time

import numpy as np
import torch
from PIL import Image

from pbe_lite.config import WEIGHTS
from pbe_lite.data.tabletop import Scene
from pbe_lite.studio.app import Studio


def one_round(studio):
    """{what: seconds after the click} of one round; "preview" is the first one."""
    times, begun = {}, time.perf_counter()

    def saw_preview(_):
        times.setdefault("preview", time.perf_counter() - begun)

    def saw_results(_):
        for card in studio.results.cards:
            times.setdefault(card.answer.arm, time.perf_counter() - begun)

    def saw_done(change):
        if "Done" in change["new"]:
            times.setdefault("done", time.perf_counter() - begun)

    studio.preview.observe(saw_preview, "value")
    studio.results.row.observe(saw_results, "children")
    studio.notice.observe(saw_done, "value")
    studio.paint()
    studio.wait()
    times["Paint again"] = time.perf_counter() - begun
    studio.notice.unobserve(saw_done, "value")
    studio.preview.unobserve(saw_preview, "value")
    studio.results.row.unobserve(saw_results, "children")
    return times


def photograph(megapixels):
    """(H, W, 3) uint8, 3 : 2, of smooth colours and noise."""
    height = round((megapixels * 1e6 / 1.5) ** .5)
    size = (round(1.5 * height), height)
    smooth = np.asarray(Image.fromarray(Scene(7).render(256).image).resize(size))
    return smooth ^ np.random.default_rng(0).integers(0, 8, smooth.shape, np.uint8)


def mark(studio):
    """Seconds for one more stroke, from the browser's message to the new mask."""
    begun = time.perf_counter()
    studio.painter.canvas._handle_custom_msg({"do": "mark", "id": "a:1", "mark": {
        "kind": "brush", "points": [[.4, .4], [.6, .5]], "width": .05}}, [])
    return time.perf_counter() - begun


def measure(studio, runs):
    """{what: median seconds}."""
    strokes = [mark(studio) for _ in range(runs)]
    rounds = [one_round(studio) for _ in range(runs + 1)][1:]
    times = {what: statistics.median(r[what] for r in rounds) for what in rounds[0]}
    return {"mark": statistics.median(strokes), **times}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--arm", help="only this one")
    parser.add_argument("--megapixels", type=float, nargs="*", default=[None])
    args = parser.parse_args()
    pipes = {args.arm: WEIGHTS / args.arm} if args.arm else None
    print(f"{torch.get_num_threads()} threads, median of {args.runs}, seconds after Paint:")
    for size in args.megapixels:
        source = None if size is None else photograph(size)
        with tempfile.TemporaryDirectory() as folder:
            studio = Studio(pipes, source, folder=folder)
            times = measure(studio, args.runs)
        print("miniature world" if size is None else f"{size:g} megapixels")
        for what, seconds in times.items():
            print(f"  {what:<12}{seconds:7.3f}")


if __name__ == "__main__":
    main()
