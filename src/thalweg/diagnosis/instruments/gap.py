"""The gap between training and validation data."""

import math
from typing import Any

from torch import Tensor

from thalweg.core.instrument import Instrument, Reading, Symptom
from thalweg.diagnosis.instruments._charts import lines
from thalweg.training.subject import Subject

WARNING, NOTE = 0.15, 0.05  # of the accuracies
LOSSES = 5.0  # validation loss over training loss, where there are no classes
MEMORISED = 0.3  # accuracy above that of validation at chance


def examine(subject: Subject) -> Reading:
    """Compare what the model does on data it has seen and has not."""
    charts: dict[str, Any] = {}
    if subject.run is not None:
        progress = subject.problem.progress
        name = progress.replace("/", " ")
        rows = [
            {"step": point.cost.steps, name: value}
            for point in subject.run.points
            if math.isfinite(value := point.quality[progress])
        ]
        charts = {
            f"{name.capitalize()} along the run": lines(rows, "step", name, points=True),
        }
    losses = [_loss(subject, split) for split in ("train", "validation")]
    table = [
        {"data": split, "loss": loss}
        for split, loss in zip(("train", "validation"), losses, strict=True)
    ]
    if not subject.n_classes:
        worse = losses[1] > LOSSES * losses[0] > 0
        found = [_overfitting("note", f"Loss {losses[0]:.3g} and {losses[1]:.3g}.", "losses")]
        return Reading(tuple(found) if worse else (), charts, {"Seen and unseen": table})
    target = subject.rows("validation").target
    seen = _accuracy(subject.outputs("train"), subject.rows("train").target)
    unseen = _accuracy(subject.outputs("validation"), target)
    for row, accuracy in zip(table, (seen, unseen), strict=True):
        row["accuracy"] = accuracy
    chance = float(target.bincount().max() / len(target))
    doubt = 3 * math.sqrt(chance * (1 - chance) / len(target))
    evidence = (
        f"Accuracy {seen:.1%} on training and {unseen:.1%} on {len(target)} validation samples, "
        f"loss {losses[0]:.3g} and {losses[1]:.3g}; the commonest class alone is {chance:.1%}."
    )
    if seen - unseen > MEMORISED and unseen <= chance + doubt:
        symptom = Symptom(
            "memorised-labels",
            "fault",
            title=f"the labels are memorised: {seen:.0%} right on training data, chance on new",
            evidence=evidence,
            sure="Certain that nothing carries over: three standard errors around chance.",
            meaning="The inputs do not tell these labels. They are random, shuffled against the "
            "inputs, or of another file; or validation data are of another kind.",
            remedies=(
                "look at ten samples with their labels",
                "check that shuffling, sorting and joining kept inputs and labels together",
                "data-diet",
            ),
            explains=(
                *("overfitting", "wrong-labels", "class-confused", "hard-samples"),
                "incoherent-gradients",
            ),
        )
    elif seen - unseen > NOTE + doubt:
        symptom = _overfitting(
            "warning" if seen - unseen > WARNING + doubt else "note",
            evidence,
            f"{seen:.0%} and {unseen:.0%} right",
        )
    else:
        return Reading((), charts, {"Seen and unseen": table})
    return Reading((symptom,), charts, {"Seen and unseen": table})


def _overfitting(severity: str, evidence: str, what: str) -> Symptom:
    return Symptom(
        "overfitting",
        "warning" if severity == "warning" else "note",
        title=f"training data fit much better than new data: {what}",
        evidence=evidence,
        sure="Certain beyond three standard errors of the validation data.",
        meaning="Part of what is learned is peculiar to the training samples.",
        remedies=(
            "more data or augmentation",
            "decoupled-mixup",
            "saf-mesa",
            "weight decay",
            "a shorter run",
        ),
    )


def _loss(subject: Subject, split: str) -> float:
    return float(subject.loss(subject.outputs(split), subject.rows(split).target))


def _accuracy(output: Tensor, target: Tensor) -> float:
    return float((output.argmax(1) == target).double().mean())


INSTRUMENTS = (
    Instrument(
        "gap",
        summary="Does what is learned carry over to new data?",
        examine=examine,
        cost=lambda subject: 0.7 * subject.share(),
        cannot_tell="Whether the model is too large, the data too few, or the two of another kind.",
    ),
)
