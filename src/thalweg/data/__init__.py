"""Choosing and mixing training data."""

from thalweg.data.mixup import MixedLabels, Mixup
from thalweg.data.prune import prune
from thalweg.data.scores import el2n_scores, grand_scores

__all__ = ["MixedLabels", "Mixup", "el2n_scores", "grand_scores", "prune"]
