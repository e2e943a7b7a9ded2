"""Breast cancer: 569 tumours bundled with scikit-learn, 30 measurements of their cells each."""

from functools import partial

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

from thalweg.problems.nets import mlp
from thalweg.problems.splits import standardised_parts
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem


def problem() -> TrainingProblem:
    """Tell malignant tumours from benign ones."""
    data = load_breast_cancer()
    train, validation, test = standardised_parts(data.data, torch.tensor(data.target))
    return TrainingProblem(
        "breast-cancer",
        model=partial(mlp, 30, 2, width=32),
        train=train,
        validation=validation,
        test=test,
        loss=nn.CrossEntropyLoss(),
        metric=METRICS["cross-entropy"],
        batch_size=32,
        steps=300,
        target=0.09,
        description="breast cancer: 569 tumours, 30 measurements, two classes",
    )
