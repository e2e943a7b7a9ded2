"""abc-parametrisations: how start and learning rate of each layer follow the width."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Triple = tuple[Sequence[float], Sequence[float], float]

_MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding)
_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Regime:
    """What becomes of a parametrisation as the width grows.

    Args:
        stable: Whether activations and outputs stay bounded, at the start and in training.
        nontrivial: Whether the outputs change in training at all.
        r: Change of the last features by a step is of order width^(-r).
        name: ``feature learning``, ``kernel``, ``trivial`` or ``unstable``.
    """

    stable: bool
    nontrivial: bool
    r: float
    name: str


def classify(a: Sequence[float], b: Sequence[float], c: float) -> Regime:
    """Tell what a wide perceptron of a given parametrisation learns under SGD.

        W_l = n^(-a_l) w_l,  w_l ~ Normal(0, n^(-2 b_l)),  learning rate eta n^(-c),  l = 1 .. L+1
        r = min(a_{L+1} + b_{L+1}, 2 a_{L+1} + c) + c - 1 + min over l <= L of (2 a_l + [l = 1])
        stable:      a_1 + b_1 = 0,  a_l + b_l = 1/2,  a_{L+1} + b_{L+1} >= 1/2,
                     r >= 0,  2 a_{L+1} + c >= 1,  a_{L+1} + b_{L+1} + r >= 1
        nontrivial:  equality in one of the last two;  features are learnt if r = 0

    Use it to see what a parametrisation does before it is run wide. Avoid it for Adam, whose
    exponents are others. Cost: none.

    Args:
        a: Exponents of the multipliers, of each of the L + 1 layers.
        b: Exponents of the spread at the start, of each layer.
        c: Exponent of the learning rate.

    Returns:
        The regime.

    Raises:
        ValueError: If `a` and `b` are not of one length, at least two.

    Example:
        >>> from thalweg.scaling import classify
        >>> classify((0, 0.5, 0.5), (0, 0, 0), 0)  # the neural tangent kernel's
        Regime(stable=True, nontrivial=True, r=0.5, name='kernel')

    Paper: Feature Learning in Infinite-Width Neural Networks, 2020, arXiv 2011.14522.
        Differs: nothing.
    """
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(
            f"a and b hold {len(a)} and {len(b)} exponents; give one each for two layers or more"
        )
    spread = [x + y for x, y in zip(a, b, strict=True)]
    inner = min(2 * x + (i == 0) for i, x in enumerate(a[:-1]))
    r = min(spread[-1], 2 * a[-1] + c) + c - 1 + inner
    outputs = (2 * a[-1] + c - 1, spread[-1] + r - 1)  # of order width to minus these they change
    starts = [spread[0], *(x - 0.5 for x in spread[1:-1])]
    stable = all(map(_is_zero, starts)) and all(
        x > 0 or _is_zero(x) for x in (spread[-1] - 0.5, r, *outputs)
    )
    nontrivial = any(map(_is_zero, outputs))
    learning = "feature learning" if _is_zero(r) else "kernel"
    name = (learning if nontrivial else "trivial") if stable else "unstable"
    return Regime(stable, nontrivial, float(r), name)


def _is_zero(x: float) -> bool:
    return math.isclose(x, 0, abs_tol=1e-9)


def abc_parametrize(
    model: nn.Module,
    scheme: str | Triple = "mup",
    *,
    base_width: int,
    lr: float,
    optimizer: str = "sgd",
) -> list[dict[str, Any]]:
    """Rescale a new model to a parametrisation, and return groups for any optimizer of torch.

        m = width / base_width,  of layer l = 1 .. L+1
        weights at the start:  times m^(1/2 - a_l - b_l),  the first layer's m^(-a_1 - b_1)
        learning rate, SGD:    lr * m^(-c - 2 a_l)         Adam:  lr * m^(-c - a_l)
        maximal update (SGD):  a = (-1/2, 0, .., 0, 1/2),  b = (1/2, .., 1/2),  c = 0
                       (Adam): a = (0, 1, .., 1),  b = (0, -1/2, .., -1/2, 0),  c = 0

    This is the form without multipliers: the network computes what it did, so that nothing in its
    code changes, and training is that of the form with them. At `base_width` nothing is altered.

    Use it to tune a narrow model and train a wide one with the same `lr`; then see with
    :func:`coordinate_check` that it does. Avoid it where only depth grows, with tied embeddings,
    or for attention that divides by sqrt(d_head) while the heads grow (divide by d_head). Cost:
    none.

    Args:
        model: As torch starts it, with a variance of 1/fan-in behind the first layer; rescaled in
            place, so call this once. Its first layer with a weight reads the input, the last
            writes the output, and those between grow with the width in both directions.
        scheme: ``mup``, ``ntk``, ``standard`` (the rate falls with the width, as it must to stay
            stable), ``mean_field`` (one hidden layer); or exponents (a, b, c) as in
            :func:`classify`, one of each layer.
        base_width: Units of the first layer at which `lr` is what was tuned, >= 1.
        lr: Learning rate at the base width, >= 0.
        optimizer: ``sgd``, or ``adam`` for all whose step does not grow with the gradient;
            ``ntk`` and ``mean_field`` are those of SGD.

    Returns:
        Groups with their learning rates. Biases, norms and further embeddings go with the input's
        weights and start as they are; the output's bias has `lr` itself.

    Raises:
        ValueError: If an argument is out of range, the scheme does not fit the model, or the
            model has tied parameters or some outside of linear, convolution, embedding and norm
            layers.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from thalweg.scaling import abc_parametrize
        >>> model = nn.Sequential(nn.Linear(8, 256), nn.ReLU(), nn.Linear(256, 1, bias=False))
        >>> groups = abc_parametrize(model, "mup", base_width=64, lr=0.1)
        >>> [group["lr"] for group in groups]  # times 4 for the input, a quarter for the output
        [0.4, 0.025]
        >>> optimizer = torch.optim.SGD(groups, momentum=0.9)

    Paper: Feature Learning in Infinite-Width Neural Networks, 2020, arXiv 2011.14522. Differs:
        widths are relative to `base_width`; multipliers are absorbed by the symmetry
        a_l + t, b_l - t and rates times width^(2 t), which for Adam asks for an `eps` well below
        the gradients. Adam's exponents and those of biases are of Tensor Programs V, 2022,
        arXiv 2203.03466. The exact infinite-width limits are not part of this.
    """
    if base_width < 1:
        raise ValueError(f"base_width is {base_width}; give the width that lr was tuned at")
    if not lr >= 0:
        raise ValueError(f"lr is {lr}; give a learning rate of at least 0")
    if optimizer not in ("sgd", "adam"):
        raise ValueError(f"optimizer is {optimizer!r}; give 'sgd' or 'adam'")
    layers, vectors = _read(model)
    a, b, c = _exponents(scheme, len(layers), optimizer)
    first = layers[0].weight
    width = first.shape[1] if isinstance(layers[0], nn.Embedding) else first.shape[0]
    m, power = width / base_width, 2 if optimizer == "sgd" else 1
    groups: dict[float, list[nn.Parameter]] = defaultdict(list)
    for i, layer in enumerate(layers):
        started = 0.0 if i == 0 else -0.5  # torch's spread is a power of the width already
        with torch.no_grad():
            layer.weight.mul_(m ** (-a[i] - b[i] - started))
        groups[lr * m ** (-c - power * a[i])].append(layer.weight)
        if getattr(layer, "bias", None) is not None and i < len(layers) - 1:
            vectors.append(layer.bias)
    groups[lr * m ** (-c - power * a[0])] += vectors
    if getattr(layers[-1], "bias", None) is not None:
        groups[lr].append(layers[-1].bias)
    return [{"params": params, "lr": rate} for rate, params in groups.items() if params]


def _read(model: nn.Module) -> tuple[list[Any], list[nn.Parameter]]:
    """Return the layers with a matrix in their order, and what else goes with the input's."""
    named = list(model.named_parameters(remove_duplicate=False))
    if len({id(p) for _, p in named}) < len(named):
        raise ValueError("the model has tied parameters, whose two uses want two learning rates")
    matrices = [x for x in model.modules() if isinstance(x, _MATRICES)]
    layers = [x for i, x in enumerate(matrices) if i == 0 or not isinstance(x, nn.Embedding)]
    beside = (*_NORMS, nn.Embedding)  # further embeddings, such as positions, are inputs too
    vectors = [
        p
        for x in model.modules()
        if isinstance(x, beside) and x not in layers
        for p in x.parameters()
    ]
    known = {id(p) for layer in layers for p in layer.parameters()} | {id(p) for p in vectors}
    unknown = [name for name, p in named if id(p) not in known]
    if unknown:
        raise ValueError(
            f"it is not known how {', '.join(unknown)} should follow the width; only linear, "
            "convolution, embedding and norm layers may hold parameters"
        )
    if len(layers) < 2:
        raise ValueError(f"the model has {len(layers)} layers with weights; give two at least")
    return layers, vectors


def _exponents(scheme: str | Triple, n_layers: int, optimizer: str) -> Triple:
    if not isinstance(scheme, str):
        a, b, c = scheme
        if len(a) != n_layers or len(b) != n_layers:
            raise ValueError(
                f"the model has {n_layers} layers with weights, the scheme {len(a)} and {len(b)} "
                "exponents; give one of each layer"
            )
        return a, b, c
    hidden = n_layers - 2
    halves, zeros = [0.5] * (hidden + 1), [0.0] * (hidden + 1)
    known: dict[tuple[str, str], Triple] = {
        ("standard", "sgd"): ([0.0, *zeros], [0.0, *halves], 1.0),
        ("standard", "adam"): ([0.0, *zeros], [0.0, *halves], 1.0),
        ("ntk", "sgd"): ([0.0, *halves], [0.0, *zeros], 0.0),
        ("mup", "sgd"): ([-0.5, *[0.0] * hidden, 0.5], [0.5, *halves], 0.0),
        ("mup", "adam"): ([0.0, *[1.0] * (hidden + 1)], [0.0, *[-0.5] * hidden, 0.0], 0.0),
    }
    if hidden == 0:
        known["mean_field", "sgd"] = ([0.0, 1.0], [0.0, 0.0], -1.0)
    if (scheme, optimizer) not in known:
        fitting = ", ".join(name for name, of in known if of == optimizer)
        raise ValueError(
            f"scheme {scheme!r} is none for {optimizer} and {n_layers} layers; give one of "
            f"{fitting}, or exponents (a, b, c)"
        )
    return known[scheme, optimizer]
