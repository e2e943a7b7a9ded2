"""Logistic regression on synthetic data with correlated features, separable or not."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from thalweg.core.errors import ProblemError
from thalweg.core.seeds import derive_seed
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem

DIMENSION = 20
SIZES = {"train": 2000, "validation": 1000, "test": 2000}


def samples(separable: bool, part: str) -> tuple[Tensor, Tensor]:
    """Draw features, (n, 20), and labels in {0, 1}, (n,), of one of ``SIZES``.

    The features are normal with standard deviations from 1 down to 0.1. The score of a sample is a
    fixed combination of them that weighs all directions alike. Labels are its sign, and samples
    nearer to the boundary than a tenth of the score's spread are left out, where the data shall be
    separable; else a label is 1 with probability sigmoid(2 score / spread).
    """
    generator = torch.Generator().manual_seed(derive_seed("logistic", part, int(separable)))
    n = 2 * SIZES[part]
    white = torch.randn(n, DIMENSION, generator=generator)
    signs = 1 - 2 * (torch.arange(DIMENSION) % 2)
    score = white @ signs.float() / DIMENSION**0.5
    if separable:
        label = score > 0
        chosen = (score.abs() > 0.1).nonzero().squeeze(1)
    else:
        label = torch.rand(n, generator=generator) < torch.sigmoid(2 * score)
        chosen = torch.arange(n)
    features = white * torch.logspace(0, -1, DIMENSION)
    chosen = chosen[: SIZES[part]]
    return features[chosen], label[chosen].long()


def linear_classifier() -> nn.Module:
    """Build the linear map from features to two logits."""
    return nn.Linear(DIMENSION, 2)


def problem(*, separable: bool = False) -> TrainingProblem:
    """Fit the probability of a label.

    Args:
        separable: Whether a plane parts the classes; then the loss has no minimum and tends to 0.
    """
    if not isinstance(separable, bool):
        raise ProblemError(f"separable is {separable!r}; write True or False")
    return TrainingProblem(
        "logistic",
        model=linear_classifier,
        train=samples(separable, "train"),
        validation=samples(separable, "validation"),
        test=samples(separable, "test"),
        loss=nn.CrossEntropyLoss(),
        metric=replace(METRICS["cross-entropy"], margin=0.005),
        steps=600,
        target=0.03 if separable else 0.49,
        description=f"logistic regression, {'' if separable else 'not '}separable",
    )
