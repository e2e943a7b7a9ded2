import math
import random
import statistics
import subprocess
import sys

import pytest

from tests.bench.racing import ROOT
from thalweg.bench.tuning import STARTUP, best_trial, distributions, labelled, propose
from thalweg.core.method import Choice, Interval

SPACE = {
    "m.lr": Interval(1e-5, 1e-1, log=True),
    "m.momentum": Interval(0.0, 0.99),
    "m.rank": Interval(1, 8, integer=True),
    "m.width": Interval(1, 1024, log=True, integer=True),
    "m.betas": Choice(((0.9, 0.999), (0.8, 0.9), (0.5, 0.5))),
    "m.search": Choice((None, "strong_wolfe")),
    "m.nesterov": Choice((True, False)),
    "m.decay": Choice((0.0, 1e-5, 1e-4)),
}
DEFAULTS = {
    "m.lr": 3e-4,
    "m.momentum": 0.1 + 0.2,
    "m.rank": 2,
    "m.width": 32,
    "m.betas": (0.9, 0.999),
    "m.search": None,
    "m.nesterov": True,
    "m.decay": 0,  # torch writes 0 for 0.0
}
TUNERS = pytest.mark.parametrize("number", [1, STARTUP - 1, STARTUP, STARTUP + 7])


def bowl(parameters):
    """Best at lr 1e-2 and momentum 0.5."""
    return (math.log10(parameters["m.lr"]) + 2) ** 2 + 4 * (parameters["m.momentum"] - 0.5) ** 2


def search(trials, *, space=SPACE, defaults=DEFAULTS, value=bowl, seed=3, better="lower"):
    history = []
    for number in range(trials):
        parameters = propose(number, space, defaults, history, better=better, seed=seed)
        history.append((parameters, value(parameters)))
    return history


@pytest.fixture(scope="module")
def history():
    return search(STARTUP + 8)


def test_the_first_trial_takes_the_defaults_untouched():
    proposed = propose(0, SPACE, DEFAULTS, [], better="higher", seed=0)
    assert proposed == DEFAULTS
    assert all(type(proposed[name]) is type(DEFAULTS[name]) for name in DEFAULTS)
    assert repr(proposed["m.momentum"]) == "0.30000000000000004"


def test_values_lie_in_their_space_and_keep_their_type(history):
    for parameters, _ in history:
        assert list(parameters) == list(SPACE)
        for name, part in SPACE.items():
            assert parameters[name] in part, name
        assert type(parameters["m.rank"]) is type(parameters["m.width"]) is int
        assert type(parameters["m.betas"]) is tuple
        assert type(parameters["m.nesterov"]) is bool


def test_the_search_covers_its_space(history):
    tried = [parameters for parameters, _ in history[1:STARTUP]]
    rates = [math.log10(parameters["m.lr"]) for parameters in tried]
    assert {math.floor(rate) for rate in rates} == {-5, -4, -3, -2}
    assert len({parameters["m.rank"] for parameters in tried}) >= 4
    for name in ("m.betas", "m.search", "m.nesterov", "m.decay"):
        assert len({parameters[name] for parameters in tried}) >= 2, name


@TUNERS
def test_a_proposal_depends_on_its_arguments_alone(history, number):
    known = history[:number]
    first = propose(number, SPACE, DEFAULTS, known, better="lower", seed=3)
    random.seed(0)
    assert propose(number, SPACE, DEFAULTS, list(known), better="lower", seed=3) == first
    assert propose(number, SPACE, DEFAULTS, known, better="lower", seed=4) != first


def test_the_same_is_proposed_in_another_process(history):
    code = "from tests.bench.test_tuning import search, STARTUP\nprint(repr(search(STARTUP + 8)))"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == repr(history)


@pytest.mark.usefixtures("no_warnings")
@TUNERS
def test_no_choice_makes_optuna_warn(history, number):
    propose(number, SPACE, DEFAULTS, history[:number], better="lower", seed=0)
    distributions(SPACE)


def test_choices_are_kept_by_their_text():
    kept = labelled(DEFAULTS, SPACE)
    assert kept["m.betas"] == "(0.9, 0.999)"
    assert kept["m.search"] == "None"
    assert kept["m.decay"] == "0.0"
    assert kept["m.lr"] == 3e-4
    assert distributions(SPACE)["m.betas"].choices == ("(0.9, 0.999)", "(0.8, 0.9)", "(0.5, 0.5)")


def test_trials_of_a_round_differ_though_they_know_the_same_history(history):
    for start in (1, STARTUP):
        known = history[:start]
        proposed = [
            propose(number, SPACE, DEFAULTS, known, better="lower", seed=3)
            for number in range(start, start + 4)
        ]
        assert len({repr(item) for item in proposed}) == 4


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_what_is_learnt_beats_chance(better):
    space = {name: SPACE[name] for name in ("m.lr", "m.momentum")}
    defaults = {"m.lr": 1e-5, "m.momentum": 0.0}
    sign = 1 if better == "lower" else -1
    trials = 30
    learnt, drawn = [], []
    for seed in range(5):
        found = search(
            trials,
            space=space,
            defaults=defaults,
            value=lambda parameters: sign * bowl(parameters),
            seed=seed,
            better=better,
        )
        learnt.append(min(sign * value for _, value in found))
        chance = random.Random(seed)
        drawn.append(
            min(
                bowl({"m.lr": 10 ** chance.uniform(-5, -1), "m.momentum": chance.uniform(0, 0.99)})
                for _ in range(trials)
            )
        )
    assert statistics.median(learnt) < statistics.median(drawn) / 2


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_a_search_goes_on_from_trials_that_failed_or_were_infinite(better):
    values = iter([math.nan, math.inf, -math.inf, math.nan] * 4)
    found = search(STARTUP + 4, value=lambda parameters: next(values), better=better)
    assert all(parameters[name] in part for parameters, _ in found for name, part in SPACE.items())


@pytest.mark.parametrize(
    ("values", "better", "best"),
    [
        ([0.1, 0.3, 0.2], "higher", 1),
        ([0.1, 0.3, 0.2], "lower", 0),
        ([0.3, 0.3, 0.3], "higher", 0),
        ([0.1, 0.3, 0.3], "higher", 1),
        ([math.nan, 0.3, 0.2], "lower", 2),
        ([math.nan, math.nan], "lower", 0),
        ([math.nan, -math.inf, math.inf], "lower", 1),
        ([math.nan, -5.0], "higher", 1),
    ],
)
def test_the_best_trial(values, better, best):
    assert best_trial([({}, value) for value in values], better) == best
