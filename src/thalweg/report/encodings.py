"""What the charts of the report have in common: colours, axes, scales and numbers as text."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import altair as alt

from thalweg.bench.analysis import ProblemAnalysis
from thalweg.bench.results import LANES, ProblemFacts, Results
from thalweg.report.theme import DASHES

Rows = list[dict[str, Any]]
ScaleType = Literal["linear", "log"]

COSTS = {
    "steps": "steps",
    "seconds": "seconds",
    "gradients": "gradient evaluations",
    "functions": "function evaluations",
    "products": "matrix-vector products",
    "memory": "peak memory",
}
# Below which value, in units of which size, called what.
UNITS: Mapping[str, Sequence[tuple[float, float, str]]] = {
    "seconds": ((1, 1e-3, "ms"), (120, 1, "s"), (7200, 60, "min"), (math.inf, 3600, "h")),
    "memory": ((1e9, 1e6, "MB"), (math.inf, 1e9, "GB")),
}
CROSS = "M-.9,-1.2L0,-.3L.9,-1.2L1.2,-.9L.3,0L1.2,.9L.9,1.2L0,.3L-.9,1.2L-1.2,.9L-.3,0L-1.2,-.9Z"


@dataclass(frozen=True)
class Switch:
    """Something the reader of a chart may choose.

    Args:
        name: Of the choice.
        label: As shown.
        options: Value and label of each; the first is shown first.
        parameter: Whether it sets a parameter of the specification, not another variant.
    """

    name: str
    label: str
    options: tuple[tuple[str, str], ...]
    parameter: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart with its variants, which share their data.

    Args:
        name: For file names and addresses.
        title: As shown.
        note: How to read it.
        variants: A Vega-Lite specification without data for each combination of the switches'
            values, joined by ``/``.
        data: Rows by data set and lane; the lane is ``""`` where there is but one.
        switches: What the reader may choose.
        wide: Whether it deserves the whole width of the page.
    """

    name: str
    title: str
    note: str
    variants: Mapping[str, Mapping[str, Any]]
    data: Mapping[str, Mapping[str, Rows]]
    switches: tuple[Switch, ...] = field(default=())
    wide: bool = False


def specification(results: Results, chart: Any, height: int) -> dict[str, Any]:
    """Add what all charts share and return the specification."""
    shown = alt.param(name="shown", value=list(results.contenders))
    emphasis = alt.param(name="emphasis", value="")
    layered = chart if isinstance(chart, alt.LayerChart) else alt.layer(chart)
    layered.layer = [
        layer
        if isinstance(layer.data, alt.InlineData)
        else layer.transform_filter("indexof(shown, datum.contender) >= 0")
        for layer in layered.layer
    ]
    spec: dict[str, Any] = (
        layered.add_params(shown, emphasis)
        .properties(
            width="container",
            height=height,
            autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        )
        .to_dict(validate=False)  # every part was validated when it was made
    )
    spec.pop("config", None)
    spec.pop("$schema", None)
    return spec


def rescaled(
    spec: Mapping[str, Any], scales: Mapping[str, Mapping[str, Any]], **parameters: Any
) -> dict[str, Any]:
    """Return a specification with other scales, where it names any, and other parameters."""

    def changed(channel: str, encoding: dict[str, Any]) -> dict[str, Any]:
        if channel not in scales or "scale" not in encoding:
            return encoding
        scale = {**encoding["scale"], **scales[channel]}
        if scale.get("type") != "log":
            return {**encoding, "scale": scale}
        scale.pop("zero", None)
        axis = encoding["axis"]
        if axis["grid"] and "domain" in scale:
            axis = {**axis, **_decades(*scale["domain"])}
        return {**encoding, "scale": scale, "axis": axis}

    layers = [
        {
            **layer,
            "encoding": {name: changed(name, value) for name, value in layer["encoding"].items()},
        }
        for layer in spec["layer"]
    ]
    params = [
        {**param, "value": parameters[param["name"]]} if param["name"] in parameters else param
        for param in spec["params"]
    ]
    return {**spec, "layer": layers, "params": params}


def _decades(low: float, high: float) -> dict[str, Any]:
    """Give an axis a line for every power of ten, where there are enough of them."""
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    step = math.ceil(len(powers) / 6) or 1
    return {"values": [10.0**power for power in powers[::step]]} if len(powers) > 1 else {}


def color(results: Results) -> alt.Color:
    """Colour contenders alike in all charts."""
    return alt.Color(
        "contender:N",
        title=None,
        scale=alt.Scale(domain=list(results.contenders), range="category"),
    )


def dash(results: Results) -> alt.StrokeDash:
    """Tell lines apart by dashes too, where there are more than five."""
    n = len(results.contenders)
    dashes = [DASHES[(i // 5) % len(DASHES)] for i in range(n)]
    return alt.StrokeDash(
        "contender:N",
        title=None,
        scale=alt.Scale(domain=list(results.contenders), range=dashes),
        legend=alt.Undefined if n > 5 else None,
    )


def opacity(full: float = 1.0, faded: float = 0.12) -> Any:
    """Fade all contenders but the one that the reader points at."""
    is_meant = "emphasis === '' || emphasis === datum.contender"
    return alt.when(is_meant).then(alt.value(full)).otherwise(alt.value(faded))


def row_axis() -> alt.Y:
    """Give each contender a row, in their order."""
    return alt.Y(
        "contender:N",
        title=None,
        sort=alt.EncodingSortField(field="order", op="min", order="ascending"),
        axis=alt.Axis(domain=False, grid=True, labelPadding=10),
    )


def row_heights(rows: Sequence[str]) -> int:
    """Give the height of a chart with so many rows."""
    return 36 * max(len(rows), 2)


def miss_shape(name: str) -> alt.Shape:
    """Mark what stands beside the scale with a cross."""
    return alt.Shape(
        f"{name}:N",
        legend=None,
        scale=alt.Scale(domain=[False, True], range=["circle", CROSS]),
    )


def edge_label(name: str, value: float, text: str) -> alt.Chart:
    """Name the place beside the scale where runs stand that have no value on it."""
    label: alt.Chart = (
        alt.Chart(alt.InlineData(values=[{name: value}]))
        .mark_text(baseline="top", dy=6, text=text)
        .encode(x=alt.X(f"{name}:Q"), y=alt.value("height"))
    )
    return label


def tooltips(text: str, *others: str) -> list[alt.Tooltip]:
    """Tell the contender, a value already written as text, and further fields."""
    return [
        alt.Tooltip("contender:N"),
        alt.Tooltip(f"{text}:N", title="value"),
        *(alt.Tooltip(f"{name}:N") for name in others),
    ]


def axis(expression: str, *, grid: bool = True, overlap: bool = False) -> alt.Axis:
    """Label an axis by an expression in ``datum.value``."""
    # Logarithmic axes leave out labels that would crowd.
    return alt.Axis(
        labelExpr=f"datum.label === '' ? '' : ({expression})",
        grid=grid,
        tickCount=5,
        labelOverlap="greedy" if overlap else True,
    )


def field_of(expression: str, name: str) -> str:
    """Turn an expression of an axis label into one of a field."""
    return f"({expression.replace('datum.value', f'datum[{name!r}]')})"


def quality_text(value: str, problem: ProblemFacts) -> str:
    """Return the expression that writes a value of the metric."""
    if problem.percent:
        return f"format(100 * {value}, '.4~g') + ' %'"
    return f"format({value}, '.4~g')"


def difference_text(value: str, problem: ProblemFacts) -> str:
    """Return the expression that writes a difference with its sign."""
    return f"{value} === 0 ? '0' : format({100 if problem.percent else 1} * {value}, '+.3~g')"


def cost_text(value: str, kind: str) -> str:
    """Return the expression that writes a cost."""
    if kind not in UNITS:
        return f"format({value}, '.4~s')"
    *smaller, (_, size, name) = UNITS[kind]
    text = f"format({value} / {size}, '.3~g') + ' {name}'"
    for below, size, name in reversed(smaller):
        text = f"{value} < {below} ? format({value} / {size}, '.3~g') + ' {name}' : {text}"
    return f"{value} === 0 ? '0' : {text}"


def choices(values: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Offer values under their own names."""
    return tuple((value, value) for value in values)


def watched(problem: ProblemFacts) -> str:
    """Name the metric that is watched along the runs."""
    return _measured(problem.progress, problem)


def judged(problem: ProblemFacts) -> str:
    """Name the metric that is judged at the end."""
    return _measured(problem.judged, problem)


def better_note(problem: ProblemFacts) -> str:
    """Say in a title which way is better."""
    return ", higher is better" if problem.better == "higher" else ", lower is better"


def _measured(key: str, problem: ProblemFacts) -> str:
    """Name a metric by the data it is measured on, such as validation accuracy."""
    return problem.metric if key == problem.metric else " ".join(key.split("/"))


def placed(results: Results, contender: str) -> dict[str, Any]:
    """Return the fields that place a row among the contenders."""
    return {"contender": contender, "order": results.contenders.index(contender)}


def lanes_of(analysis: ProblemAnalysis) -> list[str]:
    """List the lanes in which there are standings."""
    return [lane for lane in LANES if analysis.standings.get(lane)]


def quality_domains(rows: Iterable[Mapping[str, Any]], *marks: float) -> dict[str, dict[str, Any]]:
    """Offer a close-up of how the curves end, the whole range, and a logarithmic scale."""
    spans = [
        (value, row["late"])
        for row in rows
        for value in (row["low"], row["high"])
        if value is not None
    ]
    spans += [(mark, True) for mark in marks if math.isfinite(mark)]
    values = [value for value, _ in spans]
    if not values:
        return {"full": {"zero": False}}
    full = padded(min(values), max(values), 0.03)
    late = [value for value, is_late in spans if is_late]
    near = padded(min(late), max(late), 0.06)
    domains = {}
    if near[1] - near[0] < 0.6 * (full[1] - full[0]):
        domains["close-up"] = {"domain": near, "zero": False, "nice": False}
    domains["full"] = {"domain": full, "zero": False, "nice": False}
    if scale_type(values) == "log":
        log = {"type": "log", "domain": [0.8 * min(values), 1.25 * max(values)], "nice": False}
        return {"log": log, **domains}
    return domains


def scale_type(values: Sequence[float]) -> ScaleType:
    """Choose a logarithmic scale for what spans decades."""
    return "log" if values and min(values) > 0 and max(values) > 50 * min(values) else "linear"


def padded(low: float, high: float, share: float) -> tuple[float, float]:
    """Widen a range on both sides by a share of its width."""
    room = share * (high - low) or 0.05 * abs(high) or 1.0
    return float(low - room), float(high + room)


def significant(value: float) -> float:
    """Round to five digits, which saves half of the page."""
    return float(f"{value:.5g}")


def capital(text: str) -> str:
    """Write the first letter large."""
    return text[:1].upper() + text[1:]


def measured_kinds(rows: Rows, analysis: ProblemAnalysis) -> list[str]:
    """List the costs that were measured, the one that decides first."""
    kinds = sorted(analysis.costs, key=lambda kind: kind != analysis.problem.decides)
    return [kind for kind in kinds if any(row["kind"] == kind and row["x"] for row in rows)]


def x_scales(costs: Iterable[float]) -> tuple[tuple[str, str], ...]:
    """Offer both scales for costs, the logarithmic one first where one costs ten times another."""
    spent = [cost for cost in costs if cost > 0] or [1.0]
    scales = choices(("linear", "log"))
    return scales[::-1] if max(spent) > 10 * min(spent) else scales
