"""Programs that hammer one store, for the tests of any database."""

import random
import subprocess
import sys
import time
from collections import Counter

from optuna.trial import TrialState

from tests.bench.racing import ROOT, impatient
from thalweg.bench.store import Shelf, Store
from thalweg.bench.work import Record
from thalweg.core.method import Choice, Interval
from thalweg.core.trace import Cost, Point, Trace

SHELF = Shelf("hammered", "higher")
SPACE = {"m.lr": Interval(1e-3, 1.0, log=True), "m.betas": Choice(((0.9, 0.99), (0.5, 0.9)))}
PARAMETERS = {"m.lr": 0.1, "m.betas": (0.5, 0.9)}
KEYS = [f"key {i}" for i in range(8)]


def record(value=0.5, outcome="finished", error=None):
    points = tuple(Point(Cost(steps=i), {"score": value * i}) for i in range(3))
    return Record(Trace(points, outcome, error), "start", "machine", 1.0, 2.0)


def hammer(url, log, seconds, grace):
    """Complete every key there is, together with whoever else does so."""
    impatient(heartbeat=0.1, grace=grace)
    store = Store(url)
    keys = random.sample(KEYS, len(KEYS))
    while missing := [key for key in keys if key not in store.find(SHELF)]:
        for key in missing:
            claim = store.claim(SHELF, key, PARAMETERS, SPACE)
            if claim is not None:
                time.sleep(seconds)
                if store.finish(claim, record(), 1.0):
                    with open(log, "a") as file:
                        file.write(f"{key}\n")
        time.sleep(0.02)
    store.close()


def start(url, log, *, seconds=0.01, grace=20.0):
    code = (
        "import sys\nfrom tests.bench.contention import hammer\n"
        "hammer(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(url), str(log), str(seconds), str(grace)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(*programs):
    """Wait for programs that must end well and say nothing."""
    for program in programs:
        _, said = program.communicate(timeout=60)
        assert (program.returncode, said) == (0, "")


def rows_by_key(url, state):
    store = Store(str(url))
    try:
        rows = [row for row in store._rows(SHELF) if row.state == state]
        return Counter(row.user_attrs["key"] for row in rows)
    finally:
        store.close()


def known_keys(url):
    store = Store(str(url))
    try:
        return set(store.find(SHELF))
    finally:
        store.close()


def contend(url, log, n_programs=3):
    """Let programs that begin at the same moment, on a store that is not there yet, contend."""
    end(*[start(url, log) for _ in range(n_programs)])
    assert rows_by_key(url, TrialState.COMPLETE) == Counter(KEYS)
    assert not rows_by_key(url, TrialState.RUNNING)  # nobody was killed
    assert Counter(log.read_text().splitlines()) == Counter(KEYS)
