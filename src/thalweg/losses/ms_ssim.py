"""MS-SSIM: how much of an image's local structure, fine and coarse, another image keeps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg.losses._base import Reduction
from thalweg.losses.ssim import SSIM

STANDARD_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


class MSSSIM(SSIM):
    """One minus the structural similarity of two images on several scales, each of half the size.

        cs_j = mean of cs on scale j, averages of 2^(j-1) x 2^(j-1) pixels     as in SSIM
        s_M  = mean of l * cs on the coarsest scale M
        loss = 1 - s_M^w_M * prod over j < M of cs_j^w_j       for each channel; then their mean

    Use it to train autoencoders, super-resolution and other networks that draw images, whose
    reconstructions people then prefer to those of a squared or absolute error. Avoid it on small
    images, which hold few scales of the window, and where colours must be right: an image that is
    negatively correlated with its target on a whole scale counts as 0 similar and has no gradient.
    Cost: a third more than SSIM.

    Args:
        data_range: Largest minus smallest value a pixel can have, > 0: 1 for [0, 1], 2 for [-1, 1].
        weights: Exponent of each scale, >= 0, the finest first; used as they are.
        window_size: Side of the window in pixels, >= 1, on every scale.
        sigma: Standard deviation of the window in pixels, > 0.
        k1: Stabilises luminance where it is dark, > 0.
        k2: Stabilises contrast and structure where it is flat, > 0.
        reduction: ``mean`` or ``sum`` over images, or ``none``.

    Returns:
        From ``loss(input, target)``, images (N, C, H, W) with any number of channels: the loss, in
        [0, 1].

    Raises:
        ValueError: If an argument is outside its range, shapes do not fit or images are too small
            for the scales: 5 of them need 176 pixels; the message says which weights would do.

    Example:
        >>> import torch
        >>> from thalweg.losses import MSSSIM
        >>> image = torch.linspace(0, 1, 32 * 32).reshape(1, 1, 32, 32)
        >>> loss = MSSSIM(weights=(0.1356, 0.8644))  # the first two, made to sum to 1
        >>> round(loss(0.5 * image, image).item(), 4)
        0.324
        >>> loss(image, image).item()
        0.0

    Paper: Learning to Generate Images with Perceptual Similarity Metrics, 2015, arXiv 1511.06409.
        Differs: the coarsest luminance is averaged together with its contrast and structure, as in
        the code of the index's first publication and its successors; a similarity below 0 is 0,
        as there is no power of it; an odd row or column is dropped between scales. The variational
        autoencoder whose likelihood it replaces is not here.
    """

    def __init__(
        self,
        data_range: float = 1.0,
        *,
        weights: Sequence[float] = STANDARD_WEIGHTS,
        window_size: int = 11,
        sigma: float = 1.5,
        k1: float = 0.01,
        k2: float = 0.03,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            data_range, window_size=window_size, sigma=sigma, k1=k1, k2=k2, reduction=reduction
        )
        if not weights or not all(weight >= 0 for weight in weights):
            raise ValueError(f"weights are {weights}; give one exponent of each scale, at least 0")
        self.weights = tuple(weights)

    def extra_repr(self) -> str:
        """Return the settings for printing."""
        return f"weights={self.weights}, {super().extra_repr()}"

    def _similarity(self, x: Tensor, y: Tensor) -> Tensor:
        scales = []
        for _ in self.weights[1:]:
            scales.append(self._maps(x, y)[1].mean((2, 3)))
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        parts = torch.stack((*scales, super()._similarity(x, y)), -1)
        similar = parts > 0
        logs = parts.where(similar, 1).log()  # a power at 0 has no finite slope
        powers = (logs * logs.new_tensor(self.weights)).sum(-1).exp()
        return powers.where(similar.all(-1), 0)

    def _check(self, input: Tensor, target: Tensor) -> None:
        super()._check(input, target)
        side, n_scales = min(input.shape[2:]), len(self.weights)
        if side >> (n_scales - 1) < len(self.window):
            fitting = (side // len(self.window)).bit_length()
            given = self.weights[:fitting]
            suggested = tuple(round(weight / (sum(given) or 1), 4) for weight in given)
            raise ValueError(
                f"images of {input.shape[2]} x {input.shape[3]} pixels are too small for "
                f"{n_scales} scales of a window of {len(self.window)}; give weights of at most "
                f"{fitting}, such as {suggested}, or a smaller window_size"
            )
