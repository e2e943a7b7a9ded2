"""Linear decay: the learning rate schedule that the theory of the last iterate asks for."""

from __future__ import annotations

from torch.optim import Optimizer

from thalweg.schedules._base import BudgetedSchedule


class LinearDecay(BudgetedSchedule):
    """Let the learning rate fall along a straight line to 0, after a short rise if wanted.

        factor = 1 - t                                    t = fraction of the budget spent
        lr     = base_lr * factor

    Among all schedules it is the one with the best worst case for the last iterate of (sub)gradient
    descent on convex functions. Use it when the number of steps is fixed beforehand and nothing is
    known of the gradients, with a short warm-up where training begins unstable. Avoid it when
    training may go on past the budget: the rate stays 0 from there. Cost: none; no state but the
    step count.

    Args:
        optimizer: The optimizer whose groups' learning rates are scheduled, each from its own `lr`.
        total_steps: The budget: calls of `step()` after which the rate is 0, >= 1.
        warmup_steps: The first steps of the budget over which the factor rises linearly to 1, the
            decay taking up the rest; at least 0 and below `total_steps`.
        last_epoch: Index of the last step when resuming a run, -1 to start one.

    Raises:
        ValueError: If an argument is outside its range.

    Example:
        >>> import torch
        >>> from thalweg.schedules import LinearDecay
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
        >>> schedule = LinearDecay(optimizer, total_steps=4)
        >>> for _ in range(4):
        ...     optimizer.step()
        ...     schedule.step()
        ...     print(schedule.get_last_lr()[0])
        0.75
        0.5
        0.25
        0.0

    Paper: When, Why and How Much? Adaptive Learning Rate Scheduling by Refinement (later: Optimal
        Linear Decay Learning Rate Schedules and Further Refinements), 2023, arXiv 2310.07831.
        Differs: nothing.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        *,
        warmup_steps: int = 0,
        last_epoch: int = -1,
    ) -> None:
        super().__init__(optimizer, total_steps, warmup_steps, last_epoch)

    def factor(self, t: float) -> float:
        """Return what is left of the learning rate: 1 at t = 0, 0 at 1."""
        return 1 - t
