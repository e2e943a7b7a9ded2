import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from thalweg.diagnostics import hessian_spectrum


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.BatchNorm1d(6), nn.Linear(6, 3)).double()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(30, 4, dtype=torch.float64, generator=generator)
    return inputs, torch.randint(3, (30,), generator=generator)


def spectrum(net, data, loss=F.cross_entropy, **given):
    return hessian_spectrum(net, data, loss, **{"steps": 8, "probes": 3, "k": 3, **given})


def test_pair_loader_and_list_of_batches_are_the_same_data(net, data):
    expected = spectrum(net, data).ritz_values
    shuffled = DataLoader(TensorDataset(*data), batch_size=7, shuffle=True)
    batches = [tuple(part[i : i + 11] for part in data) for i in range(0, 30, 11)]
    for form in (shuffled, batches):
        torch.testing.assert_close(spectrum(net, form).ritz_values, expected)


def test_probes_are_the_same_however_they_are_put_together(net, data):
    one, three = (spectrum(net, data, block=block) for block in (1, 3))
    torch.testing.assert_close(one.ritz_values, three.ritz_values)


def test_density_has_integral_one_and_the_mean_of_the_spectrum(net, data):
    found = spectrum(net, data, width=0.02)
    assert torch.trapezoid(found.density, found.grid) == pytest.approx(1, abs=1e-3)
    mean = torch.trapezoid(found.density * found.grid, found.grid)
    assert found.trace == pytest.approx(found.n_parameters * mean.item(), rel=1e-3)


def test_a_hessian_of_low_rank_is_found_in_spite_of_the_end_of_the_chain():
    data = torch.eye(6)[:2] * torch.tensor([[3.0], [6.0]]), torch.zeros(2, 1)
    found = spectrum(nn.Linear(6, 1, bias=False), data, F.mse_loss, steps=6)
    expected = torch.tensor([36.0, 9.0, 0.0, 0.0, 0.0, 0.0]).double()
    torch.testing.assert_close(found.ritz_values[1].flip(0), expected, rtol=1e-5, atol=1e-5)
    assert found.n_outliers == 1


def test_a_loss_that_is_linear_in_the_parameters_has_no_curvature():
    found = spectrum(nn.Linear(3, 1), (torch.ones(4, 3), torch.ones(4)), lambda z, y: z.mean())
    assert not found.ritz_values.any()
    assert found.density.isfinite().all()


def test_frozen_parameters_are_no_variables(net, data):
    net[0].requires_grad_(False)
    assert spectrum(net, data).n_parameters == 12 + 21


def test_attention_can_be_differentiated_twice():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    data = torch.randn(4, 5, 8), torch.randn(4, 5, 8)
    assert spectrum(layer, data, F.mse_loss, steps=3).largest.isfinite().all()


def test_model_gradients_and_modes_stay_as_they_were(net, data):
    F.cross_entropy(net(data[0]), data[1]).backward()
    net[0].eval()
    before, modes = copy.deepcopy(net), [module.training for module in net.modules()]
    slopes = [p.grad.clone() for p in net.parameters()]
    spectrum(net, data, batch_size=10)
    assert modes == [module.training for module in net.modules()]
    for old, new in zip(before.state_dict().values(), net.state_dict().values(), strict=True):
        assert torch.equal(old, new)
    for old, p in zip(slopes, net.parameters(), strict=True):
        assert torch.equal(old, p.grad)


def test_progress_is_told_of_every_step(net, data):
    told = []
    spectrum(net, data, block=2, progress=lambda done, total: told.append((done, total)))
    assert told == [(2 * i, 24) for i in range(1, 9)] + [(i, 24) for i in range(17, 25)]


def test_chart_and_dict_hold_what_was_found(net, data):
    found = spectrum(net, data)
    assert found.to_dict()["largest"] == found.largest.tolist()
    assert len(found.chart().to_dict()["layer"]) == 2


class Noisy(nn.Linear):
    def forward(self, inputs):
        return super().forward(inputs) + torch.randn(3)


class Augmented(list):
    def __iter__(self):
        return iter([(x * torch.rand(()), y) for x, y in super().__iter__()])


@pytest.mark.parametrize(
    ("net", "data", "loss", "sentence"),
    [
        (Noisy(4, 3), lambda x, y: (x, y), F.cross_entropy, "take the randomness out"),
        (nn.Linear(4, 3), lambda x, y: Augmented([(x, y)]), F.cross_entropy, "two passes"),
        (nn.Linear(4, 3), lambda x, y: [], F.cross_entropy, "no batches"),
        (nn.Linear(4, 3), lambda x, y: (x, y[:5]), F.cross_entropy, "different lengths"),
        (
            nn.Linear(4, 3),
            lambda x, y: (x, y),
            nn.CrossEntropyLoss(reduction="sum"),
            "reduction='mean'",
        ),
        (
            nn.Linear(4, 3),
            lambda x, y: (x, y),
            nn.CrossEntropyLoss(reduction="none"),
            "reduction='mean'",
        ),
        (nn.Linear(4, 3).requires_grad_(False), lambda x, y: (x, y), F.cross_entropy, "unfreeze"),
        (nn.Linear(4, 3), lambda x, y: (x * torch.nan, y), F.cross_entropy, "finite"),
    ],
)
def test_what_has_no_one_hessian_is_refused(net, data, loss, sentence):
    pair = torch.randn(30, 4), torch.arange(30) % 3
    with pytest.raises(ValueError, match=sentence):
        spectrum(net, data(*pair), loss, batch_size=15)


def test_data_that_can_be_read_once_are_refused(net, data):
    with pytest.raises(TypeError, match="only once"):
        spectrum(net, iter([data]))
    with pytest.raises(TypeError, match="pair"):
        spectrum(net, 3)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"k": 0}, {"points": 1}, {"width": 0.0}])
def test_arguments_outside_their_range_are_refused(net, data, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
        spectrum(net, data, **wrong)
