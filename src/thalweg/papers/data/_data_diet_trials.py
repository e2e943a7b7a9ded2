"""What the claims about data diets measure, and how they are judged."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from thalweg.core.claim import Finding, Size, Verdict
from thalweg.core.seeds import derive_seed
from thalweg.core.verdicts import typical
from thalweg.data import el2n_scores
from thalweg.diagnostics._ranking import area_under_roc
from thalweg.papers._descent import descend, shuffled
from thalweg.problems.digits import conv_net, parts
from thalweg.problems.digits_noisy import mislabelled
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem


def _student() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    )


def teacher() -> TrainingProblem:
    """Draw 20,000 Gaussian samples in 20 dimensions, labelled by a random tanh network."""
    generator = torch.Generator().manual_seed(derive_seed("data diet"))
    # Slopes of about 2 at the hidden units bend the borders between the three classes.
    hidden, last = (torch.randn(shape, generator=generator) for shape in ((20, 64), (64, 3)))
    inputs = torch.randn(27_000, 20, generator=generator)
    label = (torch.tanh(inputs @ hidden * 2 / math.sqrt(20)) @ last).argmax(1)
    split = (torch.split(part, [20_000, 2_000, 5_000]) for part in (inputs, label))
    train, validation, test = zip(*split, strict=True)
    return TrainingProblem(
        "teacher",
        model=_student,
        train=train,
        validation=validation,
        test=test,
        loss=nn.CrossEntropyLoss(),
        metric=METRICS["accuracy"],
        steps=3000,
        description="labels of a random network",
    )


def detects_wrong_labels(seed: int, size: Size) -> Mapping[str, float]:
    """Return how well EL2N tells wrong labels from right ones: the area under the ROC curve."""
    runs, epochs = (5, 10) if size == "full" else (2, 2)
    (images, right), *_ = parts()
    label = mislabelled(right, share=0.1)
    models = []
    with torch.random.fork_rng(devices=[]):
        for run in range(runs):
            torch.manual_seed(derive_seed("data diet", seed, run))
            model = conv_net()
            optimizer = torch.optim.AdamW(model.parameters())
            batches = shuffled(len(label), 64, epochs=epochs)
            descend(model, optimizer, (images, label), batches)
            models.append(model)
    return {"area": area_under_roc(el2n_scores(models, (images, label)), label != right)}


def finds_wrong_labels(figures: Sequence[Mapping[str, float]]) -> Finding:
    """Reproduced where the area is surely above 0.9, by convention an outstanding test."""
    area = typical("area under the ROC curve of EL2N", [figure["area"] for figure in figures])
    low = area.interval[0] if area.interval else 0.0
    verdict: Verdict = "not reproduced"
    if low > 0.5:
        verdict = "reproduced" if low >= 0.9 else "partly"
    sentence = f"A wrong label scores higher than a right one in {area.ours:.1%} of all pairs."
    return Finding(verdict, sentence, (area,))
