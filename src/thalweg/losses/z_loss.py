"""ZLoss: how many standard deviations the target's score lies above the mean score."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg.losses._base import ClassificationLoss, Reduction


class ZLoss(ClassificationLoss):
    """A softplus of the target's score, standardised over the classes: blind to shift and scale.

        mu, sigma = mean and root of (variance + eps) of the scores o over the C classes
        z = (o[target] - mu) / sigma
        loss = log(1 + exp(a * (b - z))) / a

    Not the "z-loss" of language models, a penalty on the softmax's log normaliser.

    Use it for very many classes, where :class:`thalweg.nn.SphericalLinear` makes a step cost the
    same for a million of them as for a thousand; and where the target should be among the top
    few: lower `a` and `b` attend to more of them. Avoid it where probabilities are needed, as
    scores are only ranked; and after a last layer of zeros, where the gradient has no bound but
    1 / sqrt(eps). Cost: as cross-entropy on given scores.

    Args:
        a: Hardness of the softplus, > 0.
        b: The z that is asked for; no z can exceed sqrt(C - 1).
        eps: Added to the variance, > 0, in squared units of the scores: below sqrt(eps) the loss
            is no longer blind to scale.
        weight: Of each class, shape (C,).
        ignore_index: Samples with this class index add nothing.
        reduction: ``mean``, ``sum`` or ``none``, as in :class:`torch.nn.CrossEntropyLoss`.

    Returns:
        From ``loss(input, target)``: the loss of scores (N, C), (N, C, ...) or (C,). With
        probabilities as target it is the mean of the classes' losses under them.

    Raises:
        ValueError: If an argument is outside its range or shapes do not fit.

    Example:
        >>> import torch
        >>> from thalweg.losses import ZLoss
        >>> loss, scores = ZLoss(a=1.0, b=2.0), torch.tensor([[3.0, 0.0, 0.0]])
        >>> round(loss(scores, torch.tensor([0])).item(), 4)  # z = sqrt(2)
        1.0283
        >>> round(loss(10 * scores - 7, torch.tensor([0])).item(), 4)
        1.0283

    Paper: The Z-loss: a shift and scale invariant classification loss belonging to the Spherical
        Family, 2016, arXiv 1604.08859. Differs: `eps` is added to the variance, in the authors'
        code to sigma, whose gradient at equal scores is not finite; defaults are those of that
        code, the paper selects `a` and `b` for each task; probabilities as target.
    """

    def __init__(
        self,
        a: float = 1.0,
        b: float = 0.0,
        *,
        eps: float = 1e-12,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        if not a > 0:
            raise ValueError(f"a is {a}; the hardness of the softplus must be above 0")
        if not eps > 0:
            raise ValueError(f"eps is {eps}; what is added to the variance must be above 0")
        self.a, self.b, self.eps = a, b, eps

    def per_class(self, logits: Tensor, shares: Tensor) -> Tensor:
        """Return each class's loss times its share in the target."""
        mean, sigma = _mean_and_deviation(logits, self.eps)
        return shares * self._of_z((logits - mean) / sigma)

    def _each(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        if target.is_floating_point():
            return super()._each(logits, target)
        mean, sigma = _mean_and_deviation(logits, self.eps)
        share = self._counts(target, logits.dtype)
        chosen = logits.gather(-1, self._kept(target)[0].unsqueeze(-1))
        return share * self._of_z((chosen - mean) / sigma).squeeze(-1), share

    def from_statistics(
        self, chosen: Tensor, mean: Tensor, mean_square: Tensor, target: Tensor
    ) -> Tensor:
        """Return the loss from all it needs to know of the scores.

        Args:
            chosen: The targets' scores, (N,).
            mean: Of all classes' scores, (N,).
            mean_square: Of all classes' scores, (N,).
            target: Class indices, (N,).
        """
        sigma = ((mean_square - mean.square()).clamp(min=0) + self.eps).sqrt()
        share = self._counts(target, chosen.dtype)
        return self._reduce(share * self._of_z((chosen - mean) / sigma), share)

    def extra_repr(self) -> str:
        """Return the settings for printing."""
        return f"a={self.a}, b={self.b}, eps={self.eps}, {super().extra_repr()}"

    def _of_z(self, z: Tensor) -> Tensor:
        return -F.logsigmoid(self.a * (z - self.b)) / self.a


def _mean_and_deviation(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    found: tuple[Tensor, Tensor] = _MeanAndDeviation.apply(x, eps)  # type: ignore[no-untyped-call]
    return found


class _MeanAndDeviation(torch.autograd.Function):
    """Mean and root of (variance + eps) of each row, with one pass over the scores backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        mean = x.mean(-1, keepdim=True)
        # In units of its span, as the square of a large score does not fit into single precision.
        span = (x.amax(-1, keepdim=True) - x.amin(-1, keepdim=True)).clamp(min=1e-30)
        length = torch.linalg.vector_norm((x - mean).div_(span), 2, -1, keepdim=True)
        variance = (length.double() * span).square() / x.shape[-1]
        return mean, (variance + eps).sqrt().to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(inputs[0], *output)

    @staticmethod
    def backward(ctx: Any, of_mean: Tensor, of_sigma: Tensor) -> tuple[Tensor, None]:
        x, mean, sigma = ctx.saved_tensors
        slope = of_sigma / sigma / x.shape[-1]
        return torch.addcmul(of_mean / x.shape[-1] - mean * slope, x, slope), None
