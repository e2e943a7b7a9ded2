"""Convex functions of many coordinates: regression, classes, labels that spread on a graph."""

import math
from collections.abc import Callable
from functools import partial

import torch
from sklearn.datasets import make_moons
from sklearn.neighbors import kneighbors_graph
from torch import Tensor

from thalweg.core.errors import ProblemError
from thalweg.core.problem import Metric
from thalweg.optim import (
    BlockObjective,
    LogisticObjective,
    QuadraticObjective,
    SoftmaxObjective,
    least_squares,
)
from thalweg.solving.problem import SolvingProblem

LABELLED = 0.05  # share of a graph's nodes
CLASSES = 5

Given = tuple[BlockObjective, Tensor]


def residual(x: Tensor, objective: BlockObjective, x0: Tensor) -> float:
    """Return the norm of the least subgradient over that at the start, by automatic derivatives."""
    norms = []
    for point in (x, x0):
        leaf = point.detach().requires_grad_()
        value = objective(leaf) - objective.l1 * leaf.abs().sum()
        (g,) = torch.autograd.grad(value, leaf)
        inside = (g.abs() - objective.l1).clamp(min=0)
        norms.append(torch.where(point == 0, inside, g + objective.l1 * point.sign()).norm())
    return float(norms[0] / norms[1])


def subgradient(x: Tensor, objective: BlockObjective, x0: Tensor) -> float:
    """Return log10 of the residual."""
    return math.log10(max(residual(x, objective, x0), 1e-300))


METRIC = Metric("log10 subgradient", "lower", 0.3, subgradient)  # a factor of two


def design(generator: torch.Generator, m: int, n: int) -> Tensor:
    """Draw a sparse matrix whose columns differ much in scale."""
    A = torch.randn(m, n, generator=generator, dtype=torch.float64) + 1
    A *= torch.randn(n, generator=generator, dtype=torch.float64).exp()
    kept = torch.rand(m, n, generator=generator, dtype=torch.float64) < 10 * math.log(m) / m
    kept[torch.randint(m, (n,), generator=generator), torch.arange(n)] = True
    return A * kept


def regression(seed: int, *, m: int, n: int, l1: float = 0.0) -> Given:
    """Draw least squares with a sparse solution; ridge of 1, or magnitudes at a share of most."""
    generator = torch.Generator().manual_seed(seed)
    A = design(generator, m, n)
    y = A @ _sparse(generator, n) + torch.randn(m, generator=generator, dtype=torch.float64)
    strength = l1 * float((A.T @ y).abs().max())  # at a share of 1 the solution is 0
    objective = least_squares(A, y, l2=0.0 if l1 else 1.0, l1=strength)
    return objective, torch.zeros(n, dtype=torch.float64)


def logistic(seed: int, *, m: int, n: int) -> Given:
    """Draw two classes apart along a sparse direction, a tenth of them wrong."""
    generator = torch.Generator().manual_seed(seed)
    A = design(generator, m, n)
    wrong = torch.rand(m, generator=generator, dtype=torch.float64) < 0.1
    y = (A @ _sparse(generator, n) >= 0).double() * 2 - 1
    y = torch.where(wrong, -y, y)
    return LogisticObjective(A, y, l2=1.0), torch.zeros(n, dtype=torch.float64)


def classes(seed: int, *, m: int, n: int) -> Given:
    """Draw classes by the largest of noisy linear outputs."""
    generator = torch.Generator().manual_seed(seed)
    A = design(generator, m, n)
    X = torch.randn(n, CLASSES, generator=generator, dtype=torch.float64)
    outputs = A @ X + torch.randn(m, CLASSES, generator=generator, dtype=torch.float64)
    objective = SoftmaxObjective(A, outputs.argmax(1), n_classes=CLASSES, l2=1.0)
    return objective, torch.zeros(n * CLASSES, dtype=torch.float64)


def lattice(seed: int, *, n: int) -> Given:
    """Spread labels over a square lattice of about n nodes."""
    side = max(2, math.isqrt(n))
    node = torch.arange(side * side).view(side, side)
    ends = [(node[1:], node[:-1]), (node[:, 1:], node[:, :-1])]
    i, j = (torch.cat([pair[k].flatten() for pair in ends]) for k in (0, 1))
    return _spread(seed, i, j, side * side)


def moons(seed: int, *, n: int) -> Given:
    """Spread labels over two half moons, each point beside its 5 nearest."""
    points, _ = make_moons(n, noise=0.1, random_state=seed % 2**32)
    graph = kneighbors_graph(points, 5)
    i, j = torch.tensor(graph.maximum(graph.T).nonzero())
    return _spread(seed, i[i > j], j[i > j], n)


def _spread(seed: int, i: Tensor, j: Tensor, n: int) -> Given:
    """Return sum over edges of (x_i - x_j)^2 / 2, some labels being known."""
    generator = torch.Generator().manual_seed(seed)
    known = torch.randperm(n, generator=generator)[: max(1, round(LABELLED * n))]
    labels = torch.zeros(n, dtype=torch.float64)
    labels[known] = 10 * torch.randn(len(known), generator=generator, dtype=torch.float64)
    W = torch.zeros(n, n, dtype=torch.float64)
    W[i, j] = W[j, i] = 1.0
    free = torch.ones(n, dtype=torch.bool)
    free[known] = False
    reached = free.logical_not()  # a part of the graph without a label has no solution
    for _ in range(n):
        wider = reached | (W[reached].sum(0) > 0)
        if wider.equal(reached):
            break
        reached = wider
    free &= reached
    Q = torch.diag(W.sum(1)) - W
    b = (W @ labels)[free]
    return QuadraticObjective(Q[free][:, free].to_sparse(), b), torch.zeros_like(b)


def _sparse(generator: torch.Generator, n: int) -> Tensor:
    w = torch.randn(n, generator=generator, dtype=torch.float64)
    return w * (torch.rand(n, generator=generator, dtype=torch.float64) < 0.1)


def problem(*, data: str = "regression", n: int = 200) -> SolvingProblem:
    """Bring the gradient down to a millionth.

    Args:
        data: ``regression`` with a ridge, ``lasso``, ``logistic``, ``classes`` (five), or labels
            that spread over a ``lattice`` or over ``moons``.
        n: Coordinates, features of each class, or nodes; at least 10.
    """
    if type(n) is not int or n < 10:
        raise ProblemError(f"n is {n!r}; give an integer of at least 10")
    m = 3 * n // 2
    draws: dict[str, Callable[[int], Given]] = {
        "regression": partial(regression, m=m, n=n),
        "lasso": partial(regression, m=m, n=n, l1=0.01),
        "logistic": partial(logistic, m=m, n=n),
        "classes": partial(classes, m=m, n=n),
        "lattice": partial(lattice, n=n),
        "moons": partial(moons, n=n),
    }
    if data not in draws:
        raise ProblemError(f"data is {data!r}; give one of {', '.join(draws)}")
    return SolvingProblem(
        "coordinates",
        kind="coordinates",
        given=draws[data],
        metric=METRIC,
        target=-6.0,
        steps=10_000,
        contenders=("greedy-bcd(select='cyclic')", "greedy-bcd"),
        description=f"convex function of {n} coordinates, {data}",
    )
