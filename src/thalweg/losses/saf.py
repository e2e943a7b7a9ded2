"""SAF: a loss that holds each sample's scores near what they were some epochs ago."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.losses._processes import of_all_processes

Criterion = Callable[[Tensor, Tensor], Tensor]


class SAF(nn.Module):
    """Cross-entropy, and how far the scores have moved from those of the same sample epochs ago.

        past = scores of the sample at epoch e - lag, without gradient
        loss = criterion(z, target) + lam * tau^2 * mean KL(softmax(past / tau), softmax(z / tau))

    The second term acts from the epoch after `start` on. A loss that falls suddenly is the sign of
    a sharp minimum; holding the outputs back keeps the path out of it.

    Use it as sharpness-aware training where the second gradient of :class:`thalweg.optim.SAM` is
    too dear, and against wrong labels. Avoid it where samples have no index, where they are seen
    only a few times, and where scores of all samples and classes do not fit in memory:
    :class:`thalweg.losses.MESA` needs none. Cost: a softmax of the batch, and
    n_samples * (lag + 1) * n_classes numbers, which ``.to(torch.bfloat16)`` halves; in distributed
    training the scores of a batch go to all processes, each of which remembers every sample.

    Args:
        n_samples: In the training data; every `index` is below it.
        n_classes: Scores of a sample.
        lam: Weight of the second term, >= 0; 0 is the criterion alone.
        tau: Temperature, > 0, in units of the scores.
        lag: Epochs between a sample's scores and those it is compared with, >= 1.
        start: Last epoch, counted from 0, in which the criterion acts alone; -1 for none.
        criterion: Called with scores and target; ``torch.nn.CrossEntropyLoss()`` if not given.

    Returns:
        From ``loss(input, target, index)``: the loss of scores (N, n_classes), where `index` is
        each sample's position in the data, (N,). A sample that was not seen `lag` epochs ago adds
        nothing to the second term; in evaluation mode nothing is remembered.

    Raises:
        ValueError: If an argument is outside its range or shapes do not fit.

    Example:
        >>> import torch
        >>> from thalweg.losses import SAF
        >>> loss, index = SAF(100, 3, lag=1, start=0), torch.tensor([7])
        >>> for epoch, scores in enumerate(([2.0, 0.0, 0.0], [0.0, 2.0, 0.0])):
        ...     loss.set_epoch(epoch)  # before each epoch, as with DistributedSampler
        ...     print(round(loss(torch.tensor([scores]), torch.tensor([0]), index).item(), 4))
        0.2395
        2.6621

    Paper: Sharpness-Aware Training for Free, 2022, arXiv 2205.14083. Differs: a sample that was not
        seen `lag` epochs ago is left out, where the authors' code compares with zeros or with an
        older epoch.
    """

    memory: Tensor
    seen: Tensor
    epoch: Tensor

    def __init__(
        self,
        n_samples: int,
        n_classes: int,
        *,
        lam: float = 0.3,
        tau: float = 5.0,
        lag: int = 3,
        start: int = 5,
        criterion: Criterion | None = None,
    ) -> None:
        super().__init__()
        if n_samples < 1 or n_classes < 2:
            raise ValueError(
                f"n_samples is {n_samples} and n_classes {n_classes}; give at least 1 and 2"
            )
        if lag < 1 or start < -1:
            raise ValueError(f"lag is {lag} and start {start}; give epochs, at least 1 and -1")
        validate(lam, tau)
        self.lam, self.tau, self.lag, self.start = lam, tau, lag, start
        self.criterion = criterion or nn.CrossEntropyLoss()
        slots = lag + 1  # that of this epoch, and those of the `lag` before
        self.register_buffer("memory", torch.zeros(n_samples, slots, n_classes))
        never = torch.full((n_samples, slots), -1 - lag, dtype=torch.int32)  # before any `past`
        self.register_buffer("seen", never)
        # Of one dimension: to index with a number that is a tensor, torch would wait for it.
        self.register_buffer("epoch", torch.zeros(1, dtype=torch.int64))

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins, counted from 0."""
        self.epoch.fill_(epoch)

    def forward(self, input: Tensor, target: Tensor, index: Tensor) -> Tensor:
        """Return the loss of scores (N, n_classes) of the samples `index`, (N,); remember them."""
        _, slots, n_classes = self.memory.shape
        if input.dim() != 2 or input.shape[1] != n_classes or index.shape != input.shape[:1]:
            raise ValueError(
                f"input has shape {tuple(input.shape)} and index {tuple(index.shape)}; give scores "
                f"(N, {n_classes}) and the position of each sample in the data, (N,)"
            )
        check_target(input, target)
        past_epoch = self.epoch - self.lag
        past = self.memory[index, past_epoch % slots]
        known = (self.seen[index, past_epoch % slots] == past_epoch) & (self.epoch > self.start)
        if self.training:
            index, scores = of_all_processes(index, input.detach().to(self.memory.dtype))
            self.memory[index, self.epoch % slots] = scores
            self.seen[index, self.epoch % slots] = self.epoch.to(self.seen.dtype)
        moved = divergence(past, input, self.tau).where(known, 0).mean()
        own: Tensor = self.criterion(input, target)
        return own + (self.lam * moved).to(own.dtype)

    def extra_repr(self) -> str:
        """Return the settings for printing."""
        return f"lam={self.lam}, tau={self.tau}, lag={self.lag}, start={self.start}"


def divergence(past: Tensor, now: Tensor, tau: float) -> Tensor:
    """Return tau^2 * KL(softmax(past / tau), softmax(now / tau)) of each sample."""
    dtype = torch.promote_types(now.dtype, torch.float32)
    log_p, log_q = (x.to(dtype).div(tau).log_softmax(-1) for x in (past, now))
    return tau**2 * F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)


def validate(lam: float, tau: float) -> None:
    """Raise a ValueError with a sentence unless the term's weight and temperature will do."""
    if not lam >= 0 or not tau > 0:
        raise ValueError(
            f"lam is {lam} and tau {tau}; the weight must not be below 0, the temperature above it"
        )


def check_target(input: Tensor, target: Tensor) -> None:
    """Raise a ValueError with a sentence unless the target is an index or shares of classes."""
    if target.shape not in (input.shape[:1], input.shape):
        raise ValueError(
            f"target has shape {tuple(target.shape)}; to scores of shape {tuple(input.shape)} "
            "belong a class index, or shares of the classes, of each sample"
        )
