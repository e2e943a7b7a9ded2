"""SSO: several cheap steps on a surrogate for each gradient of an expensive loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from thalweg.optim._base import check, group_dropped_if_refused, refuse_complex
from thalweg.optim._distributed import average_over_processes, is_distributed

_TRIALS = 100  # of a search before it is given up


class SSO(Optimizer):
    """Descend a surrogate in the space of a model's outputs, asking for the loss once a step.

        g   = gradient of the loss with respect to the outputs z_t                  once a step
        q   = <g, z - z_t> + |z - z_t|^2 / (2 lr rows)               rows: the first dimension of z
        p   = p - a * (gradient of q with respect to p)               inner_steps times
        a   = largest of expand * a, shrink * expand * a, ... at which q falls by
              sufficient_decrease * a * |gradient of q|^2

    With `lr` at most 1/L, L the smoothness of one sample's loss in z (1/4 for logistic, 1/2 for
    softmax, 1 for squared errors halved), q lies above a loss averaged over the rows, which so
    cannot rise. `inner_steps = 1` is gradient descent with a step of `a`.

    Use it when the loss is what costs: a simulator, a rendering, a human; and with large batches.
    Avoid it where the model is what costs, and with small batches at a constant `lr`: they are
    fitted one by one, so let `lr` fall. Cost: a step takes one gradient of the loss by the outputs,
    and for each inner step one forward and backward pass of the model and a forward pass for each
    trial of the search. No state but `a`.

    Args:
        params: Parameters, named parameters or groups of them. Where groups differ in `lr`, the
            largest is that of the surrogate, and the others' parameters move in proportion.
        lr: Step size in the space of outputs, eta in the paper, >= 0.
        inner_steps: Steps on the surrogate, >= 1; m in the paper.
        inner_lr: First `a`, > 0; later it is what the last search found.
        sufficient_decrease: Share of the decrease that a straight line would give, in (0, 1).
        shrink: Factor between trials, in (0, 1).
        expand: Factor by which a search begins above the last `a`, >= 1; the authors take
            1.8 ** (1 / batches in an epoch).
        tolerance: The inner steps end where the gradient of q is no longer than this, >= 0.

    Raises:
        ValueError: If a hyperparameter is outside its range or a parameter is complex.

    Example:
        >>> import torch
        >>> from thalweg.optim import SSO
        >>> model, x, y = torch.nn.Linear(3, 1), torch.randn(20, 3), torch.randn(20, 1)
        >>> optimizer = SSO(model.parameters(), lr=1.0, inner_steps=20)
        >>> losses = [optimizer.step(lambda: model(x), lambda z: (z - y).square().mean() / 2)
        ...           for _ in range(3)]
        >>> bool(losses[2] < losses[0])
        True

    Paper: Target-based Surrogates for Stochastic Optimization, 2023, arXiv 2302.02607. Differs:
        the authors' code weighs the gradient by 1/eta in place of the square by 1/(2 eta), begins
        each step's search at 10 unless told otherwise, and takes the differences of q between
        rounded values; here they are computed from the differences of z. Their preconditioned
        variants and inner optimizers are left out. Several processes share one search.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1.0,
        *,
        inner_steps: int = 5,
        inner_lr: float = 1.0,
        sufficient_decrease: float = 0.5,
        shrink: float = 0.9,
        expand: float = 1.8,
        tolerance: float = 1e-6,
    ) -> None:
        others = ("self", "params", "__class__")
        defaults = {name: value for name, value in locals().items() if name not in others}
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; its hyperparameters are checked as the constructor's are."""
        super().add_param_group(param_group)
        with group_dropped_if_refused(self):
            _validate(self.param_groups[-1])
            refuse_complex(self, self.param_groups[-1])

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, outputs: Callable[[], Tensor], loss: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Take the gradient of the loss once and descend the surrogate.

        Args:
            outputs: Returns the model's outputs for a batch, one tensor; the random numbers it
                draws are the same at each call in a step.
            loss: Called once, with the outputs; returns their mean loss.

        Returns:
            The loss before the step.

        Raises:
            TypeError: If the outputs are no tensor.
            RuntimeError: If a parameter is sharded.
        """
        if any(hasattr(p, "device_mesh") for group in self.param_groups for p in group["params"]):
            raise RuntimeError(
                "SSO takes whole parameters, because its gradients pass by those of fully_shard: "
                "replicate the model instead."
            )
        outputs = _repeatable(outputs)
        z = outputs()
        if not isinstance(z, Tensor):
            raise TypeError(
                f"SSO takes a model whose outputs are one tensor, not {type(z).__name__}: "
                "let outputs() return the tensor that the loss is a function of."
            )
        target = z.detach().requires_grad_()
        with torch.enable_grad():
            value = loss(target)
        (slope,) = torch.autograd.grad(value, target)
        eta = max(group["lr"] for group in self.param_groups)
        rows = z.shape[0] if z.ndim else 1
        surrogate = _Surrogate(z.clone(), slope, eta * rows)  # z may be a parameter that moves
        for _ in range(self.param_groups[0]["inner_steps"]):
            moved = self._descend(z, surrogate, outputs)
            if moved is None:
                break
            z = moved
        return value.detach()

    def _descend(
        self, z: Tensor, surrogate: _Surrogate, outputs: Callable[[], Tensor]
    ) -> Tensor | None:
        """Make one inner step and return the outputs after it; None where there is none to make."""
        first = self.param_groups[0]
        params, directions, squared = self._directions(z, surrogate)
        if squared.sqrt() <= first["tolerance"]:
            return None
        before, here = [p.clone() for p in params], z.clone()
        rate = first["inner_lr"] * first["expand"]
        for _ in range(_TRIALS):
            torch._foreach_copy_(params, torch._foreach_sub(before, directions, alpha=rate))
            moved = outputs()
            change = _averaged(surrogate.change(here, moved))
            if change <= -first["sufficient_decrease"] * rate * squared:
                for group in self.param_groups:
                    group["inner_lr"] = rate
                return moved
            rate *= first["shrink"]
        torch._foreach_copy_(params, before)
        return None

    def _directions(
        self, z: Tensor, surrogate: _Surrogate
    ) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Return parameters, their share of the gradient of q, and their product with it."""
        largest = max(group["lr"] for group in self.param_groups)
        weights = {
            p: group["lr"] / largest
            for group in self.param_groups
            for p in group["params"]
            if p.requires_grad and group["lr"] > 0
        }
        if not (weights and z.requires_grad):
            return [], [], z.new_zeros(())
        found = torch.autograd.grad(z, list(weights), surrogate.slope(z), allow_unused=True)
        grads = {p: _averaged(g) for p, g in zip(weights, found, strict=True) if g is not None}
        directions = [weights[p] * g for p, g in grads.items()]
        products = [_inner(d, g) for d, g in zip(directions, grads.values(), strict=True)]
        return list(grads), directions, sum(products, z.new_zeros(()))


@dataclass(frozen=True)
class _Surrogate:
    """q as a function of the outputs.

    Args:
        origin: The outputs at which the loss was asked for.
        gradient: Of the loss, there.
        scale: lr times rows.
    """

    origin: Tensor
    gradient: Tensor
    scale: float

    def slope(self, z: Tensor) -> Tensor:
        """Return the gradient of q."""
        return self.gradient + (z - self.origin) / self.scale

    def change(self, z: Tensor, moved: Tensor) -> Tensor:
        """Return q(moved) - q(z), which is exact in the difference of the two."""
        return _inner(self.slope((z + moved) / 2), moved - z)


def _inner(x: Tensor, y: Tensor) -> Tensor:
    """Return the sum of products, in single precision at least."""
    return (x * y).sum(dtype=torch.promote_types(x.dtype, torch.float32))


def _averaged(x: Tensor) -> Tensor:
    """Return the mean over all processes."""
    if is_distributed():
        average_over_processes([x := x.clone()])
    return x


def _repeatable(outputs: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Return a function that draws the same random numbers at each call, as dropout does."""
    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all()

    def repeat() -> Tensor:
        torch.set_rng_state(cpu)
        torch.cuda.set_rng_state_all(cuda)
        with torch.enable_grad():
            return outputs()

    return repeat


def _validate(group: dict[str, Any]) -> None:
    for name in ("lr", "tolerance"):
        check(name, group[name], "a finite number >= 0", lambda x: 0 <= x < math.inf)
    for name in ("sufficient_decrease", "shrink"):
        check(name, group[name], "a number in (0, 1)", lambda x: 0 < x < 1)
    check("inner_lr", group["inner_lr"], "a finite number > 0", lambda x: 0 < x < math.inf)
    check("expand", group["expand"], "a finite number >= 1", lambda x: 1 <= x < math.inf)
    steps = group["inner_steps"]
    check("inner_steps", steps, "a whole number >= 1", lambda n: n >= 1 and n % 1 == 0)
