"""The equations of DCT-AdamW and Trion once more, naively, and numbers from the authors' code."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def columns_retyped(n: int) -> Tensor:
    """Return the orthogonal DCT matrix, entry by entry; its columns are the cosines."""
    entries = [
        [
            math.sqrt((2 if j else 1) / n) * math.cos((2 * i + 1) * j * math.pi / (2 * n))
            for j in range(n)
        ]
        for i in range(n)
    ]
    return torch.tensor(entries, dtype=torch.float64)


def gradients(shape: tuple[int, int], steps: int) -> list[Tensor]:
    """Return gradients without structure, the same everywhere."""
    k = torch.arange(shape[0] * shape[1], dtype=torch.float64)
    return [torch.sin(0.7 * k * k + 0.2 * k + 1.3 * t).view(shape) for t in range(steps)]


def followed(kind: Any, grads: Sequence[Tensor], **arguments: Any) -> tuple[Tensor, Optimizer]:
    """Return where an optimizer ends that starts from ones, and the optimizer."""
    p = torch.nn.Parameter(torch.ones_like(grads[0]))
    optimizer = kind([p], **arguments)
    for g in grads:
        p.grad = g.clone()
        optimizer.step()
    return p.detach(), optimizer


def largest(similarity: Tensor, rank: int) -> list[int]:
    """Return the columns whose entries sum to most in magnitude, ascending."""
    sums = similarity.abs().sum(0).tolist()
    return sorted(sorted(range(len(sums)), key=lambda j: -sums[j])[:rank])


def dct_adamw_retyped(
    grads: Sequence[Tensor],
    lr: float,
    *,
    rank: int,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    update_gap: int,
    error_feedback: bool,
    rotate: bool,
) -> Tensor:
    """Follow DCT-AdamW with dense matrices, which have at least as many rows as columns."""
    rows, n = grads[0].shape
    Q, W, xi = columns_retyped(n), torch.ones_like(grads[0]), torch.zeros_like(grads[0])
    m, v = torch.zeros(2, rows, rank, dtype=torch.float64)
    P = Q[:, :0]
    for t, G in enumerate(grads, start=1):
        A = G + xi if error_feedback else G
        if t == 1 or t % update_gap == 0:
            before, P = P, Q[:, largest(A @ Q, rank)]
            if rotate and t > 1:
                R = before.T @ P
                m, v = m @ R, (v @ R).abs()
        g = A @ P
        xi = A - g @ P.T
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        W = (1 - lr * weight_decay) * W - lr * (m_hat / (v_hat.sqrt() + eps)) @ P.T
    return W


def trion_retyped(
    grads: Sequence[Tensor],
    lr: float,
    *,
    rank: int,
    momentum: float,
    weight_decay: float,
    scale: float,
) -> Tensor:
    """Follow Trion through singular values, on matrices as above, at a scaled learning rate."""
    Q, W, M = columns_retyped(grads[0].shape[1]), torch.ones_like(grads[0]), 0 * grads[0]
    for G in grads:
        M = M + G
        P = Q[:, largest(M @ Q, rank)]
        b = M @ P
        M = M - (1 - momentum) * b @ P.T
        U, sigma, V = torch.linalg.svd(b / (b.norm() + 1e-7), full_matrices=False)
        for _ in range(5):
            sigma = 3.4445 * sigma - 4.7750 * sigma**3 + 2.0315 * sigma**5
        W = (1 - lr * weight_decay) * W - lr * scale * U @ sigma.diag() @ V @ P.T
    return W


# From github.com/IST-DASLab/ISTA-DASLab-Optimizers at 4c98e6e, run on the gradients above in
# float64: DCTAdamW(lr=0.1, weight_decay=0.1, rank=2, use_ef=True, rotate_subspace=True,
# sim_type="makhoul", betas=(0.8, 0.9)) for six steps, with `rotate_subspace` mended, which
# multiplies into its own operand; trion_update(rank=2, mu=0.9) and the step of Trion (lr 0.02,
# weight decay 0.1, scaling "kj") for four, with its Newton-Schulz iteration in float64, by
# Makhoul's transform for the tall matrix and by the product for the wide one, for which the
# former takes rows of the other matrix. They are the first row of W, and of M.
AUTHORS_DCT_ADAMW = {
    (5, 4): [0.968415, 0.813486, 0.832328, 0.969591],
    (4, 5): [0.986815, 0.892438, 1.016747, 0.985712, 0.990443],
}
AUTHORS_TRION = {
    (5, 4): (
        [0.972474, 0.982547, 1.005538, 0.976974],
        [0.585371, 0.125096, -0.620894, 0.22007],
    ),
    (4, 5): (
        [0.974843, 0.975227, 1.008555, 0.97327, 0.98203],
        [0.536795, 0.004883, -0.527328, 0.227485, 0.726383],
    ),
}
