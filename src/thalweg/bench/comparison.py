"""A comparison: problems, contenders and seeds under one budget, and how it is carried out."""

import hashlib
import math
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, Literal, get_args

from thalweg.bench.budget import CALIBRATION_STEPS, Budget, affordable_steps
from thalweg.bench.engines import Died, Engine
from thalweg.bench.results import ProblemFacts, Run
from thalweg.bench.store import Shelf, Store
from thalweg.bench.tuning import ROUND, Trial, best_trial, propose
from thalweg.bench.work import Job, Record, lost
from thalweg.core.method import Space
from thalweg.core.recipe import Recipe
from thalweg.core.seeds import derive_seed
from thalweg.core.trace import Trace

ATTEMPTS = 3  # times a run is begun whose worker dies


Stage = Literal["calibration", "tuning", "defaults", "tuned"]
STAGES: tuple[Stage, ...] = get_args(Stage)  # in the order in which runs are made


@dataclass(frozen=True)
class Wish:
    """A run that a contender needs, with its place in the comparison."""

    job: Job
    shelf: Shelf
    contender: str
    stage: Stage
    number: int
    parameters: Mapping[str, Any]
    space: Mapping[str, Space]

    def run(self, record: Record) -> Run:
        """Return the run this wish has become."""
        assert self.stage != "calibration"
        return Run(
            problem=self.job.problem,
            contender=self.contender,
            lane=self.stage,
            number=self.number,
            parameters=self.parameters,
            recipe=str(self.job.recipe),
            seed=self.job.seed,
            steps=self.job.steps,
            trace=record.trace,
            fingerprint=record.fingerprint,
            machine=record.machine,
            key=self.job.key,
        )


# Yields wishes and is sent their records; None stands for a run that has not been made.
Flow = Generator[list[Wish], list[Record | None], None]


@dataclass(frozen=True)
class Comparison:
    """Problems x contenders x seeds under one budget.

    Args:
        problems: Facts of what is solved.
        recipes: Contenders by the text the user wrote; the first is the baseline.
        trials: Tuning runs of each contender; 0 leaves the tuned lane out.
        seeds: Paired replicates of each final run.
        budget: Length of a run.
        device: Where runs are made.
        seed: Changes all random numbers of the race.
    """

    problems: tuple[ProblemFacts, ...]
    recipes: Mapping[str, Recipe]
    trials: int
    seeds: int
    budget: Budget
    device: str
    seed: int = 0

    @property
    def name(self) -> str:
        """Digest of everything that defines the comparison."""
        facts = (
            [(problem.source, problem.steps, problem.target) for problem in self.problems],
            [str(recipe) for recipe in self.recipes.values()],
            (self.trials, self.seeds, str(self.budget), self.device, self.seed, versions()),
        )
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    @property
    def size(self) -> int:
        """Number of runs."""
        return len(self.problems) * sum(
            (self.budget.seconds is not None)
            + self.seeds
            + (self.trials + self.seeds if self._is_tuned(recipe) else 0)
            for recipe in self.recipes.values()
        )

    def flow(self, problem: ProblemFacts, contender: str) -> Flow:
        """Say step by step which runs a contender needs on a problem.

        Final runs with the defaults and the trials come first, then final runs with the best
        trial's parameters.
        """
        recipe = self.recipes[contender]
        steps: int | None = self.budget.steps or problem.steps

        def wish(stage: Stage, number: int, parameters: Mapping[str, Any]) -> Wish:
            assert steps is not None
            return self._wish(problem, contender, stage, number, parameters, steps)

        if self.budget.seconds is not None:
            steps = CALIBRATION_STEPS
            (calibration,) = yield [wish("calibration", 0, recipe.defaults)]
            if calibration is None:
                return
            steps = affordable_steps(calibration.trace, self.budget.seconds)

        wishes = [wish("defaults", number, recipe.defaults) for number in range(self.seeds)]
        history: list[Trial] = []
        while True:
            n_trials = self.trials if self._is_tuned(recipe) else 0
            for number in range(len(history), min(len(history) + ROUND, n_trials)):
                parameters = propose(
                    number,
                    recipe.space,
                    recipe.defaults,
                    history,
                    better=problem.better,
                    seed=derive_seed(problem.name, self.seed, "search"),
                )
                wishes.append(wish("tuning", number, parameters))
            if not wishes:
                break
            records = yield wishes
            for made, record in zip(wishes, records, strict=True):
                if made.stage == "tuning":
                    if record is None:
                        return
                    history.append((made.parameters, record.trace.final(problem.progress)))
            wishes = []

        if history:
            best = history[best_trial(history, problem.better)][0]
            yield [wish("tuned", number, best) for number in range(self.seeds)]

    def _is_tuned(self, recipe: Recipe) -> bool:
        return self.trials > 0 and bool(recipe.space)

    def _wish(
        self,
        problem: ProblemFacts,
        contender: str,
        stage: Stage,
        number: int,
        parameters: Mapping[str, Any],
        steps: int,
    ) -> Wish:
        recipe = self.recipes[contender]
        final = stage in ("tuned", "defaults")
        # Replicates share their seed over all contenders; all trials share another one.
        seed = derive_seed(problem.name, self.seed, *(("final", number) if final else ("tuning",)))
        job = Job(
            problem=problem.name,
            source=problem.source,
            recipe=recipe.with_arguments(parameters),
            seed=seed,
            steps=steps,
            device=self.device,
            final=final,
            versions=versions(),
        )
        kind = "final" if final else stage
        # Equal runs stand on one shelf, whichever way the user wrote their contenders.
        methods = [item.method for item in recipe.ingredients]
        names = "+".join(method.name for method in methods)
        spaces = hashlib.sha256(repr([dict(method.space) for method in methods]).encode())
        shelf = Shelf(
            f"{problem.name} {problem.source[:8]} / {names} {spaces.hexdigest()[:8]} / {kind}",
            problem.better,
        )
        return Wish(job, shelf, contender, stage, number, parameters, recipe.space)


@dataclass(frozen=True)
class Progress:
    """How far a race has come.

    Args:
        done: Runs that are known.
        total: Runs in all.
        wish: The run that has just become known; ``None`` at the beginning.
        record: What is known of it.
        stored: It was found in the store.
    """

    done: int
    total: int
    wish: Wish | None = None
    record: Record | None = None
    stored: bool = False


@dataclass
class _Walk:
    flow: Flow
    wishes: list[Wish]


class Race:
    """Carries a comparison out.

    Args:
        comparison: What to carry out.
        store: Where finished runs are found again.
        observe: Called whenever a run becomes known.

    Attributes:
        runs: The runs known so far, failed ones among them.
    """

    def __init__(
        self,
        comparison: Comparison,
        store: Store,
        observe: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self.comparison = comparison
        self.runs: list[Run] = []
        self._store = store
        self._observe = observe
        self._known: dict[str, Record] = {}  # by key
        self._stored: dict[Shelf, dict[str, Record]] = {}
        self._done: set[tuple[str, str, Stage, int]] = set()
        flows = [
            comparison.flow(problem, contender)
            for problem in comparison.problems
            for contender in comparison.recipes
        ]
        self._walks = [_Walk(flow, next(flow)) for flow in flows]

    @property
    def missing(self) -> int:
        """Runs not known yet."""
        return self.comparison.size - len(self._done)

    def read(self) -> list[Run]:
        """Return the runs that are known or in the store, making none."""
        self._stored.clear()  # a run may have been kept since, the last before an interruption
        for walk in self._walks:
            while walk.wishes:
                for wish in walk.wishes:
                    self._look_up(wish, failed_too=True)
                self._advance(walk)
        return self.runs

    def carry_out(self, engine: Engine) -> list[Run]:
        """Make the runs that the store does not hold and return all."""
        self._observe(Progress(0, self.comparison.size))
        flying: dict[str, tuple[Wish, int, int]] = {}
        elsewhere: set[str] = set()
        polled = time.monotonic()
        while waiting := self._unknown():
            for key, wish in sorted(waiting.items(), key=lambda item: _priority(item[1])):
                if not engine.free:
                    break
                if key in flying or key in elsewhere:
                    continue
                claim = self._store.claim(wish.shelf, key, wish.parameters, wish.space)
                if claim is None:
                    elsewhere.add(key)
                else:
                    flying[key] = wish, claim, 1
                    engine.submit(wish.job)
            for job, answer in engine.wait(0.2):
                wish, claim, attempt = flying.pop(job.key)
                if isinstance(answer, Died):
                    if attempt < ATTEMPTS:
                        flying[job.key] = wish, claim, attempt + 1
                        engine.submit(job)
                        continue
                    answer = lost(f"the worker died {ATTEMPTS} times: {answer.reason}")
                if self._store.finish(claim, answer, self._value(wish, answer.trace)):
                    self._known[job.key] = answer
                else:
                    elsewhere.add(job.key)
            if elsewhere and time.monotonic() - polled > 1:
                # Another program makes these runs; look whether it has ended, or died.
                polled = time.monotonic()
                self._stored.clear()
                elsewhere.clear()
        return self.runs

    def _unknown(self) -> dict[str, Wish]:
        """Advance every flow as far as what is known allows; return what else it wants."""
        unknown: dict[str, Wish] = {}
        for walk in self._walks:
            while walk.wishes:
                lacking = [wish for wish in walk.wishes if not self._look_up(wish)]
                unknown.update((wish.job.key, wish) for wish in lacking)
                if lacking:
                    break
                self._advance(walk)
        return unknown

    def _look_up(self, wish: Wish, *, failed_too: bool = False) -> bool:
        key = wish.job.key
        stored = key not in self._known
        if stored:
            if wish.shelf not in self._stored:
                self._stored[wish.shelf] = self._store.find(wish.shelf)
            record = self._stored[wish.shelf].get(key)
            # An error is an outcome, not a result: another race makes the run again.
            if record is None or not (failed_too or record.trace.is_result):
                return False
            self._known[key] = record
        place = wish.job.problem, wish.contender, wish.stage, wish.number
        if place not in self._done:
            self._done.add(place)
            if wish.stage != "calibration":
                self.runs.append(wish.run(self._known[key]))
            self._observe(
                Progress(len(self._done), self.comparison.size, wish, self._known[key], stored)
            )
        return True

    def _advance(self, walk: _Walk) -> None:
        try:
            walk.wishes = walk.flow.send([self._known.get(wish.job.key) for wish in walk.wishes])
        except StopIteration:
            walk.wishes = []

    def _value(self, wish: Wish, trace: Trace) -> float:
        problem = next(item for item in self.comparison.problems if item.name == wish.job.problem)
        value = trace.final(problem.judged if wish.job.final else problem.progress)
        worst = -math.inf if problem.better == "higher" else math.inf
        return worst if math.isnan(value) else value


@cache
def versions() -> str:
    """Return the versions that a run's outcome may depend on."""
    return ", ".join(f"{name} {version(name)}" for name in ("thalweg", "torch"))


def _priority(wish: Wish) -> tuple[int, int, str]:
    # The contenders' runs of a replicate lie close together in time, in an order drawn by lot, so
    # that whatever else the machine does slows all of them alike. Tuned runs therefore wait until
    # there is nothing else to do.
    return STAGES.index(wish.stage), wish.number, wish.job.key
