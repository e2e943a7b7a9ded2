"""ALDR-KL as a method for training, and what the claim about its temperatures measures."""

from collections.abc import Mapping
from dataclasses import replace

from thalweg.core.claim import Size
from thalweg.core.errors import RecipeError
from thalweg.losses import ALDRKL
from thalweg.problems import digits_noisy
from thalweg.problems.digits import parts
from thalweg.training.batches import Batches
from thalweg.training.setup import Setup, Transform


def aldr_kl(*, lam0: float = 10.0, alpha: float = 2.0, margin: float = 0.1) -> Transform:
    """Train by the ALDR-KL loss, one temperature for each sample of the training data."""

    def transform(setup: Setup) -> Setup:
        if not isinstance(setup.batches, Batches):
            raise RecipeError(
                "aldr-kl has a temperature for every sample of the data; name it before the "
                "methods that change the batches, and do not choose among the samples"
            )
        loss = ALDRKL(setup.batches.length, lam0, alpha, margin).to(setup.device)
        return replace(setup, loss=loss, needs=setup.needs | {"index"})

    return transform


def temperatures(seed: int, size: Size) -> Mapping[str, float]:
    """Return the mean temperature of wrongly and of rightly labelled samples after training."""
    problem = digits_noisy.problem()
    setup = aldr_kl()(problem.setup(seed, steps=problem.steps if size == "full" else 5))
    setup = replace(setup, evaluations=1)
    for _ in setup.loop(setup):
        pass
    (_, labels), *_ = parts()
    wrong = digits_noisy.mislabelled(labels) != labels
    assert isinstance(setup.loss, ALDRKL)
    found = setup.loss.temperature
    return {"wrong": found[wrong].mean().item(), "right": found[~wrong].mean().item()}
