"""Choosing, mixing and aggregating training data."""

from thalweg.data.bags import Bags, aggregate
from thalweg.data.mixup import MixedLabels, Mixup
from thalweg.data.prune import prune
from thalweg.data.scores import el2n_scores, grand_scores

__all__ = ["Bags", "MixedLabels", "Mixup", "aggregate", "el2n_scores", "grand_scores", "prune"]
