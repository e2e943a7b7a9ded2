"""A problem as fast as Python is, and contenders of every character."""

import hashlib
import math
import os
import random
import signal
import time
from dataclasses import dataclass

from thalweg.core.method import Choice, Interval, Method
from thalweg.core.problem import Metric
from thalweg.core.trace import Cost, Diverged, Point


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
        self._note("begin", recipe, seed, steps, final)
        score = ingredient.method.build(**ingredient.arguments)
        for quarter in range(5):
            time.sleep(self.seconds / 5)
            step = steps * quarter // 4
            value = score(random.Random(seed).random(), quarter / 4)
            quality = {self.progress: value}
            if final and quarter == 4:
                quality[self.judged] = value - 0.125
            cost = Cost(
                steps=step,
                seconds=step * self.per_step,
                startup=min(step, 1) * self.per_step,
                gradients=step,
            )
            yield Point(cost, quality)
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
