"""Which sample has its turn when, and at which rate: functions of the step alone.

Sample n of a run is (epoch, index) = (n // N, p[n % N]) with p a permutation drawn from
(seed, epoch).  So a run is resumed from its step, and ranks and workers change nothing.
"""

import math

import numpy as np


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


def learning_rate(step, steps, preset):
    """Share of the peak rate: linear warm-up, then constant, a cosine to zero, or a line
    to zero over the last part of the run."""
    warm = min(1, (step + 1) / max(1, preset.warmup_steps, preset.warmup_share * steps))
    decay = .5 + .5 * math.cos(math.pi * step / steps) if preset.lr_decay else 1
    if preset.decay_from < 1:
        decay *= min(1, (1 - step / steps) / (1 - preset.decay_from))
    return warm * decay
