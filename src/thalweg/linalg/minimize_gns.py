"""Newton's method damped by the gradient's norm, for exact and approximate Hessians."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from thalweg.linalg._gradient_normalized import (
    Curvature,
    Layout,
    Point,
    check_arguments,
    search,
    value_and_output,
)
from thalweg.linalg.solution import Iterate, Solution, solve

Function = Callable[[Tensor], Any]
Hessian = Curvature | Callable[[Tensor], Any]


def minimize_gns(
    f: Function,
    x0: Tensor,
    *,
    hess: Hessian = "exact",
    gamma0: float = 1.0,
    power: float = 4.0,
    max_products: int = 100,
    rtol: float = 1e-6,
    max_steps: int = 1_000,
    throw: bool = True,
) -> Solution[Tensor]:
    """Minimise a smooth function by Newton's method whose damping nobody has to choose.

        x' = x - (H(x) + |g| / gamma * I)^-1 g                    g the gradient at x, g' that at x'
        gamma = 2 * gamma  and on to x'   where  f(x) - f(x') >= gamma / 8 * |g'|^2 / |g|
        gamma = gamma / 2  and once more  otherwise

    Use it when f is smooth and computed without noise, and an approximation of its Hessian that is
    positive semidefinite is at hand, or the Hessian itself: one scheme adapts to both, and to how
    fast they change. Avoid it for stochastic functions, on which gamma collapses. Cost: a step
    takes about two evaluations of f with its gradient, and the products with H that conjugate
    gradients need for one system, whose directions are kept: as many vectors as products.

    Args:
        f: Returns the value, a scalar tensor that torch can differentiate twice, of a tensor like
            `x0`; for "gauss-newton" a pair: the value and the output that it is a convex function
            of, in the same graph.
        x0: Where to start, of any shape.
        hess: "exact"; "gauss-newton", J^T F J with the output's Jacobian J and the curvature F of
            the value by the output; "fisher", (p - 2) / |u|^p g g^T, which is part of the Hessian
            of |u(x)|^p / p; or a function of x that returns a matrix for the flattened x, or
            whatever multiplies a vector by `@`.
        gamma0: The first radius to be tried, > 0, in units of x.
        power: The p of "fisher", >= 2.
        max_products: Most products with H in a step, >= 1.
        rtol: Norm of the gradient to stop at, as share of that at `x0`, > 0.
        max_steps: Most steps, >= 0.
        throw: Raise where that does not do, instead of returning what there is.

    Returns:
        A :class:`~thalweg.linalg.Solution`: `residuals` are |g| over that at `x0`, `gradients`
        counts evaluations of f with its gradient, of which one a linear system solved.

    Raises:
        NotConverged: If the tolerance is not met and `throw` is set.
        ValueError: If a number is out of range, or f returns what it should not.

    Example:
        >>> import torch
        >>> from thalweg.linalg import minimize_gns
        >>> def rosenbrock(x):
        ...     return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
        >>> x0 = torch.tensor([-1.2, 1.0], dtype=torch.float64)
        >>> [round(x, 4) for x in minimize_gns(rosenbrock, x0).value.tolist()]
        [1.0, 1.0]

    Paper: Gradient-Normalized Smoothness for Optimization with Approximate Hessians, 2025,
        arXiv 2506.13710. Differs: conjugate gradients in place of Cholesky's factors; the metric B
        is I, for another minimise over L^T x where B = L L^T; a damping at which the Hessian is
        not positive definite is enlarged like one whose step fails; where rounding hides what f
        loses, the mean of both gradients tells; after 40 halvings the authors' code takes the
        step, this stops.
    """
    iterates = iterate_gns(f, x0, hess=hess, gamma0=gamma0, power=power, max_products=max_products)
    return solve(iterates, rtol=rtol, max_steps=max_steps, throw=throw)


def iterate_gns(
    f: Function,
    x0: Tensor,
    *,
    hess: Hessian = "exact",
    gamma0: float = 1.0,
    power: float = 4.0,
    max_products: int = 100,
) -> Generator[Iterate[Tensor], None, str]:
    """Yield what :func:`minimize_gns` has before the first step and after each.

    Args:
        f: As of :func:`minimize_gns`.
        x0: Likewise.
        hess: Likewise.
        gamma0: Likewise.
        power: Likewise.
        max_products: Likewise.

    Returns:
        An iterator of :class:`~thalweg.linalg.Iterate`, to watch a run or to stop it otherwise.
    """
    check_arguments("exact" if callable(hess) else hess, gamma0, power, max_products)
    if not (isinstance(x0, Tensor) and x0.is_floating_point() and x0.isfinite().all()):
        raise ValueError("x0 is no tensor of finite real numbers; give the point to start from")
    if not x0.numel():
        raise ValueError(f"x0 is empty, of shape {tuple(x0.shape)}; give at least one number")

    def look(start: Tensor, step: Tensor) -> Point:
        x = (start + step.view_as(start)).requires_grad_()
        with torch.enable_grad():
            value, output = value_and_output(f(x), hess)
            gradients = torch.autograd.grad(value, x, create_graph=not callable(hess))
            if not callable(hess):
                return Layout([x], [1.0]).point(value, gradients, output, hess, power)
        matrix = hess(x.detach())
        return Point(float(value.detach()), gradients[0].flatten(), lambda v: matrix @ v)

    x, gamma = x0.detach(), gamma0
    point = look(x, torch.zeros_like(x))
    scale = float(point.gradient.norm()) or 1.0
    gradients, products = 1, 0
    while True:
        residual = float(point.gradient.norm()) / scale
        yield Iterate(x, residual, gradients=gradients, products=products)
        found = search(point, gamma, partial(look, x), max_products)
        gradients, products = gradients + found.trials, products + found.products
        if found.step is None:
            return (
                "no step lowers f by what is due, however short: f is as low as its rounding lets "
                "it be, or its values are not those of its gradient; raise rtol or use float64"
            )
        x, gamma, point = x + found.step.view_as(x), found.gamma, found.point
