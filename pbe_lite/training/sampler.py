"""Which sample has its turn when: a function of the step alone.

Sample n of a run is (epoch, index) = (n // N, p[n % N]) with p a permutation drawn from
(seed, epoch).  So a run is resumed from its step, and ranks and workers change nothing.
"""

import numpy as np
from torch.utils.data import DataLoader

from pbe_lite.training.checkpoint import outlive_sigterm


class Positions:
    """Batches of keys (epoch, index) from `step` on, this rank's share of each.

    Raises ValueError for a batch that cannot be shared equally."""

    def __init__(self, size, batch_size, seed, step, steps, rank=0, ranks=1):
        if batch_size % ranks:
            raise ValueError(f"batch_size {batch_size} must be divisible by {ranks} ranks")
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.steps, self.rank, self.ranks = range(step, steps), rank, ranks

    def __len__(self):
        return len(self.steps)

    def __iter__(self):
        share, epoch, order = self.batch_size // self.ranks, None, None
        for step in self.steps:
            first = step * self.batch_size + self.rank * share
            keys = []
            for n in range(first, first + share):
                if n // self.size != epoch:
                    epoch = n // self.size
                    order = np.random.default_rng([self.seed, epoch]).permutation(self.size)
                keys.append((epoch, int(order[n % self.size])))
            yield keys


def check_batch(objective, batch_size, samples, accumulate, ranks):
    """Raise ValueError where a batch cannot be shared out by ranks and parts."""
    if samples < batch_size:
        raise ValueError(f"samples must be at least a batch of {batch_size}, got {samples}")
    if batch_size % (ranks * accumulate):
        raise ValueError(f"batch_size {batch_size} must be divisible by {ranks} ranks x "
                         f"accumulate {accumulate}")
    if not objective.divisible and ranks * accumulate > 1:
        raise ValueError(f"{objective.arm} compares all samples of a batch: train it on "
                         "one rank, with accumulate 1")


def build_loader(objective, batch_size, seed, step, steps, accelerator, workers):
    """Batches of this rank's samples, from `step` on, by `workers` processes (0: this
    one)."""
    positions = Positions(len(objective), batch_size, seed, step, steps,
                          accelerator.process_index, accelerator.num_processes)
    ahead = {"prefetch_factor": 4} if workers else {}
    return DataLoader(objective, batch_sampler=positions, num_workers=workers, **ahead,
                      worker_init_fn=outlive_sigterm,
                      pin_memory=accelerator.device.type == "cuda")
