"""CompSum: one family of losses from the sum-exponential over cross-entropy to 1 - p."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from thalweg.losses._base import ClassificationLoss, Reduction

Kind = Literal["sum-exponential", "logistic", "generalised", "absolute"]
_TAUS = dict(zip(get_args(Kind), (0.0, 1.0, 1.7, 2.0), strict=True))


class CompSum(ClassificationLoss):
    """A concave function of how far the other classes' scores lie above the target's.

        u = sum over c other than the target of exp(o[c] - o[target]) = 1 / p[target] - 1
        loss = ((1 + u)^(1 - tau) - 1) / (1 - tau),  at tau = 1: log(1 + u), the cross-entropy

    Use it with a `tau` between 1 and 2, the generalised cross-entropy, where labels are wrong: no
    sample costs more than 1 / (tau - 1). Avoid it with a `tau` above 1 on clean labels, as samples
    the network is far wrong on lose their gradient, and with a `tau` below 1 on unbounded scores:
    the loss grows as 1 / p^(1 - tau), in the end to infinity. What accuracy a small loss assures
    says :func:`thalweg.losses.consistency_bound`. Cost: as cross-entropy on class indices; some
    more passes over the scores on probabilities.

    Args:
        tau: Member of the family, >= 0: 0 sum-exponential, 1 cross-entropy, 2 mean absolute error.
        kind: A name in place of `tau`: ``sum-exponential`` (0), ``logistic`` (1), ``generalised``
            (1.7), ``absolute`` (2).
        weight: Of each class, shape (C,).
        ignore_index: Samples with this class index add nothing.
        reduction: ``mean``, ``sum`` or ``none``, as in :class:`torch.nn.CrossEntropyLoss`.

    Returns:
        From ``loss(input, target)``: the loss of scores (N, C), (N, C, ...) or (C,). With
        probabilities as target it is the mean of the classes' losses under them.

    Raises:
        ValueError: If an argument is outside its range or shapes do not fit.

    Example:
        >>> import torch
        >>> from thalweg.losses import CompSum
        >>> scores, target = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([0])
        >>> [round(CompSum(tau)(scores, target).item(), 4) for tau in (0.0, 1.0, 1.5, 2.0)]
        [0.7358, 0.5514, 0.482, 0.4239]
        >>> round(CompSum(kind="absolute")(scores, target).item(), 4)
        0.4239

    Paper: Cross-Entropy Loss Functions: Theoretical Analysis and Applications, 2023, arXiv
        2304.07288. Differs: class weights and probabilities as target. The 1.7 of ``generalised``
        is that of Generalized Cross Entropy Loss, 2018, arXiv 1805.07836.
    """

    def __init__(
        self,
        tau: float = 1.0,
        *,
        kind: Kind | None = None,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        if not 0 <= tau < float("inf"):
            raise ValueError(f"tau is {tau}; the family begins at 0 and has no infinite member")
        if kind is not None and kind not in _TAUS:
            raise ValueError(f"kind is {kind!r}; give one of {', '.join(_TAUS)}, or tau alone")
        if kind is not None and tau not in (1.0, _TAUS[kind]):
            raise ValueError(f"kind {kind!r} is tau = {_TAUS[kind]}, not {tau}; give one of both")
        self.tau = tau if kind is None else _TAUS[kind]

    def per_class(self, logits: Tensor, shares: Tensor) -> Tensor:
        """Return each class's loss times its share in the target."""
        # A class without a share may have an infinite loss, which times 0 would be no number.
        surprise = -logits.log_softmax(-1).where(shares != 0, 0)
        return shares * self._of_surprise(surprise)

    def _each(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        if target.is_floating_point():
            return super()._each(logits, target)
        # The target's score says it all, so that nothing but the softmax passes over all classes.
        index, kept = self._kept(target)
        log_p = logits.log_softmax(-1).gather(-1, index.unsqueeze(-1)).squeeze(-1)
        share = self._counts(target, logits.dtype)
        return share * self._of_surprise(-log_p.where(kept, 0)), share

    def _of_surprise(self, surprise: Tensor) -> Tensor:
        power = 1 - self.tau
        return torch.expm1(power * surprise) / power if power else surprise

    def extra_repr(self) -> str:
        """Return the settings for printing."""
        return f"tau={self.tau}, {super().extra_repr()}"
