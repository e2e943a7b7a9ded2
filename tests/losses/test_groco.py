"""GroCo: what the laws and oracles do not say."""

import math

import pytest
import torch

from thalweg.losses import GroCo


def embeddings(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_of_one_positive_and_one_negative_it_is_the_swap():
    views = embeddings(2, 2, 3)
    z = torch.nn.functional.normalize(views, dim=-1)
    expected = []
    for view, other in ((0, 1), (1, 0)):
        for i in range(2):
            gap = (z[view, i] @ z[other, i] - z[view, i] @ z[view, 1 - i]).item()
            expected.append(-math.log(0.5 + math.atan(3 * gap) / math.pi))
    loss = GroCo(topk_neg=1, steepness=3.0)(*views)
    assert math.isclose(loss.item(), sum(expected) / 4, rel_tol=1e-12)


def test_lengths_do_not_matter_nor_the_order_of_views_and_samples():
    views, loss = embeddings(3, 6, 4), GroCo(topk_neg=3)
    expected = loss(*views)
    for other in (views * torch.tensor([0.1, 5.0, 30.0])[:, None, None], views.flip(0, 1)):
        torch.testing.assert_close(loss(*other), expected)


def test_only_the_anchor_learns():
    views = embeddings(2, 6, 4).requires_grad_()
    moving, still = (
        torch.autograd.grad(GroCo(topk_neg=3, stop_gradient=stop)(*views), views)[0]
        for stop in (False, True)
    )
    assert not torch.allclose(moving, still)


def test_right_orders_cost_nothing_and_wrong_ones_stay_finite():
    eye = torch.eye(6, requires_grad=True)
    assert GroCo(topk_neg=4, steepness=1e9)(eye, eye) < 1e-6
    wrong = GroCo(topk_neg=4, steepness=1e9)(eye, -eye)
    (gradient,) = torch.autograd.grad(wrong, eye)
    assert wrong.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: GroCo(topk_neg=0), "topk_neg is 0"),
        (lambda: GroCo(steepness=-1.0), "steepness is -1.0"),
        (lambda: GroCo()(torch.zeros(12, 3)), "give two or more"),
        (lambda: GroCo()(torch.zeros(12, 3), torch.zeros(11, 3)), "all of shape"),
        (lambda: GroCo()(torch.zeros(12), torch.zeros(12)), "all of shape"),
        (lambda: GroCo()(torch.zeros(10, 3), torch.zeros(10, 3)), "larger batches"),
    ],
)
def test_what_does_not_fit_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
