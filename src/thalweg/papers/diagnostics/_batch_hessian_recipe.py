"""A training that sets its own learning rate by the curvature of its batches."""

from dataclasses import replace

import torch
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.diagnostics import hessian_spectrum
from thalweg.training.batches import Batch
from thalweg.training.loop import Training
from thalweg.training.setup import Setup, Transform


def batch_hessian_lr(*, every: int = 10, steps: int = 10, share: float = 0.5) -> Transform:
    """Train by plain SGD at a share of the largest learning rate that its batches let be stable.

    lr = share * 2 / max |eigenvalue of the Hessian of a batch's loss|

    The paper learns a momentum as well; its formula could not be confirmed. That of momentum
    descent on quadratics, tried with several readings of its second curvature, diverges on the
    embedded problems, where curvature grows in training and the formula leaves no room.

    Args:
        every: Gradients between two measurements, >= 1; the first comes before the first step.
        steps: Lanczos steps of a measurement, >= 1.
        share: Of the largest stable rate, in (0, 1].
    """
    if every < 1:
        raise RecipeError(f"every is {every}; give at least 1 gradient between two measurements")
    if not 0 < share <= 1:
        raise RecipeError(f"share is {share}; give a part of the largest stable rate, in (0, 1]")

    def transform(setup: Setup) -> Setup:
        def step(training: Training, batch: Batch) -> Tensor:
            if training.counts.gradients % every == 0:
                sharpness = _sharpness(training, batch, steps)
                if sharpness > 0:
                    for group in training.optimizer.param_groups:
                        group["lr"] = share * 2 / sharpness
            return setup.step(training, batch)

        return replace(
            setup,
            # The rate stands where the first batches have no curvature at all.
            optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=0.1),
            step=step,
        )

    return transform


def _sharpness(training: Training, batch: Batch, steps: int) -> float:
    found = hessian_spectrum(
        training.model,
        [(batch.input, batch.target)],
        training.loss,
        steps=steps,
        probes=1,
        seed=training.counts.gradients,
    )
    training.counts.products += found.ritz_values.numel()
    return float(found.ritz_values.abs().max())
