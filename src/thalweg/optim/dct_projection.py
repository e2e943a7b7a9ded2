"""Projection of matrices onto the few cosines that hold most of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def dct_column_projection(matrix: Tensor, rank: int, *, norm: float = 1.0) -> tuple[Tensor, Tensor]:
    """Choose the columns of the orthogonal DCT matrix along which a matrix is largest.

        Q[i, j] = c_j cos((2 i + 1) j pi / (2 n)),  c_0 = sqrt(1 / n),  c_j = sqrt(2 / n)
        S       = G Q                                       by a fast Fourier transform of the rows
        indices = the `rank` columns of S of largest norm,  coefficients = S[:, indices]

    Use it in place of a truncated SVD where one projection after another is wanted: nothing but
    the indices need be kept, `dct_columns` makes the basis of them. Avoid it where the best
    subspace of a rank is wanted: these columns are fixed, and a matrix without smooth structure
    keeps little more than `rank / n` of its square. Cost: O(m n log n) whatever the rank, where
    an SVD takes O(m n^2).

    Args:
        matrix: Of shape (..., m, n), real; a batch is projected at once, each matrix by itself.
            Transpose it where m < n: then the smaller side is projected.
        rank: How many columns to choose, 1 to n.
        norm: By which columns of S are compared, >= 1. 1 is the paper's; with 2 the squared error
            is the smallest of any choice, and at most (1 - rank / n) of the matrix's square.

    Returns:
        The indices, (..., rank), ascending, and the coefficients, (..., m, rank). The projected
        matrix is `coefficients @ dct_columns(indices, n).mT`.

    Raises:
        ValueError: If the matrix is none or not real, or rank or norm is outside its range.

    Example:
        >>> import torch
        >>> from thalweg.optim import dct_column_projection, dct_columns
        >>> smooth = torch.linspace(0, torch.pi, 64).cos() * torch.ones(100, 1)
        >>> indices, coefficients = dct_column_projection(smooth, 4)
        >>> error = smooth - coefficients @ dct_columns(indices, 64).mT
        >>> indices.tolist(), bool(error.norm() < 0.01 * smooth.norm())
        ([1, 3, 5, 7], True)

    Paper: FFT-based Dynamic Subspace Selection for Low-Rank Adaptive Optimization of Large
        Language Models, 2025, arXiv 2505.17967. Differs: the authors' code takes the rows of this
        Q for columns where it multiplies, and these where it transforms; here one basis serves.
    """
    if matrix.ndim < 2 or not matrix.is_floating_point():
        raise ValueError(
            f"a projection takes real matrices of shape (..., m, n), not {matrix.dtype} of shape "
            f"{tuple(matrix.shape)}; give a single row as row[None]."
        )
    if not 1 <= rank <= matrix.shape[-1]:
        raise ValueError(f"rank must be 1 to {matrix.shape[-1]}, the columns, not {rank!r}.")
    if not 1 <= norm < math.inf:
        raise ValueError(f"norm must be a finite number >= 1, not {norm!r}.")
    exact = matrix.float() if matrix.dtype.itemsize < 4 else matrix  # fft knows no half precision
    similarity = _cosine_transform(exact)
    scores = similarity.abs().pow_(norm).sum(dim=-2)  # a root would not change their order
    indices = scores.topk(rank, sorted=False).indices.sort().values
    chosen = torch.take_along_dim(similarity, indices[..., None, :], dim=-1)
    return indices, chosen.to(matrix.dtype)


def dct_columns(indices: Tensor, n: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return columns of the orthogonal DCT matrix.

        Q[i, j] = c_j cos((2 i + 1) j pi / (2 n)),  c_0 = sqrt(1 / n),  c_j = sqrt(2 / n)

    Use it to turn what `dct_column_projection` returns into a matrix again. Avoid it for all
    columns of a large n: a transform costs less than the product. Cost: one cosine per number.

    Args:
        indices: Whole numbers of shape (..., r), each in 0 to n - 1.
        n: The order of the DCT matrix, >= 1.
        dtype: Of what is returned.

    Returns:
        The columns, of shape (..., n, r), on the device of the indices.

    Example:
        >>> import torch
        >>> from thalweg.optim import dct_columns
        >>> (2 * dct_columns(torch.tensor([0, 2]), 4)).round().tolist()
        [[1.0, 1.0], [1.0, -1.0], [1.0, -1.0], [1.0, 1.0]]

    Paper: FFT-based Dynamic Subspace Selection for Low-Rank Adaptive Optimization of Large
        Language Models, 2025, arXiv 2505.17967. Differs: nothing.
    """
    wide = torch.promote_types(dtype, torch.float32)
    odd = 2 * torch.arange(n, device=indices.device)[:, None] + 1
    periods = odd * indices[..., None, :].long() % (4 * n)  # whole, so that no angle is rounded off
    columns = math.sqrt(2 / n) * torch.cos(periods.to(wide) * (math.pi / (2 * n)))
    constant = indices[..., None, :] == 0
    return torch.where(constant, math.sqrt(1 / 2) * columns, columns).to(dtype)


def _cosine_transform(x: Tensor) -> Tensor:
    """Return the orthonormal DCT-II of the last dimension, by Makhoul's reordering and one FFT."""
    n = x.shape[-1]
    reordered = torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], dim=-1)
    spectrum = torch.fft.rfft(reordered)
    angles = torch.arange(n // 2 + 1, dtype=x.dtype, device=x.device) * (-math.pi / (2 * n))
    turned = spectrum * torch.polar(torch.full_like(angles, math.sqrt(2 / n)), angles)
    upper = -turned.imag[..., 1 : (n + 1) // 2].flip(-1)  # a real row's spectrum is symmetric
    transformed = torch.cat([turned.real, upper], dim=-1)
    transformed[..., 0] *= math.sqrt(1 / 2)
    return transformed
