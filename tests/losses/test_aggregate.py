"""Learning from the means of bags: what is refused, and that no single response gets through."""

import math

import pytest
import torch

from thalweg.core.catalogue import catalogue
from thalweg.core.errors import RecipeError
from thalweg.data import aggregate
from thalweg.losses import AggregateLoss, aggregate_risk
from thalweg.problems import diabetes, digits_mlp

PREDICTED, MEANS, BAG = torch.zeros(4), torch.zeros(2), torch.tensor([0, 0, 1, 1])


def test_the_loss_refuses_what_does_not_fit():
    for arguments, says in (
        ({"kind": "mean"}, "kind is 'mean'"),
        ({"rho": 1.1}, "rho is 1.1"),
        ({"reduction": "max"}, "reduction is 'max'"),
    ):
        with pytest.raises(ValueError, match=says):
            AggregateLoss(**arguments)
    for wrong in (
        (PREDICTED[:3], MEANS, BAG),
        (PREDICTED[:, None], MEANS, BAG),
        (PREDICTED, MEANS[0], BAG),
    ):
        with pytest.raises(ValueError, match=r"give \(n, \.\.\.\)"):
            AggregateLoss()(*wrong)


def test_bags_absent_from_a_batch_are_asked_for_nothing():
    predicted, means = (PREDICTED[:2] + 1).requires_grad_(), MEANS.clone().requires_grad_()
    loss = AggregateLoss()(predicted, means, BAG[:2])
    loss.backward()
    assert loss == AggregateLoss()(predicted, MEANS[:1], BAG[:2]) == 1
    assert predicted.grad.isfinite().all()
    assert means.grad.tolist() == [-2, 0]


def test_many_samples_are_counted_in_half_precision():
    predicted = torch.ones(3000, dtype=torch.bfloat16)
    target = torch.ones(1, dtype=torch.bfloat16)
    assert AggregateLoss("bag")(predicted, target, torch.zeros(3000, dtype=torch.long)) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"bag_size": 0}, "bag_size is 0"),
        ({"rho": -0.1}, "rho is -0.1"),
        ({"samples_per_feature": 1}, "above 1"),
        ({"rho": 0.0, "bag_size": 8}, "above the size of the bags, 8"),
        ({"noise": -1.0}, "noise is -1"),
        ({"signal": -1.0}, "signal -1"),
        ({"epsilon": 0.0}, "epsilon 0"),
    ],
)
def test_a_risk_without_meaning_is_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        aggregate_risk(**{"bag_size": 2, "samples_per_feature": 8, "rho": 0.5, **arguments})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"bag_size": 0}, "bag_size is 0"),
        ({"response": torch.arange(4)}, "real"),
        ({"response": torch.tensor(1.0)}, "one row a sample"),
        ({"epsilon": 1.0}, "bound None"),
        ({"epsilon": 0.0, "bound": 1.0}, "epsilon is 0"),
        ({"epsilon": 1.0, "bound": -1.0}, "bound -1"),
        ({"epsilon": 1.0, "bound": 1.0, "response": torch.ones(4, 2)}, "shape"),
    ],
)
def test_bags_that_cannot_be_made_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        aggregate(**{"response": PREDICTED, "bag_size": 2, **arguments})


def test_larger_bags_are_best_in_private_only_where_spread_is_penalised():
    def best(rho):
        return min(
            range(1, 15),
            key=lambda k: (
                aggregate_risk(k, samples_per_feature=20, rho=rho, epsilon=2.0, bound=3.0).total
            ),
        )

    assert best(0.0) == 1
    assert best(1.0) == 2
    assert aggregate_risk(2, samples_per_feature=20, rho=0.5, epsilon=math.inf, bound=9.0) == (
        aggregate_risk(2, samples_per_feature=20, rho=0.5)
    )


def test_a_step_sees_the_means_of_whole_bags_alone():
    problem = diabetes.problem()
    setup = problem.setup(0)
    of_bags = problem.apply(catalogue().recipe("bags(bag_size=5)"), setup)
    samples = {tuple(x.tolist()): float(y) for x, y in zip(*problem.train, strict=True)}
    seen = 0
    for batch in of_bags.batches:
        response, index = batch.target
        own = torch.tensor([samples[tuple(x.tolist())] for x in batch.input])
        for b, mean in enumerate(response):
            torch.testing.assert_close(own[index == b].mean(), mean.squeeze())
            assert (index == b).sum() == 5
        seen += len(own)
    assert seen == len(samples) // 5 * 5


@pytest.mark.parametrize(("problem", "recipe"), [(digits_mlp, "bags"), (diabetes, "mixup+bags")])
def test_bags_are_made_of_real_responses_of_single_samples(problem, recipe):
    with pytest.raises(RecipeError):
        problem.problem().check(catalogue().recipe(recipe))
