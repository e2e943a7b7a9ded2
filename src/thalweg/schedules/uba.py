"""UBA: a learning rate schedule for a fixed budget of steps, shaped by one number."""

from __future__ import annotations

import math

from torch.optim import Optimizer

from thalweg.schedules._base import BudgetedSchedule


class UBA(BudgetedSchedule):
    """Anneal the learning rate over a known number of steps, early or late as `phi` says.

        c      = 1 + cos(pi * t)                          t = fraction of the budget spent
        factor = 2 * c / (2 * phi + (2 - phi) * c)        1 at t = 0, 0 at t = 1
        lr     = eta_min + (base_lr - eta_min) * factor

    `phi = 2` is cosine annealing. A smaller `phi` keeps the rate high for longer and drops it
    late, a larger one anneals early: half-way the factor is `2 / (2 + phi)`.

    Use it when the number of steps is fixed beforehand. Avoid it when training may go on past the
    budget: the rate stays at `eta_min` from there. Compare values of `phi` with `lr` tuned for
    each, since a small one spends more rate in total. Cost: none; no state but the step count.

    Args:
        optimizer: The optimizer whose groups' learning rates are scheduled, each from its own `lr`.
        total_steps: The budget: calls of `step()` after which the rate is `eta_min`, >= 1.
        phi: Shape, > 0; larger the worse conditioned the problem.
        eta_min: The final learning rate, at least 0 and at most each group's `lr`.
        warmup_steps: The first steps of the budget over which the factor rises linearly to 1, the
            schedule taking up the rest; at least 0 and below `total_steps`.
        last_epoch: Index of the last step when resuming a run, -1 to start one.

    Raises:
        ValueError: If an argument is outside its range.

    Example:
        >>> import torch
        >>> from thalweg.schedules import UBA
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
        >>> schedule = UBA(optimizer, total_steps=4, phi=2.0)
        >>> for _ in range(4):
        ...     optimizer.step()
        ...     schedule.step()
        ...     print(round(schedule.get_last_lr()[0], 4))
        0.8536
        0.5
        0.1464
        0.0

    Paper: Stepsize anything: A unified learning rate schedule for budgeted-iteration training,
        2025, arXiv 2505.24452. Differs: the paper also re-derives the shape for each of several
        phases; chain one UBA per phase with `torch.optim.lr_scheduler.SequentialLR`. Warm-up is an
        addition. Not confirmed against the paper's text: the formula (an independent public
        implementation has the same) and its advice on `phi` (said to be near 5 for SGD and near
        0.5 for AdamW); the default of 1 lies between.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        *,
        phi: float = 1.0,
        eta_min: float = 0.0,
        warmup_steps: int = 0,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < phi < math.inf:
            raise ValueError(f"phi must be a finite number > 0, not {phi}; 2 is cosine annealing.")
        smallest = min(float(group["lr"]) for group in optimizer.param_groups)
        if last_epoch == -1 and not 0 <= eta_min <= smallest:
            raise ValueError(
                f"eta_min must be between 0 and the smallest learning rate {smallest}, "
                f"not {eta_min}."
            )
        self.phi = phi
        self.eta_min = eta_min
        super().__init__(optimizer, total_steps, warmup_steps, last_epoch)

    def factor(self, t: float) -> float:
        """Return what is left of the learning rate's part above `eta_min`: 1 at t = 0, 0 at 1."""
        c = 1 + math.cos(math.pi * t)
        return 2 * c / (2 * self.phi + (2 - self.phi) * c)
