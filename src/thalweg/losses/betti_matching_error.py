"""The Betti matching error: components, loops and cavities without partner in the other image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thalweg.losses._induced import check_images, matchings


@dataclass(frozen=True)
class BettiMatchingError:
    """How many features of two binary images have no partner in the other.

    Attributes:
        unmatched: Features of either image without partner, by image and dimension, (N, 2) or,
            of volumes, (N, 3): components, loops, cavities.
        betti: How far the numbers of features differ, (N, 2) or (N, 3): the Betti number error,
            which never exceeds the features without partner.
    """

    unmatched: Tensor
    betti: Tensor

    @property
    def total(self) -> Tensor:
        """Features without partner of each image, (N,)."""
        return self.unmatched.sum(1)


def betti_matching_error(
    input: Tensor, target: Tensor, *, threshold: float = 0.5
) -> BettiMatchingError:
    """Count the features of two segmentations that do not match: the Betti matching error.

        P, G = input >= threshold, target >= threshold
        error = features of P and of G without partner, matched as by `BettiMatching`

    Use it to grade a segmentation where the right number of components and loops is not enough:
    they must be in the right places. Avoid it for scores that are still to be thresholded with
    care: it depends on `threshold`, and the loss does not. Cost: as the loss.

    Args:
        input: Images (N, C, H, W) or volumes (N, C, D, H, W); channels are added up.
        target: Shaped as `input`.
        threshold: Pixels of at least this value are foreground.

    Returns:
        The errors, on the CPU.

    Raises:
        ValueError: If shapes do not fit.

    Example:
        >>> import torch
        >>> from thalweg.losses import betti_matching_error
        >>> ring = torch.ones(1, 1, 5, 5)
        >>> ring[..., 2, 2] = 0
        >>> disk = torch.ones(1, 1, 5, 5)
        >>> betti_matching_error(disk, ring).unmatched  # components, loops
        tensor([[0, 1]])

    Paper: Topologically faithful image segmentation via induced matching of persistence barcodes,
        2022, arXiv 2211.15272. Differs: of an empty image no component counts, where the authors'
        code counts its background as one that is matched at the price of two.
    """
    check_images(input, target)
    given, wanted = ((image.flatten(0, 1) >= threshold).double() for image in (input, target))
    oldest, dimensions = matchings(given, wanted, -1, "union")
    size, n, n_axes = given[0].numel(), len(input), input.dim() - 2
    x, y = (image.flatten().cpu() for image in (given, wanted))
    alive = torch.stack((x[oldest[:, 0]], y[oldest[:, 1]])).long()

    def counts(pixels: np.ndarray) -> Tensor:
        return torch.as_tensor(np.bincount(pixels[:, 0] // size, minlength=len(oldest)))

    unmatched, betti = [], []
    for dimension, matching in enumerate(dimensions):
        first, second = counts(matching.first), counts(matching.second)
        if dimension == 0:
            first, second = first + (alive[0] > alive[1]), second + (alive[1] > alive[0])
        unmatched.append(first + second)
        betti.append((first - second).abs())
    return BettiMatchingError(
        *(torch.stack(rows, -1).reshape(n, -1, n_axes).sum(1) for rows in (unmatched, betti))
    )
