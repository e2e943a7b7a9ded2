"""Tuning: the same number of trials for everyone, in spaces fixed before the race."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, QMCSampler, TPESampler
from optuna.trial import TrialState, create_trial

from thalweg.core.method import Choice, Space
from thalweg.core.problem import Better

STARTUP = 10  # trials spread evenly over the space before a model of it is fitted
ROUND = 4  # trials proposed from the same history, so that they can run side by side

Trial = tuple[Mapping[str, Any], float]


def distributions(space: Mapping[str, Space]) -> dict[str, BaseDistribution]:
    """Translate a search space for Optuna, the values of a choice into their texts."""
    return {name: _distribution(part) for name, part in space.items()}


def labelled(parameters: Mapping[str, Any], space: Mapping[str, Space]) -> dict[str, Any]:
    """Translate parameters for Optuna, whose databases keep no tuples."""
    return {name: _label(value, space[name]) for name, value in parameters.items()}


def propose(
    number: int,
    space: Mapping[str, Space],
    defaults: Mapping[str, Any],
    history: Sequence[Trial],
    *,
    better: Better,
    seed: int,
) -> dict[str, Any]:
    """Return the hyperparameters of a trial.

    The first trial takes the defaults, the next ones a low-discrepancy sequence, all later ones
    the tree-structured Parzen estimator. The answer depends on the arguments alone: not on how
    many trials run side by side, nor on the order in which they end.

    Args:
        number: Of the trial, from 0.
        space: Where to search.
        defaults: The paper's values.
        history: Parameters and value of the trials before this one's round; NaN for a trial that
            failed or diverged, which counts as worst.
        better: Direction of the value.
        seed: Of the search.
    """
    if number == 0:
        return dict(defaults)
    where = distributions(space)
    sampler = _sampler(number, seed)
    maximise = better == "higher"
    study = optuna.create_study(sampler=sampler, direction="maximize" if maximise else "minimize")
    worst = -math.inf if maximise else math.inf
    known = history if number >= STARTUP else history[:1]
    for parameters, value in known:
        study.add_trial(
            create_trial(
                params=labelled(parameters, space),
                distributions=where,
                value=worst if math.isnan(value) else value,
                state=TrialState.COMPLETE,
            )
        )
    # A low-discrepancy sequence is walked to its number-th point.
    asked = [study.ask(where) for _ in range(number if number < STARTUP else 1)]
    return {name: _value(label, space[name]) for name, label in asked[-1].params.items()}


def best_trial(trials: Sequence[Trial], better: Better) -> int:
    """Return the position of the best trial; the first, the paper's defaults, on equal values."""
    sign = 1 if better == "higher" else -1
    return max(
        range(len(trials)),
        key=lambda i: -math.inf if math.isnan(trials[i][1]) else sign * trials[i][1],
    )


def _sampler(number: int, seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if number < STARTUP:
            return QMCSampler(seed=seed % 2**32, scramble=True, warn_independent_sampling=False)
        return TPESampler(seed=(seed + number) % 2**32, multivariate=True, n_startup_trials=1)


def _distribution(part: Space) -> BaseDistribution:
    if isinstance(part, Choice):
        return CategoricalDistribution([repr(value) for value in part.values])
    if part.integer:
        return IntDistribution(int(part.low), int(part.high), log=part.log)
    return FloatDistribution(part.low, part.high, log=part.log)


def _label(value: Any, part: Space) -> Any:
    # A default may be written otherwise than its equal in the space: 0 for 0.0.
    return repr(part.values[part.values.index(value)]) if isinstance(part, Choice) else value


def _value(label: Any, part: Space) -> Any:
    if not isinstance(part, Choice):
        return label
    return next(value for value in part.values if repr(value) == label)


optuna.logging.set_verbosity(optuna.logging.WARNING)
