"""Two ranks of one thread each against one rank of one thread: samples a second.

    python tests/benchmarks/scaling.py               # the lite arm `final`, 64 steps each

Gradients go over gloo.  The batch of the run is the same, so each of two ranks computes
half of it; the ratio is 2 where nothing is lost.  Nothing else should run beside it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPT = """
import json, sys, time
import torch
from pbe_lite.objectives import build_objective
from pbe_lite.presets import LITE
from pbe_lite.recipes import lite_records
from pbe_lite.train import Run
from pbe_lite.weights import WEIGHTS

torch.set_num_threads(1)
steps, warm, times = int(sys.argv[2]), 8, []
objective = build_objective("final", LITE, lite_records(LITE), WEIGHTS)
run = Run(objective, sys.argv[1], (steps + warm) * LITE.batch_size, workers=0)
update = run._update

def timed(batch):
    times.append(time.perf_counter())
    return update(batch)

run._update = timed
run.train()
if run.accelerator.is_main_process:
    rate = (len(times) - 1 - warm) * LITE.batch_size / (times[-1] - times[warm])
    print(json.dumps({"rate": rate, "loss": float(run.losses[-1])}))
run.accelerator.end_training()
"""


def measure(ranks, steps):
    """{"rate": samples a second, "loss": of the last step}."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1",
                   "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(SCRIPT)
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                  f"--nproc-per-node={ranks}"] if ranks > 1 else [sys.executable]
        call = [*launch, str(script), f"{folder}/run", str(steps)]
        done = subprocess.run(call, env=environment, stdout=subprocess.PIPE, text=True,
                              check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=64)
    args = parser.parse_args()
    one, two = (measure(ranks, args.steps) for ranks in (1, 2))
    print(f"one rank {one['rate']:.1f}, two ranks {two['rate']:.1f} samples/s: ratio "
          f"{two['rate'] / one['rate']:.2f}; last loss {one['loss']:.6f} and "
          f"{two['loss']:.6f}")


if __name__ == "__main__":
    main()
