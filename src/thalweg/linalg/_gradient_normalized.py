"""A step of Newton's method damped by the gradient's norm, for whoever keeps the point."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Curvature = Literal["exact", "gauss-newton", "fisher"]
Product = Callable[[Tensor], Tensor]

CURVATURES = ("exact", "gauss-newton", "fisher")
TRIALS = 40  # of gamma before a step is given up, as in the authors' code
LEAST_GAMMA = 1e-9
SOLVED = 1e-10  # relative residual of the linear system
ROUNDINGS = 10  # by which two values of the function may differ and still be the same


@dataclass(frozen=True, eq=False)
class Point:
    """What is known of the function at a point: value, gradient, products with the Hessian."""

    value: float
    gradient: Tensor
    product: Product


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a search found: the step and where it leads, None if there is none, and its cost."""

    step: Tensor | None
    point: Point
    gamma: float
    trials: int
    products: int


def search(
    point: Point, gamma: float, evaluate: Callable[[Tensor], Point], max_products: int
) -> Outcome:
    """Halve gamma until a step lowers the function enough, then double it for the next.

    Args:
        point: Where the step starts; its gradient is not zero.
        gamma: The first to be tried, > 0.
        evaluate: Called with a step, returns what is known where it leads.
        max_products: Most products with the Hessian.
    """
    system = _DampedSystem(point, max_products)
    trials = 0
    for _ in range(TRIALS):
        damping = system.norm / gamma
        step = system.solve(damping)
        if step is not None:
            trials += 1
            new = evaluate(step)
            due = float(new.gradient.square().sum()) / (8 * damping)
            if _decrease(point, new, step) >= due:
                gamma = max(2 * gamma, LEAST_GAMMA)
                return Outcome(step, new, gamma, trials, system.products)
        gamma /= 2
    return Outcome(None, point, gamma, trials, system.products)


def _decrease(point: Point, new: Point, step: Tensor) -> float:
    """Return by how much the value fell; where rounding hides it, what the gradients say."""
    decrease = point.value - new.value
    if abs(decrease) <= ROUNDINGS * torch.finfo(step.dtype).eps * abs(point.value):
        return -float((point.gradient + new.gradient) @ step) / 2
    return decrease


class _DampedSystem:
    """Solves (H + damping I) step = -gradient by conjugate gradients, for several dampings.

    The directions are made of one Krylov basis, kept orthogonal: it is the same for all dampings.
    """

    def __init__(self, point: Point, max_products: int) -> None:
        self.product = point.product
        self.norm = float(point.gradient.norm())
        self.basis = [point.gradient / self.norm]
        self.diagonal: list[float] = []
        self.beside: list[float] = []
        self.most = min(max_products, point.gradient.numel())

    @property
    def products(self) -> int:
        return len(self.diagonal)

    def solve(self, damping: float) -> Tensor | None:
        """Return the step; None where the damped Hessian is not positive definite."""
        pivots: list[float] = []
        eliminated = [-self.norm]  # the right-hand side; the last of it is the residual
        while len(pivots) < self.most and abs(eliminated[-1]) > SOLVED * self.norm:
            k = len(pivots)
            if k == self.products:
                self._extend()
            filled = self.beside[k - 1] ** 2 / pivots[-1] if k else 0.0
            pivots.append(self.diagonal[k] + damping - filled)
            if not pivots[-1] > 0:
                return None
            eliminated.append(-eliminated[-1] * self.beside[k] / pivots[-1])
        weights = [0.0]
        for value, pivot, beside in reversed([*zip(eliminated, pivots, self.beside, strict=False)]):
            weights.append((value - beside * weights[-1]) / pivot)
        basis = torch.stack(self.basis[: len(pivots)])
        return basis.new_tensor(weights[:0:-1]) @ basis

    def _extend(self) -> None:
        direction = self.basis[-1]
        image = self.product(direction)
        self.diagonal.append(float(direction @ image))
        basis = torch.stack(self.basis)
        for _ in range(2):  # once leaves rounding errors that grow
            image = image - (basis @ image) @ basis
        self.beside.append(float(image.norm()))
        self.basis.append(image / (self.beside[-1] or 1.0))


@dataclass(frozen=True, eq=False)
class Layout:
    """Tensors end to end, each in units that make its part of the metric the identity."""

    variables: Sequence[Tensor]
    units: Sequence[float]

    def flatten(self, parts: Sequence[Tensor]) -> Tensor:
        """Return gradients, or products, as one vector."""
        like = self.variables[0]
        dtype = torch.promote_types(like.dtype, torch.float32)
        return torch.cat(
            [
                unit * part.detach().reshape(-1).to(like.device, dtype)
                for unit, part in zip(self.units, parts, strict=True)
            ]
        )

    def split(self, vector: Tensor) -> list[Tensor]:
        """Return a direction in the tensors' own units, shapes and types."""
        parts = torch.split(vector, [p.numel() for p in self.variables])
        return [
            (unit * part).view_as(p).to(p.device, p.dtype)
            for p, unit, part in zip(self.variables, self.units, parts, strict=True)
        ]

    def point(
        self,
        value: Tensor,
        gradients: Sequence[Tensor],
        output: Tensor | None,
        hess: Curvature,
        power: float,
        average: Callable[[Tensor], Tensor] = lambda x: x,
    ) -> Point:
        """Return what is known where a value, with its gradients and their graph, was computed."""
        mean, gradient = average(value.detach()), average(self.flatten(gradients))
        if hess == "fisher":
            if mean < 0:
                raise ValueError(
                    f"the value is {float(mean):.3g}; hess='fisher' is for |u|^p / p, which is "
                    "never negative: use 'exact' or 'gauss-newton'"
                )
            weight = (1 - 2 / power) / float(mean) if mean else 0.0
            return Point(float(mean), gradient, lambda v: weight * (gradient @ v) * gradient)
        if hess == "exact":
            products = _hessian_products(gradients, self.variables)
        else:
            assert output is not None
            products = _gauss_newton_products(value, output, self.variables)
        return Point(
            float(mean), gradient, lambda v: average(self.flatten(products(self.split(v))))
        )


Products = Callable[[Sequence[Tensor]], Sequence[Tensor]]


def _hessian_products(gradients: Sequence[Tensor], variables: Sequence[Tensor]) -> Products:
    curved = [i for i, g in enumerate(gradients) if g.requires_grad]  # the others are constant
    graphed = [gradients[i] for i in curved]
    return lambda v: torch.autograd.grad(
        graphed, variables, [v[i] for i in curved], retain_graph=True, materialize_grads=True
    )


def _gauss_newton_products(value: Tensor, output: Tensor, variables: Sequence[Tensor]) -> Products:
    slope = torch.autograd.grad(value, output, create_graph=True)
    curvature = _hessian_products(slope, [output])
    weight = torch.zeros_like(output, requires_grad=True)
    pulled = torch.autograd.grad(
        output, variables, weight, create_graph=True, materialize_grads=True
    )

    def products(v: Sequence[Tensor]) -> Sequence[Tensor]:
        pushed = torch.autograd.grad(pulled, weight, v, retain_graph=True)
        return torch.autograd.grad(
            output, variables, curvature(pushed), retain_graph=True, materialize_grads=True
        )

    return products


def check_arguments(hess: object, gamma0: float, power: float, max_products: int) -> None:
    """Raise a ValueError with a sentence for an argument outside its range."""
    if hess not in CURVATURES:
        raise ValueError(f"hess is {hess!r}; give one of {', '.join(CURVATURES)}")
    if not 0 < gamma0 < math.inf:
        raise ValueError(f"gamma0 is {gamma0}; give a positive number, such as 1")
    if not power >= 2:
        raise ValueError(f"power is {power}; give a number of at least 2")
    if not (max_products >= 1 and max_products % 1 == 0):
        raise ValueError(f"max_products is {max_products}; give a whole number of at least 1")


def value_and_output(returned: Any, hess: object) -> tuple[Tensor, Tensor | None]:
    """Return the value, and for Gauss-Newton's matrix the output it is a function of."""
    if hess == "gauss-newton":
        if not (isinstance(returned, tuple) and len(returned) == 2):
            raise ValueError(
                "hess='gauss-newton' needs the value and the output that it is a function of; "
                "return both, as in: return loss, output"
            )
        value, output = returned
    else:
        value, output = returned, None
    if not (isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point()):
        raise ValueError(f"the value is {value!r}; return a tensor of a single real number")
    return value.reshape(()), output
