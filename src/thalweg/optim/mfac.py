"""M-FAC: natural gradients from a window of past gradients, without forming a matrix."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.optimizer import ParamsT

from thalweg.linalg._gram import combine, factorised, replace_row
from thalweg.optim._base import ElementwiseOptimizer, average_, check

_COMMON = ("n_grads", "damping", "history_dtype", "history_device")  # the window's, for all groups


class MFAC(ElementwiseOptimizer):
    """Gradient descent with each gradient multiplied by the inverse of an empirical Fisher matrix.

        G = the last n_grads gradients of all parameters, one a row         k so far, g the newest
        F = damping * I + G^T G / k                                         never formed
        u = F^-1 g = G^T (damping * I + G G^T / k)^-1 e                     e picks the row of g
        v = momentum * v + (1 - momentum) * u
        p = p - lr * (v + weight_decay * p)

    Use it when the loss is badly conditioned and memory is ample. Avoid it when memory is short, or
    batches so large that past gradients are all alike. The length of a step grows with k and with
    1 / damping: tune `lr` and `damping` together. Cost: `n_grads` copies of the model, and a step
    reads them twice and factorises `n_grads` x `n_grads` numbers: O(d n_grads + n_grads^3).

    The window is one for all parameters, which share its hyperparameters; lr, momentum and
    weight_decay may differ between groups. It holds columns only for parameters that have had a
    gradient, and counts a gradient that is missing as zero. A state dict has it under "window".

    Args:
        params: Parameters, named parameters or groups of them.
        lr: Learning rate, >= 0.
        momentum: Decay rate of the average of the steps, in [0, 1); 0 for none.
        weight_decay: Decoupled decay towards zero, >= 0; 0 for none.
        n_grads: Gradients in the window, >= 1.
        damping: Strength of the damping of the Fisher matrix, > 0.
        history_dtype: Type in which gradients are kept, such as `torch.bfloat16`, which also
            rounds the step; that of the parameters where None.
        history_device: Where they are kept and multiplied, such as "cpu"; where the first
            parameter is where None.
        maximize: Ascend instead of descend.
        compile: Run what follows u through `torch.compile`: same numbers up to rounding.

    Raises:
        ValueError: If a hyperparameter is outside its range, or the window's differ between groups,
            or a parameter is complex or sharded.

    Example:
        >>> import torch
        >>> from thalweg.optim import MFAC
        >>> p = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> optimizer = MFAC([p], lr=1.0, damping=1.0)
        >>> p.square().sum().div(2).backward()
        >>> optimizer.step()  # by g / (1 + |g|^2)
        >>> [round(x, 4) for x in p.tolist()]
        [2.8846, 3.8462]

    Paper: M-FAC: Efficient Matrix-Free Approximations of Second-Order Information, 2021,
        arXiv 2107.03356. Differs: a Cholesky factorisation in place of the paper's recursion, of
        the same value and faster; k is the number of gradients so far, where the authors' code has
        n_grads from the start, so that its first steps are up to n_grads times as long; decay is
        decoupled, where theirs adds it to the gradient before that enters the window.
    """

    state_names = ("momentum_buffer",)
    constants = ()

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        n_grads: int = 1024,
        damping: float = 1e-5,
        history_dtype: torch.dtype | None = None,
        history_device: torch.device | str | None = None,
        maximize: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__(params, locals())

    def validate(self, group: dict[str, Any]) -> None:
        """Raise a ValueError with a sentence for a hyperparameter outside its range."""
        for name in ("lr", "weight_decay"):
            check(name, group[name], "a finite number >= 0", lambda x: 0 <= x < math.inf)
        check("momentum", group["momentum"], "in [0, 1)", lambda x: 0 <= x < 1)
        check("n_grads", group["n_grads"], "a whole number >= 1", lambda n: n >= 1 and n % 1 == 0)
        check("damping", group["damping"], "a positive number", lambda x: 0 < x < math.inf)
        first = getattr(self, "param_groups", [group])[0]
        if unequal := [name for name in _COMMON if group[name] != first[name]]:
            raise ValueError(f"{unequal[0]} must be the same for all groups: they share a window.")
        if any(hasattr(p, "device_mesh") for p in group.get("params", ())):
            raise ValueError(
                "MFAC takes whole parameters, because its window spans them all, and none that "
                "fully_shard has split: train with DistributedDataParallel."
            )

    def coefficients(self, group: dict[str, Any], step: int) -> dict[str, float]:
        """Return the numbers in `update` that may change from step to step."""
        keep = 1 - group["lr"] * group["weight_decay"]
        return {"lr": group["lr"], "weight": 1 - group["momentum"], "keep": keep}

    @staticmethod
    def update(
        p: Tensor, u: Tensor, momentum_buffer: Tensor, *, lr: float, weight: float, keep: float
    ) -> None:
        """Apply one step to tensors of one shape, in place."""
        average_(momentum_buffer, u, weight)
        p.mul_(keep).add_(momentum_buffer, alpha=-lr)

    def prepare(self) -> bool:
        """Put the gradient into the window and multiply it by the inverse."""
        params = self._in_the_order_of_columns()
        if any(p.grad is not None for p in params):
            device = self.param_groups[0]["history_device"] or params[0].device
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in params]
            u = self._direction(torch.cat([g.flatten().to(device) for g in grads]))
            parts = torch.split(u, [p.numel() for p in params])
            pairs = zip(params, parts, strict=True)
            self._directions = {p: x.view_as(p).to(p) for p, x in pairs if p.grad is not None}
        return True

    def inputs(self, p: Tensor) -> list[Tensor]:
        """Return the direction of the step."""
        return [self._directions.pop(p)]

    def _in_the_order_of_columns(self) -> list[Tensor]:
        """Return the parameters that have had a gradient; those with their first come last."""
        params = [p for group in self.param_groups for p in group["params"]]
        known = [p for p in params if "position" in self.state.get(p, {})]
        known.sort(key=lambda p: int(self.state[p]["position"]))
        for p in params:
            if p.grad is not None and "position" not in self.state[p]:
                self.state[p]["position"] = len(known)
                known.append(p)
        return known

    def _direction(self, g: Tensor) -> Tensor:
        """Return F^-1 g for the window that ends with g."""
        group = self.param_groups[0]
        state = cast(dict[str, Any], self.state)  # torch loads as it was what is no parameter's
        if "window" not in state:
            m = group["n_grads"]
            grads = g.new_zeros(m, 0, dtype=group["history_dtype"])
            state["window"] = {"step": 0, "grads": grads, "gram": g.new_zeros(m, m).double()}
        window = state["window"]
        if new := len(g) - window["grads"].shape[1]:
            window["grads"] = F.pad(window["grads"], (0, new))
        grads = window["grads"] = window["grads"].to(g.device)
        gram = window["gram"] = window["gram"].to(g.device)
        row = window["step"] % len(grads)
        window["step"] += 1
        k = min(window["step"], len(grads))
        replace_row(grads[:k], gram[:k, :k], row, g)
        e = (torch.arange(k, device=g.device) == row).to(gram)[:, None]
        factor = factorised(gram[:k, :k], group["damping"])
        return combine(grads[:k], k * torch.cholesky_solve(e, factor)[:, 0])
