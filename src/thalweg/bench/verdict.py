"""The verdict in words, with its uncertainty."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from thalweg.bench import wording
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
    for sentence in _sentences(baseline, problem, target, standings):
        yield sentence.replace(wording.NBSP, " ")


def _sentences(
    baseline: str,
    problem: ProblemFacts,
    target: float,
    standings: "Mapping[Lane, Sequence[Standing]]",
) -> Iterator[str]:
    lane: Lane = "tuned" if "tuned" in standings else "defaults"
    row = standings.get(lane, ())
    others = [standing for standing in row if standing.effect is not None]
    reference = next((standing for standing in row if standing.contender == baseline), None)
    how = "tuned alike" if lane == "tuned" else "with default hyperparameters"
    if reference is None:
        yield f"On {problem.name} no final run of {baseline}, the baseline, has been made yet."
        return
    value = wording.quality(reference.median, problem)
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


def _pace(standing: "Standing", reference: "Standing", problem: ProblemFacts, target: float) -> str:
    own, other = standing.to_target["steps"], reference.to_target["steps"]
    goal = wording.quality(target, problem)
    ratios = [standing.ratios[cost] for cost in ("steps", "seconds")]
    if not all(0 < ratio.ratio < math.inf for ratio in ratios) or not own.reached:
        return (
            f"reaches {goal} in {own.reached} of {own.n} runs, {reference.contender} in "
            f"{other.reached} of {other.n}"
        )
    steps, seconds = map(wording.speed, ratios)
    missed = f" (in {own.reached} of {own.n} runs)" if own.reached < own.n else ""
    return (
        f"reaches {goal}{missed} in {steps} the steps and {seconds} the seconds of "
        f"{reference.contender}"
    )


def _quality(effect: Effect, problem: ProblemFacts) -> str:
    if math.isfinite(effect.low) and math.isfinite(effect.high):
        bounds = f"95 % interval {wording.interval(effect.low, effect.high, problem)}"
    else:
        cause = "where runs failed" if effect.failures else f"with {effect.n} replicates"
        bounds = f"no interval {cause}"
    unit = " points" if problem.percent else ""
    what = f"difference {wording.difference(effect.difference, problem)}{unit}, {bounds}"
    p_value = wording.p_value(effect.adjusted_p_value)
    corrected = f"p {p_value if p_value[0] == '<' else f'= {p_value}'} after Holm's correction"
    if effect.verdict in ("better", "worse"):
        return f"its final {problem.metric} is {effect.verdict} ({what}, {corrected})"
    if effect.verdict == "equivalent":
        margin = wording.size(problem.margin, problem)
        return f"its final {problem.metric} is equivalent within {margin} ({what})"
    if effect.low > 0 or effect.high < 0:
        # The interval is that of one comparison; the verdict allows for all of them.
        return f"in final {problem.metric} a difference is not sure ({what}, {corrected})"
    power = (
        f"; a true one of {wording.size(effect.detectable, problem)} would have been found with "
        "80 % probability"
        if math.isfinite(effect.detectable)
        else ""
    )
    return f"in final {problem.metric} no difference was found ({what}{power})"
