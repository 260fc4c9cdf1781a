"""Two ranks of one thread each against one rank of one thread: samples a second.

    python tests/benchmarks/scaling.py               # the lite arm `final`, 64 steps each

Gradients go over gloo.  The ratio is 2 where nothing is lost: with the preset's batch on
each rank, as one would train, and with one such batch shared out, where every rank still
pays for a whole gradient on the wire and for a whole step of the optimisers.  Nothing
else should run beside it; of several runs by turns the fastest counts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pbe_lite.config import LITE

SCRIPT = """
import json, sys, time
from dataclasses import replace

import torch
from pbe_lite.training.losses import build_objective
from pbe_lite.config import LITE
from pbe_lite.data.scenes import training_records
from pbe_lite.training.trainer import Run
from pbe_lite.config import WEIGHTS

torch.set_num_threads(1)
torch.manual_seed(0)
steps, batch, warm, times = int(sys.argv[2]), int(sys.argv[3]), 8, []
preset = replace(LITE, batch_size=batch)
objective = build_objective("final", preset, training_records(preset), WEIGHTS)
run = Run(objective, sys.argv[1], (steps + warm) * batch, workers=0)
update = run._update

def timed(batch):
    times.append(time.perf_counter())
    return update(batch)

run._update = timed
run.train()
if run.accelerator.is_main_process:
    rate = (len(times) - 1 - warm) * batch / (times[-1] - times[warm])
    print(json.dumps({"rate": rate, "loss": run.history[0][1]}))
run.close()
"""


def measure(ranks, batch, steps):
    """{"rate": samples a second, "loss": mean of the first 50 steps}."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(SCRIPT)
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                  f"--nproc-per-node={ranks}"] if ranks > 1 else [sys.executable]
        call = [*launch, str(script), f"{folder}/run", str(steps), str(batch)]
        done = subprocess.run(call, env=environment, stdout=subprocess.PIPE, text=True,
                              check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    size = LITE.batch_size
    found = {(1, size): [], (2, size): [], (2, size // 2): []}  # (ranks, samples each)
    for _ in range(args.rounds):
        for (ranks, share), runs in found.items():
            runs.append(measure(ranks, ranks * share, args.steps))
    best = {setup: max(run["rate"] for run in runs) for setup, runs in found.items()}
    for (ranks, share), rate in best.items():
        print(f"{ranks} ranks, {share} samples each: {rate:.1f} samples/s, ratio "
              f"{rate / best[1, size]:.2f}; loss {found[ranks, share][0]['loss']:.4f}")


if __name__ == "__main__":
    main()
