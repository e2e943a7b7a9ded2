import pytest
import torch
from torch.nn import functional as F

from thalweg.problems.loading import load_problem
from thalweg.problems.mnist1d import SHAPES, _interpolate, _smooth, signals

# Of 20,000 signals drawn by the published generator (mnist1d 0.0.2, numpy seed 0), before the
# data set is standardised as a whole.
MEAN, DEVIATION = -0.0061, 0.1542
CLASS_DEVIATIONS = (0.1838, 0.1354, 0.1291, 0.1552, 0.1371, 0.1296, 0.1836, 0.1344, 0.1540, 0.1391)
AUTOCORRELATION = {1: 0.8146, 2: 0.5328, 4: 0.2629, 8: 0.0875, 16: -0.0232}
ROUGHNESS = 0.0664


@pytest.fixture(scope="module")
def drawn():
    signal, label = signals(20_000, 1)
    return signal.double(), label


def test_mean_deviation_and_roughness_are_the_published_ones(drawn):
    signal, _ = drawn
    assert signal.mean().item() == pytest.approx(MEAN, abs=1e-3)
    assert signal.std().item() == pytest.approx(DEVIATION, rel=0.01)
    assert signal.diff(dim=1).abs().mean().item() == pytest.approx(ROUGHNESS, rel=0.01)


def test_every_class_varies_as_published(drawn):
    signal, label = drawn
    found = [signal[label == k].std().item() for k in range(10)]
    assert found == pytest.approx(CLASS_DEVIATIONS, rel=0.025)


def test_neighbours_are_as_alike_as_published(drawn):
    centred = drawn[0] - drawn[0].mean(0)
    variance = drawn[0].var(correction=0)
    for lag, expected in AUTOCORRELATION.items():
        found = (centred[:, :-lag] * centred[:, lag:]).mean() / variance
        assert found.item() == pytest.approx(expected, abs=0.01)


def test_the_data_set_has_the_published_size_and_even_classes():
    problem = load_problem("mnist1d")
    signal, label = problem.train
    assert signal.shape == (4000, 40)
    assert label.bincount().tolist() == [400] * 10
    assert problem.test[0].shape == (1000, 40)
    assert signal.mean().abs() < 1e-5
    assert signal.std().item() == pytest.approx(1, abs=1e-4)
    assert not torch.equal(problem.validation[0], problem.test[0])


def test_a_seed_is_a_data_set():
    assert torch.equal(signals(50, 3)[0], signals(50, 3)[0])
    assert not torch.equal(signals(50, 3)[0], signals(50, 4)[0])


def test_the_shapes_can_be_told_apart_by_sight():
    shapes = torch.tensor(SHAPES)
    assert shapes.shape == (10, 12)
    assert torch.cdist(shapes, shapes).add(torch.eye(10) * 9).min() > 0.9


def test_interpolation_is_linear():
    signal = torch.tensor([[0.0, 2.0, 1.0]])
    place = torch.tensor([[0.0, 0.25, 1.0, 1.5, 2.0]])
    assert _interpolate(signal, place).tolist() == [[0.0, 0.5, 2.0, 1.5, 1.0]]


def test_smoothing_keeps_constants_and_is_a_gaussian_inside():
    assert torch.allclose(_smooth(torch.ones(1, 30)), torch.ones(1, 30))
    impulse = F.one_hot(torch.tensor([30]), 61).double()
    smoothed = _smooth(impulse)[0]
    assert (smoothed[32] / smoothed[30]).item() == pytest.approx(torch.tensor(-0.5).exp().item())
    assert smoothed.sum().item() == pytest.approx(1)
