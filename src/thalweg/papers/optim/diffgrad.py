"""diffGrad (2019): Adam with a friction that depends on how the gradient changes."""

import math

import torch

from thalweg.core.method import Choice, Interval
from thalweg.core.paper import Paper
from thalweg.optim import DiffGrad
from thalweg.training.methods import optimizer_method


def equations_retyped() -> None:
    """Follow the paper's equations for single numbers, on a quadratic that couples them."""
    curvature = [[3.0, -1.0, 0.5], [-1.0, 2.0, 0.3], [0.5, 0.3, 1.0]]
    start, steps, lr, beta1, beta2, eps, decay = [1.0, -2.0, 0.5], 12, 0.05, 0.8, 0.97, 1e-3, 0.1
    theta, m, v, previous = list(start), [0.0] * 3, [0.0] * 3, [0.0] * 3
    for t in range(1, steps + 1):
        gradient = [
            sum(curvature[i][j] * theta[j] for j in range(3)) + decay * theta[i] for i in range(3)
        ]
        for i, g in enumerate(gradient):
            m[i] = beta1 * m[i] + (1 - beta1) * g
            v[i] = beta2 * v[i] + (1 - beta2) * g * g
            xi = 1 / (1 + math.exp(-abs(previous[i] - g)))
            m_hat, v_hat = m[i] / (1 - beta1**t), v[i] / (1 - beta2**t)
            theta[i] -= lr * xi * m_hat / (math.sqrt(v_hat) + eps)
            previous[i] = g

    ours = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    matrix = torch.tensor(curvature, dtype=torch.float64)
    optimizer = DiffGrad([ours], lr, betas=(beta1, beta2), eps=eps, weight_decay=decay)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(ours @ matrix @ ours / 2)
        optimizer.step()
    torch.testing.assert_close(
        ours.detach(), torch.tensor(theta, dtype=torch.float64), rtol=1e-12, atol=1e-12
    )


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
    oracles=(equations_retyped, half_of_adam_where_the_gradient_is_constant),
)
