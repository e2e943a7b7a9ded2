"""DCTAdamW: AdamW in the span of a few cosines, chosen anew for every gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from thalweg.optim._base import check
from thalweg.optim._projected import ProjectedOptimizer, is_count
from thalweg.optim.dct_projection import dct_column_projection, dct_columns


class DCTAdamW(ProjectedOptimizer):
    """AdamW that sees a matrix through `rank` columns of the DCT matrix Q, and keeps moments there.

        A = G + error                                    G is turned so that its n columns are fewer
        P = the `rank` columns of Q with the largest |A Q|_1;  g = A P      every update_gap steps
        error = A - g P^T                                                   with error feedback
        exp_avg, exp_avg_sq = those of the columns that were in P before, else 0       if rotated
        exp_avg    = beta1 * exp_avg    + (1 - beta1) * g                     m x rank, not m x n
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g^2
        W = (1 - lr weight_decay) W - lr exp_avg' / (sqrt(exp_avg_sq') + eps) P^T

    where ' corrects the bias. Biases, convolution kernels and whatever else is no matrix, and
    matrices with a side of `max_size` or more, get AdamW itself.

    Use it where the state of AdamW does not fit and GaLore's singular vectors take too long. Avoid
    it where AdamW's state fits, to which this is an approximation. Cost: for a matrix of m >= n
    state of 2 m r numbers and 4 r bytes, r = min(rank, n), and m n numbers more with error
    feedback, where AdamW keeps 2 m n and GaLore 2 m r + n r; each step a transform, O(m n log n),
    and one product, O(m n r), two with error feedback.

    Args:
        params: Parameters, named parameters or groups of them.
        lr: Learning rate, >= 0.
        rank: Columns of Q to keep, >= 1; all from the smaller side of a matrix on. The paper has
            no default; a quarter of the width is common.
        betas: Decay rates of the averages of the gradient and of its square, each in [0, 1).
        eps: Added to the denominator, >= 0.
        weight_decay: Decoupled decay towards zero, >= 0; 0 for none.
        update_gap: Steps from one choice of columns to the next, >= 1: it is made at the first
            step and at the multiples of this.
        error_feedback: Add what a projection leaves out to the next gradient. It matters at a
            small rank, and takes half the state of AdamW; read when a matrix is first updated.
        rotate: Carry moments over to the same columns of the next choice. Without, they stay
            where they are, whatever column is there now.
        max_size: A matrix with a side as long as this, >= 1, is not projected: a vocabulary's.
        maximize: Ascend instead of descend.

    Raises:
        ValueError: If a hyperparameter is outside its range or a parameter is complex or sharded.

    Example:
        >>> import torch
        >>> from thalweg.optim import DCTAdamW
        >>> layer = torch.nn.Linear(512, 2048)
        >>> optimizer = DCTAdamW(layer.parameters(), rank=64)
        >>> layer(torch.ones(1, 512)).sum().backward()
        >>> optimizer.step()
        >>> optimizer.state[layer.weight]["exp_avg"].shape
        torch.Size([2048, 64])

    Paper: FFT-based Dynamic Subspace Selection for Low-Rank Adaptive Optimization of Large
        Language Models (first: SVD-Free Low-Rank Adaptive Gradient Optimization ...), 2025,
        arXiv 2505.17967. Differs: rotation is the permutation that P_prev^T P is, without its
        rounding; no eight-bit error; the authors' code does not rotate unless told to, has one Q
        for all widths, and adds the error to `p.grad` itself.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        *,
        rank: int,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        update_gap: int = 1,
        error_feedback: bool = False,
        rotate: bool = True,
        max_size: int = 32_000,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, locals())

    def validate(self, group: dict[str, Any]) -> None:
        """Raise a ValueError with a sentence for a hyperparameter outside its range."""
        super().validate(group)
        check("update_gap", group["update_gap"], "a whole number >= 1", is_count)

    def begin(self, matrix: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """Return the first state of a matrix."""
        rank = min(group["rank"], matrix.shape[1])
        names = ("exp_avg", "exp_avg_sq")
        state = {name: matrix.new_zeros(len(matrix), rank) for name in names}
        state["columns"] = torch.zeros(rank, dtype=torch.int32, device=matrix.device)
        if group["error_feedback"]:
            state["error"] = torch.zeros_like(matrix)
        return state

    def change(
        self, grads: Tensor, state: dict[str, Tensor], group: dict[str, Any], p: Tensor
    ) -> Tensor:
        """Return what to add to matrices shaped like `p`, turned and stacked; renew their state."""
        step = self.state[p]["step"]
        total = grads + state["error"] if "error" in state else grads
        due = step == 1 or step % group["update_gap"] == 0
        basis, g = self.project(total, state, due, group["rotate"])
        if "error" in state:
            torch.sub(total, g @ basis.mT, out=state["error"])
        change = torch.zeros_like(g)
        numbers = self.coefficients(group, step)
        self.update(change, g, state["exp_avg"], state["exp_avg_sq"], **numbers)
        return change @ basis.mT

    def project(
        self, matrices: Tensor, state: dict[str, Tensor], due: bool, rotate: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the basis, chosen anew where that is due, and the matrices' coefficients in it."""
        n, dtype = matrices.shape[-1], matrices.dtype
        if not due:
            basis = dct_columns(state["columns"], n, dtype=dtype)
            return basis, matrices @ basis
        columns, g = dct_column_projection(matrices, state["exp_avg"].shape[-1])
        if rotate:
            before = state["columns"].long()
            place = torch.searchsorted(before, columns).clamp_(max=before.shape[-1] - 1)
            stays = (before.gather(-1, place) == columns)[..., None, :]
            for moment in (state["exp_avg"], state["exp_avg_sq"]):
                kept = torch.take_along_dim(moment, place[..., None, :], dim=-1)
                moment.copy_(kept.masked_fill_(~stays, 0))
        state["columns"].copy_(columns)
        return dct_columns(columns, n, dtype=dtype), g
