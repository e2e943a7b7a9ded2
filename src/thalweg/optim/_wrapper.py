"""What optimizers around an optimizer share."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch.optim import Optimizer


class OptimizerWrapper(Optimizer):
    """An optimizer whose state and groups are those of an inner optimizer.

    Args:
        optimizer: The inner optimizer.
        defaults: What the wrapper adds to every group, under keys with a prefix of its own.
    """

    def __init__(self, optimizer: Optimizer, defaults: dict[str, Any]) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__} wraps an optimizer, not {type(optimizer).__name__}: give "
                "it one such as torch.optim.SGD(params, lr=0.1)."
            )
        self.validate(defaults)
        self.__setstate__({"base": optimizer})
        optimizer.defaults.update(defaults)
        self._complete_groups()

    def validate(self, group: dict[str, Any]) -> None:
        """Raise a ValueError with a sentence for what the wrapper cannot take in a group."""
        raise NotImplementedError

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
        """Return the inner optimizer's state, what is the wrapper's in its groups."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned, of this or of the inner optimizer alone."""
        self.base.load_state_dict(state_dict)
        self._complete_groups()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters to the inner optimizer."""
        self.base.add_param_group(param_group)
        try:
            self._complete_groups()
        except ValueError:
            self.param_groups.pop()
            raise

    def _complete_groups(self) -> None:
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)
            self.validate(group)
