"""What a claim about decoupled mixup measures."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from thalweg.core.claim import Size
from thalweg.losses import DecoupledMixup
from thalweg.papers.baselines.losses import mixing
from thalweg.problems import digits_mlp
from thalweg.problems.digits import parts
from thalweg.problems.nets import mlp


def both_classes_among_the_top_two(seed: int, size: Size) -> Mapping[str, float]:
    """Train on 200 digits by either loss; grade on mixtures of two test digits, and clean."""
    (images, label), _, (inputs, labels) = parts()
    few = images[:200], label[:200]
    problem = replace(digits_mlp.problem(), train=few, model=lambda: mlp(64, 10, width=128))
    partner = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    kept = labels != labels[partner]
    mixed = (0.3 * inputs + 0.7 * inputs[partner])[kept]
    both = torch.stack((labels, labels[partner]), 1)[kept].sort(1).values
    measured = {}
    for name, loss in (("mixup", nn.CrossEntropyLoss()), ("decoupled", DecoupledMixup())):
        setup = mixing()(problem.setup(seed, steps=1200 if size == "full" else 20))
        setup = replace(setup, loss=loss)
        for _ in setup.loop(setup):
            pass
        setup.model.eval()
        with torch.no_grad():
            top = setup.model(mixed).topk(2).indices.sort(1).values
            hit = setup.model(inputs).argmax(1) == labels
        measured[f"{name}, both of the mixed"] = (top == both).all(1).double().mean().item()
        measured[f"{name}, clean"] = hit.double().mean().item()
    return measured
