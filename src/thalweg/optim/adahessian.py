"""AdaHessian: Adam with the Hessian's diagonal in place of the gradient's square."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.optim.optimizer import ParamsT

from thalweg.optim._base import ElementwiseOptimizer, check


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
            A schedule of `lr` compiles nothing anew, other betas do.

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

    needs_graph = True
    state_names = ("exp_avg", "exp_hessian_diag_sq")
    constants = ("betas", "hessian_power", "weight_decay")
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
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "hessian_power": hessian_power,
            "hessian_interval": hessian_interval,
            "spatial_average": spatial_average,
            "seed": seed,
            "maximize": maximize,
            "compile": compile,
        }
        super().__init__(params, defaults)

    def validate(self, group: dict[str, Any]) -> None:
        """Raise a ValueError with a sentence for a hyperparameter outside its range."""
        super().validate(group)
        check("hessian_power", group["hessian_power"], "in [0, 1]", lambda k: 0 <= k <= 1)
        check(
            "hessian_interval",
            group["hessian_interval"],
            "a whole number >= 1",
            lambda n: n >= 1 and n == int(n),
        )

    def coefficients(self, group: dict[str, Any], step: int) -> dict[str, float]:
        """Return the numbers in `update` that change from step to step."""
        beta1, beta2 = group["betas"]
        unit = (1 - beta2**step) ** (group["hessian_power"] / 2)
        return {
            "rate": group["lr"] * unit / (1 - beta1**step),
            "eps": group["eps"] * unit,
            "keep": 1 - group["lr"] * group["weight_decay"],
        }

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
        betas: tuple[float, float],
        hessian_power: float,
        weight_decay: float,
    ) -> None:
        """Apply one step to tensors of one shape, in place."""
        beta1, beta2 = betas
        exp_avg.lerp_(g, 1 - beta1)
        exp_hessian_diag_sq.lerp_(h * h, 1 - beta2)
        denominator = exp_hessian_diag_sq.pow(hessian_power / 2).add_(eps)
        if weight_decay:
            p.mul_(keep)
        p.sub_((exp_avg * rate).div_(denominator))

    def prepare(self) -> bool:
        """Estimate the curvature, free the graph, average over processes, undo loss scaling."""
        scale, overflow = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        if overflow is not None and scale is None:
            del self.grad_scale, self.found_inf  # which the scaler only does after a good step
            raise RuntimeError(
                "AdaHessian unscales the curvature together with the gradients: leave out "
                "scaler.unscale_(optimizer) before scaler.step(optimizer)."
            )
        if overflow is not None and _distributed():
            raise RuntimeError(
                "AdaHessian takes no GradScaler in distributed training, where one process may "
                "overflow and another not: train in bfloat16 or float32."
            )
        self._fresh = {} if overflow else self._curvature()
        params = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        for p in params:
            p.grad = p.grad.detach()
        grads = [p.grad for p in params]
        _average_over_processes(grads)
        if scale is not None:
            torch._foreach_div_([*grads, *self._fresh.values()], scale)
        return not overflow

    def inputs(self, p: Tensor) -> list[Tensor]:
        """Return gradient and curvature."""
        h = self._fresh.pop(p, None)
        return [*super().inputs(p), self.state[p]["hessian_diag"] if h is None else h]

    def _curvature(self) -> dict[Tensor, Tensor]:
        """Return Hz, its magnitude averaged over kernels, for the parameters that are due."""
        due: dict[Tensor, dict[str, Any]] = {}
        alike: dict[tuple[Any, ...], list[Tensor]] = {}
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state.get(p, {})
                step = state.get("step", 0)
                stale = step % group["hessian_interval"] == 0 or "hessian_diag" not in state
                if p.grad is not None and stale:
                    due[p] = group
                    alike.setdefault((group["seed"], step, p.dtype, p.device), []).append(p)
        if not due:
            return {}
        signs: dict[Tensor, Tensor] = {}
        for (seed, step, _, _), params in alike.items():
            signs |= _random_signs(params, (seed, step, len(signs)))
        pairs = [(p.grad, z) for p, z in signs.items() if p.grad is not None]
        graphed = [(g, z) for g, z in pairs if g.requires_grad]
        if not graphed:
            raise RuntimeError(
                "AdaHessian needs the graph of the gradients: call "
                "loss.backward(create_graph=True) before step() or in its closure."
            )
        grads, probes = zip(*graphed, strict=True)
        products = torch.autograd.grad(grads, list(due), probes, materialize_grads=True)
        self.hessian_products += 1
        _average_over_processes(products)
        fresh = dict(zip(due, products, strict=True))
        for p, group in due.items():
            if group["spatial_average"] and p.ndim > 2:
                mean = fresh[p].abs().mean(tuple(range(2, p.ndim)), keepdim=True)
                fresh[p] = mean.expand_as(p).contiguous()
            if group["hessian_interval"] > 1:
                self.state[p]["hessian_diag"] = fresh[p]
        return fresh


def _random_signs(params: list[Tensor], key: tuple[int, ...]) -> dict[Tensor, Tensor]:
    """Return signs of the parameters' shapes, the same whenever the key is."""
    device, sizes = params[0].device, [p.numel() for p in params]
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    generator = torch.Generator(device).manual_seed(int.from_bytes(digest) >> 1)
    count = math.ceil(sum(sizes) / 8)
    octets = torch.randint(256, (count,), generator=generator, device=device)
    octets_to_signs = _signs_of_octets(params[0].dtype, device)
    flat = octets_to_signs.index_select(0, octets).view(-1)[: sum(sizes)]
    return {p: z.view(p.shape) for p, z in zip(params, torch.split(flat, sizes), strict=True)}


@functools.cache
def _signs_of_octets(dtype: torch.dtype, device: torch.device) -> Tensor:
    bits = torch.arange(256, device=device)[:, None] >> torch.arange(8, device=device) & 1
    return bits.to(dtype).mul_(2).sub_(1)  # a row of eight signs for each value of a byte


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def _average_over_processes(tensors: Sequence[Tensor]) -> None:
    if not _distributed() or not tensors:
        return
    flat = torch.cat([x.reshape(-1) for x in tensors])
    dist.all_reduce(flat)
    flat.div_(dist.get_world_size())
    parts = torch.split(flat, [x.numel() for x in tensors])
    for x, part in zip(tensors, parts, strict=True):
        x.copy_(part.view_as(x))
