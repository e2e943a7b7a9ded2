"""What a longer training of a larger model brings: laws for loss and downstream error."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, check_non_negative, validate_data

Array = NDArray[np.float64]


class _ExponentialLaw(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Least squares of y = c_0 + sum_j c_j exp(-rate * z_j), with one rate for all columns."""

    def __init__(
        self, *, draws: int = 200, random_state: int | np.random.RandomState | None = None
    ) -> None:
        self.draws = draws
        self.random_state = random_state

    def _fit(self, z: Array, y: Array) -> None:
        """Fit the rate, for which all else follows by linear least squares; then bootstrap."""
        if self.draws < 1:
            raise ValueError(f"draws is {self.draws}; give at least 1")
        n, n_terms = len(z), z.shape[1] + 2
        if n < n_terms:
            raise ValueError(
                f"a law of {n_terms} numbers was given n_samples = {n}; give as many at least"
            )
        rng = check_random_state(self.random_state)
        self._centre = z.mean(0)
        z = z - self._centre
        rate, terms = _search(z, y[None])
        self._rate, self._terms = rate[0], terms[0]
        said = _design(z, rate)[0] @ self._terms
        # Residuals of a fit are smaller than the errors, the more so the fewer samples there are.
        residuals = (y - said) * np.sqrt(n / max(1, n - n_terms))
        drawn = said + residuals[rng.randint(n, size=(self.draws, n))]
        self._rates, self._all_terms = _search(z, drawn)

    def _raw(self, rate: Array, terms: Array) -> Array:
        """Return the coefficients for columns that are not centred."""
        raw: Array = terms[..., 1:] * np.exp(rate[..., None] * self._centre)
        return raw

    def _read(self, X: ArrayLike) -> Array:
        """Return the columns of new samples."""
        raise NotImplementedError

    def predict(self, X: ArrayLike) -> Array:
        """Return what the law says of each sample, (samples,)."""
        check_is_fitted(self)
        z = self._read(X) - self._centre
        said: Array = _design(z, np.array([self._rate]))[0] @ self._terms
        return said

    def predict_interval(self, X: ArrayLike, *, level: float = 0.95) -> tuple[Array, Array]:
        """Return the bounds of the law for each sample, by bootstrap of the residuals.

        They bound what the law says, not a single run about it, and know nothing of a law that is
        wrong.

        Args:
            X: As for `predict`.
            level: Of confidence, in (0, 1).
        """
        check_is_fitted(self)
        tails = [(1 - level) / 2, (1 + level) / 2]
        said = np.einsum(
            "bnk,bk->bn", _design(self._read(X) - self._centre, self._rates), self._all_terms
        )
        low, high = np.quantile(said, tails, axis=0)
        return low, high


def _design(z: Array, rates: Array) -> Array:
    """Return the columns 1 and exp(-rate * z_j), (rates, samples, 1 + columns)."""
    powers = np.exp(-rates[..., None, None] * z)
    return np.concatenate([np.ones_like(powers[..., :1]), powers], -1)


def _search(z: Array, y: Array) -> tuple[Array, Array]:
    """Return of each row of y the rate of least squares and the terms."""
    spread = float(np.ptp(z, axis=0).max()) or 1.0
    grid = np.tile(np.geomspace(1e-2, 1e2, 49) / spread, (len(y), 1))
    rows = np.arange(len(y))
    for _ in range(14):  # each narrows the bracket fivefold
        q, _ = np.linalg.qr(_design(z, grid))
        misses = y[:, None] - np.einsum("bgnk,bgmk,bm->bgn", q, q, y, optimize=True)
        best = (misses**2).sum(-1).argmin(1)
        low, high = (grid[rows, np.clip(best + i, 0, grid.shape[1] - 1)] for i in (-1, 1))
        grid = np.linspace(low, high, 11, axis=1)
    rates = grid[:, 5]
    terms = (np.linalg.pinv(_design(z, rates)) @ y[..., None])[..., 0]
    return rates, terms


class OvertrainedLossLaw(_ExponentialLaw):
    """Predict the loss of a model from its size and the length of its training.

        loss(N, D) = E + A * N^(-alpha) + B * D^(-alpha)                 one exponent for both
        with C = 6 N D, M = D / N, eta = alpha / 2:
        loss(C, M) = E + (A * 6^eta * M^eta + B * 6^eta * M^(-eta)) * C^(-eta)

    At every ratio M of tokens to parameters the reducible loss is thus a power of the compute
    with the same exponent, so that cheap runs say what a long training of a small model will
    bring. With a single column, of compute, it is the usual power law with an irreducible loss.

    Use it to choose size and length before a large run. Avoid it where data is repeated, where
    the runs differ in data or tokens, or where hyperparameters are not near their best at each
    size. Cost: none next to the runs; five suffice, one of them over-trained.

    Args:
        draws: Bootstrap samples of the residuals, for the intervals, >= 1.
        random_state: Of the bootstrap.

    Attributes:
        irreducible_loss_: E.
        coefficients_: A and B, one of each column.
        exponent_: alpha.
        bootstrap_: Of each sample drawn: E, A, B, alpha, (draws, columns + 2).

    Example:
        >>> import numpy as np
        >>> from thalweg.scaling import OvertrainedLossLaw
        >>> n = np.array([1e7, 1e8, 2e8, 4e8, 1e7])
        >>> d = n * np.array([20, 20, 20, 20, 320])
        >>> loss = 1.8 + 90 * n**-0.26 + 100 * d**-0.26
        >>> law = OvertrainedLossLaw().fit(np.column_stack([n, d]), loss)
        >>> law.predict([[1.4e9, 9e11]]).round(3), round(law.exponent_, 3)
        (array([2.255]), 0.26)

    Paper: Language models scale reliably with over-training and on downstream tasks, 2024,
        arXiv 2403.08540. Differs: the authors' code looks for the least squares from 128 starts;
        here the exponent is searched, and the rest follows. Intervals are ours: the paper has
        none.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the law.

        Args:
            X: Parameters and training tokens of each run, (runs, 2), positive.
            y: Validation losses, (runs,).
        """
        inputs, losses = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        self._fit(_logarithms(inputs), losses.astype(np.float64))
        self.irreducible_loss_ = float(self._terms[0])
        self.coefficients_ = self._raw(self._rate, self._terms)
        self.exponent_ = float(self._rate)
        self.bootstrap_ = np.column_stack(
            [self._all_terms[:, 0], self._raw(self._rates, self._all_terms), self._rates]
        )
        return self

    def _read(self, X: ArrayLike) -> Array:
        return _logarithms(validate_data(self, X, reset=False, dtype=np.float64))


def _logarithms(sizes: Array) -> Array:
    check_non_negative(sizes, "OvertrainedLossLaw")
    if not sizes.all():
        raise ValueError("sizes and lengths must be positive; there are zeros among them")
    logarithms: Array = np.log(sizes)
    return logarithms


class DownstreamErrorLaw(_ExponentialLaw):
    """Predict the average error on downstream tasks from the validation loss.

        error(loss) = epsilon - k * exp(-gamma * loss)

    Use it behind :class:`OvertrainedLossLaw` to turn a predicted loss into a predicted error.
    Avoid it for a single task, for tasks that small models solve no better than chance, and with
    losses on different data. Cost: none next to the runs.

    Args:
        draws: Bootstrap samples of the residuals, for the intervals, >= 1.
        random_state: Of the bootstrap.

    Attributes:
        ceiling_: epsilon, the error where the loss is large.
        scale_: k, one of each column of losses.
        rate_: gamma.
        bootstrap_: Of each sample drawn: epsilon, k, gamma, (draws, columns + 2).

    Example:
        >>> import numpy as np
        >>> from thalweg.scaling import DownstreamErrorLaw
        >>> loss = np.array([5.4, 4.6, 3.9, 3.5, 3.1, 2.8])
        >>> law = DownstreamErrorLaw().fit(loss[:, None], 0.85 - 2 * np.exp(-0.7 * loss))
        >>> law.predict([[2.5]]).round(4), round(law.rate_, 4)
        (array([0.5025]), 0.7)

    Paper: Language models scale reliably with over-training and on downstream tasks, 2024,
        arXiv 2403.08540. Differs: as for the law of the loss.
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the law.

        Args:
            X: Validation losses, (runs, 1).
            y: Average errors, (runs,).
        """
        losses, errors = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        self._fit(losses, errors.astype(np.float64))
        self.ceiling_ = float(self._terms[0])
        self.scale_ = -self._raw(self._rate, self._terms)
        self.rate_ = float(self._rate)
        self.bootstrap_ = np.column_stack(
            [self._all_terms[:, 0], -self._raw(self._rates, self._all_terms), self._rates]
        )
        return self

    def _read(self, X: ArrayLike) -> Array:
        losses: Array = validate_data(self, X, reset=False, dtype=np.float64)
        return losses
