"""Convex functions as block coordinate descent sees them: what to keep up to date, and bounds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BlockObjective(nn.Module):
    """A smooth convex function of a vector, plus `l1` times the sum of its magnitudes.

    A subclass says what it keeps from step to step (`memory`), so that a step along k coordinates
    costs k columns, and bounds its Hessian from above by one matrix for all x.

    Args:
        size: Length of x.
        l1: Strength of the sum of magnitudes, >= 0.
    """

    diagonal: Tensor  # of the bound, or less where a single coordinate allows: one for each
    row_sums: Tensor  # of the bound's magnitudes

    def __init__(self, size: int, l1: float) -> None:
        super().__init__()
        if not l1 >= 0:
            raise ValueError(f"l1 is {l1}; give a number >= 0")
        self.size, self.l1 = size, l1

    def forward(self, x: Tensor) -> Tensor:
        """Return the value at x, a scalar."""
        return self.value(self.memory(x), x)

    def value(self, memory: Tensor, x: Tensor) -> Tensor:
        """Return the value, from what is kept."""
        return self.smooth(memory, x) + self.l1 * x.abs().sum()

    def memory(self, x: Tensor) -> Tensor:
        """Return what is kept, computed from scratch."""
        raise NotImplementedError

    def smooth(self, memory: Tensor, x: Tensor) -> Tensor:
        """Return the smooth part's value, from what is kept."""
        raise NotImplementedError

    def gradient(self, memory: Tensor, x: Tensor) -> Tensor:
        """Return the smooth part's gradient, from what is kept."""
        raise NotImplementedError

    def moved(self, memory: Tensor, block: Tensor, d: Tensor) -> Tensor:
        """Return what is kept after a step d along the coordinates of a block."""
        raise NotImplementedError

    def bound(self, block: Tensor) -> Tensor:
        """Return the bound on the Hessian among the coordinates of blocks, (..., k, k)."""
        raise NotImplementedError

    def hessian(self, memory: Tensor, block: Tensor) -> Tensor:
        """Return the Hessian among the coordinates of a block."""
        raise NotImplementedError


class QuadraticObjective(BlockObjective):
    """x^T Q x / 2 - b^T x + l1 |x|_1; of a sparse Q only what is not zero is kept and touched.

    Args:
        Q: Symmetric and positive semidefinite, (n, n); dense, or sparse in any layout.
        b: Of shape (n,).
        l1: Strength of the sum of magnitudes, >= 0.

    Example:
        >>> objective = QuadraticObjective(torch.eye(2), torch.tensor([1.0, 2.0]))
        >>> objective(torch.tensor([1.0, 2.0])).item()
        -2.5
    """

    Q: Tensor
    b: Tensor
    near: Tensor
    weights: Tensor

    def __init__(self, Q: Tensor, b: Tensor, *, l1: float = 0.0) -> None:
        if Q.dim() != 2 or Q.shape != (*b.shape, *b.shape):
            raise ValueError(
                f"Q and b have the shapes {tuple(Q.shape)} and {tuple(b.shape)}; give (n, n), (n,)"
            )
        super().__init__(len(b), l1)
        self.register_buffer("b", b)
        self.sparse = Q.layout is not torch.strided
        if not self.sparse:
            self.register_buffer("Q", Q)
            diagonal, row_sums = Q.diagonal(), Q.abs().sum(1)
        else:
            near, weights = _neighbours(Q.to_sparse(layout=torch.sparse_coo).coalesce())
            self.register_buffer("near", near)
            self.register_buffer("weights", weights)
            own = near == torch.arange(len(b), device=b.device)[:, None]
            diagonal, row_sums = (weights * own).sum(1), weights.abs().sum(1)
        if not (diagonal > 0).all():
            raise ValueError("Q has a diagonal entry that is not positive; leave its row out")
        self.register_buffer("diagonal", diagonal)
        self.register_buffer("row_sums", row_sums)

    def memory(self, x: Tensor) -> Tensor:
        """Return the gradient."""
        if not self.sparse:
            return self.Q @ x - self.b
        return (self.weights * x[self.near]).sum(1) - self.b

    def smooth(self, memory: Tensor, x: Tensor) -> Tensor:
        """Return the value, from the gradient."""
        return x @ (memory - self.b) / 2

    def gradient(self, memory: Tensor, x: Tensor) -> Tensor:
        """Return the gradient, which is what is kept."""
        return memory

    def moved(self, memory: Tensor, block: Tensor, d: Tensor) -> Tensor:
        """Add the columns of a block."""
        if not self.sparse:
            return memory + self.Q[block].T @ d
        change = (self.weights[block] * d[:, None]).flatten()
        return memory.index_add(0, self.near[block].flatten(), change)

    def bound(self, block: Tensor) -> Tensor:
        """Return the part of Q."""
        if not self.sparse:
            return self.Q[block[..., :, None], block[..., None, :]]
        same = self.near[block][..., None] == block[..., None, None, :]
        return (self.weights[block][..., None] * same).sum(-2)

    def hessian(self, memory: Tensor, block: Tensor) -> Tensor:
        """Return the part of Q."""
        return self.bound(block)


def _neighbours(Q: Tensor) -> tuple[Tensor, Tensor]:
    """Return each row's columns and entries, filled up with its own column and zeros."""
    (i, j), values, n = Q.indices(), Q.values(), len(Q)
    counts = torch.bincount(i, minlength=n)
    place = torch.arange(len(i), device=i.device) - (counts.cumsum(0) - counts)[i]
    most = int(counts.max())
    near = torch.arange(n, device=i.device)[:, None].repeat(1, most)
    weights = values.new_zeros(n, most)
    near[i, place], weights[i, place] = j, values
    return near, weights


class _LinearModel(BlockObjective):
    """A loss of A x, plus l2 |x|^2 / 2 and l1 |x|_1; A x is kept."""

    A: Tensor
    y: Tensor
    gram: Tensor

    def __init__(self, A: Tensor, y: Tensor, outputs: int, l2: float, l1: float) -> None:
        if A.dim() != 2 or y.shape != A.shape[:1]:
            raise ValueError(
                f"A and y have the shapes {tuple(A.shape)} and {tuple(y.shape)}; give (m, n), (m,)"
            )
        if not l2 >= 0:
            raise ValueError(f"l2 is {l2}; give a number >= 0")
        super().__init__(A.shape[1] * outputs, l1)
        self.l2 = l2
        self.register_buffer("A", A)
        self.register_buffer("y", y)
        self.register_buffer("gram", A.T @ A)

    def gradient(self, memory: Tensor, x: Tensor) -> Tensor:
        """Return the gradient, from the outputs."""
        return (self.A.T @ self.slope(memory)).flatten() + self.l2 * x

    def slope(self, output: Tensor) -> Tensor:
        """Return the gradient of the loss by the outputs."""
        raise NotImplementedError


class LogisticObjective(_LinearModel):
    """sum_i log(1 + exp(-y_i (A x)_i)) + l2 |x|^2 / 2 + l1 |x|_1.

    Args:
        A: One row a sample, (m, n).
        y: Classes -1 and 1, (m,), in the type of A.
        l2: Strength of the squares, >= 0.
        l1: Strength of the magnitudes, >= 0.

    Example:
        >>> objective = LogisticObjective(torch.eye(2), torch.tensor([1.0, -1.0]))
        >>> round(objective(torch.zeros(2)).item(), 4)  # 2 log 2
        1.3863
    """

    def __init__(self, A: Tensor, y: Tensor, *, l2: float = 0.0, l1: float = 0.0) -> None:
        super().__init__(A, y, 1, l2, l1)
        if not (y.abs() == 1).all():
            raise ValueError("y holds other values than -1 and 1; give classes so")
        self.register_buffer("diagonal", self.gram.diagonal() / 4 + l2)
        self.register_buffer("row_sums", self.gram.abs().sum(1) / 4 + l2)

    def memory(self, x: Tensor) -> Tensor:
        """Return the outputs A x."""
        return self.A @ x

    def smooth(self, memory: Tensor, x: Tensor) -> Tensor:
        """Return the value, from the outputs."""
        return F.softplus(-self.y * memory).sum() + self.l2 / 2 * x.square().sum()

    def slope(self, output: Tensor) -> Tensor:
        """Return the gradient of the loss by the outputs."""
        return -self.y * torch.sigmoid(-self.y * output)

    def moved(self, memory: Tensor, block: Tensor, d: Tensor) -> Tensor:
        """Add the columns of a block."""
        return memory + self.A[:, block] @ d

    def bound(self, block: Tensor) -> Tensor:
        """Return A^T A / 4 + l2 among the block."""
        part = self.gram[block[..., :, None], block[..., None, :]]
        return part / 4 + self.l2 * torch.eye(block.shape[-1]).to(part)

    def hessian(self, memory: Tensor, block: Tensor) -> Tensor:
        """Return A^T diag(p (1 - p)) A + l2 among the block."""
        p, A = torch.sigmoid(memory), self.A[:, block]
        return A.T @ ((p * (1 - p))[:, None] * A) + self.l2 * torch.eye(len(block)).to(A)


class SoftmaxObjective(_LinearModel):
    """sum_i (log sum_c exp((A X)_ic) - (A X)_iy_i) + l2 |X|^2 / 2 + l1 |X|_1; x is X by rows.

    Args:
        A: One row a sample, (m, n).
        y: Whole numbers from 0 to n_classes - 1, (m,).
        n_classes: Columns of X, >= 2.
        l2: Strength of the squares, >= 0.
        l1: Strength of the magnitudes, >= 0.

    Example:
        >>> objective = SoftmaxObjective(torch.eye(2), torch.tensor([0, 2]), n_classes=3)
        >>> round(objective(torch.zeros(6)).item(), 4)  # 2 log 3
        2.1972
    """

    def __init__(
        self, A: Tensor, y: Tensor, *, n_classes: int, l2: float = 0.0, l1: float = 0.0
    ) -> None:
        if n_classes < 2 or not ((y >= 0) & (y < n_classes)).all():
            raise ValueError(f"y is not all from 0 to n_classes - 1 = {n_classes - 1}, at least 1")
        super().__init__(A, y, n_classes, l2, l1)
        self.n_classes = n_classes
        self.register_buffer(
            "diagonal", (self.gram.diagonal() / 4 + l2).repeat_interleave(n_classes)
        )
        row_sums = self.gram.abs().sum(1) * (1 - 1 / n_classes) + l2
        self.register_buffer("row_sums", row_sums.repeat_interleave(n_classes))

    def memory(self, x: Tensor) -> Tensor:
        """Return the outputs A X."""
        return self.A @ x.view(-1, self.n_classes)

    def smooth(self, memory: Tensor, x: Tensor) -> Tensor:
        """Return the value, from the outputs."""
        return F.cross_entropy(memory, self.y, reduction="sum") + self.l2 / 2 * x.square().sum()

    def slope(self, output: Tensor) -> Tensor:
        """Return the gradient of the loss by the outputs."""
        return output.softmax(1) - F.one_hot(self.y, self.n_classes)

    def moved(self, memory: Tensor, block: Tensor, d: Tensor) -> Tensor:
        """Add the columns of a block to the outputs of their classes."""
        features, classes = block // self.n_classes, block % self.n_classes
        return memory.index_add(1, classes, self.A[:, features] * d)

    def bound(self, block: Tensor) -> Tensor:
        """Return (I - 1 1^T / n_classes) / 2 by A^T A, + l2, among the block (Boehning's bound)."""
        features, alike = block // self.n_classes, self._alike(block)
        part = self.gram[features[..., :, None], features[..., None, :]]
        return part * (alike - 1 / self.n_classes) / 2 + self.l2 * torch.eye(block.shape[-1]).to(
            part
        )

    def hessian(self, memory: Tensor, block: Tensor) -> Tensor:
        """Return the Hessian among the block."""
        features, classes = block // self.n_classes, block % self.n_classes
        A, p = self.A[:, features], memory.softmax(1)[:, classes]
        weighted = p * A
        shared = (A.T @ weighted) * self._alike(block)
        return shared - weighted.T @ weighted + self.l2 * torch.eye(len(block)).to(A)

    def _alike(self, block: Tensor) -> Tensor:
        classes = block % self.n_classes
        return (classes[..., :, None] == classes[..., None, :]).to(self.A.dtype)


def least_squares(A: Tensor, y: Tensor, *, l2: float = 0.0, l1: float = 0.0) -> QuadraticObjective:
    """Return |A x - y|^2 / 2 + l2 |x|^2 / 2 + l1 |x|_1, less the constant |y|^2 / 2.

    Args:
        A: One row a sample, (m, n).
        y: Targets, (m,).
        l2: Strength of the squares, >= 0.
        l1: Strength of the magnitudes, >= 0.

    Returns:
        A quadratic: A^T A is formed, so that a step touches k of its columns.
    """
    identity: Any = torch.eye(A.shape[1]).to(A)
    return QuadraticObjective(A.T @ A + l2 * identity, A.T @ y, l1=l1)
