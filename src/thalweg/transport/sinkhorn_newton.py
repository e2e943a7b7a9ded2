"""Sinkhorn-Newton-Sparse: a few steps of Sinkhorn's, then Newton's on the largest entries."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Generator
from itertools import islice

import torch
from torch import Tensor

from thalweg.linalg.solution import Iterate, Solution, solve
from thalweg.transport.sinkhorn import TransportPlan, attainable, checked, iterate_sinkhorn

HALVINGS = 10  # of a step before it is given up for one of Sinkhorn's
PATIENCE = 20  # products for each unknown before conjugate gradients are cut short
ASCENT = 1e-4  # share of the promised ascent that a step must bring


def sinkhorn_newton_sparse(
    a: Tensor,
    b: Tensor,
    C: Tensor,
    reg: float,
    *,
    warmup: int = 20,
    entries: float | None = None,
    rtol: float | None = None,
    max_steps: int = 1_000,
    throw: bool = True,
) -> Solution[TransportPlan]:
    """Transport mass at least cost plus entropy, by Newton's method on a sparse Hessian.

        dual(f, g) = a.f + b.g - reg * sum(P),   P = exp((f + g - C) / reg)
        S = P where it is large, else 0
        [[diag(P 1), S], [S^T, diag(P^T 1)]] (df, dg) = reg * (a - P 1, b - P^T 1)
        (f, g) = (f, g) + alpha * (df, dg),  alpha = 1, 1/2, ... until the dual rises enough

    Use it when `reg` is small, or the plan must be accurate. Avoid it when `reg` is so large that
    the plan is dense, where Sinkhorn's steps converge fast and the Hessian is not sparse, or when
    n m numbers do not fit into memory five times. Cost: a step takes three passes over C or more,
    one for each trial of the line search, and conjugate gradients on the kept entries.

    Args:
        a: Mass of the sources, (..., n), positive; leading dimensions are a batch.
        b: Mass of the targets, (..., m), positive, as much as in `a`.
        C: Cost of a unit of mass, (..., n, m), of any sign.
        reg: Strength of the entropy in units of C, > 0; the paper's eta is 1 / reg.
        warmup: Steps of Sinkhorn's before the first of Newton's, >= 0; the paper takes hundreds
            where the best plan is not unique.
        entries: Entries of P to be kept a row, on average, > 0; the paper takes 2, or 15 where the
            best plan is not unique. Where not given all are kept that exceed the present marginal
            error over n m, so that what is left out vanishes with the error.
        rtol: The marginal error to stop at, as share of the mass. 1e-9 where not given, or what
            the precision can resolve: ten roundings of max(C) - min(C) over `reg`.
        max_steps: Most steps of both kinds together, >= 0.
        throw: Raise where that does not do, instead of returning what there is.

    Returns:
        A :class:`~thalweg.linalg.Solution` as of :func:`sinkhorn`; `functions` are trials of the
        line search, `products` those with the kept entries.

    Raises:
        NotConverged: If the tolerance is not met and `throw` is set.
        ValueError: If shapes, types or masses do not fit, or a number is out of range.

    Example:
        >>> import torch
        >>> from thalweg.transport import sinkhorn_newton_sparse
        >>> C = torch.rand(50, 50, dtype=torch.float64, generator=torch.manual_seed(0))
        >>> a = b = torch.full((50,), 1 / 50, dtype=torch.float64)
        >>> solution = sinkhorn_newton_sparse(a, b, C, reg=0.005)
        >>> solution.residuals[-1] <= 1e-9, solution.iterations < 40
        (True, True)

    Paper: Accelerating Sinkhorn Algorithm with Sparse Newton Iterations, 2024, arXiv 2401.12253.
        Differs: the entries kept follow the error unless `entries` is given, which keeps
        convergence quadratic; the potential leaves out the paper's constant 1 / eta; the rows are
        eliminated before conjugate gradients; the diagonal is enlarged by a share that vanishes
        with the error, and a step that fails ten halvings becomes one of Sinkhorn's, since kept
        entries in closed blocks leave the system singular.
    """
    rtol = attainable(rtol, C, reg)
    iterates = iterate_sinkhorn_newton_sparse(a, b, C, reg, warmup=warmup, entries=entries)
    return solve(iterates, rtol=rtol, max_steps=max_steps, throw=throw)


def iterate_sinkhorn_newton_sparse(
    a: Tensor,
    b: Tensor,
    C: Tensor,
    reg: float,
    *,
    warmup: int = 20,
    entries: float | None = None,
) -> Generator[Iterate[TransportPlan], None, str]:
    """Yield what :func:`sinkhorn_newton_sparse` has before the first step and after each.

    Args:
        a: As of :func:`sinkhorn_newton_sparse`.
        b: Likewise.
        C: Likewise.
        reg: Likewise.
        warmup: Likewise.
        entries: Likewise.

    Returns:
        An iterator of :class:`~thalweg.linalg.Iterate`, to watch a run or to stop it otherwise.
    """
    if warmup < 0:
        raise ValueError(f"warmup is {warmup}; give 0 or more")
    if entries is not None and not entries > 0:
        raise ValueError(f"entries is {entries}; give a positive number, or None")
    a, b, C = checked(a, b, C, reg)
    for item in islice(iterate_sinkhorn(a, b, C, reg), warmup + 1):
        yield item
    kernel, mass = C / -reg, a.sum(-1)
    u, v = item.value.f / reg, item.value.g / reg
    gradients, functions, products = item.gradients, 0, 0
    damping = torch.ones_like(mass)
    spread = kernel.amax((-2, -1)) - kernel.amin((-2, -1))
    rounding = torch.finfo(C.dtype).eps * spread.clamp(min=1)
    while True:
        P = (kernel + u.unsqueeze(-1) + v.unsqueeze(-2)).exp()
        rows, columns = P.sum(-1), P.sum(-2)
        error = ((a - rows).abs().sum(-1) + (b - columns).abs().sum(-1)) / mass
        if products:  # else it is the iterate with which the warm-up ended
            gradients += 1
            plan = TransportPlan(reg * u, reg * v, C, reg)
            yield Iterate(plan, float(error.max()), gradients, functions, products)
        du, dv, made = _newton_direction(P, a, b, error, damping, rounding, entries)
        products += made

        slope = (du * (a - rows)).sum(-1) + (dv * (b - columns)).sum(-1)
        alpha = torch.ones_like(mass)
        for _ in range(HALVINGS + 1):
            change = alpha[..., None, None] * (du.unsqueeze(-1) + dv.unsqueeze(-2))
            # What the dual loses to its curvature, free of the cancellation in its difference.
            loss = (P * (change.expm1() - change)).sum((-2, -1))
            functions += 1
            rises = loss <= (1 - ASCENT) * alpha * slope
            if rises.all():
                break
            alpha = torch.where(rises, alpha, alpha / 2)
        damping = torch.where(rises & (alpha == 1), damping / 4, damping * 4)
        risen, step = rises.unsqueeze(-1), alpha.unsqueeze(-1)
        u, v = torch.where(risen, u + step * du, u), torch.where(risen, v + step * dv, v)
        if not rises.all():
            u = torch.where(risen, u, a.log() - (kernel + v.unsqueeze(-2)).logsumexp(-1))
            v = torch.where(risen, v, b.log() - (kernel + u.unsqueeze(-1)).logsumexp(-2))
            gradients += 1


def _newton_direction(
    P: Tensor,
    a: Tensor,
    b: Tensor,
    error: Tensor,
    damping: Tensor,
    rounding: Tensor,
    entries: float | None,
) -> tuple[Tensor, Tensor, int]:
    """Solve the sparsified system; return the change of u and of v, and the products made."""
    n, m = P.shape[-2:]
    if entries is None:
        least = error * a.sum(-1) / (n * m)
    else:
        least = P.flatten(-2).topk(min(n * m, math.ceil(entries * n))).values[..., -1]
    sparse, transposed = _keep(P, P.ge(least[..., None, None]) & (P > 0))

    def apply(y: Tensor) -> Tensor:
        return (sparse @ y.flatten()).view_as(a)

    def apply_transposed(x: Tensor) -> Tensor:
        return (transposed @ x.flatten()).view_as(b)

    grow = 1 + (damping * error.clamp(max=1)).unsqueeze(-1)
    rows, columns = P.sum(-1), P.sum(-2)
    gradient = a - rows
    rows, columns_grown = rows * grow, columns * grow
    dv, steps = _conjugate_gradients(
        lambda y: columns_grown * y - apply_transposed(apply(y) / rows),
        (b - columns) - apply_transposed(gradient / rows),
        columns_grown,
        # Finished problems of a batch are noise that no iteration would reduce.
        torch.maximum(error.clamp(1e-6, 0.1), rounding / error),
    )
    return (gradient - apply(dv)) / rows, dv, 2 * steps + 2


def _keep(P: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Return the kept entries of a batch as one block-diagonal sparse matrix, and its transpose."""
    n, m = P.shape[-2:]
    blocks, i, j = kept.reshape(-1, n, m).nonzero(as_tuple=True)
    values = P.reshape(-1, n, m)[blocks, i, j]
    index = torch.stack([blocks * n + i, blocks * m + j])
    size = (P[..., 0].numel(), P[..., 0, :].numel())
    with warnings.catch_warnings():
        # Products with a vector are all that is asked of it, eight times as fast as of a COO one.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        parts = (
            torch.sparse_coo_tensor(index, values, size, check_invariants=False),
            torch.sparse_coo_tensor(index.flip(0), values, size[::-1], check_invariants=False),
        )
        forth, back = (part.coalesce().to_sparse_csr() for part in parts)
    return forth, back


def _conjugate_gradients(
    apply: Callable[[Tensor], Tensor], rhs: Tensor, diagonal: Tensor, tolerance: Tensor
) -> tuple[Tensor, int]:
    """Solve a batch of positive definite systems, scaled by their diagonals."""
    x = torch.zeros_like(rhs)
    residual, scaled = rhs, rhs / diagonal
    direction = scaled
    size = (residual * scaled).sum(-1, keepdim=True)
    goal = tolerance.unsqueeze(-1) ** 2 * size
    for step in range(PATIENCE * rhs.shape[-1]):
        if not (size > goal).any():
            return x, step
        image = apply(direction)
        curvature = (direction * image).sum(-1, keepdim=True)
        # Rounding can leave none: what has been found up to there is a direction of ascent.
        goal = torch.where(curvature > 0, goal, math.inf)
        length = torch.where(size > goal, size / curvature, 0)
        x = x + length * direction
        residual = residual - length * image
        scaled = residual / diagonal
        before, size = size, (residual * scaled).sum(-1, keepdim=True)
        direction = scaled + torch.where(size > goal, size / before, 0) * direction
    return x, PATIENCE * rhs.shape[-1]
