"""What the claim about EnsLoss measures."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.claim import Size
from thalweg.losses import EnsLoss
from thalweg.problems.nets import mlp

Loss = Callable[[Tensor, Tensor], Tensor]

DIMENSIONS = (200, 1000)
TRAIN, TEST, INFORMATIVE, FLIPPED = 400, 2000, 20, 0.1


def hinge(score: Tensor, target: Tensor) -> Tensor:
    """Return the mean hinge loss of scores against targets 0 and 1."""
    return (1 - (2 * target - 1) * score).clamp(min=0).mean()


def accuracies(seed: int, size: Size) -> Mapping[str, float]:
    """Return each loss's accuracy, in percent, from the same weights and the same batches."""
    figures = {}
    for dimension in DIMENSIONS:
        inputs, labels = _samples(seed, dimension)
        losses: dict[str, Loss] = {
            "BCE": F.binary_cross_entropy_with_logits,
            "hinge": hinge,
            "EnsLoss": EnsLoss(seed=seed),
        }
        for name, loss in losses.items():
            model = _trained(loss, inputs, labels, seed, 800 if size == "full" else 5)
            with torch.no_grad():
                right = (model(inputs[TRAIN:])[:, 0] > 0) == (labels[TRAIN:] > 0)
            figures[f"{name} {dimension}"] = 100 * right.double().mean().item()
    return figures


def _samples(seed: int, dimension: int) -> tuple[Tensor, Tensor]:
    """Return inputs of which few are informative, and labels; some to train by are wrong."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(TRAIN + TEST, dimension, generator=generator)
    direction = torch.randn(INFORMATIVE, generator=generator)
    labels = (inputs[:, :INFORMATIVE] @ direction > 0).float()
    flipped = torch.rand(TRAIN, generator=generator) < FLIPPED
    labels[:TRAIN] = (labels[:TRAIN] - flipped.float()).abs()
    return inputs, labels


def _trained(loss: Loss, inputs: Tensor, labels: Tensor, seed: int, steps: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = mlp(inputs.shape[1], 1, width=128, depth=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        batch = torch.randint(TRAIN, (128,), generator=generator)
        optimizer.zero_grad()
        torch.autograd.backward(loss(model(inputs[batch])[:, 0], labels[batch]))
        optimizer.step()
        schedule.step()
    return model
