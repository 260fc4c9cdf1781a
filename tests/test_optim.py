"""AdamW and Muon: who steps which weight, and what a step of Muon is."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from pbe_lite.config import FULL, LITE
from pbe_lite.training.optim import (
    Muon,
    build_optimizers,
    check_owners,
    trainable,
)


def an_objective(preset, lr=None):
    """A module with weights of every shape that the objectives have."""
    module = nn.Module()
    module.conv_in, module.conv = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3)
    module.norm, module.linear = nn.LayerNorm(6), nn.Linear(6, 5)
    module.uncond_vector = nn.Parameter(torch.randn(1, 1, 6))
    module.frozen = nn.Linear(5, 5).requires_grad_(False)
    module.preset, module.lr, module.betas = preset, lr, None
    return module


def test_every_trained_weight_has_exactly_one_optimiser():
    objective = an_objective(LITE)
    adam, muon = build_optimizers(objective)
    theirs = [*adam.param_groups[0]["params"], *muon.param_groups[0]["params"]]
    ids = [id(p) for p in theirs]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in trainable(objective).values()}
    assert {id(p) for p in muon.param_groups[0]["params"]} == {
        id(objective.conv.weight), id(objective.linear.weight)}


def test_a_weight_without_an_optimiser_or_with_two_is_told():
    objective = an_objective(LITE)
    parameters, (adam, muon) = trainable(objective), build_optimizers(objective)
    check_owners(parameters, [adam, muon])
    with pytest.raises(RuntimeError, match="not: .*'conv.weight', 'linear.weight'"):
        check_owners(parameters, [adam])
    with pytest.raises(RuntimeError, match="not: .*'norm.weight'"):
        check_owners(parameters, [adam, muon, adam])
    objective.norm = nn.LayerNorm(6)  # another in the place of the one that is stepped
    with pytest.raises(RuntimeError, match="'norm.weight', 'norm.bias'"):
        check_owners(trainable(objective), [adam, muon])


def test_weights_that_were_copied_meanwhile_are_still_trained():
    """As accelerate copies them to "cpu:0" where there are several ranks."""
    conv = nn.Conv2d(8, 16, 3)
    muon = Muon([conv.weight], lr=.01)
    conv.weight.data = conv.weight.data.clone()
    before = conv.weight.detach().clone()
    conv.weight.grad = torch.randn_like(conv.weight)
    muon.step()
    assert (conv.weight != before).float().mean() > .99


def test_adamw_alone_where_no_rate_for_muon_is_given():
    assert len(build_optimizers(an_objective(FULL))) == 1
    assert len(build_optimizers(an_objective(LITE, lr=1e-3))) == 1
    assert len(build_optimizers(an_objective(replace(LITE, muon_lr=0)))) == 1


def test_a_step_moves_the_convolution_itself_by_equal_singular_values():
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 16, 3)
    before = conv.weight.detach().clone()
    muon = Muon([conv.weight], lr=.01)
    conv.weight.grad = torch.randn_like(conv.weight)
    muon.step()
    step = (conv.weight.detach() - before).flatten(1)
    rms = step.square().mean().sqrt()
    # orthonormal rows (16 of 72 numbers), times .2 sqrt(72): a root mean square of .2
    assert .5 < rms / (.01 * .2) < 1.3
    values = torch.linalg.svdvals(step)
    assert values.max() / values.min() < 3
    plain = torch.linalg.svdvals(conv.weight.grad.flatten(1))
    assert values.max() / values.min() < plain.max() / plain.min()
    muon.zero_grad()
    assert conv.weight.grad is None


def test_its_steps_are_those_of_torchs_muon_matrix_by_matrix():
    """Tall, wide and square ones, some of one shape, which are stepped together."""
    torch.manual_seed(0)
    shapes = [(8, 24), (24, 8), (6, 6), (8, 24), (4, 5, 3, 3), (45, 4)]
    ours = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [nn.Parameter(w.detach().flatten(1).clone()) for w in ours]
    muon = Muon(ours, lr=.1)
    reference = torch.optim.Muon(theirs, lr=.1, weight_decay=0, ns_steps=3,
                                 adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        for weight, matrix in zip(ours, theirs, strict=True):
            weight.grad = torch.randn_like(weight)
            matrix.grad = weight.grad.flatten(1).clone()
        muon.step()
        reference.step()
        for weight, matrix in zip(ours, theirs, strict=True):
            torch.testing.assert_close(weight.flatten(1), matrix, rtol=0, atol=2e-3)


def test_a_weight_without_gradient_stays():
    weight = nn.Parameter(torch.ones(3, 3))
    muon = Muon([weight], lr=.1)
    muon.step()
    assert torch.equal(weight, torch.ones(3, 3))


def test_a_state_taken_up_again_makes_the_same_step():
    torch.manual_seed(0)
    gradients = torch.randn(3, 4, 5, 3, 3)

    def run(stop):
        weight = nn.Parameter(torch.ones(4, 5, 3, 3))
        muon = Muon([weight], lr=.1)
        for i, gradient in enumerate(gradients):
            if i == stop:
                state, muon = muon.state_dict(), Muon([weight], lr=.1)
                muon.load_state_dict(state)
            weight.grad = gradient
            muon.step()
        return weight.detach()

    assert torch.equal(run(stop=None), run(stop=2))
