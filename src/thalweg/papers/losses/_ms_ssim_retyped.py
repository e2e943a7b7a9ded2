"""Oracles of SSIM and MS-SSIM: others' numbers, the equations window by window, exact values."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.losses import MSSSIM, SSIM


def waves(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return two pairs of images of three channels in [0, 1]."""
    row, column = torch.arange(height).double()[:, None], torch.arange(width).double()
    k = torch.arange(3).double()[:, None, None]
    x = 0.5 + 0.3 * torch.sin(0.31 * row + 0.05 * row * k + k) * torch.cos(0.17 * column)
    x = x + 0.2 * torch.sin(0.013 * row * column + k)
    y = 0.1 + 0.8 * x + 0.1 * torch.sin(1.7 * row + 0.9 * column + 2 * k)
    return torch.stack((x, x.flip(2))), torch.stack((y, x.sqrt()))


def numbers_of_other_implementations() -> None:
    """Equal scikit-image 0.26.0 (SSIM) and pytorch-msssim 1.0.0 (MS-SSIM) on colour images.

    scikit-image's `structural_similarity` with Gaussian weights and population covariances; for
    pytorch-msssim the window is handed over in double precision.
    """
    x, y = waves(176, 192)
    other: dict[str, Any] = {"k1": 0.02, "k2": 0.05, "reduction": "none"}
    for ours, theirs in (
        (SSIM(reduction="none")(x, y), [0.8590079215519365, 0.11457245896105224]),
        (
            SSIM(2.0, window_size=7, sigma=0.8, **other)(x, y),
            [0.8570493418404611, 0.2789376145481041],
        ),
        (MSSSIM(reduction="none")(x, y), [0.960303826194349, 0.4146616715533172]),
        (MSSSIM(255, **other)(255 * x, 255 * y), [0.9626361668970752, 0.45551910531405143]),
    ):
        expected = 1 - torch.tensor(theirs, dtype=torch.float64)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-10)


def equations_retyped() -> None:
    """Follow the equations window by window, on sides that are odd and with a window that is even.

    The images are bright and of little contrast, and the coarse weights sum to no 1.
    """
    k, sigma, c1, c2, weights = 4, 0.9, (0.3 * 2) ** 2, (0.2 * 2) ** 2, (0.7, 0.4)
    settings: dict[str, Any] = {"window_size": k, "sigma": sigma, "k1": 0.3, "k2": 0.2}
    pair = [image[:, :, 3:14, 5:14] for image in waves(16, 16)]
    g = [math.exp(-((i - (k - 1) / 2) ** 2) / (2 * sigma**2)) for i in range(k)]
    w = np.outer(g, g) / sum(g) ** 2

    def means(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        ssim, structure = [], []
        for i in range(x.shape[0] - k + 1):
            for j in range(x.shape[1] - k + 1):
                a, b = x[i : i + k, j : j + k], y[i : i + k, j : j + k]
                mu_a, mu_b = (w * a).sum(), (w * b).sum()
                var = (w * (a - mu_a) ** 2).sum() + (w * (b - mu_b) ** 2).sum()
                structure.append((2 * (w * (a - mu_a) * (b - mu_b)).sum() + c2) / (var + c2))
                ssim.append(structure[-1] * (2 * mu_a * mu_b + c1) / (mu_a**2 + mu_b**2 + c1))
        return float(np.mean(ssim)), float(np.mean(structure))

    def halved(x: np.ndarray) -> np.ndarray:
        x = x[: len(x) // 2 * 2, : x.shape[1] // 2 * 2]
        return np.asarray(x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4

    one, two = [], []
    for image in range(2):
        single, multiple = [], []
        for channel in range(3):
            x, y = (part[image, channel].numpy() for part in pair)
            ssim, structure = means(x, y)
            single.append(ssim)
            multiple.append(structure ** weights[0] * means(halved(x), halved(y))[0] ** weights[1])
        one.append(1 - np.mean(single))
        two.append(1 - np.mean(multiple))
    for loss, expected in (
        (SSIM(2.0, **settings), np.mean(one)),
        (MSSSIM(2.0, weights=weights, **settings), np.mean(two)),
        (MSSSIM(2.0, weights=weights, reduction="sum", **settings), np.sum(two)),
    ):
        assert math.isclose(loss(*pair).item(), expected, rel_tol=1e-11)


def exact_values() -> None:
    """Equal images cost 0, flat ones what their brightness says, opposite ones no more than 1."""
    x, y = (image[:, :, :12, :12] for image in waves(16, 16))
    few: dict[str, Any] = {"weights": (0.3, 0.7), "window_size": 5}
    for loss in (SSIM(), MSSSIM(**few)):
        given = y.clone().requires_grad_()
        torch.autograd.backward(equal := loss(given, y))
        assert equal.item() == 0
        assert given.grad is not None
        assert given.grad.abs().max() < 1e-12
        torch.testing.assert_close(loss(x, y), loss(y, x), rtol=1e-12, atol=0)
    a, b, c1 = 0.2, 0.7, 1e-4
    flat = (2 * a * b + c1) / (a * a + b * b + c1)
    ones = torch.ones(1, 2, 12, 12, dtype=torch.float64)
    assert math.isclose(SSIM()(a * ones, b * ones).item(), 1 - flat, rel_tol=1e-12)
    assert math.isclose(MSSSIM(**few)(a * ones, b * ones).item(), 1 - flat**0.7, rel_tol=1e-12)
    bright = [image.float() + 1000 for image in (x, y)]  # squares round by more than they vary
    exact = SSIM()(*(image.double() for image in bright)).item()
    assert math.isclose(SSIM()(*bright).item(), exact, rel_tol=1e-3)
    opposite = (1 - x).requires_grad_()
    assert SSIM()(opposite, x) > 1
    torch.autograd.backward(worst := MSSSIM(**few)(opposite, x))
    assert worst.item() == 1
    assert opposite.grad is not None
    assert not opposite.grad.any()
