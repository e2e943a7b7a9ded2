"""Criticality: at which spread of weights and biases signals neither grow nor shrink with depth."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]

_TINY = 1e-60  # stands for a kernel of 0, where squares of float64 are still exact
_SMALL = 1e-4  # whether the kernel shrinks near 0 is looked at here


@dataclass(frozen=True)
class Criticality:
    """Where an activation function is critical.

    Args:
        weight_variance: C_W: the weights' variance times the number of inputs.
        bias_variance: C_b: the biases' variance.
        kernel: K*: mean square of a preactivation that each layer passes on unchanged; where any
            is, 1.
        universality: ``scale-invariant``: any kernel is passed on; ``K* = 0``: the kernel falls
            like 1 / depth; ``half-stable``: it settles at K* from one side alone.
        chi_parallel: Growth of a small change of the kernel in a layer at K*.
        chi_perpendicular: Growth of a small rotation of the input, and of a gradient's square.
    """

    weight_variance: float
    bias_variance: float
    kernel: float
    universality: str
    chi_parallel: float
    chi_perpendicular: float


def solve_criticality(activation: Activation) -> Criticality:
    """Find the spread of weights and biases at which a deep perceptron keeps its signals.

        K_{l+1} = C_b + C_W E[s(z)^2],  z ~ Normal(0, K_l)                   s: the activation
        chi_parallel = dK_{l+1} / dK_l = C_W E[z s(z) s'(z)] / K,   chi_perpendicular = C_W E[s'^2]
        K* = C_b + C_W E[s^2],   chi_parallel = chi_perpendicular = 1

    Use it to see how a deep net of this activation has to start, and whether it can. Avoid it for
    residual and normalised nets, whose layers pass signals on otherwise. Cost: some hundred
    integrals, a few hundredths of a second.

    Args:
        activation: Function or module, from a tensor to one of its shape, each entry by itself,
            with a derivative; scaled such that it bends at inputs of the order of 1.

    Returns:
        The critical point: that at the smallest kernel, where there are several.

    Raises:
        ValueError: If there is none, as for sigmoid and softplus, or the function is not one of
            single entries with a derivative.

    Example:
        >>> import torch
        >>> from thalweg.nn import solve_criticality
        >>> found = solve_criticality(torch.nn.GELU())
        >>> found.universality, round(found.kernel, 4), round(found.weight_variance, 4)
        ('half-stable', 3.5616, 1.9831)

    Paper: The Principles of Deep Learning Theory, 2021, arXiv 2106.10165. Differs: the integrals
        are computed, panel by panel with one's end at the kink of ReLU, and the class is told from
        them, where the book expands by hand.
    """
    means = GaussianMeans(activation)
    if _is_scale_invariant(means.function):
        kernel, universality = 1.0, "scale-invariant"
    elif _vanishes(means):
        kernel, universality = 0.0, "K* = 0"
    else:
        kernel, universality = _half_stable(means), "half-stable"
    square, slope, turn, _ = means(kernel)
    weight = 1 / turn
    bias = kernel - weight * square if universality == "half-stable" else 0.0
    return Criticality(weight, bias, kernel, universality, weight * slope, weight * turn)


class GaussianMeans:
    """Means over z ~ Normal(0, kernel) of s^2, z s s' / kernel, s'^2 and s^4."""

    def __init__(self, activation: Activation) -> None:
        if isinstance(activation, nn.Module):
            activation = copy.deepcopy(activation).double().cpu().eval()
        self.function = activation
        nodes, weights = np.polynomial.legendre.leggauss(16)
        panels = np.arange(-12, 12)[:, None]
        self.t = torch.tensor((panels + (nodes + 1) / 2).ravel())
        density = torch.exp(-self.t.square() / 2) / math.sqrt(2 * math.pi)
        self.weight = torch.tensor(np.tile(weights / 2, len(panels))) * density

    def __call__(self, kernel: float) -> tuple[float, float, float, float]:
        """Integrate."""
        kernel = max(kernel, _TINY)
        with torch.enable_grad():
            z = (math.sqrt(kernel) * self.t).requires_grad_()
            s = self.function(z)
            if s.shape != z.shape or not s.requires_grad:
                raise ValueError(
                    "the activation does not map each entry to one, or has no derivative; give a "
                    "function such as torch.tanh"
                )
            (slope,) = torch.autograd.grad(s.sum(), z)
        values = torch.stack([s**2, z * s * slope / kernel, slope**2, s**4])
        square, along, turn, fourth = (values @ self.weight).tolist()
        return square, along, turn, fourth


def _is_scale_invariant(function: Activation) -> bool:
    """Tell whether it is one line below 0 and one above."""
    x = torch.logspace(-3, 3, 13, dtype=torch.float64)
    with torch.no_grad():
        ratios = torch.stack([function(x) / x, function(-x) / x])
    return torch.allclose(ratios, ratios[:, :1], rtol=1e-12, atol=1e-12)


def _vanishes(means: GaussianMeans) -> bool:
    """Tell whether s(0) = 0, s'(0) is not, and at C_W = 1 / s'(0)^2 small kernels shrink."""
    zero, _, turn, _ = means(_TINY)
    return zero < _TINY**0.5 and means(_SMALL)[0] < _SMALL * turn


def _half_stable(means: GaussianMeans) -> float:
    """Return the smallest kernel at which both factors agree, with a variance for the biases."""

    def apart(kernel: float) -> float:
        _, slope, turn, _ = means(kernel)
        return slope - turn

    for low, high in pairwise(np.logspace(-3, 3, 61)):
        if apart(low) > 0 > apart(high):
            kernel: float = brentq(apart, low, high, xtol=1e-13, rtol=1e-13)
            square, _, turn, _ = means(kernel)
            if kernel >= square / turn:
                return kernel
    raise ValueError(
        "the activation has no critical point: no spread of weights and biases passes signals on "
        "at all depths; take another, such as torch.tanh or torch.nn.functional.gelu"
    )
