"""Oracles of the factored last layer: it is a dense one, and when it learns and when it folds."""

import math

import torch
from torch import Tensor

from thalweg.losses import ZLoss
from thalweg.nn import SphericalLinear


def _layer(criterion: ZLoss, max_growth: float = 10.0) -> SphericalLinear:
    generator = torch.Generator().manual_seed(0)
    layer = SphericalLinear(5, 12, criterion=criterion, max_growth=max_growth).double()
    layer.load_weight(torch.randn(12, 5, generator=generator) / 3)
    return layer


def _learn(layer: SphericalLinear, hidden: Tensor, target: Tensor) -> None:
    torch.autograd.backward(layer.loss(hidden, target))
    layer.step(1.0)


def factored_steps_are_dense_steps() -> None:
    """The factored layer and a dense one stay equal, over batches with repeated targets."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.linspace(0.5, 2, 12)
    for criterion, batch, lr, max_growth in (
        (ZLoss(1.3, 0.7), 1, 0.5, 10.0),
        (ZLoss(1.3, 0.7, weight=weight), 7, 2.0, 10.0),
        (ZLoss(eps=0.1, reduction="sum", weight=weight, ignore_index=1), 7, 0.5, 1.01),
        (ZLoss(3.0, 2.0, ignore_index=2), 40, 3.0, 10.0),
    ):
        layer = _layer(criterion, max_growth)
        dense = layer.weight.requires_grad_()
        optimizer = torch.optim.SGD([dense], lr)
        for _ in range(12):
            hidden = torch.randn(1, batch, 5, generator=generator).double()
            target = torch.randint(4, (1, batch), generator=generator)
            pair = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
            losses = layer.loss(pair[0], target), criterion(pair[1][0] @ dense.T, target[0])
            optimizer.zero_grad()
            torch.autograd.backward(losses)
            layer.step(lr)
            optimizer.step()
            torch.testing.assert_close(losses[0], losses[1], rtol=1e-8, atol=1e-10)
            torch.testing.assert_close(pair[0].grad, pair[1].grad, rtol=1e-8, atol=1e-10)
        w = dense.detach()
        for _ in ("as it is", "refactored"):
            ours = layer.weight, layer.gram, layer.total, layer(hidden)
            expected = w, w.T @ w, w.sum(0), hidden @ w.T
            torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-10)
            layer.refactor()


def it_learns_in_training_alone() -> None:
    """Evaluation, `zero_grad` and steps after no backward leave W; autocast leaves the loss."""
    layer = SphericalLinear(4, 10_000)
    before, hidden, target = layer.weight, torch.linspace(-1, 2, 12).view(3, 4), torch.arange(3)
    assert 0.49 < before.abs().max() <= 0.5, "the initial weights are not those of nn.Linear"
    _learn(layer.eval(), hidden.clone().requires_grad_(), target)
    torch.autograd.backward(layer.train().loss(hidden, target))
    layer.zero_grad()
    layer.step(1.0)
    assert torch.equal(layer.weight, before)
    dense = layer.criterion(layer(hidden), target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer.loss(hidden, target), dense, rtol=1e-5, atol=0)


def it_folds_exactly_when_due() -> None:
    """V takes U in where U stretches, or its inverse the batch, by more than is allowed."""
    hidden = torch.tensor([[0.5, -1.0, 2.0, 0.3, -0.7]], dtype=torch.float64)
    for choose in (torch.argmax, torch.argmin):  # to learn the first shrinks U, the second widens
        free = _layer(ZLoss(), 1e6)
        target = choose(free(hidden), -1)
        _learn(free, hidden, target)
        u = free.mixing.clone()
        inverse = torch.linalg.solve(u, hidden, left=False)
        growth = max(u.norm().item() / math.sqrt(5), (inverse.norm() / hidden.norm()).item())
        for max_growth in (growth * 1.0001, growth / 1.0001):
            layer = _layer(ZLoss(), max_growth)
            _learn(layer, hidden, target)
            folded = torch.equal(layer.mixing, torch.eye(5, dtype=torch.float64))
            assert folded == (growth > max_growth), f"growth {growth}, {max_growth} is allowed"
        _learn(free, 0 * hidden, target)
        assert torch.equal(free.mixing, u), "a batch of zeros folds"
