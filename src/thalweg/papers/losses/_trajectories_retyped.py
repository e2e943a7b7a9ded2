"""Oracles of SAF, MESA and SAM: their equations, followed over epochs and steps."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.losses import MESA, SAF
from thalweg.optim import SAM


def _softmax(scores: Sequence[float], tau: float) -> list[float]:
    powers = [math.exp(score / tau) for score in scores]
    return [power / sum(powers) for power in powers]


def memory_retyped() -> None:
    """Follow loss and gradient over epochs, of which each misses some of the samples."""
    for start in (0, 4):
        _follow_memory(start)


def _follow_memory(start: int) -> None:
    n, n_classes, lam, tau, lag = 10, 3, 0.7, 2.0, 2
    missed = {(epoch, 9) for epoch in range(4)} | {(4, 0), (4, 4), (4, 8), (5, 1), (5, 5)}
    loss = SAF(n, n_classes, lam=lam, tau=tau, lag=lag, start=start).double()
    history: dict[tuple[int, int], list[float]] = {}
    for epoch in range(9):
        loss.set_epoch(epoch)
        for part in ([0, 4, 8, 3], [7, 1, 2], [5, 6, 9]):
            index = torch.tensor([i for i in part if (epoch, i) not in missed])
            scores = torch.sin(3.0 * index[:, None] + torch.arange(n_classes) * (epoch + 1.0))
            scores = scores.double().requires_grad_()
            target = index % n_classes
            value, slope = 0.0, []
            for i, z, c in zip(index.tolist(), scores.tolist(), target.tolist(), strict=True):
                q, soft = _softmax(z, 1.0), _softmax(z, tau)
                value -= math.log(q[c]) / len(index)
                row = [(q[k] - (k == c)) / len(index) for k in range(n_classes)]
                if epoch > start and (epoch - lag, i) in history:
                    past = _softmax(history[epoch - lag, i], tau)
                    for k in range(n_classes):
                        term = past[k] * math.log(past[k] / soft[k])
                        value += lam * tau**2 * term / len(index)
                        row[k] += lam * tau * (soft[k] - past[k]) / len(index)
                history[epoch, i] = z
                slope.append(row)
            ours = loss(scores, target, index)
            torch.autograd.backward(ours)
            torch.autograd.backward(loss.eval()(scores * 7, target, index) * 0)  # forgotten
            loss.train()
            assert math.isclose(ours.item(), value, rel_tol=1e-9)
            assert scores.grad is not None
            torch.testing.assert_close(scores.grad, torch.tensor(slope, dtype=torch.float64))


def average_retyped() -> None:
    """Follow the average over steps, its statistics with it, and what it adds to the loss."""
    generator, decay, lam, tau = torch.Generator().manual_seed(0), 0.8, 0.6, 3.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(5, 3))
    model.double()
    loss = MESA(model, lam=lam, tau=tau, decay=decay, start=2).train()
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    x, y = torch.randn(6, 4, generator=generator).double(), torch.arange(6) % 3
    alone = copy.deepcopy(model).eval()
    for epoch in range(6):
        loss.set_epoch(epoch)
        scores = torch.randn(6, 3, generator=generator).double().requires_grad_()
        alone.load_state_dict(expected)
        p, q = (alone(x) / tau).softmax(1).detach(), (scores / tau).softmax(1)
        value, slope = F.cross_entropy(scores, y), scores.softmax(1) - F.one_hot(y, 3)
        if epoch > 2:
            value = value + lam * tau**2 * (p * (p / q).log()).sum(1).mean()
            slope = slope + lam * tau * (q - p)
        for seen in (x, (x,), {"input": x}):
            torch.testing.assert_close(loss(scores, y, seen), value)
        torch.autograd.backward(loss(scores, y, x))
        torch.testing.assert_close(scores.grad, slope.detach() / 6)
        assert all(p.grad is None for p in loss.average.parameters())
        for name, new in model.state_dict().items():
            if new.is_floating_point():
                new.add_(torch.randn(new.shape, generator=generator).abs())
                expected[name] = decay * expected[name] + (1 - decay) * new
            else:
                expected[name] = new.fill_(epoch).clone()
        loss.update(model)
        torch.testing.assert_close(dict(loss.average.state_dict()), expected)


def without_weight_it_is_the_criterion() -> None:
    """At lam = 0, and where nothing has moved, value and gradient are the criterion's bits."""
    scores, target, index = torch.randn(7, 5).requires_grad_(), torch.arange(7) % 5, torch.arange(7)
    still = MESA(nn.Identity(), start=-1, criterion=nn.CrossEntropyLoss(label_smoothing=0.1))
    (plain,) = torch.autograd.grad(F.cross_entropy(scores, target, label_smoothing=0.1), scores)
    (ours,) = torch.autograd.grad(still(scores, target, scores.detach()), scores)
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-7)
    loss = SAF(7, 5, lam=0.0, lag=1, start=0)
    for epoch in range(3):
        loss.set_epoch(epoch)
        value, own = loss(scores * epoch, target, index), F.cross_entropy(scores * epoch, target)
        assert torch.equal(value, own)
        slopes = (torch.autograd.grad(x, scores)[0] for x in (value, own))
        assert torch.equal(*slopes)


def ascent_retyped() -> None:
    """Follow SAM's steps with momentum on a coupled quartic for single numbers."""
    rho, other, lr, momentum = 0.3, 0.8, 0.05, 0.9
    params = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (1.0, -2.0, 0.5)]
    groups: list[dict[str, Any]] = [
        {"params": params[:2]},
        {"params": params[2:], "sam_rho": other},
    ]
    optimizer = SAM(torch.optim.SGD(groups, lr=lr, momentum=momentum), rho=rho)
    calls: list[float] = []

    def value(a: Tensor | float, b: Tensor | float, c: Tensor | float) -> Tensor | float:
        return a**4 / 4 + a * b + b**2 + b * c**2 + c**2

    def slope(a: float, b: float, c: float) -> list[float]:
        return [a**3 + b, a + 2 * b + c**2, 2 * b * c + 2 * c]

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = value(*params)
        assert isinstance(loss, Tensor)
        torch.autograd.backward(loss)
        calls.append(loss.item())
        return loss

    x, velocity = [1.0, -2.0, 0.5], [0.0, 0.0, 0.0]
    for _ in range(6):
        calls.clear()
        g = slope(*x)
        norm = math.sqrt(sum(s * s for s in g))
        above = [x[i] + (rho, rho, other)[i] * g[i] / norm for i in range(3)]
        expected = [value(*x), value(*above)]
        g = slope(*above)
        velocity = [momentum * velocity[i] + g[i] for i in range(3)]
        returned = optimizer.step(closure)
        torch.testing.assert_close(calls, expected)
        assert returned.item() == calls[0]
        torch.testing.assert_close([float(p.grad) for p in params if p.grad is not None], g)
        x = [x[i] - lr * velocity[i] for i in range(3)]
        torch.testing.assert_close([p.item() for p in params], x, rtol=1e-11, atol=1e-11)
