"""Memorization score (2019): labels known only by heart, and what they are worth."""

import contextlib
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from thalweg.core.claim import Effort, MeasurementClaim
from thalweg.core.example import Example
from thalweg.core.instrument import Instrument
from thalweg.core.paper import Paper
from thalweg.diagnostics import Memorization, long_tail_cost, memorization_scores
from thalweg.papers.diagnostics._memorization_reading import passes, read_memorization
from thalweg.papers.diagnostics._memorization_trials import (
    costs_as_predicted,
    finds_wrong_labels,
    long_tail,
    wrong_labels,
)

N, TESTS = 9, 4


def _noisy_neighbour() -> tuple[Callable[[Tensor, int], Tensor], Tensor, Tensor]:
    """Return training by nearest neighbours, which is now and then wrong, and all labels."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(N + TESTS, 2, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (N + TESTS,), generator=generator)

    def train(rows: Tensor, seed: int) -> Tensor:
        nearest = labels[rows][torch.cdist(inputs, inputs[rows]).argmin(1)]
        slips = torch.rand(N + TESTS, generator=torch.Generator().manual_seed(seed)) < 0.2
        predicted: Tensor = (nearest + slips) % 3
        return predicted

    return train, labels[:N], labels[N:]


def estimates_retyped() -> None:
    """Follow scores, Newcombe's intervals and influence for single numbers, from the rounds."""
    train, labels, tests = _noisy_neighbour()
    calls: list[tuple[list[int], list[bool], int]] = []

    def told(rows: Tensor, seed: int) -> Tensor:
        predicted = train(rows, seed)
        calls.append((rows.tolist(), (predicted == torch.cat([labels, tests])).tolist(), seed))
        return predicted

    settings: dict[str, Any] = {"keep": 0.6, "confidence": 0.9, "seed": 5}
    steps: list[tuple[int, int]] = []
    settings["progress"] = lambda *step: steps.append(step)
    found = memorization_scores(told, labels, test_labels=tests, rounds=30, **settings)
    assert len(calls) == 30
    assert steps == [(i, 30) for i in range(1, 31)]
    assert all(rows == sorted(set(rows)) and len(rows) == 5 for rows, *_ in calls)
    assert len({tuple(rows) for rows, *_ in calls}) > 20
    influence = found.influence(torch.tensor([2, 7]))
    for i in range(N):
        ends = []
        for j in (i, *range(N, N + TESTS)):
            sides = []
            for inside in (True, False):
                hits = [right[j] for rows, right, _ in calls if (i in rows) == inside]
                p, n, z = sum(hits) / len(hits), len(hits), 1.6448536269514722
                # The ends solve |p - q| = z sqrt(q (1 - q) / n).
                root = math.sqrt(z * z + 4 * n * p * (1 - p)) * z
                low, high = ((2 * n * p + z * z + s * root) / (2 * (n + z * z)) for s in (-1, 1))
                sides.append((p, low, high))
            ends.append(sides)
        (p, low, high), (q, q_low, q_high) = ends[0]
        assert math.isclose(found.scores[i], p - q, abs_tol=1e-12)
        assert math.isclose(found.low[i], p - q - math.hypot(p - low, q_high - q), abs_tol=1e-12)
        assert math.isclose(found.high[i], p - q + math.hypot(high - p, q - q_low), abs_tol=1e-12)
        for row, sample in zip(influence, (2, 7), strict=True):
            if sample == i:
                expected = [one[0] - other[0] for one, other in ends[1:]]
                torch.testing.assert_close(row, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(found.influence()[7], influence[1])
    assert len({seed for *_, seed in calls}) == 30


def nearest_neighbours_memorize_what_others_do_not_tell() -> None:
    """A sample that is left out gets its nearest neighbour's label; a constant learns nothing."""
    inputs = torch.tensor([0.0, 1.0, 2.1, 3.3, 9.0, 9.5])
    labels = torch.tensor([0, 1, 1, 0, 2, 2])

    def nearest(rows: Tensor, seed: int) -> Tensor:
        return labels[rows][(inputs[:, None] - inputs[rows]).abs().argmin(1)]

    # Of six samples one is left out each time: exact leave-one-out.
    found = memorization_scores(nearest, labels, keep=5 / 6, rounds=60)
    assert found.scores.tolist() == [1, 1, 0, 1, 0, 0]
    assert (found.included.sum(1) == 5).all()
    for keep, kept in ((0.01, 1), (0.3, 2), (0.99, 5)):
        found = memorization_scores(nearest, labels, keep=keep, rounds=60)
        assert (found.included.sum(1) == kept).all()
    constant = memorization_scores(lambda rows, seed: torch.ones_like(labels), labels)
    assert constant.scores.tolist() == [0] * 6
    assert (constant.low < 0).all()
    assert (constant.high > 0).all()


def intervals_cover() -> None:
    """Of the intervals around 4000 known scores nearly the stated share holds them."""
    n = 4000
    generator = torch.Generator().manual_seed(0)
    inside, outside = torch.rand(2, n, generator=generator, dtype=torch.float64)

    def train(rows: Tensor, seed: int) -> Tensor:
        chance = outside.clone()
        chance[rows] = inside[rows]
        drawn = torch.rand(n, generator=torch.Generator().manual_seed(seed))
        return drawn.lt(chance)

    for confidence in (0.95, 0.8):
        found = memorization_scores(
            train, torch.ones(n, dtype=torch.bool), rounds=60, confidence=confidence
        )
        held = (found.low <= inside - outside) & (inside - outside <= found.high)
        assert abs(float(held.double().mean()) - confidence) < 0.02


def resumed_is_as_if_never_stopped() -> None:
    """Crash, go on, ask for more rounds, then for others, which are no longer in the store."""
    train, labels, tests = _noisy_neighbour()
    made: list[int] = []
    store: dict[str, str] = {}

    def failing(rows: Tensor, seed: int) -> Tensor:
        made.append(seed)
        if len(made) == 6:
            raise KeyboardInterrupt
        return train(rows, seed)

    def scores(**settings: Any) -> Memorization:
        given: dict[str, Any] = {"rounds": 12, "store": store} | settings
        return memorization_scores(failing, labels, test_labels=tests, **given)

    whole = memorization_scores(train, labels, test_labels=tests, rounds=12)
    with contextlib.suppress(KeyboardInterrupt):
        scores()
    assert len(store) == 5
    for rounds, missing in ((8, 3), (12, 4), (12, 0)):
        made[:] = range(100)
        again = scores(rounds=rounds)
        assert len(made) == 100 + missing
    for name in ("scores", "low", "high", "included", "right"):
        assert torch.equal(getattr(again, name), getattr(whole, name)), name
    for other in ({"seed": 1}, {"keep": 0.6}):
        made[:] = range(100)
        scores(**other)
        assert len(made) == 112


def long_tail_retyped() -> None:
    """Follow the sums in fractions; the paper's figures for Zipf's law; a frequency of 1."""
    weights, n = [5, 3, 3, 1, 0], 7
    found = long_tail_cost(weights, n, levels=3)
    a = [Fraction(w, 12) for w in weights]
    costs = []
    for l in range(1, 4):  # noqa: E741
        once = sum(x**l * (1 - x) ** (n - l) for x in a)
        twice = sum(x ** (l + 1) * (1 - x) ** (n - l) for x in a)
        assert math.isclose(found.tau[l - 1], twice / once, rel_tol=1e-12)
        assert math.isclose(found.seen[l - 1], math.comb(n, l) * once, rel_tol=1e-12)
        costs.append(float(math.comb(n, l) * twice))
    assert math.isclose(found.cost(), costs[0], rel_tol=1e-12)
    assert math.isclose(found.cost(0.25), costs[0] / 4, rel_tol=1e-12)
    assert found.to_dict() == {
        "tau": found.tau.tolist(),
        "seen": found.seen.tolist(),
        "cost": found.cost(),
    }
    shares = torch.tensor([0.5, 0.25])
    assert math.isclose(found.cost(shares), costs[0] / 2 + costs[1] / 4, rel_tol=1e-12)
    zipf = long_tail_cost([1 / rank for rank in range(1, 50_001)], 50_000)
    assert abs(50_000 * zipf.tau[0] - 0.47) < 0.01
    assert abs(zipf.seen[0] / 50_000 - 0.17) < 0.005
    alone = long_tail_cost([1.0], 5, levels=5)
    assert alone.tau.tolist() == [0, 0, 0, 0, 1]
    assert torch.allclose(alone.seen, torch.tensor([0, 0, 0, 0, 1.0], dtype=torch.float64))


_ROUNDS = "it decides what is kept of a run that is killed, not what comes of it"

PAPER = Paper(
    id="memorization-score",
    title="Does Learning Require Memorization? A Short Tale about a Long Tail",
    year=2019,
    arxiv="1906.05271",
    headline="Where subpopulations have long-tailed frequencies, nearly optimal generalization "
    "requires that labels of rare examples are memorized: not fitting one seen once costs tau_1, "
    "0.47/n for Zipf's law with 50,000 of both, where 17 % of the examples are seen once.",
    provides=(memorization_scores, long_tail_cost),
    instruments=(
        Instrument(
            "memorization",
            summary="Which labels are known only from having been trained on?",
            examine=read_memorization,
            cost=passes,
            cannot_tell="Whether a memorized sample is rare or mislabelled: both look alike. "
            "Models are trained on fewer samples than yours.",
            needs=frozenset({"classes", "samples"}),
        ),
    ),
    oracles=(
        estimates_retyped,
        nearest_neighbours_memorize_what_others_do_not_tell,
        intervals_cover,
        resumed_is_as_if_never_stopped,
        long_tail_retyped,
    ),
    examples=(
        Example(
            memorization_scores,
            "diagnostic",
            arguments={"test_labels": _noisy_neighbour()[2]},
            knobs={
                "test_labels": (_noisy_neighbour()[2], _noisy_neighbour()[2].flip(0)),
                "rounds": (20, 30),
                "keep": (0.7, 0.5),
                "confidence": (0.95, 0.9),
                "seed": (0, 1),
            },
            inputs=lambda: _noisy_neighbour()[:2],
            exceptions={
                "store": _ROUNDS,
                "progress": "it is told of the progress and changes nothing",
            },
        ),
        Example(
            long_tail_cost,
            "function",
            knobs={"levels": (1, 2)},
            inputs=lambda: ((0.5, 0.3, 0.2), 10),
        ),
    ),
    claims=(
        MeasurementClaim(
            "singletons-cost-as-predicted",
            statement="A classifier that does not fit examples of subpopulations seen once errs "
            "more, by tau_1 times their number.",
            measure=long_tail,
            smoke=Effort(seeds=1),
            full=Effort(seeds=20),
            expect=costs_as_predicted,
            scaled="1,000 subpopulations in Zipf's proportions, 1,000 samples, 100 classes; "
            "nearest neighbours with and without singletons.",
        ),
        MeasurementClaim(
            "wrong-labels-are-memorized",
            statement="Where nets fit all labels, a tenth of them wrong, those are memorized.",
            measure=wrong_labels,
            smoke=Effort(seeds=1),
            full=Effort(seeds=6),
            expect=finds_wrong_labels,
            scaled="Handwritten digits; 40 small perceptrons, each trained on 70 % of them until "
            "it fits.",
        ),
    ),
    symptoms=(
        "some of my labels are wrong and I do not know which",
        "does my model memorize its training data",
        "what would private training cost on rare groups",
        "which training samples does this prediction rest on",
    ),
)
