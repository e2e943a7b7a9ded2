"""The information plane and the phases of gradients: what they refuse, and a run that goes on."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from thalweg.diagnostics import (
    GradientPhases,
    InformationPlane,
    gradient_phases,
    information_plane,
)


def net():
    return nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2))


def data():
    return torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"estimators": ("bins",)}, "give some of binning"),
        ({"estimators": ()}, "give some of binning"),
        ({"every": 0}, "every is 0"),
        ({"bin_width": 0.0}, "bin_width is 0.0"),
        ({"noise_variance": -1.0}, "noise_variance is -1.0"),
        ({"bin_width": (0.1, 0.1)}, "or one for each layer"),
        ({"noise_variance": (0.0,)}, "give a positive number"),
        ({"layers": ["9"]}, "'9' is not one of"),
        ({"run": []}, "yields no models"),
        ({"run": [nn.Linear(3, 2)]}, "no activation modules"),
        ({"data": (torch.zeros(8, 3), torch.zeros(8))}, "give class indices"),
        ({"run": [nn.Sequential(a := nn.Tanh(), nn.Linear(3, 2), a)]}, "called 2 times"),
    ],
)
def test_what_has_no_plane_is_refused(settings, says):
    given = {"run": [net()], "data": data(), **settings}
    with pytest.raises(ValueError, match=says):
        information_plane(given.pop("run"), given.pop("data"), **given)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"minibatch": 0}, "minibatch is 0"),
        ({"every": 0}, "every is 0"),
        ({"minibatch": 5}, "8 samples make 1 mini-batches of 5"),
        ({"run": []}, "yields no models"),
    ],
)
def test_what_has_no_phases_is_refused(settings, says):
    given = {"run": [net()], "minibatch": 2, **settings}
    with pytest.raises(ValueError, match=says):
        gradient_phases(given.pop("run"), data(), F.cross_entropy, **given)


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


def test_a_random_net_is_refused():
    with pytest.raises(ValueError, match="changes from call to call"):
        information_plane([nn.Sequential(Noise(), nn.Tanh())], data())


def test_a_run_is_measured_as_it_goes_and_is_not_disturbed():
    def training(model, told):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        yield model
        for _ in range(4):
            optimizer.zero_grad()
            F.cross_entropy(model(data()[0]), data()[1]).backward()
            optimizer.step()
            told.append([p.detach().clone() for p in model.parameters()])
            yield model

    torch.manual_seed(0)
    first = net()
    ends = []
    for measure in (
        lambda run: information_plane(run, data(), every=2),
        lambda run: gradient_phases(run, data(), F.cross_entropy, minibatch=2, every=2),
        list,
    ):
        model, told = net(), []
        model.load_state_dict(first.state_dict())
        found = measure(training(model, told))
        ends.append(told)
        if not isinstance(found, list):
            assert found.steps.tolist() == [0, 2, 4]
    assert all(
        torch.equal(p, q)
        for told in ends[:2]
        for a, b in zip(told, ends[2], strict=True)
        for p, q in zip(a, b, strict=True)
    )


class Branched(nn.Module):
    """A net one of whose layers has no part in the output."""

    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x):
        return self.used(x)


def test_a_layer_without_part_in_the_loss_has_neither_signal_nor_noise():
    found = gradient_phases([Branched()], data(), F.cross_entropy, minibatch=2)
    assert found.parameters == ("used.weight", "unused.weight")
    assert (found.mean[0, 0] > 0).item()
    assert found.mean[0, 1] == found.deviation[0, 1] == 0
    assert found.signal_to_noise[0, 1] == 0


def test_a_signal_without_noise_is_a_large_number():
    still = GradientPhases(
        torch.tensor([0]), ("weight",), torch.tensor([[1e-3]]), torch.tensor([[0.0]])
    )
    assert 1e30 < still.signal_to_noise.item() < torch.inf


def test_an_activation_in_place_leaves_the_layer_before_it_as_measured():
    linear = nn.Linear(3, 2)
    kept, overwritten = (
        information_plane([nn.Sequential(linear, nn.ReLU(inplace))], data(), layers=["0", "1"])
        for inplace in (False, True)
    )
    assert torch.equal(kept.patterns, overwritten.patterns)
    assert torch.equal(kept.input_information, overwritten.input_information)


def test_data_that_can_be_read_once_are_refused():
    with pytest.raises(TypeError, match="only once"):
        information_plane([net()], iter([data()]))


def test_a_layer_saturates_where_it_is_bounded_on_both_sides():
    for module, saturates in ((nn.Tanh(), True), (nn.ReLU(), False), (nn.LogSigmoid(), False)):
        assert information_plane([module], data(), layers=[""]).saturating == (saturates,)
    assert information_plane([net()], data(), layers=["0", "1"]).saturating == (False, True)


def test_compression_is_what_is_lost_since_the_highest():
    found = InformationPlane(
        steps=torch.arange(4),
        layers=("0",),
        estimators=("binning",),
        input_information=torch.tensor([1.0, 2.5, 3.0, 2.75])[None, :, None],
        target_information=torch.zeros(1, 4, 1),
        patterns=torch.tensor([[2.0], [9.0], [10.0], [9.0]]),
        n_samples=10,
        saturating=(True,),
    )
    assert found.compression.tolist() == [[0.25]]
    assert "1 of 4 measurements tell nearly all samples apart" in found.caveats[2]
