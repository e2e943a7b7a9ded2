"""Handwritten digits, two fifths of the training labels wrong."""

import torch
from torch import Tensor, nn

from thalweg.core.seeds import derive_seed
from thalweg.problems.digits import conv_net, parts
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem

NOISE = 0.4


def mislabelled(labels: Tensor, *, share: float = NOISE, n_classes: int = 10) -> Tensor:
    """Replace a share of the labels by one of the other classes, each as likely.

    Args:
        labels: In 0, ..., n_classes - 1, shape (n,).
        share: Of the labels that become wrong, in [0, 1]; rounded to whole labels.
        n_classes: At least 2.

    Example:
        >>> int((mislabelled(torch.zeros(50, dtype=torch.long)) != 0).sum())
        20
    """
    generator = torch.Generator().manual_seed(derive_seed("label noise"))
    chosen = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    shift = torch.randint(1, n_classes, (len(chosen),), generator=generator)
    noisy = labels.clone()
    noisy[chosen] = (labels[chosen] + shift) % n_classes
    return noisy


def problem() -> TrainingProblem:
    """Recognise the digit in spite of the labels; those to validate and test by are right."""
    (images, labels), validation, test = parts()
    return TrainingProblem(
        "digits-noisy",
        model=conv_net,
        train=(images, mislabelled(labels)),
        validation=validation,
        test=test,
        loss=nn.CrossEntropyLoss(),
        metric=METRICS["accuracy"],
        steps=300,
        target=0.88,
        description="handwritten digits, 40 % of the training labels wrong",
    )
