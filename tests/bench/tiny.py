"""A problem as fast as Python is, contenders of every character, and engines to race them on."""

import hashlib
import json
import math
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import thalweg.bench.store
from thalweg.bench.budget import Budget
from thalweg.bench.comparison import Comparison, Race
from thalweg.bench.results import ProblemFacts
from thalweg.bench.store import Store
from thalweg.bench.work import execute
from thalweg.core.method import Choice, Interval, Method
from thalweg.core.problem import Metric
from thalweg.core.recipe import Ingredient, Recipe
from thalweg.core.trace import Cost, Diverged, Point

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Tiny:
    """Every method is a function of seed and step: its value is its quality.

    Args:
        text: Changes its source.
        log: A file that gets a line for each run that begins or ends.
        seconds: That a run takes.
        per_step: Seconds a step, as its cost says.
    """

    name: str = "tiny"
    text: str = ""
    log: str | None = None
    seconds: float = 0.0
    per_step: float = 0.001

    kind = "tiny"
    metric = Metric("score", "higher", 0.01)
    progress = "validation/score"
    judged = "test/score"
    target = None
    steps = 12
    offers = frozenset()
    description = "a tiny problem"
    contenders = ("good", "fair")

    @property
    def source(self):
        return hashlib.sha256(f"{self.name} {self.text}".encode()).hexdigest()

    def check(self, recipe, *, device):
        pass

    def fingerprint(self, seed):
        return f"start {seed}"

    def run(self, recipe, seed, *, steps, device, final):
        (ingredient,) = recipe.ingredients
        score = ingredient.method.build(**ingredient.arguments)
        self._note("begin", recipe, seed, steps, final)
        for quarter in range(5):
            time.sleep(self.seconds / 5)
            step = steps * quarter // 4
            value = score(random.Random(seed).random(), quarter / 4)
            quality = {self.progress: value}
            if final and quarter == 4:
                quality[self.judged] = value - 0.125
            yield Point(Cost(steps=step, seconds=step * self.per_step, gradients=step), quality)
        self._note("end", recipe, seed, steps, final)

    def _note(self, event, *run):
        if self.log:
            line = f"{event}\t{os.getpid()}\t" + " ".join(map(str, run)) + "\n"
            with open(self.log, "a") as log:
                log.write(line)


def _method(name, score, **space):
    defaults = {"lr": 0.1, "betas": (0.9, 0.99), **space.pop("defaults", {})}
    space = {
        "lr": Interval(1e-4, 1.0, log=True),
        "betas": Choice(((0.9, 0.99), (0.5, 0.9))),
        **space,
    }
    return Method(name, f"{name}.", score, defaults, space, kind="tiny")


def _hill(top):
    def build(lr, betas):
        return lambda noise, t: top * t - (math.log10(lr) + 2) ** 2 + betas[0] / 7 + noise / 3

    return build


def _raises(error):
    def build(**arguments):
        def score(noise, t):
            if t > 0.5:
                raise error
            return t

        return score

    return build


def _dies(**arguments):
    def score(noise, t):
        os.kill(os.getpid(), signal.SIGKILL)

    return score


GOOD = _method("good", _hill(1.0))
FAIR = _method("fair", _hill(0.9))
POOR = _method("poor", _hill(0.5))
FAILS = _method("fails", _raises(RuntimeError("the paper was wrong")))
DIVERGES = _method("diverges", _raises(Diverged("nan")))
HUNGRY = _method("hungry", _raises(MemoryError()))
QUITS = _method("quits", _raises(SystemExit("enough")))
DEADLY = Method("deadly", "Kills its worker.", _dies, kind="tiny")


def dies_once(flag):
    """A contender that kills its worker, but only the first time."""

    def build(lr, betas):
        try:
            os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return _hill(0.7)(lr, betas)
        return _dies()

    return _method("dies-once", build)


def recipe(method, **arguments):
    return Recipe((Ingredient(method, arguments),))


def facts(problem):
    return ProblemFacts(
        name=problem.name,
        description=problem.description,
        kind=problem.kind,
        metric=problem.metric.name,
        better=problem.metric.better,
        margin=problem.metric.margin,
        percent=problem.metric.percent,
        progress=problem.progress,
        judged=problem.judged,
        target=problem.target,
        steps=problem.steps,
        source=problem.source,
    )


def comparison(problem, recipes, *, trials=3, seeds=2, budget=None, seed=0):
    recipes = [item if isinstance(item, Recipe) else recipe(item) for item in recipes]
    recipes = {str(item): item for item in recipes}
    budget = Budget.parse(budget)
    return Comparison((facts(problem),), recipes, trials, seeds, budget, "cpu", seed)


class Inline:
    """An engine without processes: makes each run when it is waited for, in any order."""

    def __init__(self, problem, jobs=1, *, shuffle=None):
        self.problem = problem
        self.jobs = jobs
        self.begun = []
        self.waiting = []
        self.random = random.Random(shuffle)

    @property
    def free(self):
        return self.jobs - len(self.waiting)

    def submit(self, job):
        self.begun.append(job)
        self.waiting.append(job)

    def wait(self, seconds):
        if not self.waiting:
            time.sleep(seconds / 10)
            return []
        job = self.waiting.pop(self.random.randrange(len(self.waiting)))
        return [(job, execute(self.problem, job))]

    def close(self):
        self.waiting.clear()


def race(plan, store, engine, observe=lambda progress: None):
    """Carry a comparison out on a store that is opened for it."""
    keep = Store(str(store))
    try:
        carried = Race(plan, keep, observe)
        carried.carry_out(engine)
        return carried
    finally:
        engine.close()
        keep.close()


def outcomes(runs):
    """What must not depend on how a race was carried out: everything but the seconds."""
    return {
        f"{run.contender} {run.lane} {run.number}": [
            run.recipe,
            run.seed,
            run.trace.outcome,
            [dict(point.quality) for point in run.trace.points],
        ]
        for run in runs
    }


def log_of(path, event="end"):
    """How often each run has begun or ended."""
    lines = Path(path).read_text().splitlines() if Path(path).exists() else []
    split = [line.split("\t") for line in lines]
    return Counter(what for kind, _, what in split if kind == event)


def workers_of(path):
    return {int(line.split("\t")[1]) for line in Path(path).read_text().splitlines()}


def impatient(heartbeat=0.3, grace=3.0):
    """Let claims die soon."""
    thalweg.bench.store.HEARTBEAT = heartbeat
    thalweg.bench.store.GRACE = grace


def main(settings):
    """The program that tests kill and interrupt: ``thalweg.compare`` on the tiny problem."""
    from thalweg import compare
    from thalweg.bench.compare import Interrupted

    settings = SimpleNamespace(**settings)
    impatient(grace=settings.grace)
    problem = Tiny(log=settings.log, seconds=settings.seconds)
    try:
        results = compare(
            problem, [GOOD, FAIR], trials=3, seeds=2, jobs=settings.jobs, store=settings.store
        )
    except Interrupted as interrupted:
        results = interrupted.results
    print(json.dumps({"missing": results.missing, "runs": outcomes(results.runs)}))


if __name__ == "__main__":
    from tests.bench import tiny  # so that nothing in a worker's job belongs to __main__

    tiny.main(json.loads(sys.argv[1]))
