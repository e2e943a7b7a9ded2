"""Lanczos chains with full reorthogonalisation, several side by side."""

from collections.abc import Callable

import torch
from torch import Tensor


def lanczos(
    product: Callable[[Tensor], Tensor], start: Tensor, steps: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Reduce a symmetric matrix to tridiagonal form, once for each start.

    Args:
        product: Multiplies the matrix with each row of a tensor of shape (chains, n).
        start: First vector of each chain, (chains, n), not zero.
        steps: From 1 to n.
        generator: Of the vectors with which a chain goes on that has found an invariant subspace.

    Returns:
        The diagonals, (chains, steps), and the numbers beside them, of the same shape: the last
        of them couples the chain to the vector that would come next. Both float64 on the CPU.
        Then the vectors of the chains, (chains, steps, n).
    """
    chains, n = start.shape
    basis = start.new_empty(chains, steps, n)
    diagonal, beside = start.new_zeros(chains, steps), start.new_zeros(chains, steps)
    vector = start / start.norm(dim=1, keepdim=True)
    largest = start.new_zeros(chains)
    for j in range(steps):
        basis[:, j] = vector
        known = basis[:, : j + 1]
        image = product(vector)
        along = (image * vector).sum(1)
        image = image - along[:, None] * vector
        if j:
            image -= beside[:, j - 1, None] * basis[:, j - 1]
        image, rest = _orthogonal(image, known)  # what rounding left of all earlier vectors
        diagonal[:, j], beside[:, j] = along + rest[:, j], image.norm(dim=1)
        largest = torch.maximum(largest, diagonal[:, j].abs() + beside[:, j])
        ended = beside[:, j] <= torch.finfo(start.dtype).eps * largest
        if ended.any() and j + 1 < n:
            beside[ended, j] = 0
            fresh = torch.randn(chains, n, generator=generator).to(vector)
            fresh = _orthogonal(_orthogonal(fresh, known)[0], known)[0]
            image = torch.where(ended[:, None], fresh, image)
        vector = image / image.norm(dim=1, keepdim=True)
    return diagonal.double().cpu(), beside.double().cpu(), basis


def _orthogonal(vectors: Tensor, bases: Tensor) -> tuple[Tensor, Tensor]:
    """Take out of each vector its components along its basis; return both."""
    # A product of a matrix and a vector at a time: batched, it is three times slower.
    along = [basis @ vector for vector, basis in zip(vectors, bases, strict=True)]
    left = [v - part @ basis for v, part, basis in zip(vectors, along, bases, strict=True)]
    return torch.stack(left), torch.stack(along)
