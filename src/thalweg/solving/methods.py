"""Methods for solving made from the objects of the rooms."""

import inspect
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any

from thalweg.core.example import Example
from thalweg.core.method import Method, Space, summary_of
from thalweg.linalg.solution import Iterate

Iterates = Callable[..., Generator[Iterate[Any], None, str]]


def solver_method(
    name: str,
    iterates: Iterates,
    *,
    kind: str,
    space: Mapping[str, Space] | None = None,
    defaults: Mapping[str, Any] | None = None,
    example: Example | None = None,
    summary: str | None = None,
) -> Method:
    """Make a contender of a solver that can be watched step by step.

    Args:
        name: Its name in recipes.
        iterates: Called with what is to be solved as positional arguments, and with the arguments
            of the recipe as keywords; yields what there is before the first step and after each.
        kind: Of the problems it solves, such as ``transport``.
        space: Where its arguments are searched.
        defaults: Values that differ from the signature's.
        example: Of the function that users call.
        summary: One line; that of the function that users call where not given.

    Returns:
        A method whose ``build`` takes the arguments and returns a function from what is to be
        solved to iterates.
    """
    signature = inspect.signature(iterates).parameters.values()
    keywords = {
        item.name: item.default for item in signature if item.kind is inspect.Parameter.KEYWORD_ONLY
    }
    documented = example.object if example is not None else iterates
    return Method(
        name=name,
        summary=summary or summary_of(documented),
        build=partial(partial, iterates, **(defaults or {})),
        defaults={**keywords, **(defaults or {})},
        space=space or {},
        example=example,
        kind=kind,
        fills=frozenset({"solver"}),
    )
