"""Races on the tiny problem: in this process, and as programs to be killed."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import thalweg.bench.store
from tests.bench.tiny import FAIR, GOOD, Tiny
from thalweg.bench.budget import Budget
from thalweg.bench.comparison import Comparison, Race
from thalweg.bench.engines import LocalEngine
from thalweg.bench.results import ProblemFacts
from thalweg.bench.store import Store
from thalweg.bench.work import execute
from thalweg.core.recipe import Ingredient, Recipe

ROOT = Path(__file__).parents[2]
STAND_IN = str(
    Path(__file__).parent / "stand_in"
)  # workers look here first where it is in the path


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
    lines = Path(path).read_text().splitlines() if Path(path).exists() else []
    return {int(line.split("\t")[1]) for line in lines}


def impatient(heartbeat=0.3, grace=3.0):
    """Let claims die soon."""
    thalweg.bench.store.HEARTBEAT = heartbeat
    thalweg.bench.store.GRACE = grace


def main(store, log, *, seconds, jobs, grace, whole):
    """A program to be killed: the race of good and fair, by ``thalweg.compare`` or its engine."""
    impatient(grace=grace)
    problem = Tiny(log=log, seconds=seconds)
    if whole:
        from thalweg import compare
        from thalweg.bench.compare import Interrupted

    sys.path.insert(0, STAND_IN)
    if whole:
        try:
            done = compare(problem, [GOOD, FAIR], trials=3, seeds=2, jobs=jobs, store=store)
        except Interrupted as interrupted:
            done = interrupted.results
    else:
        plan = comparison(problem, [GOOD, FAIR])
        done = race(plan, store, LocalEngine({problem.name: problem}, jobs))
    print(json.dumps({"missing": done.missing, "runs": outcomes(done.runs)}))


def start(store, log, *, seconds=0.1, jobs=1, grace=3.0, whole=True):
    settings = {"seconds": seconds, "jobs": jobs, "grace": grace, "whole": whole}
    code = (
        "import json, sys\nfrom tests.bench.racing import main\n"
        "main(*sys.argv[1:3], **json.loads(sys.argv[3]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(store), str(log), json.dumps(settings)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def answer(program):
    """What a program says that must end well and not complain."""
    said, complained = program.communicate(timeout=120)
    assert program.returncode == 0, complained
    assert not complained, complained
    return json.loads(said)


def wait_for(program, log, n, event="end"):
    until = time.monotonic() + 60
    while log_of(log, event).total() < n:
        assert program.poll() is None, program.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


def assert_gone(pids):
    until = time.monotonic() + 10
    while any(is_alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in pids if is_alive(pid)]
