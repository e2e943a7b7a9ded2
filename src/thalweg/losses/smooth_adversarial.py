"""SmoothAdversarialCompSum: a loss on clean samples and on how far an attack moves their scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thalweg.losses._base import Reduction, reduce
from thalweg.losses.comp_sum import CompSum


class SmoothAdversarialCompSum(nn.Module):
    """A comp-sum loss, and the distance by which an attack moves the margins of the target.

        D(x) = o[target] - o[c] for all other classes c, of the scores o at x
        loss = CompSum(tau) of o / rho + nu * |D(x') - D(x)|
        x' = argmax of |D(x') - D(x)| over the ball around x, as found by an attack

    Use it to train networks that withstand small changes of their inputs, as TRADES does: the
    attack is :func:`thalweg.losses.pgd` with :meth:`shift` as objective. Avoid it where inputs
    cannot be changed a little, as token ids; each step costs the gradients of the attack besides.
    From nu = sqrt(C - 1) / rho on it is an upper bound of the adversarial loss with margin rho.
    Cost: of the loss itself twice that of cross-entropy.

    Args:
        tau: Member of the family, >= 0, as in :class:`thalweg.losses.CompSum`.
        rho: Margin of the scores that counts as 1, > 0.
        nu: Weight of the attack, >= 0.
        reduction: ``mean``, ``sum`` or ``none``.

    Returns:
        From ``loss(input, target, perturbed)``: the loss of clean scores (N, C), class indices
        (N,), and the scores of the perturbed inputs, (N, C).

    Raises:
        ValueError: If an argument is outside its range or shapes do not fit.

    Example:
        >>> import torch
        >>> from thalweg.losses import SmoothAdversarialCompSum, pgd
        >>> model, x, y = torch.nn.Linear(4, 3), torch.rand(8, 4), torch.arange(8) % 3
        >>> loss = SmoothAdversarialCompSum()
        >>> clean = model(x)
        >>> attacked = pgd(model, x, lambda o: loss.shift(clean.detach(), y, o), radius=0.1)
        >>> loss(clean, y, model(attacked)).backward()

    Paper: Cross-Entropy Loss Functions: Theoretical Analysis and Applications, 2023, arXiv
        2304.07288. Differs: the paper's settings for CIFAR could not be compared with the defaults;
        weight decay is the optimizer's.
    """

    def __init__(
        self,
        tau: float = 0.4,
        *,
        rho: float = 1.0,
        nu: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        if not rho > 0:
            raise ValueError(f"rho is {rho}; the margin must be above 0")
        if not nu >= 0:
            raise ValueError(f"nu is {nu}; the weight of the attack must not be below 0")
        self.comp_sum = CompSum(tau, reduction=reduction)
        self.rho, self.nu = rho, nu

    def forward(self, input: Tensor, target: Tensor, perturbed: Tensor) -> Tensor:
        """Return the loss of clean scores, class indices and the scores of perturbed inputs."""
        moved = self.shift(input, target, perturbed)
        clean: Tensor = self.comp_sum(input / self.rho, target)
        return clean + self.nu * reduce(moved, self.comp_sum.reduction)

    def shift(self, input: Tensor, target: Tensor, perturbed: Tensor) -> Tensor:
        """Return how far each sample's margins have moved, (N,): what an attack is to maximise."""
        if input.dim() != 2 or target.shape != input.shape[:1] or target.is_floating_point():
            raise ValueError(
                f"scores have shape {tuple(input.shape)}, the target {tuple(target.shape)} and "
                f"type {target.dtype}; give scores (N, C) and class indices (N,)"
            )
        if perturbed.shape != input.shape:
            raise ValueError(
                f"the perturbed scores have shape {tuple(perturbed.shape)}, the clean ones "
                f"{tuple(input.shape)}; give scores of the same samples"
            )
        moved = perturbed - input
        margins = moved.gather(1, target.unsqueeze(1)) - moved
        distance: Tensor = torch.linalg.vector_norm(margins, dim=1)
        return distance

    def extra_repr(self) -> str:
        """Return the settings for printing."""
        return f"rho={self.rho}, nu={self.nu}"
