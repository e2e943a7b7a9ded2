"""The training loop."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from thalweg.core.clock import Clock
from thalweg.core.errors import ProblemError
from thalweg.core.trace import Cost, Diverged, Point
from thalweg.training.batches import Batch
from thalweg.training.memory import peak_memory, reset_peak_memory
from thalweg.training.setup import Loss, Setup, apply_model


@dataclass
class Counts:
    """Evaluations made so far, for methods that make more than the loop can see."""

    gradients: int = 0
    functions: int = 0
    products: int = 0


@dataclass(frozen=True)
class Training:
    """What a step works with: the live objects built from a setup.

    Args:
        model: Being trained.
        loss: Called as in :class:`Setup`.
        optimizer: Of the model's parameters.
        needs: As in :class:`Setup`.
        counts: Gradient evaluations are counted by :meth:`backward`; a step that evaluates
            otherwise adds to it.
    """

    model: nn.Module
    loss: Loss
    optimizer: Optimizer
    needs: frozenset[str]
    counts: Counts = field(default_factory=Counts)

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        output = apply_model(self.model, batch.input)
        if "index" in self.needs:
            return self.loss(output, batch.target, index=batch.index)
        return self.loss(output, batch.target)

    def backward(self, batch: Batch) -> Tensor:
        """Clear the gradients, compute the loss of a batch and its gradients; return the loss."""
        self.optimizer.zero_grad()
        loss = self.forward(batch)
        torch.autograd.backward(loss, create_graph="graph" in self.needs)
        self.counts.gradients += 1
        return loss


def plain_step(training: Training, batch: Batch) -> Tensor:
    """Make one optimizer step, the way of every method that brings no other."""
    return cast(Tensor, training.optimizer.step(lambda: cast(float, training.backward(batch))))


def train(setup: Setup) -> Iterator[Point]:
    """Train, yielding a point before the first step and at even distances from there.

    Args:
        setup: What to train; its factories are called now: the optimizer's, then the schedule's.

    Yields:
        Points with the mean training loss since the last point and what ``evaluate`` returns.

    Raises:
        Diverged: Where the training loss is no longer finite.
    """
    on_cuda = setup.device.type == "cuda"
    clock = Clock(torch.cuda.synchronize if on_cuda else None)
    reset_peak_memory(setup.device)
    with clock:
        model = setup.model.train()
        optimizer = setup.optimizer(model)
        training = Training(model, setup.loss, optimizer, setup.needs)
        schedule = setup.schedule(optimizer, setup.steps) if setup.schedule else None
        batches = _endless(setup.batches)
    yield Point(Cost(memory=peak_memory(setup.device)), setup.evaluate(model))

    points = {-(-setup.steps * i // setup.evaluations) for i in range(1, setup.evaluations + 1)}
    startup, last, start = 0.0, 0, 0
    total = torch.zeros((), device=setup.device)
    for stop in sorted({1, *points}):
        with clock, _graph_is_freed():
            for _ in range(start, stop):
                total += setup.step(training, next(batches)).detach()
                if schedule is not None:
                    schedule.step()
        start = stop
        if stop == 1:
            startup = clock.seconds
        if not torch.isfinite(total):
            raise Diverged(f"the training loss is {float(total)} after {stop} steps")
        if stop in points:
            counts = training.counts
            cost = Cost(
                steps=stop,
                seconds=clock.seconds,
                startup=startup,
                gradients=counts.gradients,
                functions=counts.functions,
                products=counts.products + getattr(optimizer, "hessian_products", 0),
                memory=peak_memory(setup.device),
            )
            yield Point(cost, {"train/loss": float(total) / (stop - last), **setup.evaluate(model)})
            total.zero_()
            last = stop


def trained(setup: Setup, evaluations: int = 1) -> Iterator[nn.Module]:
    """Make the run of a setup, its random numbers by its seed, without evaluating anything.

    Args:
        setup: What is trained.
        evaluations: How often to yield.

    Yields:
        The model, before the first step and at each evaluation; the last time at the end.
    """
    seen: list[nn.Module] = []

    def see(model: nn.Module) -> dict[str, float]:
        seen[:] = [model]
        return {}

    torch.manual_seed(setup.seed)
    for _ in setup.loop(replace(setup, evaluate=see, evaluations=evaluations)):
        yield seen[0]


def _endless(batches: Iterable[Batch]) -> Iterator[Batch]:
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise ProblemError("the training data yields no batches; give at least one sample")


@contextmanager
def _graph_is_freed() -> Iterator[None]:
    # A method that needs the graph frees it after its step; torch warns because it cannot know.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using backward.. with create_graph=True")
        yield
