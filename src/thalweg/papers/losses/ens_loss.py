"""EnsLoss (2024): random convex calibrated losses for two classes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg.core.claim import Effort, Finding, MeasurementClaim
from thalweg.core.example import Example
from thalweg.core.method import Interval, Method
from thalweg.core.paper import Paper
from thalweg.core.verdicts import exceeds, together
from thalweg.losses import EnsLoss
from thalweg.papers.losses._ens_loss_trials import DIMENSIONS, accuracies
from thalweg.training.setup import Setup, Transform

SCORES = (0.3, -1.2, 2.5, 0.9, -0.1, 4.0, 1.1)
LABELS = (1, 0, 1, 0, 0, 1, 1)


def _batch() -> tuple[Tensor, Tensor]:
    return torch.tensor(SCORES, dtype=torch.float64, requires_grad=True), torch.tensor(LABELS)


def derivatives_retyped() -> None:
    """Follow the gradient of two calls, number by number, for three transforms."""
    n, signs = len(SCORES), [2 * y - 1 for y in LABELS]
    margins = [sign * score for sign, score in zip(signs, SCORES, strict=True)]
    for lam in (0.0, 0.6, -0.8):
        loss, generator = EnsLoss(lam, seed=5), torch.Generator().manual_seed(5)
        for _ in range(2):
            drawn = torch.randn(n, generator=generator).tolist()
            sizes = [math.exp(u) if lam == 0 else _inverse(u, lam) for u in drawn]
            g = sorted(-min(size, 1.0) for size in sizes)
            slopes = []
            for s in margins:
                slope = g[sum(other < s for other in margins)]
                slopes.append((slope / s if s > 1 else slope) - 1e-6)
            scores, target = _batch()
            value = loss(scores, target)
            torch.autograd.backward(value)
            mean = sum(a * b for a, b in zip(slopes, margins, strict=True)) / n
            assert math.isclose(value.item(), mean, rel_tol=1e-12)
            gradient = [slope * sign / n for slope, sign in zip(slopes, signs, strict=True)]
            expected = torch.tensor(gradient, dtype=torch.float64)
            torch.testing.assert_close(scores.grad, expected, rtol=1e-12, atol=0)


def _inverse(u: float, lam: float) -> float:
    inside = 1 + lam * u
    return inside ** (1 / lam) if inside > 0 else (0.0 if lam > 0 else math.inf)


def derivatives_are_convex_and_calibrated() -> None:
    """Sorted by margin they rise, all below 0, and beyond 1 none is steeper than 1 / s."""
    margins = 30 * torch.arange(200, dtype=torch.float64).sin() + 12
    for lam in (-1.0, -0.3, 0.0, 0.4, 1.0):
        loss = EnsLoss(lam, seed=1)
        for _ in range(5):
            slopes = loss.derivatives(margins)[margins.argsort()]
            assert (slopes < 0).all()
            assert (slopes.diff() >= 0).all()
            assert (slopes.abs() <= 1 / margins.sort().values.clamp(min=1) + 2e-6).all()


def of_logistic_derivatives_it_is_cross_entropy() -> None:
    """With -sigmoid(-s) in place of random numbers it has cross-entropy's gradient."""

    class Logistic(EnsLoss):
        def derivatives(self, margins: Tensor) -> Tensor:
            return -torch.sigmoid(-margins)

    gradients = []
    for loss in (Logistic(), F.binary_cross_entropy_with_logits):
        scores, target = _batch()
        torch.autograd.backward(loss(scores, target.double()))
        gradients.append(scores.grad)
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=0)


def ens_loss(*, lam: float = 0.0) -> Transform:
    """Train by a random convex calibrated loss at every step; the model has one output."""

    def transform(setup: Setup) -> Setup:
        return replace(setup, loss=EnsLoss(lam, seed=setup.seed).to(setup.device))

    return transform


def more_accurate(measured: Sequence[Mapping[str, float]]) -> Finding:
    """Judge by sign tests whether EnsLoss is more accurate than each fixed loss."""
    return together(
        [
            exceeds(
                f"accuracy in percent, {dimension} inputs",
                [figures[f"EnsLoss {dimension}"] for figures in measured],
                [figures[f"{fixed} {dimension}"] for figures in measured],
                names=("EnsLoss", fixed),
            )
            for dimension in DIMENSIONS
            for fixed in ("BCE", "hinge")
        ]
    )


PAPER = Paper(
    id="ensloss",
    title="EnsLoss: Stochastic Calibrated Loss Ensembles for Preventing Overfitting in "
    "Classification",
    year=2024,
    arxiv="2409.00908",
    headline="On 45 pairs of CIFAR-10's classes EnsLoss is significantly more accurate than "
    "cross-entropy on 36 to 45 of them and than the hinge loss on 27 to 45, by the network, and "
    "significantly less on none.",
    provides=(EnsLoss,),
    methods=(
        Method(
            name="ens-loss",
            summary="Train by a random convex calibrated loss of two classes at every step.",
            build=ens_loss,
            defaults={"lam": 0.0},
            space={"lam": Interval(-1.0, 1.0)},
            example=Example(
                EnsLoss,
                "loss",
                knobs={"lam": (0.0, 0.8), "seed": (0, 1)},
                inputs=lambda: (
                    torch.tensor(SCORES).unsqueeze(1),
                    torch.tensor(LABELS).float().unsqueeze(1),
                ),
                exceptions={
                    "period": "acts in `set_epoch`",
                    "the_gradient_is_that_of_the_value": "that it is not is the method",
                    "a_sample_counts_by_itself": "derivatives are drawn for a batch and go to its "
                    "samples in the order of their margins",
                    "it_compiles_to_one_graph": "it draws from a generator, which torch does not "
                    "trace",
                },
            ),
            fills=frozenset({"loss"}),
        ),
    ),
    oracles=(
        derivatives_retyped,
        derivatives_are_convex_and_calibrated,
        of_logistic_derivatives_it_is_cross_entropy,
    ),
    claims=(
        MeasurementClaim(
            name="more-accurate-than-fixed-losses",
            statement="With all else equal EnsLoss ends more accurate than cross-entropy and than "
            "the hinge loss.",
            measure=accuracies,
            smoke=Effort(seeds=1),
            full=Effort(seeds=10),
            expect=more_accurate,
            scaled="400 samples of 200 or 1000 inputs, 20 of them informative, a tenth of the "
            "labels wrong, and a multilayer perceptron, in place of CIFAR-10 and deep nets.",
        ),
    ),
    symptoms=(
        "my binary classifier fits the training data and fails on new data",
        "I cannot tell whether hinge or cross-entropy suits my data",
    ),
)
