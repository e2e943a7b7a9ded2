"""Step Law (2025): learning rate and batch size of a language model as power laws."""

import math

import numpy as np

from thalweg.core.claim import Effort, MeasurementClaim
from thalweg.core.example import Example
from thalweg.core.paper import Paper
from thalweg.papers.scaling._step_law_trials import close_to_the_best, predicted_from_small
from thalweg.scaling import fit_hyperparameter_law, step_law
from thalweg.scaling.step_law import COLUMNS

Runs = dict[str, np.ndarray]
_BEST_OF_SWEEPS = (
    (214663680, 4e9, 2.762e-3, 262144),
    (214663680, 1e11, 7.812e-3, 2097152),
    (268304384, 1.42e10, 3.906e-3, 393216),
    (429260800, 5e10, 1.953e-3, 524288),
    (536872960, 1e10, 9.766e-4, 262144),
    (1073741824, 5.69e10, 1.381e-3, 524288),
)


def numbers_of_the_authors() -> None:
    """Agree with github.com/step-law/steplaw at 32a8f4c: its tool, and the best of its sweeps.

    The tool averages 1000 fits, of which the paper prints three digits; hence two per cent. The
    sweeps are of data/dense_lr_bs_loss.csv: N, D, and the rate and tokens of the run that ended
    lowest; from one point to the next they differ by factors of 1.4 and up to 2.
    """
    for n, d, lr, batch in ((1e9, 1e11, 1.66238e-3, 1.107467e6), (2e8, 5e9, 2.08443e-3, 2.00223e5)):
        found = step_law(n, d)
        assert math.isclose(found.lr, lr, rel_tol=0.02), (n, d, found)
        assert math.isclose(found.batch_tokens, batch, rel_tol=0.005), (n, d, found)
    for n, d, lr, batch in _BEST_OF_SWEEPS:
        found = step_law(n, d)
        assert 1 / 2 <= found.lr / lr <= 2, (n, d, found)
        assert 1 / 2 <= found.batch_tokens / batch <= 2, (n, d, found)


def law_retyped() -> None:
    """The printed formula, batches in sequences, and what is said outside the ranges."""
    for n, d in ((7e7, 3e9), (1e9, 1e11), (7e9, 1.4e12), (1e6, 1e12)):
        found = step_law(n, d, seq_len=2048, extrapolate=True)
        assert math.isclose(found.lr, 1.79 / n**0.713 * d**0.307, rel_tol=1e-12)
        assert math.isclose(found.batch_tokens, 0.58 * d**0.571, rel_tol=1e-12)
        assert found.batch_sequences == found.batch_tokens / 2048
        names = [sentence.split()[0] for sentence in found.extrapolated]
        far = {"n_params": not 6e7 <= n <= 1.08e9, "n_tokens": not 2e9 <= d <= 1e11}
        assert names == [name for name, is_far in far.items() if is_far]
    assert step_law(1e9, 1e11).batch_sequences is None


def _bowls(noise: float = 0.0) -> Runs:
    """Return sweeps whose losses are skew quadratics around a law's optima."""
    grid = [1e6, 4e6, 2e7], [1e8, 4e8, 1e9], 2.0 ** np.arange(-12, -5), 4.0 ** np.arange(6, 10)
    n, d, lr, batch = (x.ravel() for x in np.meshgrid(*grid, indexing="ij"))
    u = np.log(lr / (0.4 * n**-0.5 * d**0.1))
    v = np.log(batch / (0.02 * d**0.7))
    loss = 2 + (u**2 + 0.8 * u * v + 0.5 * v**2) * 1e-3
    loss *= 1 + noise * np.random.default_rng(0).normal(size=len(loss))
    return dict(zip(COLUMNS, (n, d, lr, batch, loss), strict=True))


def bowls_are_recovered() -> None:
    """Noiseless sweeps give back the law to 1e-6, its ranges, and the plateau of the bowls."""
    runs = _bowls()
    runs["loss"][5] = np.nan
    for tolerance in (0.0025, 0.01):
        law = fit_hyperparameter_law(runs, window=1.0, tolerance=tolerance, draws=5)
        np.testing.assert_allclose(law.lr, (0.4, -0.5, 0.1), rtol=1e-6)
        np.testing.assert_allclose(law.batch, (0.02, 0.7), rtol=1e-6)
        for interval, value in zip(
            (*law.lr_intervals, *law.batch_intervals), (*law.lr, *law.batch), strict=True
        ):
            np.testing.assert_allclose(interval, value, rtol=1e-6)
        widths = np.sqrt(tolerance * 2 / np.array([1e-3, 0.5e-3]))
        np.testing.assert_allclose(law.plateau, np.exp(widths), rtol=1e-6)
    assert (law.n_params, law.n_tokens, law.left_out) == ((1e6, 2e7), (1e8, 1e9), ())


def sweeps_without_a_minimum_are_left_out() -> None:
    """A sweep that ends on a slope, bends the wrong way or is too small is named and ignored."""
    runs = _bowls()
    sweep = [(runs["n_params"] == n) & (runs["n_tokens"] == 4e8) for n in (1e6, 4e6, 2e7)]
    u, v = (np.log(runs[name] / scale) for name, scale in (("lr", 3e-3), ("batch_tokens", 2e4)))
    runs["loss"][sweep[0]] = (9 + u**2 + u * v + 0.01 * v**2)[sweep[0]]  # a saddle
    runs["loss"][sweep[1] & (v > 0)] = np.inf
    runs["loss"][sweep[2]] = (9 + u**2 + (v - 9) ** 2)[sweep[2]]
    law = fit_hyperparameter_law(runs, window=99.0, draws=1)
    assert law.left_out == ((1e6, 4e8), (4e6, 4e8), (2e7, 4e8))
    np.testing.assert_allclose(law.lr, (0.4, -0.5, 0.1), rtol=1e-6)


def intervals_retyped() -> None:
    """Refit, draw by draw, what the law says of each sweep and a residual of another's."""
    runs = _bowls(1e-4)
    law = fit_hyperparameter_law(runs, window=1.0, draws=40, seed=3)
    generator, found = np.random.default_rng(3), []
    for is_lr in (True, False):
        rows, optima = [], []
        for n in (1e6, 4e6, 2e7):
            for d in (1e8, 4e8, 1e9):
                x, y, z = (
                    runs[key][(runs["n_params"] == n) & (runs["n_tokens"] == d)]
                    for key in ("lr", "batch_tokens", "loss")
                )
                u, v = np.log(x), np.log(y)
                _, p, q, a, b, c = np.linalg.lstsq(
                    np.stack([u**0, u, v, u * u, u * v, v * v], 1), z, rcond=None
                )[0]
                place = np.array([b * q - 2 * c * p, b * p - 2 * a * q]) / (4 * a * c - b * b)
                rows.append([1, math.log(n), math.log(d)] if is_lr else [1, math.log(d)])
                optima.append(place[0 if is_lr else 1])
        said = np.array(rows) @ np.linalg.lstsq(rows, optima, rcond=None)[0]
        errors = (optima - said) * math.sqrt(9 / (9 - len(rows[0])))
        drawn = [
            np.linalg.lstsq(rows, said + errors[chosen], rcond=None)[0]
            for chosen in generator.integers(9, size=(40, 9))
        ]
        bounds = np.quantile(drawn, [0.025, 0.975], axis=0).T
        found += [np.exp(bounds[0]), *bounds[1:]]
    np.testing.assert_allclose((*law.lr_intervals, *law.batch_intervals), found, rtol=1e-6)


PAPER = Paper(
    id="step-law",
    title="Predictable Scale: Part I -- Optimal Hyperparameter Scaling Law in Large Language Model "
    "Pretraining",
    year=2025,
    arxiv="2503.04715",
    headline="Over 3700 models and 100 trillion tokens the best learning rate follows "
    "1.79 N^-0.713 D^0.307 and the best batch 0.58 D^0.571 tokens; the loss at these is 0.07 % "
    "above that of an exhaustive search, whatever the sparsity, shape or mixture of data.",
    provides=(step_law, fit_hyperparameter_law),
    oracles=(
        numbers_of_the_authors,
        law_retyped,
        bowls_are_recovered,
        sweeps_without_a_minimum_are_left_out,
        intervals_retyped,
    ),
    examples=(
        Example(
            step_law,
            "function",
            inputs=lambda: (1e9, 1e11),
            knobs={"seq_len": (2048, 4096)},
            exceptions={"extrapolate": "it acts only outside of the ranges, where it is tried"},
        ),
        Example(
            fit_hyperparameter_law,
            "function",
            inputs=lambda: (_bowls(1e-3),),
            arguments={"window": 1.0},
            knobs={
                "window": (1.0, 0.01),
                "tolerance": (0.0025, 0.01),
                "draws": (100, 50),
                "seed": (0, 1),
            },
        ),
    ),
    claims=(
        MeasurementClaim(
            name="law-of-small-sweeps",
            statement="A law fitted to sweeps of small models gives hyperparameters for a larger "
            "one that are nearly as good as an exhaustive search, with the paper's signs.",
            measure=predicted_from_small,
            smoke=Effort(seeds=1),
            full=Effort(seeds=6),
            expect=close_to_the_best,
            scaled="Perceptrons of 1400 to 11700 parameters that predict the next byte of Python's "
            "library from four, 6144 to 38400 tokens, 24 runs a sweep; the law of eight sweeps is "
            "followed in the ninth, of most parameters and tokens. The warm-up is a tenth of the "
            "steps. The baseline keeps what was best in the smallest sweep.",
        ),
    ),
    symptoms=(
        "which learning rate and batch size does a larger language model want",
        "I can afford sweeps of small models only",
    ),
)
