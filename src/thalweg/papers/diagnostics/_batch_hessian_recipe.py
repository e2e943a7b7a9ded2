"""A training that sets its own learning rate and momentum by the curvature of its batches."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.diagnostics import hessian_spectrum
from thalweg.training.batches import Batch
from thalweg.training.loop import Training
from thalweg.training.setup import Setup, Transform


def heavy_ball(largest: float, smallest: float) -> tuple[float, float]:
    """Return the learning rate and momentum that are best on quadratics between two curvatures.

    Momentum descent then converges with the rate sqrt(momentum), and no choice does better.
    """
    high, low = math.sqrt(largest), math.sqrt(smallest)
    return (2 / (high + low)) ** 2, ((high - low) / (high + low)) ** 2


def batch_hessian_lr(*, every: int = 50, steps: int = 10) -> Transform:
    """Train by SGD whose learning rate and momentum follow from the Hessians of batches.

    Args:
        every: Gradients between two measurements, >= 1; the first comes before the first step.
        steps: Lanczos steps of a measurement, >= 2.
    """
    if every < 1:
        raise RecipeError(f"every is {every}; give at least 1 gradient between two measurements")
    if steps < 2:
        raise RecipeError(f"steps is {steps}; two curvatures need at least 2 Lanczos steps")

    def transform(setup: Setup) -> Setup:
        def step(training: Training, batch: Batch) -> Tensor:
            if training.counts.gradients % every == 0:
                _measure(training, batch, steps)
            return setup.step(training, batch)

        return replace(
            setup,
            # The rate stands where the first batches have no curvature at all.
            optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
            step=step,
        )

    return transform


def _measure(training: Training, batch: Batch, steps: int) -> None:
    """Set the rate and momentum by the batch's largest curvature and the edge of its bulk."""
    found = hessian_spectrum(
        training.model,
        [(batch.input, batch.target)],
        training.loss,
        steps=steps,
        probes=1,
        k=1,
        seed=training.counts.gradients,
    )
    training.counts.products += found.ritz_values.numel()
    largest = float(found.ritz_values.abs().max())
    if largest > 0:
        lr, momentum = heavy_ball(largest, found.bulk)
        for group in training.optimizer.param_groups:
            group["lr"], group["momentum"] = lr, momentum
