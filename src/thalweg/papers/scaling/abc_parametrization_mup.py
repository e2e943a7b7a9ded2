"""abc-parametrisations (2020): the maximal update, whose features move at every width."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.claim import Effort, MeasurementClaim
from thalweg.core.example import Example
from thalweg.core.paper import Paper
from thalweg.papers.scaling._abc_trials import (
    best_rates,
    features_move_or_not,
    movements,
    the_best_rate_stays,
)
from thalweg.scaling import abc_parametrize, classify, coordinate_check

# Of three layers, as the paper's table has them; each with r, and what it learns.
_HALF, _ZERO = (0.0, 0.5, 0.5), (0.0, 0.0, 0.0)
_TABLE: dict[str, tuple[Sequence[float], Sequence[float], float, float, str]] = {
    "standard": (_ZERO, _HALF, 1.0, 0.5, "kernel"),
    "ntk": (_HALF, _ZERO, 0.0, 0.5, "kernel"),
    "mup": ((-0.5, 0.0, 0.5), (0.5, 0.5, 0.5), 0.0, 0.0, "feature learning"),
}


def table_of_the_paper() -> None:
    """The paper's table, shifted by its symmetry too, and what lies beside it."""
    for a, b, c, r, name in (
        *_TABLE.values(),
        ((0.0, 1.0), (0.0, 0.0), -1.0, 0.0, "feature learning"),  # mean field
        (_ZERO, _HALF, 0.0, -1.0, "unstable"),  # torch's own rate
        (_ZERO, _HALF, 2.0, 1.5, "trivial"),
        (_HALF, _ZERO, 1.0, 1.5, "trivial"),
        (_HALF, (0.5, 0.0, 0.0), 0.0, 0.5, "unstable"),
        (_HALF, (0.0, 0.5, 0.0), 0.0, 0.5, "unstable"),
        ((0.0, 0.5, 1.0), (0.0, 0.0, -0.75), 0.0, 0.25, "unstable"),
        (_HALF, (0.0, 0.0, 0.5), 0.0, 1.0, "kernel"),
        ((0.0, 0.5, 1.0), (0.0, 0.0, -0.5), 0.0, 0.5, "kernel"),
        ((0.0, 0.5, 0.25), _ZERO, 0.5, 0.75, "unstable"),
    ):
        for shift in (0.0, 0.3, -1.1):
            found = classify([x + shift for x in a], [x - shift for x in b], c - 2 * shift)
            assert math.isclose(found.r, r, abs_tol=1e-9), (a, b, c, found)
            assert found.name == name, (a, b, c, found)
            assert found.stable == (name != "unstable")
            assert found.nontrivial == (name in ("kernel", "feature learning")) or not found.stable


def _model(width: int, *, bias: bool = True) -> Any:
    """Return a perceptron of two hidden layers in double precision, each time the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(width)
        return nn.Sequential(
            nn.Linear(5, width, bias=bias),
            nn.Tanh(),
            nn.Linear(width, width, bias=bias),
            nn.Tanh(),
            nn.Linear(width, 2, bias=bias),
        ).double()


def _data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(9, 5, dtype=torch.float64, generator=generator)
    return inputs, torch.stack([inputs.sum(1), inputs.prod(1)], 1)


def form_with_multipliers() -> None:
    """Follow the definition, multipliers and all, shifted by the symmetry: weights stay equal."""
    (x, y), m, eta = _data(), 4.0, 0.05
    mup_of_adam = ((0.0, 1.0, 1.0), (0.0, -0.5, 0.0), 0.0)
    cases: list[tuple[Any, Any, Any]] = [
        *((name, row[:3], "sgd") for name, row in _TABLE.items()),
        (((0.3, 0.1, -0.2), (0.2, 0.4, 0.7), 0.6), ((0.3, 0.1, -0.2), (0.2, 0.4, 0.7), 0.6), "sgd"),
        ("mup", mup_of_adam, "adam"),
        ("standard", _TABLE["standard"][:3], "adam"),
    ]
    for scheme, (a, b, c), kind in cases:
        for shift in (0.0, 0.4):
            start = [layer.weight.detach().clone() for layer in _model(32, bias=False)[::2]]
            rises = [0.0, 0.5, 0.5]  # to undo that torch starts with a spread of fan-in^(-1/2)
            w = [
                (m ** (rise - spread + shift) * weight).requires_grad_()
                for weight, rise, spread in zip(start, rises, b, strict=True)
            ]
            scale = [m ** -(exponent + shift) for exponent in a]
            rate = eta * m ** -(c - (2 if kind == "sgd" else 1) * shift)
            make = torch.optim.SGD if kind == "sgd" else torch.optim.Adam
            settings: dict[str, Any] = {} if kind == "sgd" else {"eps": 0.0}
            theirs = make(w, lr=rate, **settings)
            model = _model(32, bias=False)
            groups = abc_parametrize(model, scheme, base_width=8, lr=eta, optimizer=kind)
            ours = make(groups, lr=99.0, **settings)
            for _ in range(4):
                h = x
                for i in range(3):
                    h = scale[i] * h @ w[i].T
                    h = h.tanh() if i < 2 else h
                for output, optimizer in ((h, theirs), (model(x), ours)):
                    optimizer.zero_grad()
                    torch.autograd.backward(F.mse_loss(output, y))
                    optimizer.step()
            for layer, factor, weight in zip(model[::2], scale, w, strict=True):
                torch.testing.assert_close(layer.weight, factor * weight, rtol=1e-9, atol=1e-12)


class _Reader(nn.Module):
    """Words and positions, a norm, and an output: parameters of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.word, self.position = nn.Embedding(7, 8), nn.Embedding(3, 8)
        self.norm, self.inner, self.output = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 2)


def rates_of_every_kind() -> None:
    """For width 8 over 2, that is m = 4, the rates of the maximal update, parameter by parameter.

    In Tensor Programs V, 2022, Table 3: the input and all biases have m (SGD) or 1 (Adam), hidden
    weights 1 or 1/m, output weights 1/m; the output's bias, whose fan-out is fixed, 1.
    """
    inputs = ("word.weight", "position.weight", "norm.weight", "norm.bias", "inner.bias")
    for kind, rates in (("sgd", (4.0, 1.0, 0.25)), ("adam", (1.0, 0.25, 0.25))):
        model: Any = _Reader()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        groups = abc_parametrize(model, base_width=2, lr=1.0, optimizer=kind)
        found = {id(p): group["lr"] for group in groups for p in group["params"]}
        assert len(found) == sum(len(group["params"]) for group in groups) == 8
        expected = dict.fromkeys(inputs, rates[0]) | {"output.bias": 1.0}
        expected |= {"inner.weight": rates[1], "output.weight": rates[2]}
        for name, p in model.named_parameters():
            assert found[id(p)] == expected[name], (kind, name, found[id(p)])
            factor = 0.5 if name == "output.weight" else 1.0
            torch.testing.assert_close(p.detach(), factor * before[name], rtol=1e-6, atol=0)
    headless = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 1, bias=False))
    for model, lone in ((_model(8), 1), (headless, 0)):
        groups = abc_parametrize(model, "standard", base_width=2, lr=1.0)
        sizes = {group["lr"]: len(group["params"]) for group in groups}
        assert sizes == {0.25: 5} | ({1.0: 1} if lone else {}), sizes
        assert all(isinstance(p, nn.Parameter) for group in groups for p in group["params"])
    narrow = nn.Sequential(nn.Linear(3, 8, bias=False), nn.Linear(8, 1, bias=False))
    before = {name: p.detach().clone() for name, p in narrow.named_parameters()}
    groups = abc_parametrize(narrow, "mean_field", base_width=2, lr=1.0)
    assert [group["lr"] for group in groups] == [4.0, 0.25]
    for factor, (name, p) in zip((1.0, 0.5), narrow.named_parameters(), strict=True):
        torch.testing.assert_close(p.detach(), factor * before[name], rtol=1e-6, atol=0)


def changes_by_hand() -> None:
    """Train two widths by hand; the dropout, which is only there in training, is not measured."""

    def make(width: int) -> Any:
        relu = nn.ReLU(inplace=True)  # which must not change what was kept of the layer before
        parts = nn.Linear(5, width), relu, nn.Dropout(0.5), nn.Linear(width, 2)
        return nn.Sequential(*parts).double()

    (x, y), rows = _data(), []
    for width in (6, 24):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            model = make(width)
            first, last = model[0], model[3]
            old = first(x), last(first(x).relu())
            for _ in range(3):
                loss = F.mse_loss(model(x), y)
                gradients = torch.autograd.grad(loss, list(model.parameters()))
                with torch.no_grad():
                    for p, g in zip(model.parameters(), gradients, strict=True):
                        p -= 0.1 * g
            new = first(x), last(first(x).relu())
        rows.append([((b - a) ** 2).mean().sqrt().item() for a, b in zip(old, new, strict=True)])
    found = coordinate_check(
        make,
        [6, 24],
        (x, y),
        F.mse_loss,
        lambda model: torch.optim.SGD(model.parameters(), lr=0.1),
        steps=3,
        seed=5,
    )
    assert (found.widths, found.layers) == ((6, 24), ("0", "3"))
    torch.testing.assert_close(found.changes, torch.tensor(rows, dtype=torch.float64).T)
    for i, layer in enumerate(found.layers):
        slope = math.log(rows[1][i] / rows[0][i]) / math.log(4)
        assert math.isclose(found.slopes[layer], slope, rel_tol=1e-9)
        assert found.to_dict()["changes"][layer] == found.changes[i].tolist()


def _sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


PAPER = Paper(
    id="abc-parametrization-mup",
    title="Feature Learning in Infinite-Width Neural Networks",
    year=2020,
    arxiv="2011.14522",
    headline="Standard and tangent-kernel parametrisations have no limit of infinite width that "
    "learns features, the maximal update has; its exact limits for word2vec and few-shot Omniglot "
    "beat the kernels and finite networks, which come closer the wider they are.",
    provides=(abc_parametrize, classify, coordinate_check),
    oracles=(table_of_the_paper, form_with_multipliers, rates_of_every_kind, changes_by_hand),
    examples=(
        Example(
            abc_parametrize,
            "function",
            inputs=lambda: (_model(8),),
            arguments={"base_width": 4, "lr": 0.1},
            knobs={
                "scheme": ("mup", "ntk"),
                "base_width": (4, 2),
                "lr": (0.1, 0.2),
                "optimizer": ("sgd", "adam"),
            },
            exceptions={"inputs_are_untouched": "it rescales the model that it is given"},
        ),
        Example(
            classify,
            "function",
            inputs=lambda: _TABLE["ntk"][:2],
            arguments={"c": 0.0},
            knobs={"c": (0.0, 1.0)},
        ),
        Example(
            coordinate_check,
            "function",
            inputs=lambda: (_model, (4, 8, 16), _data(), F.mse_loss, _sgd),
            knobs={"steps": (1, 2)},
            exceptions={"seed": "the models of the example are the same each time"},
        ),
    ),
    claims=(
        MeasurementClaim(
            name="features-move",
            statement="A step moves the hidden layer as far at every width under the maximal "
            "update, and ever less, as width^(-1/2), under the tangent kernel's parametrisation.",
            measure=movements,
            smoke=Effort(seeds=1),
            full=Effort(seeds=6),
            expect=features_move_or_not,
            scaled="Perceptrons of two hidden layers, 64 to 2048 wide, one and ten steps of SGD on "
            "128 digits, in place of word2vec and Omniglot.",
        ),
        MeasurementClaim(
            name="best-rate-stays",
            statement="Under the maximal update the best learning rate of a narrow network is that "
            "of a wide one, where with torch's own start it is not.",
            measure=best_rates,
            smoke=Effort(seeds=1),
            full=Effort(seeds=8),
            expect=the_best_rate_stays,
            scaled="Perceptrons of two hidden layers, 64 and 1024 wide, 60 steps of SGD with "
            "momentum on 64 digits each, rates an octave apart. The paper proves the limit; that "
            "rates transfer is what Tensor Programs V, 2022, made of it.",
        ),
    ),
    symptoms=(
        "the best learning rate changes whenever I make the network wider",
        "my wide network trains like a linear one",
        "I want to tune on a small model and train a large one",
    ),
)
