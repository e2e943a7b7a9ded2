"""Wine: 178 bottles bundled with scikit-learn, 13 chemical measurements each, three growers."""

from functools import partial

import torch
from sklearn.datasets import load_wine
from torch import nn

from thalweg.problems.nets import mlp
from thalweg.problems.splits import standardised_parts
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem


def problem() -> TrainingProblem:
    """Tell who grew it."""
    data = load_wine()
    train, validation, test = standardised_parts(data.data, torch.tensor(data.target))
    return TrainingProblem(
        "wine",
        model=partial(mlp, 13, 3, width=32),
        train=train,
        validation=validation,
        test=test,
        loss=nn.CrossEntropyLoss(),
        metric=METRICS["cross-entropy"],
        batch_size=32,
        steps=200,
        target=0.12,
        description="wine: 178 bottles, 13 measurements, three classes",
    )
