"""The equations of M-FAC, retyped for matrices small enough to be inverted."""

from typing import Any

import torch
from torch import Tensor

from thalweg.linalg import EmpiricalFisherInverse
from thalweg.optim import MFAC


def recursion_retyped() -> None:
    """Follow the paper's recursion over the gradients; it must also invert the matrix itself."""
    generator = torch.Generator().manual_seed(0)
    m, d, damping = 6, 15, 1e-3
    rows = _randn(generator, m + 2, d)
    given = rows[:m].clone().requires_grad_()
    inverse = EmpiricalFisherInverse(given, damping)
    for shift in range(3):
        grads = rows[shift : m + shift]
        dense = torch.linalg.inv(damping * torch.eye(d, dtype=torch.float64) + grads.T @ grads / m)
        v: list[Tensor] = []

        def product(x: Tensor, grads: Tensor = grads, v: list[Tensor] = v) -> Tensor:
            terms = [vi * (vi @ x) / (m + gi @ vi) for gi, vi in zip(grads, v, strict=False)]
            return x / damping - torch.stack([torch.zeros(d), *terms]).sum(0)

        for g in grads:
            v.append(product(g))
        x = _randn(generator, 2, d)
        retyped = torch.stack([product(row) for row in x])[:, None]
        ours = inverse.matvec(x[:, None].requires_grad_())
        torch.testing.assert_close(ours, retyped, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(inverse.matvec(x), x @ dense, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(inverse.diagonal(), dense.diag(), rtol=1e-10, atol=1e-10)
        i, j = torch.tensor([3, 7, 0, -1, -1]), torch.tensor([3, 0, 7, 2, d - 1])
        torch.testing.assert_close(inverse.element(i, j), dense[i, j], rtol=1e-10, atol=1e-10)
        scipys = torch.from_numpy(inverse.to_scipy() @ x.T.numpy())
        torch.testing.assert_close(scipys, dense @ x.T, rtol=1e-10, atol=1e-10)
        if shift < 2:
            inverse.append(rows[m + shift])
    assert torch.equal(given, rows[:m]), "what was given is changed"
    assert torch.equal(inverse.grads, torch.cat([rows[m:], rows[2:m]]))
    assert not ours.requires_grad


def surgeon_retyped() -> None:
    """Remove weights as the Optimal Brain Surgeon does, by the dense inverse."""
    generator = torch.Generator().manual_seed(1)
    grads, w = _randn(generator, 5, 12), _randn(generator, 12)
    fisher = 0.01 * torch.eye(12, dtype=torch.float64) + grads.T @ grads / 5
    dense, inverse = torch.linalg.inv(fisher), EmpiricalFisherInverse(grads, 0.01)
    score = inverse.pruning_scores(w)
    torch.testing.assert_close(score, w**2 / (2 * dense.diag()), rtol=1e-10, atol=1e-10)
    for removed in ([4], [0, 3, 4, 7, 8, 11], range(12), []):
        s = torch.tensor([i in removed for i in range(12)])
        ours = inverse.prune(w, s)
        shift = dense[:, s] @ torch.linalg.solve(dense[s][:, s], w[s])
        torch.testing.assert_close(ours, w - shift, rtol=1e-10, atol=1e-10)
        assert not ours[s].any()
    alone = inverse.prune(w, torch.arange(12) == 4) - w
    torch.testing.assert_close(alone @ fisher @ alone / 2, score[4], rtol=1e-10, atol=1e-10)


def steps_retyped() -> None:
    """Invert the Fisher matrix of the last gradients at every step; parts are missing at times."""
    generator = torch.Generator().manual_seed(2)
    lr, momentum, decay, damping, m = 0.3, 0.6, 0.1, 0.05, 3
    start = _randn(generator, 6)
    ours = [start[:4].view(2, 2).clone(), start[4:].clone()]
    groups: list[dict[str, Any]] = [{"params": ours[:1]}, {"params": ours[1:], "lr": lr / 2}]
    groups[1]["weight_decay"] = 0.0
    optimizer = MFAC(
        groups,
        lr,
        momentum=momentum,
        weight_decay=decay,
        n_grads=m,
        damping=damping,
    )
    theta, v = start.clone(), torch.zeros(6, dtype=torch.float64)
    window: list[Tensor] = []
    rate = torch.tensor([lr] * 4 + [lr / 2] * 2, dtype=torch.float64)
    shrink = torch.tensor([lr * decay] * 4 + [0.0] * 2, dtype=torch.float64)
    for t in range(8):
        g = _randn(generator, 6) + theta
        moved = torch.tensor([t != 0] * 4 + [t != 5] * 2)
        g = g.where(moved, 0)
        window = [*window, g][-m:]
        fisher = damping * torch.eye(6, dtype=torch.float64)
        for row in window:
            fisher = fisher + torch.outer(row, row) / len(window)
        u = torch.linalg.solve(fisher, g)
        v = (momentum * v + (1 - momentum) * u).where(moved, v)
        theta = (theta - shrink * theta - rate * v).where(moved, theta)

        ours[0].grad = g[:4].view(2, 2) if moved[0] else None
        ours[1].grad = g[4:] if moved[4] else None
        optimizer.step()
        optimizer.zero_grad()
        optimizer.step()  # without a gradient, which is no row of the window
        flat = torch.cat([p.flatten() for p in ours])
        torch.testing.assert_close(flat, theta, rtol=1e-10, atol=1e-10)


def _randn(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
