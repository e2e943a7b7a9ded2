"""Products with a wide matrix of gradients, and the Gram matrix of its rows, in double precision.

Whatever type the matrix is of, its numbers are widened a block at a time: with a small damping the
Gram matrix must be exact to many more digits than single precision has, or it is not even positive.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_BLOCK = 2**19  # numbers widened at a time; about what a processor's cache holds


def dots(grads: Tensor, x: Tensor) -> Tensor:
    """Return G x, (m, ...), for x of shape (d, ...) in double precision."""
    return torch.cat([rows.double() @ x for rows in _rows(grads)])


def combine(grads: Tensor, weights: Tensor) -> Tensor:
    """Return G^T weights, (d, ...), for weights of shape (m, ...) in double precision."""
    total = weights.new_zeros(grads.shape[1], *weights.shape[1:])
    for rows, part in zip(_rows(grads), torch.split(weights, _height(grads)), strict=True):
        total += rows.double().mT @ part
    return total


def widened_columns(grads: Tensor) -> Iterator[Tensor]:
    """Yield blocks of columns in double precision."""
    return (columns.double() for columns in torch.split(grads, max(1, _BLOCK // len(grads)), 1))


def gram_of(grads: Tensor) -> Tensor:
    """Return G G^T in double precision."""
    gram = grads.new_zeros(len(grads), len(grads), dtype=torch.float64)
    for columns in widened_columns(grads):
        gram.addmm_(columns, columns.mT)
    return gram


def replace_row(grads: Tensor, gram: Tensor, row: int, g: Tensor) -> None:
    """Put a gradient in the place of a row, in the matrix and in its Gram matrix."""
    grads[row] = g
    gram[row] = gram[:, row] = dots(grads, grads[row].double())


def factorised(gram: Tensor, damping: float) -> Tensor:
    """Return the Cholesky factor of m * damping * I + G G^T.

    What rounding may have taken from the smallest eigenvalue is given back, so that the factor
    exists for gradients however alike and long; numbers that are not finite give one of such.
    """
    size = gram.diagonal().sum()
    shift = len(gram) * (damping + torch.finfo(torch.float64).eps * size)
    shifted = gram + torch.diag(shift.expand(len(gram)))
    factor: Tensor = torch.linalg.cholesky_ex(shifted).L
    return factor


def _height(grads: Tensor) -> int:
    return max(1, _BLOCK // max(1, grads.shape[1]))


def _rows(grads: Tensor) -> tuple[Tensor, ...]:
    return torch.split(grads, _height(grads))
