"""Correctness-aware calibration (2024): confidence follows whether the prediction is right."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from thalweg.core.claim import Effort, Finding, MeasurementClaim
from thalweg.core.example import Example
from thalweg.core.paper import Paper
from thalweg.core.verdicts import exceeds, together, typical
from thalweg.diagnostics import reliability
from thalweg.losses import CorrectnessAware
from thalweg.nn import CorrectnessCalibrator
from thalweg.papers.losses._calibration_retyped import (
    fitting_is_adam_on_batches,
    loss_retyped,
    reliability_retyped,
    scores,
    temperatures_retyped,
)
from thalweg.papers.losses._calibration_trials import calibrators


def better_calibrated_where_shifted(measured: Sequence[Mapping[str, float]]) -> Finding:
    """On turned digits less ECE than one temperature and cross-entropy leave, and more AUROC."""
    ours, others = "correctness, balanced", ("one temperature", "cross-entropy")
    found = together(
        [
            exceeds(
                "ECE on turned digits",
                [m[f"turned, ECE, {other}"] for m in measured],
                [m[f"turned, ECE, {ours}"] for m in measured],
                names=(other, ours),
            )
            for other in others
        ]
        + [
            exceeds(
                "AUROC on turned digits",
                [m[f"turned, AUROC, {ours}"] for m in measured],
                [m[f"turned, AUROC, {other}"] for m in measured],
                names=(ours, other),
            )
            for other in others
        ]
    )
    beside = tuple(
        typical(f"{kind}, ECE, {name}", [m[f"{kind}, ECE, {name}"] for m in measured])
        for kind in ("clean", "noisy", "turned")
        for name in (ours, "correctness", *others)
    )
    return Finding(found.verdict, found.sentence, found.numbers + beside)


def _scored() -> tuple[Tensor, Tensor]:
    logits, _, target = scores()
    return logits, target


def _copied() -> tuple[Tensor, Tensor]:
    logits, copies, _ = scores()
    return logits, copies


def _probabilities() -> tuple[Tensor, Tensor]:
    logits, _, target = scores()
    return logits.softmax(1), target


PAPER = Paper(
    id="correctness-aware-calibration",
    title="Optimizing Calibration by Gaining Aware of Prediction Correctness",
    year=2024,
    arxiv="2404.13016",
    headline="Fitted on in-distribution images alone, the calibrator is competitive there and best "
    "or nearly so on ImageNet-A, -R, -S and ObjectNet, against temperature scaling, ensembles and "
    "splines.",
    provides=(CorrectnessAware, CorrectnessCalibrator, reliability),
    oracles=(
        loss_retyped,
        temperatures_retyped,
        fitting_is_adam_on_batches,
        reliability_retyped,
    ),
    examples=(
        Example(
            CorrectnessAware,
            "loss",
            knobs={"balanced": (False, True), "reduction": ("mean", "sum")},
            inputs=_scored,
        ),
        Example(
            CorrectnessCalibrator,
            "module",
            arguments={"n_copies": 2},
            knobs={"top": (4, 3), "width": (5, 4)},
            inputs=_copied,
        ),
        Example(reliability, "function", knobs={"n_bins": (15, 5)}, inputs=_probabilities),
    ),
    claims=(
        MeasurementClaim(
            name="better-calibrated-where-shifted",
            statement="On shifted data it has not seen, the calibrator leaves less calibration "
            "error than temperature scaling, or than itself trained by cross-entropy, and tells "
            "right from wrong better.",
            measure=calibrators,
            smoke=Effort(seeds=1),
            full=Effort(seeds=10),
            expect=better_calibrated_where_shifted,
            scaled="Handwritten digits, a perceptron trained on 200, calibrators fitted on 700, "
            "digits turned by 30 degrees in place of ImageNet-A, -R, -S and ObjectNet. Balanced, "
            "as in the authors' code; without, and on clean and noisy digits, shown beside.",
        ),
    ),
    symptoms=(
        "my model is sure even where it is wrong",
        "my model's confidence is wrong on shifted data",
        "I want to know when not to trust a prediction",
    ),
)
