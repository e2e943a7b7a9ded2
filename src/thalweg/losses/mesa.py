"""MESA: a loss that holds the scores near those of the average of the weights so far."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.losses.saf import Criterion, check_target, divergence, validate


class MESA(nn.Module):
    """Cross-entropy, and how far the scores are from those of an average of past weights.

        loss = criterion(z, target) + lam * tau^2 * mean KL(softmax(v(x) / tau), softmax(z / tau))
        v    = decay * v + (1 - decay) * theta                       after each step

    with z = theta(x), the scores of the model being trained, and v(x) those of the average, without
    gradient. The second term acts from the epoch after `start` on.

    Use it as :class:`thalweg.losses.SAF` is used, where that would remember too much or samples
    have no index. Avoid it where a forward pass is dear. The average, `loss.average`, is a model by
    itself, often better than the trained one. Cost: a forward pass more each step, in evaluation
    mode, and a copy of the model.

    Args:
        model: To be trained; its copy becomes the average.
        lam: Weight of the second term, >= 0; 0 is the criterion alone.
        tau: Temperature, > 0, in units of the scores.
        decay: Of the average, in [0, 1): it reaches some 1 / (1 - decay) steps back, which should
            be few of all.
        start: Last epoch, counted from 0, in which the criterion acts alone; -1 for none.
        criterion: Called with scores and target; ``torch.nn.CrossEntropyLoss()`` if not given.

    Returns:
        From ``loss(input, target, seen)``: the loss of scores (N, C), where `seen` is what the
        model was given: a tensor, or a tuple or dict of arguments.

    Raises:
        ValueError: If an argument is outside its range or shapes do not fit.

    Example:
        >>> import torch
        >>> from thalweg.losses import MESA
        >>> model = torch.nn.Linear(4, 3)
        >>> loss, optimizer = MESA(model), torch.optim.SGD(model.parameters(), lr=0.1)
        >>> x, y = torch.randn(8, 4), torch.randint(3, (8,))
        >>> loss(model(x), y, x).backward()
        >>> optimizer.step()
        >>> loss.update(model)  # after each step
        >>> loss.set_epoch(1)  # before each epoch, as with DistributedSampler

    Paper: Sharpness-Aware Training for Free, 2022, arXiv 2205.14083. Differs: buffers such as
        BatchNorm's statistics are averaged too, as in the authors' code, whose decay is 0.9998.
    """

    epoch: Tensor

    def __init__(
        self,
        model: nn.Module,
        *,
        lam: float = 0.8,
        tau: float = 5.0,
        decay: float = 0.9995,
        start: int = 5,
        criterion: Criterion | None = None,
    ) -> None:
        super().__init__()
        validate(lam, tau)
        if not 0 <= decay < 1 or start < -1:
            raise ValueError(
                f"decay is {decay} and start {start}; give a number in [0, 1) and an epoch, or -1"
            )
        self.lam, self.tau, self.decay, self.start = lam, tau, decay, start
        self.criterion = criterion or nn.CrossEntropyLoss()
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        self.register_buffer("epoch", torch.tensor(0))

    def train(self, mode: bool = True) -> MESA:
        """Set the mode; the average stays in evaluation mode."""
        super().train(mode)
        self.average.eval()
        return self

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins, counted from 0."""
        self.epoch.fill_(epoch)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the model's weights into the average; once after each step."""
        pairs = [*zip(_tensors(self.average), _tensors(model), strict=True)]
        reals = [pair for pair in pairs if pair[0].is_floating_point()]
        if reals:
            own, new = (list(side) for side in zip(*reals, strict=True))
            torch._foreach_lerp_(own, new, 1 - self.decay)
        for mine, theirs in pairs:
            if not mine.is_floating_point():
                mine.copy_(theirs)

    def forward(self, input: Tensor, target: Tensor, seen: Any) -> Tensor:
        """Return the loss of scores (N, C) that the model gave for `seen`."""
        check_target(input, target)
        with torch.no_grad():
            if isinstance(seen, dict):
                past = self.average(**seen)
            else:
                past = self.average(*(seen if isinstance(seen, tuple | list) else (seen,)))
        moved = divergence(past, input, self.tau).mean() * (self.epoch > self.start)
        own: Tensor = self.criterion(input, target)
        return own + (self.lam * moved).to(own.dtype)

    def extra_repr(self) -> str:
        """Return the settings for printing."""
        return f"lam={self.lam}, tau={self.tau}, decay={self.decay}, start={self.start}"


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
