"""Step Law: learning rate and batch size of a language model from its parameters and tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Bounds = tuple[float, float]

COLUMNS = ("n_params", "n_tokens", "lr", "batch_tokens", "loss")


@dataclass(frozen=True)
class Hyperparameters:
    """What a law recommends.

    Args:
        lr: Peak learning rate.
        batch_tokens: Tokens in a batch.
        batch_sequences: Sequences in a batch; None where their length is not given.
        extrapolated: What lies outside the ranges that the law was fitted to, in sentences.
        warmup_steps: Steps in which the learning rate rises to its peak; None where unknown.
        final_lr: Learning rate at the end of a cosine, whatever the peak; None where unknown.
    """

    lr: float
    batch_tokens: float
    batch_sequences: float | None = None
    extrapolated: tuple[str, ...] = ()
    warmup_steps: int | None = None
    final_lr: float | None = None


@dataclass(frozen=True)
class HyperparameterLaw:
    """A law for the best learning rate and batch size, and what it was fitted to.

    Args:
        lr: Of the learning rate: the factor, the exponent of the parameters, that of the tokens.
        batch: Of the batch in tokens: the factor, and the exponent of the tokens.
        n_params: Smallest and largest number of parameters that it was fitted to.
        n_tokens: Smallest and largest number of tokens that it was fitted to.
        lr_intervals: At 95 %, one of each number in `lr`; empty where unknown.
        batch_intervals: At 95 %, one of each number in `batch`; empty where unknown.
        plateau: Factors by which learning rate and batch size may each be missed, in the median
            of the sweeps, before the loss rises by `tolerance`; empty where unknown.
        left_out: Pairs of parameters and tokens whose sweep showed no minimum inside it.
    """

    lr: tuple[float, float, float]
    batch: tuple[float, float]
    n_params: Bounds
    n_tokens: Bounds
    lr_intervals: tuple[Bounds, ...] = ()
    batch_intervals: tuple[Bounds, ...] = ()
    plateau: tuple[float, ...] = ()
    left_out: tuple[Bounds, ...] = ()

    def predict(
        self,
        n_params: float,
        n_tokens: float,
        *,
        seq_len: int | None = None,
        extrapolate: bool = False,
    ) -> Hyperparameters:
        """Return the best hyperparameters; arguments and errors as for :func:`step_law`."""
        given = {"n_params": (n_params, self.n_params), "n_tokens": (n_tokens, self.n_tokens)}
        outside = []
        for name, (value, (low, high)) in given.items():
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}; give a positive number, such as {high:g}")
            if not low <= value <= high:
                outside.append(
                    f"{name} = {value:g} lies outside {low:g} to {high:g}, to which the law was "
                    "fitted."
                )
        if seq_len is not None and seq_len < 1:
            raise ValueError(f"seq_len is {seq_len}; give at least 1 token")
        if outside and not extrapolate:
            raise ValueError(f"{' '.join(outside)} Pass extrapolate=True to have its value anyway.")
        tokens = self.batch[0] * n_tokens ** self.batch[1]
        return Hyperparameters(
            lr=self.lr[0] * n_params ** self.lr[1] * n_tokens ** self.lr[2],
            batch_tokens=tokens,
            batch_sequences=None if seq_len is None else tokens / seq_len,
            extrapolated=tuple(outside),
        )


# The smallest and the largest of the sweeps; the exponents as printed.
_PUBLISHED = HyperparameterLaw(
    lr=(1.79, -0.713, 0.307), batch=(0.58, 0.571), n_params=(6e7, 1.08e9), n_tokens=(2e9, 1e11)
)


def step_law(
    n_params: float, n_tokens: float, *, seq_len: int | None = None, extrapolate: bool = False
) -> Hyperparameters:
    """Look up the learning rate and the batch size for pre-training a language model.

        lr           = 1.79 * n_params^(-0.713) * n_tokens^0.307
        batch_tokens = 0.58 * n_tokens^0.571

    Use it as a first guess for AdamW (betas 0.9 and 0.95, weight decay 0.1, gradients clipped at
    1) with 2000 steps of warm-up and a cosine that ends at a *fixed* rate of 1e-5, whatever the
    peak. Avoid it far outside the ranges it was fitted to, and with another optimizer or a cosine
    that ends at a share of the peak: sweep a few small models then and call
    :func:`fit_hyperparameter_law`. Cost: none.

    Args:
        n_params: Parameters without the embeddings, from 6e7 to 1.08e9.
        n_tokens: Tokens to be trained on in all, from 2e9 to 1e11.
        seq_len: Tokens in a sequence, to have the batch in sequences as well, >= 1.
        extrapolate: Answer outside of these ranges too; what lies outside is then said in
            `extrapolated`. Acts only there.

    Returns:
        Learning rate, with the schedule it belongs to, and batch size.

    Raises:
        ValueError: If a number is not positive, or outside its range without `extrapolate`.

    Example:
        >>> from thalweg.scaling import step_law
        >>> found = step_law(1e9, 1e11, seq_len=2048)
        >>> round(found.lr, 6), round(found.batch_tokens), round(found.batch_sequences)
        (0.001632, 1107715, 541)

    Paper: Predictable Scale: Part I -- Optimal Hyperparameter Scaling Law in Large Language Model
        Pretraining, 2025, arXiv 2503.04715. Differs: nothing; the authors' own tool keeps more
        digits than the paper prints, and gives a rate that is 2 % higher in the example.
    """
    found = _PUBLISHED.predict(n_params, n_tokens, seq_len=seq_len, extrapolate=extrapolate)
    return replace(found, warmup_steps=2000, final_lr=1e-5)


def fit_hyperparameter_law(
    runs: Mapping[str, ArrayLike],
    *,
    window: float = 0.02,
    tolerance: float = 0.0025,
    draws: int = 1000,
    seed: int = 0,
) -> HyperparameterLaw:
    """Fit one's own law for learning rate and batch size to sweeps of small models.

        each sweep (one n_params, n_tokens), over its runs with loss <= (1 + window) * the lowest:
            loss ~ quadratic in (log lr, log batch_tokens), whose minimum is (log lr*, log batch*)
        over the sweeps, by least squares:
            log lr*    ~ log lr[0]    + lr[1] * log n_params + lr[2] * log n_tokens
            log batch* ~ log batch[0] + batch[1] * log n_tokens

    Use it where the optimizer, the schedule or the data are not those of :func:`step_law`. Avoid
    it with fewer than about six sweeps, or where noise between runs reaches `tolerance` times the
    loss. Cost: none next to the runs.

    Args:
        runs: Columns of equal length, as a mapping or a data frame: `n_params`, `n_tokens`, `lr`,
            `batch_tokens`, `loss`, all positive; runs whose loss is not finite are left out.
        window: How far above the lowest loss of its sweep a run still counts, as a share, > 0.
        tolerance: Rise of the loss, as a share, that bounds the plateau, > 0.
        draws: Bootstrap samples of the residuals, for the intervals, >= 1.
        seed: Of the bootstrap.

    Returns:
        The law, with intervals, the plateau and the sweeps that were left out because at least
        six runs with a minimum amidst them were not found.

    Raises:
        ValueError: If a column is missing or uneven, an argument is out of range, or fewer than
            four sweeps of at least two sizes and two lengths remain.

    Example:
        >>> import numpy as np
        >>> from thalweg.scaling import fit_hyperparameter_law
        >>> grid = [1e6, 4e6], [1e8, 4e8], [1e-3, 2e-3, 4e-3], [1e4, 2e4, 4e4]
        >>> n, d, lr, b = (x.ravel() for x in np.meshgrid(*grid))
        >>> best_lr, best_b = 2e-3 * (d / n / 100) ** 0.25, 2e4 * (d / 2e8) ** 0.5
        >>> loss = 3 + 0.01 * np.log(lr / best_lr) ** 2 + 0.01 * np.log(b / best_b) ** 2
        >>> law = fit_hyperparameter_law(
        ...     dict(n_params=n, n_tokens=d, lr=lr, batch_tokens=b, loss=loss)
        ... )
        >>> [round(exponent, 6) for exponent in (*law.lr[1:], law.batch[1])]
        [-0.25, 0.25, 0.5]

    Paper: Predictable Scale: Part I -- Optimal Hyperparameter Scaling Law in Large Language Model
        Pretraining, 2025, arXiv 2503.04715. Differs: the authors' code regresses on all runs
        within 0.25 % of the lowest loss of their sweep and draws from these runs, which leans on
        the edges of a plateau that the sweep cuts off; here each sweep counts once, by the
        minimum of a quadratic. On the 1912 dense runs that they published this gives exponents of
        -0.69, 0.21 and 0.57, their procedure -0.77, 0.20 and 0.61, the printed law (from more
        runs) -0.713, 0.307 and 0.571.
    """
    for name, value in {"window": window, "tolerance": tolerance, "draws": draws}.items():
        if not value > 0:
            raise ValueError(f"{name} is {value}; give a positive number")
    table = _read(runs)
    pairs, sweep = np.unique(table[:, :2], axis=0, return_inverse=True)
    bowls = [_fit_bowl(table[sweep.ravel() == i, 2:], window, tolerance) for i in range(len(pairs))]
    kept = [bowl is not None for bowl in bowls]
    found = np.array([bowl for bowl in bowls if bowl is not None]).reshape(-1, 4)
    n_params, n_tokens = pairs[kept].T
    scales = np.stack([np.ones(len(found)), np.log(n_params), np.log(n_tokens)], 1)
    if len(found) < 4 or np.linalg.matrix_rank(scales) < 3:
        raise ValueError(
            f"{len(found)} of {len(pairs)} sweeps show a minimum; a law needs at least four, whose "
            "n_params and n_tokens do not rise in step: widen or refine the sweeps, or raise window"
        )
    generator = np.random.default_rng(seed)
    lr, lr_intervals = _regress(scales, found[:, 0], draws, generator)
    batch, batch_intervals = _regress(scales[:, [0, 2]], found[:, 1], draws, generator)
    lr_width, batch_width = np.exp(np.median(found[:, 2:], axis=0))
    return HyperparameterLaw(
        lr=(lr[0], lr[1], lr[2]),
        batch=(batch[0], batch[1]),
        n_params=(float(n_params.min()), float(n_params.max())),
        n_tokens=(float(n_tokens.min()), float(n_tokens.max())),
        lr_intervals=lr_intervals,
        batch_intervals=batch_intervals,
        plateau=(float(lr_width), float(batch_width)),
        left_out=tuple((float(n), float(d)) for n, d in pairs[np.logical_not(kept)]),
    )


def _read(runs: Mapping[str, ArrayLike]) -> Array:
    """Return the runs that ended, one a row."""
    missing = [name for name in COLUMNS if name not in runs]
    if missing:
        raise ValueError(f"runs lack {', '.join(missing)}; give columns {', '.join(COLUMNS)}")
    columns = [np.asarray(runs[name], dtype=np.float64) for name in COLUMNS]
    if len({column.shape for column in columns}) > 1 or columns[0].ndim != 1:
        raise ValueError(f"the columns {', '.join(COLUMNS)} must be lists of one length")
    table = np.stack(columns, 1)
    table = table[np.isfinite(table[:, 4])]
    if not (table > 0).all():
        raise ValueError(f"the columns {', '.join(COLUMNS)} must be positive")
    return table


def _fit_bowl(runs: Array, window: float, tolerance: float) -> Array | None:
    """Return a sweep's best log lr and log batch and the half widths of its plateau, if any."""
    near = runs[runs[:, 2] <= (1 + window) * runs[:, 2].min()]
    place = np.log(near[:, :2])
    centre = place.mean(0)
    u, v = (place - centre).T
    design = np.stack([np.ones(len(u)), u, v, u * u / 2, u * v, v * v / 2], 1)
    coefficients, _, rank, _ = np.linalg.lstsq(design, near[:, 2], rcond=None)
    level, slope, (uu, uv, vv) = coefficients[0], coefficients[1:3], coefficients[3:]
    if rank < 6 or uu <= 0 or uu * vv <= uv * uv:
        return None
    step = -np.linalg.solve([[uu, uv], [uv, vv]], slope)
    best = centre + step
    swept = np.log(runs[:, :2])
    if (best < swept.min(0)).any() or (best > swept.max(0)).any():
        return None
    lowest = level + slope @ step / 2
    widths = np.sqrt(2 * tolerance * lowest / np.array([uu, vv]))
    return np.concatenate([best, widths])


def _regress(
    design: Array, target: Array, draws: int, generator: np.random.Generator
) -> tuple[list[float], tuple[Bounds, ...]]:
    """Return factor and exponents of a law for a logarithm, and their bootstrap intervals."""
    inverse = np.linalg.pinv(design)
    coefficients = inverse @ target
    n, p = design.shape
    # Residuals of a fit are smaller than the errors, the more so the fewer sweeps there are.
    residuals = (target - design @ coefficients) * np.sqrt(n / (n - p))
    drawn = coefficients + residuals[generator.integers(n, size=(draws, n))] @ inverse.T
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    for values in (coefficients, low, high):
        values[0] = np.exp(values[0])
    return coefficients.tolist(), tuple(zip(low.tolist(), high.tolist(), strict=True))
