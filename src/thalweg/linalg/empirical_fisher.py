"""The inverse of the empirical Fisher matrix, applied but never formed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from thalweg.linalg._gram import (
    combine,
    dots,
    factorised,
    gram_of,
    replace_row,
    widened_columns,
)


@dataclass(eq=False)
class EmpiricalFisherInverse:
    """The inverse of the damped empirical Fisher matrix of m gradients in d dimensions.

        F      = damping * I + G^T G / m                               one gradient a row of G
        F^-1 x = (x - G^T (m * damping * I + G G^T)^-1 G x) / damping

    Use it as a curvature where d is too large for a d x d matrix: to prune by the Optimal Brain
    Surgeon, for natural gradients or influence functions, to precondition. Avoid it with
    gradients of large batches, which say little of the curvature; those of single samples say most.
    Cost: a copy of G; O(d m^2) to build it or for the diagonal, O(d m) for a product, O(m^2) for
    an element, O(d m + m^3) to append a gradient.

    All arithmetic is in double precision, which a small damping needs, in blocks that leave G in
    its own type and on its own device.

    Args:
        grads: The gradients, (m, d); copied.
        damping: Strength of the damping, > 0.

    Raises:
        TypeError: If the gradients are no real floating-point numbers.
        ValueError: If they are no matrix, there are none, or the damping is not positive.

    Example:
        >>> import torch
        >>> from thalweg.linalg import EmpiricalFisherInverse
        >>> inverse = EmpiricalFisherInverse(torch.tensor([[1.0, 2.0], [0.0, 1.0]]), damping=0.5)
        >>> inverse.matvec(torch.tensor([2.0, 4.0]))  # by the inverse of [[1, 1], [1, 3]]
        tensor([1., 1.])
        >>> round(inverse.element(0, 1).item(), 9)
        -0.5

    Paper: M-FAC: Efficient Matrix-Free Approximations of Second-Order Information, 2021,
        arXiv 2107.03356. Differs: one Cholesky factorisation of m x m numbers takes the place of
        the paper's recursion over the gradients, which has the same value; without the recursion's
        second matrix, an element costs O(m^2) where it has O(m). The matrix is whole: the paper
        divides it into blocks along its diagonal for the largest models.
    """

    grads: Tensor
    damping: float
    _gram: Tensor = field(init=False, repr=False)
    _factor: Tensor = field(init=False, repr=False)
    _oldest: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.grads.is_floating_point():
            raise TypeError(f"grads are {self.grads.dtype}; give real floating-point numbers")
        if self.grads.ndim != 2 or not self.grads.numel():
            shape = tuple(self.grads.shape)
            raise ValueError(f"grads are of shape {shape}; give a matrix, one gradient a row")
        if not 0 < self.damping < math.inf:
            raise ValueError(f"damping is {self.damping!r}; give a positive number, such as 1e-5")
        self.grads = self.grads.detach().clone()
        self._gram = gram_of(self.grads)
        self._factor = factorised(self._gram, self.damping)

    def matvec(self, x: Tensor) -> Tensor:
        """Return the product of the inverse and a vector, of its type and on its device.

        Args:
            x: A vector, (d,), or several, (..., d).
        """
        wide = self._widened("x", x)
        columns = wide.view(-1, wide.shape[-1]).mT
        inner = torch.cholesky_solve(dots(self.grads, columns), self._factor)
        return ((columns - combine(self.grads, inner)).mT / self.damping).reshape(x.shape).to(x)

    def diagonal(self) -> Tensor:
        """Return the diagonal of the inverse, (d,), in double precision."""
        squares = [
            torch.linalg.solve_triangular(self._factor, columns, upper=False).square().sum(0)
            for columns in widened_columns(self.grads)
        ]
        return (1 - torch.cat(squares)) / self.damping

    def element(self, i: int | Tensor, j: int | Tensor) -> Tensor:
        """Return an element of the inverse, or several, in double precision.

        Args:
            i: Its row, or a tensor of rows, (k,).
            j: Its column, or as many columns.
        """
        left, right = (self.grads[:, k].double().view(len(self.grads), -1) for k in (i, j))
        inner = (left * torch.cholesky_solve(right, self._factor)).sum(0)
        same = torch.as_tensor((i - j) % self.grads.shape[1] == 0, device=inner.device)
        return (same.double() - inner.view(same.shape)) / self.damping

    def append(self, g: Tensor) -> None:
        """Put a gradient, (d,), in the place of the oldest one."""
        replace_row(self.grads, self._gram, self._oldest, self._widened("g", g, ndim=1))
        self._factor = factorised(self._gram, self.damping)
        self._oldest = (self._oldest + 1) % len(self.grads)

    def pruning_scores(self, weights: Tensor) -> Tensor:
        """Return by how much the loss rises without a weight, the others making up for it.

            weights_i^2 / (2 [F^-1]_ii)

        Args:
            weights: Where the gradients were taken, (d,).
        """
        return (self._widened("weights", weights, ndim=1) ** 2 / (2 * self.diagonal())).to(weights)

    def prune(self, weights: Tensor, removed: Tensor) -> Tensor:
        """Return the weights with some at zero and the others where the loss rises least.

            w_k + F_kk^-1 F_kr w_r            k: the weights that are kept, r: those removed

        Args:
            weights: Where the gradients were taken, (d,).
            removed: Which of them to remove, (d,), as truth values.
        """
        wide = self._widened("weights", weights, ndim=1)
        if removed.dtype != torch.bool or removed.shape != weights.shape:
            raise ValueError("removed does not fit; give a truth value for each of the weights")
        gone = removed.to(wide.device)
        lost = dots(self.grads, wide.where(gone, 0))[:, None]
        kept = factorised(gram_of(self.grads[:, ~gone]), self.damping)
        shift = torch.cholesky_solve(lost, kept)[:, 0]
        return (wide + combine(self.grads, shift)).where(~gone, 0).to(weights)

    def to_scipy(self) -> Any:
        """Return the inverse as a `scipy.sparse.linalg.LinearOperator` in double precision."""
        from scipy.sparse.linalg import LinearOperator

        def product(x: Any) -> Any:
            return self.matvec(torch.tensor(x.T, dtype=torch.float64)).numpy().T

        d = self.grads.shape[1]
        products = {"matvec": product, "matmat": product, "rmatvec": product, "rmatmat": product}
        return LinearOperator((d, d), **products, dtype=float)

    def _widened(self, name: str, x: Tensor, ndim: int | None = None) -> Tensor:
        d = self.grads.shape[1]
        if not (x.is_floating_point() and x.shape[-1:] == (d,) and ndim in (None, x.ndim)):
            what = f"{x.dtype} of shape {tuple(x.shape)}"
            raise ValueError(f"{name} is {what}; give real numbers of shape ({d},)")
        return x.detach().to(self.grads.device, torch.float64).contiguous()
