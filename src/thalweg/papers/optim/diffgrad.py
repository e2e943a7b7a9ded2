"""diffGrad (2019): Adam with a friction that depends on how the gradient changes."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from thalweg.core.claim import Effort, Finding, MeasurementClaim, RaceClaim, Size
from thalweg.core.example import Example
from thalweg.core.method import Choice, Interval
from thalweg.core.paper import Paper
from thalweg.core.verdicts import beats, exceeds, together
from thalweg.optim import DiffGrad
from thalweg.training.methods import optimizer_method


def equations_retyped() -> None:
    """Follow the paper's equations, and either decay, for single numbers of a coupled quadratic."""
    curvature = [[3.0, -1.0, 0.5], [-1.0, 2.0, 0.3], [0.5, 0.3, 1.0]]
    matrix = torch.tensor(curvature, dtype=torch.float64)
    start, steps, lr, beta1, beta2, eps, decay = [1.0, -2.0, 0.5], 12, 0.05, 0.8, 0.97, 1e-3, 0.1
    for decoupled in (False, True):
        added, shrunk = (0.0, decay) if decoupled else (decay, 0.0)
        theta, m, v, previous = list(start), [0.0] * 3, [0.0] * 3, [0.0] * 3
        for t in range(1, steps + 1):
            gradient = [
                sum(curvature[i][j] * theta[j] for j in range(3)) + added * theta[i]
                for i in range(3)
            ]
            for i, g in enumerate(gradient):
                m[i] = beta1 * m[i] + (1 - beta1) * g
                v[i] = beta2 * v[i] + (1 - beta2) * g * g
                xi = 1 / (1 + math.exp(-abs(previous[i] - g)))
                m_hat, v_hat = m[i] / (1 - beta1**t), v[i] / (1 - beta2**t)
                theta[i] -= lr * (xi * m_hat / (math.sqrt(v_hat) + eps) + shrunk * theta[i])
                previous[i] = g

        ours = torch.tensor(start, dtype=torch.float64, requires_grad=True)
        optimizer = DiffGrad(
            [ours],
            lr,
            betas=(beta1, beta2),
            eps=eps,
            weight_decay=decay,
            decoupled_weight_decay=decoupled,
        )
        for _ in range(steps):
            optimizer.zero_grad()
            torch.autograd.backward(ours @ matrix @ ours / 2)
            optimizer.step()
        expected = torch.tensor(theta, dtype=torch.float64)
        torch.testing.assert_close(ours.detach(), expected, rtol=1e-12, atol=1e-12)


def half_of_adam_where_the_gradient_is_constant() -> None:
    """From the second step on a constant gradient's friction is exactly one half."""
    ours = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    adams = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    pair = DiffGrad([ours], lr=0.1), torch.optim.Adam([adams], lr=0.1)
    gradient = torch.tensor([1.0, -2.0, 0.3, 1e-3], dtype=torch.float64)
    for t in range(5):
        before = ours.detach().clone(), adams.detach().clone()
        for parameter, optimizer in zip((ours, adams), pair, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
        friction = 0.5 if t else torch.sigmoid(gradient.abs())
        torch.testing.assert_close(
            ours.detach() - before[0], friction * (adams.detach() - before[1]), rtol=1e-9, atol=0
        )


def _f1(x: Tensor) -> Tensor:
    return torch.where(x <= 0, (x + 0.3) ** 2, (x - 0.2) ** 2 + 0.05)


def _f2(x: Tensor) -> Tensor:
    return torch.where(x <= -0.9, -40 * x - 35.15, x**3 + x * torch.sin(8 * x) + 0.85)


FUNCTIONS = {"F1": (_f1, 0.05), "F2": (_f2, 0.85)}  # with the value of the poor minimum


def escapes(seed: int, size: Size) -> Mapping[str, float]:
    """Descend as the authors' notebook does, from a start near the paper's; 1 is an escape."""
    generator = torch.Generator().manual_seed(seed)
    start = -1.1 + 0.2 * torch.rand((), generator=generator, dtype=torch.float64)
    figures = {}
    for name, (function, poor) in FUNCTIONS.items():
        for kind in (DiffGrad, torch.optim.Adam):
            x = start.clone().requires_grad_()
            optimizer = kind([x], lr=0.1, betas=(0.95, 0.999))
            for _ in range(300):
                optimizer.zero_grad()
                torch.autograd.backward(function(x))
                optimizer.step()
            figures[f"{kind.__name__} on {name}"] = float(function(x.detach()) < poor / 2)
    return figures


def more_often_than_adam(figures: Sequence[Mapping[str, float]]) -> Finding:
    """Judge by a sign test on each function whether diffGrad escapes more often."""
    return together(
        [
            exceeds(
                f"Escapes on {name}",
                *([run[f"{kind} on {name}"] for run in figures] for kind in ("DiffGrad", "Adam")),
                names=("diffGrad", "Adam"),
            )
            for name in FUNCTIONS
        ]
    )


PAPER = Paper(
    id="diffgrad",
    title="diffGrad: An Optimization Method for Convolutional Neural Networks",
    year=2019,
    arxiv="1909.11015",
    headline="On CIFAR-10 and CIFAR-100 with residual networks diffGrad matched or beat SGD with "
    "momentum, AdaGrad, AdaDelta, RMSProp, AMSGrad and Adam; on synthetic functions it leaves a "
    "poor local minimum in which Adam stops.",
    provides=(DiffGrad,),
    methods=(
        optimizer_method(
            "diffgrad",
            DiffGrad,
            takes=("lr", "betas", "eps", "weight_decay", "decoupled_weight_decay"),
            space={
                "lr": Interval(1e-5, 1e-1, log=True),
                "weight_decay": Choice((0.0, 1e-5, 1e-4, 5e-4, 1e-3, 1e-2)),
            },
            knobs={
                "lr": (1e-3, 2e-3),
                "betas": ((0.9, 0.999), (0.5, 0.9)),
                "eps": (1e-8, 1e-2),
                "weight_decay": (0.0, 0.1),
            },
        ),
    ),
    examples=(
        Example(
            DiffGrad,
            "optimizer",
            arguments={"weight_decay": 0.1},
            knobs={"decoupled_weight_decay": (False, True)},
        ),
    ),
    oracles=(equations_retyped, half_of_adam_where_the_gradient_is_constant),
    claims=(
        MeasurementClaim(
            "escapes-local-minimum",
            statement="Descending from about -1, diffGrad leaves a poor local minimum in which "
            "Adam, with the same settings, stops.",
            measure=escapes,
            smoke=Effort(seeds=2),
            full=Effort(seeds=40),
            expect=more_often_than_adam,
            scaled="The paper's functions F1 and F2, from 40 starts around its only one, -1.",
        ),
        RaceClaim(
            "beats-adam",
            statement="Convolutional nets trained with diffGrad classify better than with Adam.",
            problems=("digits", "mnist1d"),
            methods=("adam", "diffgrad"),
            smoke=Effort(seeds=2, trials=2, steps=10),
            full=Effort(seeds=10, trials=10),
            expect=beats,
            scaled="Small convolutional nets in place of ResNet-50 on CIFAR, both tuned alike.",
        ),
    ),
    symptoms=("the loss oscillates around a minimum", "Adam settles in a poor minimum"),
)
