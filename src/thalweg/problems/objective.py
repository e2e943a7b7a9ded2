"""Functions to be minimised, as training problems: one empty row, the output is the loss."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from thalweg.core.errors import ProblemError
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem


def own_value(output: Tensor, target: Tensor) -> Tensor:
    """Return the output of a model that computes what is to be minimised."""
    return output


def objective_problem(
    name: str, model: Callable[[], nn.Module], *, steps: int, target: float | None, description: str
) -> TrainingProblem:
    """Make a problem of a function whose smallest value is 0.

    A run is graded by the decimal logarithm of the value it ends at: a method is so much better as
    it comes closer by a factor, and one lucky start does not outweigh all others.

    Args:
        name: As shown in reports.
        model: Builds a module that holds the starting point as its parameters, drawn from torch's
            global generator, and whose ``forward``, given anything, returns the value there.
        steps: Length of a full run.
        target: Of the logarithm, where one is known.
        description: One line for lists.
    """
    row = (torch.zeros(1, 1), torch.zeros(1))
    return TrainingProblem(
        name,
        model=model,
        train=row,
        validation=row,
        test=row,
        loss=own_value,
        metric=METRICS["log10 value"],
        batch_size=1,
        steps=steps,
        target=target,
        description=description,
    )


def check_dimension(dimension: object, least: int) -> None:
    """Raise :class:`ProblemError` unless the dimension is an integer of some least size."""
    if type(dimension) is not int or dimension < least:
        raise ProblemError(f"dimension is {dimension!r}; give an integer of at least {least}")
