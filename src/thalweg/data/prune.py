"""Pruning: keep the samples with the highest scores."""

from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from thalweg.data._measure import is_pair, n_samples, rows


def prune(data: Any, scores: Tensor, keep: float, *, offset: float = 0.0) -> Any:
    """Keep the share of a data set that scores highest, in the order of the data.

        kept = samples of rank round(offset * n) to round(offset * n) + round(keep * n) by score

    Use it with :func:`el2n_scores` or :func:`grand_scores` where samples abound. Avoid it where
    they are scarce or `keep` is small: the hardest samples alone do not tell the classes apart,
    and a random subset of that size is then better. With wrong labels raise `offset`: the very
    highest scores collect them. Cost: a sort.

    Args:
        data: A pair of tensors (inputs, targets) or a `Dataset`.
        scores: One a sample, (n,).
        keep: Share of the samples that is kept, in (0, 1].
        offset: Share of the highest scores that is left out, in [0, 1 - keep].

    Returns:
        A pair of tensors, or a `Subset`.

    Raises:
        ValueError: If a share is outside its range or the scores do not fit the data.
        TypeError: If the data has no samples to choose from, such as a `DataLoader`.

    Example:
        >>> import torch
        >>> from thalweg.data import prune
        >>> data = torch.arange(4.0), torch.arange(4)
        >>> prune(data, torch.tensor([0.3, 0.9, 0.1, 0.5]), keep=0.5)
        (tensor([1., 3.]), tensor([1, 3]))

    Paper: Deep Learning on a Data Diet: Finding Important Examples Early in Training, 2021,
        arXiv 2107.07075. Differs: nothing.
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep is {keep}; give a share in (0, 1]")
    if not 0 <= offset <= 1 - keep:
        raise ValueError(f"offset is {offset}; give a share from 0 to 1 - keep = {1 - keep:g}")
    if isinstance(data, DataLoader | IterableDataset) or not (
        is_pair(data) or isinstance(data, Dataset)
    ):
        raise TypeError(
            f"the data is a {type(data).__name__}; give a pair of tensors or a Dataset, such as "
            "the one a loader draws from"
        )
    n = n_samples(data) if is_pair(data) else len(data)
    if scores.shape != (n,):
        raise ValueError(f"there are {n} samples and scores of shape {tuple(scores.shape)}")
    first = round(offset * n)
    ranked = scores.argsort(descending=True, stable=True)
    chosen = ranked[first : first + max(round(keep * n), 1)].sort().values
    if not is_pair(data):
        return Subset(data, chosen.tolist())
    return rows(data, chosen.to(data[1].device))
