"""An estimator that obeys all laws, and ways to break it."""

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from tests.laws import calling
from tests.laws import test_estimators as laws
from tests.laws.cases import Fault
from thalweg.core.example import Example


class Sound(RegressorMixin, BaseEstimator):
    """Least squares on random features."""

    def __init__(self, n_features=40, *, alpha=1e-6, random_state=None):
        self.n_features = n_features
        self.alpha = alpha
        self.random_state = random_state

    def fit(self, X, y):
        X, y = validate_data(self, X, y, y_numeric=True, dtype=np.float64)
        rng = self.generator()
        self.directions_ = rng.normal(size=(X.shape[1], self.n_features)) / X.std()
        self.mean_ = y.mean()
        H = self.features(X)
        gram = H.T @ H + self.strength() * np.eye(self.n_features)
        self.coef_ = np.linalg.solve(gram, H.T @ (y - self.mean_))
        return self

    def predict(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return self.mean_ + (self.features(X) * self.coef_).sum(1)

    def features(self, X):
        return np.tanh((X[:, :, None] * self.directions_).sum(1))

    def generator(self):
        return check_random_state(self.random_state)

    def strength(self):
        return self.alpha


class IgnoresRandomState(Sound):
    def generator(self):
        return np.random.mtrand._rand


class DeadRandomState(Sound):
    def generator(self):
        return np.random.RandomState(0)


class DeadKnob(Sound):
    def strength(self):
        return 1e-6


class CentresTheBatch(Sound):
    def features(self, X):
        H = super().features(X)
        return H - H.mean(0)


class ChangesItsParameters(Sound):
    def fit(self, X, y):
        self.alpha = max(self.alpha, 1e-3)
        return super().fit(X, y)


class InPlace(Sound):
    def fit(self, X, y):
        super().fit(X, y)
        y -= y.mean()
        return self


class NoCheckOfInputs(Sound):
    def predict(self, X):
        return self.mean_ + (self.features(np.asarray(X)) * self.coef_).sum(1)


class WarmStart(Sound):
    def fit(self, X, y):
        before = getattr(self, "mean_", 0.0)
        super().fit(X, y)
        self.mean_ += 0.1 * before
        return self


class LastStageIsShort(Sound):
    def staged_predict(self, X):
        H = self.features(np.asarray(X)) * self.coef_
        for last in (10, 20, 30):
            yield self.mean_ + H[:, :last].sum(1)


class Swallows(Sound):
    def __init__(self, *, n_features=40, alpha=1e-6, random_state=None, **rest):
        super().__init__(n_features, alpha=alpha, random_state=random_state)


def _example(estimator):
    return Example(estimator, "estimator", knobs={"n_features": (40, 30), "alpha": (1e-6, 1e-1)})


def _fault(name, estimator, law, says):
    return Fault(f"estimator-{name}", _example(estimator), law, says)


SOUND = [_example(Sound)]
FAULTS = [
    _fault(
        "ignores-random-state", IgnoresRandomState, laws.the_random_state_rules, "global generator"
    ),
    _fault("dead-random-state", DeadRandomState, laws.the_random_state_rules, "has no effect"),
    _fault("dead-knob", DeadKnob, laws.knobs_are_live, "alpha has no effect"),
    _fault(
        "centres-the-batch",
        CentresTheBatch,
        laws.a_sample_is_predicted_by_itself,
        "depends on others",
    ),
    _fault(
        "changes-its-parameters",
        ChangesItsParameters,
        laws.inputs_are_untouched,
        "fit changes its parameters",
    ),
    _fault("in-place", InPlace, laws.inputs_are_untouched, "its inputs are changed"),
    _fault(
        "no-check-of-inputs",
        NoCheckOfInputs,
        laws.it_passes_the_checks_of_scikit_learn,
        "check_[a-z_]* fails",
    ),
    _fault("warm-start", WarmStart, laws.copies_are_the_same_estimator, "after a second fit"),
    _fault(
        "last-stage-is-short",
        LastStageIsShort,
        laws.the_last_stage_is_the_prediction,
        "is not predict",
    ),
    _fault("swallows", Swallows, calling.misspelt_keywords_are_refused, "accepted in silence"),
]
