"""The clock of a race: it counts what a method costs and nothing else."""

from collections.abc import Callable
from time import perf_counter
from types import TracebackType


class Clock:
    """Add up the seconds spent inside its ``with`` blocks, the device's queue emptied at both ends.

    Args:
        synchronise: Called before each reading; waits until the device has done its work.
            ``None`` where execution is synchronous, as on a CPU.

    Example:
        >>> clock = Clock()
        >>> with clock:
        ...     total = sum(range(1000))
        >>> clock.seconds > 0
        True
    """

    def __init__(self, synchronise: Callable[[], None] | None = None) -> None:
        self.seconds = 0.0
        self._synchronise = synchronise
        self._started = 0.0

    def __enter__(self) -> "Clock":
        self._started = self._now()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.seconds += self._now() - self._started

    def _now(self) -> float:
        if self._synchronise is not None:
            self._synchronise()
        return perf_counter()
