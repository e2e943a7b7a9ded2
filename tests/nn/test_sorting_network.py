"""Differentiable sorting networks: what the laws and oracles do not say."""

import pytest
import torch

from thalweg.nn import SortingNetwork


@pytest.mark.parametrize("wiring", ["odd_even", "bitonic"])
def test_what_is_sorted_is_the_input_times_the_matrix(wiring):
    x = torch.randn(2, 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ordered, order = SortingNetwork(wiring)(x)
    assert order.shape == (2, 3, 6, 6)
    torch.testing.assert_close(ordered, (x.unsqueeze(-2) @ order).squeeze(-2))
    torch.testing.assert_close(ordered[1, 2], SortingNetwork(wiring)(x[1, 2])[0])
    assert torch.equal(SortingNetwork(wiring)(x[..., :1])[1], torch.ones(2, 3, 1, 1).double())


def test_numbers_far_apart_have_finite_gradients():
    x = torch.tensor([3e38, -3e38, 0.0, 1e-38], requires_grad=True)
    ordered, order = SortingNetwork(steepness=1e9)(x)
    (ordered.mul(1e-38).sum() + order.square().sum()).backward()
    assert x.grad.isfinite().all()
    torch.testing.assert_close(order.sum(-1), torch.ones(4))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: SortingNetwork("bubble"), "give one of odd_even, bitonic"),
        (lambda: SortingNetwork(steepness=0.0), "steepness is 0.0"),
        (lambda: SortingNetwork()(torch.zeros(())), "give real numbers"),
        (lambda: SortingNetwork()(torch.zeros(2, 0)), "at least 1"),
        (lambda: SortingNetwork()(torch.arange(3)), "torch.int64"),
    ],
)
def test_what_does_not_fit_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
