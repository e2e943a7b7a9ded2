"""An example of a public object: how the laws of its interface get hold of one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Interface = Literal[
    "optimizer",
    "wrapper",
    "schedule",
    "loss",
    "module",
    "diagnostic",
    "solver",
    "estimator",
    "function",
]


@dataclass(frozen=True)
class Example:
    """A way to use a public object, on which the laws of its interface are tried.

    Args:
        object: The class or function.
        interface: Whose laws it obeys.
        arguments: Keywords it is built or called with.
        knobs: For each keyword two values that must differ in effect; every keyword that is in
            neither ``arguments`` nor an exception must be here.
        inputs: Returns what it is applied to, the same each time: a loss's ``(input, target)``,
            a module's arguments, a diagnostic's ``(model, data, loss)``, a solver's or a
            function's positional arguments. Not needed where the laws bring their own.
        residual: Of a solver: called with its value and the inputs, returns from scratch what the
            solver reports as its last residual.
        step: Of an optimizer whose step is not torch's: called with it, the parameters and a loss
            of them, it makes one step.
        needs: As in :class:`~thalweg.core.method.Method`, such as ``graph``.
        exceptions: Names of laws, or of knobs, that do not hold, each with the reason; shown in
            the documentation.
    """

    object: Callable[..., Any]
    interface: Interface
    arguments: Mapping[str, Any] = field(default_factory=dict)
    knobs: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    inputs: Callable[[], tuple[Any, ...]] | None = None
    residual: Callable[..., float] | None = None
    step: Callable[[Any, Sequence[Any], Callable[..., Any]], None] | None = None
    needs: frozenset[str] = frozenset()
    exceptions: Mapping[str, str] = field(default_factory=dict)
