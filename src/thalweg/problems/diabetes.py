"""Diabetes: 442 patients bundled with scikit-learn, 10 measurements each, and a year's progress."""

from functools import partial

import torch
from sklearn.datasets import load_diabetes
from torch import nn

from thalweg.problems.nets import mlp
from thalweg.problems.splits import standardised_parts
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem


def problem() -> TrainingProblem:
    """Predict the disease's progress.

    The target is standardised with the training patients' mean and deviation; R2, the share of
    variance explained, is the same in every unit.
    """
    data = load_diabetes(scaled=False)
    train, validation, test = standardised_parts(
        data.data, torch.tensor(data.target, dtype=torch.float32)
    )
    return TrainingProblem(
        "diabetes",
        model=partial(mlp, 10, 1, width=32),
        train=train,
        validation=validation,
        test=test,
        loss=nn.MSELoss(),
        metric=METRICS["R2"],
        batch_size=32,
        steps=300,
        target=0.53,
        description="diabetes: 442 patients, 10 measurements, regression",
    )
