"""Sinkhorn's algorithm in the log domain, and what solvers of entropic transport share."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.linalg.solution import Iterate, Solution, solve


@dataclass(frozen=True, eq=False)
class TransportPlan:
    """A coupling given by its dual potentials: n + m numbers in place of n m.

    Args:
        f: Potential of the sources, (..., n).
        g: Potential of the targets, (..., m). Adding a number to f and taking it from g changes
            nothing.
        C: Cost of a unit of mass from each source to each target, (..., n, m).
        reg: Strength of the entropy.
    """

    f: Tensor
    g: Tensor
    C: Tensor
    reg: float

    @property
    def matrix(self) -> Tensor:
        """The mass that goes from each source to each target, (..., n, m), computed when asked."""
        return ((self.f.unsqueeze(-1) + self.g.unsqueeze(-2) - self.C) / self.reg).exp()

    @property
    def cost(self) -> Tensor:
        """The cost of the transport, the entropy left out, (...)."""
        return (self.C * self.matrix).sum((-2, -1))


def sinkhorn(
    a: Tensor,
    b: Tensor,
    C: Tensor,
    reg: float,
    *,
    rtol: float | None = None,
    max_steps: int = 10_000,
    throw: bool = True,
) -> Solution[TransportPlan]:
    """Transport mass at least cost plus entropy, fitting rows and columns in turn.

        minimise  sum(C * P) + reg * sum(P * (log P - 1)),  rows of P sum to a, columns to b
        P = exp((f + g - C) / reg)
        f = reg * (log a - logsumexp_j((g - C) / reg))
        g = reg * (log b - logsumexp_i((f - C) / reg))

    Use it when `reg` is a twentieth of the largest cost or more, or a rough plan will do. Avoid it
    for small `reg`: the number of steps grows as 1/reg and beyond; `sinkhorn_newton_sparse` then
    takes tens in place of thousands. Cost: two passes over C a step, each with n m exponentials.

    Args:
        a: Mass of the sources, (..., n), positive; leading dimensions are a batch.
        b: Mass of the targets, (..., m), positive, as much as in `a`.
        C: Cost of a unit of mass, (..., n, m), of any sign.
        reg: Strength of the entropy in units of C, > 0.
        rtol: The marginal error to stop at, as share of the mass. 1e-9 where not given, or what
            the precision can resolve: ten roundings of max(C) - min(C) over `reg`.
        max_steps: Most updates of both potentials, >= 0.
        throw: Raise where that does not do, instead of returning what there is.

    Returns:
        A :class:`~thalweg.linalg.Solution`: `value` is a :class:`TransportPlan`, `residuals` are
        (|P 1 - a|_1 + |P^T 1 - b|_1) / |a|_1, `gradients` counts two passes over C, by rows and by
        columns, as one. Not differentiated through: the gradient of the optimal value is f by `a`,
        g by `b` and P by C.

    Raises:
        NotConverged: If the tolerance is not met and `throw` is set.
        ValueError: If shapes, types or masses do not fit, or a number is out of range.

    Example:
        >>> import torch
        >>> from thalweg.transport import sinkhorn
        >>> a = b = torch.tensor([0.5, 0.5], dtype=torch.float64)
        >>> solution = sinkhorn(a, b, 1 - torch.eye(2, dtype=torch.float64), reg=1.0)
        >>> solution.value.matrix[0, 0].item()  # 1 / (2 + 2 / e)
        0.3655...

    Paper: Sinkhorn Distances: Lightspeed Computation of Optimal Transport, 2013, arXiv 1306.0895.
        Differs: on logarithms throughout, so that a small `reg` does not overflow.
    """
    rtol = attainable(rtol, C, reg)
    return solve(iterate_sinkhorn(a, b, C, reg), rtol=rtol, max_steps=max_steps, throw=throw)


def iterate_sinkhorn(
    a: Tensor, b: Tensor, C: Tensor, reg: float
) -> Generator[Iterate[TransportPlan], None, str]:
    """Yield what :func:`sinkhorn` has before the first step and after each, without end.

    Args:
        a: As of :func:`sinkhorn`.
        b: Likewise.
        C: Likewise.
        reg: Likewise.

    Returns:
        An iterator of :class:`~thalweg.linalg.Iterate`, to watch a run or to stop it otherwise.
    """
    a, b, C = checked(a, b, C, reg)
    kernel = C / -reg
    log_a, log_b, mass = a.log(), b.log(), a.sum(-1)
    u = torch.zeros_like(a)
    v = log_b - kernel.logsumexp(-2)
    gradients = 0
    while True:
        gradients += 1
        rows = (kernel + v.unsqueeze(-2)).logsumexp(-1)
        # The columns have just been fitted: what is wrong is the rows.
        error = ((u + rows).exp() - a).abs().sum(-1) / mass
        yield Iterate(TransportPlan(reg * u, reg * v, C, reg), float(error.max()), gradients)
        u = log_a - rows
        v = log_b - (kernel + u.unsqueeze(-1)).logsumexp(-2)


def checked(a: Tensor, b: Tensor, C: Tensor, reg: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the tensors without their graph; raise where they are no problem of transport."""
    if not (math.isfinite(reg) and reg > 0):
        raise ValueError(f"reg is {reg}; give a positive number, such as a hundredth of max(C)")
    if not all(isinstance(x, Tensor) and x.dtype == C.dtype for x in (a, b, C)) or (
        C.dtype not in (torch.float32, torch.float64)
    ):
        raise ValueError("a, b and C differ in type; give tensors all float64, or all float32")
    if a.dim() < 1 or C.shape != (*a.shape, b.shape[-1]) or b.shape[:-1] != a.shape[:-1]:
        raise ValueError(
            f"a, b and C have the shapes {tuple(a.shape)}, {tuple(b.shape)} and {tuple(C.shape)}; "
            "give (..., n), (..., m) and (..., n, m)"
        )
    if not C.numel():
        raise ValueError(f"C is empty, of shape {tuple(C.shape)}; give at least one point a side")
    if not C.isfinite().all():
        raise ValueError("C holds values that are not finite; give a large cost to what is barred")
    for name, x in (("a", a), ("b", b)):
        if not (x.isfinite() & (x > 0)).all():
            raise ValueError(
                f"{name} holds masses that are not positive and finite; leave points without mass "
                "out, with their rows and columns of C"
            )
    excess = (a.sum(-1) - b.sum(-1)).abs() / a.sum(-1)
    if (excess > 1e3 * torch.finfo(C.dtype).eps).any():
        raise ValueError(
            f"the masses of a and b differ by a share of {float(excess.max()):.1e}; divide each by "
            "its sum"
        )
    return a.detach(), b.detach(), C.detach()


def attainable(rtol: float | None, C: Tensor, reg: float) -> float:
    """Return the tolerance, or a default; raise where rounding alone is above it."""
    if not (C.numel() and C.is_floating_point() and reg > 0):
        return 1e-9 if rtol is None else rtol  # what else is wrong is said by `checked`
    spread = float((C.max() - C.min()).detach()) / reg
    rounding = torch.finfo(C.dtype).eps * max(spread, 1.0)
    if rtol is None:
        return max(1e-9, 10 * rounding)
    if 0 < rtol < rounding:
        raise ValueError(
            f"rtol is {rtol:.1e}, but {C.dtype} at this reg resolves {rounding:.1e}; raise rtol or "
            "reg, or use float64"
        )
    return rtol
