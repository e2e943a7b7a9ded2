import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from tests.bench.racing import (
    ROOT,
    Inline,
    assert_gone,
    comparison,
    log_of,
    outcomes,
    race,
    recipe,
    workers_of,
)
from tests.bench.tiny import DEADLY, FAIR, GOOD, Tiny, dies_once
from thalweg.bench import comparison as comparison_module
from thalweg.bench.comparison import ATTEMPTS
from thalweg.bench.engines import Died, LocalEngine
from thalweg.bench.work import Job, Record
from thalweg.core.catalogue import catalogue
from thalweg.core.trace import Cost, Point, Trace
from thalweg.training import METRICS, TrainingProblem


def local(problem, jobs=1):
    return LocalEngine({problem.name: problem}, jobs)


def job(problem, method=GOOD, seed=0):
    return Job(
        problem.name,
        problem.source,
        recipe(method, lr=0.1, betas=(0.5, 0.9)),
        seed,
        4,
        "cpu",
        True,
        "0",
    )


def first_answer(engine, seconds=60.0):
    until = time.monotonic() + seconds
    while not (ended := engine.wait(0.1)):
        assert time.monotonic() < until
    ((_, answer),) = ended
    return answer


@pytest.mark.usefixtures("torchless")
def test_a_lane_serves_job_after_job_and_ends_with_the_engine(folder):
    threads = threading.active_count()
    problem = Tiny(log=str(folder / "log"))
    engine = local(problem)
    assert engine.free == 1
    assert engine.wait(0.0) == []
    for seed in range(3):
        engine.submit(job(problem, seed=seed))
        assert engine.free == 0
        answer = first_answer(engine)
        assert isinstance(answer, Record)
        assert (answer.trace.outcome, answer.fingerprint) == ("finished", f"start {seed}")
        assert answer.machine.endswith(f"{os.cpu_count()} threads a run")
        assert engine.free == 1
    (worker,) = workers_of(problem.log)
    # A worker that is killed while it has nothing to do is missed by nobody.
    os.kill(worker, signal.SIGKILL)
    assert_gone([worker])
    time.sleep(0.2)
    engine.submit(job(problem))
    assert first_answer(engine).trace.outcome == "finished"
    assert workers_of(problem.log) > {worker}
    engine.submit(job(Tiny(log=problem.log, seconds=60)))
    engine.close()
    assert_gone(workers_of(problem.log))
    until = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < until:
        time.sleep(0.05)
    assert threading.active_count() == threads


class Unreadable:
    def __reduce__(self):
        return _fail_to_load, ()


def _fail_to_load():
    raise ImportError("there is no module named 'nirvana' here")


@dataclass(frozen=True)
class Unloadable(Tiny):
    """A problem that a worker cannot unpickle."""

    part: object = Unreadable()


def test_what_is_wrong_with_a_job_is_no_death_of_its_worker(folder):
    engine = local(Unloadable())
    engine.submit(job(Tiny()))
    answer = first_answer(engine)
    assert (answer.trace.outcome, answer.trace.points) == ("failed", ())
    assert "ImportError: there is no module named 'nirvana' here" in answer.trace.error
    assert engine.free == 1
    engine.submit(job(Tiny(), method=recipe(GOOD, part=threading.Lock()).ingredients[0].method))
    assert first_answer(engine).trace.outcome == "failed"
    engine.close()


@pytest.mark.usefixtures("torchless")
def test_a_worker_that_dies_loses_its_own_run_and_no_other(folder, path):
    problem = Tiny(log=str(folder / "log"), seconds=0.3)
    mortal = dies_once(str(folder / "died"))
    plan = comparison(problem, [GOOD, mortal], trials=0, seeds=3)
    carried = race(plan, path, local(problem, jobs=2))
    assert sorted(log_of(problem.log, "begin").values()) == [1] * (plan.size - 1) + [2]
    assert sorted(log_of(problem.log).values()) == [1] * plan.size
    assert len(workers_of(problem.log)) == 3
    assert_gone(workers_of(problem.log))
    assert outcomes(carried.runs) == outcomes(race(plan, folder / "other", Inline(Tiny())).runs)


@pytest.mark.usefixtures("torchless")
def test_a_run_that_kills_every_worker_fails_and_ranks_worst(folder, path, monkeypatch):
    monkeypatch.setattr(comparison_module, "ATTEMPTS", 2)
    problem = Tiny(log=str(folder / "log"))
    plan = comparison(problem, [GOOD, DEADLY], trials=0, seeds=1)
    carried = race(plan, path, local(problem))
    runs = {run.contender: run for run in carried.runs}
    assert runs["good"].trace.outcome == "finished"
    deadly = runs["deadly"].trace
    assert (deadly.outcome, carried.missing) == ("failed", 0)
    assert deadly.error.startswith("the worker died 2 times: TerminatedWorkerError: ")
    assert "SIGKILL" in deadly.error
    assert "\n" not in deadly.error
    assert sorted(log_of(problem.log, "begin").values()) == [1, 2]
    assert race(plan, path, Counting(problem)).missing == 0


class Counting(Inline):
    """An engine on which every run dies, and only one is asked for."""

    def submit(self, job):
        assert job.recipe.ingredients[0].method is DEADLY
        super().submit(job)

    def wait(self, seconds):
        return [(self.waiting.pop(), Died("again"))] if self.waiting else []


@pytest.mark.parametrize("deaths", range(ATTEMPTS + 1))
def test_a_dead_worker_is_replaced_so_many_times(path, deaths):
    class Mortal(Inline):
        def wait(self, seconds):
            if len(self.begun) <= deaths and self.waiting:
                return [(self.waiting.pop(), Died("for this once"))]
            return super().wait(seconds)

    engine = Mortal(Tiny())
    (run,) = race(comparison(Tiny(), [FAIR], trials=0, seeds=1), path, engine).runs
    assert len(engine.begun) == min(deaths + 1, ATTEMPTS)
    if deaths < ATTEMPTS:
        assert run.trace.outcome == "finished"
    else:
        assert run.trace == Trace((), "failed", f"the worker died {ATTEMPTS} times: for this once")


def test_processes_and_lanes_change_no_number(folder):
    generator = torch.Generator().manual_seed(0)
    input = torch.randn(60, 3, generator=generator)
    problem = TrainingProblem(
        "signs",
        model=lambda: nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 2)),
        train=(input, (input.sum(1) > 0).long()),
        loss=nn.CrossEntropyLoss(),
        metric=METRICS["cross-entropy"],
        batch_size=8,
        steps=20,
        evaluations=3,
    )
    methods = [catalogue().recipe(name) for name in ("adamw", "sgd+cosine")]
    plan = comparison(problem, methods, trials=2, seeds=2)
    here = outcomes(race(plan, folder / "here", Inline(problem)).runs)
    assert len(here) == plan.size
    assert {outcome for _, _, outcome, _ in here.values()} == {"finished"}
    assert outcomes(race(plan, folder / "there", local(problem, jobs=2)).runs) == here


@dataclass(frozen=True)
class Loading(Tiny):
    """Its quality is the number of modules that its first optimizer step makes torch load."""

    def run(self, recipe, seed, *, steps, device, final):
        before = len(sys.modules)
        parameter = torch.zeros(2, requires_grad=True)
        optimizer = torch.optim.AdamW([parameter])
        parameter.sum().backward()
        optimizer.step()
        yield Point(Cost(), {self.progress: len(sys.modules) - before})


def test_no_run_pays_for_what_torch_loads(folder):
    engine = local(Loading())
    engine.submit(job(Loading()))
    assert first_answer(engine).trace.points[-1].quality == {Tiny.progress: 0}
    engine.close()


def test_a_program_without_a_guard_can_race(folder):
    # Workers do not import the program's main module again.
    script = folder / "script.py"
    script.write_text(
        "from tests.bench.racing import *\n"
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Tiny):\n"
        "    name: str = 'mine'\n"
        "plan = comparison(Mine(), [GOOD], trials=0, seeds=1)\n"
        f"done = race(plan, {str(folder / 'runs')!r}, LocalEngine({{'mine': Mine()}}, 1))\n"
        "print(done.runs[0].trace.outcome)\n"
    )
    said = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.stdout, said.stderr) == ("finished\n", "")
