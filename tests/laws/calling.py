"""What the laws of things that are called once share, and the laws that are the same for all.

Losses, modules, diagnostics, solvers and functions are applied to the inputs of their example; a
file of laws says with `outcome` what comes of it, as numbers.
"""

import copy
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.laws.cases import Checks
from thalweg.core.example import Example


def takes(example: Example) -> dict[str, inspect.Parameter]:
    """Return what the object can be given by keyword."""
    parameters = inspect.signature(example.object).parameters
    return {k: v for k, v in parameters.items() if v.kind is not v.POSITIONAL_ONLY}


def call(example: Example, *inputs: Any, **changes: Any) -> Any:
    """Apply a function of an example to inputs, its own where none are given."""
    assert example.inputs is not None, f"the example of {example.object.__name__} has no inputs"
    return example.object(*(inputs or example.inputs()), **{**example.arguments, **changes})


def build(example: Example, **changes: Any) -> Any:
    """Build an object of an example, the same each time, and leave the global generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return example.object(**{**copy.deepcopy(dict(example.arguments)), **changes})


def numbers(thing: Any) -> list[Any]:
    """Return all that a nest of results holds: tensors, arrays as tensors, plain values."""
    if dataclasses.is_dataclass(thing):
        return numbers({f.name: getattr(thing, f.name) for f in dataclasses.fields(thing)})
    if isinstance(thing, nn.Module):
        return numbers(dict(thing.state_dict()))
    if isinstance(thing, Mapping):
        return [x for key in thing for x in (key, *numbers(thing[key]))]
    if isinstance(thing, list | tuple):
        return [x for part in thing for x in numbers(part)]
    if isinstance(thing, np.ndarray) and thing.dtype.kind in "fiub":
        return [torch.from_numpy(thing.copy())]
    if isinstance(thing, np.generic):
        return [thing.item()]
    if isinstance(thing, Tensor):
        return [thing.detach().clone()]
    return [thing] if isinstance(thing, bool | int | float | str | None) else []


def floats(thing: Any) -> list[Tensor]:
    """Return the real numbers among them, each as a tensor."""
    return [
        torch.as_tensor(x, dtype=torch.float64)
        for x in numbers(thing)
        if isinstance(x, float) or (isinstance(x, Tensor) and x.is_floating_point())
    ]


def same(one: list[Any], other: list[Any]) -> bool:
    """Tell whether two lists of numbers are equal to the last bit."""
    return len(one) == len(other) and all(map(_same, one, other))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        return bool(((one == other) | ((one != one) & (other != other))).all())
    return type(one) is type(other) and (one == other or (one != one and other != other))


def cast(thing: Any, dtype: torch.dtype) -> Any:
    """Return a nest of inputs with its real tensors and its modules in another precision."""
    if isinstance(thing, Tensor):
        return thing.to(dtype) if thing.is_floating_point() else thing
    if isinstance(thing, nn.Module):
        return copy.deepcopy(thing).to(dtype)
    if isinstance(thing, list | tuple):
        return type(thing)(cast(part, dtype) for part in thing)
    return thing


@contextmanager
def untouched(check: Checks, look: Callable[[], list[Any]], sentence: str) -> Iterator[None]:
    """Check that what one looks at is the same to the last bit afterwards, even after an error."""
    before = look()
    try:
        yield
    finally:
        check(same(look(), before), sentence)


def misspelt_keywords_are_refused(example: Example, check: Checks) -> None:
    """Every keyword with a letter too many is a TypeError that names it."""
    builds = inspect.isclass(example.object) or example.interface == "module"
    inputs = example.inputs() if example.inputs and not builds else ()
    for name in [*takes(example), "max_setps"]:
        wrong = {**example.arguments, f"{name}_": 1}
        check.refuses(
            TypeError,
            lambda wrong=wrong: example.object(*inputs, **wrong),
            f"the keyword {name}_",
            names=f"{name}_",
        )


def knobs(example: Example, check: Checks, end: Callable[..., list[Any]]) -> None:
    """Check that each knob has an effect on where things end, and that this is repeatable."""
    for knob, values in example.knobs.items():
        with check.part(knob):
            first, second = (end(**{knob: value}) for value in values)
            for value, reals in zip(values, (floats(first), floats(second)), strict=True):
                finite = all(x.isfinite().all() for x in reals)
                check(finite, f"{knob}={value!r} ends in a number that is not finite")
            check(not same(first, second), f"{knob} has no effect")
            check(same(end(**{knob: values[0]}), first), f"{knob}: a second run ends elsewhere")
    check(same(end(), end()), "a second run ends elsewhere")


def knobs_are_live(example: Example, check: Checks) -> None:
    """Each knob changes what is returned."""
    knobs(example, check, lambda **changes: numbers(call(example, **changes)))


def inputs_are_untouched(example: Example, check: Checks) -> None:
    """What is handed in is the same afterwards."""
    inputs = example.inputs()
    with untouched(check, lambda: numbers(inputs), "its inputs are changed"):
        call(example, *inputs)


def global_generators_are_untouched(example: Example, check: Checks) -> None:
    """Randomness comes from a seed or a generator that is handed in, and from nowhere else."""
    inputs = example.inputs()
    with check.drawing_nothing():
        first = numbers(call(example, *inputs))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        check(same(numbers(call(example)), first), "it depends on the global random generator")
