"""The optimisers of a run, AdamW, and Muon for the hidden weights where the preset says
so; and the schedule of their learning rate.

Muon (Jordan et al., 2024) steps along the momentum of a weight matrix with all its
singular values set to about one.  Rare directions, such as those that tell one of some
hundred objects, then move as fast as common ones, which suits short training.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from pbe_lite.config import Optimiser

# as its authors advise: AdamW for the first and last layers, and for embeddings
NOT_HIDDEN = ("conv_in", "conv_out", "uncond_vector", "embeddings")


class MatrixMuon(torch.optim.Muon):
    """torch's Muon, which takes matrices only, for weights (out, in, ...) of any shape:
    each is seen as (out, the rest), in the same memory."""

    def __init__(self, weights, lr):
        self.weights = list(weights)
        matrices = [nn.Parameter(w.detach().flatten(1)) for w in self.weights]
        super().__init__(matrices, lr=lr, adjust_lr_fn="match_rms_adamw", ns_steps=3,
                         weight_decay=0)

    def step(self, closure=None):
        """One step on the gradients that the weights hold.

        Each matrix is bound to its weight's memory anew: whatever has moved the weights
        meanwhile, `Module.to` for instance, it is they that are trained."""
        matrices = self.param_groups[0]["params"]
        for matrix, weight in zip(matrices, self.weights, strict=True):
            matrix.data = weight.detach().view(matrix.shape)  # fails rather than copies
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        return super().step(closure)

    def zero_grad(self, set_to_none=True):
        """Forget the gradients of the weights, and so of the matrices."""
        super().zero_grad(set_to_none)
        for weight in self.weights:
            weight.grad = None


def owned(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """The weights that an optimiser steps, accelerate's wrapping or not."""
    optimizer = getattr(optimizer, "optimizer", optimizer)
    if isinstance(optimizer, MatrixMuon):
        return optimizer.weights
    return [p for group in optimizer.param_groups for p in group["params"]]


def check_owners(parameters: dict, optimizers: list) -> None:
    """Raise RuntimeError unless each of {name: parameter} is in exactly one optimiser."""
    owners = Counter(id(p) for optimizer in optimizers for p in owned(optimizer))
    wrong = [name for name, p in parameters.items() if owners[id(p)] != 1]
    if wrong or len(owners) != len(parameters):
        raise RuntimeError(f"each of the {len(parameters)} trainable tensors must be in "
                           f"exactly one optimiser; not: {wrong or 'tensors unknown'}")


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """{name: parameter} of all that get a gradient."""
    return {n: p for n, p in module.named_parameters() if p.requires_grad}


def adamw(parameters, preset, lr, betas):
    """AdamW; with `preset.adam8bit` that of bitsandbytes, whose two moments take 2 bytes a
    parameter in place of 8.  Raises ValueError where that is not installed."""
    if not preset.adam8bit:
        return torch.optim.AdamW(parameters, lr=lr, betas=betas, fused=True)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise ValueError("adam8bit needs bitsandbytes; run: pip install bitsandbytes") \
            from None
    return AdamW8bit(parameters, lr=lr, betas=betas)


def build_optimizers(objective: nn.Module) -> list[torch.optim.Optimizer]:
    """[AdamW] or [AdamW, MatrixMuon] over all that an objective trains; on the device
    where it will be trained.  An objective with a rate of its own keeps to AdamW."""
    preset, parameters = objective.preset, trainable(objective)
    muon_lr = 0 if objective.lr else preset.muon_lr
    hidden = {n: p for n, p in parameters.items() if muon_lr and p.ndim > 1
              and not any(part in NOT_HIDDEN for part in n.split("."))}
    rest = [p for n, p in parameters.items() if n not in hidden]
    optimizers = [adamw(rest, preset, objective.lr or preset.lr,
                        objective.betas or preset.betas)]
    if hidden:
        optimizers.append(MatrixMuon(hidden.values(), muon_lr))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def learning_rate(step: int, steps: int, preset: Optimiser) -> float:
    """Share of the peak rate, 0..1, at `step` of `steps`: linear warm-up, then constant,
    then linear to zero over the part of the run after `preset.decay_from`."""
    warmup = max(1, preset.warmup_steps, preset.warmup_share * steps)
    rising = min(1, (step + 1) / warmup)
    if preset.decay_from >= 1:
        return rising
    return rising * min(1, (1 - step / steps) / (1 - preset.decay_from))


def check_finite(parameters: dict) -> None:
    """Raise FloatingPointError where one of {name: parameter} is NaN or infinite."""
    bad = [name for name, p in parameters.items() if not torch.isfinite(p).all()]
    if bad:
        raise FloatingPointError(f"nothing exported: {bad[0]} and {len(bad) - 1} more "
                                 "tensors hold NaN or infinite numbers")


def set_rate(optimizers: list, share: float) -> None:
    """Give every group that share of its own peak rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share


@contextmanager
def averaged(ema, parameters: dict) -> Iterator[None]:
    """The averaged weights in the place of the trained ones, while it lasts; without an
    average, `ema` None, the trained ones stay.  parameters: {name: parameter}."""
    if ema is None:
        yield
        return
    ema.store(parameters.values())
    ema.copy_to(parameters.values())
    try:
        yield
    finally:
        ema.restore(parameters.values())
