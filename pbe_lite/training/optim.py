"""The optimisers of a run, AdamW, and Muon for the hidden weights where the preset says
so; and the schedule of their learning rate.

Muon (Jordan et al., 2024) steps along the momentum of a weight matrix with all its
singular values set to about one.  Rare directions, such as those that tell one of many
objects, then move as fast as common ones, which suits short training.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from pbe_lite.config import Optimiser

# as its authors advise: AdamW for the first and last layers, and for embeddings
NOT_HIDDEN = ("conv_in", "conv_out", "uncond_vector", "embeddings")


class Muon(torch.optim.Optimizer):
    """Muon for weights (out, in, ...) of any shape, each seen as a matrix (out, the rest).

    The same steps as torch.optim.Muon's, which takes matrices only and one at a time; here
    all of one shape go through the iteration together, in half of the time."""

    def __init__(self, weights, lr):
        super().__init__(weights, dict(lr=lr))

    @torch.no_grad()
    def step(self, closure=None):
        """W <- W - lr .2 sqrt(max(out, rest)) orthogonal(g + .95 (m - g)), where the
        momentum m <- m + .05 (g - m); the factor gives steps of AdamW's size."""
        for group in self.param_groups:
            alike = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    alike[weight.grad.flatten(1).shape].append(weight)
            for shape, weights in alike.items():
                matrices = [self.momentum(w).bfloat16() for w in weights]
                updates = orthogonal(torch.stack(matrices))
                rate = group["lr"] * .2 * math.sqrt(max(shape))
                for weight, update in zip(weights, updates, strict=True):
                    weight.add_(update.reshape(weight.shape), alpha=-rate)

    def momentum(self, weight, decay=.95):
        """The gradient's running mean, looked ahead (Nesterov's): (out, rest)."""
        gradient = weight.grad.flatten(1)
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        mean = state["momentum_buffer"].lerp_(gradient, 1 - decay)
        return gradient.lerp(mean, decay)


def orthogonal(matrices: torch.Tensor, steps: int = 3) -> torch.Tensor:
    """(N, A, B) with all singular values brought near to 1, in bf16: Newton and Schulz's
    iteration X <- a X + (b X X' + c (X X')^2) X, with the coefficients of its authors."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def owned(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """The weights that an optimiser steps."""
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
    """[AdamW] or [AdamW, Muon] over all that an objective trains; on the device
    where it will be trained.  An objective with a rate of its own keeps to AdamW."""
    preset, parameters = objective.preset, trainable(objective)
    muon_lr = 0 if objective.lr else preset.muon_lr
    hidden = {n: p for n, p in parameters.items() if muon_lr and p.ndim > 1
              and not any(part in NOT_HIDDEN for part in n.split("."))}
    rest = [p for n, p in parameters.items() if n not in hidden]
    optimizers = [adamw(rest, preset, objective.lr or preset.lr,
                        objective.betas or preset.betas)]
    if hidden:
        optimizers.append(Muon(hidden.values(), muon_lr))
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
