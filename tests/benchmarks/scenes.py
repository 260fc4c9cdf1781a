"""How many scenes a second does one core draw?

    python tests/benchmarks/scenes.py

Renders training scenes one after the other on one thread, after a warm-up that fills the
cache of sprites; wanted are 300 a second at 64 px and 100 at 128 px.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pbe_lite.data.tabletop import FIRST_TRAINING_SEED, Scene  # noqa: E402

WANTED = {64: 300, 128: 100}


def scenes_per_second(size, first, scenes):
    """(by processor time, by the clock on the wall): what one core does however busy the
    machine is, and what came out of it just now."""
    core, wall = time.process_time(), time.perf_counter()
    for seed in range(first, first + scenes):
        Scene(seed).render(size)
    return scenes / (time.process_time() - core), scenes / (time.perf_counter() - wall)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", type=int, default=1000)
    args = parser.parse_args()
    for size, wanted in WANTED.items():
        scenes_per_second(size, FIRST_TRAINING_SEED, 1000)  # fills the cache of sprites
        core, wall = scenes_per_second(size, FIRST_TRAINING_SEED + 10_000, args.scenes)
        print(f"{size:4} px: {core:6.0f} scenes/s a core ({wall:.0f} by the clock on the "
              f"wall); wanted {wanted}: {'ok' if core >= wanted else 'TOO SLOW'}")


if __name__ == "__main__":
    main()
