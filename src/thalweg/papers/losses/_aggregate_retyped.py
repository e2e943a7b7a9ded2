"""Oracles of learning from aggregate responses."""

import math

import torch

from thalweg.data import aggregate
from thalweg.losses import AggregateLoss, aggregate_risk
from thalweg.papers.losses._aggregate_trials import drawn, minimiser


def loss_decomposes() -> None:
    """Follow both levels for single numbers, of bags of 3, 1 and 2; one bag has no sample."""
    predicted, response = [0.3, -1.0, 2.0, 0.5, 1.5, -0.2], [1.0, -2.0, 0.7, 9.0]
    bag = [0, 2, 0, 1, 2, 0]
    instance = sum((response[b] - f) ** 2 for f, b in zip(predicted, bag, strict=True)) / 6
    level = 0.0
    for b in range(3):
        own = [f for f, c in zip(predicted, bag, strict=True) if c == b]
        level += len(own) * (response[b] - sum(own) / len(own)) ** 2 / 6
    arguments = (
        *(torch.tensor(x, dtype=torch.float64) for x in (predicted, response)),
        torch.tensor(bag),
    )
    for rho in (0.0, 0.3, 1.0):
        ours = AggregateLoss(rho=rho)(*arguments).item()
        assert math.isclose(ours, rho * instance + (1 - rho) * level, rel_tol=1e-12)
    assert AggregateLoss("bag")(*arguments) == AggregateLoss(rho=0.0)(*arguments)
    assert AggregateLoss("instance")(*arguments) == AggregateLoss(rho=1.0)(*arguments)
    f, y = (torch.stack((x, -2 * x), 1) for x in arguments[:2])
    each = [AggregateLoss()(f[:, i], y[:, i], arguments[2]).item() for i in range(2)]
    assert math.isclose(AggregateLoss()(f, y, arguments[2]).item(), sum(each) / 2)


def minimiser_is_the_closed_form() -> None:
    """Its gradient vanishes there; at rho = 1 it is least squares on what each bag tells."""
    x, y, _ = drawn(0, 60, 5, 1.0)
    for k, rho in ((3, 0.4), (3, 1.0), (2, 0.0), (1, 0.7)):
        known = aggregate(y, k, seed=1)
        theta = minimiser(x, known, rho).requires_grad_()
        value = AggregateLoss(rho=rho)(x @ theta, *known)
        (slope,) = torch.autograd.grad(value, theta)
        assert slope.abs().max() < 1e-12
        if rho == 1 or k == 1:
            told = known.response[known.bag]
            expected = torch.linalg.lstsq(x, told[:, None]).solution[:, 0]
            torch.testing.assert_close(theta.detach(), expected)


def risk_where_it_is_known() -> None:
    """Without bags, at either end, and against draws; private noise adds to the response's own."""
    for rho in (0.0, 0.3, 1.0):
        plain = aggregate_risk(1, samples_per_feature=4, rho=rho, noise=0.7)
        assert math.isclose(plain.variance, 0.7 / 3)
        assert abs(plain.bias) < 1e-12
    level = aggregate_risk(3, samples_per_feature=8, rho=0.0, noise=0.7)
    assert math.isclose(level.total, 0.7 * 3 / 5)  # least squares on 8 / 3 bags a feature
    instance = aggregate_risk(2, samples_per_feature=4, rho=1.0, noise=0.5)
    assert math.isclose(instance.bias, 1 / 3)
    assert math.isclose(instance.variance, 1 / 12)
    private = aggregate_risk(
        *(3,), samples_per_feature=8, rho=0.2, noise=0.7, signal=2.0, epsilon=3.0, bound=1.5
    )
    noisy = aggregate_risk(3, samples_per_feature=8, rho=0.2, noise=0.7 + 18 / 27, signal=2.0)
    assert math.isclose(private.total, noisy.total)
    total = 0.0
    for seed in range(12):
        x, y, theta = drawn(seed, 640, 80, 0.5)
        total += float((minimiser(x, aggregate(y, 4, seed=seed), 0.1) - theta).square().sum()) / 12
    expected = aggregate_risk(4, samples_per_feature=8, rho=0.1, noise=0.5).total
    assert abs(total / expected - 1) < 0.08, (total, expected)


def means_of_bags() -> None:
    """Every sample is in one bag; responses are clipped, and noise is as wide as privacy asks."""
    y = torch.linspace(-3, 3, 11, dtype=torch.float64) ** 3
    told = aggregate(y, 4, seed=2)
    assert sorted(told.bag.bincount().tolist()) == [3, 4, 4]
    for b, mean in enumerate(told.response.tolist()):
        own = [float(r) for r, c in zip(y, told.bag, strict=True) if c == b]
        assert math.isclose(mean, sum(own) / len(own), rel_tol=1e-12, abs_tol=1e-12)
    assert not torch.equal(told.bag, aggregate(y, 4, seed=3).bag)
    torch.testing.assert_close(aggregate(y, 4, seed=2, bound=0.1), told)
    both = aggregate(torch.stack((y, -y), 1), 4, seed=2)
    torch.testing.assert_close(both.response, torch.stack((told.response, -told.response), 1))
    clipped = aggregate(y, 4, seed=2, epsilon=1e9, bound=2.0)
    torch.testing.assert_close(
        clipped.response, aggregate(y.clamp(-2, 2), 4, seed=2).response, rtol=0, atol=1e-6
    )
    for k, n in ((1, 20_000), (4, 80_000)):
        noise = aggregate(torch.zeros(n), k, epsilon=0.5, bound=2.0).response.double() * k / 8
        moments = [noise.mean(), noise.abs().mean(), noise.square().mean()]
        for ours, expected in zip(moments, (0.0, 1.0, 2.0), strict=True):
            assert abs(float(ours) - expected) < 0.1
    zeros = torch.zeros(5)
    left = [aggregate(zeros, 4, epsilon=1.0, bound=1.0, seed=seed).response for seed in range(400)]
    ratio = torch.stack(left).abs().mean(0)  # of noise in a bag of 4 and in the smaller one
    assert 3.3 < ratio[1] / ratio[0] < 4.7
