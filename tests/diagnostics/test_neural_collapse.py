import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from thalweg.diagnostics import neural_collapse, predict_geometry


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 4), nn.Linear(4, 4))


@pytest.fixture
def data():
    return torch.randn(20, 5, generator=torch.Generator().manual_seed(1)), torch.arange(20) % 4


def test_a_named_layer_is_measured_in_place_of_the_last(net, data):
    last, named = neural_collapse(net, data), neural_collapse(net, data, classifier="2")
    assert named.nc1 == pytest.approx(neural_collapse(net[:3], data).nc1)
    assert named.nc1 != pytest.approx(last.nc1)


def test_a_shuffling_loader_gives_the_same(net, data):
    shuffled = DataLoader(TensorDataset(*data), batch_size=3, shuffle=True)
    assert neural_collapse(net, shuffled).nc1 == pytest.approx(neural_collapse(net, data).nc1)


def test_features_that_all_coincide_are_no_collapse(net, data):
    nn.init.zeros_(net[2].weight)
    found = neural_collapse(net, data)
    assert found.nc1 == math.inf
    assert not found.distances.any()


def test_two_classes_whose_means_coincide_show_in_the_distances(data):
    net = nn.Linear(5, 4)
    inputs, target = torch.eye(5)[data[1].clamp(max=2)], data[1]
    found = neural_collapse(net, (inputs, target))
    assert found.distances[2, 3] == 0
    assert found.distances[0, 1] == pytest.approx(math.sqrt(6 / 5))
    assert found.nc1 < 1e-12


class Noisy(nn.Linear):
    def forward(self, inputs):
        return super().forward(inputs) + torch.randn(4)


def test_noise_is_refused(data):
    with pytest.raises(ValueError, match="take the randomness out"):
        neural_collapse(Noisy(5, 4), data)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda x, y: (x, y.clamp(max=2)), "no sample of the classes"),
        (lambda x, y: (x, y + 1), "number them from 0"),
        (lambda x, y: (x, y.float()), "are no classes"),
        (lambda x, y: (x.expand(1, 20, 5), y), "length"),
        (lambda x, y: (x[:, None], y), "applied once"),
    ],
)
def test_data_that_do_not_fit_are_refused(net, data, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        neural_collapse(net, change(*data))


def test_models_and_predictions_that_do_not_fit_are_refused(net, data):
    with pytest.raises(ValueError, match="named 'head'"):
        neural_collapse(net, data, classifier="head")
    with pytest.raises(ValueError, match="two classes or more"):
        neural_collapse(nn.Linear(5, 1), data)
    with pytest.raises(TypeError, match="give a pair of tensors"):
        neural_collapse(net, 3)
    with pytest.raises(ValueError, match="3 classes"):
        neural_collapse(
            net, data, predicted=predict_geometry((3, 2, 1), weight_decay=1e-3, feature_decay=1e-3)
        )


@pytest.mark.parametrize(
    ("counts", "decay"), [((3, 0), 1e-3), ((), 1e-3), ((3, 2), 0.0), ((3, 2), [])]
)
def test_what_has_no_geometry_is_refused(counts, decay):
    with pytest.raises(ValueError, match=r"give a positive|no one geometry"):
        predict_geometry(counts, weight_decay=decay, feature_decay=1e-3)


def test_data_of_a_single_pass_are_refused(net, data):
    with pytest.raises(TypeError, match="read only once"):
        neural_collapse(net, iter([data]))


def test_a_class_that_vanishes_in_the_predicted_geometry_has_no_scale(net, data):
    vanishing = predict_geometry((100, 100, 100, 1), weight_decay=0.02, feature_decay=0.02)
    assert vanishing.collapsed.tolist() == [False, False, False, True]
    found = neural_collapse(net, data, predicted=vanishing)
    assert all(math.isfinite(x) for x in found.nc3.values())
