"""LDR-KL and ALDR-KL (2021): losses under the worst distribution over labels."""

from collections.abc import Mapping, Sequence

from thalweg.core.claim import Effort, Finding, MeasurementClaim, RaceClaim
from thalweg.core.example import Example
from thalweg.core.method import Choice, Method
from thalweg.core.paper import Paper
from thalweg.core.verdicts import beats, exceeds, matches
from thalweg.losses import ALDRKL, LDRKL
from thalweg.papers.losses._ldr_kl_retyped import (
    ends_of_the_temperature,
    equations_retyped,
    scores_follow_the_labels_distribution,
    sure_targets_and_lone_samples,
    temperature_is_the_best,
    temperatures_retyped,
    written_gradient,
)
from thalweg.papers.losses._ldr_kl_trials import aldr_kl, temperatures
from thalweg.training.methods import loss_method


def higher_where_labels_are_wrong(measured: Sequence[Mapping[str, float]]) -> Finding:
    """Judge by a sign test whether wrong labels have the higher mean temperature."""
    wrong, right = ([m[name] for m in measured] for name in ("wrong", "right"))
    return exceeds("mean temperature", wrong, right, names=("wrong labels", "right ones"))


_TEMPERATURES = Choice((0.1, 1.0, 10.0))
_SCALED = "Digits, two fifths of the labels wrong, in place of seven sets of data and six noises."
_KNOBS = {
    "margin": (0.1, 0.5),
    "normalize": (True, False),
    "ignore_index": (-100, 1),
    "reduction": ("mean", "sum"),
}
_WEIGHT = {"weight": "as long as there are classes; a law of its own weighs them"}

PAPER = Paper(
    id="ldr-kl",
    title="Label Distributionally Robust Losses for Multi-class Classification: Consistency, "
    "Robustness and Adaptivity",
    year=2021,
    arxiv="2112.14869",
    headline="Of 14 losses on 7 sets of data, under 6 kinds of label noise and none, ALDR-KL is "
    "the most stable and among the best; LDR-KL is top-k consistent for every k, which no loss "
    "that is top-1 consistent and symmetric can be.",
    provides=(LDRKL, ALDRKL),
    methods=(
        loss_method(
            "ldr-kl",
            LDRKL,
            takes=("lam", "margin", "normalize"),
            space={"lam": _TEMPERATURES},
            knobs={"lam": (1.0, 10.0), **_KNOBS},
            exceptions=_WEIGHT,
        ),
        Method(
            name="aldr-kl",
            summary="Train by the LDR-KL loss with a temperature found for each sample.",
            build=aldr_kl,
            defaults={"lam0": 10.0, "alpha": 2.0, "margin": 0.1},
            space={"lam0": _TEMPERATURES},
            fills=frozenset({"loss"}),
            needs=frozenset({"index"}),
        ),
    ),
    oracles=(
        equations_retyped,
        written_gradient,
        ends_of_the_temperature,
        scores_follow_the_labels_distribution,
        sure_targets_and_lone_samples,
        temperatures_retyped,
        temperature_is_the_best,
    ),
    examples=(
        Example(
            ALDRKL,
            "loss",
            arguments={"n_samples": 6, "lam0": 1.0},
            knobs={"lam0": (1.0, 10.0), "alpha": (2.0, 1.2), **_KNOBS},
            needs=frozenset({"index"}),
            exceptions=_WEIGHT,
        ),
    ),
    claims=(
        RaceClaim(
            name="more-accurate-than-cross-entropy",
            statement="Trained on wrong labels, LDR-KL and ALDR-KL end more accurate than "
            "cross-entropy.",
            problems=("digits-noisy",),
            methods=("sgd+cosine+cross-entropy", "sgd+cosine+ldr-kl", "sgd+cosine+aldr-kl"),
            smoke=Effort(seeds=2, steps=3),
            full=Effort(seeds=10, trials=5),
            expect=beats,
            scaled=_SCALED,
        ),
        *(
            RaceClaim(
                name=f"as-accurate-as-{other}",
                statement=f"Trained on wrong labels, ALDR-KL is no less accurate than {name}.",
                problems=("digits-noisy",),
                methods=(f"sgd+cosine+{other}", "sgd+cosine+aldr-kl"),
                smoke=Effort(seeds=2, steps=2),
                full=Effort(seeds=10, trials=5),
                expect=matches,
                scaled=_SCALED,
            )
            for other, name in (
                ("label-smoothing", "label smoothing"),
                ("gce", "generalized cross-entropy"),
                ("sce", "symmetric cross-entropy"),
            )
        ),
        MeasurementClaim(
            name="temperatures-know-wrong-labels",
            statement="The temperature adapts to the noise of each label: samples whose label is "
            "wrong end with a higher one.",
            measure=temperatures,
            smoke=Effort(seeds=1),
            full=Effort(seeds=10),
            expect=higher_where_labels_are_wrong,
            scaled="Digits, two fifths of the labels wrong, and a small conv net.",
        ),
    ),
    symptoms=(
        "some of my labels are wrong and I cannot clean them",
        "I want to know which of my labels are wrong",
        "cross-entropy memorises my mislabelled samples",
    ),
)
