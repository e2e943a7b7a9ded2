"""Depth to width: how far a net's start is from that of an infinitely wide one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from thalweg.nn._plain import activation_of, matrices
from thalweg.nn.criticality import Activation, GaussianMeans

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True)
class DepthToWidth:
    """What :func:`depth_to_width_report` found; one entry a layer, in their order.

    Args:
        layers: Names.
        widths: Inputs of a unit; of a convolution the entries of a patch.
        weight_variance: C_W: mean square of the weights times the width.
        bias_variance: C_b: mean square of the biases.
        kernel: Expected mean square of a preactivation.
        chi_parallel: Growth of a small change of the kernel from the layer before; the first's
            is 0, for the input is what it is.
        chi_perpendicular: Growth of a gradient's mean square from this layer to the one before;
            the first's is 1.
        kurtosis: E[z^4] / (3 E[z^2]^2) of a preactivation over draws of the weights: 1 for an
            infinitely wide net.
        ratio: Depth to width: sum over the hidden layers of 1 / width.
    """

    layers: tuple[str, ...]
    widths: tuple[int, ...]
    weight_variance: tuple[float, ...]
    bias_variance: tuple[float, ...]
    kernel: tuple[float, ...]
    chi_parallel: tuple[float, ...]
    chi_perpendicular: tuple[float, ...]
    kurtosis: tuple[float, ...]
    ratio: float

    @property
    def forward(self) -> float:
        """Mean square of the last preactivation over that of the first: 1 is healthy."""
        return self.kernel[-1] / self.kernel[0]

    @property
    def backward(self) -> float:
        """Mean square of the first preactivation's gradient over the last's: 1 is healthy."""
        return math.prod(self.chi_perpendicular)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as numbers and lists."""
        fields = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}
        return {**fields, "forward": self.forward, "backward": self.backward}

    def chart(self) -> alt.Chart:
        """Draw signal and gradient through the layers; flat is healthy."""
        import altair as alt

        gradient = [
            math.prod(self.chi_perpendicular[i + 1 :]) for i in range(len(self.chi_perpendicular))
        ]
        values = [
            {"layer": i + 1, "name": self.layers[i], "of": of, "mean square": max(row[i], 1e-300)}
            for of, row in (("signal", self.kernel), ("gradient", gradient))
            for i in range(len(row))
        ]
        chart: alt.Chart = (
            alt.Chart(alt.InlineData(values=values))
            .mark_line(point=True)
            .encode(
                alt.X("layer:Q", axis=alt.Axis(tickMinStep=1)),
                alt.Y("mean square:Q", scale=alt.Scale(type="log")),
                alt.Color("of:N", title=None),
                tooltip=["name:N", "of:N", alt.Tooltip("mean square:Q", format=".3g")],
            )
            .properties(title=f"depth to width: {self.ratio:.2g}", width=480, height=240)
        )
        return chart


def depth_to_width_report(
    model: nn.Module,
    activation: Activation | None = None,
    *,
    input_mean_square: float = 1.0,
) -> DepthToWidth:
    """Predict from the weights' spread alone how signals and gradients pass through a new net.

        K_{l+1} = C_b + C_W E[s^2],   chi_parallel = C_W E[z s s'] / K,   chi_perp = C_W E[s'^2]
        v_{l+1} = (chi_parallel K_l / K_{l+1})^2 v_l
                  + (1 + v_l) (C_W / K_{l+1})^2 (E[s^4] - E[s^2]^2) / n_l,        v_1 = 0
        kurtosis = 1 + v,    ratio = sum over hidden layers of 1 / n_l,    z ~ Normal(0, K_l)

    Use it before training a deep net: `forward` or `backward` far from 1 (beyond 1e-3 or 1e3, say)
    mean signals or gradients that vanish or explode; a ratio far below 0.1 a net that hardly
    learns features, one well above 1 a start so chaotic that another draw is another net. Avoid it
    on trained nets, whose weights are not independent, and on residual and normalised ones. Cost:
    four integrals a layer.

    Args:
        model: Plain: its linear and convolutional layers follow each other in their order, with
            the activation between.
        activation: As in :func:`solve_criticality`; that of the model's modules if not given.
        input_mean_square: Of the inputs' entries, > 0.

    Returns:
        The report; `chart()` draws signal and gradient.

    Raises:
        ValueError: If an argument is out of range, the activation cannot be told, or the model
            has no such layer.

    Example:
        >>> from torch import nn
        >>> from thalweg.nn import critical_init_, depth_to_width_report
        >>> net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
        >>> report = depth_to_width_report(critical_init_(net))
        >>> round(report.ratio, 3), round(report.forward, 1)
        (0.016, 1.0)

    Paper: The Principles of Deep Learning Theory, 2021, arXiv 2106.10165. Differs: v carries the
        factor 1 + v_l, beyond the first order in 1 / width, with which it is exact for
        scale-invariant activations; else it is of the first order. The book's estimate of an
        optimal ratio is not part of this.
    """
    if not 0 < input_mean_square < math.inf:
        raise ValueError(f"input_mean_square is {input_mean_square}; give a positive number")
    layers = matrices(model)
    means = GaussianMeans(activation or activation_of(model))
    widths = tuple(layer.weight[0].numel() for layer in layers.values())
    weights = tuple(
        n * _mean_square(x.weight) for n, x in zip(widths, layers.values(), strict=True)
    )
    biases = tuple(0.0 if x.bias is None else _mean_square(x.bias) for x in layers.values())
    kernel, spread = [biases[0] + weights[0] * input_mean_square], [0.0]
    parallel, perpendicular = [0.0], [1.0]
    for n, weight, bias in zip(widths[1:], weights[1:], biases[1:], strict=True):
        square, slope, turn, fourth = means(kernel[-1])
        new = bias + weight * square
        scale = new or 1.0  # a layer of zeros
        kept = weight * slope * kernel[-1] / scale
        drawn = (weight / scale) ** 2 * (fourth - square**2) / n
        spread.append(kept**2 * spread[-1] + (1 + spread[-1]) * drawn)
        kernel.append(new)
        parallel.append(weight * slope)
        perpendicular.append(weight * turn)
    return DepthToWidth(
        layers=tuple(layers),
        widths=widths,
        weight_variance=weights,
        bias_variance=biases,
        kernel=tuple(kernel),
        chi_parallel=tuple(parallel),
        chi_perpendicular=tuple(perpendicular),
        kurtosis=tuple(1 + v for v in spread),
        ratio=sum(1 / n for n in widths[1:]),
    )


def _mean_square(tensor: torch.Tensor) -> float:
    return tensor.double().square().mean().item()
