"""SAM: any optimizer, on the gradient at the worst point near by."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from thalweg.optim._base import check
from thalweg.optim._wrapper import Wrapper

_TINY = 1e-12  # for a gradient of zeros


class SAM(Wrapper):
    """An optimizer around an optimizer: it steps by the gradient a little way up the slope.

        e = rho * g(p) / |g(p)|                       the norm over all parameters together
        p = update of the inner optimizer at p with the gradient g(p + e)

    State and groups are the inner optimizer's; a group may hold its own `sam_rho`. After the step
    `p.grad` is g(p + e).

    Use it where a model fits its training data and fails on others: it looks for minima whose
    surroundings are low as well, and resists wrong labels. Avoid it where steps are dear:
    :class:`thalweg.losses.SAF` aims at the same for the price of one gradient. Layers that keep
    statistics of their batches, such as BatchNorm, see every batch twice. It cannot be combined
    with gradient scaling, nor with optimizers that need a graph or further closures. Cost: two
    gradients a step where the inner optimizer takes one; no state, but a copy of all parameters
    during the step.

    Args:
        optimizer: The inner optimizer. Schedules may act on either of the two.
        rho: How far up the slope, in units of the parameters, >= 0; 0 is the inner optimizer.

    Raises:
        TypeError: If `optimizer` is none.
        ValueError: If `rho` is outside its range.

    Example:
        >>> import torch
        >>> from thalweg.optim import SAM
        >>> p = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = SAM(torch.optim.SGD([p], lr=0.1), rho=0.5)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = p.square().sum()
        ...     loss.backward()
        ...     return loss
        >>> optimizer.step(closure).item()
        1.0
        >>> round(p.item(), 4)  # 1 - 0.1 * 2 * (1 + 0.5)
        0.7

    Paper: Sharpness-Aware Minimization for Efficiently Improving Generalization, 2020,
        arXiv 2010.01412. Differs: the second-order part of the gradient is left out, as in the
        paper's experiments; in distributed training e follows the gradient of all processes, where
        theirs follows each process's own.
    """

    prefix = "sam"

    def __init__(self, optimizer: Optimizer, *, rho: float = 0.05) -> None:
        super().__init__(optimizer, {"rho": rho})

    def validate(self, group: dict[str, Any]) -> None:
        """Raise a ValueError with a sentence for a rho outside its range."""
        check("rho", group["sam_rho"], "a finite number >= 0", lambda x: 0 <= x < math.inf)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make the inner optimizer's step with the gradient from up the slope.

        Args:
            closure: Clears the gradients, computes the loss, calls backward and returns the loss;
                called twice.

        Returns:
            The closure's loss at the parameters themselves.

        Raises:
            TypeError: If there is no closure.
            RuntimeError: If a gradient is sparse.
        """
        if closure is None:
            raise TypeError(
                "SAM evaluates the loss twice in a step: give step a closure that clears the "
                "gradients, computes the loss, calls backward and returns the loss."
            )
        with torch.enable_grad():
            loss = closure()
        ready = [[p for p in group["params"] if p.grad is not None] for group in self.param_groups]
        params = [p for members in ready for p in members]
        before = [p.detach().clone() for p in params]
        self._climb(ready)
        try:
            with torch.enable_grad():
                closure()
        finally:
            with torch.no_grad():
                for p, value in zip(params, before, strict=True):
                    p.copy_(value)
        self.base.step()
        return loss.detach() if isinstance(loss, Tensor) else loss

    @torch.no_grad()
    def _climb(self, ready: list[list[Tensor]]) -> None:
        """Add e to the parameters that have a gradient, group by group."""
        grads = [[p.grad for p in members if p.grad is not None] for members in ready]
        if any(g.layout is not torch.strided for members in grads for g in members):
            raise RuntimeError("SAM takes dense gradients: build the embedding with sparse=False.")
        norm = get_total_norm([g for members in grads for g in members])
        if hasattr(norm, "full_tensor"):  # of sharded parameters
            norm = norm.full_tensor()
        norm = norm.to(torch.promote_types(norm.dtype, torch.float32))
        for group, members, slopes in zip(self.param_groups, ready, grads, strict=True):
            rho = -group["sam_rho"] if group.get("maximize") else group["sam_rho"]
            if members:
                torch._foreach_add_(members, torch._foreach_mul(slopes, rho / (norm + _TINY)))
