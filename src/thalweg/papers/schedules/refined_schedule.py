"""Refined schedules (2023): linear decay, and what a run's gradient norms make of it."""

import itertools
import math
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD

from thalweg.core.claim import Effort, MeasurementClaim, RaceClaim
from thalweg.core.example import Example
from thalweg.core.method import Method
from thalweg.core.paper import Paper
from thalweg.core.verdicts import beats, matches
from thalweg.papers.schedules._last_iterates import last_iterates, linear_then_refined
from thalweg.papers.schedules._refined_twice import refined_twice
from thalweg.schedules import LinearDecay, RefinedSchedule
from thalweg.training.methods import schedule_method
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem

NORMS = (3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.0, 3.5, 8.0, 9.5, 7.0)


def _rates(made: Any, steps: int, *arguments: Any, **given: Any) -> list[float]:
    """Return the rates of all steps and after the last, from a peak of 0.5."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedule = made(optimizer, *arguments, **given)
    rates = [schedule.get_last_lr()[0]]
    for _ in range(steps):
        optimizer.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    return rates


def _close(ours: list[float], theirs: list[float]) -> None:
    for x, y in zip(ours, theirs, strict=True):
        assert math.isclose(x, y, rel_tol=1e-12, abs_tol=1e-15), (ours, theirs)


def _retyped(norms: list[float], power: int, width: int) -> list[float]:
    """Follow the equations for single numbers: medians, weights, tail sums, the largest."""
    last, smooth = len(norms) - 1, []
    for t in range(len(norms)):
        places = range(t - width // 2, t + width // 2 + 1)
        window = sorted(norms[max(0, i if i <= last else 2 * last - i)] for i in places)
        smooth.append(window[width // 2])
    weights = [g**-power for g in smooth]
    etas = [w * sum(weights[t + 1 :]) for t, w in enumerate(weights)]
    return [eta / max(etas) for eta in etas]


def equations_retyped() -> None:
    """T norms make T - 1 steps as the paper's; between the steps of another length lie lines."""
    kinds: tuple[Literal["sgd", "adam"], ...] = ("adam", "sgd")
    for power, kind in enumerate(kinds, 1):
        for tau, width in ((0.0, 1), (0.1, 1), (0.2, 3), (0.5, 5), (1.0, 11)):
            etas = [0.5 * eta for eta in _retyped(list(NORMS), power, width)]
            given: dict[str, Any] = {"kind": kind, "tau": tau}
            _close(_rates(RefinedSchedule, 10, NORMS, total_steps=10, **given), etas)
            finer = _rates(RefinedSchedule, 20, NORMS, total_steps=20, **given)
            _close(finer[::2], etas)
            _close(finer[1::2], [(a + b) / 2 for a, b in itertools.pairwise(etas)])
            same = _rates(RefinedSchedule, 11, NORMS, **given)
            _close(same[:1] + same[-1:], etas[:1] + etas[-1:])
            assert math.isclose(same[1], etas[0] + (etas[1] - etas[0]) * 10 / 11)


def numbers_of_the_authors_code() -> None:
    """Every eighth number of `find_closed_form_schedule`, over its maximum, for 40 given norms.

    Of github.com/facebookresearch/adaptive_scheduling, with the median filter of its README at 0.1.
    """
    norms = [1 + (7 * t % 11) / 4 + t / 20 for t in range(40)]
    for kind, numbers in (
        ("sgd", [1, 0.10163122301700138, 0.041547939487182946, 0.016867459100141875]),
        ("adam", [1, 0.2860643769525733, 0.15857776355920816, 0.0819724674533367]),
    ):
        rates = _rates(RefinedSchedule, 39, norms, total_steps=39, kind=kind)
        _close(rates[:32:8], [0.5 * x for x in numbers])
        assert rates[-1] == 0


def constant_norms_give_linear_decay() -> None:
    """Whatever the constant and the number of steps; and scale does not matter."""
    for steps in (1, 7, 30):
        line = [0.5 * (1 - t / steps) for t in range(steps + 1)]
        _close(_rates(LinearDecay, steps, steps), line)
        _close(_rates(RefinedSchedule, steps, [2e-3] * 12, total_steps=steps), line)
        warm = [0.5 * t / 4 for t in (1, 2, 3)] + line
        _close(_rates(LinearDecay, steps + 3, steps + 3, warmup_steps=3), warm)
    larger = torch.tensor(NORMS) * 1e3
    _close(_rates(RefinedSchedule, 11, larger), _rates(RefinedSchedule, 11, NORMS))


def two_runs_retyped() -> None:
    """The recipe is two runs of plain SGD in the same order of the data, paid for twice."""
    generator = torch.Generator().manual_seed(0)
    data = (torch.randn(20, 3, generator=generator), torch.randn(20, 1, generator=generator))
    problem = TrainingProblem(
        "line",
        lambda: nn.Linear(3, 1),
        data,
        nn.MSELoss(),
        METRICS["MSE"],
        data,
        data,
        batch_size=4,
    )
    steps = 7
    for kind, power in (("sgd", 2), ("adam", 1)):
        ours, plain = (problem.setup(3, steps=steps) for _ in range(2))
        ours = replace(ours, optimizer=lambda model: SGD(model.parameters(), lr=0.3))
        ours = refined_twice(kind=kind, tau=0.3)(ours)  # type: ignore[arg-type]
        points = list(ours.loop(ours))
        start = {k: v.detach().clone() for k, v in plain.model.state_dict().items()}
        batches = [batch for _ in range(2) for batch in plain.batches][: steps + 1]
        factors = [1 - t / (steps + 1) for t in range(steps + 1)]
        for run in range(2):
            plain.model.load_state_dict(start)
            norms = []
            for batch, factor in zip(batches, factors, strict=False):
                plain.model.zero_grad()
                torch.autograd.backward(plain.loss(plain.model(batch.input), batch.target))
                slopes = [p.grad for p in plain.model.parameters() if p.grad is not None]
                flat = torch.cat([slope.flatten() for slope in slopes])
                norms.append(float(flat.abs().pow(power).sum() ** (1 / power)))
                for p, slope in zip(plain.model.parameters(), slopes, strict=True):
                    p.data -= 0.3 * factor * slope
            if run == 0:
                factors = _retyped(norms, power, 3)[:steps]
        expected: list[Tensor] = list(plain.model.parameters())
        for p, q in zip(ours.model.parameters(), expected, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
        costs = [point.cost for point in points]
        assert [cost.gradients - cost.steps for cost in costs] == [steps + 1] * len(costs)
        assert costs[-1].steps == steps
        assert costs[0].seconds > 0


_PROBLEMS = ("logistic", "breast-cancer", "digits-mlp")

PAPER = Paper(
    id="refined-schedule",
    title="When, Why and How Much? Adaptive Learning Rate Scheduling by Refinement",
    year=2023,
    arxiv="2310.07831",
    headline="Over ten deep learning problems, language models of several sizes and a suite of "
    "logistic regressions, linear decay matches or beats all usual schedules, cosine annealing "
    "included, and refining it by the gradient norms of a run improves it further.",
    provides=(LinearDecay, RefinedSchedule),
    methods=(
        schedule_method("linear-decay", LinearDecay, space={}, knobs={"warmup_steps": (0, 2)}),
        Method(
            "refined-schedule",
            summary="Train twice: the first run's gradient norms schedule the second's rates.",
            build=refined_twice,
            defaults={"kind": "sgd", "tau": 0.1},
            fills=frozenset({"schedule"}),
        ),
    ),
    examples=(
        Example(
            RefinedSchedule,
            "schedule",
            arguments={"grad_norms": NORMS},
            knobs={"kind": ("sgd", "adam"), "tau": (0.1, 0.5)},
        ),
    ),
    oracles=(
        equations_retyped,
        numbers_of_the_authors_code,
        constant_norms_give_linear_decay,
        two_runs_retyped,
    ),
    claims=(
        MeasurementClaim(
            "last-iterates",
            statement="The last iterate of SGD on logistic regression is better by linear decay "
            "than by a constant rate or one that falls with 1/sqrt(t), and better still by the "
            "refined schedule.",
            measure=last_iterates,
            smoke=Effort(seeds=1),
            full=Effort(seeds=20),
            expect=linear_then_refined,
            scaled="Two data sets; 1,500 steps of 4 samples, the best of seven peak rates each.",
        ),
        RaceClaim(
            "linear-decay-matches-cosine",
            statement="Models trained by linear decay end at least as good as by cosine annealing.",
            problems=_PROBLEMS,
            methods=("sgd+cosine", "sgd+linear-decay"),
            smoke=Effort(seeds=2, trials=1, steps=10),
            full=Effort(seeds=10, trials=5),
            expect=matches,
            scaled="Small tables and images in place of ImageNet and language models.",
        ),
        RaceClaim(
            "refinement-improves",
            statement="Models trained by the refined schedule end better than by linear decay, the "
            "run that records the norms not counted.",
            problems=_PROBLEMS,
            methods=("sgd+linear-decay", "sgd+refined-schedule"),
            smoke=Effort(seeds=2, trials=1, steps=10),
            full=Effort(seeds=10, trials=5),
            expect=beats,
            scaled="Small tables and images in place of ImageNet and language models; both runs "
            "have the same learning rate.",
        ),
    ),
    symptoms=(
        "which learning rate schedule should I use",
        "the same training is run again and again",
        "how long a warm-up does training need",
    ),
)
