"""What the claim about the Hessian's spectrum measures, and how it is judged."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.claim import Finding, Size
from thalweg.core.seeds import derive_seed
from thalweg.core.verdicts import combine, typical
from thalweg.diagnostics import hessian_spectrum

CLASSES, WIDTHS = (2, 5), (8, 32)
LOSS = 0.1  # to stop at: much below it no gap sets the outliers apart
Figures = Sequence[Mapping[str, float]]


def outliers(seed: int, size: Size) -> Mapping[str, float]:
    """Count the outliers for numbers of classes and widths of a net trained on clusters."""
    figures = {}
    for classes in CLASSES:
        generator = torch.Generator().manual_seed(derive_seed("clusters", classes, seed))
        label = torch.arange(600) % classes
        centres = 4 * torch.randn(classes, 20, generator=generator)
        inputs = centres[label] + torch.randn(600, 20, generator=generator)
        for width in WIDTHS:
            net = _trained(inputs, label, width, classes, 20_000 if size == "full" else 20, seed)
            steps, probes = (200, 4) if size == "full" else (30, 1)
            found = hessian_spectrum(
                net, (inputs, label), F.cross_entropy, steps=steps, probes=probes, k=3 * classes
            )
            top = found.largest[0]
            near = (found.ritz_weights * (found.ritz_values.abs() < 0.01 * top)).sum(1).mean()
            figures[f"outliers, {classes} classes, width {width}"] = float(found.n_outliers)
            figures[f"share near zero, {classes} classes, width {width}"] = float(near)
    return figures


def _trained(
    inputs: Tensor, label: Tensor, width: int, classes: int, steps: int, seed: int
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("weights", width, classes, seed))
        net = nn.Sequential(nn.Linear(20, width), nn.ReLU(), nn.Linear(width, classes))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(inputs), label)
        if loss < LOSS:
            break
        torch.autograd.backward(loss)
        optimizer.step()
    return net


def outliers_belong_to_the_data(figures: Figures) -> Finding:
    """Judge by the medians over the seeds, for each number of classes C and each width.

    Reproduced where everywhere C - 1 to C + 2 outliers stand apart, and three quarters of the
    eigenvalues lie within a hundredth of the largest from zero; partly where one of both holds.
    """
    counts = {
        (classes, width): typical(
            f"outliers, {classes} classes, width {width}",
            [run[f"outliers, {classes} classes, width {width}"] for run in figures],
            f"about {classes}",
        )
        for classes in CLASSES
        for width in WIDTHS
    }
    shares = [
        typical(name, [run[name] for run in figures], "nearly all")
        for name in figures[0]
        if name.startswith("share")
    ]
    follow = all(c - 1 <= count.ours <= c + 2 for (c, _), count in counts.items())
    bulk = all(share.ours >= 0.75 for share in shares)
    sentence = (
        ", ".join(f"{count.ours:g} {count.what}" for count in counts.values())
        + f"; at least {min(share.ours for share in shares):.0%} of the eigenvalues lie near zero."
    )
    verdict = combine(["reproduced" if held else "not reproduced" for held in (follow, bulk)])
    return Finding(verdict, sentence, (*counts.values(), *shares))
