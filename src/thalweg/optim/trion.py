"""Trion: an orthogonal step in the span of a few cosines, chosen anew for every momentum."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from thalweg.optim._base import check
from thalweg.optim._projected import ProjectedOptimizer
from thalweg.optim.dct_projection import dct_column_projection, dct_columns


class Trion(ProjectedOptimizer):
    """Muon within `rank` columns of the DCT matrix Q, the rest of the momentum kept for later.

        M = M + G                                        G is turned so that its n columns are fewer
        P = the `rank` columns of Q with the largest |M Q|_1;  b = M P
        M = M - (1 - momentum) b P^T                     what is not in P does not decay
        O = b (b^T b)^(-1/2), about                      by Newton and Schulz, five iterations
        W = (1 - lr weight_decay) W - lr scale O P^T

    Biases, convolution kernels and whatever else is no matrix, and matrices with a side of
    `max_size` or more, get AdamW at the same `lr`.

    Use it in place of Muon for wide layers, where orthogonalising `rank` columns costs less than
    all, or of Dion, to spare its QR decomposition and its basis. Avoid it to save memory next to
    Muon: both keep one number per weight, half of AdamW's. Cost: a transform, O(m n log n), two
    products, O(m n r), and an orthogonalisation, O(m r^2), for a matrix of m >= n.

    Args:
        params: Parameters, named parameters or groups of them. With `adjust_lr_fn="original"`
            AdamW wants a rate much below that of the matrices: give what is no matrix, embeddings
            and output layers a group of its own (the authors: lr 3e-4 beside 0.02).
        lr: Learning rate, >= 0.
        rank: Columns of Q to step in, >= 1; all from the smaller side of a matrix on.
        momentum: Share of the momentum in P that a step leaves, in [0, 1).
        weight_decay: Decoupled decay towards zero, >= 0; 0 for none.
        adjust_lr_fn: The scale of a matrix of R rows and C columns, as in `torch.optim.Muon`:
            "original", max(1, R / C)^(1/2), or "match_rms_adamw", 0.2 max(R, C)^(1/2), with which
            a learning rate of AdamW's serves all parameters.
        betas: AdamW's, each in [0, 1).
        eps: AdamW's, >= 0.
        max_size: A matrix with a side as long as this, >= 1, gets AdamW: a vocabulary's.
        maximize: Ascend instead of descend.

    Raises:
        ValueError: If a hyperparameter is outside its range or a parameter is complex or sharded.

    Example:
        >>> import torch
        >>> from thalweg.optim import Trion
        >>> layer = torch.nn.Linear(64, 64, bias=False)
        >>> optimizer = Trion(layer.parameters(), lr=0.02, rank=16)
        >>> before = layer.weight.detach().clone()
        >>> layer(torch.randn(100, 64)).square().sum().backward()
        >>> optimizer.step()
        >>> int(torch.linalg.matrix_rank(layer.weight - before, rtol=1e-3))
        16

    Paper: FFT-based Dynamic Subspace Selection for Low-Rank Adaptive Optimization of Large
        Language Models, 2025, arXiv 2505.17967. Differs: the iterations run in the parameters'
        precision, the authors' in bfloat16.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.02,
        *,
        rank: int,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        adjust_lr_fn: Literal["original", "match_rms_adamw"] = "original",
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-10,
        max_size: int = 32_000,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, locals())

    def validate(self, group: dict[str, Any]) -> None:
        """Raise a ValueError with a sentence for a hyperparameter outside its range."""
        super().validate(group)
        check("momentum", group["momentum"], "in [0, 1)", lambda mu: 0 <= mu < 1)
        names = "original", "match_rms_adamw"
        check("adjust_lr_fn", group["adjust_lr_fn"], " or ".join(names), lambda x: x in names)

    def begin(self, matrix: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """Return the first state of a matrix."""
        return {"momentum_buffer": torch.zeros_like(matrix)}

    def change(
        self, grads: Tensor, state: dict[str, Tensor], group: dict[str, Any], p: Tensor
    ) -> Tensor:
        """Return what to add to matrices shaped like `p`, turned and stacked; renew their state."""
        rows, columns = p.shape
        original = group["adjust_lr_fn"] == "original"
        scale = math.sqrt(max(1, rows / columns) if original else 0.04 * max(rows, columns))
        left, right = self.factors(grads, state, group)
        change: Tensor = (-group["lr"] * scale * left) @ right.mT
        return change

    def factors(
        self, grads: Tensor, state: dict[str, Tensor], group: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """Return the two factors of the orthogonal step; renew the state."""
        buffer = state["momentum_buffer"]
        n = buffer.shape[-1]
        indices, b = dct_column_projection(buffer.add_(grads), min(group["rank"], n))
        basis = dct_columns(indices, n, dtype=buffer.dtype)
        buffer.sub_((1 - group["momentum"]) * (b @ basis.mT))
        return _orthogonal(b), basis


def _orthogonal(x: Tensor) -> Tensor:
    """Bring the singular values of tall matrices near one, by Muon's quintic iteration."""
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x.mT @ x
        x = 3.4445 * x + x @ (-4.7750 * gram + 2.0315 * gram @ gram)
    return x
