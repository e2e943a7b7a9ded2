"""What losses over classes share: kinds of target, class weights, ignored targets, reductions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Reduction = Literal["mean", "sum", "none"]
_REDUCTIONS = ("mean", "sum", "none")


class ClassificationLoss(nn.Module):
    """A loss that is a sum over classes, called as :class:`torch.nn.CrossEntropyLoss` is.

    A subclass says with :meth:`per_class` what each class adds; half precision is computed in
    single.

    Args:
        weight: Of each class, shape (C,).
        ignore_index: Samples with this class index add nothing.
        reduction: ``mean`` (by class indices: weighted), ``sum`` or ``none``.
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None, ignore_index: int, reduction: Reduction) -> None:
        super().__init__()
        check_reduction(reduction)
        if weight is not None and weight.dim() != 1:
            raise ValueError(
                f"weight has shape {tuple(weight.shape)}; give one number a class, shape (C,)"
            )
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of scores (N, C), (N, C, ...) or (C,) against indices or probabilities.

        Args:
            input: A score of each class.
            target: Class indices, shaped as ``input`` without its class dimension, or
                probabilities, shaped as ``input``.

        Raises:
            ValueError: Where shapes or types do not fit together.
        """
        self._check(input, target)
        logits = classes_last(input)
        if logits.dtype in (torch.bfloat16, torch.float16):
            logits = logits.float()
        each, share = self._each(logits, target)
        return self._reduce(each, share).to(input.dtype)

    def per_class(self, logits: Tensor, shares: Tensor) -> Tensor:
        """Return what each class adds to the loss.

        Args:
            logits: Scores, (..., C), single or double precision.
            shares: Share of each class in the target, (..., C); all zero where it is ignored.
        """
        raise NotImplementedError

    def _check(self, input: Tensor, target: Tensor) -> None:
        _check(input, target)
        if self.weight is not None and len(self.weight) != input.shape[min(1, input.dim() - 1)]:
            raise ValueError(
                f"weight holds {len(self.weight)} classes, input of shape {tuple(input.shape)} "
                "another number; give a weight for each class"
            )

    def _each(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return each sample's loss; and, given class indices, its share in the mean."""
        shares = self._shares(logits, target)
        each = self.per_class(logits, shares)
        if self.weight is not None:
            weight = self.weight.to(logits.dtype)
            each, shares = each * weight, shares * weight
        return each.sum(-1), None if target.is_floating_point() else shares.sum(-1)

    def _shares(self, logits: Tensor, target: Tensor) -> Tensor:
        if target.is_floating_point():
            return classes_last(target).to(logits.dtype)
        index, kept = self._kept(target)
        shares = kept.to(logits.dtype).unsqueeze(-1)
        return torch.zeros_like(logits).scatter(-1, index.unsqueeze(-1), shares)

    def _kept(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return class indices, 0 in place of ignored ones, and which of them are kept."""
        kept = target != self.ignore_index
        return target.long().where(kept, 0), kept

    def _counts(self, target: Tensor, dtype: torch.dtype) -> Tensor:
        """Return what samples of these class indices count: their class's weight, ignored: 0."""
        index, kept = self._kept(target)
        if self.weight is None:
            return kept.to(dtype)
        return self.weight.to(dtype)[index].where(kept, 0)

    def _reduce(self, each: Tensor, share: Tensor | None) -> Tensor:
        """Reduce the losses of samples; their mean is weighted by each sample's share."""
        if share is None or self.reduction != "mean":
            return reduce(each, self.reduction)
        return each.sum() / share.sum()

    def extra_repr(self) -> str:
        """Return the settings for printing."""
        return f"reduction={self.reduction!r}"


def check_reduction(reduction: str) -> None:
    """Refuse what is no reduction."""
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}; give one of {', '.join(_REDUCTIONS)}")


def reduce(each: Tensor, reduction: Reduction) -> Tensor:
    """Reduce the losses of samples that count alike."""
    if reduction == "none":
        return each
    return each.mean() if reduction == "mean" else each.sum()


def classes_last(x: Tensor) -> Tensor:
    """Return a view with the dimension of the classes last."""
    return x.movedim(1, -1) if x.dim() > 1 else x


def _check(input: Tensor, target: Tensor) -> None:
    if not isinstance(target, Tensor):
        raise ValueError(
            f"target is a {type(target).__name__}; give a tensor of class indices or of "
            "probabilities"
        )
    if input.dim() == 0 or not input.is_floating_point():
        raise ValueError(
            f"input has shape {tuple(input.shape)} and type {input.dtype}; give real scores of "
            "shape (N, C), (N, C, ...) or (C,)"
        )
    indices = input.shape[:1] + input.shape[2:] if input.dim() > 1 else input.shape[:0]
    soft = target.is_floating_point()
    if target.shape != (input.shape if soft else indices) or target.dtype == torch.bool:
        raise ValueError(
            f"target has shape {tuple(target.shape)} and type {target.dtype}; to scores of shape "
            f"{tuple(input.shape)} belong class indices of shape {tuple(indices)} or "
            f"probabilities of shape {tuple(input.shape)}"
        )
