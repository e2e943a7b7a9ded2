"""The charts of a race."""

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import altair as alt
import numpy as np

from thalweg.bench import wording
from thalweg.bench.analysis import ProblemAnalysis, Standing
from thalweg.bench.results import ProblemFacts, Results, Run
from thalweg.bench.statistics import best_so_far
from thalweg.core.trace import Trace
from thalweg.report.curves import learning_curves
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
    difference_text,
    edge_label,
    field_of,
    judged,
    measured_kinds,
    miss_shape,
    opacity,
    padded,
    placed,
    quality_domains,
    quality_text,
    rescaled,
    row_axis,
    row_heights,
    scale_type,
    significant,
    specification,
    tooltips,
    watched,
    x_scales,
)

MISSED = 1.2  # where the target chart puts a miss, in units of the largest cost


def problem_charts(results: Results, analysis: ProblemAnalysis) -> list[Chart]:
    """Build the charts of a problem, leaving out those without anything to show.

    Args:
        results: The race.
        analysis: The standings on the problem.

    Returns:
        The charts in reading order.
    """
    builders = [learning_curves, differences, finals, time_to_target, pareto, tuning_curves]
    if analysis.problem.decides != "quality":
        builders.sort(key=lambda build: build not in (learning_curves, time_to_target))
    charts = (build(results, analysis) for build in builders)
    return [chart for chart in charts if any(_all_rows(chart))]


def cost_to_target(run: Run, analysis: ProblemAnalysis, kind: str) -> float:
    """Return what a run paid to meet the target after its first step; infinity where it missed."""
    begun = Trace(tuple(point for point in run.trace.points if point.cost.steps > 0))
    problem = analysis.problem
    return begun.cost_to_reach(problem.progress, analysis.target, better=problem.better, cost=kind)


def differences(results: Results, analysis: ProblemAnalysis) -> Chart:
    """Show each contender's difference to the baseline with its interval and the margin."""
    problem = analysis.problem
    data: dict[str, Rows] = {}
    for lane, standings in analysis.standings.items():
        data[lane] = [
            _effect_row(results, problem, standing)
            for standing in standings
            if standing.effect is not None
        ]
    rows = list(itertools.chain(*data.values()))
    finite = [row[key] for row in rows for key in ("difference", "low", "high")]
    finite = [value for value in finite if math.isfinite(value)] + [-problem.margin, problem.margin]
    low, high = padded(min(finite), max(finite), 0.08)
    for row in rows:
        for key in ("difference", "low", "high"):
            row[key] = min(max(row[key], low), high)
    unit = " (points)" if problem.percent else ""
    direction = "better →" if problem.better == "higher" else "← better"
    position = alt.X(
        "difference:Q",
        title=f"difference{unit}, {direction}",
        scale=alt.Scale(domain=[low, high], nice=False),
        axis=axis(difference_text("datum.value", problem)),
    )
    base = alt.Chart(alt.NamedData("effects")).encode(y=row_axis())
    margin = (
        alt.Chart(alt.InlineData(values=[{"low": -problem.margin, "high": problem.margin}]))
        .mark_rect(style="band", opacity=0.1)
        .encode(x="low:Q", x2="high:Q")
    )
    zero = (
        alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(style="quiet").encode(x="zero:Q")
    )
    bars = base.mark_rule(strokeWidth=3, strokeCap="round").encode(
        x=alt.X("low:Q"), x2="high:Q", color=color(results), opacity=opacity(0.75)
    )
    points = base.mark_point(filled=True, size=110).encode(
        x=position, color=color(results), opacity=opacity(), tooltip=tooltips("text", "verdict")
    )
    return Chart(
        name="differences",
        title=f"Difference from {results.baseline} at the end",
        note=(
            "Point: the typical paired difference. Bar: its 95 % interval. Shaded: differences "
            "too small to matter, within the margin fixed beforehand."
        ),
        variants={
            "": specification(
                results, margin + zero + bars + points, height=row_heights(results.contenders[1:])
            )
        },
        data={"effects": data},
    )


def finals(results: Results, analysis: ProblemAnalysis) -> Chart:
    """Show the judged value of every replicate, lines joining those with the same seed."""
    problem = analysis.problem
    data: dict[str, Rows] = {}
    medians: dict[str, Rows] = {}
    for lane, standings in analysis.standings.items():
        data[lane] = [
            {
                **placed(results, standing.contender),
                "replicate": run.number,
                "value": run.trace.final(problem.judged),
                "outcome": run.trace.outcome,
            }
            for standing in standings
            for run in results.entries(problem.name, standing.contender, lane)
        ]
        medians[lane] = [
            {**placed(results, standing.contender), "median": standing.median}
            for standing in standings
            if math.isfinite(standing.median)
        ]
    rows = list(itertools.chain(*data.values()))
    values = [row["value"] for row in rows if math.isfinite(row["value"])] or [0.0]
    any_failed = len(values) < len(rows)
    scale = scale_type(values)
    forth, back = (math.log10, _power_of_ten) if scale == "log" else (float, float)
    low, high = padded(forth(min(values)), forth(max(values)), 0.05)
    room = 0.12 * (high - low)
    if not any_failed:
        slot, domain, hidden = math.nan, [back(low), back(high)], "false"
    elif problem.better == "higher":
        slot, domain = back(low - room), [back(low - 1.2 * room), back(high)]
        hidden = f"datum.value < {back(low)}"
    else:
        slot, domain = back(high + room), [back(low), back(high + 1.2 * room)]
        hidden = f"datum.value > {back(high)}"
    for row in rows:
        row["failed"] = not math.isfinite(row["value"])
        row["value"] = slot if row["failed"] else row["value"]
    text = quality_text("datum.value", problem)
    position = alt.X(
        "value:Q",
        title=judged(problem) + better_note(problem),
        scale=alt.Scale(nice=False, zero=False),
        axis=axis(f"{hidden} ? '' : {text}", overlap=True),
    )
    pair = alt.selection_point(
        name="pair", fields=["replicate"], on="pointerover", clear="pointerout", empty=False
    )
    base = alt.Chart(alt.NamedData("finals")).encode(y=row_axis())
    lines = base.mark_line(style="quiet", strokeWidth=1).encode(
        x=position,
        detail="replicate:N",
        order="order:Q",
        opacity=alt.when(pair).then(alt.value(0.9)).otherwise(alt.value(0.13)),
    )
    ticks = (
        alt.Chart(alt.NamedData("medians"))
        .mark_tick(thickness=3, size=24)
        .encode(y=row_axis(), x="median:Q", color=color(results), opacity=opacity())
    )
    points = (
        base.transform_calculate(text=f"datum.failed ? datum.outcome : {field_of(text, 'value')}")
        .mark_point(filled=True, size=46)
        .encode(
            x=position,
            color=color(results),
            shape=miss_shape("failed"),
            opacity=opacity(0.8),
            tooltip=tooltips("text", "replicate"),
        )
        .add_params(pair)
    )
    layers: list[alt.Chart] = [lines, points, ticks]
    if any_failed:
        layers.append(edge_label("value", slot, "failed"))
    spec = specification(results, alt.layer(*layers), height=row_heights(results.contenders))
    return Chart(
        name="finals",
        title=f"{capital(judged(problem))} of every replicate",
        note=(
            "Each dot is a replicate, the stroke their median. A line joins the runs that shared "
            "a seed, and with it their start; hover a dot to follow its line."
        ),
        variants={"": rescaled(spec, {"x": {"type": scale, "domain": domain}})},
        data={"finals": data, "medians": medians},
    )


def time_to_target(results: Results, analysis: ProblemAnalysis) -> Chart:
    """Show what every replicate paid to reach the target, misses included."""
    problem = analysis.problem
    data: dict[str, Rows] = {}
    medians: dict[str, Rows] = {}
    kinds = analysis.costs
    spent: dict[str, list[float]] = {kind: [] for kind in kinds}
    for lane, standings in analysis.standings.items():
        data[lane] = []
        medians[lane] = []
        for standing in standings:
            place = placed(results, standing.contender)
            runs = results.entries(problem.name, standing.contender, lane)
            for kind in kinds:
                summary = standing.to_target[kind]
                reached = f"{summary.reached} of {summary.n}"
                if 0 < summary.median < math.inf:
                    row = {"kind": kind, "median": summary.median, "reached": reached}
                    medians[lane].append(place | row)
                for i, run in enumerate(runs):
                    paid = cost_to_target(run, analysis, kind)
                    if run.trace.points:
                        spent[kind].append(getattr(run.trace.points[-1].cost, kind))
                    if not paid > 0:
                        continue
                    data[lane].append(
                        {
                            **place,
                            "kind": kind,
                            "replicate": run.number,
                            "reached": reached,
                            "missed": not math.isfinite(paid),
                            "x": paid,
                            # Replicates that agree would hide one another.
                            "nudge": (i + 0.5) / len(runs),
                        }
                    )
    rows = list(itertools.chain(*data.values()))
    edges = {}
    for kind in kinds:
        of_kind = [row for row in rows if row["kind"] == kind]
        first = min((row["x"] for row in of_kind if not row["missed"]), default=1.0)
        edges[kind] = (max(spent[kind], default=1.0) or 1.0, first)
        for row in of_kind:
            row["x"] = MISSED * edges[kind][0] if row["missed"] else row["x"]
    shown = measured_kinds(rows, analysis) or ["steps"]
    scales = x_scales(row["x"] for row in rows if row["kind"] == shown[0])
    any_missed = any(row["missed"] for row in rows)
    return Chart(
        name="target",
        title=(
            f"Cost to reach {wording.quality(analysis.target, problem)}"
            if math.isfinite(analysis.target)
            else "Cost to reach the target"
        ),
        note=(
            "Each dot is a replicate, the stroke the cost by which half of them had reached the "
            "target. Crosses at the right edge never reached it; they are counted, not dropped."
        ),
        variants={
            f"{kind}/{scale}": rescaled(spec, {"x": {"type": scale, "domain": domain}})
            for kind in shown
            for spec in [_target_spec(results, kind, edges[kind][0], any_missed)]
            for last in [edges[kind][0] * (MISSED + 0.08 if any_missed else 1)]
            for scale, _ in scales
            for domain in [[0 if scale == "linear" else 0.9 * edges[kind][1], last]]
        },
        data={"times": data, "medians": medians},
        switches=(
            Switch("cost", "Against", choices(shown)),
            Switch("x", "x axis", scales),
        ),
    )


def pareto(results: Results, analysis: ProblemAnalysis) -> Chart:
    """Show the quality at the end against what the whole run cost."""
    problem = analysis.problem
    data: dict[str, Rows] = {}
    for lane, standings in analysis.standings.items():
        data[lane] = [
            row for standing in standings for row in _pareto_rows(results, analysis, standing, lane)
        ]
    rows = list(itertools.chain(*data.values()))
    kinds = [kind for kind in _totals(analysis) if _varies(rows, kind)] or ["seconds"]
    scales = x_scales(row["x"] for row in rows if row["kind"] == kinds[0])
    medians = [row["y"] for row in rows]
    quality_scale: dict[str, Any] = {"type": scale_type(medians)}
    if quality_scale["type"] == "log":
        quality_scale["domain"] = [min(medians) / 2, max(medians) * 2]
    return Chart(
        name="pareto",
        title="Quality against cost",
        note=(
            "Medians with their middle halves. Nothing lies beyond the stepped line: whoever is "
            "on it has no rival both better and cheaper. Contenders whose typical run fails have "
            "no point."
        ),
        variants={
            f"{kind}/{scale}": rescaled(spec, {"x": {"type": scale}, "y": quality_scale})
            for kind in kinds
            for spec in [_pareto_spec(results, problem, kind)]
            for scale, _ in scales
        },
        data={"trades": data},
        switches=(
            Switch("cost", "Against", choices(kinds)),
            Switch("x", "x axis", scales),
        ),
    )


def tuning_curves(results: Results, analysis: ProblemAnalysis) -> Chart:
    """Show the best value found after each trial of tuning."""
    problem = analysis.problem
    rows: Rows = []
    for contender in results.contenders:
        trials = results.select(problem.name, contender, "tuning")
        values = [run.trace.final(problem.progress) for run in trials]
        if not trials:
            continue
        for run, value, best in zip(
            trials, values, best_so_far(values, problem.better), strict=True
        ):
            rows.append(
                {
                    "contender": contender,
                    "trial": run.number + 1,
                    "value": value if math.isfinite(value) else None,
                    "best": float(best) if math.isfinite(best) else None,
                }
            )
    domains = quality_domains(
        {"low": row["value"], "high": row["best"], "late": row["value"] == row["best"]}
        for row in rows
    )
    text = quality_text("datum.value", problem)
    x = alt.X(
        "trial:Q",
        title="trials of tuning",
        scale=alt.Scale(zero=False, nice=False, padding=6),
        axis=alt.Axis(grid=False, format="d", values=_ticks(rows)),
    )
    title = f"best {watched(problem)} so far"
    y = alt.Y("best:Q", title=title, scale=alt.Scale(), axis=axis(text))
    base = alt.Chart(alt.NamedData("trials"))
    line = base.mark_line(interpolate="step-after", strokeWidth=2, clip=True).encode(
        x=x, y=y, color=color(results), strokeDash=dash(results), opacity=opacity()
    )
    points = (
        base.transform_calculate(text=field_of(text, "value"))
        .mark_point(size=32, strokeWidth=1.4, clip=True)
        .encode(
            x=x,
            y=alt.Y("value:Q", title=title),
            color=color(results),
            opacity=opacity(0.6),
            tooltip=tooltips("text", "trial"),
        )
    )
    spec = specification(results, line + points, height=260)
    return Chart(
        name="tuning",
        title="What tuning found",
        note=(
            "Line: the best value after so many trials. Rings: the trials themselves; those that "
            "failed have none."
        ),
        variants={name: rescaled(spec, {"y": scale}) for name, scale in domains.items()},
        data={"trials": {"": rows}},
        switches=(Switch("y", "y axis", choices(domains)),),
    )


def profile_chart(results: Results) -> Chart | None:
    """Build the performance profiles of a race over several problems.

    Args:
        results: The race.

    Returns:
        The chart; ``None`` where there are no profiles.
    """
    rows = [
        {"kind": kind, "contender": contender, "tau": tau, "share": share}
        for kind, profiles in results.analysis.profiles.items()
        for contender, profile in profiles.items()
        for tau, share in zip(profile.tau, profile.share, strict=True)
    ]
    if not rows:
        return None
    kinds = list(results.analysis.profiles)
    return Chart(
        name="profiles",
        title="Performance profiles over the problems",
        note=(
            "How large a share of the problems each contender solves within so many times the "
            "cheapest contender's cost. The higher and the further left, the better."
        ),
        variants={kind: _profile_spec(results, kind) for kind in kinds},
        data={"profiles": {"": rows}},
        switches=(Switch("cost", "Cost in", choices(kinds)),),
        wide=True,
    )


def _effect_row(results: Results, problem: ProblemFacts, standing: Standing) -> dict[str, Any]:
    effect = standing.effect
    assert effect is not None
    sign = 1 if problem.better == "higher" else -1
    missing = -sign * math.inf if math.isnan(effect.difference) else effect.difference
    return {
        **placed(results, standing.contender),
        "difference": missing,
        "low": effect.low,
        "high": effect.high,
        "verdict": effect.verdict,
        "text": (
            f"{wording.difference(effect.difference, problem)} "
            f"({wording.interval(effect.low, effect.high, problem)})"
        ),
    }


def _target_spec(results: Results, kind: str, edge: float, any_missed: bool) -> dict[str, Any]:
    text = cost_text("datum.value", kind)
    position = alt.X(
        "x:Q",
        title=f"{COSTS[kind]} to the target, ← better",
        scale=alt.Scale(nice=False, zero=False),
        axis=axis(f"datum.value > {edge} ? '' : {text}", overlap=True),
    )
    points = (
        alt.Chart(alt.NamedData("times"))
        .transform_filter(f"datum.kind === '{kind}'")
        .transform_calculate(text=f"datum.missed ? 'not reached' : {field_of(text, 'x')}")
        .mark_point(filled=True, size=40)
        .encode(
            x=position,
            y=row_axis(),
            yOffset=alt.YOffset("nudge:Q", sort="ascending", scale=alt.Scale(domain=[0, 1])),
            color=color(results),
            shape=miss_shape("missed"),
            opacity=opacity(0.75),
            tooltip=tooltips("text", "replicate", "reached"),
        )
    )
    ticks = (
        alt.Chart(alt.NamedData("medians"))
        .transform_filter(f"datum.kind === '{kind}'")
        .mark_tick(thickness=3, size=26)
        .encode(x=alt.X("median:Q"), y=row_axis(), color=color(results), opacity=opacity())
    )
    layers: list[alt.Chart] = [points, ticks]
    if any_missed:
        layers.append(edge_label("x", MISSED * edge, "missed"))
    return specification(results, alt.layer(*layers), height=row_heights(results.contenders))


def _pareto_rows(
    results: Results, analysis: ProblemAnalysis, standing: Standing, lane: str
) -> Iterator[dict[str, Any]]:
    if not math.isfinite(standing.median):
        return
    costs = [
        run.trace.points[-1].cost
        for run in results.entries(analysis.problem.name, standing.contender, lane)
        if run.trace.outcome == "finished" and run.trace.points
    ]
    low, high = standing.quartiles
    for kind in _totals(analysis):
        spent = [float(getattr(cost, kind)) for cost in costs]
        if not spent or not max(spent) > 0:
            continue
        first, middle, last = (float(x) for x in np.quantile(spent, (0.25, 0.5, 0.75)))
        yield {
            "contender": standing.contender,
            "kind": kind,
            "x": significant(middle),
            "x1": significant(first),
            "x2": significant(last),
            "y": standing.median,
            "y1": low if math.isfinite(low) else None,
            "y2": high if math.isfinite(high) else None,
        }


def _pareto_spec(results: Results, problem: ProblemFacts, kind: str) -> dict[str, Any]:
    quality = quality_text("datum.value", problem)
    x = alt.X(
        "x:Q",
        title=f"{COSTS[kind]} of a whole run, ← cheaper",
        scale=alt.Scale(zero=False, padding=28),
        axis=axis(cost_text("datum.value", kind), grid=False, overlap=True),
    )
    title = judged(problem) + better_note(problem)
    y = alt.Y(
        "y:Q",
        title=title,
        scale=alt.Scale(zero=False, padding=18),
        axis=axis(quality),
    )
    base = alt.Chart(alt.NamedData("trades")).transform_filter(f"datum.kind === '{kind}'")
    extreme = "max" if problem.better == "higher" else "min"
    frontier = (
        base.transform_window(
            best=f"{extreme}(y)",
            sort=[alt.SortField("x", order="ascending")],
            frame=[None, 0],
        )
        .mark_line(style="quiet", interpolate="step-after", strokeDash=[4, 3], opacity=0.6)
        .encode(x=x, y=alt.Y("best:Q", title=title))
    )
    across = base.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("x1:Q"), x2="x2:Q", y=y, color=color(results), opacity=opacity(0.7)
    )
    up = (
        base.transform_filter("isValid(datum.y1) && isValid(datum.y2)")
        .mark_rule(strokeWidth=1.5)
        .encode(
            x=x,
            y=alt.Y("y1:Q", title=title),
            y2="y2:Q",
            color=color(results),
            opacity=opacity(0.7),
        )
    )
    points = (
        base.transform_calculate(
            text=field_of(quality, "y"), paid=field_of(cost_text("datum.value", kind), "x")
        )
        .mark_point(filled=True, size=120)
        .encode(
            x=x,
            y=y,
            color=color(results),
            opacity=opacity(),
            tooltip=[
                alt.Tooltip("contender:N"),
                alt.Tooltip("text:N", title="median"),
                alt.Tooltip("paid:N", title=COSTS[kind]),
            ],
        )
    )
    return specification(results, alt.layer(frontier, across, up, points), height=300)


def _profile_spec(results: Results, kind: str) -> dict[str, Any]:
    line = (
        alt.Chart(alt.NamedData("profiles"))
        .transform_filter(f"datum.kind === '{kind}'")
        .mark_line(interpolate="step-after", strokeWidth=2.5, point=alt.OverlayMarkDef(size=30))
        .encode(
            x=alt.X(
                "tau:Q",
                title=f"times the fewest {COSTS[kind]} to the target",
                scale=alt.Scale(zero=False, nice=False),
                axis=axis("format(datum.value, '.3~g') + 'x'", grid=False),
            ),
            y=alt.Y(
                "share:Q",
                title="share of the problems",
                scale=alt.Scale(domain=[0, 1]),
                axis=axis("format(100 * datum.value, '.3~g') + ' %'"),
            ),
            color=color(results),
            strokeDash=dash(results),
            opacity=opacity(),
            tooltip=[
                alt.Tooltip("contender:N"),
                alt.Tooltip("share:Q", title="share of the problems", format=".0%"),
                alt.Tooltip("tau:Q", title="within", format=".3~g"),
            ],
        )
    )
    return specification(results, line, height=260)


def _ticks(rows: Rows) -> list[int]:
    last = max((row["trial"] for row in rows), default=1)
    return list(range(1, last + 1, math.ceil(last / 10)))


def _all_rows(chart: Chart) -> Iterable[dict[str, Any]]:
    return (row for sets in chart.data.values() for rows in sets.values() for row in rows)


def _totals(analysis: ProblemAnalysis) -> list[str]:
    """List what a whole run can be weighed by, time first."""
    costs = sorted(analysis.costs, key=lambda kind: (kind != "seconds", kind == "steps"))
    return [*costs, "memory"]


def _varies(rows: Rows, kind: str) -> bool:
    return len({row["x"] for row in rows if row["kind"] == kind}) > 1


def _power_of_ten(exponent: float) -> float:
    return float(10.0**exponent)
