"""EnsLoss: a random convex calibrated loss at every step, of two classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_NEVER_ZERO = 1e-6  # taken off each derivative, the authors' number


class EnsLoss(nn.Module):
    """A loss whose gradient is that of another convex calibrated loss each time it is called.

        s_i  = (2 * y_i - 1) * z_i                           margins of the batch
        g    = -min(BC(u), 1), u ~ N(0, 1), sorted           BC(u) = max(1 + lam * u, 0)^(1 / lam)
        phi'(s_i) = g of the rank of s_i among the margins, / s_i where s_i > 1, - 1e-6
        loss = mean phi'(s_i) * s_i, phi' held fixed

    Of a loss of margins SGD sees no more than derivatives at the batch's margins; those of a convex
    calibrated loss are negative and rise with the margin, and any that are will do. BC undoes a
    Box-Cox transform: with a `lam` of 0 it is exp(u).

    Use it where a network of one output overfits a classification of two classes, with or without
    dropout and weight decay. Avoid it where probabilities are wanted, for scores are no log-odds,
    and where batches hold few samples, whose derivatives are noise. Its value means nothing, and
    may fall while accuracy does: watch accuracy. Cost: two sorts of a batch.

    Args:
        lam: Of the Box-Cox transform, in [-1, 1]: the lower, the nearer derivatives are to -1, the
            hinge loss's.
        period: Epochs after which :meth:`set_epoch` draws another `lam` from (-1, 1); never if not
            given.
        seed: Of the derivatives; in distributed training give each process its own, and keep the
            state_dict of each.

    Returns:
        From ``loss(input, target)``: a number with the random gradient, of scores (N,) or (N, 1)
        and targets 0 and 1 of as many. What is drawn goes on from a checkpoint as without one.

    Raises:
        ValueError: If an argument is outside its range or shapes do not fit.

    Example:
        >>> import torch
        >>> from thalweg.losses import EnsLoss
        >>> scores = torch.tensor([-2.0, 0.5, 4.0], requires_grad=True)
        >>> EnsLoss(seed=0)(scores, torch.tensor([1, 1, 1])).backward()
        >>> [round(3 * slope, 2) for slope in scores.grad.tolist()]  # they rise with the margin
        [-1.0, -0.75, -0.03]

    Paper: EnsLoss: Stochastic Calibrated Loss Ensembles for Preventing Overfitting in
        Classification, 2024, arXiv 2409.00908. Differs: derivatives are cut at -1 as in the
        authors' code; the `lam` of a period follows from the seed and the epoch.
    """

    def __init__(self, lam: float = 0.0, *, period: int | None = None, seed: int = 0) -> None:
        super().__init__()
        if not -1 <= lam <= 1:
            raise ValueError(f"lam is {lam}; give a number from -1 to 1")
        if period is not None and period < 1:
            raise ValueError(f"period is {period}; give a number of epochs, at least 1")
        self.lam, self.period, self.seed = lam, period, seed
        self.generator = torch.Generator().manual_seed(seed)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins, counted from 0: each `period` has a `lam` of its own."""
        if self.period is not None and epoch >= self.period:
            # From the epoch alone, so that to begin an epoch again changes nothing.
            own = torch.Generator().manual_seed(self.seed + epoch // self.period)
            self.lam = 2 * torch.rand((), generator=own).item() - 1

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return a number whose gradient in the scores, (N,) or (N, 1), is the random one.

        Args:
            input: A score of each sample, above 0 for class 1.
            target: 0 or 1 of each sample, (N,) or as ``input``.

        Raises:
            ValueError: Where shapes do not fit together.
        """
        n = input.shape[:1]
        if input.shape not in (n, (*n, 1)) or target.shape not in (n, input.shape) or not n:
            raise ValueError(
                f"input has shape {tuple(input.shape)} and target {tuple(target.shape)}; give one "
                "score a sample, (N,) or (N, 1), and as many targets, 0 or 1"
            )
        margins = (2 * target.to(input.dtype) - 1).reshape_as(input) * input
        return (self.derivatives(margins.detach()) * margins).mean()

    def derivatives(self, margins: Tensor) -> Tensor:
        """Return a derivative for each margin, negative and rising with it."""
        u = torch.randn(margins.numel(), generator=self.generator).to(margins)
        steepest_first = self._slopes(u).sort(descending=True).values
        g = torch.empty_like(u)
        g[margins.flatten().argsort(stable=True)] = -steepest_first
        return g.view_as(margins) / margins.clamp(min=1) - _NEVER_ZERO

    def _slopes(self, u: Tensor) -> Tensor:
        if self.lam == 0:
            return u.exp().clamp(max=1)
        return (1 + self.lam * u).clamp(min=0).pow(1 / self.lam).clamp(max=1)

    def get_extra_state(self) -> dict[str, Any]:
        """Return what a checkpoint holds: the generator's state, and the present `lam`."""
        return {"generator": self.generator.get_state(), "lam": self.lam}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.generator.set_state(state["generator"].cpu())
        self.lam = state["lam"]

    def extra_repr(self) -> str:
        """Return the settings for printing."""
        return f"lam={self.lam}, period={self.period}, seed={self.seed}"
