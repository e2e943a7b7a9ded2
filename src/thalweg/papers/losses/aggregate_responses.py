"""Aggregate responses (2024): regression where only the means of bags of samples are known."""

import math

import torch
from torch import Tensor

from thalweg.core.claim import Effort, MeasurementClaim, RaceClaim
from thalweg.core.example import Example
from thalweg.core.method import Interval, Method
from thalweg.core.paper import Paper
from thalweg.core.verdicts import beats
from thalweg.data import Bags, aggregate
from thalweg.losses import AggregateLoss, aggregate_risk
from thalweg.papers.losses._aggregate_retyped import (
    loss_decomposes,
    means_of_bags,
    minimiser_is_the_closed_form,
    risk_where_it_is_known,
)
from thalweg.papers.losses._aggregate_trials import (
    as_predicted,
    below_both_ends,
    best_size_is_as_predicted,
    interpolated_and_ends,
    private_risks,
    risks_and_their_prediction,
)
from thalweg.papers.losses._bag_training import bags


def predictions_of_bags() -> tuple[Tensor, Bags]:
    """Return predictions and what is known of their bags."""
    x = torch.linspace(0, 9, 7)
    return x.sin(), aggregate(x.cos(), 3)


PAPER = Paper(
    id="aggregate-responses",
    title="Learning from Aggregate responses: Instance Level versus Bag Level Loss Functions",
    year=2024,
    arxiv="2401.11081",
    headline="Fitting every sample to the mean of its bag is fitting the means with a penalty on "
    "spread within bags; an interpolation of both has the least risk, known in closed form for "
    "linear regression, and private learning has a best size of bags.",
    provides=(AggregateLoss, aggregate_risk, aggregate),
    methods=(
        Method(
            name="bags",
            summary="Learn from the mean responses of random bags of training samples.",
            build=bags,
            defaults={"kind": "interpolated", "rho": 0.5, "bag_size": 4},
            space={"rho": Interval(0.0, 1.0)},
            fills=frozenset({"loss", "batches"}),
        ),
    ),
    oracles=(
        loss_decomposes,
        minimiser_is_the_closed_form,
        risk_where_it_is_known,
        means_of_bags,
    ),
    examples=(
        Example(
            AggregateLoss,
            "module",
            knobs={"kind": ("bag", "instance"), "rho": (0.5, 0.1), "reduction": ("mean", "sum")},
            inputs=lambda: (predictions_of_bags()[0], *predictions_of_bags()[1]),
        ),
        Example(
            aggregate_risk,
            "function",
            arguments={"samples_per_feature": 8.0, "rho": 0.5, "epsilon": 2.0},
            knobs={
                "samples_per_feature": (8.0, 4.0),
                "rho": (0.5, 0.0),
                "noise": (1.0, 2.0),
                "signal": (1.0, 2.0),
                "epsilon": (2.0, math.inf),
                "bound": (1.0, 3.0),
            },
            inputs=lambda: (3,),
        ),
        Example(
            aggregate,
            "function",
            arguments={"epsilon": 1.0, "bound": 2.0},
            knobs={"epsilon": (1.0, 2.0), "bound": (2.0, 0.5), "seed": (0, 1)},
            inputs=lambda: (torch.linspace(-2, 3, 7), 3),
        ),
    ),
    claims=(
        MeasurementClaim(
            name="risk-as-predicted",
            statement="The risk of linear regression from bags is what the closed form says.",
            measure=risks_and_their_prediction,
            smoke=Effort(seeds=2),
            full=Effort(seeds=50),
            expect=as_predicted,
            scaled="200 features and 1,600 samples for the limit of both.",
        ),
        MeasurementClaim(
            name="interpolation-beats-both",
            statement="At the best rho by the closed form the risk is below that of either end.",
            measure=interpolated_and_ends,
            smoke=Effort(seeds=2),
            full=Effort(seeds=50),
            expect=below_both_ends,
            scaled="Linear regression of 800 Gaussian samples with 100 features.",
        ),
        MeasurementClaim(
            name="private-size-of-bags",
            statement="Under label differential privacy bags of the size that the closed form "
            "finds best have less risk than no bags, and than large ones.",
            measure=private_risks,
            smoke=Effort(seeds=2),
            full=Effort(seeds=50),
            expect=best_size_is_as_predicted,
            scaled="Linear regression of 800 Gaussian samples with 50 features, epsilon = 2.",
        ),
        RaceClaim(
            name="interpolation-over-bag-level",
            statement="With a tuned rho a network predicts better than with the bag-level loss.",
            problems=("diabetes",),
            methods=("adamw+bags(kind='bag')", "adamw+bags"),
            smoke=Effort(seeds=2, steps=5),
            full=Effort(seeds=10, trials=5),
            expect=beats,
            scaled="442 patients in bags of 4, and a small perceptron.",
        ),
    ),
    symptoms=(
        "I know responses only as averages over groups",
        "single labels must stay private",
    ),
)
