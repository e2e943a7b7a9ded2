"""How well scores tell two kinds of samples apart."""

import torch
from torch import Tensor


def area_under_roc(scores: Tensor, positive: Tensor) -> float:
    """Return the chance that a positive scores above a negative; nan where one kind is missing."""
    place, ties = torch.unique(scores, return_inverse=True, return_counts=True)[1:]
    ranks = (ties.cumsum(0) - (ties - 1) / 2)[place].double()  # the mean rank of what is tied
    hit = positive.double()
    n, n_others = hit.sum(), (1 - hit).sum()
    return float(((ranks * hit).sum() - n * (n + 1) / 2) / (n * n_others))
