"""What a small comp-sum loss assures of accuracy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

HALVINGS = 60


def consistency_bound(regret: Tensor | float, *, tau: float = 1.0, n_classes: int = 2) -> Tensor:
    """Bound the excess error rate of a classifier whose excess comp-sum loss is known.

        error(h) - least error <= b,  T(b) = regret = loss(h) - least loss
        A = (((1 + b)^(1 / (2 - tau)) + (1 - b)^(1 / (2 - tau))) / 2)^(2 - tau)
        T(b) = 2^(1 - tau) (1 - A) / (1 - tau)            tau < 1
             = ((1 + b) log(1 + b) + (1 - b) log(1 - b)) / 2    tau = 1
             = (A - 1) / ((tau - 1) C^(tau - 1))          1 < tau < 2
             = b / ((tau - 1) C^(tau - 1))                tau >= 2

    Use it to see what a member of :class:`thalweg.losses.CompSum` is worth: about the root of the
    regret below tau = 2, the regret itself from there on but for a factor that grows with the
    number of classes. Avoid it as a bound of the error rate: it bounds what lies above the least
    one. Cost: 60 evaluations of T.

    Args:
        regret: By how much the mean loss exceeds the least there is, >= 0, of any shape.
        tau: Member of the family, >= 0.
        n_classes: C, >= 2; acts from tau = 1 on.

    Returns:
        The bound, in [0, 1], double precision, shaped as `regret`.

    Raises:
        ValueError: If an argument is outside its range.

    Example:
        >>> from thalweg.losses import consistency_bound
        >>> [round(consistency_bound(0.1, tau=tau).item(), 3) for tau in (0.0, 1.0, 2.0)]
        [0.436, 0.44, 0.2]
        >>> consistency_bound(0.1, tau=2.0, n_classes=5).item()
        0.5

    Paper: Cross-Entropy Loss Functions: Theoretical Analysis and Applications, 2023, arXiv
        2304.07288. Differs: minimisability gaps count as 0, as they do for networks that can
        represent any scores; T is inverted by bisection, not bounded from above by a power.
    """
    t = torch.as_tensor(regret, dtype=torch.float64)
    if not (t >= 0).all():
        raise ValueError(f"regret is {float(t.min())} at the least; an excess is not below 0")
    if not 0 <= tau < math.inf:
        raise ValueError(f"tau is {tau}; the family begins at 0 and has no infinite member")
    if n_classes < 2:
        raise ValueError(f"n_classes is {n_classes}; there must be at least 2 to tell apart")
    low, high = torch.zeros_like(t), torch.ones_like(t)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below = _transformation(middle, tau, n_classes) < t
        low, high = middle.where(below, low), high.where(below, middle)
    return high


def _transformation(b: Tensor, tau: float, n_classes: int) -> Tensor:
    if tau == 1:
        return (torch.xlogy(1 + b, 1 + b) + torch.xlogy(1 - b, 1 - b)) / 2
    scale = 2 ** (1 - tau) if tau < 1 else n_classes ** (1 - tau)
    if tau >= 2:
        return b * scale / (tau - 1)
    power = 2 - tau  # in logarithms, as 1 / power has no bound
    both = torch.logaddexp(torch.log1p(b) / power, torch.log1p(-b) / power)
    return torch.expm1(power * (both - math.log(2))) * scale / (tau - 1)
