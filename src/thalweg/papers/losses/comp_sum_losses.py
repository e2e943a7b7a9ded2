"""Comp-sum losses (2023): what cross-entropy and its relatives assure, and one for attacks."""

import math

import torch
from torch import Tensor

from thalweg.core.claim import Effort, MeasurementClaim
from thalweg.core.example import Example
from thalweg.core.method import Interval, Method
from thalweg.core.paper import Paper
from thalweg.losses import CompSum, SmoothAdversarialCompSum, consistency_bound, pgd
from thalweg.papers.losses._adversarial_training import adversarial_comp_sum
from thalweg.papers.losses._comp_sum_retyped import (
    adversarial_loss_retyped,
    attack_retyped,
    attacked,
    bound_is_attained,
    equations_retyped,
)
from thalweg.papers.losses._comp_sum_trials import (
    better_clean_and_attacked,
    bounds_against_regrets,
    never_above_the_bound,
    under_attack,
)
from thalweg.training.methods import loss_method


def three_scores() -> tuple[Tensor, Tensor, Tensor]:
    """Return clean scores, class indices and perturbed scores."""
    x = torch.linspace(-2, 2, 24)
    return (3 * x).sin().reshape(6, 4), torch.arange(6) % 4, (5 * x).cos().reshape(6, 4)


PAPER = Paper(
    id="comp-sum-losses",
    title="Cross-Entropy Loss Functions: Theoretical Analysis and Applications",
    year=2023,
    arxiv="2304.07288",
    headline="Tight, non-asymptotic bounds on the excess error that a small cross-entropy, or "
    "relative of it, assures; and an adversarial loss with such a bound that is more accurate than "
    "TRADES, under attack and on clean data.",
    provides=(CompSum, SmoothAdversarialCompSum, consistency_bound, pgd),
    methods=(
        loss_method(
            "comp-sum",
            CompSum,
            takes=("tau",),
            space={"tau": Interval(0.0, 2.0)},
            knobs={
                "tau": (0.5, 1.5),
                "kind": (None, "absolute"),
                "ignore_index": (-100, 1),
                "reduction": ("mean", "sum"),
            },
        ),
        Method(
            name="adversarial-comp-sum",
            summary="Train on clean margins and on how far an attack can move them.",
            build=adversarial_comp_sum,
            defaults={"tau": 0.4, "rho": 1.0, "nu": 1.0, "radius": 0.1, "n_steps": 10},
            space={"nu": Interval(0.1, 10.0, log=True), "tau": Interval(0.0, 2.0)},
            fills=frozenset({"loss"}),
        ),
    ),
    oracles=(equations_retyped, bound_is_attained, adversarial_loss_retyped, attack_retyped),
    examples=(
        Example(
            SmoothAdversarialCompSum,
            "module",
            knobs={
                "tau": (0.4, 1.0),
                "rho": (1.0, 2.0),
                "nu": (1.0, 0.5),
                "reduction": ("mean", "sum"),
            },
            inputs=three_scores,
        ),
        Example(
            consistency_bound,
            "function",
            knobs={"tau": (1.0, 1.5), "n_classes": (2, 5)},
            arguments={"tau": 1.5},
            inputs=lambda: (torch.tensor([0.0, 0.01, 0.2]),),
        ),
        Example(
            pgd,
            "function",
            arguments={"radius": 0.1, "step_size": 0.03, "n_steps": 3},
            knobs={
                "step_size": (0.03, 0.01),
                "n_steps": (3, 1),
                "bounds": ((-math.inf, math.inf), (0.0, 1.0)),
                "seed": (0, 1),
            },
            inputs=attacked,
        ),
    ),
    claims=(
        MeasurementClaim(
            name="bound-holds",
            statement="The excess error never exceeds its bound by the excess comp-sum loss, "
            "and comes up to it.",
            measure=bounds_against_regrets,
            smoke=Effort(seeds=1),
            full=Effort(seeds=10),
            expect=never_above_the_bound,
            scaled="Of 2, 3 and 5 classes, any scores: minimisability gaps of 0.",
        ),
        MeasurementClaim(
            name="more-robust-than-trades",
            statement="Training by the smooth adversarial comp-sum loss ends more accurate than "
            "TRADES, both under attack and on clean data.",
            measure=under_attack,
            smoke=Effort(seeds=1),
            full=Effort(seeds=10),
            expect=better_clean_and_attacked,
            scaled="Handwritten digits and a small perceptron under 20 steps of PGD, for CIFAR, "
            "wide residual nets and AutoAttack.",
        ),
    ),
    symptoms=(
        "my classifier is fooled by tiny changes of its input",
        "some of my labels are wrong and cross-entropy learns them by heart",
        "what does a small loss say about accuracy",
    ),
)
