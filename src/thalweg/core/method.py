"""A method: a named, parametrised contender, as data."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from thalweg.core.example import Example


def summary_of(thing: object) -> str:
    """Return what a docstring says first, on one line.

    Example:
        >>> summary_of(Interval)
        'The range in which a real or integer hyperparameter is searched.'
    """
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")


@dataclass(frozen=True)
class Interval:
    """The range in which a real or integer hyperparameter is searched.

    Args:
        low: Smallest value.
        high: Largest value.
        log: Search on a logarithmic scale.
        integer: Only whole numbers.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or not math.isfinite(self.high - self.low):
            raise ValueError(f"a search interval needs low < high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic search interval needs low > 0, got {self.low}")

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """The values among which a hyperparameter is searched.

    Args:
        values: At least two: numbers, strings, booleans, or tuples of them.
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(self.values) < 2:
            raise ValueError(f"a choice needs at least two values, got {self.values}")

    def __contains__(self, value: object) -> bool:
        return value in self.values


Space = Interval | Choice


@dataclass(frozen=True)
class Method:
    """Something that can be raced: how to build it and everything a race must know of it.

    Args:
        name: Its name in recipes, in kebab-case.
        summary: One line for lists and suggestions.
        build: Called with hyperparameters as keywords. For ``kind="training"`` it returns a
            function from setup to setup; other kinds say in their problem what they expect.
        defaults: Every hyperparameter a recipe may set, with the paper's value.
        space: Where a tuner searches, for the hyperparameters that are tuned.
        example: Of the object it is made of, with the knobs that must be live.
        kind: The kind of problem it applies to.
        fills: The parts of the setup it takes for itself, such as ``optimizer``; two methods that
            fill the same part exclude each other.
        needs: What the problem must offer, such as ``index``.
        clashes: Names of methods it cannot be combined with, each with the reason.
    """

    name: str
    summary: str
    build: Callable[..., Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Space] = field(default_factory=dict)
    example: Example | None = None
    kind: str = "training"
    fills: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    clashes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := set(self.space) - set(self.defaults):
            raise ValueError(f"{self.name}: search space of unknown arguments {sorted(unknown)}")
        for name, space in self.space.items():
            if self.defaults[name] not in space:
                raise ValueError(
                    f"{self.name}: the default {name}={self.defaults[name]!r} lies outside its "
                    f"search space {space}"
                )
