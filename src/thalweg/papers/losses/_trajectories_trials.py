"""What the claim about flat minima measures."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch.nn import functional as F

from thalweg.core.claim import Size
from thalweg.diagnostics import hessian_spectrum
from thalweg.optim import SAM
from thalweg.papers.baselines.schedules import cosine
from thalweg.papers.losses._trajectories import mesa, saf
from thalweg.problems import digits_noisy
from thalweg.problems.nets import mlp
from thalweg.training.batches import Arrays
from thalweg.training.setup import Setup

DECAY = 0.986  # as many epochs back as the authors' 0.9998 on ImageNet in batches of 1024: four


def with_sam(setup: Setup) -> Setup:
    """Make the steps by the gradient up the slope."""
    return replace(setup, optimizer=lambda model: SAM(setup.optimizer(model)))


CONTENDERS = {
    "SGD": lambda setup: setup,
    "SAF": saf(),
    "MESA": mesa(decay=DECAY),
    "SAM": with_sam,
}


def sharpness(seed: int, size: Size) -> Mapping[str, float]:
    """Return the largest eigenvalue of the training loss's Hessian where each method ends."""
    problem = replace(digits_noisy.problem(), model=partial(mlp, 64, 10))
    samples = problem.splits["train"].data
    assert isinstance(samples, Arrays)
    ends = {}
    for name, transform in CONTENDERS.items():
        setup = replace(
            problem.setup(seed, steps=problem.steps if size == "full" else 3),
            optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
            schedule=cosine,
        )
        setup = replace(transform(setup), evaluations=1)
        for _ in setup.loop(setup):
            pass
        spectrum = hessian_spectrum(
            setup.model,
            (samples.input, samples.target),
            F.cross_entropy,
            steps=30 if size == "full" else 4,
            probes=1,
            k=1,
            batch_size=None,
        )
        ends[name] = float(spectrum.largest[0])
    return ends
