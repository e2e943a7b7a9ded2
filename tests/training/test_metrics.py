import math

import pytest
import torch
from sklearn import metrics as reference

from thalweg.training.metrics import METRICS

LOGITS = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 4, (50,), generator=torch.Generator().manual_seed(1))
PREDICTED = torch.randn(50, 1, generator=torch.Generator().manual_seed(2))
TRUE = torch.randn(50, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", reference.accuracy_score(LABELS, LOGITS.argmax(1))),
        ("balanced accuracy", reference.balanced_accuracy_score(LABELS, LOGITS.argmax(1))),
        ("cross-entropy", reference.log_loss(LABELS, LOGITS.double().softmax(1))),
        ("Brier score", reference.brier_score_loss(LABELS, LOGITS.double().softmax(1))),
        ("bits", reference.log_loss(LABELS, LOGITS.double().softmax(1)) / math.log(2)),
    ],
)
def test_classification_metrics_are_scikit_learns(name, expected):
    assert METRICS[name].function(LOGITS, LABELS) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MSE", reference.mean_squared_error(TRUE, PREDICTED)),
        ("RMSE", reference.root_mean_squared_error(TRUE, PREDICTED)),
        ("MAE", reference.mean_absolute_error(TRUE, PREDICTED)),
        ("R2", reference.r2_score(TRUE, PREDICTED)),
    ],
)
def test_regression_metrics_are_scikit_learns_and_never_broadcast(name, expected):
    assert METRICS[name].function(PREDICTED, TRUE) == pytest.approx(expected, rel=1e-6)
