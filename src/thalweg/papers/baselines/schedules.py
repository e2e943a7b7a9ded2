"""Torch's own learning rate schedules, as baselines."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
)

from thalweg.core.method import Choice, Interval
from thalweg.training.methods import schedule_method


def constant(optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """Keep the learning rate."""
    return ConstantLR(optimizer, factor=1.0, total_iters=total_steps)


def cosine(optimizer: Optimizer, total_steps: int, *, eta_min: float = 0.0) -> LRScheduler:
    """Let the learning rate fall along half a cosine."""
    return CosineAnnealingLR(optimizer, T_max=total_steps, eta_min=eta_min)


def linear(optimizer: Optimizer, total_steps: int, *, end_factor: float = 0.0) -> LRScheduler:
    """Let the learning rate fall along a straight line."""
    return LinearLR(optimizer, start_factor=1.0, end_factor=end_factor, total_iters=total_steps)


def one_cycle(
    optimizer: Optimizer, total_steps: int, *, pct_start: float = 0.3, div_factor: float = 25.0
) -> LRScheduler:
    """Let the learning rate rise and fall once, the momentum the other way round."""
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=total_steps,
        pct_start=pct_start,
        div_factor=div_factor,
    )


METHODS = (
    schedule_method("constant", constant, space={}),
    schedule_method(
        "cosine",
        cosine,
        space={},
        knobs={"eta_min": (0.0, 1e-4)},
    ),
    schedule_method(
        "linear",
        linear,
        space={},
        knobs={"end_factor": (0.0, 0.5)},
    ),
    schedule_method(
        "one-cycle",
        one_cycle,
        space={"pct_start": Interval(0.05, 0.5), "div_factor": Choice((10.0, 25.0, 100.0))},
        knobs={"pct_start": (0.3, 0.1), "div_factor": (25.0, 5.0)},
    ),
)
