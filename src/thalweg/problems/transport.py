"""Entropic optimal transport: a random assignment, clouds of points, or digits as histograms."""

import math
from functools import partial
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from thalweg.core.errors import ProblemError
from thalweg.core.problem import Metric
from thalweg.solving.problem import SolvingProblem
from thalweg.transport import TransportPlan

BACKGROUND = 0.01  # share of a digit's mass that is spread evenly: no pixel is without mass

Given = tuple[Tensor, Tensor, Tensor, float]


def residual(plan: TransportPlan, a: Tensor, b: Tensor, C: Tensor, reg: float) -> float:
    """Return (|P 1 - a|_1 + |P^T 1 - b|_1) / |a|_1, P rebuilt from the potentials.

    Of a batch it is the largest.
    """
    P = ((plan.f.unsqueeze(-1) + plan.g.unsqueeze(-2) - C) / reg).exp()
    error = (P.sum(-1) - a).abs().sum(-1) + (P.sum(-2) - b).abs().sum(-1)
    return float((error / a.sum(-1)).max())


def marginal_error(plan: TransportPlan, a: Tensor, b: Tensor, C: Tensor, reg: float) -> float:
    """Return log10 of the residual."""
    return math.log10(max(residual(plan, a, b, C, reg), 1e-300))


METRIC = Metric("log10 marginal error", "lower", 0.3, marginal_error)  # a factor of two


def assignment(seed: int, *, n: int, reg: float) -> Given:
    """Draw costs evenly from [0, 1) between n sources and n targets of equal mass."""
    mass = torch.full((n,), 1 / n, dtype=torch.float64)
    return mass, mass, torch.rand(n, n, generator=_generator(seed), dtype=torch.float64), reg


def clouds(seed: int, *, n: int, reg: float) -> Given:
    """Draw two normal clouds of n points in the plane; the cost is the squared distance."""
    generator = _generator(seed)
    sources, targets = torch.randn(2, n, 2, generator=generator, dtype=torch.float64)
    mass = torch.full((n,), 1 / n, dtype=torch.float64)
    return mass, mass, _distances(sources, targets / 2 + 1, 2) ** 2, reg


def digits(seed: int, *, reg: float, norm: int) -> Given:
    """Draw two scans of 8 x 8 pixels; the cost is the squared Euclidean or the L1 distance."""
    images = torch.tensor(load_digits().images, dtype=torch.float64).flatten(1)
    chosen = images[torch.randint(len(images), (2,), generator=_generator(seed))]
    chosen = chosen / chosen.sum(-1, keepdim=True)
    a, b = (1 - BACKGROUND) * chosen + BACKGROUND / chosen.shape[-1]
    axis = torch.arange(8, dtype=torch.float64)
    pixels = torch.cartesian_prod(axis, axis)
    return a, b, _distances(pixels, pixels, norm) ** norm, reg


def problem(*, data: str = "assignment", n: int = 100, reg: float = 1 / 300) -> SolvingProblem:
    """Transport all mass, to a marginal error of 1e-9.

    Args:
        data: ``assignment`` for random costs, ``clouds`` for points in the plane, ``digits`` for
            images with squared distances, ``digits-l1`` for images with L1 distances.
        n: Sources, and targets, at least 2; digits have 64 pixels whatever it is.
        reg: Strength of the entropy as share of the largest cost.
    """
    if type(n) is not int or n < 2:
        raise ProblemError(f"n is {n!r}; give an integer of at least 2")
    if type(reg) not in (int, float) or not 1e-4 <= reg <= 1:
        raise ProblemError(f"reg is {reg!r}; give a number from 1e-4 to 1")
    draws: dict[str, Any] = {
        "assignment": partial(assignment, n=n, reg=reg),
        "clouds": partial(clouds, n=n, reg=reg),
        "digits": partial(digits, reg=reg, norm=2),
        "digits-l1": partial(digits, reg=reg, norm=1),
    }
    if data not in draws:
        raise ProblemError(f"data is {data!r}; give one of {', '.join(draws)}")
    size = "8 x 8 pixels" if data.startswith("digits") else f"{n} to {n} points"
    return SolvingProblem(
        "transport",
        kind="transport",
        given=draws[data],
        metric=METRIC,
        target=-9.0,
        steps=30_000,
        contenders=("sinkhorn", "sinkhorn-newton-sparse"),
        description=f"entropic transport, {data}, {size}, reg {reg:.2g}",
    )


def _distances(x: Tensor, y: Tensor, norm: int) -> Tensor:
    """Return distances in units that make the largest 1."""
    distance = torch.cdist(x, y, p=norm, compute_mode="donot_use_mm_for_euclid_dist")
    return distance / distance.max()


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
