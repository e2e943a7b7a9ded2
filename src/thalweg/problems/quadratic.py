"""A quadratic function of given condition number, its axes turned at random, its minimum 0."""

from functools import partial

import torch
from torch import Tensor, nn

from thalweg.core.errors import ProblemError
from thalweg.core.seeds import derive_seed
from thalweg.problems.objective import check_dimension, objective_problem
from thalweg.training.problem import TrainingProblem


class Quadratic(nn.Module):
    """The value of (x - m)^T Q diag(e) Q^T (x - m) / 2 at the parameter ``point``.

    The eigenvalues e run evenly on a logarithmic scale from 1/condition to 1. The orthogonal Q
    and the minimiser m, standard normal, are the same for every start, which is standard normal.

    Args:
        condition: Largest eigenvalue over smallest, at least 1.
        dimension: Of the point, at least 2.

    Example:
        >>> function = Quadratic(100.0, 5)
        >>> _ = function.point.data.copy_(function.minimiser)
        >>> function().item()
        0.0
    """

    axes: Tensor
    eigenvalues: Tensor
    minimiser: Tensor

    def __init__(self, condition: float, dimension: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(derive_seed("quadratic", dimension))
        gaussian = torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)
        # From 1/condition to 1: the largest stable step of gradient descent does not depend on it.
        exponents = torch.linspace(-1, 0, dimension, dtype=torch.float64)
        self.register_buffer("axes", torch.linalg.qr(gaussian).Q.float())
        self.register_buffer("eigenvalues", (float(condition) ** exponents).float())
        self.register_buffer("minimiser", torch.randn(dimension, generator=generator))
        self.point = nn.Parameter(torch.randn(dimension))

    def forward(self, _: Tensor | None = None) -> Tensor:
        """Return the value, a scalar."""
        along_axes = (self.point - self.minimiser) @ self.axes
        return (self.eigenvalues * along_axes**2).sum() / 2


def problem(*, condition: float = 100, dimension: int = 50) -> TrainingProblem:
    """Go down to the minimum.

    Args:
        condition: Largest over smallest eigenvalue, from 1 to 1e6: single precision holds no more.
        dimension: At least 2.
    """
    if type(condition) not in (int, float) or not 1 <= condition <= 1e6:
        raise ProblemError(f"condition is {condition!r}; give a number from 1 to 1e6")
    check_dimension(dimension, 2)
    return objective_problem(
        "quadratic",
        partial(Quadratic, condition, dimension),
        steps=1500,
        target=-3.8 if (condition, dimension) == (100, 50) else None,
        description=f"quadratic of condition {condition:g} in {dimension} dimensions",
    )
