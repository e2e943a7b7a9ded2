"""CorrectnessCalibrator: a temperature for each sample, from how the model takes its copies."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from thalweg.losses import CorrectnessAware


class CorrectnessCalibrator(nn.Module):
    """Scores divided by a temperature, which a small network chooses for each sample.

        I   = the `top` classes of highest score z, in that order
        phi = softmax(z^1)_I, ..., softmax(z^m)_I       z^j: scores of the j-th transformed copy
        T   = clamp(W2 relu(W1 phi + b1) + b2, 0.1, 10)
        calibrated scores = z / T

    Use it after training, fitted on data the model has not seen, where confidence shall be low on
    what the model gets wrong, shifted data included: copies it takes differently give it away.
    Predictions stay as they are. Avoid it where inputs have no transformations that keep the class,
    or where further passes are too dear. Cost: a pass of the model for each copy, at all times.

    Args:
        n_copies: Transformed copies m of each sample, >= 1, such as rotated, grey, jittered; always
            in the same order.
        top: Classes looked at, >= 1.
        width: Units of the hidden layer, >= 1.
        device: As in :class:`torch.nn.Linear`.
        dtype: As in :class:`torch.nn.Linear`.

    Returns:
        From ``calibrator(scores, copies)``, with the model's scores (N, C) and those of the copies,
        (N, m, C): the calibrated scores.

    Raises:
        ValueError: If an argument is outside its range or shapes do not fit.

    Example:
        >>> import torch
        >>> from thalweg.nn import CorrectnessCalibrator
        >>> scores, copies = torch.randn(64, 10), torch.randn(64, 3, 10)
        >>> calibrator = CorrectnessCalibrator().fit(scores, copies, torch.arange(64) % 10)
        >>> calibrated = calibrator.transform(scores, copies)
        >>> torch.equal(calibrated.argmax(1), scores.argmax(1))
        True

    Paper: Optimizing Calibration by Gaining Aware of Prediction Correctness, 2024,
        arXiv 2404.13016. Differs: the temperature's bias begins at 1, in the authors' code near 0,
        where the clamp has no gradient; defaults are that code's, made for 50,000 images: a few
        hundred want a higher `lr` and more `epochs`.
    """

    def __init__(
        self,
        n_copies: int = 3,
        *,
        top: int = 4,
        width: int = 5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, value in {"n_copies": n_copies, "top": top, "width": width}.items():
            if value < 1:
                raise ValueError(f"{name} is {value}; give at least 1")
        self.n_copies, self.top = n_copies, top
        self.hidden = nn.Linear(n_copies * top, width, device=device, dtype=dtype)
        self.last = nn.Linear(width, 1, device=device, dtype=dtype)
        nn.init.ones_(self.last.bias)

    def forward(self, input: Tensor, copies: Tensor) -> Tensor:
        """Return the calibrated scores, (N, C)."""
        return input / self.temperature(input, copies).unsqueeze(1)

    def temperature(self, input: Tensor, copies: Tensor) -> Tensor:
        """Return the temperature of each sample, (N,)."""
        n_classes = input.shape[-1]
        expected = (len(input), self.n_copies, n_classes)
        if input.dim() != 2 or copies.shape != expected:
            raise ValueError(
                f"input has shape {tuple(input.shape)} and copies {tuple(copies.shape)}; give "
                f"scores (N, C) and (N, {self.n_copies}, C)"
            )
        if n_classes < self.top:
            raise ValueError(f"there are {n_classes} classes; give a top of at most that many")
        index = input.topk(self.top).indices.unsqueeze(1).expand(-1, self.n_copies, -1)
        features = copies.softmax(-1).gather(-1, index).flatten(1)
        chosen: Tensor = self.last(self.hidden(features).relu()).squeeze(1)
        return chosen.clamp(0.1, 10)

    def fit(
        self,
        input: Tensor,
        copies: Tensor,
        target: Tensor,
        *,
        criterion: nn.Module | None = None,
        epochs: int = 10,
        lr: float = 1e-4,
        batch_size: int = 1000,
        seed: int = 0,
    ) -> Self:
        """Train the network by Adam, from where it is.

        Args:
            input: The model's scores of held-out samples, (N, C).
            copies: Its scores of their transformed copies, (N, m, C).
            target: Class indices, (N,).
            criterion: The loss; ``CorrectnessAware()`` if not given.
            epochs: Passes over the samples, >= 0.
            lr: Learning rate, > 0.
            batch_size: Samples in a step, >= 1.
            seed: Of their order.

        Returns:
            The calibrator itself.
        """
        criterion = criterion or CorrectnessAware()
        input, copies = input.detach(), copies.detach()
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(self.parameters(), lr=lr)
        for _ in range(epochs):
            order = torch.randperm(len(input), generator=generator).to(input.device)
            for batch in torch.split(order, batch_size):
                optimizer.zero_grad()
                loss = criterion(self(input[batch], copies[batch]), target[batch])
                torch.autograd.backward(loss)
                optimizer.step()
        return self

    @torch.no_grad()
    def transform(self, input: Tensor, copies: Tensor) -> Tensor:
        """Return the calibrated scores, (N, C), without a graph."""
        calibrated: Tensor = self(input, copies)
        return calibrated
