"""What the claims about gradient-normalized smoothness measure: iterations to a tolerance."""

from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from thalweg.core.claim import Finding, Size
from thalweg.core.verdicts import exceeds, together
from thalweg.linalg import Iterate, iterate_gns

TOLERANCE = 1e-8  # of the value, as in the authors' notebook
LEAST_CURVATURE = 1e-5  # likewise


class LogSumExp:
    """mu * log sum exp((A x - b) / mu) with its minimum at 0, and parts of its Hessian."""

    def __init__(self, seed: int, m: int, n: int, mu: float) -> None:
        generator = torch.Generator().manual_seed(seed)
        A, b = (
            2 * torch.rand(size, generator=generator, dtype=torch.float64) - 1
            for size in ((m, n), (m,))
        )
        self.A, self.b, self.mu = A - torch.softmax(-b / mu, 0) @ A, b, mu
        self.start = torch.ones(n, dtype=torch.float64)
        self.least = float(self(torch.zeros(n, dtype=torch.float64)))

    def __call__(self, x: Tensor) -> Tensor:
        return self.mu * torch.logsumexp((self.A @ x - self.b) / self.mu, 0)

    def weighted_gauss_newton(self, x: Tensor) -> Tensor:
        """Return A^T diag(softmax) A / mu: the Hessian without its term of rank one."""
        weights = torch.softmax((self.A @ x - self.b) / self.mu, 0)
        return self.A.T @ (weights[:, None] * self.A) / self.mu


def descend(f: Callable[[Tensor], Tensor], x: Tensor) -> Generator[Iterate[Tensor], None, str]:
    """Descend along the gradient, the steps' curvature doubled and halved as by the authors."""
    curvature = 1.0
    while True:
        x = x.detach().requires_grad_()
        value = f(x)
        (gradient,) = torch.autograd.grad(value, x)
        yield Iterate(x.detach(), float(gradient.norm()))
        with torch.no_grad():
            slope = gradient.square().sum()
            while f(x - gradient / curvature) > value - slope / (2 * curvature):
                curvature *= 2
            x = x - gradient / curvature
            curvature = max(curvature / 2, LEAST_CURVATURE)


def iterations(f: Any, iterates: Generator[Iterate[Tensor], None, str], most: int) -> float:
    """Count iterations until the value is within the tolerance of the least; at most some."""
    for k, item in enumerate(islice(iterates, most)):
        if f(item.value) - f.least < TOLERANCE:
            return float(k)
    return float(most)


def on_log_sum_exp(seed: int, size: Size) -> Mapping[str, float]:
    """Count iterations of three Hessians and of gradient descent on the paper's softmax problem."""
    m, n, mu, most = (200, 50, 0.1, 20_000) if size == "full" else (20, 5, 0.5, 300)
    f = LogSumExp(seed, m, n, mu)
    ways = {
        "exact Hessian": iterate_gns(f, f.start),
        "weighted Gauss-Newton": iterate_gns(f, f.start, hess=f.weighted_gauss_newton),
        "gradient descent": descend(f, f.start),
    }
    return {name: iterations(f, iterates, most) for name, iterates in ways.items()}


def fewer_than_gradient_descent(figures: Sequence[Mapping[str, float]]) -> Finding:
    """Judge by sign tests whether both Hessians take fewer iterations than gradient descent."""
    slow = [row["gradient descent"] for row in figures]
    return together(
        [
            exceeds(
                "Iterations",
                *(slow, [row[name] for row in figures]),
                names=("gradient descent", name),
            )
            for name in ("weighted Gauss-Newton", "exact Hessian")
        ]
    )
