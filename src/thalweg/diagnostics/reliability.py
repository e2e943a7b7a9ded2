"""Reliability: whether a classifier is right as often as it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg.diagnostics._ranking import area_under_roc
from thalweg.diagnostics._result import Result

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True, eq=False)
class Reliability(Result):
    """What :func:`reliability` found; all tensors are float64 and on the CPU.

    Args:
        confidence: Mean confidence in the predictions of each bin, (n_bins,); 0 where it is empty.
        accuracy: Share of them that is right, (n_bins,); 0 where it is empty.
        count: How many samples fall into each bin, (n_bins,).
        ece: Expected calibration error, in [0, 1]: mean over samples of |confidence - accuracy| of
            their bin.
        classwise_ece: Mean over classes of the same for the probability of that class.
        brier: Mean squared distance of the probabilities from the targets, in [0, 2].
        auroc: Chance that a right prediction is held with more confidence than a wrong one; not a
            number where there are none of either.
    """

    confidence: Tensor
    accuracy: Tensor
    count: Tensor
    ece: float
    classwise_ece: float
    brier: float
    auroc: float

    def chart(self) -> alt.LayerChart:
        """Draw the accuracy of each bin over its confidence; on the diagonal all is well."""
        import altair as alt

        bins = [
            {"confidence": confidence, "accuracy": accuracy, "samples": count}
            for confidence, accuracy, count in zip(
                self.confidence.tolist(), self.accuracy.tolist(), self.count.tolist(), strict=True
            )
            if count
        ]
        axes = [
            alt.X("confidence:Q", scale=alt.Scale(domain=[0, 1])),
            alt.Y("accuracy:Q", scale=alt.Scale(domain=[0, 1])),
        ]
        ends = [{"confidence": end, "accuracy": end} for end in (0, 1)]
        diagonal = (
            alt.Chart(alt.InlineData(values=ends))
            .mark_line(strokeDash=[4, 4], color="gray")
            .encode(*axes)
        )
        points = (
            alt.Chart(alt.InlineData(values=bins))
            .mark_line(point=True)
            .encode(*axes, tooltip=["confidence:Q", "accuracy:Q", "samples:Q"])
        )
        layers: alt.LayerChart = diagonal + points
        return layers.properties(title=f"ECE {self.ece:.3f}", width=320, height=320)


def reliability(probabilities: Tensor, target: Tensor, *, n_bins: int = 15) -> Reliability:
    """Compare the confidence of predictions with how often they are right.

        c_i = max over k of p_ik,  r_i = 1 where that class is the target      bins of equal width
        ECE = sum over bins of (n_b / n) |mean c - mean r|
        class-wise ECE = mean over k of the same with p_ik and 1[y_i = k]
        Brier = mean over i of sum over k of (p_ik - 1[y_i = k])^2

    Use it to see whether probabilities can be acted upon, and what a calibrator has changed. Avoid
    it on few samples, where bins are noisy and the errors, which are 0 at best, biased upwards.
    Cost: one pass over the probabilities.

    Args:
        probabilities: Of each class, (N, C), each row with sum 1.
        target: Class indices, (N,).
        n_bins: Bins between 0 and 1, each with its upper end, >= 1.

    Returns:
        Errors, and bins, which `chart()` draws.

    Raises:
        ValueError: If shapes do not fit or rows are no probabilities.

    Example:
        >>> import torch
        >>> from thalweg.diagnostics import reliability
        >>> p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.3, 0.7]]).double()
        >>> found = reliability(p, torch.tensor([0, 1, 1, 1]), n_bins=2)
        >>> round(found.ece, 4)  # 0.775 sure, 0.75 right
        0.025
        >>> round(found.auroc, 4)
        0.1667

    Paper: Optimizing Calibration by Gaining Aware of Prediction Correctness, 2024,
        arXiv 2404.13016. Differs: 15 bins, as is usual, for 25; the Brier score is that of all
        classes, for that of the confidence; without the Kolmogorov-Smirnov error.
    """
    if probabilities.dim() != 2 or target.shape != probabilities.shape[:1] or not len(target):
        raise ValueError(
            f"probabilities have shape {tuple(probabilities.shape)} and target "
            f"{tuple(target.shape)}; give (N, C) and class indices (N,)"
        )
    if n_bins < 1:
        raise ValueError(f"n_bins is {n_bins}; give at least 1")
    p, target = probabilities.detach().double().cpu(), target.cpu().long()
    if not ((p >= 0).all() and (p.sum(1) - 1).abs().max() < 1e-2):
        raise ValueError("rows of probabilities do not sum to 1; give the softmax of the scores")
    truth = F.one_hot(target, p.shape[1]).double()
    confidence, predicted = p.max(1)
    right = (predicted == target).double()
    count, sure, hit = _binned(confidence.unsqueeze(1), right.unsqueeze(1), n_bins)
    filled = count.clamp(min=1)
    classes = _binned(p, truth, n_bins)
    return Reliability(
        confidence=(sure / filled).squeeze(0),
        accuracy=(hit / filled).squeeze(0),
        count=count.squeeze(0),
        ece=_error(sure, hit, len(p)),
        classwise_ece=_error(classes[1], classes[2], len(p)),
        brier=(p - truth).square().sum(1).mean().item(),
        auroc=area_under_roc(confidence, right),
    )


def _binned(p: Tensor, hit: Tensor, n_bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return number, sum of probabilities and hits in the bins of each column, (columns, bins)."""
    index = ((p * n_bins).ceil().long() - 1).clamp(0, n_bins - 1).T
    empty = p.new_zeros(p.shape[1], n_bins)
    count, sure, hits = (
        empty.scatter_add(1, index, values.T) for values in (torch.ones_like(p), p, hit)
    )
    return count, sure, hits


def _error(sure: Tensor, hit: Tensor, n: int) -> float:
    return (sure - hit).abs().sum(1).mean().item() / n
