"""Hessian spectrum (2017): a bulk at zero, and outliers that belong to the data."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.claim import Effort, MeasurementClaim
from thalweg.core.example import Example
from thalweg.core.instrument import Instrument
from thalweg.core.paper import Paper
from thalweg.diagnostics import hessian_spectrum
from thalweg.diagnostics._lanczos import lanczos
from thalweg.papers.diagnostics._curvature_readings import passes, read_spectrum
from thalweg.papers.diagnostics._hessian_spectrum_trials import (
    outliers,
    outliers_belong_to_the_data,
)


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
    for batch_size in (None, 7, 11):
        found = hessian_spectrum(*_small(), steps=99, probes=2, batch_size=batch_size)
        nodes = found.ritz_values
        torch.testing.assert_close(nodes, exact.expand_as(nodes), rtol=0, atol=1e-10)
        torch.testing.assert_close(found.largest, exact.flip(0)[:10], rtol=0, atol=1e-10)
        torch.testing.assert_close(found.smallest, exact[:10], rtol=0, atol=1e-10)


def eigenvalues_of_a_given_matrix() -> None:
    """A quadratic's are known; a parameter without a part in the loss adds a zero."""
    net = nn.Linear(2, 1, bias=False).double()
    net.register_parameter("idle", nn.Parameter(torch.ones(1)))
    inputs = torch.diag(_double([1.0, 3.0]))
    found = hessian_spectrum(net, (inputs, torch.ones(2, 1).double()), nn.MSELoss(), probes=1)
    _close(found.largest, _double([9.0, 1.0, 0.0]))


def ritz_pairs_of_the_krylov_spaces() -> None:
    """Compress the dense Hessian to span(q, Hq, ..., H^5 q) for each start q; no recursion."""
    dense, steps, told = _dense(), 6, []
    settings: dict[str, Any] = {"steps": steps, "probes": 3, "k": 4, "block": 2, "seed": 3}
    found = hessian_spectrum(*_small(), **settings, progress=lambda *x: told.append(x))
    assert told == [(i, 18) for i in (*range(2, 13, 2), *range(13, 19))]
    generator = torch.Generator().manual_seed(3)
    for probe in range(3):
        powers = [torch.randn(len(dense), generator=generator).double()]
        for _ in range(steps - 1):
            powers.append(dense @ powers[-1] / powers[-1].norm())
        basis = torch.linalg.qr(torch.stack(powers, 1)).Q
        values, vectors = torch.linalg.eigh(basis.T @ dense @ basis)
        _close(found.ritz_values[probe], values)
        _close(found.ritz_weights[probe], vectors[0] ** 2)
        if probe == 0:
            pairs = basis @ vectors
            residuals = (dense @ pairs - values * pairs).norm(dim=0)
            _close(found.largest, values.flip(0)[:4])
            _close(found.largest_residuals, residuals.flip(0)[:4])
            _close(found.smallest, values[:4])
            _close(found.smallest_residuals, residuals[:4])
    mean = (found.ritz_weights * found.ritz_values).sum() / 3
    assert math.isclose(found.trace, len(dense) * mean)
    assert found.to_dict()["largest"] == found.largest.tolist()
    for name in ("trace", "n_outliers", "bulk"):
        assert found.to_dict()[name] == getattr(found, name)


def density_retyped() -> None:
    """Sum the bumps one by one; their width is a share of the range, or of what there is of it."""
    for steps, probes, seed in ((5, 2, 0), (1, 1, 0), (1, 1, 1)):
        found = hessian_spectrum(
            *_small(), steps=steps, probes=probes, seed=seed, width=0.03, points=9
        )
        low, high = float(found.ritz_values.min()), float(found.ritz_values.max())
        assert math.isclose(found.width, 0.03 * (high - low if steps > 1 else abs(high)))
        first, last = low - 4 * found.width, high + 4 * found.width
        for i, (x, density) in enumerate(zip(found.grid, found.density, strict=True)):
            assert math.isclose(x, first + (last - first) * i / 8, abs_tol=1e-12)
            bumps = [
                weight * math.exp(-((x - node) ** 2) / (2 * found.width**2))
                for node, weight in zip(
                    found.ritz_values.flatten(), found.ritz_weights.flatten(), strict=True
                )
            ]
            expected = sum(bumps) / probes / math.sqrt(2 * math.pi * found.width**2)
            assert math.isclose(density, expected, rel_tol=1e-9)
    data = torch.ones(4, 3), torch.ones(4)
    flat = nn.Linear(3, 1, bias=False)
    assert hessian_spectrum(flat, data, lambda z, y: z.sum(), width=0.03).width == 0.03


def chains_of_a_given_matrix() -> None:
    """Q Q' = 1 and Q A Q' = T, where a coupling nearly vanishes or a chain ends before its time."""
    generator = torch.Generator().manual_seed(0)
    scale = 1e12  # next to which rounding is large
    given = (  # blocks of one matrix: what is on the diagonal of each, and beside it
        ([0.0, 0.0, 0.0], [1.0, 2.0]),
        ([-3.0, -3.0, -3.0], [1.0, 1.0]),
        ([1.0, 2.0, 3.0, 4.0], [1.0, 1e-8, 1.0]),
    )
    blocks, starts = [], []
    for diagonal, beside in given:
        off = torch.diag(_double(beside), 1)
        turned = torch.linalg.qr(torch.randn(len(off), len(off), generator=generator).double()).Q
        blocks.append(scale * turned @ (torch.diag(_double(diagonal)) + off + off.T) @ turned.T)
        starts.append(turned[:, :1].T)
    matrix, inside = (torch.block_diag(*parts) for parts in (blocks, starts))  # type: ignore[no-untyped-call]
    anywhere = torch.randn(2, 10, generator=generator).double()
    for start in (inside, anywhere):
        state = generator.get_state()
        diagonals, couplings, bases = lanczos(lambda v: v @ matrix, start, 10, generator)
        drawn = not torch.equal(state, generator.get_state())
        assert drawn == (start is inside), "vectors are drawn for chains that have ended"
        for i, basis in enumerate(bases):
            _close(basis @ basis.T, torch.eye(10).double())
            off = torch.diag(couplings[i, :-1], 1)
            tridiagonal = torch.diag(diagonals[i]) + off + off.T
            _close(basis @ matrix @ basis.T / scale, tridiagonal / scale)
            if start is inside:
                assert couplings[i, len(given[i][0]) - 1] == 0, "nothing couples what follows"


def summaries_of_given_spectra() -> None:
    """Outliers come before the widest relative gap; the bulk holds nine tenths of the weight."""
    found = hessian_spectrum(*_small(), steps=2, probes=1)
    for largest, n_outliers in (
        ([9.0, 8.0, 2.0, 1.9, -1.0], 2),
        ([5.0, 4.0, 7.5e-6], 2),
        ([5.0, 4.0, 4.5e-6], 1),
        ([1.0, 0.9, 1e-6], 1),
        ([3.0], 1),
        ([-1.0, -2.0], 0),
    ):
        assert replace(found, largest=_double(largest)).n_outliers == n_outliers, largest
    for values, weights, bulk in (
        ([[-5.0, 0.1, 2.0], [0.2, -3.0, 1.0]], [[0.04, 0.5, 0.46], [0.6, 0.06, 0.34]], 2.0),
        ([[2.0, -1.0]], [[0.1, 0.9]], 1.0),
        ([[2.0, -1.0]], [[0.5, 0.5]], 2.0),
    ):
        given = replace(found, ritz_values=_double(values), ritz_weights=_double(weights))
        assert given.bulk == bulk, values


def _close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def _double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


PAPER = Paper(
    id="hessian-spectrum",
    title="Empirical Analysis of the Hessian of Over-Parametrized Neural Networks",
    year=2017,
    arxiv="1706.04454",
    headline="The Hessian's spectrum is a bulk at zero with nearly all eigenvalues, which grows "
    "with the network, and a few outliers, whose number follows the classes in the data and not "
    "the number of parameters.",
    provides=(hessian_spectrum,),
    instruments=(
        Instrument(
            "curvature",
            summary="How sharp is the loss, next to what the learning rate allows?",
            examine=read_spectrum,
            cost=passes,
            cannot_tell="Whether a flatter solution would be better on new data; for adaptive "
            "methods nor how near the rate is to its limit, since they rescale the directions.",
        ),
    ),
    oracles=(
        all_eigenvalues_after_as_many_steps,
        eigenvalues_of_a_given_matrix,
        ritz_pairs_of_the_krylov_spaces,
        density_retyped,
        summaries_of_given_spectra,
        chains_of_a_given_matrix,
    ),
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
            scaled="600 points in well separated Gaussian clusters of 2 and 5 classes, perceptrons "
            "of 190 to 840 parameters; an outlier is an eigenvalue above the widest relative gap "
            "among the 3 * classes largest.",
        ),
    ),
    symptoms=(
        "which learning rate is the largest that is stable",
        "is my solution sharp or flat",
        "is this a minimum or a saddle",
        "how many directions of my network matter",
    ),
)
