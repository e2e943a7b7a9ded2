"""Generalization bounds: what theory guarantees for a trained classifier, and how little it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from thalweg.data._measure import (
    Data,
    apply,
    apply_at,
    check_data,
    device_of,
    measured,
    read,
    refuse_noise,
    refuse_single_pass,
)
from thalweg.diagnostics._result import Result

if TYPE_CHECKING:
    import altair as alt

NOISES = tuple(2.0**-k for k in range(10))  # standard deviations that PAC-Bayes may choose from
_RISE = 0.1  # of the training error, up to which a minimum counts as flat
_PLAIN = (nn.Sequential, nn.Flatten, nn.ReLU, nn.Dropout, nn.Identity)


@dataclass(frozen=True, eq=False)
class GeneralizationBounds(Result):
    """What :func:`generalization_bounds` found.

    Args:
        bounds: On the error on new samples, by name; from 1 on they say nothing.
        train_error: Share of the training samples that is misclassified.
        flat_noise: Largest noise on the weights that raises the training error by at most 0.1.
        n_samples: Training samples.
        n_classes: Classes.
        left_out: Bounds that the model's architecture does not allow.
    """

    _derived = ("vacuous",)

    bounds: dict[str, float]
    train_error: float
    flat_noise: float
    n_samples: int
    n_classes: int
    left_out: tuple[str, ...]

    @property
    def vacuous(self) -> tuple[str, ...]:
        """The bounds that say nothing."""
        return tuple(name for name, bound in self.bounds.items() if bound >= 1)

    def chart(self) -> alt.LayerChart:
        """Draw the bounds beside 1, from where they say nothing."""
        import altair as alt

        bars = [{"bound": name, "error": value} for name, value in self.bounds.items()]
        axis = alt.X("error:Q", title="error (log scale)", scale=alt.Scale(type="log"))
        points = (
            alt.Chart(alt.InlineData(values=bars))
            .mark_point(filled=True, size=60)
            .encode(axis, alt.Y("bound:N"), tooltip=["bound:N", "error:Q"])
        )
        line = (
            alt.Chart(alt.InlineData(values=[{"error": 1}]))
            .mark_rule(strokeDash=[4, 4], color="firebrick")
            .encode(axis)
        )
        layers: alt.LayerChart = points + line
        title = f"training error {self.train_error:.3f}; from 1 on a bound says nothing"
        return layers.properties(title=title, width=480)


def generalization_bounds(
    model: nn.Module,
    data: Data,
    *,
    initial: Mapping[str, Tensor] | None = None,
    delta: float = 0.05,
    samples: int = 50,
    batch_size: int | None = 1024,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> GeneralizationBounds:
    """Bound a classifier's error on new samples by its norms, margins, PAC-Bayes and flatness.

        margins   min over g = 1, 1/2, ... of  share(margin / F <= g)
                  + (4 K / g) (sqrt(2 ln 2 L) + 1) |X| / n + 3 sqrt(ln(2 (j+1)(j+2) / delta) / 2n)
        norms     the same at the g below 1 / F, a margin of 1;  F: product of Frobenius norms
        PAC-Bayes min over s of kl^-1(error at w + s * noise | (|w - w_0|^2 / 2 s^2
                  + ln(2 sqrt n / delta')) / n)
        flatness  the same at the largest s that raises the training error by at most 0.1

    Each holds with probability 1 - delta over the training samples: norms and margins for the
    model, PAC-Bayes and flatness for the model with noise on its weights.

    Use it to see which guarantees mean anything for a model, and with :func:`rank_bounds` which
    of them follow the truth over a sweep. Avoid it to predict the error: for that hold samples
    out. No such number can be near the truth for every task (see :func:`two_worlds`). Cost:
    10 * `samples` forward passes over the data.

    Args:
        model: A classifier with outputs (n, K). Norms and margins need linear layers and ReLU in
            an `nn.Sequential`.
        data: Inputs and classes (n,) that the model was trained on, all of them: a pair of
            tensors, a `DataLoader` or a list of batches.
        initial: The model's `state_dict` before training, w_0; it must not depend on the data.
            Zero where not given.
        delta: Chance that a bound does not hold, in (0, 1).
        samples: Draws of the noise, >= 1; few make PAC-Bayes loose.
        batch_size: Samples at a time, where `data` is a pair; `None` for all.
        seed: Of the noise.
        progress: Called with the number of noisy passes done, and of all, after each.

    Returns:
        The bounds; `chart()` draws them.

    Raises:
        ValueError: If an argument is outside its range, targets are no classes, `initial` does not
            fit, or the model is random even in evaluation mode.
        TypeError: If the data cannot be read, or only once.

    Example:
        >>> import torch
        >>> from thalweg.diagnostics import generalization_bounds
        >>> x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
        >>> model = torch.nn.Linear(2, 2)
        >>> model.weight.data = torch.tensor([[4.0, 0.0], [-4.0, 0.0]])
        >>> found = generalization_bounds(model, (x, (x[:, 0] < 0).long()))
        >>> found.vacuous, 0.05 < found.bounds["PAC-Bayes"] < 0.4
        (('norms', 'margins'), True)

    Paper: Fantastic Generalization Measures are Nowhere to be Found, 2023, arXiv 2309.13658.
        Differs: the paper bounds what such measures can do, and gives none. F and the root are
        Theorem 1 of Size-Independent Sample Complexity of Neural Networks, 2017, arXiv 1712.06541,
        with biases as weights of a constant input; 4 K / g is Theorem 9.2 of Foundations of
        Machine Learning, 2018, for the complexity on the sample and not its mean, hence 3 times
        the last root and 2 / delta. Layers are scaled to norm 1 first, so that no choice of F is
        paid for; that of g is, by delta / (j+1)(j+2). PAC-Bayes is Theorem 5 of A Note on the
        PAC Bayesian Theorem, 2004, arXiv cs/0411099, for 10 noises; the error under noise, a mean
        of `samples` draws, is bounded by the inverse of kl too, on one side, at ln(1 / delta') /
        samples; the two share delta by halves, so that delta' = delta / 20.
    """
    check_data(data, batch_size)
    refuse_single_pass(data)
    if not 0 < delta < 1 or samples < 1:
        raise ValueError(f"delta is {delta} and samples {samples}; give (0, 1) and at least 1")
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    start = {name: torch.zeros_like(p) for name, p in parameters.items()}
    if initial is not None:
        if any(name not in initial or initial[name].shape != p.shape for name, p in start.items()):
            raise ValueError("initial does not fit the model; give its state_dict before training")
        start = {name: initial[name].detach().to(p) for name, p in parameters.items()}
    device = device_of(model)

    def margins(weights: dict[str, Tensor]) -> Tensor:
        parts = []
        for inputs, target in read(data, batch_size, device):
            parts.append(_margins(apply_at(model, weights, inputs), target))
        return torch.cat(parts)

    with measured([model]), torch.no_grad():
        first = next(read(data, batch_size, device), None)
        if first is None:
            raise ValueError("the data yields no batches; give all training samples")
        refuse_noise(model, first[0])
        margin = margins(parameters)
        n, classes = len(margin), int(apply(model, first[0]).shape[1])
        error = float((margin <= 0).double().mean())
        generator = torch.Generator().manual_seed(seed)
        noisy = dict.fromkeys(NOISES, 0.0)
        for draw in range(samples):
            noise = {
                name: torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p)
                for name, p in parameters.items()
            }
            for i, size in enumerate(NOISES):
                at = {name: p + size * noise[name] for name, p in parameters.items()}
                noisy[size] += float((margins(at) <= 0).double().mean()) / samples
                if progress is not None:
                    progress(draw * len(NOISES) + i + 1, samples * len(NOISES))
    moved = sum(float((p - start[name]).double().square().sum()) for name, p in parameters.items())
    choices = math.log(2 * len(NOISES) / delta)
    bayes = {
        size: _kl_inverse(
            _kl_inverse(noisy[size], choices / samples),
            (moved / (2 * size**2) + math.log(2 * math.sqrt(n)) + choices) / n,
        )
        for size in NOISES
    }
    flat = max((s for s in NOISES if noisy[s] <= error + _RISE), default=min(NOISES))
    layers = _layers(model)
    bounds: dict[str, float] = {}
    if layers is not None:
        norm, biased = _norm(layers)
        lengths = (x.double().square().sum() for x, _ in read(data, batch_size, device))
        squares = float(sum(lengths)) + n * biased
        norm = max(norm, torch.finfo(torch.float64).tiny)
        scale = (math.sqrt(2 * math.log(2) * len(layers)) + 1) * math.sqrt(squares) / n
        margin = margin.cpu().double() / norm

        def at_margin(j: int) -> float:
            slack = 3 * math.sqrt(math.log(2 * (j + 1) * (j + 2) / delta) / (2 * n))
            within = float((margin <= 2.0**-j).double().mean())
            return within + 4 * classes * 2.0**j * scale + slack

        bounds["norms"] = at_margin(max(0, math.ceil(math.log2(norm))))
        bounds["margins"] = min(map(at_margin, range(60)))
    return GeneralizationBounds(
        bounds={**bounds, "PAC-Bayes": min(bayes.values()), "flatness": bayes[flat]},
        train_error=error,
        flat_noise=flat,
        n_samples=n,
        n_classes=classes,
        left_out=() if layers is not None else ("norms", "margins"),
    )


def _margins(scores: Tensor, target: Tensor) -> Tensor:
    """Return by how much the right class's score exceeds all others."""
    if scores.dim() != 2 or target.shape != scores.shape[:1] or target.is_floating_point():
        raise ValueError(
            f"outputs of shape {tuple(scores.shape)} and targets of shape {tuple(target.shape)}, "
            f"{target.dtype}, do not fit; give classes, (n,), for outputs (n, classes)"
        )
    own = scores.gather(1, target[:, None])
    others = scores.scatter(1, target[:, None], -torch.inf)
    return own[:, 0] - others.amax(1)


def _kl_inverse(share: float, budget: float) -> float:
    """Return the largest q with share ln(share/q) + (1-share) ln((1-share)/(1-q)) <= budget."""

    def excess(q: float) -> float:
        first = share * math.log(share / q) if share else 0.0
        second = (1 - share) * math.log((1 - share) / (1 - q))
        return first + second - budget

    last = 1 - 1e-12
    return float(brentq(excess, share, last)) if share < last and excess(last) > 0 else 1.0


def _layers(model: nn.Module) -> list[nn.Linear] | None:
    """Return the linear layers of a plain perceptron, and of no other model."""
    every = [part for _, part in model.named_modules(remove_duplicate=False)]
    parts = [part for part in every if type(part) not in _PLAIN]
    layers = [part for part in parts if type(part) is nn.Linear]
    return layers if layers and len(layers) == len(parts) else None


def _norm(layers: Sequence[nn.Linear]) -> tuple[float, bool]:
    """Return the product of Frobenius norms, each bias a column beside the weight."""
    biased = any(layer.bias is not None for layer in layers)
    squares = [
        sum(float(p.detach().double().square().sum()) for p in layer.parameters())
        for layer in layers
    ]
    passed_on = [float(biased)] * (len(layers) - 1) + [0.0]  # the constant input goes through
    return math.prod(math.sqrt(s + one) for s, one in zip(squares, passed_on, strict=True)), biased
