"""Made-up races for the tests of the report."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from thalweg.bench.results import LANES, Lane, ProblemFacts, Results, Run
from thalweg.core.trace import Cost, Outcome, Point, Trace

CONTENDERS = ("adamw", "sgd(momentum=0.9)", "adahessian", "diffgrad", "adamw+uba(phi=5)")
NASTY = (
    "<script>alert(1)</script>",
    "a\"b'c\\d</script><img src=x onerror=alert(2)>",
    "sgd[0].x(naïve=Ω)\u2028{{ 7*7 }} 日本語",
)
TRACEBACK = """Traceback (most recent call last):
  File "task.py", line 3, in loss
    raise ValueError("</pre><script>alert('traceback')</script> \udcff \x1b[31m")
ValueError: </pre><script>alert('traceback')</script> \udcff \x1b[31m"""


def accuracy(name: str = "digits", **changes: object) -> ProblemFacts:
    facts: dict[str, object] = {
        "name": name,
        "description": "Scans of handwritten digits, a small convolutional net.",
        "kind": "training",
        "metric": "accuracy",
        "better": "higher",
        "margin": 0.005,
        "percent": True,
        "progress": "validation/accuracy",
        "judged": "test/accuracy",
        "target": None,
        "steps": 400,
        "source": "1f3a" * 8,
    }
    return ProblemFacts(**(facts | changes))  # type: ignore[arg-type]


def loss(name: str = "rosenbrock") -> ProblemFacts:
    return accuracy(
        name,
        description="The banana valley in ten dimensions.",
        metric="value",
        better="lower",
        margin=1e-4,
        percent=False,
        progress="value",
        judged="value",
    )


def race(
    problems: Sequence[ProblemFacts] = (accuracy(),),
    contenders: Sequence[str] = CONTENDERS,
    *,
    replicates: int = 10,
    trials: int = 10,
    n_points: int = 20,
    lanes: Sequence[Lane] = LANES,
    failures: Mapping[tuple[int, int], Outcome] | None = None,
    **changes: object,
) -> Results:
    """Make up a race; ``failures`` says which replicate of which contender ends how."""
    failures = {(1, 3): "diverged", (2, 6): "failed"} if failures is None else failures
    runs = [
        run
        for problem in problems
        for i, contender in enumerate(contenders)
        for lane, n in [*((lane, replicates) for lane in lanes), ("tuning", trials)]
        for run in _runs(problem, contender, i, lane, n, n_points, failures)
    ]
    settings = {
        "name": "9d2c51aa03b7e6f1",
        "trials": trials,
        "seeds": replicates,
        "budget": "the problem's own",
        "device": "cpu",
        "jobs": 2,
        "engine": "local",
        "store": "thalweg-runs.sqlite3",
        "seed": 0,
        "spaces": {
            contender: {
                "adamw.lr": {"low": 1e-4, "high": 0.1, "log": True, "integer": False},
                "adamw.betas": [[0.9, 0.999], [0.8, 0.95]],
            }
            for contender in contenders
        },
        "versions": "thalweg 0.1.0, torch 2.13.0, Python 3.11.7",
        "machine": "2 cores, x86_64, Linux 6.1",
        "command": "thalweg compare digits --methods '" + ",".join(contenders) + "'",
    }
    return Results(
        problems=tuple(problems),
        contenders=tuple(contenders),
        runs=tuple(runs),
        settings=settings | dict(changes.pop("settings", {})),  # type: ignore[call-overload]
        **changes,  # type: ignore[arg-type]
    )


def _runs(
    problem: ProblemFacts,
    contender: str,
    index: int,
    lane: str,
    n: int,
    n_points: int,
    failures: Mapping[tuple[int, int], Outcome],
) -> list[Run]:
    runs = []
    for number in range(n):
        rng = np.random.default_rng([index, number, len(lane), len(problem.name)])
        shared = np.random.default_rng([number, len(problem.name)]).normal()
        outcome: Outcome = (
            "finished" if lane == "defaults" else failures.get((index, number), "finished")
        )
        speed = (1.0, 0.6, 1.7, 1.0, 1.25)[index % 5] * (0.7 if lane == "defaults" else 1.0)
        per_step = (0.004, 0.003, 0.011, 0.0045, 0.004)[index % 5] * rng.uniform(0.95, 1.1)
        end = (0.0, -0.012, 0.004, 0.001, 0.003)[index % 5] + 0.004 * shared + 0.003 * rng.normal()
        steps = np.linspace(0, problem.steps, n_points).round().astype(int)
        if outcome != "finished":
            steps = steps[: n_points // 2]
        points = []
        for step in steps:
            progress = 1 - math.exp(-9 * speed * step / problem.steps)
            if problem.percent:
                value = 0.1 + (0.87 + end) * progress + 0.004 * rng.normal()
            else:
                value = 24 * math.exp(-9 * speed * step / problem.steps) * math.exp(20 * end)
            cost = Cost(
                steps=int(step),
                seconds=float(step * per_step + (0.12 if step else 0)),
                startup=0.12 if step else 0.0,
                gradients=int(step) * (2 if index % 5 == 2 else 1),
                products=int(step) if index % 5 == 2 else 0,
                memory=int(4.1e8 + 3e7 * (index % 5)),
            )
            quality = {problem.progress: float(min(value, 0.999) if problem.percent else value)}
            if step == problem.steps:
                quality[problem.judged] = float(value - (0.004 if problem.percent else 0))
            points.append(Point(cost, quality))
        tuned = {"adamw.lr": float(f"{10 ** rng.uniform(-4, -1):.3g}"), "adamw.betas": (0.9, 0.999)}
        runs.append(
            Run(
                problem=problem.name,
                contender=contender,
                lane=lane,  # type: ignore[arg-type]
                number=number,
                parameters=tuned,
                recipe=contender,
                seed=1000 + number,
                steps=problem.steps,
                trace=Trace(points, outcome, TRACEBACK if outcome == "failed" else None),
                fingerprint=f"{number:08x}",
                machine="2 cores, x86_64, Linux 6.1",
                key=f"{index}-{lane}-{number}",
            )
        )
    return runs


def nasty() -> Results:
    return race(
        [accuracy(NASTY[0], description=NASTY[1]), loss(NASTY[2])],
        ("adamw", *NASTY),
        replicates=4,
        trials=3,
        failures={(1, 3): "diverged", (2, 2): "failed"},
        missing=3,
        warnings=(NASTY[1], "The race is unfinished: 3 of 91 runs are missing."),
        settings={"quick": True, "machine": NASTY[0], "command": f"thalweg compare {NASTY[1]}"},
    )


RACES = {
    "digits": race,
    "nasty": nasty,
    "nothing": lambda: replace(race(), runs=(), missing=150),
    "failed": lambda: race(
        replicates=3, failures={(i, j): "failed" for i in range(5) for j in range(10)}
    ),
    "alone": lambda: race(contenders=("adamw",), lanes=("defaults",), trials=0),
    "large": lambda: race(
        contenders=[f"contender-{i}(lr=0.001)" for i in range(10)], replicates=20, trials=20
    ),
}
