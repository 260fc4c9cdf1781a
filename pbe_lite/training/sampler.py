"""Which sample has its turn when: a function of the step alone.

Sample n of a run is (epoch, index) = (n // N, p[n % N]) with p a permutation drawn from
(seed, epoch).  So a run is resumed from its step, and ranks and workers change nothing.
"""

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
