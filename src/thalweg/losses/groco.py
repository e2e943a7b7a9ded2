"""GroCo: contrastive learning by sorting: every positive is to be closer than every negative."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.nn.sorting_network import SortingNetwork


class GroCo(nn.Module):
    """Cross-entropy of which similarities a soft sorting puts among the highest ranks.

        s = [similarities to the hardest negatives, ascending; to the positives, ascending]
        P = odd-even SortingNetwork(steepness)(s)             of each anchor; P[i, r]: i at rank r
        m[i] = sum of P[i, r] over the ranks r of positives
        loss = mean of -log m[i] over positives i and -log(1 - m[i]) over negatives i

    Positives of a sample are its other views, negatives the other samples in its own view; both
    are held fixed, only the anchor learns. Order inside a group is not asked for.

    Use it in place of NT-Xent where neighbours of an embedding matter, as in k-NN and retrieval,
    and with more than two views, whose positives it weighs by how hard they are. Avoid it in
    batches not much larger than `topk_neg`, whose hardest negatives are any. Cost: cosine
    similarities as for NT-Xent; for n = V - 1 + topk_neg O(n^3) time and memory an anchor.

    Args:
        topk_neg: Number of negatives, those most similar to the anchor, >= 1.
        steepness: Of the sorting network, > 0; similarities are cosines.
        stop_gradient: Whether positives and negatives are held fixed.

    Returns:
        From ``loss(*views)``: the mean over samples and views of embeddings, each (N, d), of V >= 2
        views of the same N > `topk_neg` samples; their lengths do not matter.

    Raises:
        ValueError: If an argument is outside its range or shapes do not fit.

    Example:
        >>> import torch
        >>> from thalweg.losses import GroCo
        >>> view = torch.eye(4)  # each sample alike in both views, unlike all others
        >>> round(GroCo(topk_neg=3)(view, view).item(), 4)
        0.2769
        >>> round(GroCo(topk_neg=3, steepness=100.0)(view, view).item(), 4)
        0.0032

    Paper: Learning by Sorting: Self-supervised Learning with Group Ordering Constraints, 2023,
        arXiv 2301.02009. Differs: every view is a positive of all others, where small crops are
        anchors only; negatives are of this process alone.
    """

    def __init__(
        self, *, topk_neg: int = 10, steepness: float = 1.0, stop_gradient: bool = True
    ) -> None:
        super().__init__()
        if topk_neg < 1:
            raise ValueError(f"topk_neg is {topk_neg}; give at least 1 negative")
        self.topk_neg, self.stop_gradient = topk_neg, stop_gradient
        self.sort = SortingNetwork("odd_even", steepness=steepness)

    def forward(self, *views: Tensor) -> Tensor:
        """Return the loss of embeddings, each (N, d), of two or more views of the same samples."""
        shapes = [tuple(view.shape) for view in views]
        if len(views) < 2 or len(set(shapes)) > 1 or views[0].dim() != 2:
            raise ValueError(f"views have shapes {shapes}; give two or more, all of shape (N, d)")
        if len(views[0]) <= self.topk_neg:
            raise ValueError(
                f"{len(views[0])} samples do not hold topk_neg={self.topk_neg} negatives of each; "
                "give larger batches or a smaller topk_neg"
            )
        dtype = views[0].dtype
        z = torch.stack(views)
        if dtype in (torch.bfloat16, torch.float16):
            z = z.float()
        anchor = F.normalize(z, dim=-1, eps=1e-8)
        other = anchor.detach() if self.stop_gradient else anchor
        n_views, n, _ = z.shape

        same = torch.eye(n, dtype=torch.bool, device=z.device)
        negative = (anchor @ other.mT).masked_fill(same, -torch.inf)
        negative = negative.topk(self.topk_neg, -1).values.flip(-1)
        own = torch.eye(n_views, dtype=torch.bool, device=z.device).unsqueeze(1)
        positive = torch.einsum("vnd,wnd->vnw", anchor, other).masked_fill(own, torch.inf)
        positive = positive.sort(-1).values[..., :-1]  # without the anchor's own view, the last

        _, order = self.sort(torch.cat((negative, positive), -1))
        mass = order[..., self.topk_neg :].sum(-1).clamp(0, 1)  # rounding may leave the interval
        positives = torch.arange(mass.shape[-1], device=z.device) >= self.topk_neg
        target = positives.to(mass.dtype).expand_as(mass)
        return F.binary_cross_entropy(mass, target).to(dtype)

    def extra_repr(self) -> str:
        """Return the settings for printing."""
        return f"topk_neg={self.topk_neg}, stop_gradient={self.stop_gradient}"
