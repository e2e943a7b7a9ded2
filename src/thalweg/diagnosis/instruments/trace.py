"""The loss along the run: whether it went down at all, and whether it still does."""

import math

import torch
from torch import Tensor

from thalweg.core.instrument import Instrument, Reading, Symptom
from thalweg.diagnosis.instruments._charts import lines
from thalweg.training.subject import Subject

FALLEN = 0.95  # an end above this share of the beginning is no fall worth the name
FALLING = 0.1  # a fall over the last fifth, as a share of the whole, that more steps would use
POINTS = 300  # in the chart


def examine(subject: Subject) -> Reading:
    """Compare the beginning, the last fifth and the end of the run."""
    run = subject.run
    assert run is not None
    losses = run.losses
    charts = {
        "Loss of the batches along the run": lines(
            _rows("loss", losses), "step", "loss", log=bool((losses > 0).all())
        ),
        "Norm of the gradient along the run": lines(
            _rows("norm", run.gradients.square().sum(1).sqrt()), "step", "norm", log=True
        ),
    }
    return Reading(tuple(_symptoms(subject, losses)), charts)


def _symptoms(subject: Subject, losses: Tensor) -> list[Symptom]:
    run = subject.run
    assert run is not None
    at = len(losses)
    if run.diverged:
        return [
            Symptom(
                "diverged",
                "fault",
                title="the training diverged",
                evidence=f"The loss was {float(losses[0]):.3g} in the first step and ceased to be "
                f"finite within {at} steps of {subject.steps}.",
                sure="Certain: it was seen.",
                meaning="The weights are lost. Mostly the rate is too high, sometimes the "
                "activations grow from layer to layer or an input is not finite.",
                remedies=("a learning rate ten times lower", "clip", "batch-hessian-lr"),
            )
        ]
    if at < 20:
        return []
    part = max(at // 10, 1)
    first, last = float(losses[: min(part, 10)].mean()), float(losses[-part:].mean())
    fifth = losses[-(at // 5) :]
    fall = float(fifth[: len(fifth) // 2].mean() - fifth[len(fifth) // 2 :].mean())
    noise = float(fifth.std() / len(fifth) ** 0.5 * 2)
    if last > FALLEN * first:
        return [
            Symptom(
                "no-learning",
                "fault",
                title="the loss has not come down",
                evidence=f"It is {last:.3g} over the last tenth of the {at} steps and was "
                f"{first:.3g} in the beginning.",
                sure="Certain: it was seen.",
                meaning="Nothing was learned. The rate, the initial weights, dead units, frozen "
                "layers or targets that the inputs do not tell may be the reason.",
                remedies=("overfit one batch first: a model that cannot do that is broken",),
            )
        ]
    if first > last and fall > max(FALLING * (first - last), noise):
        return [
            Symptom(
                "still-falling",
                "note",
                title="the loss was still falling at the end",
                evidence=f"It fell by {fall:.3g} within the last fifth of the run, of "
                f"{first - last:.3g} in all.",
                sure="Likely: more than the noise of the batches.",
                meaning="A longer run would end lower.",
                remedies=("more steps", "adamw+cosine"),
            )
        ]
    return []


def _rows(name: str, values: Tensor) -> list[dict[str, float]]:
    keep = torch.linspace(0, len(values) - 1, min(POINTS, len(values))).long().tolist()
    rows = [{"step": i + 1, name: float(values[i])} for i in keep]
    return [row for row in rows if math.isfinite(row[name]) and row[name] > 0]


INSTRUMENTS = (
    Instrument(
        "trace",
        summary="Did the loss come down, and is it still falling?",
        examine=examine,
        cost=lambda subject: 0,
        cannot_tell="Why: a loss that stands still has many causes, and a loss of the training "
        "data says nothing of new data.",
        needs=frozenset({"steps"}),
    ),
)
