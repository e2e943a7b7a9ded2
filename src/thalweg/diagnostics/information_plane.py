"""The information plane: what a layer tells of the input and of the label, as training goes on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.data._measure import (
    Data,
    apply,
    check_data,
    device_of,
    measured,
    read,
    refuse_noise,
    refuse_single_pass,
)
from thalweg.diagnostics._outputs import outputs_of
from thalweg.diagnostics._result import Result

if TYPE_CHECKING:
    import altair as alt

_ESTIMATORS = ("binning", "kde_upper", "kde_lower")
_ROWS = 1024  # of the distances between samples that are held at a time


@dataclass(frozen=True, eq=False)
class InformationPlane(Result):
    """What :func:`information_plane` found; tensors are float64 and on the CPU.

    Args:
        steps: Which steps were measured, (M,); 0 is before the first.
        layers: Names of the L layers.
        estimators: Names of the E estimators.
        input_information: I(X;T) in bits, (E, M, L).
        target_information: I(T;Y) in bits, (E, M, L).
        patterns: How many patterns of bins the samples fall into, (M, L).
        n_samples: How many samples there are.
        saturating: Whether each layer's output stays between bounds.
    """

    _derived = ("bias", "compression", "caveats")

    steps: Tensor
    layers: tuple[str, ...]
    estimators: tuple[str, ...]
    input_information: Tensor
    target_information: Tensor
    patterns: Tensor
    n_samples: int
    saturating: tuple[bool, ...]

    @property
    def bias(self) -> Tensor:
        """Bits that the binned I(X;T) lacks in the mean where samples are few, (M, L).

        Miller and Madow's (patterns - 1) / (2 N ln 2); none where the data are all there is.
        """
        return (self.patterns - 1) / (2 * self.n_samples * math.log(2))

    @property
    def compression(self) -> Tensor:
        """Bits of I(X;T) that each layer has lost since its highest, (E, L)."""
        return self.input_information.amax(1) - self.input_information[:, -1]

    @property
    def caveats(self) -> tuple[str, ...]:
        """What the figures do not tell."""
        kinds = {True: "saturates", False: "does not saturate"}
        of = ", ".join(
            f"{n} {kinds[kind]}" for n, kind in zip(self.layers, self.saturating, strict=True)
        )
        limit = f"It cannot exceed log2 N = {math.log2(self.n_samples):.2f} bits"
        if "binning" in self.estimators:
            told = int((self.patterns > 0.9 * self.n_samples).sum())
            limit += (
                f"; {told} of {self.patterns.numel()} measurements tell nearly all samples apart, "
                "and say no more"
            )
        return (
            "I(X;T) of a deterministic net is a property of the bins, or of the noise added, as "
            "much as of the net.",
            "Its fall late in training comes with activations that saturate, such as tanh; ReLU "
            f"nets that generalise as well show none. Here {of}.",
            f"{limit}.",
        )

    def chart(self) -> alt.LayerChart | alt.FacetChart:
        """Draw the path of each layer, a plane for each estimator, with the caveats above."""
        import altair as alt

        values = [
            {
                "estimator": estimator,
                "layer": layer,
                "step": int(step),
                "I(X;T)": self.input_information[e, m, i].item(),
                "I(T;Y)": self.target_information[e, m, i].item(),
            }
            for e, estimator in enumerate(self.estimators)
            for m, step in enumerate(self.steps)
            for i, layer in enumerate(self.layers)
        ]
        title = alt.TitleParams("information plane, in bits", subtitle=list(self.caveats))
        path = alt.Chart(alt.InlineData(values=values)).encode(
            alt.X("I(X;T):Q"),
            alt.Y("I(T;Y):Q"),
            alt.Detail("layer:N"),
            alt.Order("step:Q"),
            tooltip=["layer:N", "step:Q", "I(X;T):Q", "I(T;Y):Q"],
        )
        points = path.mark_point(filled=True, size=60, opacity=1).encode(
            alt.Color("step:Q", scale=alt.Scale(type="symlog", scheme="viridis")),
            alt.Shape("layer:N", sort=None),
        )
        plane: alt.LayerChart = path.mark_line(color="gray", opacity=0.5, strokeWidth=1) + points
        plane = plane.properties(width=320, height=260)
        if len(self.estimators) > 1:
            facets: alt.FacetChart = plane.facet("estimator:N").properties(title=title)
            return facets
        return plane.properties(title=title)


def information_plane(
    run: Iterable[nn.Module],
    data: Data,
    *,
    layers: Sequence[str] | None = None,
    estimators: Sequence[str] = ("binning",),
    every: int = 1,
    bin_width: float | Sequence[float] = 2 / 30,
    noise_variance: float | Sequence[float] = 1e-3,
    batch_size: int | None = None,
) -> InformationPlane:
    """Measure what layers tell of input and label at the steps of a training run.

        binning    T' = floor(T / bin_width), a row of bins one symbol
                   I(X;T) = H(T'),   I(T;Y) = H(T') + H(Y) - H(T', Y)
        kde_*      T + Normal(0, noise_variance) in place of T,   c = 2 (upper), 8 (lower bound)
                   I(X;T) = -mean_i log2 mean_j exp(-|t_i - t_j|^2 / (c noise_variance))
                   I(T;Y) = I(X;T) - sum_y p(y) (the same among the samples of y)

    Use it on small nets and data that are all there is, to see fitting (both rise) and what is
    called compression (I(X;T) falls). Avoid it for wide layers, whose every sample is a symbol of
    its own, and do not take the fall for a cause of generalisation: it comes with activations that
    saturate (`caveats`). On a sample the binned entropies are too low by about `bias`. Cost: a
    pass over the data a measurement, and for the bounds the distances of all pairs of samples.

    Args:
        run: The model before the first step, and after every step; a generator around a training
            loop, or snapshots.
        data: Inputs and class indices as a pair of tensors, a `DataLoader` or a list of batches;
            every pass has to give the same samples in the same order.
        layers: Names of modules; all activation modules if not given.
        estimators: Some of ``binning``, ``kde_upper``, ``kde_lower``. The bounds are ones of
            I(X;T); I(T;Y) is then a difference of bounds.
        every: Steps between measurements, >= 1.
        bin_width: > 0, one or one for each layer, the same at all steps, for bins that adapt make
            compression or hide it; 2/30 are 30 bins over tanh's range.
        noise_variance: > 0, one or one for each layer, of what is added to each unit.
        batch_size: Samples at a time, where `data` is a pair; `None` for all.

    Returns:
        The plane; `chart()` draws it, with its caveats.

    Raises:
        ValueError: If an argument is out of range, a layer is not known, or run or data are empty.
        TypeError: If the data cannot be read, or only once.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from thalweg.diagnostics import information_plane
        >>> x = torch.tensor([[-1.0], [-0.5], [0.5], [1.0]])
        >>> data = x, torch.tensor([0, 0, 1, 1])
        >>> found = information_plane([nn.Tanh()], data, layers=[""], bin_width=1.0)
        >>> found.input_information.item(), found.target_information.item()
        (1.0, 1.0)

    Paper: Opening the Black Box of Deep Neural Networks via Information, 2017, arXiv 1703.00810.
        Differs: bins have a given width and are not bounded, so that they fit any activation. The
        bounds are those of Estimating Mixture Entropy with Pairwise Distances, 2017,
        arXiv 1706.02419. The paper's bound of the information bottleneck is not part of this.
    """
    _check(estimators, every)
    check_data(data, batch_size)
    refuse_single_pass(data)
    steps: list[int] = []
    rows: list[Tensor] = []
    for step, model in enumerate(run):
        if step % every:
            continue
        names = _activations(model) if layers is None else tuple(layers)
        modules = dict(model.named_modules())
        widths = _each(bin_width, "bin_width", names)
        variances = _each(noise_variance, "noise_variance", names)
        activations, y = _pass(model, data, names, batch_size)
        measures = [
            _measure(t, y, estimators, width, variance)
            for t, width, variance in zip(activations, widths, variances, strict=True)
        ]
        steps.append(step)
        rows.append(torch.stack(measures))
    if not steps:
        raise ValueError("the run yields no models; give one before the first step at least")
    found = torch.stack(rows)  # (M, L, 1 + 2 E)
    return InformationPlane(
        steps=torch.tensor(steps),
        layers=names,
        estimators=tuple(estimators),
        input_information=found[..., 1::2].permute(2, 0, 1).contiguous(),
        target_information=found[..., 2::2].permute(2, 0, 1).contiguous(),
        patterns=found[..., 0],
        n_samples=len(y),
        saturating=tuple(_saturates(modules[name]) for name in names),
    )


def _pass(
    model: nn.Module, data: Data, names: Sequence[str], batch_size: int | None
) -> tuple[list[Tensor], Tensor]:
    """Return the layers' outputs, (N, units) each, and the classes."""
    parts: list[list[Tensor]] = [[] for _ in names]
    classes = []
    with measured([model]), torch.no_grad():
        for i, (inputs, target) in enumerate(read(data, batch_size, device_of(model))):
            if i == 0:
                refuse_noise(model, inputs)
            if target.is_floating_point() or target.dim() != 1:
                raise ValueError(
                    f"targets have shape {tuple(target.shape)} and type {target.dtype}; give class "
                    "indices (N,)"
                )
            with outputs_of(model, names) as seen:
                apply(model, inputs)
            for name, found in zip(names, parts, strict=True):
                if len(seen.get(name, [])) != 1:
                    raise ValueError(
                        f"layer {name!r} is called {len(seen.get(name, []))} times a pass; give "
                        "layers= that are called once"
                    )
                found.append(seen[name][0].flatten(1).double().cpu())
            classes.append(target.cpu())
    if not classes:
        raise ValueError("the data yields no batches; give at least one sample")
    return [torch.cat(found) for found in parts], torch.cat(classes)


def _measure(
    t: Tensor, y: Tensor, estimators: Sequence[str], bin_width: float, noise_variance: float
) -> Tensor:
    """Return the number of patterns, then both informations by each estimator."""
    bins, labels = (t / bin_width).floor().long().numpy(), y.numpy()[:, None]
    alone, label, joint = map(_shares, (bins, labels, np.column_stack([bins, labels])))
    numbers = [float(len(alone))]
    for estimator in estimators:
        if estimator == "binning":
            numbers += [_entropy(alone), _entropy(alone) + _entropy(label) - _entropy(joint)]
            continue
        scale = (2 if estimator == "kde_upper" else 8) * noise_variance
        whole = _spread(t, scale)
        classes = [t[y == int(c)] for c in np.unique(labels)]
        within = [len(part) / len(t) * _spread(part, scale) for part in classes]
        numbers += [whole, whole - sum(within)]
    return torch.tensor(numbers, dtype=torch.float64)


def _shares(rows: Any) -> Any:
    """Return how often each row of integers occurs."""
    symbols = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))
    return np.unique(symbols, return_counts=True)[1] / len(rows)


def _entropy(shares: Any) -> float:
    """Return the entropy in bits."""
    return float(-(shares * np.log2(shares)).sum())


def _spread(t: Tensor, scale: float) -> float:
    """Return -mean_i log2 mean_j exp(-|t_i - t_j|^2 / scale)."""
    exact = "donot_use_mm_for_euclid_dist"
    logs = [
        (-torch.cdist(part, t, compute_mode=exact).square() / scale).logsumexp(1)
        for part in torch.split(t, _ROWS)
    ]
    return float(math.log(len(t)) - torch.cat(logs).mean()) / math.log(2)


def _activations(model: nn.Module) -> tuple[str, ...]:
    names = tuple(
        name
        for name, module in model.named_modules()
        if type(module).__module__ == nn.Tanh.__module__
        and not isinstance(module, nn.MultiheadAttention)
    )
    if not names:
        raise ValueError("the model has no activation modules; give the names of layers=")
    return names


def _saturates(module: nn.Module) -> bool:
    """Tell whether a module stays between bounds, from what it makes of large numbers."""
    parts: list[object] = [*module.children(), *module.parameters()]
    if parts:
        return False
    with torch.no_grad():
        ends = module(torch.tensor([[-1e4, 1e4]]))
    return bool(ends.abs().max() <= 10)


def _each(given: float | Sequence[float], name: str, layers: Sequence[str]) -> Sequence[float]:
    """Return the number that belongs to each layer."""
    numbers = given if isinstance(given, Sequence) else [given] * len(layers)
    if len(numbers) != len(layers) or not all(0 < number < math.inf for number in numbers):
        raise ValueError(
            f"{name} is {given} for the layers {', '.join(layers)}; give a positive number, or one "
            "for each layer"
        )
    return numbers


def _check(estimators: Sequence[str], every: int) -> None:
    if not estimators or not set(estimators) <= set(_ESTIMATORS):
        raise ValueError(f"estimators are {estimators!r}; give some of {', '.join(_ESTIMATORS)}")
    if every < 1:
        raise ValueError(f"every is {every}; give at least 1")
