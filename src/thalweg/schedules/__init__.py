"""Learning rate schedules: each a plain `torch.optim.lr_scheduler.LRScheduler`."""

from thalweg.schedules.linear_decay import LinearDecay
from thalweg.schedules.refined import RefinedSchedule
from thalweg.schedules.uba import UBA

__all__ = ["UBA", "LinearDecay", "RefinedSchedule"]
