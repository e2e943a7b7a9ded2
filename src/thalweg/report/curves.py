"""Learning curves: a metric along the runs against what they cost."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from thalweg.bench import wording
from thalweg.bench.analysis import ProblemAnalysis
from thalweg.bench.results import ProblemFacts, Results, Run
from thalweg.report.encodings import (
    COSTS,
    Chart,
    Rows,
    Switch,
    axis,
    better_note,
    capital,
    choices,
    color,
    cost_text,
    dash,
    field_of,
    lanes_of,
    measured_kinds,
    opacity,
    quality_domains,
    quality_text,
    rescaled,
    significant,
    specification,
    watched,
    x_scales,
)

MAX_POINTS = 40  # of a curve; more cannot be told apart on a screen


def learning_curves(results: Results, analysis: ProblemAnalysis) -> Chart:
    """Show the watched metric along the runs: the median replicate and the middle half of them."""
    problem = analysis.problem
    bands: dict[str, Rows] = {}
    singles: dict[str, Rows] = {}
    for lane in lanes_of(analysis):
        bands[lane] = []
        singles[lane] = []
        for contender in results.contenders:
            entries = results.entries(problem.name, contender, lane)
            curves = [_Curve(run, problem, analysis.costs) for run in entries]
            curves = [curve for curve in curves if curve.values.size]
            singles[lane] += (row for curve in curves for row in _single_rows(curve))
            for kind in analysis.costs:
                bands[lane] += _band_rows(contender, curves, kind, problem)
    rows = list(itertools.chain(*bands.values()))
    domains = quality_domains(rows, analysis.target)
    worst = _worst([row[key] for row in rows for key in ("low", "high")], problem)
    for row in rows:
        for key in ("low", "high"):
            row[key] = worst if row[key] is None else row[key]
    kinds = measured_kinds(rows, analysis)
    scales = x_scales(_ends(rows, kinds[0]) if kinds else ())
    variants = {
        f"{kind}/{x}/{name}": rescaled(
            spec, {"x": {"type": x}, "y": y}, least={"linear": -1, "log": 0}[x]
        )
        for kind in kinds
        for spec in [_curve_spec(results, analysis, kind)]
        for x, _ in scales
        for name, y in domains.items()
    }
    return Chart(
        name="curves",
        title=f"{capital(watched(problem))} along the runs",
        note=(
            "Line: the median replicate. Band: the middle half of the replicates. A replicate "
            "that failed counts as worst from then on. Double-click to undo what dragging and "
            "pinching did."
        ),
        variants=variants,
        data={"bands": bands, "singles": singles},
        switches=(
            Switch("cost", "Against", choices(kinds)),
            Switch("x", "x axis", scales),
            Switch("y", "y axis", choices(domains)),
            Switch("show", "Show", (("bands", "bands"), ("runs", "single runs")), parameter=True),
        ),
        wide=True,
    )


class _Curve:
    """A run's watched metric against its costs."""

    def __init__(self, run: Run, problem: ProblemFacts, kinds: Iterable[str]) -> None:
        points = [
            point
            for point in run.trace.points
            if math.isfinite(point.quality.get(problem.progress, math.nan))
        ]
        self.run = run
        self.values = np.array([point.quality[problem.progress] for point in points])
        self.costs = {
            kind: np.array([getattr(point.cost, kind) for point in points], dtype=float)
            for kind in kinds
        }

    def at(self, kind: str, grid: NDArray[np.float64], dead: float) -> NDArray[np.float64]:
        """Interpolate on a grid of costs; what ended well keeps its value, what failed is dead."""
        costs = self.costs[kind]
        values: NDArray[np.float64] = np.interp(grid, costs, self.values)
        if self.run.trace.outcome != "finished":
            values[grid > costs[-1]] = dead
        return values


def _band_rows(
    contender: str, curves: Sequence[_Curve], kind: str, problem: ProblemFacts
) -> Iterator[dict[str, Any]]:
    if not curves:
        return
    # Huge, not infinite: quantiles are interpolated.
    dead = -1e300 if problem.better == "higher" else 1e300
    ends = [curve.costs[kind][-1] for curve in curves if curve.run.trace.outcome == "finished"]
    # Where runs end early the median is to be seen arriving; stragglers are not waited for.
    end = float(np.quantile(ends or [curve.costs[kind][-1] for curve in curves], 0.75))
    measured = np.unique(np.concatenate([curve.costs[kind] for curve in curves]))
    grid = _thin(measured[measured <= end])
    if kind == "seconds":
        # Evenly spaced on either scale of the axis.
        grid = np.linspace(0.0, end, MAX_POINTS)
        if (first := measured[measured > 0].min(initial=end)) < end:
            grid = np.union1d(grid, np.geomspace(first, end, MAX_POINTS // 2))
    table = np.stack([curve.at(kind, grid, dead) for curve in curves])
    low, median, high = np.quantile(table, (0.25, 0.5, 0.75), axis=0)
    for i, x in enumerate(grid):
        values = (float(value) for value in (low[i], median[i], high[i]))
        bounded = [significant(value) if abs(value) < 1e299 else None for value in values]
        yield {
            "contender": contender,
            "kind": kind,
            "x": significant(float(x)),
            "low": bounded[0],
            "median": bounded[1],
            "high": bounded[2],
            "late": bool(x >= 0.4 * end),
        }


def _single_rows(curve: _Curve) -> Iterator[dict[str, Any]]:
    for i in _thin(np.arange(curve.values.size, dtype=float)).astype(int):
        yield {
            "contender": curve.run.contender,
            "replicate": curve.run.number,
            **{kind: significant(float(costs[i])) for kind, costs in curve.costs.items()},
            "value": significant(float(curve.values[i])),
        }


def _curve_spec(results: Results, analysis: ProblemAnalysis, kind: str) -> dict[str, Any]:
    problem = analysis.problem
    text = quality_text("datum.value", problem)
    x = alt.X(
        "x:Q",
        title=COSTS[kind],
        scale=alt.Scale(nice=False, zero=False),
        axis=axis(cost_text("datum.value", kind), grid=False, overlap=True),
    )
    title = watched(problem) + better_note(problem)
    y = alt.Y("median:Q", title=title, scale=alt.Scale(), axis=axis(text))
    positive = "datum.x > least"
    base = (
        alt.Chart(alt.NamedData("bands"))
        .transform_filter(f"datum.kind === '{kind}'")
        .transform_filter(positive)
    )
    band = (
        base.transform_filter("show === 'bands'")
        .mark_area(clip=True)
        .encode(
            x=x,
            y=alt.Y("low:Q", title=title),
            y2="high:Q",
            color=color(results),
            opacity=opacity(0.16, faded=0.03),
        )
    )
    singles = (
        alt.Chart(alt.NamedData("singles"))
        .transform_filter("show === 'runs'")
        .transform_calculate(x=f"datum.{kind}")
        .transform_filter(positive)
        .mark_line(strokeWidth=1, clip=True)
        .encode(
            x=x,
            y=alt.Y("value:Q", title=title),
            detail="replicate:N",
            color=color(results),
            opacity=opacity(0.4, faded=0.05),
        )
    )
    line = base.mark_line(strokeWidth=2.25, clip=True).encode(
        x=x, y=y, color=color(results), strokeDash=dash(results), opacity=opacity()
    )
    near = alt.selection_point(name="near", on="pointerover", clear="pointerout", empty=False)
    points = (
        base.transform_filter("isValid(datum.median)")
        .transform_calculate(
            text=field_of(text, "median"),
            middle=f"{field_of(text, 'low')} + ' to ' + {field_of(text, 'high')}",
            paid=field_of(cost_text("datum.value", kind), "x"),
        )
        .mark_point(filled=True, size=140, clip=True)
        .encode(
            x=x,
            y=y,
            color=color(results),
            opacity=alt.when(near).then(alt.value(0.7)).otherwise(alt.value(0)),
            tooltip=[
                alt.Tooltip("contender:N"),
                alt.Tooltip("paid:N", title=COSTS[kind]),
                alt.Tooltip("text:N", title="median"),
                alt.Tooltip("middle:N", title="middle half"),
            ],
        )
        .add_params(near)
    )
    layers: list[alt.Chart] = [band, singles, line, points]
    if math.isfinite(analysis.target):
        target = alt.Chart(alt.InlineData(values=[{"target": analysis.target, "x": 0}]))
        layers.append(
            target.mark_rule(style="quiet", strokeDash=[4, 3], opacity=0.7, clip=True).encode(
                y="target:Q"
            )
        )
        layers.append(
            target.mark_text(
                align="left",
                # On the side from which the curves come there is room.
                baseline="top" if problem.better == "higher" else "bottom",
                dx=4,
                dy=4 if problem.better == "higher" else -4,
                text=f"target {wording.quality(analysis.target, problem)}",
                clip=True,
            ).encode(x=alt.value(0), y="target:Q")
        )
    least = alt.param(name="least", value=-1)
    show = alt.param(name="show", value="bands")
    zoom = alt.selection_interval(
        name="zoom",
        bind="scales",
        # The page scrolls by wheel and by touch; only what is meant for the chart reaches it.
        translate="[pointerdown[event.pointerType === 'mouse'], window:pointerup] "
        "> window:pointermove!",
        zoom="wheel![event.ctrlKey]",
    )
    layers[2] = line.add_params(zoom)
    return specification(results, alt.layer(*layers).add_params(show, least), height=340)


def _ends(rows: Rows, kind: str) -> list[float]:
    """List where the curves of the contenders end."""
    ends: dict[str, float] = {}
    for row in rows:
        if row["kind"] == kind:
            ends[row["contender"]] = max(row["x"], ends.get(row["contender"], 0.0))
    return list(ends.values())


def _worst(values: Iterable[float | None], problem: ProblemFacts) -> float:
    known = [value for value in values if value is not None]
    return (min if problem.better == "higher" else max)(known, default=0.0)


def _thin(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep the ends and evenly many between."""
    if values.size <= MAX_POINTS:
        return values
    kept: NDArray[np.float64] = values[
        np.unique(np.linspace(0, values.size - 1, MAX_POINTS).round().astype(int))
    ]
    return kept
