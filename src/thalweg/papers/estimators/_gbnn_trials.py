"""What the claims about GBNN measure, and how they are judged."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine, make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import RandomizedSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from thalweg.core.claim import Finding, Size, Verdict
from thalweg.core.verdicts import combine, typical
from thalweg.estimators import GBNNClassifier, GBNNRegressor
from thalweg.training.metrics import METRICS

_DATA: dict[str, Callable[[int], Any]] = {
    "diabetes": lambda seed: load_diabetes(return_X_y=True),
    "friedman": lambda seed: make_friedman1(600, noise=1.0, random_state=seed),
    "breast-cancer": lambda seed: load_breast_cancer(return_X_y=True),
    "wine": lambda seed: load_wine(return_X_y=True),
}
_NUMERIC = ("diabetes", "friedman")
_BOOSTED = {  # the grid of the authors' README
    "learning_rate": (0.025, 0.05, 0.1, 0.5, 1.0),
    "subsample": (0.25, 0.5, 0.75, 1.0),
    "units_per_step": (1, 2, 3, 4),
}
_JOINT = {
    "solver": ("lbfgs", "adam", "sgd"),
    "alpha": (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
    "learning_rate_init": (1e-3, 1e-2, 1e-1),
}


def _split(name: str, seed: int) -> list[Any]:
    """Return inputs to train and to test on, then targets; standardised by the first."""
    X, y = _DATA[name](seed)
    parts = train_test_split(X, y, random_state=seed, stratify=None if name in _NUMERIC else y)
    if name in _NUMERIC:
        parts[2:] = [(targets - parts[2].mean()) / parts[2].std() for targets in parts[2:]]
    scaler = StandardScaler().fit(parts[0])
    return [*map(scaler.transform, parts[:2]), *parts[2:]]


def _networks(name: str, units: int, seed: int) -> tuple[Any, Any]:
    """Return two networks of one form, to be boosted and to be trained as a whole."""
    boosted = (GBNNRegressor if name in _NUMERIC else GBNNClassifier)(units, random_state=seed)
    settings = {"activation": "logistic", "max_iter": 500, "random_state": seed}
    joint = MLPRegressor if name in _NUMERIC else MLPClassifier
    return boosted, joint(hidden_layer_sizes=(units,), **settings)


def _fit(model: Any, x: Any, y: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of a setting that tuning rejects
        return model.fit(x, y)


def against_joint_training(seed: int, size: Size) -> Mapping[str, float]:
    """Score on test data a boosted and a jointly trained network, equal in size and tuning."""
    units, trials = (60, 6) if size == "full" else (12, 2)
    figures = {}
    for name in _DATA if size == "full" else ("wine",):
        x, x_test, y, y_test = _split(name, seed)
        boosted, joint = _networks(name, units, seed)
        for label, model, space in (("boosted", boosted, _BOOSTED), ("joint", joint, _JOINT)):
            search = RandomizedSearchCV(model, space, n_iter=trials, cv=3, random_state=seed)
            figures[f"{name}/{label}"] = float(_fit(search, x, y).score(x_test, y_test))
    return figures


def with_half_the_units(seed: int, size: Size) -> Mapping[str, float]:
    """Score on test data with all units and with the first half, of either network."""
    units, figures = 60 if size == "full" else 12, {}
    for name in _DATA if size == "full" else ("wine",):
        x, x_test, y, y_test = _split(name, seed)
        boosted, joint = (_fit(model, x, y) for model in _networks(name, units, seed))
        grade = r2_score if name in _NUMERIC else accuracy_score
        figures[f"{name}/all"] = boosted.score(x_test, y_test)
        figures[f"{name}/half"] = grade(y_test, boosted.predict(x_test, n_units=units // 2))
        figures[f"{name}/joint all"] = joint.score(x_test, y_test)
        joint.coefs_[1][units // 2 :] = 0.0
        figures[f"{name}/joint half"] = joint.score(x_test, y_test)
    return figures


def _no_worse(figures: Sequence[Mapping[str, float]], ours: str, theirs: str) -> Finding:
    """Judge that one score is not below another by more than the metric's margin."""
    verdicts: list[Verdict] = []
    numbers = []
    for name in dict.fromkeys(key.split("/")[0] for key in figures[0]):
        metric = METRICS["R2" if name in _NUMERIC else "accuracy"]
        what = f"{name}: {metric.name}, {ours} minus {theirs}"
        number = typical(what, [row[f"{name}/{ours}"] - row[f"{name}/{theirs}"] for row in figures])
        low, high = number.interval or (-math.inf, math.inf)
        held: Verdict = "reproduced" if low > -metric.margin else "partly"
        verdicts.append("not reproduced" if held == "partly" and high < 0 else held)
        numbers.append(number)
    words = (f"{number.what}: {number.ours:+.3f}" for number in numbers)
    return Finding(combine(verdicts), f"Medians: {'; '.join(words)}.", tuple(numbers))


def as_good_as_joint_training(figures: Sequence[Mapping[str, float]]) -> Finding:
    return _no_worse(figures, "boosted", "joint")


def half_is_enough(figures: Sequence[Mapping[str, float]]) -> Finding:
    finding = _no_worse(figures, "half", "all")
    control = _no_worse(figures, "joint half", "joint all")
    return replace(finding, numbers=finding.numbers + control.numbers)
