"""A task of one's own: thalweg compare examples/task.py:problem --methods adamw,adahessian."""

import torch
from torch import nn

from thalweg import Metric, TrainingProblem


def spirals(n: int = 1500) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    arm = torch.arange(n) % 3
    radius = torch.rand(n, generator=generator)
    angle = 4 * radius + 2 * torch.pi / 3 * arm + 0.1 * torch.randn(n, generator=generator)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1), arm


def worst_class_accuracy(output: torch.Tensor, target: torch.Tensor) -> float:
    hit = (output.argmax(1) == target).double()
    return min(hit[target == label].mean().item() for label in range(3))


def problem() -> TrainingProblem:
    return TrainingProblem(
        "spirals",
        model=lambda: nn.Sequential(
            nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 3)
        ),
        train=spirals(),
        loss=nn.CrossEntropyLoss(),
        metric=Metric("worst class accuracy", "higher", 0.01, worst_class_accuracy, percent=True),
        steps=400,
        target=0.9,
    )
