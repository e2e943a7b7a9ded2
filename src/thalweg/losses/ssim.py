"""SSIM: how much of an image's local structure another image keeps, as a loss."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.losses._base import Reduction


class SSIM(nn.Module):
    """One minus the structural similarity of two images, seen through a sliding Gaussian window.

        mu_x, var_x, cov_xy = mean, variance and covariance under the window, at each position
        l  = (2 mu_x mu_y + C1) / (mu_x^2 + mu_y^2 + C1)      luminance, C1 = (k1 * data_range)^2
        cs = (2 cov_xy + C2) / (var_x + var_y + C2)           contrast and structure, C2 likewise
        loss = 1 - mean(l * cs)                               over positions, then channels

    Use it to train or grade what draws images, where a squared error blurs them. Avoid it where
    pixels must be right in themselves: it hardly sees a slight change of brightness or contrast.
    Cost: five blurred maps of each channel, some ten times a squared error; no state.

    Args:
        data_range: Largest minus smallest value a pixel can have, > 0: 1 for [0, 1], 2 for [-1, 1].
        window_size: Side of the window in pixels, >= 1; images must not be smaller.
        sigma: Standard deviation of the window in pixels, > 0.
        k1: Stabilises luminance where it is dark, > 0.
        k2: Stabilises contrast and structure where it is flat, > 0.
        reduction: ``mean`` or ``sum`` over images, or ``none``.

    Returns:
        From ``loss(input, target)``, images (N, C, H, W) with any number of channels: the loss, 0
        for equal images and at most 2.

    Raises:
        ValueError: If an argument is outside its range, shapes do not fit or images are too small.

    Example:
        >>> import torch
        >>> from thalweg.losses import SSIM
        >>> image = torch.linspace(0, 1, 16 * 16).reshape(1, 1, 16, 16)
        >>> round(SSIM()(0.5 * image, image).item(), 4)
        0.3479
        >>> SSIM()(image, image).item()
        0.0

    Paper: Learning to Generate Images with Perceptual Similarity Metrics, 2015, arXiv 1511.06409.
        Differs: window and constants, which the paper takes over, are those of the index's first
        publication; positions at which the window sticks out of the image are left out.
    """

    window: Tensor

    def __init__(
        self,
        data_range: float = 1.0,
        *,
        window_size: int = 11,
        sigma: float = 1.5,
        k1: float = 0.01,
        k2: float = 0.03,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        positive = {"data_range": data_range, "sigma": sigma, "k1": k1, "k2": k2}
        for name, value in positive.items():
            if not value > 0:
                raise ValueError(f"{name} is {value}; it must be above 0")
        if window_size < 1:
            raise ValueError(f"window_size is {window_size}; give a side of at least 1 pixel")
        if reduction not in get_args(Reduction):
            known = ", ".join(get_args(Reduction))
            raise ValueError(f"reduction is {reduction!r}; give one of {known}")
        self.data_range, self.sigma, self.reduction = data_range, sigma, reduction
        self.c1, self.c2 = (k1 * data_range) ** 2, (k2 * data_range) ** 2
        offsets = torch.arange(window_size, dtype=torch.float64) - (window_size - 1) / 2
        window = torch.exp(-0.5 * (offsets / sigma).square())
        self.register_buffer("window", window / window.sum(), persistent=False)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of images (N, C, H, W) against those they should be."""
        self._check(input, target)
        half = input.dtype in (torch.bfloat16, torch.float16)
        x, y = (image.float() if half else image for image in (input, target))
        each = (1 - self._similarity(x, y).mean(1)).to(input.dtype)
        if self.reduction == "none":
            return each
        return each.mean() if self.reduction == "mean" else each.sum()

    def extra_repr(self) -> str:
        """Return the settings for printing."""
        return (
            f"data_range={self.data_range}, window_size={len(self.window)}, sigma={self.sigma}, "
            f"reduction={self.reduction!r}"
        )

    def _similarity(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the similarity of each image and channel, (N, C)."""
        luminance, structure = self._maps(x, y)
        return (luminance * structure).mean((2, 3))

    def _maps(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return l and cs at each position of the window."""
        # Variances do not see a shift, but their rounding does.
        shift_x, shift_y = (
            (image.amax((2, 3), keepdim=True) / 2 + image.amin((2, 3), keepdim=True) / 2).detach()
            for image in (x, y)
        )
        x, y = x - shift_x, y - shift_y
        mu_x, mu_y, xx, yy, xy = self._blur(torch.stack((x, y, x * x, y * y, x * y)))
        variances = (xx - mu_x * mu_x).clamp(min=0) + (yy - mu_y * mu_y).clamp(min=0)
        structure = (2 * (xy - mu_x * mu_y) + self.c2) / (variances + self.c2)
        mu_x, mu_y = mu_x + shift_x, mu_y + shift_y
        luminance = (2 * mu_x * mu_y + self.c1) / (mu_x * mu_x + mu_y * mu_y + self.c1)
        return luminance, structure

    def _blur(self, images: Tensor) -> Tensor:
        window = self.window.to(images.dtype)
        rows = F.conv2d(images.flatten(0, 2).unsqueeze(1), window.view(1, 1, -1, 1))
        blurred = F.conv2d(rows, window.view(1, 1, 1, -1))
        return blurred.view(*images.shape[:3], *blurred.shape[2:])

    def _check(self, input: Tensor, target: Tensor) -> None:
        if input.dim() != 4 or target.shape != input.shape:
            raise ValueError(
                f"input has shape {tuple(input.shape)} and target {tuple(target.shape)}; give "
                "images of one shape (N, C, H, W)"
            )
        if not input.is_floating_point() or target.dtype != input.dtype:
            raise ValueError(
                f"input is {input.dtype} and target {target.dtype}; give both as real numbers of "
                "one type, and as data_range the range of their pixels"
            )
        if min(input.shape[2:]) < len(self.window):
            raise ValueError(
                f"images of {input.shape[2]} x {input.shape[3]} pixels are smaller than the window "
                f"of {len(self.window)}; give a window_size of at most {min(input.shape[2:])}"
            )
