"""More is better (2023): the risk of random-feature regression, from eigenvalues alone."""

import math
from collections.abc import Callable
from functools import partial

import torch

from thalweg.core.claim import Effort, MeasurementClaim
from thalweg.core.example import Example
from thalweg.core.paper import Paper
from thalweg.diagnostics import fit_eigenstructure, optimal_ridge, predict_risk
from thalweg.papers.diagnostics._rf_eigenframework_trials import (
    more_and_none,
    more_is_better,
    predicted_and_measured,
    within_the_tolerance,
)

_VALUES = [2.0, 1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02]
_TARGETS = [0.5, -1.0, 0.3, 0.4, -0.2, 0.1, 0.3, 0.05]
_SETTINGS = (
    (3.0, 5.0, 0.2, 0.1),
    (6.0, 2.5, 1.0, 0.0),
    (8.0, 20.0, 0.3, 0.2),  # as many samples as eigenvalues
    (20.0, 30.0, 0.3, 0.4),
    (4.0, 4.0, 0.01, 1.0),
)


def _halved(too_low: Callable[[float], bool], low: float = 1e-12, high: float = 1e12) -> float:
    """Halve a bracket, in logarithms, as often as doubles can tell."""
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if too_low(middle) else (low, middle)
    return math.sqrt(low * high)


def _learned(gamma: float) -> float:
    return sum(x / (x + gamma) for x in _VALUES)


def _both(n: float, k: float, ridge: float) -> tuple[float, float]:
    """Return kappa and gamma: for each kappa the gamma of one equation, put into the other."""

    def gamma_of(kappa: float) -> float:
        return _halved(lambda gamma: _learned(gamma) + k * kappa / gamma > k)

    kappa = _halved(lambda x: _learned(gamma_of(x)) + ridge / x > n)
    return kappa, gamma_of(kappa)


def equations_retyped() -> None:
    """Solve both equations by nested halving, one term at a time, and sum the risk up."""
    for n, k, ridge, noise in _SETTINGS:
        kappa, gamma = _both(n, k, ridge)
        z = _learned(gamma)
        q = sum((x / (x + gamma)) ** 2 for x in _VALUES)
        total = noise
        for x, v in zip(_VALUES, _TARGETS, strict=True):
            total += v * v * (gamma / (x + gamma) - kappa * x / (x + gamma) ** 2 * k / (k - q))
        test = total / (1 - (q * (k - 2 * z) + z * z) / (n * (k - q)))
        found = predict_risk(_VALUES, _TARGETS, n, k, ridge=ridge, noise=noise)
        for ours, theirs in (
            (found.kappa, kappa),
            (found.gamma, gamma),
            (found.z, z),
            (found.q, q),
            (found.test, test),
            (found.train, (ridge / n / kappa) ** 2 * test),
            (found.fitting_ratio, (ridge / n / kappa) ** 2),
        ):
            assert math.isclose(ours, theirs, rel_tol=1e-6), (n, k, ours, theirs)
        assert found.ridge == ridge


def kernel_ridge_regression() -> None:
    """Infinitely many features give the formulas of the kernel; several targets add up."""
    for n, ridge in ((3.0, 0.1), (12.0, 2.0)):
        kappa = _halved(partial(lambda n, ridge, x: _learned(x) + ridge / x > n, n, ridge))
        q = sum((a / (a + kappa)) ** 2 for a in _VALUES)
        bias = sum((kappa / (a + kappa) * v) ** 2 for a, v in zip(_VALUES, _TARGETS, strict=True))
        test = (bias + 0.3) / (1 - q / n)
        for k in (math.inf, 1e9):
            found = predict_risk(_VALUES, _TARGETS, n, k, ridge=ridge, noise=0.3)
            assert math.isclose(found.test, test, rel_tol=1e-6)
            assert math.isclose(found.kappa, kappa, rel_tol=1e-6)
    two = torch.tensor([_TARGETS, _TARGETS[::-1]]).T
    apart = [predict_risk(_VALUES, v, 3, 5, ridge=0.1).test for v in (_TARGETS, _TARGETS[::-1])]
    assert math.isclose(predict_risk(_VALUES, two, 3, 5, ridge=0.1).test, sum(apart), rel_tol=1e-6)


def without_a_ridge() -> None:
    """Ridge 0 is the limit of small ones, on either side of the peak; and of least squares."""
    for n, k in ((3, 5), (5, 3), (6, math.inf), (20, 4), (4, 20), (20, 30), (20, math.inf)):
        exact, near = (
            predict_risk(_VALUES, _TARGETS, n, k, ridge=r, noise=0.2) for r in (0.0, 1e-10)
        )
        assert math.isclose(exact.test, near.test, rel_tol=1e-6), (n, k)
        assert math.isclose(exact.train, near.train, rel_tol=1e-6, abs_tol=1e-9), (n, k)
    found = predict_risk(_VALUES, _TARGETS, 20, ridge=0.0, noise=0.2)
    assert math.isclose(found.test, 0.2 / (1 - 8 / 20))
    assert math.isclose(found.train, 0.2 * (1 - 8 / 20))
    blind = predict_risk([1.0, 0.0], [0.0, 3.0], 1.5, ridge=0.0)
    assert math.isclose(blind.test, 9 / (1 - 1 / 1.5))


def best_ridge_is_that_of_bayes() -> None:
    """Of white targets it is noise * eigenvalue / coefficient^2; no other is better."""
    for n, noise in ((20, 0.5), (200, 0.1)):
        best = optimal_ridge([2.0] * 50, [0.2] * 50, n, noise=noise)
        assert math.isclose(best.ridge, noise * 2 / 0.04, rel_tol=1e-2)
    best = optimal_ridge(_VALUES, _TARGETS, 5, 6, noise=0.1)
    assert best == predict_risk(_VALUES, _TARGETS, 5, 6, ridge=best.ridge, noise=0.1)
    for factor in (0.01, 0.5, 0.98, 1.02, 2.0, 100.0):
        other = predict_risk(_VALUES, _TARGETS, 5, 6, ridge=factor * best.ridge, noise=0.1)
        assert other.test > best.test


def structure_of_samples() -> None:
    """Kernel and targets are sums over the directions found, of mean square 1."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    target = torch.randn(6, 2, dtype=torch.float64, generator=generator)
    kernel = features @ features.T
    found = fit_eigenstructure(kernel, target)
    assert (found.eigenvalues.diff() <= 0).all()
    assert torch.allclose(found.eigenvalues[4:], torch.zeros(2).double(), atol=1e-12)
    for power in (1, 2, 3):
        mean = torch.linalg.matrix_power(kernel / 6, power).trace()
        torch.testing.assert_close(found.eigenvalues.pow(power).sum(), mean)
        # y' K^p y, which knows which coefficient belongs to which eigenvalue
        inner = target.T @ torch.linalg.matrix_power(kernel / 6, power) @ target / 6
        weighted = found.coefficients.T * found.eigenvalues.pow(power) @ found.coefficients
        torch.testing.assert_close(weighted, inner)
    torch.testing.assert_close(found.coefficients.square().sum(), target.square().sum() / 6)
    known = fit_eigenstructure(kernel.clone().requires_grad_(), target.clone().requires_grad_())
    assert not known.eigenvalues.requires_grad
    assert not known.coefficients.requires_grad
    # Rounding, which is told by the size of the kernel, is let through and cut off; no more is.
    eps = torch.finfo(torch.float64).eps ** 0.5
    for scale in (1e-6, 1.0, 1e6):
        bent = scale * kernel
        bent[0, 1] += 0.9 * eps * bent.max()
        least = fit_eigenstructure(bent - 1e-9 * bent.max() * torch.eye(6), target).eigenvalues[-1]
        assert least == 0
        bent[0, 1] += 0.2 * eps * bent.max()
        try:
            fit_eigenstructure(bent, target)
        except ValueError:
            continue
        raise AssertionError("a kernel that is not symmetric passed")


PAPER = Paper(
    id="rf-eigenframework",
    title="More is Better in Modern Machine Learning: when Infinite Overparameterization is "
    "Optimal and Overfitting is Obligatory",
    year=2023,
    arxiv="2311.14646",
    headline="Risks of random-feature ridge regression follow from the kernel's eigenvalues and "
    "the target's coefficients; with the best ridge more samples and more features never hurt.",
    provides=(predict_risk, optimal_ridge, fit_eigenstructure),
    oracles=(
        equations_retyped,
        kernel_ridge_regression,
        without_a_ridge,
        best_ridge_is_that_of_bayes,
        structure_of_samples,
    ),
    examples=(
        Example(
            predict_risk,
            "function",
            arguments={"ridge": 0.1},
            knobs={"k": (5, math.inf), "ridge": (0.1, 0.2), "noise": (0.0, 0.3)},
            inputs=lambda: (torch.tensor(_VALUES), torch.tensor(_TARGETS), 4),
        ),
        Example(
            optimal_ridge,
            "function",
            knobs={"k": (5, math.inf), "noise": (0.1, 0.3)},
            inputs=lambda: (torch.tensor(_VALUES), torch.tensor(_TARGETS), 4),
        ),
        Example(
            fit_eigenstructure,
            "function",
            inputs=lambda: (torch.diag(torch.tensor([3.0, 1.0, 2.0])), torch.arange(3.0)),
        ),
    ),
    claims=(
        MeasurementClaim(
            name="risk-is-predicted",
            statement="Test errors of random-feature and kernel ridge regression are as predicted, "
            "on Gaussian data and on images.",
            measure=predicted_and_measured,
            smoke=Effort(seeds=1),
            full=Effort(seeds=10),
            expect=within_the_tolerance,
            scaled="400 Gaussian eigenfunctions with power laws, 150 draws a seed; and 50 and 200 "
            "of 1797 images of digits under a Gaussian kernel, in place of CIFAR-10 and of "
            "convolutional kernels.",
        ),
        MeasurementClaim(
            name="more-is-better",
            statement="With the best ridge the test error falls with every doubling of samples or "
            "features; without one it peaks where there are as many features as samples.",
            measure=more_and_none,
            smoke=Effort(seeds=1),
            full=Effort(seeds=10),
            expect=more_is_better,
            scaled="As above; the best ridge is the predicted one.",
        ),
    ),
    symptoms=(
        "would more data help, or a wider model",
        "how much should I regularise",
        "is it right that my model fits its training data perfectly",
    ),
)
