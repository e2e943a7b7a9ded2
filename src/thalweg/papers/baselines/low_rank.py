"""What low-rank optimizers are measured against: the same steps in subspaces by SVD and QR."""

from typing import Any

import torch
from torch import Tensor

from thalweg.core.method import Interval
from thalweg.optim import DCTAdamW, Trion
from thalweg.training.methods import optimizer_method

_LR = Interval(1e-5, 1e-1, log=True)
_DECOUPLED = Interval(1e-4, 1.0, log=True)


class SVDAdamW(DCTAdamW):
    """AdamW in the span of a gradient's leading singular vectors, as GaLore."""

    def begin(self, matrix: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """Return the first state of a matrix."""
        state = super().begin(matrix, group)
        state["basis"] = matrix.new_zeros(matrix.shape[1], len(state.pop("columns")))
        return state

    def project(
        self, matrices: Tensor, state: dict[str, Tensor], due: bool, rotate: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the basis, found anew where that is due, and the matrices' coefficients in it."""
        basis = state["basis"]
        if due:
            vectors = torch.linalg.svd(matrices, full_matrices=False).Vh
            found = vectors[..., : basis.shape[-1], :].mT
            if rotate:
                turn = basis.mT @ found
                state["exp_avg"].copy_(state["exp_avg"] @ turn)
                state["exp_avg_sq"].copy_((state["exp_avg_sq"] @ turn).abs_())
            basis.copy_(found)
        return basis, matrices @ basis


class Dion(Trion):
    """Muon in a subspace that one power iteration a step keeps up with the momentum."""

    def begin(self, matrix: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """Return the first state of a matrix."""
        shape = matrix.shape[1], min(group["rank"], matrix.shape[1])
        start = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        return {**super().begin(matrix, group), "basis": start.to(matrix)}

    def factors(
        self, grads: Tensor, state: dict[str, Tensor], group: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """Return the two factors of the orthogonal step; renew the state."""
        buffer, basis = state["momentum_buffer"], state["basis"]
        buffer.add_(grads)
        left = torch.linalg.qr(buffer @ basis).Q
        right = buffer.mT @ left
        buffer.sub_((1 - group["momentum"]) * left @ right.mT)
        basis.copy_(right / (torch.linalg.vector_norm(right, dim=-2, keepdim=True) + 1e-8))
        return left, basis


METHODS = (
    optimizer_method(
        "svd-adamw",
        SVDAdamW,
        takes=("lr", "rank", "weight_decay", "update_gap", "error_feedback", "rotate"),
        defaults={"rank": 16, "update_gap": 200, "rotate": False},
        space={"lr": _LR, "weight_decay": _DECOUPLED},
    ),
    optimizer_method(
        "dion",
        Dion,
        takes=("lr", "rank", "momentum", "weight_decay", "adjust_lr_fn"),
        defaults={"lr": 1e-3, "rank": 16, "adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.01},
        space={"lr": _LR, "weight_decay": _DECOUPLED},
    ),
)
