"""LDR-KL: a loss under the distribution over labels that is worst, not too far from uniform."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from thalweg.losses._base import ClassificationLoss, Reduction, classes_last

_SMALLEST = 1e-12  # of mean |z|: scores below are as good as zero


class LDRKL(ClassificationLoss):
    """How far other labels' scores exceed the target's, under the worst distribution over labels.

        f    = z / mean |z|                                  d_k = f_k - f_y + margin * [k != y]
        loss = max over p of sum p_k * d_k - lam * KL(p, uniform)
             = lam * log(mean of exp(d_k / lam))

    It lies between the multi-class hinge loss, max d_k, where `lam` tends to 0, and mean d_k, where
    it tends to infinity, which labels that are wrong at random do not mislead; without margin and
    normalization and with a `lam` of 1 it is cross-entropy less log C.

    Use it with a `lam` of 10 where a share of the labels is wrong. Avoid it where probabilities
    are wanted: normalized scores know of no confidence beyond their order. Where samples have an
    index, :class:`thalweg.losses.ALDRKL` finds a temperature for each. Cost: that
    of cross-entropy and up to a quarter more, for the normalization.

    Args:
        lam: Temperature, > 0, in units of the scores f.
        margin: By which the target's score is asked to exceed the others', >= 0, in these units.
        normalize: Divide the scores by their mean size, without which `lam` and `margin` have no
            scale, and the loss of a wrong label no bound.
        weight: Of each class, shape (C,).
        ignore_index: Samples with this class index add nothing.
        reduction: ``mean``, ``sum`` or ``none``, as in :class:`torch.nn.CrossEntropyLoss`.

    Returns:
        From ``loss(input, target)``: the loss of scores (N, C), (N, C, ...) or (C,). Against
        probabilities q, d_k = s_k - sum q_j * s_j with s = f - margin * q.

    Raises:
        ValueError: If an argument is outside its range or shapes do not fit.

    Example:
        >>> import torch
        >>> from thalweg.losses import LDRKL
        >>> scores, target = torch.tensor([[3.0, 1.0, -2.0]]), torch.tensor([1])
        >>> for lam in (0.01, 1.0, 100.0):  # from max d to mean d, of f = (1.5, 0.5, -1)
        ...     print(round(LDRKL(lam)(scores, target).item(), 2))
        1.09
        0.35
        -0.09

    Paper: Label Distributionally Robust Losses for Multi-class Classification: Consistency,
        Robustness and Adaptivity, 2021, arXiv 2112.14869. Differs: the softplus that the authors'
        code puts before the normalization is left to the model; probabilities as target.
    """

    def __init__(
        self,
        lam: float = 1.0,
        margin: float = 0.1,
        *,
        normalize: bool = True,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        if not lam > 0:
            raise ValueError(f"lam is {lam}; the temperature must be above 0")
        if not margin >= 0:
            raise ValueError(f"margin is {margin}; by what scores are to differ is not below 0")
        self.lam, self.margin, self.normalize = lam, margin, normalize

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
        return self._loss(*self._given(input, target), target, self.lam).to(input.dtype)

    def _given(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return scores, classes last, and mean sizes; labels and their shares in the target."""
        z = classes_last(input)
        if z.dtype in (torch.bfloat16, torch.float16):
            z = z.float()
        size = _mean_size(z) if self.normalize else torch.ones_like(z[..., :1])
        if target.is_floating_point():
            every = torch.arange(z.shape[-1], device=z.device).expand_as(z)
            return z, size, every, classes_last(target).to(z.dtype)
        index, kept = self._kept(target)
        return z, size, index.unsqueeze(-1), kept.to(z.dtype).unsqueeze(-1)

    def _loss(
        self,
        z: Tensor,
        size: Tensor,
        labels: Tensor,
        shares: Tensor,
        target: Tensor,
        lam: float | Tensor,
        less: float | Tensor = 0.0,
    ) -> Tensor:
        """Return the loss, of each sample lam * log(mean of exp(d / lam)) - less."""
        log_p, _ = _Softmax.apply(  # type: ignore[no-untyped-call]
            z, size, labels, -self.margin / lam * shares, lam, self.normalize
        )
        if self.weight is not None:
            shares = shares * self.weight.to(z.dtype)[labels]
        # log(mean of exp(d / lam)) = -log(p * C) of the label
        each = -(shares * (lam * (log_p + math.log(z.shape[-1])) + less)).sum(-1)
        return self._reduce(each, None if target.is_floating_point() else shares.sum(-1))

    def extra_repr(self) -> str:
        """Return the settings for printing."""
        return f"lam={self.lam}, margin={self.margin}, {super().extra_repr()}"


def _mean_size(z: Tensor) -> Tensor:
    size: Tensor = torch.linalg.vector_norm(z, 1, -1, keepdim=True) / z.shape[-1]
    return size.clamp(min=_SMALLEST)


def _tempered(z: Tensor, unit: Tensor, labels: Tensor, shift: Tensor) -> Tensor:
    """Return z / unit, `shift` added to those of `labels`, less the largest of each sample."""
    # In place, here and below: each new matrix would cost as much as all that is done with it.
    u = (z * (1 / unit)).scatter_add_(-1, labels, shift)
    return u.sub_(u.detach().amax(-1, keepdim=True))


class _Softmax(torch.autograd.Function):
    """p = softmax of the tempered scores, and its logarithm at `labels`, which has the gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        z: Tensor,
        size: Tensor,
        labels: Tensor,
        shift: Tensor,
        lam: float | Tensor,
        normalize: bool,
    ) -> tuple[Tensor, Tensor]:
        u = _tempered(z, lam * size, labels, shift)
        chosen = u.gather(-1, labels)
        total = u.exp_().sum(-1, keepdim=True)
        return chosen - total.log(), u.div_(total)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        z, size, labels, shift, ctx.lam, ctx.normalize = inputs
        ctx.save_for_backward(z, size, labels, shift, output[1])
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, of_log_p: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        if of_log_p is None:
            return (None,) * 6
        z, size, labels, shift, p = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is itself to be differentiated
            p = _tempered(z, ctx.lam * size, labels, shift).softmax(-1)
        total, scale = of_log_p.sum(-1, keepdim=True), 1 / (ctx.lam * size)
        of_shift = of_log_p - total * p.gather(-1, labels) if ctx.needs_input_grad[3] else None
        if ctx.normalize:  # the sign is the gradient of the size
            along = (of_log_p * z.gather(-1, labels)).sum(-1, keepdim=True)
            along = along - total * torch.einsum("...c,...c->...", p, z).unsqueeze(-1)
            of_size = -scale * along / size * (size > _SMALLEST)
            of_z = z.sign().mul_(of_size / z.shape[-1]).addcmul_(p, -total * scale)
        else:
            of_z = p * (-total * scale)
        of_z = of_z.scatter_add_(-1, labels, of_log_p * scale)
        return of_z, None, None, of_shift, None, None
