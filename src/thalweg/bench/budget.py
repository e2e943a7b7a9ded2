"""Budgets: how long a run may be, in one declared unit."""

import re
from dataclasses import dataclass

from thalweg.core.trace import Trace

CALIBRATION_STEPS = 30
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """The length of every run of a race: a number of steps, or seconds, or the problem's own.

    Args:
        steps: Optimizer steps or iterations.
        seconds: Turned into steps for each contender by its measured speed, so that schedules
            are scaled to the whole run.
    """

    steps: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str | None) -> "Budget":
        """Read ``5000steps``, ``90s``, ``2m`` or ``1.5h``.

        Raises:
            ValueError: Where the text is none of these.

        Example:
            >>> Budget.parse("2m")
            Budget(steps=None, seconds=120.0)
        """
        if text is None:
            return cls()
        match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|m|h|steps?)", text.strip())
        if match and float(match[1]) > 0:
            if match[2] in _UNITS:
                return cls(seconds=float(match[1]) * _UNITS[match[2]])
            if "." not in match[1]:
                return cls(steps=int(match[1]))
        raise ValueError(
            f"cannot read the budget {text!r}; write a number of steps like 5000steps, "
            "or a time per run like 90s, 2m or 1h"
        )

    def __str__(self) -> str:
        if self.steps is not None:
            return f"{self.steps} steps"
        if self.seconds is not None:
            return f"{self.seconds:g} seconds"
        return "the problem's own"


def affordable_steps(calibration: Trace, seconds: float) -> int:
    """Return how many steps fit into a time, from a run of `CALIBRATION_STEPS`."""
    points = calibration.points
    if not calibration.is_result or not points or points[-1].cost.per_step <= 0:
        return CALIBRATION_STEPS  # what fails so early needs no longer a run to be judged
    cost = points[-1].cost
    return max(1, 1 + int((seconds - cost.startup) / cost.per_step))
