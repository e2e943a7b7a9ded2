"""What fitting GBNN costs, next to scikit-learn's models and to the authors' code, in one run.

    python benchmarks/gbnn.py [--rounds 5] [--units 100] [--json]

One thread. Contenders of equal size (hidden units, or trees) take turns on the same data and the
same settings: one unit per step, at most 200 iterations of L-BFGS, all rows. A cell is the median
over the rounds; a ratio is the median over the rounds of the ratio within a round. The authors'
code is measured if it can be imported (`pip install --no-deps gbnn`).
"""

import os
import sys

sys.path.pop(0)  # this file's folder, where its own name would hide the authors' package
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before NumPy is loaded

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from side_by_side import show
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine, make_friedman1
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale

from thalweg.estimators import GBNNClassifier, GBNNRegressor

warnings.simplefilter("ignore")
DATA = {
    "diabetes, 442 x 10": lambda: load_diabetes(return_X_y=True),
    "Friedman's, 3000 x 10": lambda: make_friedman1(3000, noise=1.0, random_state=0),
    "breast cancer, 569 x 30, 2 classes": lambda: load_breast_cancer(return_X_y=True),
    "wine, 178 x 13, 3 classes": lambda: load_wine(return_X_y=True),
}


def contenders(number: bool, units: int) -> dict[str, Callable[[], Any]]:
    boosted, mlp, trees = (
        (GBNNRegressor, MLPRegressor, GradientBoostingRegressor)
        if number
        else (GBNNClassifier, MLPClassifier, GradientBoostingClassifier)
    )
    network = {"hidden_layer_sizes": (units,), "activation": "logistic", "random_state": 0}
    made = {
        "GBNN": lambda: boosted(units, random_state=0),
        "GBNN, 4 units per step": lambda: boosted(units, units_per_step=4, random_state=0),
        "scikit-learn's MLP, lbfgs": lambda: mlp(solver="lbfgs", **network),
        "scikit-learn's MLP, adam": lambda: mlp(solver="adam", **network),
        "scikit-learn's gradient boosting": lambda: trees(n_estimators=units, random_state=0),
    }
    if importlib.util.find_spec("gbnn"):
        import gbnn.GBNN

        gbnn.GBNN.is_classifier = lambda model: isinstance(model, ClassifierMixin)
        theirs = gbnn.GBNN.GNEGNERegressor if number else gbnn.GBNN.GNEGNEClassifier
        made["GBNN, the authors' code"] = lambda: theirs(
            total_nn=units, eta=0.1, subsample=1.0, random_state=0
        )
    return made


def measure(name: str, units: int, rounds: int) -> list[dict[str, float]]:
    """Return for each round the seconds of each contender."""
    X, y = DATA[name]()
    number = "classes" not in name
    X, y = scale(X), scale(y) if number else y
    found = []
    for _ in range(rounds):
        seconds = {}
        for label, make in contenders(number, units).items():
            model = make()
            start = time.perf_counter()
            model.fit(np.copy(X), np.copy(y))
            seconds[label] = time.perf_counter() - start
        found.append(seconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    results = {}
    for name in DATA:
        rounds = measure(name, options.units, options.rounds)
        results[f"fit of {options.units} units, {name}"] = {
            label: {
                "seconds": median(r[label] for r in rounds),
                "to GBNN": median(r[label] / r["GBNN"] for r in rounds),
            }
            for label in rounds[0]
        }
    show(results, options.json)


if __name__ == "__main__":
    main()
