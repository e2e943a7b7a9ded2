"""SSO beyond the laws: what is evaluated how often, and what it refuses."""

import pytest
import torch
from torch import nn

from thalweg.core.catalogue import catalogue
from thalweg.optim import SSO
from thalweg.problems import digits_mlp


def test_a_race_counts_expensive_and_cheap_evaluations():
    recipe = catalogue().recipe("sso(inner_steps=3)")
    points = list(digits_mlp.problem().run(recipe, 0, steps=4, device="cpu", final=False))
    assert points[-1].cost.gradients == 4
    assert points[-1].cost.functions >= 4 * (1 + 3)


def test_what_it_refuses():
    model = nn.Linear(3, 2)
    optimizer = SSO(model.parameters())
    with pytest.raises(TypeError, match="one tensor"):
        optimizer.step(lambda: (model(torch.zeros(1, 3)),), lambda z: z[0].sum())
    for wrong in ({"shrink": 1.0}, {"expand": 0.9}, {"inner_steps": 0}, {"inner_lr": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SSO(model.parameters(), **wrong)
    with pytest.raises(ValueError, match="real parameters"):
        SSO([torch.zeros(1, dtype=torch.complex64)])


def test_groups_move_in_proportion_to_their_rates():
    def moved(rates):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        before = model.weight.detach().clone()
        groups = [{"params": [p], "lr": r} for p, r in zip(model.parameters(), rates, strict=True)]
        optimizer = SSO(groups, inner_steps=1)
        x = torch.randn(8, 3)
        optimizer.step(lambda: model(x), lambda z: (z - 1).square().mean() / 2)
        return (model.weight.detach() - before) / optimizer.param_groups[0]["inner_lr"]

    torch.testing.assert_close(moved((0.25, 1.0)), moved((1.0, 1.0)) / 4)
