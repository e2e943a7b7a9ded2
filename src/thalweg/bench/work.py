"""One run as a job: what it is, its identity, and how a worker makes it."""

import hashlib
import os
import platform
import time
import traceback
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from thalweg.core.problem import Problem
from thalweg.core.recipe import Recipe
from thalweg.core.trace import Diverged, Outcome, Point, Trace


@dataclass(frozen=True)
class Job:
    """A run to be made.

    Args:
        problem: Name of the problem.
        source: Digest of the problem.
        recipe: What to run, every tuned hyperparameter set.
        seed: Of the run.
        steps: Length of the run.
        device: Where to run.
        final: Judge on the test data at the end.
        versions: Of thalweg and of torch.
    """

    problem: str
    source: str
    recipe: Recipe
    seed: int
    steps: int
    device: str
    final: bool
    versions: str

    @cached_property
    def key(self) -> str:
        """Identity of the run: a run with the key of a finished one need not be made."""
        content = (
            self.source,
            str(self.recipe),
            self.seed,
            self.steps,
            self.device.split(":")[0],
            self.final,
            self.versions,
        )
        return hashlib.sha256(repr(content).encode()).hexdigest()


@dataclass(frozen=True)
class Record:
    """What is kept of a run that was made.

    Args:
        trace: What was measured.
        fingerprint: Hash of initial weights and first batch.
        machine: Where it ran, on how many threads; empty where nothing was measured.
        started: Seconds since the epoch.
        ended: Seconds since the epoch.
    """

    trace: Trace
    fingerprint: str
    machine: str
    started: float
    ended: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for the store."""
        return {**self.__dict__, "trace": self.trace.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Record":
        """Rebuild a record from what :meth:`to_dict` returned."""
        return cls(**{**data, "trace": Trace.from_dict(data["trace"])})


def execute(problem: Problem, job: Job) -> Record:
    """Make a run; whatever goes wrong in it is an outcome."""
    import torch

    _load_what_torch_puts_off()
    started = time.time()
    points: list[Point] = []
    outcome: Outcome = "finished"
    error = None
    fingerprint = ""
    try:
        fingerprint = problem.fingerprint(job.seed)
        for point in problem.run(
            job.recipe, job.seed, steps=job.steps, device=job.device, final=job.final
        ):
            points.append(point)
    except Diverged:
        outcome = "diverged"
    except (Exception, SystemExit) as reason:
        outcome = "out of memory" if _is_out_of_memory(reason) else "failed"
        error = traceback.format_exc()
    where = f"{machine()}, {torch.get_num_threads()} threads a run"
    return Record(Trace(tuple(points), outcome, error), fingerprint, where, started, time.time())


def lost(reason: str) -> Record:
    """Return the record of a run that came to no outcome of its own."""
    now = time.time()
    return Record(Trace((), "failed", reason), "", "", now, now)


@cache
def _load_what_torch_puts_off() -> None:
    """Else the first run of a process would pay for the seconds that it takes."""
    import torch

    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter])
    torch.autograd.backward(parameter.sum())
    optimizer.step()


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    # On the CPU torch has no class of its own for it.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


@cache
def machine() -> str:
    """Describe this machine: timings on unlike machines are not compared."""
    import torch

    processor = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            models = (line.split(":", 1)[1].strip() for line in lines if "model name" in line)
            processor = next(models, processor)
    parts = [platform.system(), f"{processor}, {os.cpu_count()} cores"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return "; ".join(parts)
