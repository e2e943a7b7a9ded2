"""Bound audit (2023): what bounds on the error of a network can say, and what they cannot."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.claim import Effort, MeasurementClaim
from thalweg.core.example import Example
from thalweg.core.instrument import Instrument
from thalweg.core.paper import Paper
from thalweg.diagnostics import (
    GeneralizationBounds,
    generalization_bounds,
    rank_bounds,
    two_worlds,
)
from thalweg.papers.diagnostics._bound_audit_reading import passes, read_bounds
from thalweg.papers.diagnostics._bound_audit_trials import (
    forced,
    none_is_below_the_forced_error,
    none_is_tight,
    sweep,
)


def norms_and_margins_retyped() -> None:
    """Write biases as columns of larger matrices, which give the same scores; follow the terms."""
    net, (inputs, target) = _small()
    for biased in (True, False):
        layers = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
        if not biased:
            for layer in layers:
                layer.register_parameter("bias", None)
        hidden, matrices = inputs, []
        if biased:
            hidden = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=torch.float64)], 1)
        squares = float(hidden.square().sum())
        for i, layer in enumerate(layers):
            matrix = layer.weight.detach()
            if biased:
                matrix = torch.cat([matrix, layer.bias.detach()[:, None]], 1)
                last = torch.zeros(1, matrix.shape[1], dtype=torch.float64)
                last[0, -1] = 1
                matrix = torch.cat([matrix, last]) if i < 2 else matrix
            matrices.append(matrix)
            hidden = hidden @ matrix.T
            hidden = hidden.relu() if i < 2 else hidden
        torch.testing.assert_close(hidden, net.eval()(inputs).detach())
        norm = math.prod(float(torch.linalg.matrix_norm(matrix)) for matrix in matrices)
        n, factor = len(target), math.sqrt(2 * math.log(2) * 3) + 1
        margins = [
            float(row[y] - max(x for k, x in enumerate(row) if k != y)) / norm
            for row, y in zip(hidden, target, strict=True)
        ]
        every = []
        for j in range(60):
            within = sum(m <= 2.0**-j for m in margins) / n
            spread = 4 * 3 * 2.0**j * factor * math.sqrt(squares) / n
            slack = 3 * math.sqrt(math.log(2 * (j + 1) * (j + 2) / 0.1) / (2 * n))
            every.append(within + spread + slack)
        found = generalization_bounds(net, (inputs, target), delta=0.1, samples=1)
        assert math.isclose(found.bounds["margins"], min(every), rel_tol=1e-9)
        at_one = next(j for j in range(60) if 2.0**-j <= 1 / norm)
        assert math.isclose(found.bounds["norms"], every[at_one], rel_tol=1e-9)
        assert math.isclose(found.train_error, sum(m <= 0 for m in margins) / n)
        assert 0 < found.train_error < 1


def edges_of_margins() -> None:
    """Take margins that are powers of two, beyond the last, and a norm of 1 or 0."""
    layer = nn.Linear(1, 2, bias=False).double()
    net = nn.Sequential(layer)
    powers = [2.0**-j for j in range(4) for _ in range(100)]
    for weight, margins in ((1.0, powers), (1.0, [1.5 * 2.0**-60] * 400), (0.0, powers)):
        layer.weight.data = torch.tensor([[weight], [0.0]], dtype=torch.float64)
        inputs = torch.tensor(margins, dtype=torch.float64)[:, None]
        found = generalization_bounds(net, (inputs, torch.zeros(400).long()), samples=1)
        factor = 4 * 2 * (math.sqrt(2 * math.log(2)) + 1) * float(inputs.norm()) / 400
        every = [
            sum(m * weight <= 2.0**-j for m in margins) / 400
            + 2.0**j * factor
            + 3 * math.sqrt(math.log(2 * (j + 1) * (j + 2) / 0.05) / 800)
            for j in range(60)
        ]
        assert math.isclose(found.bounds["margins"], min(every), rel_tol=1e-9)
        assert math.isclose(found.bounds["norms"], every[0], rel_tol=1e-9)
        assert found.left_out == ()
    # No noise is small enough for the one net, and none does harm to the other.
    layer = nn.Linear(1, 2).double()
    net = nn.Sequential(layer)
    data = torch.ones(40, 1, dtype=torch.float64), torch.zeros(40).long()
    for p in net.parameters():
        p.data.zero_()
    layer.bias.data[0] = 1e-9
    assert generalization_bounds(net, data, samples=40).flat_noise == 2.0**-9
    layer.bias.data[0] = 1e3
    found = generalization_bounds(net, data, samples=40, initial=net.state_dict())
    choices = math.log(20 / 0.05)
    drawn = 1 - math.exp(-choices / 40)
    expected = _largest(drawn, (math.log(2 * math.sqrt(40)) + choices) / 40)
    assert math.isclose(found.bounds["PAC-Bayes"], expected, abs_tol=1e-9)


def pac_bayes_retyped() -> None:
    """Draw the same noise, count errors one by one, and bisect for the inverse of kl."""
    net, (inputs, target) = _small()
    net.eval()
    start = {name: 0.9 * p.detach() for name, p in net.named_parameters()}
    told: list[tuple[int, int]] = []
    for initial in (start, None):
        told.clear()
        settings: dict[str, Any] = {"initial": initial, "delta": 0.2, "samples": 4, "seed": 3}
        found = generalization_bounds(
            net, (inputs, target), **settings, progress=lambda *step: told.append(step)
        )
        assert told == [(i, 40) for i in range(1, 41)]
        # As the two arguments of a module that adds them, and as its keywords.
        named = {f"net.{name}": p for name, p in start.items()}
        halves: tuple[Any, ...] = ((0.25 * inputs, 0.75 * inputs),)
        halves += (dict(zip(("one", "other"), halves[0], strict=True)),)
        for given in halves:
            added = generalization_bounds(
                _Added(net), [(given, target)], **{**settings, "initial": initial and named}
            )
            assert added.left_out == ("norms", "margins")
            assert added.bounds == {k: found.bounds[k] for k in ("PAC-Bayes", "flatness")}
        weights = {name: p.detach().clone() for name, p in net.named_parameters()}
        origin = initial or {name: torch.zeros_like(p) for name, p in weights.items()}
        moved = sum(float((weights[name] - origin[name]).norm()) ** 2 for name in weights)
        generator, n = torch.Generator().manual_seed(3), len(target)
        noises = [
            {
                name: torch.randn(p.shape, generator=generator, dtype=torch.float64)
                for name, p in weights.items()
            }
            for _ in range(4)
        ]
        bounds, errors = [], []
        for k in range(10):
            size, wrong = 2.0**-k, 0
            for noise in noises:
                at = {name: p + size * noise[name] for name, p in weights.items()}
                scores = torch.func.functional_call(net, at, (inputs,))
                wrong += int((scores.argmax(1) != target).sum())
            errors.append(wrong / (4 * n))
            choices = math.log(2 * 10 / 0.2)
            drawn = _largest(errors[-1], choices / 4)
            budget = moved / (2 * size * size) + math.log(2 * math.sqrt(n)) + choices
            bounds.append(_largest(drawn, budget / n))
        assert math.isclose(found.bounds["PAC-Bayes"], min(bounds), abs_tol=1e-9)
        flat = next(k for k in range(10) if errors[k] <= found.train_error + 0.1)
        assert 0 < flat < 9
        assert found.flat_noise == 2.0**-flat
        assert math.isclose(found.bounds["flatness"], bounds[flat], abs_tol=1e-9)
        assert min(bounds) < 1
        assert found.vacuous == tuple(k for k, v in found.bounds.items() if not v < 1)


def _largest(p: float, budget: float) -> float:
    low, high = p, 1.0
    for _ in range(200):
        q = (low + high) / 2
        kl = sum(a * math.log(a / b) for a, b in ((p, q), (1 - p, 1 - q)) if a > 0 and b > 0)
        low, high = (q, high) if q < 1 and kl <= budget else (low, q)
    return low


def ranks_retyped() -> None:
    """Count pairs of models in the same and in the other order, ties by Kendall's tau-b."""
    rows = [(3.0, 1.0, 0.1, 0.4), (2.0, 1.5, 0.3, 0.2), (5.0, 1.0, 0.2, 0.5), (4.0, 0.5, 0.0, 0.5)]
    found = [GeneralizationBounds({"a": a, "b": b}, t, 0.1, 9, 2, ()) for a, b, t, _ in rows]
    ranks = rank_bounds(found, [row[3] for row in rows])
    for place, name in enumerate("ab"):
        score, ours, theirs = 0.0, 0, 0
        for i in range(4):
            for j in range(i):
                x = (rows[i][place] - rows[i][2]) - (rows[j][place] - rows[j][2])
                y = rows[i][3] - rows[j][3]
                score += (x * y > 0) - (x * y < 0)
                ours, theirs = ours + (x != 0), theirs + (y != 0)
        assert math.isclose(ranks[name], score / math.sqrt(ours * theirs))
    assert list(ranks) == sorted(ranks, key=lambda name: -ranks[name])
    assert rank_bounds([found[0]] * 3, [0.1, 0.2, 0.3]) == {"a": 0.0, "b": 0.0}
    assert rank_bounds(found, torch.full((4,), 0.5)) == {"a": 0.0, "b": 0.0}
    two = rank_bounds(found, [0.1, 0.1, 0.3, 0.3])  # excesses of a: 2.9, 1.7, 4.8, 4.0
    assert math.isclose(two["a"], 4 / math.sqrt(6 * 4))


def forced_error_is_attained() -> None:
    """For tables the error has its expectation; a small constant attains the bound, none beats it.

    The same hypothesis is asked about once, and labels its own samples.
    """
    d, n, seen = 30, 10, []

    def table(labels: Tensor, seed: int) -> nn.Module:
        return _Table(labels)

    def constant(model: nn.Module, sample: tuple[Tensor, Tensor]) -> float:
        assert torch.equal(model(sample[0]).argmax(1), sample[1])
        seen.append(d - len(set(sample[0].argmax(1).tolist())))
        return 0.02

    found = two_worlds(constant, table, torch.eye(d, dtype=torch.float64), n=n, trials=400)
    assert len(seen) == 400
    expected = 0.5 * (1 - 1 / d) ** n
    assert math.isclose(found.forced_error, expected / 2)
    assert torch.equal(found.estimates, torch.full((400,), 0.02, dtype=torch.float64))
    torch.testing.assert_close(found.errors, found.truths / 2, rtol=1e-12, atol=1e-12)
    assert abs(found.truths.mean() - expected) < 4 * found.truths.std() / 20
    unseen = torch.tensor(seen, dtype=torch.float64) / d
    assert (found.truths <= unseen).all()
    assert abs((found.truths / unseen).mean() - 0.5) < 0.03
    assert not found.train_errors.any()
    assert math.isclose(found.error, found.errors.mean())
    sure = two_worlds(lambda *_: 7.0, table, torch.eye(d, dtype=torch.float64), n=n)
    assert torch.equal(sure.estimates, torch.ones(20, dtype=torch.float64))
    torch.testing.assert_close(sure.errors, 1 - sure.truths / 2)
    flipped = two_worlds(
        lambda *_: 0.0, lambda labels, seed: table(1 - labels, seed), torch.eye(d).double(), n=n
    )
    assert flipped.train_errors.all()


def _small() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Return a perceptron that is right about most of its 300 samples, in double precision."""
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(
        *(nn.Flatten(), nn.Linear(2, 3), nn.ReLU(), nn.Dropout()),
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)),
    ).double()
    for p in net.parameters():
        p.data.normal_(generator=generator)
    inputs = torch.randn(300, 2, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        target = net.eval()(inputs).argmax(1)
    target[::10] = (target[::10] + 1) % 3
    return net, (inputs, target)


class _Added(nn.Module):
    """Applies a net to the sum of two inputs."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        scores: Tensor = self.net(one + other)
        return scores


def _few() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    net, (inputs, target) = _small()
    return net, (inputs[:30], target[:30])


class _Table(nn.Module):
    """Looks up the label of a unit vector."""

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        self.labels = labels

    def forward(self, inputs: Tensor) -> Tensor:
        return F.one_hot(self.labels[inputs.argmax(1)], 2)


def _tables() -> tuple[object, ...]:
    return (
        lambda model, sample: 0.1 + 0.05 * float(sample[1].sum()),
        lambda labels, seed: _Table(labels),
        torch.eye(12),
    )


_BOUNDS = [GeneralizationBounds({"a": x, "b": 2 - x}, 0.0, 0.1, 9, 2, ()) for x in (1, 2, 3)]

PAPER = Paper(
    id="bound-audit",
    title="Fantastic Generalization Measures are Nowhere to be Found",
    year=2023,
    arxiv="2309.13658",
    headline="No bound that sees the training samples and the hypothesis can be near the true "
    "error for all distributions and algorithms where the model can fit anything; one that sees "
    "the algorithm too cannot, where the algorithm does well on some distributions.",
    provides=(generalization_bounds, rank_bounds, two_worlds),
    instruments=(
        Instrument(
            "bounds",
            summary="What does theory guarantee for new data?",
            examine=read_bounds,
            cost=passes,
            cannot_tell="The error itself: every bound is far above it, and no such number can "
            "be near it for every task. A sample of the training data makes bounds "
            "looser, not wrong.",
            needs=frozenset({"model", "classes"}),
        ),
    ),
    oracles=(
        norms_and_margins_retyped,
        edges_of_margins,
        pac_bayes_retyped,
        ranks_retyped,
        forced_error_is_attained,
    ),
    examples=(
        Example(
            generalization_bounds,
            "diagnostic",
            arguments={"samples": 6},
            knobs={
                "initial": (None, dict(_few()[0].named_parameters())),
                "delta": (0.05, 0.2),
                "samples": (6, 5),
                "seed": (0, 1),
            },
            inputs=_few,
            exceptions={
                "batch_size": "the bounds are those of all data, but for rounding",
                "progress": "it is told of the progress and changes nothing",
            },
        ),
        Example(
            two_worlds,
            "diagnostic",
            knobs={"n": (None, 3), "trials": (20, 10), "seed": (0, 1)},
            inputs=_tables,
        ),
        Example(rank_bounds, "function", inputs=lambda: (_BOUNDS, [0.1, 0.3, 0.2])),
    ),
    claims=(
        MeasurementClaim(
            "error-is-forced",
            statement="No bound is nearer to the error than the forced one, in the mean of two "
            "worlds in which hypothesis and training samples are the same.",
            measure=forced,
            smoke=Effort(seeds=1),
            full=Effort(seeds=6),
            expect=none_is_below_the_forced_error,
            scaled="Perceptrons that fit random labels of 400 Gaussian inputs, of which 133 are "
            "seen; four bounds and the training error. The theorem is about all others too.",
        ),
        MeasurementClaim(
            "none-is-tight-on-a-sweep",
            statement="Over nets of several sizes, on data with right and wrong labels, no bound "
            "is near the true error throughout, while samples held out are.",
            measure=sweep,
            smoke=Effort(seeds=1),
            full=Effort(seeds=6),
            expect=none_is_tight,
            scaled="Twelve perceptrons on 100 to 1,000 handwritten digits; four bounds, each at "
            "most 1, where the study that the paper answers compares forty measures on CIFAR-10; "
            "held-out samples are judged where labels are right.",
        ),
    ),
    symptoms=(
        "can theory guarantee how well my model generalizes",
        "which measure predicts the generalization gap",
        "is this generalization bound vacuous",
    ),
)
