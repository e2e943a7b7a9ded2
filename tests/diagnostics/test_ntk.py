import math

import pytest
import torch
from torch import nn

from thalweg.diagnostics import empirical_ntk, kernel_alignment, lazy_prediction, ntk_spectrum
from thalweg.diagnostics._tangent import Tangents


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


@pytest.fixture
def x():
    return torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Twice(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x) + self.layer.weight.sum() * x[:, :1]


def test_a_layer_used_in_another_way_is_left_to_torch_func(x):
    model = Twice(nn.Linear(4, 2).double())
    tangents = Tangents(model, x)
    assert not tangents.layers
    sums, first = x.sum(1, keepdim=True), x[:, :1]
    expected = x @ x.T + 1 + sums @ first.T + first @ sums.T + 8 * first @ first.T
    torch.testing.assert_close(empirical_ntk(model, x)[:, :, 0, 0], expected)


def test_attention_is_covered(x):
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).double()
    tokens = x.expand(2, 5, 4).transpose(0, 1)
    kernel = empirical_ntk(layer, tokens, mode="trace", batch_size=2)
    torch.testing.assert_close(kernel, kernel.T)
    assert torch.linalg.eigvalsh(kernel)[0] > -1e-9


def test_inputs_may_be_a_dict_or_a_tuple(net, x):
    class Named(nn.Module):
        def forward(self, a, b):
            return net(a + b)

    model = Named()
    model.net = net
    expected = empirical_ntk(net, 2 * x)
    torch.testing.assert_close(empirical_ntk(model, {"a": x, "b": x}), expected)
    torch.testing.assert_close(empirical_ntk(model, (x, x)), expected)


def test_a_model_without_a_last_dimension_has_one_output(net, x):
    flat = nn.Sequential(net, nn.Linear(3, 1), nn.Flatten(0)).double()
    assert empirical_ntk(flat, x).shape == (5, 5, 1, 1)


def test_progress_is_told_of_every_pair_of_batches(net, x):
    told = []
    empirical_ntk(net, x, batch_size=2, progress=lambda *done: told.append(done))
    assert told == [(i, 6) for i in range(1, 7)]


def test_small_precisions_follow_double(net, x):
    exact = empirical_ntk(net, x)
    single = empirical_ntk(net.float(), x.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-4)
    half = empirical_ntk(net.bfloat16(), x.bfloat16())
    assert (half.double() - exact).norm() < 0.05 * exact.norm()


def test_dead_directions_stay_where_they_are(x):
    net = nn.Linear(4, 1, bias=False).double()
    doubled, target = torch.cat([x[:2], x[:2]]), torch.tensor([1.0, 2.0, 3.0, 4.0]).double()
    found = ntk_spectrum(net, (doubled, target))
    assert found.rank == 2
    assert found.target_shares.sum() < 1
    end = lazy_prediction(net, (doubled, target), times=[math.inf])
    torch.testing.assert_close(end.outputs[0, :2, 0], torch.tensor([2.0, 3.0]).double())


def test_charts_can_be_drawn(net, x):
    data = x, torch.arange(5) % 3
    found = lazy_prediction(net, data, times=[0.0, 1.0, math.inf])
    assert len(found.chart().data.values) == 1
    assert found.chart().to_dict()
    assert ntk_spectrum(net, data).chart().to_dict()


def test_a_kernel_is_aligned_with_its_multiples_only(net, x):
    kernel = empirical_ntk(net, x)
    assert kernel_alignment(kernel, 3 * kernel) == pytest.approx(1)
    assert kernel_alignment(kernel, torch.ones_like(kernel)) == 0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda net, x: empirical_ntk(net, x, mode="all"), "mode is 'all'"),
        (lambda net, x: empirical_ntk(net, x, batch_size=0), "batch_size is 0"),
        (lambda net, x: empirical_ntk(net, x[:0]), "no samples"),
        (lambda net, x: empirical_ntk(net.requires_grad_(False), x), "unfreeze"),
        (lambda net, x: empirical_ntk(nn.Sequential(net, nn.Flatten(0)), x), "row for each"),
        (lambda net, x: ntk_spectrum(net, (x, torch.ones(5, 2))), "a number for each output"),
        (lambda net, x: ntk_spectrum(net, (x, torch.zeros(5, 3))), "targets are 0"),
        (lambda net, x: ntk_spectrum(net, (0 * x, x), mode="diagonal"), "mode is"),
        (
            lambda net, x: ntk_spectrum(nn.Linear(4, 1, bias=False), (0 * x.float(), x[:, :1])),
            "the kernel is 0",
        ),
        (lambda net, x: kernel_alignment(torch.eye(2), torch.eye(3)), "shapes"),
        (lambda net, x: lazy_prediction(net, (x, x[:, :3]), times=[-1.0]), "none below 0"),
        (lambda net, x: lazy_prediction(net, (x, x[:, :3]), times=[1.0], lr=1e3), "diverges"),
    ],
)
def test_what_makes_no_sense_is_refused(net, x, call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(net, x)


def test_a_model_that_is_random_even_in_evaluation_mode_is_refused(x):
    class Noisy(nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs) + torch.rand(())

    with pytest.raises(ValueError, match="random"):
        empirical_ntk(Noisy(4, 2).to(x), x)
