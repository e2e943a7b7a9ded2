"""Sinkhorn-Newton-Sparse written out with dense matrices, for one problem at a time."""

import math
from collections.abc import Iterator
from itertools import count

import torch
from torch import Tensor


def way(
    a: Tensor, b: Tensor, C: Tensor, reg: float, warmup: int, entries: float | None
) -> Iterator[tuple[Tensor, Tensor, float, list[int]]]:
    """Yield potentials, error, and evaluations of gradient, dual and products for the step."""
    (n, m), f = C.shape, torch.zeros_like(a)
    g = reg * (b.log() - (-C / reg).exp().sum(0).log())
    damping, made = 1.0, [1, 0, 0]
    for step in count():
        P = ((f[:, None] + g - C) / reg).exp()
        p, q = a - P.sum(1), b - P.sum(0)
        error = float((p.abs().sum() + q.abs().sum()) / a.sum())
        yield f, g, error, made
        made, rises = [1, 0, 0], False
        if step >= warmup:
            least = error * a.sum() / (n * m)
            if entries is not None:
                kept = min(n * m, math.ceil(entries * n))
                least = P.flatten().sort(descending=True).values[kept - 1]
            S = torch.where(least > P, 0, P)
            rows, columns = (P.sum(k) * (1 + damping * min(error, 1.0)) for k in (1, 0))
            rounding = 2**-52 * max(float(C.max() - C.min()) / reg, 1.0)
            df, dg, products = _direction(
                *(S, rows, columns, p, q), max(min(max(error, 1e-6), 0.1), rounding / error)
            )
            for halvings in range(11):
                alpha = 0.5**halvings
                change = (P * (alpha * (df[:, None] + dg)).expm1()).sum()
                rise = alpha * (df @ a + dg @ b) - change
                rises = bool(rise >= 1e-4 * alpha * (df @ p + dg @ q))
                if rises:
                    f, g = f + reg * alpha * df, g + reg * alpha * dg
                    break
            damping *= 0.25 if rises and halvings == 0 else 4
            made = [2 - rises, halvings + 1, products]
        if not rises:
            f = reg * (a.log() - ((g - C) / reg).exp().sum(1).log())
            g = reg * (b.log() - ((f[:, None] - C) / reg).exp().sum(0).log())


def _direction(
    S: Tensor, rows: Tensor, columns: Tensor, p: Tensor, q: Tensor, tolerance: float
) -> tuple[Tensor, Tensor, int]:
    """Eliminate the rows and solve for g by conjugate gradients; count products with S."""
    schur = torch.diag(columns) - S.T @ (S / rows[:, None])
    residual, products = q - S.T @ (p / rows), 2
    dg, scaled = torch.zeros_like(q), residual / columns
    direction, size = scaled, residual @ scaled
    goal = tolerance**2 * size
    while size > goal:
        image, products = schur @ direction, products + 2
        if direction @ image <= 0:
            break
        length = size / (direction @ image)
        dg, residual = dg + length * direction, residual - length * image
        scaled, before = residual / columns, size
        size = residual @ scaled
        direction = scaled + size / before * direction
    return (p - S @ dg) / rows, dg, products
