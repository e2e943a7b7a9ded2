"""Rosenbrock's function: a curved valley with a flat floor, its minimum 0 at (1, ..., 1)."""

from functools import partial

import torch
from torch import Tensor, nn

from thalweg.problems.objective import check_dimension, objective_problem
from thalweg.training.problem import TrainingProblem


class Rosenbrock(nn.Module):
    """The sum over i of 100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2 at the parameter ``point``.

    Args:
        dimension: Of the point, at least 2. It starts near the classical (-1.2, 1, -1.2, 1, ...),
            each entry moved by a normal number of standard deviation 0.1.

    Example:
        >>> function = Rosenbrock(3)
        >>> _ = torch.nn.init.ones_(function.point)
        >>> function().item()
        0.0
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        classical = torch.tensor([-1.2, 1.0]).repeat(dimension)[:dimension]
        self.point = nn.Parameter(classical + 0.1 * torch.randn(dimension))

    def forward(self, _: Tensor | None = None) -> Tensor:
        """Return the value, a scalar."""
        x, following = self.point[:-1], self.point[1:]
        return (100 * (following - x**2) ** 2 + (1 - x) ** 2).sum()


def problem(*, dimension: int = 2) -> TrainingProblem:
    """Walk the valley to its lowest point.

    Args:
        dimension: At least 2; from 4 on there is a second, local minimum.
    """
    check_dimension(dimension, 2)
    return objective_problem(
        "rosenbrock",
        partial(Rosenbrock, dimension),
        steps=2000,
        target=-1.9 if dimension == 2 else None,
        description=f"Rosenbrock's function in {dimension} dimensions",
    )
