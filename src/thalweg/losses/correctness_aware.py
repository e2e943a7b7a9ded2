"""CorrectnessAware: a loss that wants confidence 1 where a prediction is right and 0 elsewhere."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.losses._base import Reduction


class CorrectnessAware(nn.Module):
    """Squared distance of the confidence in a prediction from whether the prediction is right.

        c_i = max over k of softmax(z_i)_k
        r_i = 1 where the prediction is the target, else 0
        loss = mean (c_i - r_i)^2                                        of z_i, (N, C)
        balanced: loss = mean over right of (c_i - 1)^2 / 2 + mean over wrong of c_i^2 / 2

    Use it to train a calibrator after the model, such as :class:`thalweg.nn.CorrectnessCalibrator`:
    cross-entropy keeps confidence high where the model is narrowly wrong. Avoid it to train the
    model itself, which it does not teach the right class; and `balanced` where the model is mostly
    right and shall be as sure as it may be. Cost: that of cross-entropy.

    Args:
        balanced: Have right and wrong predictions of a batch weigh alike, if there are both.
        reduction: ``mean``, ``sum`` or ``none``.

    Returns:
        From ``loss(input, target)``: the loss of scores (N, C) against class indices (N,). Where a
        calibrator may change the predictions, ``loss(input, target, predicted)`` with those, (N,),
        that the model makes by itself.

    Raises:
        ValueError: If `reduction` is unknown, or shapes or types do not fit.

    Example:
        >>> import torch
        >>> from thalweg.losses import CorrectnessAware
        >>> scores = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.5, 0.0]])
        >>> target = torch.tensor([0, 0, 1])
        >>> round(CorrectnessAware()(scores, target).item(), 4)
        0.1386
        >>> round(CorrectnessAware(balanced=True)(scores, target).item(), 4)
        0.2008

    Paper: Optimizing Calibration by Gaining Aware of Prediction Correctness, 2024,
        arXiv 2404.13016. Differs: `balanced` is how the authors' code weighs; whether the paper
        defines it so is not confirmed. Where all predictions of a batch are right, or all are
        wrong, it is the plain mean, in that code 0 / 0.
    """

    def __init__(self, *, balanced: bool = False, reduction: Reduction = "mean") -> None:
        super().__init__()
        if reduction not in get_args(Reduction):
            known = ", ".join(get_args(Reduction))
            raise ValueError(f"reduction is {reduction!r}; give one of {known}")
        self.balanced, self.reduction = balanced, reduction

    def forward(self, input: Tensor, target: Tensor, predicted: Tensor | None = None) -> Tensor:
        """Return the loss of scores against class indices, of the predictions where given."""
        _check(input, target, predicted)
        half = input.dtype in (torch.bfloat16, torch.float16)
        largest = input.argmax(1)
        surprise = F.cross_entropy(input.float() if half else input, largest, reduction="none")
        confidence = torch.exp(-surprise)  # the largest of softmax, without the others
        predicted = largest if predicted is None else predicted
        right = (predicted == target).to(confidence.dtype)
        each = (confidence - right).square()
        if self.balanced:
            share = right.mean()
            both = (share > 0) & (share < 1)
            weight = (0.5 / share.where(right > 0, 1 - share)).where(both, 1)
            each = each * weight
        each = each.to(input.dtype)
        if self.reduction == "none":
            return each
        return each.mean() if self.reduction == "mean" else each.sum()

    def extra_repr(self) -> str:
        """Return the settings for printing."""
        return f"balanced={self.balanced}, reduction={self.reduction!r}"


def _check(input: Tensor, target: Tensor, predicted: Tensor | None) -> None:
    if input.dim() != 2 or not input.is_floating_point():
        raise ValueError(
            f"input has shape {tuple(input.shape)} and type {input.dtype}, target "
            f"{tuple(target.shape)}; give real scores (N, C)"
        )
    for name, labels in (("target", target), ("predicted", predicted)):
        if labels is not None and (labels.shape != input.shape[:1] or labels.is_floating_point()):
            raise ValueError(
                f"{name} has shape {tuple(labels.shape)} and type {labels.dtype}; to scores of "
                f"shape {tuple(input.shape)} belong class indices of shape ({len(input)},)"
            )
