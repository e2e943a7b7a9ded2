"""AdaHessian: Adam with the Hessian's diagonal in place of the gradient's square."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from thalweg.optim._base import ElementwiseOptimizer, adam_coefficients, average_, check
from thalweg.optim._distributed import average_over_processes, is_distributed
from thalweg.optim._hessian import hessian_products


class AdaHessian(ElementwiseOptimizer):
    """Adam whose step is divided by an estimate of the curvature along each coordinate.

        z = random signs                                        one per element of the parameters
        h = |gradient of <g, z>|                                = |H z|, one more backward pass
        h = mean of h over the spatial dimensions               of convolution kernels
        exp_avg             = beta1 * exp_avg             + (1 - beta1) * g
        exp_hessian_diag_sq = beta2 * exp_hessian_diag_sq + (1 - beta2) * h^2
        d = sqrt(exp_hessian_diag_sq / (1 - beta2^t))^hessian_power + eps
        p = p - lr * (exp_avg / (1 - beta1^t) / d + weight_decay * p)

    The optimizer differentiates the gradients, so they must carry their graph: call
    `loss.backward(create_graph=True)` before `step()`, or in the closure. `step` frees the graph
    and leaves `p.grad` with its values. torch warns once that such a backward forms a reference
    cycle; `step` breaks it, and setting `p.grad` from `torch.autograd.grad(loss, params,
    create_graph=True)` forms none.

    In distributed training torch cannot differentiate through its own averaging: run forward and
    backward under `model.no_sync()`. Whenever `torch.distributed` is initialised, `step` averages
    gradients and curvature over the default process group itself.

    Use it when the problem is badly scaled, or tuning Adam's `lr` for each part of a model is the
    burden. Avoid it when memory is short (the graph is kept until `step`) or an operation lacks a
    second derivative (fused attention, some CUDA kernels). Cost: one product with the Hessian per
    refresh, about a second backward pass, and two tensors of state per parameter, as Adam; three
    if `hessian_interval > 1`.

    Attributes:
        hessian_products: Products with the Hessian computed since construction.

    Args:
        params: Parameters, named parameters or groups of them.
        lr: Learning rate, >= 0; on another scale than Adam's.
        betas: Decay rates of the averages of the gradient and of the squared curvature, in [0, 1).
        eps: Added to the denominator, >= 0.
        weight_decay: Decoupled decay towards zero, >= 0; 0 for none.
        hessian_power: Exponent of the curvature in [0, 1]: 1 is the method, 0 is momentum alone.
        hessian_interval: Steps from one product with the Hessian to the next, >= 1. In between
            the last estimate is used and the gradients need no graph.
        spatial_average: Average the curvature over the dimensions after the second. Turn it off
            for parameters of three or more dimensions that are not convolution kernels.
        seed: Of the random signs, which are a function of the seed, the parameters and their step
            count: a resumed run draws on, equal processes draw alike, and torch's own generators
            are not touched.
        maximize: Ascend instead of descend.
        compile: Run the update through `torch.compile`: faster, same numbers up to rounding.
            Schedules of `lr` and `betas` compile nothing anew.

    Raises:
        ValueError: If a hyperparameter is outside its range or a parameter is complex.

    Example:
        >>> import torch
        >>> from thalweg.optim import AdaHessian
        >>> p = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
        >>> optimizer = AdaHessian([p], lr=1.0, betas=(0.0, 0.0), eps=0.0)
        >>> loss = (torch.tensor([1.0, 100.0]) * p**2).sum()
        >>> loss.backward(create_graph=True)
        >>> optimizer.step()  # Newton's step, for the Hessian is diagonal
        >>> p.tolist()
        [0.0, 0.0]

    Paper: ADAHESSIAN: An Adaptive Second Order Optimizer for Machine Learning, 2020,
        arXiv 2006.00719. Differs: the paper averages the signed estimate z * Hz over a block, the
        authors' code |Hz|, as here; they agree for blocks of one element. Of the paper's blocks
        this has the convolution kernels'; other parameters have blocks of one.
    """

    state_names = ("exp_avg", "exp_hessian_diag_sq")
    constants = ("hessian_power", "weight_decay")
    hessian_products = 0
    _step_supports_amp_scaling = True  # a GradScaler then sets these and leaves the rest to step
    grad_scale: Tensor | None
    found_inf: Tensor | None

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.15,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-4,
        weight_decay: float = 0.0,
        hessian_power: float = 1.0,
        hessian_interval: int = 1,
        spatial_average: bool = True,
        seed: int = 0,
        maximize: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__(params, locals())

    def validate(self, group: dict[str, Any]) -> None:
        """Raise a ValueError with a sentence for a hyperparameter outside its range."""
        super().validate(group)
        power, interval = group["hessian_power"], group["hessian_interval"]
        check("hessian_power", power, "in [0, 1]", lambda k: 0 <= k <= 1)
        check("hessian_interval", interval, "a whole number >= 1", lambda n: n >= 1 and n % 1 == 0)
        if any(hasattr(p, "device_mesh") for p in group.get("params", ())):
            raise ValueError(
                "AdaHessian takes whole parameters, because no graph passes fully_shard: "
                "train with DistributedDataParallel."
            )

    def coefficients(self, group: dict[str, Any], step: int) -> dict[str, float]:
        """Return the numbers in `update` that change from step to step."""
        return adam_coefficients(group, step, group["hessian_power"] / 2)

    @staticmethod
    def update(
        p: Tensor,
        g: Tensor,
        h: Tensor,
        exp_avg: Tensor,
        exp_hessian_diag_sq: Tensor,
        *,
        rate: float,
        eps: float,
        keep: float,
        weight1: float,
        weight2: float,
        hessian_power: float,
        weight_decay: float,
    ) -> None:
        """Apply one step to tensors of one shape, in place."""
        average_(exp_avg, g, weight1)
        average_(exp_hessian_diag_sq, h * h, weight2)
        denominator = exp_hessian_diag_sq.pow(hessian_power / 2).add_(eps)
        if weight_decay:
            p.mul_(keep)
        p.addcdiv_(exp_avg, denominator, value=-rate)

    def prepare(self) -> bool:
        """Estimate the curvature, free the graph, average over processes, undo loss scaling."""
        scale, overflow = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        if overflow is not None and scale is None:
            del self.grad_scale, self.found_inf  # which the scaler only does after a good step
            raise RuntimeError(
                "AdaHessian unscales the curvature together with the gradients: leave out "
                "scaler.unscale_(optimizer) before scaler.step(optimizer)."
            )
        if overflow is not None and is_distributed():
            raise RuntimeError(
                "AdaHessian takes no GradScaler in distributed training, where one process may "
                "overflow and another not: train in bfloat16 or float32."
            )
        groups = {p: group for group in self.param_groups for p in group["params"]}
        self._fresh = {} if overflow else self._products(groups)
        for p in (trained := [p for p in groups if p.grad is not None]):
            p.grad = p.grad.detach()
        measured = [*(p.grad for p in trained), *self._fresh.values()]
        if is_distributed():
            average_over_processes(measured)
        if scale is not None:
            torch._foreach_div_(measured, scale)
        for p, product in self._fresh.items():
            if groups[p]["spatial_average"] and p.ndim > 2:
                means = product.abs().mean(tuple(range(2, p.ndim)), keepdim=True)
                self._fresh[p] = means.expand_as(p).contiguous()
            if groups[p]["hessian_interval"] > 1:
                self.state[p]["hessian_diag"] = self._fresh[p]
        return not overflow

    def inputs(self, p: Tensor) -> list[Tensor]:
        """Return gradient and curvature."""
        h = self._fresh.pop(p, None)
        return [*super().inputs(p), self.state[p]["hessian_diag"] if h is None else h]

    def _products(self, groups: dict[Tensor, dict[str, Any]]) -> dict[Tensor, Tensor]:
        """Return Hz for the parameters whose estimate is due."""
        due: dict[Tensor, tuple[int, ...]] = {}
        for p, group in groups.items():
            state = self.state.get(p, {})
            step = state.get("step", 0)
            stale = step % group["hessian_interval"] == 0 or "hessian_diag" not in state
            if p.grad is not None and stale:
                due[p] = group["seed"], step
        products = hessian_products(due)
        self.hessian_products += bool(products)
        return products
