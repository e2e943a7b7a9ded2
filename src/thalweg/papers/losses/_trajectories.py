"""SAF and MESA as methods for training: who counts the epochs, who keeps the average."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.core.trace import Point
from thalweg.losses import MESA, SAF
from thalweg.training.batches import Batch, Batches
from thalweg.training.loop import Training
from thalweg.training.setup import Loop, Setup, Transform, apply_model


class Announced:
    """Batches whose epochs a loss is told of.

    Args:
        batches: As they are.
        loss: That counts epochs.
    """

    def __init__(self, batches: Iterable[Batch], loss: SAF | MESA) -> None:
        self.batches, self.loss, self.epoch = batches, loss, 0

    def __iter__(self) -> Iterator[Batch]:
        self.loss.set_epoch(self.epoch)
        self.epoch += 1
        yield from self.batches


def saf(*, lam: float = 0.3, tau: float = 5.0, lag: int = 3, start: int = 5) -> Transform:
    """Add to the loss how far the scores have moved from those of the sample some epochs ago."""

    def transform(setup: Setup) -> Setup:
        if not isinstance(setup.batches, Batches):
            raise RecipeError(
                "saf remembers every sample of the data; name it before the methods that change "
                "the batches, and do not choose among the samples"
            )
        sizes = setup.batches.length, _n_classes(setup, setup.batches)
        loss = SAF(*sizes, lam=lam, tau=tau, lag=lag, start=start, criterion=setup.loss)
        loss.to(setup.device)
        batches = Announced(setup.batches, loss)
        return replace(setup, loss=loss, batches=batches, needs=setup.needs | {"index"})

    return transform


def mesa(*, lam: float = 0.8, tau: float = 5.0, decay: float = 0.9995, start: int = 5) -> Transform:
    """Add to the loss how far the scores are from those of an average of past weights."""

    def transform(setup: Setup) -> Setup:
        def loop(setup: Setup, inner: Loop = setup.loop) -> Iterator[Point]:
            # The model is copied here, where no other method will rewrite it any more.
            loss = MESA(
                setup.model, lam=lam, tau=tau, decay=decay, start=start, criterion=setup.loss
            )

            def step(training: Training, batch: Batch) -> Tensor:
                def on_batch(output: Tensor, target: Tensor) -> Tensor:
                    training.counts.functions += 1
                    return loss.forward(output, target, batch.input)

                value = setup.step(replace(training, loss=on_batch), batch)
                loss.update(training.model)
                return value

            return inner(replace(setup, step=step, batches=Announced(setup.batches, loss)))

        return replace(setup, loop=loop)

    return transform


def _n_classes(setup: Setup, batches: Batches) -> int:
    """Return how many scores the model gives a sample; the order of batches stays as it is."""
    alone = Batches(batches.data, 1, shuffle=False, device=batches.device, loader=batches.loader)
    with torch.no_grad():
        scores: Tensor = apply_model(setup.model.eval(), next(iter(alone)).input)
    return scores.shape[-1]
