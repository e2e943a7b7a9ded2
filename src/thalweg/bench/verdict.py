"""The verdict in words, with its uncertainty."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from thalweg.bench.results import Lane, ProblemFacts
from thalweg.bench.statistics import Effect

if TYPE_CHECKING:
    from thalweg.bench.analysis import Standing

_GROUPS = {
    "better": "better than {baseline}",
    "worse": "worse than {baseline}",
    "equivalent": "equivalent to {baseline}",
    "undecided": "no difference from {baseline} found",
}


def describe(
    baseline: str,
    problem: ProblemFacts,
    target: float,
    standings: "Mapping[Lane, Sequence[Standing]]",
) -> Iterator[str]:
    """Yield the headline and then a sentence for each contender but the baseline.

    Args:
        baseline: What the contenders are compared with.
        problem: What was solved.
        target: Value of the watched metric that counts as reached.
        standings: By lane; the tuned lane decides where there is one.
    """
    lane: Lane = "tuned" if "tuned" in standings else "defaults"
    row = standings.get(lane, ())
    others = [standing for standing in row if standing.effect is not None]
    reference = next((standing for standing in row if standing.contender == baseline), None)
    how = "tuned alike" if lane == "tuned" else "with default hyperparameters"
    if reference is None:
        yield f"On {problem.name} no final run of {baseline}, the baseline, has been made yet."
        return
    value = show(reference.median, problem)
    if not others:
        yield f"On {problem.name}, {how}, {baseline} ends at {value} {problem.metric} (median)."
        return
    groups = [
        f"{phrase.format(baseline=baseline)}: {', '.join(names)}"
        for verdict, phrase in _GROUPS.items()
        if (
            names := [
                standing.contender
                for standing in others
                if standing.effect is not None and standing.effect.verdict == verdict
            ]
        )
    ]
    yield (
        f"On {problem.name}, {how}, in final {problem.metric} ({baseline}: {value}): "
        f"{'; '.join(groups)}."
    )
    for standing in others:
        assert standing.effect is not None
        yield (
            f"{standing.contender} {_pace(standing, reference, problem, target)}; "
            f"{_quality(standing.effect, problem)}."
        )


def show(value: float, problem: ProblemFacts) -> str:
    """Write a value of the problem's metric."""
    if not math.isfinite(value):
        return "failed"
    return f"{100 * value:.1f} %" if problem.percent else f"{value:.4g}"


def show_difference(value: float, problem: ProblemFacts) -> str:
    """Write a difference of two values of the problem's metric."""
    if not math.isfinite(value):
        return "beyond measure"
    return f"{100 * value:.1f}" if problem.percent else f"{value:.3g}"


def _pace(standing: "Standing", reference: "Standing", problem: ProblemFacts, target: float) -> str:
    own, other = standing.to_target["steps"], reference.to_target["steps"]
    goal = show(target, problem)
    if 2 * min(own.reached, other.reached) < own.n:
        return (
            f"reaches {goal} in {own.reached} of {own.n} runs, {reference.contender} in "
            f"{other.reached} of {other.n}"
        )
    parts = []
    for cost in ("steps", "seconds"):
        ratio = standing.ratios[cost]
        parts.append(f"{ratio.ratio:.2g}x the {cost} ({ratio.low:.2g} to {ratio.high:.2g})")
    missed = f" (in {own.reached} of {own.n} runs)" if own.reached < own.n else ""
    return f"reaches {goal}{missed} in {parts[0]} and {parts[1]} of {reference.contender}"


def _quality(effect: Effect, problem: ProblemFacts) -> str:
    unit = " points" if problem.percent else ""
    size = (
        f"difference {show_difference(effect.difference, problem)}{unit}, 95 % interval "
        f"{show_difference(effect.low, problem)} to {show_difference(effect.high, problem)}"
    )
    if effect.verdict in ("better", "worse"):
        return (
            f"its final {problem.metric} is {effect.verdict} "
            f"({size}, p = {effect.adjusted_p_value:.2g} after Holm's correction)"
        )
    if effect.verdict == "equivalent":
        margin = show_difference(problem.margin, problem)
        return f"its final {problem.metric} is equivalent within {margin}{unit} ({size})"
    power = (
        f"; one of {show_difference(effect.detectable, problem)}{unit} would have been found with "
        "80 % probability"
        if math.isfinite(effect.detectable)
        else ""
    )
    return f"in final {problem.metric} no difference was found ({size}{power})"
