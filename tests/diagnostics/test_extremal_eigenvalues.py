import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from thalweg.core.errors import RecipeError
from thalweg.diagnostics import extremal_eigenvalues, max_learning_rate, predict_batch_eigenvalue
from thalweg.papers.diagnostics._batch_hessian_recipe import batch_hessian_lr


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.BatchNorm1d(6), nn.Linear(6, 3))


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(30, 4, generator=generator)
    return inputs, torch.randint(3, (30,), generator=generator)


def test_the_prediction_is_continuous_at_the_knee_and_all_samples_have_no_noise(net, data):
    found = max_learning_rate(net, data, F.cross_entropy)
    assert found.at(30) == pytest.approx(2 / found.eigenvalue)
    assert (found.rates.diff() > 0).all()
    below, above = (predict_batch_eigenvalue(2.0, 4.0 * x, 1) for x in (0.999999, 1.000001))
    assert below == pytest.approx(above, rel=1e-5)


def test_many_samples_are_taken_in_pieces(net, data, monkeypatch):
    whole = extremal_eigenvalues(net, data, F.cross_entropy)
    monkeypatch.setattr("thalweg.diagnostics._curvature._HELD", 100)
    pieces = extremal_eigenvalues(net, data, F.cross_entropy)
    assert pieces.largest_noise == pytest.approx(whole.largest_noise, rel=1e-5)


def test_a_model_of_several_arguments_or_of_named_ones_is_measured():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, one, other):
            return one @ self.weight + other

    one, other = torch.randn(5, 2), torch.randn(5)
    noises = [
        extremal_eigenvalues(Sum(), [(inputs, torch.zeros(5))], F.mse_loss).largest_noise
        for inputs in ((one, other), {"one": one, "other": other})
    ]
    assert noises[0] == pytest.approx(noises[1])
    assert noises[0] > 0


def test_bad_arguments_are_refused_with_a_sentence(net, data):
    for given, sentence in (({"k": 0}, "k is 0"), ({"steps": 0}, "steps is 0")):
        with pytest.raises(ValueError, match=sentence):
            extremal_eigenvalues(net, data, F.cross_entropy, **given)
    with pytest.raises(ValueError, match="not the mean of its samples' losses"):
        extremal_eigenvalues(net, data, nn.CrossEntropyLoss(reduction="sum"))
    with pytest.raises(ValueError, match="optimizer is 'lion'; give 'sgd' or 'adam'"):
        max_learning_rate(net, data, F.cross_entropy, optimizer="lion")
    for given, sentence in (
        ((1.0, -1.0, 4), "a noise of at least 0"),
        ((math.nan, 1.0, 4), "give finite numbers"),
        ((1.0, 1.0, 0), "batch_size is 0; give at least 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            predict_batch_eigenvalue(*given)
    with pytest.raises(ValueError, match="from 1 to n_samples = 8"):
        predict_batch_eigenvalue(1.0, 1.0, 9, n_samples=8)
    for given, sentence in (({"every": 0}, "every is 0"), ({"share": 0.0}, "share is 0")):
        with pytest.raises(RecipeError, match=sentence):
            batch_hessian_lr(**given)
