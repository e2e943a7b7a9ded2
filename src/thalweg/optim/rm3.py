"""RM3: an optimizer follows the median of the last three gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from thalweg.optim._median import median, refuse_sparse
from thalweg.optim._wrapper import Wrapper

_PAST = ("rm3_last", "rm3_before")


class RM3(Wrapper):
    """An optimizer around an optimizer: it steps by the median of the last three gradients.

        g = median(g_t, g_{t-1}, g_{t-2})      elementwise; the mean of two in the second step
        p = update of the inner optimizer with g

    State and groups are the inner optimizer's; the last two gradients are in its state as
    `rm3_last` and `rm3_before`. After the step `p.grad` is as it was.

    Use it as :class:`M3` where the training loop is not yours: it needs nothing but `step`. Avoid
    it at large learning rates, whose gradients of two steps ago are stale. Cost: two more gradients
    of memory.

    Args:
        optimizer: The inner optimizer. Schedules may act on either of the two.

    Raises:
        TypeError: If `optimizer` is none.

    Example:
        >>> import torch
        >>> from thalweg.optim import RM3
        >>> p = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = RM3(torch.optim.SGD([p], lr=1.0))
        >>> for slope in (-1.0, -2.0, 90.0):
        ...     p.grad = torch.tensor([slope])
        ...     optimizer.step()
        >>> p.item()  # 1 + (1 + 2) / 2 + 1
        3.5

    Paper: On the Generalization Mystery in Deep Learning, 2022, arXiv 2203.10036. Differs: the
        authors' code does not move in its first two steps.
    """

    prefix = "rm3"

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer, {})

    def validate(self, group: dict[str, Any]) -> None:
        """Accept every group: there are no hyperparameters."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make the inner optimizer's step with the median of this gradient and the last two.

        Args:
            closure: Clears the gradients, computes the loss, calls backward and returns the loss.

        Returns:
            What the inner optimizer's step returns.

        Raises:
            RuntimeError: If a gradient is sparse.
        """
        fresh: dict[Tensor, Tensor] = {}
        result, finite = self._step_on(closure, partial(self._take_medians, fresh))
        if finite:
            for p, unscaled in fresh.items():
                state = self.state[p]
                if "rm3_last" in state:
                    state["rm3_before"] = state["rm3_last"]
                state["rm3_last"] = unscaled
        return result

    def _take_medians(
        self, fresh: dict[Tensor, Tensor], clean: dict[Tensor, Tensor], scale: Tensor | None
    ) -> None:
        """Put medians in place of the clean gradients; copies of those, unscaled, in `fresh`."""
        factor = 1.0 if scale is None else scale
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                refuse_sparse(self, p.grad)
                clean[p], fresh[p] = p.grad, p.grad.detach() / factor
                past = [self.state[p][k] * factor for k in _PAST if k in self.state.get(p, {})]
                if len(past) == 1:
                    p.grad = (p.grad + past[0]) / 2
                elif past:
                    p.grad = median(p.grad, *past)
