"""SSO against the paper's equations, and against what must hold of its surrogate."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from thalweg.optim import SSO

INPUTS = [[1.0, -0.5], [0.3, 2.0], [-1.2, 0.4]]
LABELS = [1.0, -1.0, 1.0]


def logistic(labels: Tensor, z: Tensor) -> Tensor:
    """Return the mean logistic loss of labels -1 and 1."""
    return nn.functional.softplus(-labels * z).mean()


def equations_retyped() -> None:
    """Follow surrogate and search for single numbers, on logistic regression of three samples."""
    eta, m, rate, c, shrink, expand = 2.0, 3, 0.7, 0.4, 0.8, 1.5
    theta = [0.5, -1.0]
    ours = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    inputs, labels = (torch.tensor(x, dtype=torch.float64) for x in (INPUTS, LABELS))
    optimizer = SSO(
        [ours],
        eta,
        inner_steps=m,
        inner_lr=rate,
        sufficient_decrease=c,
        shrink=shrink,
        expand=expand,
    )

    def outputs(theta: Sequence[float]) -> list[float]:
        return [sum(a * b for a, b in zip(row, theta, strict=True)) for row in INPUTS]

    for _ in range(3):
        z_t = outputs(theta)
        g = [-y / (1 + math.exp(y * z)) / 3 for y, z in zip(LABELS, z_t, strict=True)]

        def q(z: Sequence[float], z_t: Sequence[float] = z_t, g: Sequence[float] = g) -> float:
            steps = [new - old for new, old in zip(z, z_t, strict=True)]
            linear = sum(a * b for a, b in zip(g, steps, strict=True))
            return linear + sum(d * d for d in steps) / (2 * eta * 3)

        for _ in range(m):
            z = outputs(theta)
            slope = [g[i] + (z[i] - z_t[i]) / (eta * 3) for i in range(3)]
            gradient = [sum(slope[i] * INPUTS[i][j] for i in range(3)) for j in range(2)]
            squared = sum(x * x for x in gradient)
            rate *= expand
            while True:
                tried = [x - rate * d for x, d in zip(theta, gradient, strict=True)]
                if q(outputs(tried)) <= q(z) - c * rate * squared:
                    break
                rate *= shrink
            theta = tried
        expected = sum(math.log1p(math.exp(-y * z)) for y, z in zip(LABELS, z_t, strict=True)) / 3
        loss = optimizer.step(lambda: inputs @ ours, partial(logistic, labels))
        assert not loss.requires_grad
        assert math.isclose(float(loss), expected, rel_tol=1e-12)
        assert math.isclose(optimizer.param_groups[0]["inner_lr"], rate, rel_tol=1e-12)
        torch.testing.assert_close(ours.detach(), torch.tensor(theta, dtype=torch.float64))


def one_inner_step_is_gradient_descent() -> None:
    """With m = 1 every parameter of any model moves by minus the step times its gradient."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    for p in model.parameters():
        p.data.normal_(generator=generator)
    x = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    target = torch.arange(7) % 3
    optimizer = SSO(model.parameters(), lr=2.0, inner_steps=1)
    for _ in range(3):
        before = [p.detach().clone() for p in model.parameters()]
        loss = nn.functional.cross_entropy(model(x), target)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        optimizer.step(lambda: model(x), lambda z: nn.functional.cross_entropy(z, target))
        rate = optimizer.param_groups[0]["inner_lr"]
        for p, old, gradient in zip(model.parameters(), before, gradients, strict=True):
            torch.testing.assert_close(p.detach(), old - rate * gradient)


def linear_models_reach_the_surrogates_minimum() -> None:
    """For z = X theta the inner steps end at theta - eta rows pinv(X) g."""
    inputs = torch.tensor([[1.0, 0.2], [-0.4, 1.5], [0.7, -0.9]], dtype=torch.float64)
    labels = torch.tensor(LABELS, dtype=torch.float64)
    theta = torch.tensor([0.3, -0.6], dtype=torch.float64, requires_grad=True)
    gradient = torch.autograd.grad(logistic(labels, z := inputs @ theta), z)[0]
    expected = theta.detach() - 1.5 * 3 * torch.linalg.pinv(inputs) @ gradient
    optimizer = SSO([theta], lr=1.5, inner_steps=200, tolerance=1e-10)
    optimizer.step(lambda: inputs @ theta, partial(logistic, labels))
    torch.testing.assert_close(theta.detach(), expected, rtol=1e-8, atol=1e-8)


def searches_end_where_they_may() -> None:
    """Just enough decrease is enough; where there is none, or no gradient, nothing changes."""
    for lr, theta, outputs, end in (
        (1.0, 0.0, lambda p: p, -1.0),  # a single number, which is one row
        (1.0, 2.0, lambda p: p - 2 * p.detach(), 2.0),  # whose gradient points the wrong way
        (1.0, 2.0, lambda p: p.detach(), 2.0),
        (0.0, 2.0, lambda p: p, 2.0),
    ):
        p = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
        optimizer = SSO([p], lr, inner_steps=2, inner_lr=1.0, expand=1.0, tolerance=0.0)
        optimizer.step(partial(outputs, p), lambda z: 1.0 * z)
        assert (p.item(), optimizer.param_groups[0]["inner_lr"]) == (end, 1.0)


def losses_never_rise() -> None:
    """At eta = 1/L, the surrogate lies above the loss: no step on a full batch raises it."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(20, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(2, (20,), generator=generator).double() * 2 - 1
    for m in (1, 5, 20):
        theta = torch.zeros(6, dtype=torch.float64, requires_grad=True)
        optimizer = SSO([theta], lr=4.0, inner_steps=m)  # L = 1/4 for the logistic loss
        outputs = partial(torch.mv, inputs, theta)
        losses = [float(optimizer.step(outputs, partial(logistic, labels))) for _ in range(15)]
        assert losses == sorted(losses, reverse=True)


def random_numbers_are_frozen_within_a_step() -> None:
    """The outputs draw the same at each call in a step, and anew in the next."""
    theta, drawn = torch.zeros(3, requires_grad=True), []

    def outputs() -> Tensor:
        drawn.append(torch.rand(3))
        return theta * drawn[-1]

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        optimizer = SSO([theta], lr=1.0, inner_steps=3)
        for _ in range(2):
            drawn.clear()
            optimizer.step(outputs, lambda z: (z - 1).square().mean())
            assert len(drawn) > 3
            assert all(torch.equal(x, drawn[0]) for x in drawn)
            assert not torch.equal(torch.rand(3), drawn[0])
