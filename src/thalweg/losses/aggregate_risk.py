"""What is lost, in theory, by learning from the mean responses of bags."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class AggregateRisk:
    """The expected excess squared error of a linear model learnt from bags.

    Args:
        bias: What shrinking costs, in squared units of the response.
        variance: What noise costs, in squared units of the response.
    """

    bias: float
    variance: float

    @property
    def total(self) -> float:
        """Bias and variance together."""
        return self.bias + self.variance


def aggregate_risk(
    bag_size: int,
    *,
    samples_per_feature: float,
    rho: float,
    noise: float = 1.0,
    signal: float = 1.0,
    epsilon: float = math.inf,
    bound: float = 1.0,
) -> AggregateRisk:
    """Predict the risk of linear regression by :class:`thalweg.losses.AggregateLoss`.

        1 / M = (1 / k) / (1 + q M) + rho (1 - 1 / k) / (1 + rho q M),  q = features / samples
        c = M / k / (1 + q M), the share of the signal that the estimate keeps
        M' = M / ((1 / k) / (1 + q M)^2 + rho (1 - 1 / k) / (1 + rho q M)^2)
        c' = M' / k / (1 + q M)^2
        bias = signal (1 - 2 c + (c' + q M' (1 - c) / (1 + q M)) / k / (1 + q M))
        variance = q c' (noise + 8 bound^2 / (k epsilon^2))

    Use it to choose `rho` or, for private responses, the size of the bags, by the least
    ``total``; at rho = 0 larger bags lose all that they gain in noise, and single samples are best.
    Avoid it far from its assumptions: Gaussian features of equal variance, bags at random, many
    samples and features. Cost: a dozen operations.

    Args:
        bag_size: Samples in a bag, k, >= 1.
        samples_per_feature: > 1; at rho = 0 more than `bag_size`.
        rho: As in :class:`thalweg.losses.AggregateLoss`, in [0, 1].
        noise: Variance of the response around its expectation, >= 0.
        signal: Squared norm of the coefficients, >= 0, in the same squared units.
        epsilon: Of label differential privacy, > 0; infinite where none is asked for.
        bound: Responses are clipped to at most this, as by :func:`thalweg.data.aggregate`; only
            with an `epsilon`.

    Returns:
        Bias and variance, with their ``total``.

    Raises:
        ValueError: If an argument is outside its range.

    Example:
        >>> from thalweg.losses import aggregate_risk
        >>> aggregate_risk(2, samples_per_feature=4, rho=1.0, noise=0.5).total
        0.41666666666666663
        >>> private = {"samples_per_feature": 20, "epsilon": 2.0, "bound": 3.0}
        >>> min(range(1, 40), key=lambda k: aggregate_risk(k, rho=0.5, **private).total)
        3

    Paper: Learning from Aggregate Responses: Instance Level versus Bag Level Loss Functions, 2024,
        arXiv 2401.11081. Differs: derived anew by deterministic equivalents, the theorem in print
        was not compared; clipping counts as without effect on what is within the bound.
    """
    k, q = bag_size, 1 / samples_per_feature
    if k < 1:
        raise ValueError(f"bag_size is {k}; a bag holds at least 1 sample")
    if not 0 <= rho <= 1:
        raise ValueError(f"rho is {rho}; the interpolation goes from 0 to 1")
    if not samples_per_feature > (1 if rho else k):
        raise ValueError(
            f"samples_per_feature is {samples_per_feature}; it must be above 1, and at rho = 0 "
            f"above the size of the bags, {k}, or the least-squares problem has many solutions"
        )
    if noise < 0 or signal < 0 or not epsilon > 0:
        raise ValueError(
            f"noise is {noise}, signal {signal} and epsilon {epsilon}; the first two must not be "
            "below 0, the last above it"
        )
    linear = 1 / k + rho * (1 - 1 / k) - q * (1 + rho)
    m = 2 / (linear + math.sqrt(linear**2 + 4 * rho * q * (1 - q)))
    between, within = 1 + q * m, 1 + rho * q * m
    kept = m / k / between
    slope = m / (1 / k / between**2 + rho * (1 - 1 / k) / within**2)
    spread = slope / k / between**2
    square = (spread + q * slope * (1 - kept) / between) / k / between
    private = 8 * bound**2 / (k * epsilon**2)
    return AggregateRisk(signal * (1 - 2 * kept + square), q * spread * (noise + private))
