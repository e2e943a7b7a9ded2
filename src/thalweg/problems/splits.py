"""Splits of labelled data that keep every class in every part."""

from typing import Any

import torch
from torch import Tensor

from thalweg.core.errors import ProblemError
from thalweg.core.seeds import derive_seed
from thalweg.training.problem import HELD_OUT

PARTS = ("train", "validation", "test")
FEWEST = 20  # samples that can be split into three parts at all


def stratified(labels: Tensor, part: str) -> tuple[Tensor, Tensor]:
    """Hold out a fifth of each class, and at least one sample.

    Args:
        labels: Whole numbers from 0 on, of shape (n,); all alike for a plain random split.
        part: What the held-out samples are for; different parts draw differently.

    Returns:
        The indices that are kept and those that are held out, ascending. They depend on nothing
        but the arguments.

    Example:
        >>> kept, held = stratified(torch.arange(20) % 2, "test")
        >>> len(kept), held.remainder(2).bincount().tolist()
        (16, [2, 2])
    """
    generator = torch.Generator().manual_seed(derive_seed("split", part))
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(int(labels.max()) + 1):
        members = (labels == label).nonzero().squeeze(1)
        order = torch.randperm(len(members), generator=generator)
        held[members[order[: max(1, round(HELD_OUT * len(members)))]]] = True
    return (~held).nonzero().squeeze(1), held.nonzero().squeeze(1)


def complete(given: dict[str, Tensor], labels: Tensor, what: str) -> dict[str, Tensor]:
    """Hold the parts that a user did not give out of the training samples.

    Args:
        given: Indices of the samples of the given parts, ``train`` among them.
        labels: Of all samples, (n,); all alike for a regression.
        what: The data, for the error message.

    Returns:
        Indices of the samples of all of ``PARTS``.

    Raises:
        ProblemError: Where there are too few samples.
    """
    if len(labels) < FEWEST:
        raise ProblemError(
            f"{what}: {len(labels)} samples are too few to train, validate and test on; "
            f"give at least {FEWEST}"
        )
    parts = dict(given)
    for part in ("test", "validation"):
        if part not in parts:
            train = parts["train"]
            kept, held = stratified(labels[train], part)
            parts["train"], parts[part] = train[kept], train[held]
    return {part: parts[part] for part in PARTS}


def standardised_parts(
    rows: Any, target: Tensor
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Split a table of numbers and standardise it with the training rows' mean and deviation.

    Args:
        rows: Array or tensor of shape (n, k), no column of it constant.
        target: Integer classes of shape (n,), by which the split is stratified, or real numbers of
            shape (n,), which are standardised too and become a column, (n, 1).

    Returns:
        Inputs and targets of the training, validation and test data.
    """
    inputs = torch.as_tensor(rows, dtype=torch.float64)
    real = target.is_floating_point()
    n = len(inputs)
    labels = torch.zeros(n, dtype=torch.long) if real else target
    parts = complete({"train": torch.arange(n)}, labels, "the table")
    inputs = standardise(inputs, parts["train"])
    if real:
        target = standardise(target.reshape(n, 1), parts["train"])
    train, validation, test = ((inputs[part], target[part]) for part in parts.values())
    return train, validation, test


def standardise(columns: Tensor, train: Tensor) -> Tensor:
    """Shift and scale columns, (n, k), so that in the training rows mean is 0 and deviation 1."""
    columns = columns.double()
    mean, std = columns[train].mean(0), columns[train].std(0)
    return ((columns - mean) / std).float()
