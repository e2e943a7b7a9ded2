"""Metrics of a trained model's outputs on a whole data set, by name."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg.core.problem import Metric
from thalweg.diagnostics.reliability import reliability


def accuracy(output: Tensor, target: Tensor) -> float:
    """Return the share of samples whose largest output is the target class."""
    return (output.argmax(1) == target).double().mean().item()


def balanced_accuracy(output: Tensor, target: Tensor) -> float:
    """Return the mean over classes of the share of a class's samples that are recognised."""
    hit = (output.argmax(1) == target).double()
    return float(
        torch.stack([hit[target == label].mean() for label in torch.unique(target)]).mean()
    )


def cross_entropy(output: Tensor, target: Tensor) -> float:
    """Return the mean negative log-likelihood in nats."""
    return F.cross_entropy(output.double(), target).item()


def bits(output: Tensor, target: Tensor) -> float:
    """Return the mean negative log-likelihood in bits."""
    return F.cross_entropy(output.double(), target).item() / math.log(2)


def calibration_error(output: Tensor, target: Tensor) -> float:
    """Return the expected calibration error of the softmax, in 15 bins."""
    return reliability(output.double().softmax(1), target).ece


def classwise_calibration_error(output: Tensor, target: Tensor) -> float:
    """Return the mean over classes of the calibration error of their probability, in 15 bins."""
    return reliability(output.double().softmax(1), target).classwise_ece


def brier_score(output: Tensor, target: Tensor) -> float:
    """Return the mean squared distance of the softmax from the targets."""
    return reliability(output.double().softmax(1), target).brier


def mean_squared_error(output: Tensor, target: Tensor) -> float:
    """Return the mean squared difference."""
    return F.mse_loss(output.double().reshape(target.shape), target.double()).item()


def root_mean_squared_error(output: Tensor, target: Tensor) -> float:
    """Return the root of the mean squared difference."""
    return math.sqrt(mean_squared_error(output, target))


def mean_absolute_error(output: Tensor, target: Tensor) -> float:
    """Return the mean absolute difference."""
    return F.l1_loss(output.double().reshape(target.shape), target.double()).item()


def r_squared(output: Tensor, target: Tensor) -> float:
    """Return the share of the target's variance that is explained."""
    spread = target.double().var(correction=0).item()
    return 1 - mean_squared_error(output, target) / spread


def value(output: Tensor, target: object) -> float:
    """Return the output itself: of a model whose output is what is minimised."""
    return output.item()


def log10_value(output: Tensor, target: object) -> float:
    """Return the decimal logarithm of the output of a model whose output is to come to 0.

    Below 1e-12 single precision counts as 0, and the logarithm stops at -12.
    """
    return math.log10(max(output.item(), 1e-12))


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "higher", 0.005, accuracy, percent=True),
        Metric("balanced accuracy", "higher", 0.005, balanced_accuracy, percent=True),
        Metric("cross-entropy", "lower", 0.02, cross_entropy),
        Metric("bits", "lower", 0.02, bits),
        Metric("ECE", "lower", 0.005, calibration_error),
        Metric("class-wise ECE", "lower", 0.002, classwise_calibration_error),
        Metric("Brier score", "lower", 0.01, brier_score),
        Metric("MSE", "lower", 0.02, mean_squared_error),
        Metric("RMSE", "lower", 0.02, root_mean_squared_error),
        Metric("MAE", "lower", 0.02, mean_absolute_error),
        Metric("R2", "higher", 0.02, r_squared),
        Metric("value", "lower", 1e-3, value),
        Metric("log10 value", "lower", 0.1, log10_value),
    )
}
