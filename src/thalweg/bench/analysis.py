"""From runs to standings and a verdict."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from thalweg.bench.results import LANES, Lane, ProblemFacts, Results, Run
from thalweg.bench.statistics import (
    Effect,
    PerformanceProfile,
    SpeedRatio,
    TimeToTarget,
    compare,
    performance_profile,
    speed_ratio,
    time_to_target,
)
from thalweg.bench.verdict import describe
from thalweg.core.problem import Better
from thalweg.core.trace import COSTS, Outcome, Trace

if TYPE_CHECKING:
    import pandas as pd

COSTS_TO_TARGET = ("steps", "seconds", "gradients", "functions", "products")


@dataclass(frozen=True)
class Standing:
    """How a contender did on a problem in a lane.

    Args:
        contender: The recipe as written.
        lane: ``tuned`` or ``defaults``.
        finals: The judged metric at the end, by replicate; NaN where the run did not finish.
        median: Of the finals, failed ones ranking worst.
        quartiles: 25 % and 75 % of the finals.
        effect: Against the baseline; ``None`` for the baseline itself or without common runs.
        saving: Where a cost decides, the logarithm of that cost to target against the baseline's;
            ``None`` where neither ever reached the target, so that quality decides.
        to_target: Cost to reach the target, by kind of cost.
        ratios: The same as a ratio to the baseline's.
        cost: Median total of each kind of cost over the replicates that finished.
        outcomes: How many replicates ended how.
        parameters: What the recipe ran with, by ``method.argument``.
    """

    contender: str
    lane: Lane
    finals: tuple[float, ...]
    median: float
    quartiles: tuple[float, float]
    effect: Effect | None
    saving: Effect | None
    to_target: Mapping[str, TimeToTarget]
    ratios: Mapping[str, SpeedRatio]
    cost: Mapping[str, float]
    outcomes: Mapping[Outcome, int]
    parameters: Mapping[str, object]

    @property
    def deciding(self) -> Effect | None:
        """The effect that gives the verdict."""
        return self.effect if self.saving is None else self.saving


@dataclass(frozen=True)
class ProblemAnalysis:
    """The standings on a problem.

    Args:
        problem: The problem.
        target: Value of the watched metric that counts as reached.
        target_origin: ``given``, or how it was fixed.
        costs: Kinds of cost to compare by: steps, seconds, and what else all contenders spend.
        standings: By lane, in the order of the contenders.
        sentences: The verdict, one sentence a contender, the headline first.
        warnings: What limits the verdict.
    """

    problem: ProblemFacts
    target: float
    target_origin: str
    costs: tuple[str, ...]
    standings: Mapping[Lane, tuple[Standing, ...]]
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Analysis:
    """The whole race.

    Args:
        problems: One analysis a problem.
        profiles: With several problems, by kind of cost and contender: the share of problems on
            which the target is reached within tau times the cheapest contender's cost.
    """

    problems: tuple[ProblemAnalysis, ...]
    profiles: Mapping[str, Mapping[str, PerformanceProfile]]

    @property
    def verdict(self) -> str:
        """All sentences, a paragraph per problem."""
        return "\n\n".join("\n".join(problem.sentences) for problem in self.problems)

    def table(self) -> "pd.DataFrame":
        """One row per problem, lane and contender."""
        import pandas as pd

        return pd.DataFrame(
            [
                _row(problem, standing)
                for problem in self.problems
                for lane in LANES
                for standing in problem.standings.get(lane, ())
            ]
        )


def analyse(results: Results) -> Analysis:
    """Compute standings and verdict of a race."""
    problems = tuple(_analyse(results, problem) for problem in results.problems)
    return Analysis(problems, _profiles(results, problems) if len(problems) > 1 else {})


def _analyse(results: Results, problem: ProblemFacts) -> ProblemAnalysis:
    runs = {
        lane: {
            contender: found
            for contender in results.contenders
            if (found := results.entries(problem.name, contender, lane))
        }
        for lane in LANES
        if any((run.problem, run.lane) == (problem.name, lane) for run in results.runs)
    }
    target, origin = _target(results, problem, runs)
    costs = _costs([found for row in runs.values() for found in row.values()])
    standings: dict[Lane, tuple[Standing, ...]] = {
        lane: _standings(results.baseline, problem, lane, found, target, costs)
        for lane, found in runs.items()
    }
    return ProblemAnalysis(
        problem=problem,
        target=target,
        target_origin=origin,
        costs=costs,
        standings=standings,
        sentences=tuple(describe(results.baseline, problem, target, standings)),
        warnings=tuple(_warnings(problem, standings)),
    )


def _target(
    results: Results, problem: ProblemFacts, runs: Mapping[Lane, Mapping[str, Sequence[Run]]]
) -> tuple[float, str]:
    if problem.target is not None:
        return problem.target, "given"
    for lane, origin in (("tuned", "the tuned baseline"), ("defaults", "the baseline")):
        found = runs.get(lane, {}).get(results.baseline, ())  # type: ignore[call-overload]
        finals = [run.trace.final(problem.progress) for run in found]
        if finals:
            return _median(finals, problem), f"median final value of {origin}"
    return math.nan, "not known yet"


def _costs(rows: Sequence[Sequence[Run]]) -> tuple[str, ...]:
    """List what all contenders spend, of those that took a step."""
    spent = [[run.trace.points[-1].cost for run in found if run.trace.points] for found in rows]
    started = [costs for costs in spent if any(cost.steps for cost in costs)]
    return tuple(
        kind
        for kind in COSTS_TO_TARGET
        if kind in ("steps", "seconds")
        or (started and all(any(getattr(cost, kind) for cost in costs) for costs in started))
    )


def _standings(
    baseline: str,
    problem: ProblemFacts,
    lane: Lane,
    runs: Mapping[str, Sequence[Run]],
    target: float,
    costs: Sequence[str],
) -> tuple[Standing, ...]:
    times = {
        contender: {
            cost: {run.number: _cost_to_target(run, problem, target, cost) for run in found}
            for cost in costs
        }
        for contender, found in runs.items()
    }
    # A miss is censored at the most that any run of the lane has spent.
    limits = {
        cost: max(
            [
                float(getattr(run.trace.points[-1].cost, cost))
                for found in runs.values()
                for run in found
                if run.trace.points
            ],
            default=1.0,
        )
        or 1.0
        for cost in costs
    }
    finals = {
        contender: {run.number: run.trace.final(problem.judged) for run in found}
        for contender, found in runs.items()
    }
    effects = _effects(baseline, finals, better=problem.better, margin=problem.margin)
    savings = _savings(baseline, problem, times)
    standings = []
    for contender, found in runs.items():
        values = tuple(finals[contender].values())
        finished = [run.trace.points[-1].cost for run in found if run.trace.outcome == "finished"]
        standings.append(
            Standing(
                contender=contender,
                lane=lane,
                finals=values,
                median=_median(values, problem),
                quartiles=_quartiles(values, problem),
                effect=effects.get(contender),
                saving=savings.get(contender),
                to_target={
                    cost: time_to_target(list(paid.values()), limits[cost])
                    for cost, paid in times[contender].items()
                },
                ratios=(
                    _ratios(times[baseline], times[contender])
                    if contender != baseline and baseline in times
                    else {}
                ),
                cost={
                    cost: float(np.median([getattr(spent, cost) for spent in finished]))
                    for cost in COSTS
                    if finished
                },
                outcomes=Counter(run.trace.outcome for run in found),
                parameters=found[0].parameters,
            )
        )
    return tuple(standings)


def _effects(
    baseline: str, values: Mapping[str, Mapping[int, float]], *, better: Better, margin: float
) -> dict[str, Effect]:
    """Compare on the replicates that every contender has."""
    if baseline not in values or len(values) < 2:
        return {}
    common = sorted(set.intersection(*(set(row) for row in values.values())))
    if not common:
        return {}
    paired = {name: [row[number] for number in common] for name, row in values.items()}
    return compare(paired.pop(baseline), paired, better=better, margin=margin)


def _savings(
    baseline: str, problem: ProblemFacts, times: Mapping[str, Mapping[str, Mapping[int, float]]]
) -> dict[str, Effect]:
    """Compare what it cost to reach the target, where that decides and anybody paid it."""
    paid = {contender: costs.get(problem.decides, {}) for contender, costs in times.items()}
    if not all(value > 0 for row in paid.values() for value in row.values()):
        return {}
    logs = {name: {i: math.log(value) for i, value in row.items()} for name, row in paid.items()}
    effects = _effects(baseline, logs, better="lower", margin=0.0)
    reached = {name for name, row in paid.items() if any(map(math.isfinite, row.values()))}
    return {name: item for name, item in effects.items() if reached & {name, baseline}}


def _ratios(
    baseline: Mapping[str, Mapping[int, float]], contender: Mapping[str, Mapping[int, float]]
) -> dict[str, SpeedRatio]:
    ratios = {}
    for cost in baseline:
        common = sorted(set(baseline[cost]) & set(contender[cost]))
        pairs = [(baseline[cost][number], contender[cost][number]) for number in common]
        # What was not spent has no ratio.
        if pairs and all(min(pair) > 0 for pair in pairs):
            ratios[cost] = speed_ratio([own for own, _ in pairs], [other for _, other in pairs])
    return ratios


def _cost_to_target(run: Run, problem: ProblemFacts, target: float, cost: str) -> float:
    started = Trace(tuple(point for point in run.trace.points if point.cost.steps > 0))
    return started.cost_to_reach(problem.progress, target, better=problem.better, cost=cost)


def _profiles(
    results: Results, problems: Sequence[ProblemAnalysis]
) -> dict[str, dict[str, PerformanceProfile]]:
    lane: Lane = (
        "tuned" if all("tuned" in problem.standings for problem in problems) else "defaults"
    )
    shared = [
        cost for cost in COSTS_TO_TARGET if all(cost in problem.costs for problem in problems)
    ]
    paid: dict[str, dict[str, list[float]]] = {
        cost: {contender: [] for contender in results.contenders} for cost in shared
    }
    for problem in problems:
        known = {standing.contender: standing for standing in problem.standings.get(lane, ())}
        for cost, row in paid.items():
            for contender, values in row.items():
                found = known.get(contender)
                values.append(found.to_target[cost].median if found else math.inf)
    return {
        cost: performance_profile(row)
        for cost, row in paid.items()
        if all(value > 0 for values in row.values() for value in values)
    }


def _warnings(problem: ProblemFacts, standings: Mapping[Lane, Sequence[Standing]]) -> Iterator[str]:
    for lane, row in standings.items():
        for standing in row:
            for outcome in ("failed", "out of memory", "diverged"):
                if count := standing.outcomes.get(outcome, 0):
                    yield (
                        f"{count} of {len(standing.finals)} runs of {standing.contender} "
                        f"({lane}) on {problem.name} ended with: {outcome}; they rank worst."
                    )


def _median(values: Sequence[float], problem: ProblemFacts) -> float:
    return _quantile(values, 0.5, problem)


def _quartiles(values: Sequence[float], problem: ProblemFacts) -> tuple[float, float]:
    return _quantile(values, 0.25, problem), _quantile(values, 0.75, problem)


def _quantile(values: Sequence[float], share: float, problem: ProblemFacts) -> float:
    worst = -math.inf if problem.better == "higher" else math.inf
    ranked = [worst if math.isnan(value) else value for value in values]
    # Between a number and an infinity nothing can be interpolated.
    method = "linear" if np.all(np.isfinite(ranked)) else "inverted_cdf"
    return float(np.quantile(ranked, share, method=method))  # type: ignore[call-overload]


def _row(problem: ProblemAnalysis, standing: Standing) -> dict[str, object]:
    effect, deciding = standing.effect, standing.deciding
    return {
        "problem": problem.problem.name,
        "lane": standing.lane,
        "contender": standing.contender,
        "metric": problem.problem.judged,
        "median": standing.median,
        "q25": standing.quartiles[0],
        "q75": standing.quartiles[1],
        "difference": effect.difference if effect else math.nan,
        "low": effect.low if effect else math.nan,
        "high": effect.high if effect else math.nan,
        "p": effect.p_value if effect else math.nan,
        "adjusted p": effect.adjusted_p_value if effect else math.nan,
        "verdict": deciding.verdict if deciding else "baseline",
        "decided by": problem.problem.decides if standing.saving else "quality" if effect else "",
        "reached": standing.to_target["steps"].reached,
        "runs": len(standing.finals),
        **{f"{cost} to target": time.median for cost, time in standing.to_target.items()},
        **{f"{cost} ratio": ratio.ratio for cost, ratio in standing.ratios.items()},
        "seconds": standing.cost.get("seconds", math.nan),
        "memory": standing.cost.get("memory", math.nan),
        "parameters": dict(standing.parameters),
    }
