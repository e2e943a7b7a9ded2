"""Several optimizers as one, for models whose parameters want different ones."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer


class Composite(Optimizer):
    """Step several optimizers together, each with its own parameters.

    Its parameter groups are theirs, so that schedules and clipping see all of them.

    Args:
        optimizers: At least one; their parameters must not overlap.

    Example:
        >>> model = torch.nn.Linear(3, 2)
        >>> optimizer = Composite([
        ...     torch.optim.Muon([model.weight]), torch.optim.AdamW([model.bias])
        ... ])
        >>> len(optimizer.param_groups)
        2
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        if not optimizers:
            raise ValueError("a composite needs at least one optimizer")
        self.optimizers = list(optimizers)
        groups = [group for part in self.optimizers for group in part.param_groups]
        super().__init__([dict(group) for group in groups], {})
        self.param_groups = groups

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Evaluate the closure once and let every optimizer make its step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.optimizers:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizers' states in order."""
        return {"optimizers": [part.state_dict() for part in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""
        for part, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.optimizers for group in part.param_groups]
