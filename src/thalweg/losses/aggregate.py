"""AggregateLoss: regression on the mean responses of bags of samples."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from thalweg.losses._base import Reduction, check_reduction, reduce

Kind = Literal["bag", "instance", "interpolated"]


class AggregateLoss(nn.Module):
    """Squared error where only the mean response of each bag of samples is known.

        between = (mean response of the bag - mean prediction in the bag)^2
        within = (prediction - mean prediction in the bag)^2
        loss = mean over samples of between + rho * within
             = rho * instance-level loss + (1 - rho) * bag-level loss

    Use it on responses that are aggregated for privacy or by how they are measured. At rho = 0, the
    ``bag`` level, it is unbiased and needs more bags than the model has degrees of freedom; at
    rho = 1, the ``instance`` level, every sample is fitted to the mean of its bag, with little
    variance and predictions shrunk by the size of the bag; a tuned `rho` beats both. Avoid it where
    bags are alike inside: nothing is left to shrink. Cost: as the squared error, and two sums.

    Args:
        kind: ``bag``, ``instance`` or ``interpolated``.
        rho: Of the interpolation, in [0, 1]; acts on ``interpolated`` alone.
        reduction: ``mean``, ``sum`` or ``none``, over samples.

    Returns:
        From ``loss(input, target, bag)``: the loss of predictions (n, ...), the mean responses of m
        bags, (m, ...), and the index of each sample's bag in them, (n,). Bags may differ in size;
        each counts by its samples.

    Raises:
        ValueError: If an argument is outside its range or shapes do not fit.

    Example:
        >>> import torch
        >>> from thalweg.losses import AggregateLoss
        >>> predictions, bag = torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 1])
        >>> means = torch.tensor([1.0, 5.0])
        >>> [AggregateLoss(kind)(predictions, means, bag).item() for kind in ("bag", "instance")]
        [0.6666666865348816, 1.3333333730697632]
        >>> AggregateLoss(rho=0.5)(predictions, means, bag).item()
        1.0

    Paper: Learning from Aggregate Responses: Instance Level versus Bag Level Loss Functions, 2024,
        arXiv 2401.11081. Differs: bags of any size, each weighed by its samples, which leaves the
        decomposition exact; of the squared error alone, for which it is.
    """

    def __init__(
        self, kind: Kind = "interpolated", *, rho: float = 0.5, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        if kind not in get_args(Kind):
            raise ValueError(f"kind is {kind!r}; give one of {', '.join(get_args(Kind))}")
        if not 0 <= rho <= 1:
            raise ValueError(f"rho is {rho}; the interpolation goes from 0 to 1")
        check_reduction(reduction)
        self.reduction = reduction
        self.rho = {"bag": 0.0, "instance": 1.0, "interpolated": rho}[kind]

    def forward(self, input: Tensor, target: Tensor, bag: Tensor) -> Tensor:
        """Return the loss of predictions, mean responses of bags and indices of bags."""
        if bag.shape != input.shape[:1] or target.dim() == 0 or input.shape[1:] != target.shape[1:]:
            raise ValueError(
                f"predictions have shape {tuple(input.shape)}, mean responses "
                f"{tuple(target.shape)} and indices of bags {tuple(bag.shape)}; give (n, ...), "
                "(m, ...) and (n,)"
            )
        dtype = torch.promote_types(input.dtype, torch.float32)  # halves cannot count
        prediction, response = input.to(dtype), target.to(dtype)
        zeros = torch.zeros_like(response)
        size = zeros.index_add(0, bag, torch.ones_like(prediction))
        means = zeros.index_add(0, bag, prediction) / size  # of an absent bag nan, never read
        between, within = (response - means)[bag], prediction - means[bag]
        each = between.square() + self.rho * within.square()
        return reduce(each, self.reduction).to(input.dtype)

    def extra_repr(self) -> str:
        """Return the settings for printing."""
        return f"rho={self.rho}, reduction={self.reduction!r}"
