"""Bags: responses that are known by the mean of several samples, in private if so wished."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Bags(NamedTuple):
    """What is told of the responses of samples.

    Args:
        response: Mean of each bag, (m, ...).
        bag: Of each sample, its index among them, (n,).
    """

    response: Tensor
    bag: Tensor


def aggregate(
    response: Tensor,
    bag_size: int,
    *,
    epsilon: float | None = None,
    bound: float | None = None,
    seed: int = 0,
) -> Bags:
    """Put samples into bags at random and tell only the mean response of each.

        response = mean over the bag of clip(y, -bound, bound) + Laplace(2 bound / (size epsilon))

    The last two act where an `epsilon` is given: then whatever is learnt from the means differs in
    likelihood by a factor of at most exp(epsilon) when any one response changes.

    Use it to publish or to learn from responses that are nobody else's business; learn by
    :class:`thalweg.losses.AggregateLoss`, and choose the size by
    :func:`thalweg.losses.aggregate_risk`. Avoid it as a protection of the inputs, which stay as
    they are. Cost: one pass over the responses.

    Args:
        response: Of n samples, (n, ...), real; with an `epsilon` of shape (n,).
        bag_size: >= 1; what is left over makes a smaller bag.
        epsilon: Of label differential privacy, > 0; none where not given.
        bound: Largest response that is not clipped, > 0; needed with an `epsilon`, and to be
            chosen without a look at the responses.
        seed: Of bags and noise. Who knows it can take the noise off again.

    Returns:
        Mean responses, and which bag each sample is in.

    Raises:
        ValueError: If an argument is outside its range.

    Example:
        >>> import torch
        >>> from thalweg.data import aggregate
        >>> bags = aggregate(torch.arange(6.0), 3)
        >>> bags.response.mean().item(), bags.bag.bincount().tolist()
        (2.5, [3, 3])
        >>> private = aggregate(torch.arange(6.0), 3, epsilon=1.0, bound=5.0, seed=7)

    Paper: Learning from Aggregate Responses: Instance Level versus Bag Level Loss Functions, 2024,
        arXiv 2401.11081. Differs: the bound is the caller's; the noise is drawn by floating-point
        arithmetic, whose lowest bits are not private.
    """
    if bag_size < 1:
        raise ValueError(f"bag_size is {bag_size}; a bag holds at least 1 sample")
    if response.dim() == 0 or not response.is_floating_point():
        raise ValueError(
            f"responses have shape {tuple(response.shape)} and type {response.dtype}; give real "
            "numbers, one row a sample"
        )
    generator = torch.Generator().manual_seed(seed)
    n = len(response)
    index = torch.randperm(n, generator=generator) // bag_size
    size = index.bincount()
    index, size = index.to(response.device), size.to(response.device, response.dtype)
    if epsilon is not None:
        if bound is None or not (epsilon > 0 and bound > 0) or response.dim() != 1:
            raise ValueError(
                f"epsilon is {epsilon}, bound {bound}, and responses have shape "
                f"{tuple(response.shape)}; a private mean needs both above 0, and shape (n,)"
            )
        response = response.clamp(-bound, bound)
    total = response.new_zeros(len(size), *response.shape[1:]).index_add(0, index, response)
    means = total / size.view(-1, *[1] * (response.dim() - 1))
    if epsilon is not None and bound is not None:
        sides = torch.rand(2, len(means), generator=generator, dtype=torch.float64).log()
        unit = (sides[0] - sides[1]).to(means)  # Laplace(1): the difference of two exponentials
        means = means + 2 * bound / epsilon * unit / size
    return Bags(means, index)
