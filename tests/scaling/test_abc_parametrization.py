"""abc-parametrisations: what they refuse, and the chart of the coordinate check."""

import pytest
import torch
from torch import nn

from thalweg.scaling import abc_parametrize, classify, coordinate_check


def perceptron(width=8):
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))


def tied():
    model = nn.Sequential(nn.Embedding(4, 8), nn.Linear(8, 4, bias=False))
    model[1].weight = model[0].weight
    return model


def with_a_parameter_of_its_own():
    model = perceptron()
    model.register_parameter("gain", nn.Parameter(torch.ones(1)))
    return model


@pytest.mark.parametrize(
    ("model", "settings", "says"),
    [
        (perceptron(), {"base_width": 0}, "base_width is 0"),
        (perceptron(), {"lr": -1.0}, "lr is -1.0"),
        (perceptron(), {"optimizer": "lion"}, "give 'sgd' or 'adam'"),
        (perceptron(), {"scheme": "mu"}, "one of standard, ntk, mup, mean_field, or exponents"),
        (perceptron(), {"scheme": "ntk", "optimizer": "adam"}, "none for adam and 2 layers"),
        (perceptron(), {"scheme": ((0,), (0,), 0)}, "2 layers with weights, the scheme 1 and 1"),
        (
            nn.Sequential(perceptron(), nn.Linear(2, 2)),
            {"scheme": "mean_field"},
            "none for sgd and 3 layers",
        ),
        (nn.Linear(3, 2), {}, "1 layers with weights; give two"),
        (tied(), {}, "tied parameters"),
        (with_a_parameter_of_its_own(), {}, "how gain should follow the width"),
    ],
)
def test_what_has_no_parametrization_is_refused_and_untouched(model, settings, says):
    before = {name: p.clone() for name, p in model.state_dict().items()}
    with pytest.raises(ValueError, match=says):
        abc_parametrize(model, **{"base_width": 2, "lr": 0.1, **settings})
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())


def test_exponents_of_no_network_are_refused():
    with pytest.raises(ValueError, match="a and b hold 1 and 2 exponents"):
        classify([0], [0, 1], 0)


def test_a_lone_embedding_is_the_input_layer():
    model = nn.Sequential(nn.Embedding(4, 8), nn.Linear(8, 8), nn.Linear(8, 2))
    groups = abc_parametrize(model, base_width=2, lr=1.0)
    rates = {p: group["lr"] for group in groups for p in group["params"]}
    assert [rates[layer.weight] for layer in model] == [4.0, 1.0, 0.25]


def check(widths=(4, 8), steps=1, make=perceptron):
    data = torch.ones(5, 3), torch.zeros(5, 1)

    def sgd(model):
        return torch.optim.SGD(model.parameters(), lr=0.1)

    def loss(output, target):
        return (output - target).square().mean()

    return coordinate_check(make, widths, data, loss, sgd, steps=steps)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"widths": (4, 4)}, "at least two that differ"),
        ({"steps": 0}, "steps is 0"),
        (
            {"make": lambda width: nn.Sequential(*(nn.Linear(3, 3) for _ in range(width // 4)))},
            "layers",
        ),
    ],
)
def test_what_cannot_be_checked_is_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        check(**settings)


def test_the_chart_shows_each_layer_at_each_width():
    shown = check().chart().to_dict()["datasets"]
    assert {point["layer"] for rows in shown.values() for point in rows} == {"0", "2"}


class Twofold(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


class Reader(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.last = Twofold(3, width), nn.Linear(width, 1)

    def forward(self, x):
        return self.last(self.first(x)[0])


def test_a_layer_that_returns_more_than_a_tensor_is_passed_over():
    assert check(make=Reader).layers == ("last",)
