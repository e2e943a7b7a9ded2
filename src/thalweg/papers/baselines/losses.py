"""Torch's own losses, as baselines."""

from torch import nn

from thalweg.core.method import Interval
from thalweg.training.methods import loss_method


def label_smoothing(*, smoothing: float = 0.1) -> nn.Module:
    """Cross-entropy with a share of the target spread evenly over the classes."""
    return nn.CrossEntropyLoss(label_smoothing=smoothing)


def cross_entropy() -> nn.Module:
    """Cross-entropy of the softmax."""
    return nn.CrossEntropyLoss()


def mse() -> nn.Module:
    """Mean squared error."""
    return nn.MSELoss()


METHODS = (
    loss_method("cross-entropy", cross_entropy, space={}),
    loss_method(
        "label-smoothing",
        label_smoothing,
        space={"smoothing": Interval(0.0, 0.3)},
        knobs={"smoothing": (0.1, 0.3)},
    ),
    loss_method("mse", mse, space={}),
)
