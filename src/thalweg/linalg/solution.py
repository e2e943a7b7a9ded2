"""What every solver returns, and the loop that stops and counts for it."""

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Iterate(Generic[T]):
    """What a solver has after a step.

    Args:
        value: The solution so far.
        residual: Of this very value, in the measure that the solver documents.
        gradients: Evaluations of a gradient made so far.
        functions: Evaluations of a function without its gradient made so far.
        products: Products of a matrix with a vector made so far.
    """

    value: T
    residual: float
    gradients: int = 0
    functions: int = 0
    products: int = 0


@dataclass(frozen=True, eq=False)
class Solution(Generic[T]):
    """What a solver returns.

    Args:
        value: The solution, or what there was of it when the solver stopped.
        converged: Whether the residual met the tolerance.
        iterations: Steps made.
        residuals: Before the first step and after each; the last is that of ``value``. A solver
            says in which measure; of a batch it is the largest.
        reason: Why it stopped, in a sentence; where it did not converge, what to do about it.
        gradients: Evaluations of a gradient.
        functions: Evaluations of a function without its gradient.
        products: Products of a matrix with a vector.
    """

    value: T
    converged: bool
    iterations: int
    residuals: tuple[float, ...]
    reason: str
    gradients: int = 0
    functions: int = 0
    products: int = 0


class NotConverged(RuntimeError):
    """A solver stopped short of its tolerance; what it had is in ``solution``."""

    def __init__(self, solution: Solution[Any]) -> None:
        super().__init__(solution.reason)
        self.solution = solution

    def __reduce__(self) -> tuple[type["NotConverged"], tuple[Solution[Any]]]:
        return NotConverged, (self.solution,)


def solve(
    iterates: Generator[Iterate[T], None, str], *, rtol: float, max_steps: int, throw: bool
) -> Solution[T]:
    """Run a solver until its residual meets the tolerance.

    Args:
        iterates: Yields what there is before the first step and after each. Where it cannot go on
            it returns a sentence that says why and what to do.
        rtol: Largest residual to be content with, > 0.
        max_steps: Most steps to be made, >= 0.
        throw: Raise where the tolerance is not met, instead of returning the solution so far.

    Returns:
        What there was last, with what it cost and why the solver stopped.

    Raises:
        NotConverged: Where the tolerance is not met and ``throw`` is set.
        ValueError: Where ``rtol`` or ``max_steps`` is out of range.

    Example:
        >>> def halving(x: float):
        ...     while True:
        ...         yield Iterate(x, abs(x))
        ...         x /= 2
        >>> solution = solve(halving(1.0), rtol=0.1, max_steps=100, throw=True)
        >>> solution.value, solution.iterations
        (0.0625, 4)
    """
    if not rtol > 0:
        raise ValueError(f"rtol is {rtol}; give a positive number, such as 1e-9")
    if max_steps < 0:
        raise ValueError(f"max_steps is {max_steps}; give 0 or more")
    item = next(iterates)
    residuals = [item.residual]
    reason = ""
    while not (item.residual <= rtol or reason):
        if not math.isfinite(item.residual):
            reason = "the iterates are no longer finite; scale the input or use double precision"
        elif len(residuals) > max_steps:
            reason = (
                f"the residual is {item.residual:.1e} after {max_steps} steps, above the tolerance "
                f"{rtol:.1e}; raise max_steps or rtol"
            )
        else:
            try:
                item = next(iterates)
            except StopIteration as stop:
                reason = stop.value
            else:
                residuals.append(item.residual)
    iterates.close()
    solution = Solution(
        value=item.value,
        converged=not reason,
        iterations=len(residuals) - 1,
        residuals=tuple(residuals),
        reason=reason or f"the residual met the tolerance {rtol:.1e}",
        gradients=item.gradients,
        functions=item.functions,
        products=item.products,
    )
    if throw and not solution.converged:
        raise NotConverged(solution)
    return solution
