"""Planted faults are found; `benchmarks/diagnose.py` makes the table of all cases and seeds."""

import pytest

from tests.diagnose.cases import DEVELOPMENT, FAULTY, HEALTHY
from thalweg import diagnose
from thalweg.diagnosis.examine import instruments

CASES = {case.name: case for case in (*FAULTY, *HEALTHY)}
DEAR = (
    *("labels", "learning-rate", "curvature", "largest-rate", "coherence", "spikes", "sharpness"),
    *("bounds", "memorization", "information"),
)
CHEAP = [name for name in instruments() if name not in DEAR]


def examined(name, only):
    case, seed = CASES[name], DEVELOPMENT[0]
    return diagnose(case.problem(seed), recipe=case.recipe, only=only, seed=seed, device="cpu")


@pytest.mark.parametrize(
    "name",
    [
        "duplicated-test-rows",
        "dead-relus",
        "collapsed-features",
        "class-imbalance",
        "mislabelled-class",
        "frozen-layer",
        "mode-error",
    ],
)
def test_the_cheap_instruments_find_the_fault(name):
    found = examined(name, CHEAP)
    assert found.symptoms[0].name == CASES[name].expected, found.verdict
    assert found.symptoms[0].severity != "note"


@pytest.mark.parametrize(
    ("name", "only"),
    [
        ("noisy-labels", "labels"),
        ("rate-10x-too-high", "learning-rate"),
        ("random-labels", "gap,coherence"),
    ],
)
def test_the_dear_ones_do(name, only):
    found = examined(name, only)
    assert (found.symptoms[0].name, found.symptoms[0].severity) == (CASES[name].expected, "fault")


def test_a_healthy_run_gets_nothing_above_a_note():
    found = examined("healthy-sgd-cosine", [*CHEAP, "curvature", "largest-rate"])
    assert {item.outcome for item in found.examinations} <= {"done", "unfit"}
    assert {symptom.severity for symptom in found.symptoms} <= {"note"}, found.verdict
