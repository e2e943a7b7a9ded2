"""Learning rate schedules: each a plain `torch.optim.lr_scheduler.LRScheduler`."""

from thalweg.schedules.uba import UBA

__all__ = ["UBA"]
