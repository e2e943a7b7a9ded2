"""BinaryKL and BinaryKLNorm: how far a student's scores are from a teacher's, class by class."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from thalweg.losses._base import Reduction
from thalweg.losses.distillation import Distillation


class BinaryKL(Distillation):
    """The divergence of a student's yes or no to each class from a teacher's.

        loss = T^2 * sum_k KL(Bern(sigmoid(t_k / T)), Bern(sigmoid(s_k / T))),  mean over samples

    with s the scores of the student and t those of the teacher: binary cross-entropy against the
    teacher's sigmoids, less its smallest value.

    Use it where scores are to be learnt and not their softmax alone, as of several labels at once.
    Avoid it where the teacher's scores are large: their sigmoids no longer differ, and
    :class:`BinaryKLNorm` still sees them. Cost: a pass of the teacher; the loss as cross-entropy.

    Args:
        temperature: T, > 0, in units of the scores.
        reduction: ``mean``, ``sum`` or ``none``, over samples.

    Returns:
        From ``loss(input, target)``: the loss of the student's scores (N, C) against the
        teacher's, (N, C), which get no gradient.

    Raises:
        ValueError: If an argument is outside its range or shapes do not fit.

    Example:
        >>> import torch
        >>> from thalweg.losses import BinaryKL
        >>> student, teacher = torch.tensor([[0.0, 1.0]]), torch.tensor([[4.0, 1.0]])
        >>> round(BinaryKL()(student, teacher).item(), 4)
        1.3113

    Paper: Dual-Head Knowledge Distillation: Enhancing Logits Utilization with an Auxiliary Head,
        2024, arXiv 2411.08937. Differs: probabilities are not clamped to 1e-8 from 0 and 1.
    """

    def __init__(self, temperature: float = 2.0, *, reduction: Reduction = "mean") -> None:
        super().__init__(temperature, reduction=reduction)

    def per_class(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return each class's divergence."""
        # log(sigmoid(-x)) is log(sigmoid(x)) - x: yes and no take one logarithm together.
        more = (-teacher).sigmoid() * (student - teacher)
        return F.logsigmoid(teacher) - F.logsigmoid(student) + more


class BinaryKLNorm(Distillation):
    """A loss that pulls each score of a student to that of a teacher: squared, then linear.

        q_k  = sigmoid((s_k - t_k) / T)
        loss = T^2 * sum_k KL(Bern(1/2), Bern(q_k)) = T^2 * sum_k log cosh((s_k - t_k) / (2 * T))

    with s the scores of the student and t those of the teacher, mean over samples: about
    (s_k - t_k)^2 / 8 near 0, T * |s_k - t_k| / 2 far from it.

    Use it where the scores themselves carry what the softmax loses: on a head of its own, as
    :class:`thalweg.nn.DualHead` makes one. Avoid it where student and teacher mean different
    things by a score. It sums over classes: the more of them, the smaller its weight beside
    another loss should be. Cost: a pass of the teacher; the loss as cross-entropy.

    Args:
        temperature: T, > 0, in units of the scores: where squared becomes linear.
        reduction: ``mean``, ``sum`` or ``none``, over samples.

    Returns:
        From ``loss(input, target)``: the loss of the student's scores (N, C) against the
        teacher's, (N, C), which get no gradient.

    Raises:
        ValueError: If an argument is outside its range or shapes do not fit.

    Example:
        >>> import torch
        >>> from thalweg.losses import BinaryKLNorm
        >>> student, teacher = torch.tensor([[0.0, 1.0]]), torch.tensor([[4.0, 1.0]])
        >>> round(BinaryKLNorm()(student, teacher).item(), 4)  # 4 * log(cosh(1))
        1.7351

    Paper: Dual-Head Knowledge Distillation: Enhancing Logits Utilization with an Auxiliary Head,
        2024, arXiv 2411.08937. Differs: q is not clamped to 1e-8 from 0 and 1, which in the
        authors' code ends the gradient at differences above 18 T.
    """

    def __init__(self, temperature: float = 2.0, *, reduction: Reduction = "mean") -> None:
        super().__init__(temperature, reduction=reduction)

    def per_class(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return each class's divergence."""
        x = student - teacher
        return x / 2 - F.logsigmoid(x) - math.log(2)
