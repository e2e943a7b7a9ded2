"""What every wrapper of this room shares: it is an optimizer by way of the one it wraps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.optim import Optimizer

from thalweg.optim._base import group_dropped_if_refused, refuse_complex
from thalweg.optim._distributed import is_distributed


class Wrapper(Optimizer):
    """An optimizer around an optimizer: state and groups are the inner one's.

    Args:
        optimizer: The inner optimizer.
        own: The wrapper's hyperparameters and counters, which each group may set for itself under
            their names after `prefix`.
    """

    prefix: ClassVar[str]

    def __init__(self, optimizer: Optimizer, own: dict[str, Any]) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__} wraps an optimizer, not {type(optimizer).__name__}: give "
                "it one such as torch.optim.SGD(params, lr=0.1)."
            )
        self.validate(defaults := {f"{self.prefix}_{name}": value for name, value in own.items()})
        self.__setstate__({"base": optimizer})
        optimizer.defaults.update(defaults)
        self._complete_groups()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the inner optimizer; only hooks on the step are the wrapper's own."""
        self.base: Optimizer = state["base"]
        self._optimizer_step_pre_hooks = OrderedDict()
        self._optimizer_step_post_hooks = OrderedDict()
        self._patch_step_function()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of."""
        return {"base": self.base}

    def __getattr__(self, name: str) -> Any:
        """Return the inner optimizer's state, groups, defaults and whatever else it has."""
        if name == "base" or name.startswith("__"):  # asked for while a copy is being made
            raise AttributeError(name)
        return getattr(self.base, name)

    def state_dict(self) -> dict[str, Any]:
        """Return the inner optimizer's state, the wrapper's own in its groups."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned, of this or of the inner optimizer alone."""
        self.base.load_state_dict(state_dict)
        self._complete_groups()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters to the inner optimizer."""
        self.base.add_param_group(param_group)
        with group_dropped_if_refused(self):
            self._complete_groups()

    def validate(self, group: dict[str, Any]) -> None:
        """Raise a ValueError with a sentence for a hyperparameter outside its range."""
        raise NotImplementedError

    def _step_on(
        self,
        closure: Callable[[], Any] | None,
        replace: Callable[[dict[Tensor, Tensor], Tensor | None], None],
    ) -> tuple[Any, bool]:
        """Make the inner optimizer's step on other gradients, which `p.grad` holds meanwhile.

        Args:
            closure: As `step` takes it.
            replace: Puts the others in the place of the clean gradients, and those into a
                dictionary; called with it and with the scale of the gradients, None for 1.

        Returns:
            What the inner optimizer's step returns, and whether the gradients were finite.
        """
        own = vars(self)
        scaling: dict[str, Any] = {k: own[k] for k in ("grad_scale", "found_inf") if k in own}
        clean: dict[Tensor, Tensor] = {}

        def evaluate() -> Any:
            loss = closure() if closure else None
            with torch.enable_grad():
                replace(clean, scaling.get("grad_scale"))
            return loss

        vars(self.base).update(scaling)  # a GradScaler's, for optimizers that unscale by themselves
        try:
            if closure is None:
                evaluate()
            result = self.base.step(evaluate if closure else None)
        finally:
            for name in scaling:
                vars(self.base).pop(name, None)
            for p, gradient in clean.items():
                p.grad = gradient.detach() if gradient.requires_grad else gradient
        return result, not scaling.get("found_inf")

    def _complete_groups(self) -> None:
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)
            self.validate(group)
            refuse_complex(self, group)


def agreed_seed(seed: int | None) -> int:
    """Return the seed; where none is given one that all processes share."""
    if seed is not None:
        return seed
    drawn = [torch.initial_seed() % 2**32]  # which any format of checkpoint can hold
    if is_distributed():
        dist.broadcast_object_list(drawn)
    return drawn[0]
