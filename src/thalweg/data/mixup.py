"""Mixup: train on mixtures of samples, labelled by how much of each they hold."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Policy = Literal["mixup", "cutmix"]


class MixedLabels(NamedTuple):
    """Labels of a mixed batch.

    Args:
        first: Class indices, (n,).
        second: Class indices of what was mixed in, (n,).
        share: Of the first in each sample, in [0, 1].
    """

    first: Tensor
    second: Tensor
    share: float

    def probabilities(self, n_classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return what cross-entropy takes as target: a probability of each class, (n, C)."""
        one_hot = (F.one_hot(label, n_classes).to(dtype) for label in (self.first, self.second))
        return self.share * next(one_hot) + (1 - self.share) * next(one_hot)


class Mixup:
    """Mix every batch with a shuffled copy of itself.

        lam ~ Beta(alpha, alpha), one for the batch; j a random permutation
        mixup:   x_i = lam * x_i + (1 - lam) * x_j(i)
        cutmix:  x_i with a box of the share 1 - lam of its area taken from x_j(i)
        y_i = lam * onehot(y_i) + (1 - lam) * onehot(y_j(i))

    Use it against overfitting and overconfidence, `cutmix` for images. Avoid it where the mean of
    two inputs means nothing, as for token ids. Cost: one pass over the batch.

    Args:
        alpha: Of the Beta distribution, > 0: near 0 one of the two dominates, at 1 all shares are
            as likely.
        policy: ``mixup`` or ``cutmix``; the latter for inputs (n, ..., height, width).
        seed: The k-th batch of a seed is mixed alike, whatever ran before.

    Returns:
        From ``mix(input, target)``: the mixed input and its :class:`MixedLabels`.

    Raises:
        ValueError: If an argument is outside its range, or inputs and targets cannot be mixed.

    Example:
        >>> import torch
        >>> from thalweg.data import Mixup
        >>> mix = Mixup(alpha=1.0)
        >>> input, labels = mix(torch.randn(8, 3), torch.arange(8) % 4)
        >>> loss = torch.nn.functional.cross_entropy(torch.randn(8, 4), labels.probabilities(4))

    Paper: mixup: Beyond Empirical Risk Minimization, 2017, arXiv 1710.09412; CutMix:
        Regularization Strategy to Train Strong Classifiers with Localizable Features, 2019,
        arXiv 1905.04899. Differs: nothing.
    """

    def __init__(self, *, alpha: float = 1.0, policy: Policy = "mixup", seed: int = 0) -> None:
        if not alpha > 0:
            raise ValueError(f"alpha is {alpha}; the Beta distribution needs more than 0")
        if policy not in ("mixup", "cutmix"):
            raise ValueError(f"policy is {policy!r}; write 'mixup' or 'cutmix'")
        self.alpha, self.policy, self.seed = alpha, policy, seed
        self.batches = 0  # mixed so far: all there is to save and restore

    def __call__(self, input: Tensor, target: Tensor) -> tuple[Tensor, MixedLabels]:
        """Return a mixed batch and its labels; the batch itself is left as it is."""
        _check(input, target, self.policy)
        generator = np.random.default_rng((self.seed, self.batches))
        self.batches += 1
        share = float(generator.beta(self.alpha, self.alpha))
        partner = torch.from_numpy(generator.permutation(len(input))).to(input.device)
        other = input[partner]
        if self.policy == "mixup":
            mixed = share * input + (1 - share) * other
        else:
            rows, columns = _box(generator, share, *input.shape[-2:])
            mixed = input.clone()
            mixed[..., rows, columns] = other[..., rows, columns]
            area = (rows.stop - rows.start) * (columns.stop - columns.start)
            share = 1 - area / (input.shape[-2] * input.shape[-1])
        return mixed, MixedLabels(target, target[partner], share)

    def state_dict(self) -> dict[str, int]:
        """Return what a resumed run needs."""
        return {"batches": self.batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Load what :meth:`state_dict` returned."""
        self.batches = state["batches"]


def _box(
    generator: np.random.Generator, share: float, height: int, width: int
) -> tuple[slice, slice]:
    """Draw a box around a random pixel, clipped to the image."""

    def side(length: int) -> slice:
        centre, half = int(generator.integers(length)), int(length * math.sqrt(1 - share)) // 2
        return slice(max(centre - half, 0), min(centre + half, length))

    return side(height), side(width)


def _check(input: Tensor, target: Tensor, policy: str) -> None:
    if not isinstance(input, Tensor) or not input.is_floating_point():
        kind = input.dtype if isinstance(input, Tensor) else type(input).__name__
        raise ValueError(f"inputs are {kind}; only one tensor of real numbers can be mixed")
    if not isinstance(target, Tensor) or target.is_floating_point() or target.dim() != 1:
        raise ValueError("targets are no class indices of shape (n,); only such can be mixed")
    if policy == "cutmix" and input.dim() < 3:
        raise ValueError(
            f"inputs have shape {tuple(input.shape)}; cutmix needs images, (n, ..., height, width)"
        )
