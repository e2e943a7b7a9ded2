"""A claim: what a paper says, made into a measurement that can come out otherwise."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from thalweg.core.problem import Problem

Size = Literal["smoke", "full"]
Verdict = Literal["reproduced", "partly", "not reproduced"]


@dataclass(frozen=True)
class Number:
    """A measured figure beside the paper's.

    Args:
        what: What was measured, with its unit.
        ours: As measured.
        interval: At 95 %, where there is one.
        paper: The paper's figure, as printed there; empty where it gives none.
    """

    what: str
    ours: float
    interval: tuple[float, float] | None = None
    paper: str = ""


@dataclass(frozen=True)
class Finding:
    """How a claim came out.

    Args:
        verdict: As measured.
        sentence: What came out, in words; where the claim does not hold, by how much and why.
        numbers: The figures behind it.
    """

    verdict: Verdict
    sentence: str
    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class Effort:
    """How much is spent on a claim.

    Args:
        seeds: Paired replicates.
        trials: Tuning runs of each contender, the baseline included.
        steps: Length of a run; the problem's own if not given.
    """

    seeds: int
    trials: int = 0
    steps: int | None = None


@dataclass(frozen=True)
class RaceClaim:
    """A claim that one method beats, or equals, another.

    Args:
        name: In kebab-case, one of its kind in the paper.
        statement: What the paper says, scaled to what is measured here.
        problems: Names of embedded problems, or functions that build one.
        methods: Recipes; the first is the paper's baseline.
        smoke: For the tests: seconds in all.
        full: For the verdict: at most ten minutes on two cores.
        expect: Reads the results of the race; it alone decides the verdict, and a number in it is
            the paper's or a convention of statistics, never tuned.
        scaled: How the measurement is smaller than the paper's, and why it still tells.
    """

    name: str
    statement: str
    problems: Sequence[str | Callable[[], Problem]]
    methods: Sequence[str]
    smoke: Effort
    full: Effort
    expect: Callable[[Any], Finding]
    scaled: str = ""


@dataclass(frozen=True)
class MeasurementClaim:
    """A claim that is no race: a property, a ratio of costs, a correlation.

    Args:
        name: In kebab-case, one of its kind in the paper.
        statement: What the paper says, scaled to what is measured here.
        measure: Called with a seed and the size; returns named figures of one replicate.
        smoke: For the tests: seconds in all.
        full: For the verdict: at most ten minutes on two cores.
        expect: Reads the figures of all replicates; as in :class:`RaceClaim`.
        scaled: How the measurement is smaller than the paper's, and why it still tells.
    """

    name: str
    statement: str
    measure: Callable[[int, Size], Mapping[str, float]]
    smoke: Effort
    full: Effort
    expect: Callable[[Sequence[Mapping[str, float]]], Finding]
    scaled: str = ""


Claim = RaceClaim | MeasurementClaim
