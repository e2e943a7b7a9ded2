"""SphericalLinear: a last layer whose training costs the same for any number of classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.losses.z_loss import ZLoss

_CHUNK = 65536  # rows rewritten at a time: bounds the memory of `refactor`
_TINY = 1e-30  # for a batch of zeros


class SphericalLinear(nn.Module):
    """A linear layer to very many classes, trained by exact SGD without computing their scores.

    The loss needs of the scores o = W h only the target's, their mean and mean square; W is held as

        W = V U + 1 omega',   Q = W' W,   w = W' 1        V (C, d); U, Q (d, d); omega, w (d,)
        o[c] = V[c] U h + omega h,   sum o = w h,   sum o^2 = h' Q h

    and W - lr dL/dW is made by changing U, omega, Q and those rows of V that were targets.

    Use it with :class:`thalweg.losses.ZLoss` from some ten thousand classes on; below, a dense
    layer is as fast. Train the rest of the model with any optimizer; this layer makes its own steps
    (`step`), as it has no parameters an optimizer could see. Avoid it where W wants momentum, Adam
    or weight decay; with gradient scaling, unless `lr` is divided by the scale; in distributed
    training, where each process would see its own samples only; and in half precision, too coarse
    for running products. Cost: for m samples O(m d^2 + m^2 d + d^3), nowhere C; `refactor`, seldom
    due, O(C d^2); all scores (`forward`) O(m C d), as ever. Memory: C d numbers, no gradient.

    Args:
        in_features: Width d of the hidden layer.
        n_classes: Number C of classes.
        criterion: The loss; ``ZLoss()`` if not given.
        max_growth: `refactor` once U stretches, or its inverse, by more than this, > 1.
        device: As in :class:`torch.nn.Linear`, from which the initial weights are.
        dtype: Single or double precision.

    Raises:
        ValueError: If an argument is outside its range or shapes do not fit.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from thalweg.nn import SphericalLinear
        >>> body, last = nn.Linear(8, 4), SphericalLinear(4, 100_000)
        >>> optimizer = torch.optim.SGD(body.parameters(), lr=0.1)
        >>> def last_too(optimizer, *_):  # follows every schedule of the learning rate
        ...     last.step(optimizer.param_groups[0]["lr"])
        >>> handle = optimizer.register_step_post_hook(last_too)
        >>> loss = last.loss(body(torch.randn(16, 8)), torch.randint(0, 100_000, (16,)))
        >>> loss.backward()
        >>> optimizer.step()
        >>> last(body(torch.randn(1, 8))).shape  # all scores, to predict
        torch.Size([1, 100000])

    Paper: The Z-loss: a shift and scale invariant classification loss belonging to the Spherical
        Family, 2016, arXiv 1604.08859, by the algorithm of Efficient Exact Gradient Update for
        training Deep Networks with Very Large Sparse Targets, 2015, arXiv 1412.7091. Differs: a
        batch solves with U where they keep its inverse by Woodbury's formula, which drifts; U is
        folded into V when it becomes ill-conditioned, where they mend its extreme singular values
        every hundred steps; w is left alone, as the Z-loss cannot change it; one target a sample.
    """

    factor: Tensor  # V
    mixing: Tensor  # U
    offset: Tensor  # omega
    gram: Tensor  # Q
    total: Tensor  # w

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        *,
        criterion: ZLoss | None = None,
        max_growth: float = 10.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if in_features < 1 or n_classes < 2:
            raise ValueError(
                f"in_features is {in_features} and n_classes {n_classes}; give at least 1 and 2"
            )
        if not max_growth > 1:
            raise ValueError(f"max_growth is {max_growth}; U begins at 1, give more than that")
        if (dtype or torch.get_default_dtype()) not in (torch.float32, torch.float64):
            raise ValueError(f"dtype is {dtype}; running products need float32 or float64")
        self.in_features, self.n_classes, self.max_growth = in_features, n_classes, max_growth
        self.criterion = criterion or ZLoss()
        d = in_features
        for name, shape in (
            ("factor", (n_classes, d)),
            ("mixing", (d, d)),
            ("offset", (d,)),
            ("gram", (d, d)),
            ("total", (d,)),
        ):
            self.register_buffer(name, torch.empty(shape, device=device, dtype=dtype))
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []
        self.load_weight(nn.init.kaiming_uniform_(self.factor, a=math.sqrt(5)))

    @property
    def weight(self) -> Tensor:
        """The dense weight W, (C, d), computed."""
        return torch.addmm(self.offset, self.factor, self.mixing)

    @torch.no_grad()
    def load_weight(self, weight: Tensor) -> None:
        """Start from a dense weight, (C, d), such as that of a :class:`torch.nn.Linear`."""
        if weight.shape != self.factor.shape:
            raise ValueError(
                f"weight has shape {tuple(weight.shape)}; give one of "
                f"{tuple(self.factor.shape)}, (n_classes, in_features)"
            )
        self.factor.copy_(weight)
        self.mixing.copy_(torch.eye(self.in_features, dtype=self.mixing.dtype))
        self.offset.zero_()
        self.gram.copy_(self.factor.T @ self.factor)
        self.total.copy_(self.factor.sum(0))

    @torch.no_grad()
    def refactor(self) -> None:
        """Fold U and omega into V and recompute Q and w: W stays, rounding errors go; O(C d^2)."""
        self._fold()
        self.load_weight(self.factor)

    def forward(self, input: Tensor) -> Tensor:
        """Return the scores of all classes, (..., C), for hidden units (..., d)."""
        mixed = F.linear(input, self.mixing)
        return F.linear(mixed, self.factor) + (input @ self.offset).unsqueeze(-1)

    def loss(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of hidden units, (..., d), against class indices, (...).

        Its backward fills the gradients of what lies before the layer and, in training mode, keeps
        what the layer's own :meth:`step` needs; several backwards add up, as gradients do.
        """
        if input.shape[-1:] != (self.in_features,) or target.shape != input.shape[:-1]:
            raise ValueError(
                f"input has shape {tuple(input.shape)} and target {tuple(target.shape)}; give "
                f"hidden units (..., {self.in_features}) and a class index for each, (...)"
            )
        if target.is_floating_point() or self.gram.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"target has type {target.dtype} and the layer {self.gram.dtype}; give class "
                "indices, and a layer of float32 or float64"
            )
        with torch.autocast(input.device.type, enabled=False):
            hidden = input.reshape(-1, self.in_features).to(self.factor.dtype)
            target = target.reshape(-1)
            index = target.where(target != self.criterion.ignore_index, 0)
            mixed = F.linear(hidden, self.mixing)
            chosen = (self.factor[index] * mixed).sum(-1) + hidden @ self.offset
            mean = hidden @ self.total / self.n_classes
            square = (hidden * (hidden @ self.gram)).sum(-1) / self.n_classes
            statistics = torch.stack((chosen, mean, square))
            if self.training and torch.is_grad_enabled():
                if not statistics.requires_grad:  # nothing before the layer is being trained
                    statistics.requires_grad_()
                kept = hidden.detach()
                statistics.register_hook(  # type: ignore[no-untyped-call]
                    lambda gradient: self._pending.append((kept, index, gradient.detach()))
                )
            chosen, mean, square = statistics.unbind()
            return self.criterion.from_statistics(chosen, mean, square, target)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget what backwards have kept since the last step."""
        super().zero_grad(set_to_none)
        self._pending.clear()

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Make one exact SGD step on W with what backwards have kept since the last, if any."""
        if not lr >= 0:
            raise ValueError(f"lr is {lr}; the learning rate must not be below 0")
        if not self._pending:
            return
        hidden, index, gradients = zip(*self._pending, strict=True)
        self._pending.clear()
        h, c = torch.cat(hidden), torch.cat(index)
        # dL/dO = Y + 1 s' + W h' diag(q), y the only entries of Y; over classes it sums to zero,
        # because the Z-loss is blind to shift, and so w stays as it is.
        y, s, q = lr * torch.cat(gradients, dim=1)
        s, q = s / self.n_classes, 2 * q / self.n_classes
        rows = torch.addmm(self.offset, self.factor[c], self.mixing)

        back = y[:, None] * rows + torch.outer(s, self.total) + q[:, None] * (h @ self.gram)
        at_targets = y[:, None] * (c[:, None] == c) + s[:, None] + q[:, None] * (h @ rows.T)
        product = at_targets * y + (back @ h.T) * q
        cross = back.T @ h
        self.gram.add_(h.T @ product @ h - cross - cross.T)
        self.offset.sub_((q * (h @ self.offset) + s) @ h)
        self.mixing.sub_((h @ self.mixing.T).T @ (q[:, None] * h))

        solved, singular = torch.linalg.solve_ex(self.mixing, h, left=False)
        stretch = self.mixing.norm() / math.sqrt(self.in_features)
        growth = torch.maximum(stretch, solved.norm() / h.norm().clamp(min=_TINY))
        stable = (growth <= self.max_growth) & (singular == 0)
        if stable.item():
            self.factor.index_add_(0, c, -y[:, None] * solved)
        else:
            self._fold()
            self.factor.index_add_(0, c, -y[:, None] * h)
            self.load_weight(self.factor)

    def _fold(self) -> None:
        for rows in torch.split(self.factor, _CHUNK):
            rows.copy_(torch.addmm(self.offset, rows, self.mixing))

    def extra_repr(self) -> str:
        """Return the settings for printing."""
        return f"in_features={self.in_features}, n_classes={self.n_classes}"
