"""A start at criticality: what it refuses, and that theory foretells real nets."""

import json
import math
from statistics import NormalDist

import pytest
import torch
from torch import nn

from thalweg.nn import critical_init_, depth_to_width_report, solve_criticality
from thalweg.nn.criticality import GaussianMeans


def perceptron(depth=8, width=24, activation=nn.Tanh):
    layers = [x for _ in range(depth - 1) for x in (nn.Linear(width, width), activation())]
    return nn.Sequential(*layers, nn.Linear(width, width))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: solve_criticality(torch.sigmoid), "no critical point"),
        (lambda: solve_criticality(nn.Softplus()), "no critical point"),
        (lambda: solve_criticality(lambda z: 1 + z**2 * (-(z**2)).exp()), "no critical point"),
        (lambda: solve_criticality(torch.sum), "each entry to one"),
        (lambda: solve_criticality(lambda z: (z > 0).double()), "no derivative"),
        (lambda: critical_init_(nn.Tanh()), "no linear or convolutional layer"),
        (lambda: critical_init_(nn.Linear(2, 2)), "modules of none; give activation="),
        (lambda: critical_init_(nn.Sequential(perceptron(), nn.ReLU())), "cannot be told"),
        (lambda: critical_init_(perceptron(), input_mean_square=0.0), "input_mean_square is 0.0"),
        (lambda: critical_init_(perceptron(), readout=-1.0), "readout is -1.0"),
        (lambda: depth_to_width_report(perceptron(), input_mean_square=-1.0), "is -1.0"),
    ],
)
def test_what_has_no_critical_start_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_a_refusal_leaves_the_model_as_it_was():
    net = perceptron(activation=nn.Sigmoid)
    before = {name: p.clone() for name, p in net.state_dict().items()}
    with pytest.raises(ValueError, match="no critical point"):
        critical_init_(net)
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())


def test_the_kernel_and_its_spread_are_those_of_real_nets():
    depth, width, count = 6, 24, 1500
    report = depth_to_width_report(critical_init_(perceptron(depth, width)))
    generator = torch.Generator().manual_seed(0)
    z = torch.ones(count, width, 1)
    for i in range(depth):
        weight = torch.randn(count, width, width, generator=generator) / width**0.5
        z = weight @ (z if i == 0 else z.tanh())
    kernel = z.square().mean()
    kurtosis = (z**4).mean() / (3 * kernel**2)
    assert abs(float(kernel) / report.kernel[-1] - 1) < 0.2  # of order depth / width
    assert abs(float(kurtosis) / report.kurtosis[-1] - 1) < 0.1
    assert report.kurtosis[-1] > 1.1


def test_half_precision_and_the_chart():
    net = critical_init_(perceptron().bfloat16())
    assert net[0].weight.dtype == torch.bfloat16
    chart = depth_to_width_report(net).chart()
    assert "vega-lite" in json.loads(chart.to_json())["$schema"]


def test_a_module_with_weights_is_integrated_and_left_as_it_is():
    activation = nn.PReLU(init=0.5)
    assert solve_criticality(activation).weight_variance == pytest.approx(2 / (1 + 0.5**2))
    assert activation.weight.dtype == torch.float32
    assert activation.weight.grad is None


def test_a_kink_costs_no_digits():
    _, _, turn, _ = GaussianMeans(nn.ELU())(1.0)
    assert turn == pytest.approx(0.5 + math.exp(2) * NormalDist().cdf(-2), rel=1e-13)
