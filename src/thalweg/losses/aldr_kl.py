"""ALDR-KL: the LDR-KL loss with a temperature found for each sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thalweg.losses._base import Reduction
from thalweg.losses._processes import of_all_processes
from thalweg.losses.ldr_kl import LDRKL, _tempered

_PART = 2**18  # numbers


class ALDRKL(LDRKL):
    """The worst distribution over labels, and with it the temperature that the sample asks for.

        loss  = max over p, lam of sum p_k * d_k - lam * KL(p, uniform)
                - alpha * log(C) / (2 * lam0) * (lam - lam0)^2         d_k as in LDRKL
        p     = softmax(d / lam_i)                                     with lam_i of the last visit
        lam_i = lam0 - lam0 / (alpha * log C) * KL(p, uniform)         then the loss, without max

    A sample whose scores are sure of a class gets a lower temperature, down to that of
    lam0 * (1 - 1 / alpha), and is learned firmly; one whose scores are not, as those of wrong
    labels, keeps one near `lam0`, at which wrong labels mislead less.

    Use it where an unknown share of the labels is wrong and samples have an index. Avoid it where
    probabilities are wanted, as LDRKL. Cost: a second set of exponentials, with which it is
    one and a half times cross-entropy, and one number a sample; in distributed training the index
    and temperature of each sample of a batch go to all processes, each of which must call the loss
    as often as the others.

    Args:
        n_samples: In the training data; every `index` is below it.
        lam0: Temperature that samples start from, > 0, in units of the scores f.
        alpha: How firmly temperatures are held near `lam0`, > 1.
        margin: By which the target's score is asked to exceed the others', >= 0, in these units.
        normalize: Divide the scores by their mean size, without which `lam0` and `margin` have no
            scale.
        weight: Of each class, shape (C,).
        ignore_index: Samples with this class index add nothing.
        reduction: ``mean``, ``sum`` or ``none``, as in :class:`torch.nn.CrossEntropyLoss`.

    Returns:
        From ``loss(input, target, index)``: the loss of scores (N, C), where `index` is each
        sample's position in the data, (N,), whatever the order and the process it is seen in. In
        evaluation mode temperatures stay, and without `index` all are `lam0`.

    Raises:
        ValueError: If an argument is outside its range or shapes do not fit.

    Example:
        >>> import torch
        >>> from thalweg.losses import ALDRKL
        >>> loss, scores = ALDRKL(100, lam0=1.0), torch.tensor([[9.0, 1.0, 1.0], [3.0, 2.0, 2.0]])
        >>> value = loss(scores, torch.tensor([0, 0]), index=torch.tensor([41, 7]))
        >>> [round(loss.temperature[i].item(), 2) for i in (41, 7, 0)]  # sure, unsure, not seen
        [0.79, 0.99, 1.0]

    Paper: Label Distributionally Robust Losses for Multi-class Classification: Consistency,
        Robustness and Adaptivity, 2021, arXiv 2112.14869. Differs: p is softmax(d / lam), as the
        closed form has it, where the authors' code leaves the margin out and adds 1e-5; where a
        batch holds a sample twice the higher temperature is kept; else as LDRKL.
    """

    temperature: Tensor

    def __init__(
        self,
        n_samples: int,
        lam0: float = 10.0,
        alpha: float = 2.0,
        margin: float = 0.1,
        *,
        normalize: bool = True,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            lam0,
            margin,
            normalize=normalize,
            weight=weight,
            ignore_index=ignore_index,
            reduction=reduction,
        )
        if n_samples < 1:
            raise ValueError(f"n_samples is {n_samples}; give how many the training data has")
        if not alpha > 1:
            raise ValueError(f"alpha is {alpha}; only above 1 do temperatures stay above 0")
        self.alpha = alpha
        self.register_buffer("temperature", torch.full((n_samples,), float(lam0)))

    def forward(self, input: Tensor, target: Tensor, index: Tensor | None = None) -> Tensor:
        """Return the loss of scores (N, C) of the samples `index`; in training adapt their lam.

        Args:
            input: A score of each class.
            target: Class indices, (N,), or probabilities, (N, C).
            index: Position of each sample in the training data, (N,).

        Raises:
            ValueError: Where shapes or types do not fit together.
        """
        if index is None and not self.training:
            return super().forward(input, target)
        self._check(input, target)
        fits = input.dim() == 2 and input.shape[1] > 1
        if index is None or not fits or index.shape != input.shape[:1]:
            raise ValueError(
                f"input has shape {tuple(input.shape)} and index "
                f"{None if index is None else tuple(index.shape)}; give scores (N, C) "
                "of at least 2 classes, and the position of each sample in the training data, (N,)"
            )
        z, size, labels, shares = given = self._given(input, target)
        log_c = math.log(z.shape[1])
        lam = self.temperature[index].to(z.dtype).unsqueeze(1)
        if self.training:
            with torch.no_grad():
                matrices = z, lam * size, labels, -self.margin / lam * shares
                # In parts that fit a cache, for which no memory need be found.
                rows = _PART // z.shape[1] + 1
                parts = zip(*(torch.split(x, rows) for x in matrices), strict=True)
                divergence = torch.cat([_divergence(*part) for part in parts])
                lam = self.lam - self.lam / (self.alpha * log_c) * divergence
                self._remember(index, lam.squeeze(1))
        anchor = self.alpha * log_c / (2 * self.lam) * (lam - self.lam).square()
        return self._loss(*given, target, lam, anchor).to(input.dtype)

    def _remember(self, index: Tensor, lam: Tensor) -> None:
        memory = self.temperature
        index, lam = of_all_processes(index.to(memory.device), lam.to(memory.dtype))
        # Of several visits at once the highest counts, which no order of the samples changes.
        memory.scatter_reduce_(0, index, lam, "amax", include_self=False)

    def extra_repr(self) -> str:
        """Return the settings for printing."""
        return f"n_samples={len(self.temperature)}, alpha={self.alpha}, {super().extra_repr()}"


def _divergence(z: Tensor, unit: Tensor, labels: Tensor, shift: Tensor) -> Tensor:
    """Return KL(p, uniform), where p is the softmax of the tempered scores."""
    u = _tempered(z, unit, labels, shift)
    p = u.exp()
    total = p.sum(1, keepdim=True)
    return p.mul_(u).sum(1, keepdim=True) / total - total.log() + math.log(z.shape[1])
