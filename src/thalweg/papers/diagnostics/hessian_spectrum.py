"""Hessian spectrum (2017): a bulk at zero, and outliers that belong to the data."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.claim import Effort, Finding, MeasurementClaim, Size
from thalweg.core.example import Example
from thalweg.core.paper import Paper
from thalweg.core.seeds import derive_seed
from thalweg.core.verdicts import combine, typical
from thalweg.diagnostics import hessian_spectrum


def _small() -> tuple[nn.Module, tuple[Tensor, Tensor], nn.Module]:
    """Return a net of 43 parameters, samples and a loss, in double precision."""
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(), nn.Linear(5, 3)).double()
    for p in net.parameters():
        p.data.normal_(generator=generator)
    inputs = torch.randn(20, 4, dtype=torch.float64, generator=generator)
    return net, (inputs, torch.randint(3, (20,), generator=generator)), nn.CrossEntropyLoss()


def _dense() -> Tensor:
    """Differentiate the small net's loss twice, one entry of the gradient after the other."""
    net, (inputs, target), loss = _small()
    parameters = list(net.parameters())
    value = loss(net.eval()(inputs), target)
    slopes = torch.autograd.grad(value, parameters, create_graph=True)
    entries = torch.cat([slope.flatten() for slope in slopes])
    rows = (torch.autograd.grad(entry, parameters, retain_graph=True) for entry in entries)
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def all_eigenvalues_after_as_many_steps() -> None:
    """With as many steps as parameters every probe's nodes are the dense Hessian's eigenvalues."""
    exact = torch.linalg.eigvalsh(_dense())
    for batch_size in (None, 7):
        found = hessian_spectrum(*_small(), steps=len(exact), probes=3, batch_size=batch_size)
        nodes = found.ritz_values
        torch.testing.assert_close(nodes, exact.expand_as(nodes), rtol=0, atol=1e-10)
        torch.testing.assert_close(found.largest, exact.flip(0)[:10], rtol=0, atol=1e-10)
        torch.testing.assert_close(found.smallest, exact[:10], rtol=0, atol=1e-10)


def moments_of_the_start() -> None:
    """Quadrature is exact: sum_i w_i theta_i^p = q' H^p q for the start q, p < 2 * steps."""
    dense, steps = _dense(), 6
    found = hessian_spectrum(*_small(), steps=steps, probes=2, seed=3)
    generator = torch.Generator().manual_seed(3)
    start = torch.stack([torch.randn(len(dense), generator=generator) for _ in range(2)]).double()
    start /= start.norm(dim=1, keepdim=True)
    image = start.clone()
    for power in range(2 * steps):
        moment = (found.ritz_weights * found.ritz_values**power).sum(1)
        torch.testing.assert_close(moment, (start * image).sum(1), rtol=1e-9, atol=1e-12)
        image = image @ dense


def residuals_bound_the_error() -> None:
    """In the middle of the way some eigenvalue lies within each residual, which is no idle one."""
    exact = torch.linalg.eigvalsh(_dense())
    found = hessian_spectrum(*_small(), steps=12, probes=1, k=4)
    for values, residuals in (
        (found.largest, found.largest_residuals),
        (found.smallest, found.smallest_residuals),
    ):
        distance = (values[:, None] - exact).abs().min(1).values
        assert (distance <= residuals + 1e-12).all(), (distance, residuals)
    assert found.largest_residuals.max() < exact.abs().max()
    assert found.largest_residuals.min() > 0


CLASSES, WIDTHS = (2, 4, 8), (16, 64)


def outliers(seed: int, size: Size) -> Mapping[str, float]:
    """Count the outliers for numbers of classes and widths of a net trained on clusters."""
    training, steps, probes = (500, 100, 4) if size == "full" else (20, 30, 1)
    figures = {}
    for classes in CLASSES:
        generator = torch.Generator().manual_seed(derive_seed("clusters", classes, seed))
        label = torch.arange(400) % classes
        centres = torch.randn(classes, 10, generator=generator)
        inputs = centres[label] + torch.randn(400, 10, generator=generator)
        for width in WIDTHS:
            net = _trained(inputs, label, width, classes, training, seed)
            found = hessian_spectrum(
                net,
                (inputs, label),
                F.cross_entropy,
                steps=steps,
                probes=probes,
                k=3 * classes,
            )
            top = found.largest[0]
            near = (found.ritz_weights * (found.ritz_values.abs() < 0.01 * top)).sum(1).mean()
            figures[f"outliers, {classes} classes, width {width}"] = float(found.n_outliers)
            figures[f"near zero, {classes} classes, width {width}"] = float(near)
    return figures


def _trained(
    inputs: Tensor, label: Tensor, width: int, classes: int, steps: int, seed: int
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("weights", width, classes, seed))
        net = nn.Sequential(
            *(nn.Linear(10, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()),
            nn.Linear(width, classes),
        )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(net(inputs), label))
        optimizer.step()
    return net


def outliers_belong_to_the_data(figures: Sequence[Mapping[str, float]]) -> Finding:
    """Judge by 95 % intervals of medians over the seeds.

    Reproduced are: outliers that grow in number from the fewest classes to the most; no growth
    with the width; nine tenths of the eigenvalues within a hundredth of the largest from zero,
    in the wide nets: the narrow ones have fewer parameters than the outputs that they fit.
    """

    def count(run: Mapping[str, float], classes: int, width: int) -> float:
        return run[f"outliers, {classes} classes, width {width}"]

    few, many = CLASSES[0], CLASSES[-1]
    narrow, wide = WIDTHS
    with_classes = typical(
        f"outliers more with {many} classes than with {few}",
        [sum(count(r, many, w) - count(r, few, w) for w in WIDTHS) / 2 for r in figures],
        f"{many - few}",
    )
    with_width = typical(
        f"outliers more at width {wide} than at {narrow}",
        [sum(count(r, c, wide) - count(r, c, narrow) for c in CLASSES) / 3 for r in figures],
        "0",
    )
    share = typical(
        f"share of eigenvalues near zero at width {wide}",
        [min(r[f"near zero, {c} classes, width {wide}"] for c in CLASSES) for r in figures],
        "nearly all",
    )
    missing = (float("-inf"), float("inf"))  # too few seeds for an interval
    grows, flat, bulk = (n.interval or missing for n in (with_classes, with_width, share))
    holds = (grows[0] > 0, flat[0] <= 0 <= flat[1], bulk[0] >= 0.9)
    sentence = (
        f"From {few} to {many} classes the outliers grow by {with_classes.ours:g}, from width "
        f"{narrow} to {wide} by {with_width.ours:.2g}; at least {share.ours:.0%} of the "
        f"eigenvalues at width {wide} lie near zero."
    )
    counts = tuple(
        typical(f"outliers, {c} classes, width {w}", [count(r, c, w) for r in figures])
        for c in CLASSES
        for w in WIDTHS
    )
    verdict = combine(["reproduced" if held else "not reproduced" for held in holds])
    return Finding(verdict, sentence, (with_classes, with_width, share, *counts))


PAPER = Paper(
    id="hessian-spectrum",
    title="Empirical Analysis of the Hessian of Over-Parametrized Neural Networks",
    year=2017,
    arxiv="1706.04454",
    headline="The Hessian's spectrum is a bulk at zero with nearly all eigenvalues, which grows "
    "with the network, and a few outliers, whose number follows the classes in the data and not "
    "the number of parameters.",
    provides=(hessian_spectrum,),
    oracles=(all_eigenvalues_after_as_many_steps, moments_of_the_start, residuals_bound_the_error),
    examples=(
        Example(
            hessian_spectrum,
            "diagnostic",
            arguments={"steps": 10, "probes": 3, "k": 3, "points": 50},
            knobs={
                "steps": (10, 8),
                "probes": (3, 2),
                "k": (3, 2),
                "width": (0.01, 0.05),
                "points": (50, 60),
                "seed": (0, 1),
            },
            inputs=_small,
            exceptions={
                "batch_size": "the spectrum is that of all data, but for rounding",
                "block": "it decides how the probes share the work, not what comes of it",
                "progress": "it is told of the progress and changes nothing",
            },
        ),
    ),
    claims=(
        MeasurementClaim(
            name="outliers-belong-to-the-data",
            statement="Nearly all eigenvalues lie in a bulk at zero; the number of outliers grows "
            "with the classes and not with the width.",
            measure=outliers,
            smoke=Effort(seeds=1),
            full=Effort(seeds=10),
            expect=outliers_belong_to_the_data,
            scaled="Gaussian clusters of 2, 4 and 8 classes, perceptrons of about 500 and 5,000 "
            "parameters; an outlier is an eigenvalue above the widest relative gap among the "
            "3 * classes largest.",
        ),
    ),
    symptoms=(
        "which learning rate is the largest that is stable",
        "is my solution sharp or flat",
        "is this a minimum or a saddle",
        "how many directions of my network matter",
    ),
)
