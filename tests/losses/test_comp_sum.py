"""Comp-sum losses: what they refuse, and what only they could get wrong."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from thalweg.core.catalogue import catalogue
from thalweg.losses import CompSum, SmoothAdversarialCompSum, consistency_bound, pgd
from thalweg.problems import digits_mlp

SCORES, TARGET = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 3.0]]), torch.tensor([0, 1])


@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 1.0, 2.0])])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_at_tau_one_it_is_torchs_cross_entropy(weight, reduction):
    loss = CompSum(weight=weight, reduction=reduction)
    for target in (TARGET, torch.tensor([-100, 2]), SCORES.softmax(1).flip(0)):
        expected = F.cross_entropy(SCORES, target, weight=weight, reduction=reduction)
        torch.testing.assert_close(loss(SCORES, target), expected)


@pytest.mark.parametrize("target", [torch.tensor([0, -100]), torch.tensor([[1.0, 0, 0], [0] * 3])])
def test_classes_that_do_not_count_have_no_gradient_however_bad_they_are(target):
    scores = torch.tensor([[300.0, 0.0, 1.0], [-900.0, 0.0, 900.0]], requires_grad=True)
    loss = CompSum(0.0, reduction="sum")(scores, target)
    loss.backward()
    assert loss == 0
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"tau": -0.1}, "tau is -0.1"),
        ({"tau": math.nan}, "tau is nan"),
        ({"tau": math.inf}, "no infinite member"),
        ({"kind": "gce"}, "kind is 'gce'"),
        ({"tau": 0.5, "kind": "absolute"}, "give one of both"),
    ],
)
def test_a_member_there_is_not_is_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        CompSum(**arguments)
    if "kind" not in arguments:
        with pytest.raises(ValueError, match=says):
            consistency_bound(0.1, **arguments)


def test_the_adversarial_loss_refuses_what_does_not_fit():
    for arguments, says in (
        ({"rho": 0.0}, "rho is"),
        ({"nu": -1.0}, "nu is"),
        ({"tau": -1}, "tau"),
    ):
        with pytest.raises(ValueError, match=says):
            SmoothAdversarialCompSum(**arguments)
    with pytest.raises(ValueError, match="reduction is 'max'"):
        SmoothAdversarialCompSum(reduction="max")
    loss = SmoothAdversarialCompSum()
    with pytest.raises(ValueError, match="class indices"):
        loss(SCORES, SCORES, SCORES)
    with pytest.raises(ValueError, match="the same samples"):
        loss(SCORES, TARGET, SCORES[:1])


def test_the_bound_refuses_what_is_no_excess():
    with pytest.raises(ValueError, match="an excess is not below 0"):
        consistency_bound(torch.tensor([0.1, -0.1]))
    with pytest.raises(ValueError, match="n_classes is 1"):
        consistency_bound(0.1, n_classes=1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"radius": 0.0}, "radius is 0"),
        ({"n_steps": 0}, "n_steps is 0"),
        ({"step_size": -1.0}, "step_size is -1"),
        ({"bounds": (0.0, 1.0)}, "outside of the bounds"),
    ],
)
def test_an_attack_that_cannot_be_made_is_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        pgd(nn.Identity(), SCORES, torch.sum, **{"radius": 0.1, **arguments})


def test_an_attack_leaves_no_trace_in_the_model_even_where_it_fails():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout()).train()
    model[2].eval()
    before = model[1].running_mean.clone()
    with torch.no_grad():
        pgd(model, SCORES, torch.sum, radius=0.1)
    with pytest.raises(RuntimeError):
        pgd(model, SCORES, lambda o: o.view(7), radius=0.1)
    assert [module.training for module in model] == [True, True, False]
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(model[1].running_mean, before)


def test_adversarial_training_pays_for_its_attack():
    recipe = catalogue().recipe("sgd+adversarial-comp-sum(n_steps=3)")
    points = list(digits_mlp.problem().run(recipe, 0, steps=2, device="cpu", final=True))
    assert points[-1].cost.gradients == 2 * (1 + 3)
