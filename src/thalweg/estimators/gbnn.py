"""GBNN: a network with one hidden layer, grown a few units at a time by gradient boosting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import from_numpy, nn

Array = NDArray[np.float64]

# Of each activation: itself, its slope by its value, the spread of the first weights (Glorot's, as
# scikit-learn has it), torch's module.
_ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any], int, type[nn.Module]]] = {
    "logistic": (expit, lambda h: h * (1 - h), 2, nn.Sigmoid),
    "tanh": (np.tanh, lambda h: 1 - h * h, 6, nn.Tanh),
    "relu": (lambda z: np.maximum(z, 0), lambda h: h > 0, 6, nn.ReLU),
}


class _Loss(NamedTuple):
    constant: Callable[[Array, Array], Array]  # of targets and weights: the best constant output
    residual: Callable[[Array, Array], Array]  # of targets and outputs: minus the gradient
    curvature: (
        Callable[[Array, Array], Array] | None
    )  # of targets and residuals; None: no line step


_SQUARED = _Loss(lambda y, w: np.average(y, axis=0, weights=w), lambda y, f: y - f, None)
_LOGISTIC = _Loss(  # targets -1 and 1
    lambda y, w: np.arctanh(np.average(y, axis=0, weights=w)),
    lambda y, f: 2 * y * expit(-2 * y * f),
    lambda y, r: r * (2 * y - r),
)
_SOFTMAX = _Loss(  # targets one-hot
    lambda y, w: np.zeros(y.shape[1]),
    lambda y, f: y - softmax(f, axis=1),
    lambda y, r: (y - r) * (1 - y + r),
)


class _GBNN(BaseEstimator):  # type: ignore[misc]
    """The boosting of a network, whatever the loss."""

    def __init__(
        self,
        total_units: int = 200,
        *,
        units_per_step: int = 1,
        learning_rate: float = 0.1,
        subsample: float = 1.0,
        activation: str = "logistic",
        alpha: float = 1e-4,
        max_iter: int = 200,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.total_units = total_units
        self.units_per_step = units_per_step
        self.learning_rate = learning_rate
        self.subsample = subsample
        self.activation = activation
        self.alpha = alpha
        self.max_iter = max_iter
        self.random_state = random_state

    def _validate(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, *, numeric: bool
    ) -> tuple[Array, NDArray[Any], Array]:
        """Return the rows that count, with targets and weights."""
        for name, holds, expected in (
            ("units_per_step", self.units_per_step >= 1, "at least 1"),
            ("learning_rate", self.learning_rate > 0, "positive"),
            ("subsample", 0 < self.subsample <= 1, "in (0, 1]"),
            ("activation", self.activation in _ACTIVATIONS, f"one of {', '.join(_ACTIVATIONS)}"),
            ("alpha", self.alpha >= 0, "at least 0"),
            ("max_iter", self.max_iter >= 1, "at least 1"),
        ):
            if not holds:
                raise ValueError(f"{name} must be {expected}, not {getattr(self, name)!r}.")
        if self.total_units < 1 or self.total_units % self.units_per_step:
            raise ValueError(
                f"total_units must be a positive multiple of units_per_step = "
                f"{self.units_per_step}, not {self.total_units}."
            )
        inputs, targets = validate_data(self, X, y, dtype=np.float64, y_numeric=numeric)
        weight = _check_sample_weight(
            sample_weight, inputs, dtype=np.float64, ensure_non_negative=True
        )
        return inputs[weight > 0], targets[weight > 0], weight[weight > 0]

    def _boost(self, X: Array, y: Array, weight: Array, loss: _Loss) -> None:
        # Each fit magnifies rounding: rows in another order, or repeated instead of weighted, give
        # the same network only if they come to the very same sums.
        distinct, index = np.unique(np.hstack([X, y]), axis=0, return_inverse=True)
        X, y = np.split(distinct, [X.shape[1]], axis=1)
        weight = np.bincount(index.ravel(), weight).astype(np.float64)
        rng = check_random_state(self.random_state)
        n_rows = max(1, int(self.subsample * len(X)))
        activate = _ACTIVATIONS[self.activation][0]
        X, w = np.column_stack([X, np.ones(len(X))]), weight[:, None]
        intercepts = [loss.constant(y, weight)]
        output = np.tile(intercepts[0], (len(X), 1))
        hidden, outer, steps, self.n_iter_ = [], [], [], 0
        for _ in range(self.total_units // self.units_per_step):
            residual = loss.residual(y, output)
            rows = slice(None) if n_rows == len(X) else rng.permutation(len(X))[:n_rows]
            inner, last, n_iter = self._fit_units(X[rows], residual[rows], w[rows], rng)
            h = activate(X @ inner) @ last[:-1] + last[-1]
            step = 1.0
            if loss.curvature:
                bend = float(np.sum(w * h * h * loss.curvature(y, residual)))
                step = float(np.sum(w * residual * h)) / bend if bend > 0 else 0.0
            output += self.learning_rate * step * h
            last *= self.learning_rate * step
            hidden.append(inner)
            outer.append(last[:-1])
            intercepts.append(intercepts[-1] + last[-1])
            steps.append(step)
            self.n_iter_ += n_iter
        layer = np.hstack(hidden)
        self.hidden_coef_, self.hidden_intercept_ = layer[:-1], layer[-1]
        self.output_coef_, self.output_intercepts_ = np.vstack(outer), np.array(intercepts)
        self.steps_ = np.array(steps)

    def _fit_units(
        self, X: Array, residual: Array, weight: Array, rng: np.random.RandomState
    ) -> tuple[Array, Array, int]:
        """Fit a few units with linear output to the residuals; the last rows are intercepts."""
        activate, slope, spread, _ = _ACTIVATIONS[self.activation]
        (n, d), j, k = X.shape, self.units_per_step, residual.shape[1]
        cut = d * j
        bounds = np.sqrt(spread / (d - 1 + j)), np.sqrt(spread / (j + k))
        start = [rng.uniform(-b, b, m) for b, m in zip(bounds, (cut, j * k + k), strict=True)]
        total = weight.sum()
        share = weight / total
        decay = np.repeat([self.alpha / total, 0.0] * 2, [cut - j, j, j * k, k])
        h = np.ones((n, j + 1))

        def objective(flat: Array) -> tuple[float, Array]:
            inner, last = flat[:cut].reshape(d, j), flat[cut:].reshape(j + 1, k)
            h[:, :j] = activate(X @ inner)
            error = h @ last - residual
            weighted = share * error
            back = (weighted @ last[:j].T) * slope(h[:, :j])
            pull = decay * flat
            gradient = np.concatenate([(X.T @ back).ravel(), (h.T @ weighted).ravel()]) + pull
            return 0.5 * float(np.vdot(weighted, error) + flat @ pull), gradient

        found = minimize(
            objective,
            np.concatenate(start),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.max_iter, "gtol": 0.0},
        )
        return found.x[:cut].reshape(d, j), found.x[cut:].reshape(j + 1, k), found.nit

    def _n_steps(self, n_units: int | None) -> int:
        """Return the number of steps that made so many units."""
        check_is_fitted(self)
        most = len(self.hidden_intercept_)
        size = most // len(self.steps_)
        n_units = most if n_units is None else n_units
        if not 0 <= n_units <= most or n_units % size:
            raise ValueError(
                f"n_units must be a multiple of units_per_step = {size} between 0 and {most}, "
                f"not {n_units}."
            )
        return n_units // size

    def _outputs(self, X: ArrayLike, first: int, last: int) -> Iterator[Array]:
        """Yield the network's output with each number of steps from first to last."""
        inputs: Array = validate_data(self, X, reset=False, dtype=np.float64)
        size = len(self.hidden_intercept_) // len(self.steps_)
        activate = _ACTIVATIONS[self.activation][0]
        output: Any = 0.0
        units = slice(0, first * size)
        for t in range(first, last + 1):
            h = activate(inputs @ self.hidden_coef_[:, units] + self.hidden_intercept_[units])
            output = output + h @ self.output_coef_[units]
            yield output + self.output_intercepts_[t]
            units = slice(t * size, (t + 1) * size)

    def _output(self, X: ArrayLike, n_units: int | None) -> Array:
        n_steps = self._n_steps(n_units)
        return next(self._outputs(X, n_steps, n_steps))

    def to_torch(self, *, n_units: int | None = None) -> nn.Sequential:
        """Return the network as torch's, linear, activation, linear, in double precision.

        Args:
            n_units: Hidden units to keep, those trained first; all of them if not given.

        Returns:
            A module with one output column for numbers (the prediction) and for two classes (the
            logit of the second), and one for each of more classes (its logit).
        """
        n_steps = self._n_steps(n_units)
        n = n_steps * (len(self.hidden_intercept_) // len(self.steps_))
        hidden = nn.Linear(len(self.hidden_coef_), n)
        last = nn.Linear(n, self.output_coef_.shape[1])
        for layer, weight, bias in (
            (hidden, self.hidden_coef_[:, :n], self.hidden_intercept_[:n]),
            (last, self.output_coef_[:n], self.output_intercepts_[n_steps]),
        ):
            layer.weight.data = from_numpy(weight.T.copy())
            layer.bias.data = from_numpy(bias.copy())
        return nn.Sequential(hidden, _ACTIVATIONS[self.activation][3](), last)


class GBNNRegressor(RegressorMixin, _GBNN):  # type: ignore[misc]
    """Predict numbers by a network with one hidden layer that was trained a few units at a time.

        F = mean of y
        at each step:  r = y - F
                       h = units_per_step units with a linear output, fitted to r by L-BFGS
                       F = F + learning_rate * h
        the network:   all units in one layer, their output weights times learning_rate

    Units are ordered by what they contribute, so that the last ones can be switched off where a
    prediction must be cheap: `predict(X, n_units=50)`, `to_torch(n_units=50)`.

    Use it for small tables where a shallow network is wanted whose size is chosen after training.
    Avoid it when inputs or targets are not standardised (put a `StandardScaler` before it), or
    when there are more rows than one pass of L-BFGS over all of them can bear. Cost: one fit of
    `units_per_step` units per step, up to `max_iter` passes over the data each; predictions cost
    what those of an MLP of as many units do.

    Args:
        total_units: Hidden units of the network, a multiple of `units_per_step`.
        units_per_step: Units trained together at each step, >= 1.
        learning_rate: Shrinkage of each step, > 0; the paper tunes it from 0.025 to 1.
        subsample: Fraction of the rows that each step is fitted to, drawn anew, in (0, 1].
        activation: Of the hidden units: ``logistic``, ``tanh`` or ``relu``.
        alpha: Strength of the decay of the weights in each fit, >= 0, divided by the sum of the
            sample weights, as in scikit-learn's MLP.
        max_iter: Most iterations of L-BFGS at each step, >= 1.
        random_state: Of the first weights and of the rows drawn.

    Attributes:
        hidden_coef_: Weights of the hidden layer, (features, units), units as they were trained.
        hidden_intercept_: Intercepts of the hidden units.
        output_coef_: Weights of the output layer, (units, outputs).
        output_intercepts_: Row t is the output's intercept with t steps switched on.
        steps_: Length of each step before shrinkage; 1 for the squared loss.
        n_iter_: Iterations of L-BFGS over all steps.

    Example:
        >>> from sklearn.datasets import make_friedman1
        >>> from thalweg.estimators import GBNNRegressor
        >>> X, y = make_friedman1(n_samples=300, random_state=0)
        >>> model = GBNNRegressor(60, random_state=0).fit(X, y)
        >>> 0.9 < model.score(X, y) <= 1
        True
        >>> model.predict(X, n_units=30).shape  # with the last half of the units switched off
        (300,)

    Paper: Sequential Training of Neural Networks with Gradient Boosting, 2019, arXiv 1909.12098.
        Differs: the paper tunes `learning_rate` and `subsample` for each data set; the defaults
        are one point of its grid (its authors' code has 1 and 0.5, which overfit small tables).
        Takes sample weights.
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network.

        Args:
            X: Inputs, (samples, features), standardised.
            y: Targets, (samples,).
            sample_weight: How often each sample counts, >= 0.
        """
        inputs, targets, weight = self._validate(X, y, sample_weight, numeric=True)
        self._boost(inputs, targets[:, None].astype(np.float64), weight, _SQUARED)
        return self

    def predict(self, X: ArrayLike, *, n_units: int | None = None) -> Array:
        """Return the predictions, with only the first `n_units` units if given."""
        return self._output(X, n_units)[:, 0]

    def staged_predict(self, X: ArrayLike) -> Iterator[Array]:
        """Yield the predictions after each step of the boosting."""
        for output in self._outputs(X, 1, self._n_steps(None)):
            yield output[:, 0]


class GBNNClassifier(ClassifierMixin, _GBNN):  # type: ignore[misc]
    """Predict classes by a network with one hidden layer that was trained a few units at a time.

        F = the constant of least loss (zeros for more than two classes)
        at each step:  r = -dL/dF
                       h = units_per_step units with a linear output, fitted to r by L-BFGS
                       rho = sum(r h) / sum(h^2 L'')           one iteration of Newton's, over all
                       F = F + learning_rate * rho * h
        two classes, y = -1 or 1:   L = log(1 + exp(-2 y F))   r = 2 y / (1 + exp(2 y F))
                                    L'' = r (2 y - r)          the network's output is 2 F
        more, y one-hot:            L = -y . log p             r = y - p,  p = softmax(F)
                                    L'' = p (1 - p)            the diagonal, one rho for all

    Units are ordered by what they contribute, so that the last ones can be switched off where a
    prediction must be cheap: `predict(X, n_units=50)`, `to_torch(n_units=50)`.

    Use it for small tables where a shallow network is wanted whose size is chosen after training.
    Avoid it when inputs are not standardised (put a `StandardScaler` before it), or when there are
    more rows than one pass of L-BFGS over all of them can bear. Cost: one fit of `units_per_step`
    units per step, up to `max_iter` passes over the data each; predictions cost what those of an
    MLP of as many units do.

    Args:
        total_units: Hidden units of the network, a multiple of `units_per_step`.
        units_per_step: Units trained together at each step, >= 1.
        learning_rate: Shrinkage of each step, > 0; the paper tunes it from 0.025 to 1.
        subsample: Fraction of the rows that each step is fitted to, drawn anew, in (0, 1].
        activation: Of the hidden units: ``logistic``, ``tanh`` or ``relu``.
        alpha: Strength of the decay of the weights in each fit, >= 0, divided by the sum of the
            sample weights, as in scikit-learn's MLP.
        max_iter: Most iterations of L-BFGS at each step, >= 1.
        random_state: Of the first weights and of the rows drawn.

    Attributes:
        classes_: The classes, sorted.
        hidden_coef_: Weights of the hidden layer, (features, units), units as they were trained.
        hidden_intercept_: Intercepts of the hidden units.
        output_coef_: Weights of the output layer, (units, outputs).
        output_intercepts_: Row t is the output's intercept with t steps switched on.
        steps_: Length of each step before shrinkage.
        n_iter_: Iterations of L-BFGS over all steps.

    Example:
        >>> from sklearn.datasets import load_wine
        >>> from sklearn.preprocessing import scale
        >>> from thalweg.estimators import GBNNClassifier
        >>> X, y = load_wine(return_X_y=True)
        >>> model = GBNNClassifier(40, random_state=0).fit(scale(X), y)
        >>> model.score(scale(X), y) > 0.95
        True
        >>> model.predict_proba(scale(X), n_units=20).shape  # the first half of the units
        (178, 3)

    Paper: Sequential Training of Neural Networks with Gradient Boosting, 2019, arXiv 1909.12098.
        Differs: the paper tunes `learning_rate` and `subsample` for each data set; the defaults
        are one point of its grid (its authors' code has 1 and 0.5, which overfit small tables).
        With more than two classes the authors' fits use scikit-learn's MLP, whose gradient is not
        that of its loss where there are several outputs; here it is. Takes sample weights.
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network.

        Args:
            X: Inputs, (samples, features), standardised.
            y: Classes, (samples,).
            sample_weight: How often each sample counts, >= 0.
        """
        inputs, targets, weight = self._validate(X, y, sample_weight, numeric=False)
        check_classification_targets(targets)
        self.classes_, index = np.unique(targets, return_inverse=True)
        if len(self.classes_) == 1:
            raise ValueError(f"y holds one class alone, {self.classes_[0]}: give two at least.")
        if len(self.classes_) == 2:
            signs = np.where(index[:, None] == 1, 1.0, -1.0)
            self._boost(inputs, signs, weight, _LOGISTIC)
            self.output_coef_ *= 2
            self.output_intercepts_ *= 2
        else:
            self._boost(inputs, np.eye(len(self.classes_))[index], weight, _SOFTMAX)
        return self

    def decision_function(self, X: ArrayLike, *, n_units: int | None = None) -> Array:
        """Return the logit of the second of two classes, or the logits of all classes of more."""
        output = self._output(X, n_units)
        return output[:, 0] if output.shape[1] == 1 else output

    def predict_proba(self, X: ArrayLike, *, n_units: int | None = None) -> Array:
        """Return the probability of each class, with only the first `n_units` units if given."""
        return _probabilities(self._output(X, n_units))

    def predict(self, X: ArrayLike, *, n_units: int | None = None) -> NDArray[Any]:
        """Return the likeliest classes, with only the first `n_units` units if given."""
        return self._likeliest(self._output(X, n_units))

    def staged_predict_proba(self, X: ArrayLike) -> Iterator[Array]:
        """Yield the probability of each class after each step of the boosting."""
        return map(_probabilities, self._outputs(X, 1, self._n_steps(None)))

    def staged_predict(self, X: ArrayLike) -> Iterator[NDArray[Any]]:
        """Yield the likeliest classes after each step of the boosting."""
        return map(self._likeliest, self._outputs(X, 1, self._n_steps(None)))

    def _likeliest(self, output: Array) -> NDArray[Any]:
        index = output.argmax(1) if output.shape[1] > 1 else (output[:, 0] > 0).astype(int)
        return np.asarray(self.classes_[index])


def _probabilities(output: Array) -> Array:
    if output.shape[1] > 1:
        return np.asarray(softmax(output, axis=1))
    return np.asarray(expit(output * [-1, 1]))
