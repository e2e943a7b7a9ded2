"""DiffGrad: Adam whose steps shrink where the gradient hardly changes."""

from __future__ import annotations

from torch import Tensor
from torch.optim.optimizer import ParamsT

from thalweg.optim._base import ElementwiseOptimizer, average_


class DiffGrad(ElementwiseOptimizer):
    """Adam with a friction: a coordinate whose gradient stays the same takes half of Adam's step.

        exp_avg    = beta1 * exp_avg    + (1 - beta1) * g
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g^2
        friction   = 1 / (1 + exp(-|previous_grad - g|))                      in [1/2, 1)
        p = p - lr * friction * (exp_avg / (1 - beta1^t)) / (sqrt(exp_avg_sq / (1 - beta2^t)) + eps)

    Use it when Adam overshoots narrow minima, or rushes past good ones on its momentum. Avoid it
    when gradients are small throughout (|change| << 1): friction is then 1/2 everywhere and this
    is Adam at half the learning rate; compare the two only after tuning `lr` for each. Cost: three
    tensors of state per parameter where Adam has two, and one exponential per element.

    Args:
        params: Parameters, named parameters or groups of them.
        lr: Learning rate, >= 0.
        betas: Decay rates of the averages of the gradient and of its square, each in [0, 1).
        eps: Added to the denominator, >= 0.
        weight_decay: Strength of the decay towards zero, >= 0; 0 for none.
        decoupled_weight_decay: Shrink `p` by `lr * weight_decay` apart from the step (as AdamW)
            instead of adding `weight_decay * p` to the gradient. Acts if `weight_decay > 0`.
        maximize: Ascend instead of descend.
        compile: Run the update through `torch.compile`: faster, same numbers up to rounding.
            Schedules of `lr` and `betas` compile nothing anew.

    Raises:
        ValueError: If a hyperparameter is outside its range or a parameter is complex.

    Example:
        >>> import torch
        >>> from thalweg.optim import DiffGrad
        >>> p = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = DiffGrad([p], lr=0.1)
        >>> p.square().sum().backward()
        >>> optimizer.step()
        >>> round(p.item(), 4)  # 1 - 0.1 / (1 + exp(-2))
        0.9119

    Paper: diffGrad: An Optimization Method for Convolutional Neural Networks, 2019,
        arXiv 1909.11015. Differs: `eps` is added to the bias-corrected root, as in the paper; the
        authors' code adds it before the correction. Their first code compares the gradient with
        itself, a bug they name and mend in their second; the paper says nothing of weight decay,
        which is theirs here (added to the gradient) unless decoupled.
    """

    state_names = ("exp_avg", "exp_avg_sq", "previous_grad")
    constants = ("weight_decay", "decoupled_weight_decay")

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        maximize: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__(params, locals())

    @staticmethod
    def update(
        p: Tensor,
        g: Tensor,
        exp_avg: Tensor,
        exp_avg_sq: Tensor,
        previous_grad: Tensor,
        *,
        rate: float,
        eps: float,
        keep: float,
        weight1: float,
        weight2: float,
        weight_decay: float,
        decoupled_weight_decay: bool,
    ) -> None:
        """Apply one step to tensors of one shape, in place."""
        if weight_decay and decoupled_weight_decay:
            p.mul_(keep)
        elif weight_decay:
            g = g + weight_decay * p
        average_(exp_avg, g, weight1)
        average_(exp_avg_sq, g * g, weight2)
        friction = previous_grad.sub_(g).abs_().sigmoid_()
        p.addcdiv_(friction.mul_(exp_avg), exp_avg_sq.sqrt().add_(eps), value=-rate)
        previous_grad.copy_(g)
