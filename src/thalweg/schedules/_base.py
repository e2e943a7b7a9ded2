"""What the schedules of this room share: a budget of steps, and a warm-up at its beginning."""

from __future__ import annotations

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class BudgetedSchedule(LRScheduler):
    """A schedule that ends with its budget, and is a function of the step count alone.

    Args:
        optimizer: The optimizer whose groups' learning rates are scheduled.
        total_steps: The budget, >= 1.
        warmup_steps: The first steps of the budget over which the factor rises linearly to 1.
        last_epoch: Index of the last step when resuming a run, -1 to start one.
    """

    eta_min = 0.0

    def __init__(
        self, optimizer: Optimizer, total_steps: int, warmup_steps: int, last_epoch: int
    ) -> None:
        if total_steps < 1:
            raise ValueError(f"total_steps must be at least 1, not {total_steps}.")
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(
                f"warmup_steps must be at least 0 and less than total_steps = {total_steps}, "
                f"not {warmup_steps}."
            )
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        super().__init__(optimizer, last_epoch)

    def factor(self, t: float) -> float:
        """Return what is left of the learning rate's part above `eta_min`.

        Args:
            t: Fraction spent of the budget after the warm-up, in [0, 1].

        Returns:
            A number in [0, 1].
        """
        raise NotImplementedError

    def get_lr(self) -> list[float | Tensor]:
        """Return each group's learning rate, from the step count alone."""
        step = min(self.last_epoch, self.total_steps)
        if step < self.warmup_steps:
            factor = (step + 1) / (self.warmup_steps + 1)
        else:
            factor = self.factor(
                (step - self.warmup_steps) / (self.total_steps - self.warmup_steps)
            )
        return [self.eta_min + (lr - self.eta_min) * factor for lr in self.base_lrs]
