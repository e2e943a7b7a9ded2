"""What optimizers share that update matrices in a subspace, and everything else by AdamW."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from thalweg.optim._base import ElementwiseOptimizer, average_, check

_STACK = 2**16  # elements; beyond, a matrix takes longer than the calls that stacking it spares


class ProjectedOptimizer(ElementwiseOptimizer):
    """AdamW for all but matrices, which a subclass updates; those of one shape together.

    A matrix is turned so that it has at least as many rows as columns, and so is its state.
    """

    state_names = ("exp_avg", "exp_avg_sq")
    constants = ()

    def __init__(self, params: ParamsT, arguments: dict[str, Any]) -> None:
        super().__init__(params, {**arguments, "compile": False})

    def validate(self, group: dict[str, Any]) -> None:
        """Raise a ValueError with a sentence for a hyperparameter outside its range."""
        super().validate(group)
        for name in ("rank", "max_size"):
            check(name, group[name], "a whole number >= 1", is_count)
        if any(hasattr(p, "device_mesh") for p in group.get("params", ())):
            raise ValueError(
                f"{type(self).__name__} projects whole matrices, which fully_shard divides: "
                "train with DistributedDataParallel."
            )

    def begin(self, matrix: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """Return the first state of a matrix."""
        raise NotImplementedError

    def change(
        self, grads: Tensor, state: dict[str, Tensor], group: dict[str, Any], p: Tensor
    ) -> Tensor:
        """Return what to add to matrices shaped like `p`, turned and stacked; renew their state."""
        raise NotImplementedError

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned, whole numbers as such."""
        super().load_state_dict(state_dict)
        numbers = [i for group in state_dict["param_groups"] for i in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for i, p in zip(numbers, params, strict=True):
            for name, value in state_dict["state"].get(i, {}).items():
                if isinstance(value, Tensor) and not value.is_floating_point():
                    self.state[p][name] = value.to(p.device, copy=True)  # torch made them floats

    @staticmethod
    def update(
        p: Tensor,
        g: Tensor,
        exp_avg: Tensor,
        exp_avg_sq: Tensor,
        *,
        rate: float,
        eps: float,
        keep: float,
        weight1: float,
        weight2: float,
    ) -> None:
        """Apply one step of AdamW to tensors of one shape, in place."""
        average_(exp_avg, g, weight1)
        average_(exp_avg_sq, g * g, weight2)
        p.mul_(keep).addcdiv_(exp_avg, exp_avg_sq.sqrt().add_(eps), value=-rate)

    def _advance(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update matrices of equal shape and step count together, the rest as the base does."""
        alike: dict[tuple[Any, ...], list[Tensor]] = {}
        others = []
        for p in params:
            if p.ndim != 2 or p.numel() == 0 or max(p.shape) >= group["max_size"]:
                others.append(p)
                continue
            state = self.state[p]
            if "step" not in state:
                state.update(step=0, **self.begin(_turned(p), group))
            state["step"] += 1
            alike.setdefault((state["step"], p.shape, p.dtype, p.device), []).append(p)
        super()._advance(group, others)
        for members in alike.values():
            size = max(1, _STACK // members[0].numel())
            for first in range(0, len(members), size):
                self._advance_together(group, members[first : first + size])

    def _advance_together(self, group: dict[str, Any], params: list[Tensor]) -> None:
        states = [self.state[p] for p in params]
        held = {name: [s[name] for s in states] for name in states[0] if name != "step"}
        stacks = {name: _stacked(tensors) for name, tensors in held.items()}
        grads = _stacked([_turned(p.grad) for p in params if p.grad is not None])
        change = self.change(-grads if group["maximize"] else grads, stacks, group, params[0])
        if len(params) > 1:
            for name, tensors in held.items():
                torch._foreach_copy_(tensors, list(stacks[name].unbind()))
        turned = [_turned(p) for p in params]
        if group["weight_decay"]:
            torch._foreach_mul_(turned, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(turned, list(change.unbind()))


def is_count(n: Any) -> bool:
    """Return whether a value is a whole number of at least one."""
    return bool(n >= 1 and n % 1 == 0)


def _turned(matrix: Tensor) -> Tensor:
    return matrix if matrix.shape[0] >= matrix.shape[1] else matrix.mT


def _stacked(tensors: list[Tensor]) -> Tensor:
    """Return tensors of one shape as one: copied, unless there is a single one."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(tensors)
