"""Claims: measured as races are, judged by their own expectation, and kept as JSON."""

import inspect
import json
import math
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, cast, get_args

from thalweg.bench.compare import compare
from thalweg.bench.comparison import Progress
from thalweg.bench.results import Results
from thalweg.core.catalogue import catalogue
from thalweg.core.claim import Claim, Effort, Finding, MeasurementClaim, Number, RaceClaim, Size
from thalweg.core.errors import SettingError, StoreError
from thalweg.core.method import Method
from thalweg.core.paper import Paper
from thalweg.core.problem import Metric, Problem
from thalweg.core.recipe import Ingredient, Recipe
from thalweg.core.trace import Cost, Point
from thalweg.problems.loading import load_problem

FOLDER = "docs/claims"
DEFAULT_STORE = "thalweg-claims.sqlite3"


@dataclass(frozen=True)
class Outcome:
    """How the measurement of a claim ended.

    Args:
        paper: That makes the claim.
        claim: What was measured.
        size: How thoroughly.
        finding: What came out; ``None`` where a run failed.
        error: Why there is no finding, in a line.
        facts: What it was measured with: seeds, trials, steps, machine, versions, seconds.
    """

    paper: Paper
    claim: Claim
    size: Size
    finding: Finding | None
    error: str | None
    facts: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold.

        Raises:
            SettingError: Where the claim failed: a failure is no verdict and is not kept.
        """
        if self.finding is None:
            raise SettingError(
                f"{self.paper.id}: the claim {self.claim.name} failed ({self.error}) and is not "
                "written; mend it and run it again"
            )
        return {
            "statement": self.claim.statement,
            "scaled": self.claim.scaled,
            "verdict": self.finding.verdict,
            "sentence": self.finding.sentence,
            "numbers": [_number_to_dict(number) for number in self.finding.numbers],
            "size": self.size,
            **self.facts,
        }


@dataclass(frozen=True)
class Measurement:
    """A function that measures, as a problem: its replicates run and are kept as races are.

    Args:
        name: As shown while it runs.
        measure: As in :class:`~thalweg.core.claim.MeasurementClaim`.
        size: What it is called with.
        source: Digest, or text, of all that its figures depend on.
    """

    kind: ClassVar[str] = "measurement"
    metric: ClassVar[Metric] = Metric("figures", "higher", 1.0)
    progress: ClassVar[str] = "figures"
    judged: ClassVar[str] = "figures"
    target: ClassVar[None] = None
    steps: ClassVar[int] = 1
    offers: ClassVar[frozenset[str]] = frozenset()
    description: ClassVar[str] = "a measurement"
    contenders: ClassVar[Sequence[str]] = ()

    name: str
    measure: Callable[[int, Size], Mapping[str, float]]
    size: Size
    source: str

    def check(self, recipe: Recipe, *, device: str) -> None:
        """Accept: there is nothing that could be tried at less cost than the measurement."""

    def fingerprint(self, seed: int) -> str:
        """Return the seed: there is one contender only."""
        return str(seed)

    def run(
        self, recipe: Recipe, seed: int, *, steps: int, device: str, final: bool
    ) -> Iterator[Point]:
        """Measure once."""
        started = time.perf_counter()
        figures = self.measure(seed % 2**32, self.size)  # NumPy takes no larger seeds
        seconds = time.perf_counter() - started
        yield Point(
            Cost(steps=1, seconds=seconds, startup=seconds),
            {name: float(value) for name, value in figures.items()},
        )


def run_claim(
    paper: Paper,
    claim: Claim,
    *,
    size: Size = "full",
    jobs: int | None = None,
    store: str | Path = DEFAULT_STORE,
    observe: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Measure a claim and judge it.

    Runs are kept in the store: the same call goes on where it was interrupted. They are made anew
    where the code of the paper's objects or of the measurement has changed.

    Args:
        paper: That makes the claim.
        claim: One of the paper's.
        size: ``full`` for a verdict, ``smoke`` to see in seconds that it runs.
        jobs: Runs side by side; one per core if not given.
        store: Path of a SQLite file or URL of a database.
        observe: Called whenever a run becomes known.

    Returns:
        The outcome; whatever goes wrong in the claim itself is one.

    Raises:
        SettingError: A setting cannot be used.
        StoreError: The store cannot be used.
        Interrupted: A ``KeyboardInterrupt``; the same call goes on.
    """
    effort = claim.full if size == "full" else claim.smoke
    facts: dict[str, Any] = {}
    finding = None
    try:
        problems, methods = _race_of(paper, claim, size)
        results = compare(
            problems,
            methods,
            trials=effort.trials,
            seeds=effort.seeds,
            budget=None if effort.steps is None else f"{effort.steps}steps",
            device="cpu",
            jobs=jobs,
            store=store,
            observe=observe,
        )
        facts = _facts(claim, effort, results)
        error = _first_error(results)
        if error is None:
            finding = _judge(claim, results)
    except (SettingError, StoreError):
        raise
    except Exception as reason:
        error = _last_line("".join(traceback.format_exception_only(reason)))
    return Outcome(paper, claim, size, finding, error, facts)


def write_claims(outcomes: Sequence[Outcome], folder: str | Path = FOLDER) -> Path:
    """Keep the verdicts on all claims of a paper in a JSON file, replaced as a whole.

    Args:
        outcomes: Of the claims of one paper, all at full size and none failed.
        folder: Where to write; made if it does not exist.

    Returns:
        The path, ``<folder>/<id>.json``.

    Raises:
        SettingError: Where an outcome is no evidence.
    """
    for outcome in outcomes:
        check_size(outcome.size, write=True)
    (paper,) = {outcome.paper.id for outcome in outcomes}
    content = {
        "paper": paper,
        "claims": {outcome.claim.name: outcome.to_dict() for outcome in outcomes},
    }
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path = Path(folder) / f"{paper}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def check_size(text: str, *, write: bool = False) -> Size:
    """Return a size by its name.

    Args:
        text: ``smoke`` or ``full``.
        write: Whether the verdict is to be kept.

    Raises:
        SettingError: Where there is no such size, or its verdict must not be kept.
    """
    if text not in get_args(Size):
        raise SettingError(f"there is no size {text!r}; write {' or '.join(get_args(Size))}")
    if write and text != "full":
        raise SettingError(
            f"the size {text} only shows that a claim runs and its verdict is no evidence; "
            "write with --size full"
        )
    return cast(Size, text)


def read_claims(folder: str | Path = FOLDER) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what is kept in a folder, by the paper's id and the claim's name.

    Raises:
        SettingError: Where a file is not of the form that :func:`write_claims` writes.
    """
    stored = {}
    for path in sorted(Path(folder).glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            stored[str(content["paper"])] = dict(content["claims"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SettingError(
                f"cannot read the claims in {path} ({type(error).__name__}: {error}); restore the "
                "file, or run: thalweg claims run --write"
            ) from None
    return stored


def _race_of(
    paper: Paper, claim: Claim, size: Size
) -> tuple[list[Problem], list[str | Method | Recipe]]:
    if isinstance(claim, MeasurementClaim):
        source = f"{paper.id} {claim.name} {size}\n{_code([*paper.provides, claim.measure])}"
        problem = Measurement(f"{paper.id}: {claim.name}", claim.measure, size, source)
        measuring = Method(claim.name, claim.statement, dict, kind=Measurement.kind)
        return [problem], [Recipe((Ingredient(measuring),))]
    recipes = [catalogue().recipe(text) for text in claim.methods]
    builders = [item for item in claim.problems if not isinstance(item, str)]
    methods = [item.method for recipe in recipes for item in recipe.ingredients]
    objects = [method.example.object for method in methods if method.example is not None]
    code = _code([*paper.provides, *builders, *(method.build for method in methods), *objects])
    problems = [
        cast(Any, load_problem(item) if isinstance(item, str) else item())
        for item in claim.problems
    ]
    stamped = [replace(item, source_text=item.source_text + code) for item in problems]
    return stamped, list(claim.methods)


def _code(objects: Sequence[Callable[..., Any]]) -> str:
    """Return the text of this package's modules in which objects and their bases are made."""
    functions = [getattr(thing, "func", thing) for thing in objects]  # of a partial
    parts = [part for thing in functions for part in getattr(thing, "__mro__", (thing,))]
    modules: dict[str, ModuleType] = {
        module.__name__: module
        for part in parts
        if (module := inspect.getmodule(part)) and module.__name__.startswith("thalweg.")
    }
    return "".join(inspect.getsource(modules[name]) for name in sorted(modules))


def _judge(claim: Claim, results: Results) -> Finding:
    if isinstance(claim, RaceClaim):
        return claim.expect(results)
    runs = results.select(results.problems[0].name, results.baseline, "defaults")
    return claim.expect([dict(run.trace.points[-1].quality) for run in runs])


def _first_error(results: Results) -> str | None:
    for run in results.runs:
        # A trial that fails counts as a bad trial; a final run must give a value.
        if run.lane != "tuning" and not run.trace.is_result:
            return _last_line(run.trace.error or run.trace.outcome)
    return None


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1].strip()


def _facts(claim: Claim, effort: Effort, results: Results) -> dict[str, Any]:
    facts = {
        "seeds": effort.seeds,
        "trials": effort.trials,
        "steps": effort.steps,
        "jobs": results.settings["jobs"],
        "machine": results.settings["machine"],
        "versions": results.settings["versions"],
        "date": datetime.now(UTC).date().isoformat(),
        # Of the runs, so that it holds for a measurement that was interrupted too.
        "seconds": round(
            sum(run.trace.points[-1].cost.seconds for run in results.runs if run.trace.points), 1
        ),
    }
    if isinstance(claim, RaceClaim):
        facts |= {
            "problems": [problem.name for problem in results.problems],
            "methods": list(results.contenders),
            "steps": effort.steps or [problem.steps for problem in results.problems],
        }
    return facts


def _number_to_dict(number: Number) -> dict[str, Any]:
    return {
        "what": number.what,
        "ours": _rounded(number.ours),
        "interval": None if number.interval is None else [_rounded(x) for x in number.interval],
        "paper": number.paper,
    }


def _rounded(value: float) -> float | str | None:
    if math.isfinite(value):
        return float(f"{value:.6g}")
    # JSON has neither NaN nor infinities; float() reads the words back.
    return None if math.isnan(value) else str(float(value))
