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
_COST_GROUPS = {
    "better": "cheaper than {baseline}",
    "worse": "dearer than {baseline}",
    "equivalent": "as dear as {baseline}",
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
    yield _headline(reference, others, problem, target, how)
    for standing in others:
        assert standing.effect is not None
        yield (
            f"{standing.contender} {_pace(standing, reference, problem, target)}; "
            f"{_quality(standing.effect, problem)}."
        )


def _headline(
    reference: "Standing",
    others: "Sequence[Standing]",
    problem: ProblemFacts,
    target: float,
    how: str,
) -> str:
    baseline = reference.contender
    if not any(standing.saving for standing in others):
        value = wording.quality(reference.median, problem)
        what = f"final {problem.metric} ({baseline}: {value})"
        groups = [
            f"{phrase.format(baseline=baseline)}: {', '.join(names)}"
            for verdict, phrase in _GROUPS.items()
            if (names := [item.contender for item in others if _is(item.effect, verdict)])
        ]
    else:
        kind = problem.decides
        paid = wording.cost(reference.to_target[kind].median, kind)
        what = f"{kind} to reach {wording.quality(target, problem)} ({baseline}: {paid})"
        groups = [
            f"{phrase.format(baseline=baseline)}: {', '.join(names)}"
            for verdict, phrase in _COST_GROUPS.items()
            if (names := [_priced(item, kind) for item in others if _is(item.saving, verdict)])
        ]
        if unpriced := [item.contender for item in others if item.saving is None]:
            groups.append(f"neither they nor {baseline} reach it: {', '.join(unpriced)}")
    return f"On {problem.name}, {how}, in {what}: {'; '.join(groups)}."


def _is(effect: Effect | None, verdict: str) -> bool:
    return effect is not None and effect.verdict == verdict


def _priced(standing: "Standing", kind: str) -> str:
    ratio = standing.ratios.get(kind)
    if ratio is None or not 0 < ratio.ratio < math.inf:
        return standing.contender
    return f"{standing.contender} at {wording.speed(ratio)}"


def _pace(standing: "Standing", reference: "Standing", problem: ProblemFacts, target: float) -> str:
    own, other = standing.to_target["steps"], reference.to_target["steps"]
    goal = wording.quality(target, problem)
    ratios = {
        kind: standing.ratios.get(kind)
        for kind in dict.fromkeys(("steps", "seconds", problem.decides))
        if kind != "quality"
    }
    said = [
        f"{wording.speed(ratio)} the {kind}"
        for kind, ratio in ratios.items()
        if ratio is not None and 0 < ratio.ratio < math.inf
    ]
    if len(said) < len(ratios) or not own.reached:
        pace = (
            f"reaches {goal} in {own.reached} of {own.n} runs, {reference.contender} in "
            f"{other.reached} of {other.n}"
        )
    else:
        missed = f" (in {own.reached} of {own.n} runs)" if own.reached < own.n else ""
        costs = " and ".join([", ".join(said[:-1]), said[-1]])
        pace = f"reaches {goal}{missed} in {costs} of {reference.contender}"
        if other.reached < other.n:
            pace += f", which reaches it in {other.reached} of {other.n} runs"
    if standing.saving is None:
        return pace
    return f"{pace} (in {problem.decides} {_corrected(standing.saving)})"


def _corrected(effect: Effect) -> str:
    p_value = wording.p_value(effect.adjusted_p_value)
    return f"p {p_value if p_value[0] == '<' else f'= {p_value}'} after Holm's correction"


def _quality(effect: Effect, problem: ProblemFacts) -> str:
    if math.isfinite(effect.low) and math.isfinite(effect.high):
        bounds = f"95 % interval {wording.interval(effect.low, effect.high, problem)}"
    else:
        cause = "where runs failed" if effect.failures else f"with {effect.n} replicates"
        bounds = f"no interval {cause}"
    unit = " points" if problem.percent else ""
    what = f"difference {wording.difference(effect.difference, problem)}{unit}, {bounds}"
    corrected = _corrected(effect)
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
