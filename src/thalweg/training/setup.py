"""The training setup: everything a training run is made of, before it begins."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from thalweg.core.trace import Point
from thalweg.training.batches import Batch

if TYPE_CHECKING:
    from thalweg.training.loop import Training

CPU = torch.device("cpu")

Loss = Callable[..., Tensor]
OptimizerFactory = Callable[[nn.Module], Optimizer]
ScheduleFactory = Callable[[Optimizer, int], LRScheduler]
Step = Callable[["Training", Batch], Tensor]
Loop = Callable[["Setup"], Iterator[Point]]
Evaluate = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True)
class Setup:
    """A training run before it begins; a method returns a changed copy of it.

    Nothing is built from a factory until the loop starts, so that a method which rewrites the
    model need not care who else has looked at it.

    Args:
        model: Initialised, on its device.
        loss: Called with the model's output and the target; with ``index=`` too where ``needs``
            holds ``index``.
        batches: Iterated once per epoch; each iteration is a freshly shuffled pass.
        steps: Length of the run in optimizer steps.
        evaluate: Returns the watched metrics of a model; leaves it as it was.
        optimizer: Builds the optimizer for a model.
        schedule: Builds the learning rate schedule for an optimizer and a number of steps.
        step: Makes one update on a batch and returns the loss.
        loop: Runs it all and yields points.
        validation: Batches a method may learn from without seeing the test data, such as a
            bilevel method's upper level.
        needs: What the methods in the setup need, such as ``graph`` or ``index``.
        evaluations: How many points a run yields after the first.
        seed: Of the methods' own randomness.
        device: Where the model lives.
    """

    model: nn.Module
    loss: Loss
    batches: Iterable[Batch]
    steps: int
    evaluate: Evaluate
    optimizer: OptimizerFactory
    schedule: ScheduleFactory | None
    step: Step
    loop: Loop
    validation: Iterable[Batch]
    needs: frozenset[str] = frozenset()
    evaluations: int = 20
    seed: int = 0
    device: torch.device = CPU


Transform = Callable[[Setup], Setup]


def apply_model(model: nn.Module, inputs: Any) -> Any:
    """Call a model on a batch's inputs: a tuple or a dict of them becomes its arguments."""
    if isinstance(inputs, dict):
        return model(**inputs)
    if isinstance(inputs, tuple | list):
        return model(*inputs)
    return model(inputs)
