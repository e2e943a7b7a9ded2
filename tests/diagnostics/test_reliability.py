"""Reliability: probabilities as networks and rounding leave them."""

import torch

from thalweg.diagnostics import reliability


def test_probabilities_with_a_gradient_are_read_as_numbers():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    found = reliability(logits.softmax(1), torch.tensor([0, 1]), n_bins=2)
    assert not found.confidence.requires_grad
    assert found.accuracy.tolist() == [0.0, 1.0]


def test_a_probability_rounded_above_one_is_in_the_last_bin():
    found = reliability(torch.tensor([[1.004, 0.0]]), torch.tensor([0]), n_bins=5)
    assert found.count.tolist() == [0, 0, 0, 0, 1]
