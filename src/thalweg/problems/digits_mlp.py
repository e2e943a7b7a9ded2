"""Handwritten digits again, with a multilayer perceptron."""

from functools import partial

from torch import nn

from thalweg.problems.digits import parts
from thalweg.problems.nets import mlp
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem


def problem() -> TrainingProblem:
    """Recognise the digit, blind to which pixels are neighbours."""
    train, validation, test = parts()
    return TrainingProblem(
        "digits-mlp",
        model=partial(mlp, 64, 10),
        train=train,
        validation=validation,
        test=test,
        loss=nn.CrossEntropyLoss(),
        metric=METRICS["accuracy"],
        steps=500,
        target=0.955,
        description="handwritten digits, multilayer perceptron",
    )
