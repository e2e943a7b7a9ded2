"""Methods for training made from the objects of the rooms."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from thalweg.core.example import Example
from thalweg.core.method import Method, Space, summary_of
from thalweg.training.setup import Setup, Transform

Knobs = Mapping[str, tuple[Any, Any]]

RUNS_OWN = ("seed", "last_epoch")  # what a run sets itself, and no recipe


def optimizer_method(
    name: str,
    optimizer: Callable[..., Optimizer],
    *,
    space: Mapping[str, Space],
    knobs: Knobs | None = None,
    exceptions: Mapping[str, str] | None = None,
    takes: Iterable[str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    needs: Iterable[str] = (),
    parameters: Callable[[nn.Module], Any] = nn.Module.parameters,
    summary: str | None = None,
) -> Method:
    """Make a contender of an optimizer class.

    An optimizer with an argument ``seed`` gets that of the run.

    Args:
        name: Its name in recipes.
        optimizer: Called with the parameters and keywords.
        space: Where its hyperparameters are searched.
        knobs: For each argument two values that must differ in effect.
        exceptions: Laws, or knobs, that do not hold, each with the reason.
        takes: The arguments a recipe may set; all but the parameters where not given.
        defaults: Values that differ from the signature's.
        needs: What it needs of a problem, such as ``graph``.
        parameters: Picks what the optimizer is called with from the model.
        summary: One line; that of the docstring where not given.

    Returns:
        A method whose defaults are those of the signature.
    """

    def build(**arguments: Any) -> Transform:
        settings = {**(defaults or {}), **arguments}

        def transform(setup: Setup) -> Setup:
            own = _seed(optimizer, setup)
            return replace(
                setup, optimizer=lambda model: optimizer(parameters(model), **own, **settings)
            )

        return transform

    return Method(
        name=name,
        summary=summary or summary_of(optimizer),
        build=build,
        defaults=_defaults(optimizer, 1, takes, defaults),
        space=space,
        example=Example(
            optimizer,
            "optimizer",
            arguments=defaults or {},
            knobs=knobs or {},
            needs=frozenset(needs),
            exceptions=exceptions or {},
        ),
        fills=frozenset({"optimizer"}),
        needs=frozenset(needs),
    )


def wrapper_method(
    name: str,
    wrapper: Callable[..., Optimizer],
    *,
    space: Mapping[str, Space],
    knobs: Knobs | None = None,
    exceptions: Mapping[str, str] | None = None,
    needs: Iterable[str] = (),
) -> Method:
    """Make a contender of an optimizer around an optimizer, such as a lookahead.

    A wrapper with an argument ``seed`` gets that of the run.

    Args:
        name: Its name in recipes.
        wrapper: Called with the inner optimizer and keywords.
        space: Where its hyperparameters are searched.
        knobs: For each argument two values that must differ in effect.
        exceptions: Laws, or knobs, that do not hold, each with the reason.
        needs: What it needs of a problem.

    Returns:
        A method that wraps whatever optimizer stands to its left in a recipe.
    """

    def build(**arguments: Any) -> Transform:
        def transform(setup: Setup) -> Setup:
            own = _seed(wrapper, setup)
            return replace(
                setup, optimizer=lambda model: wrapper(setup.optimizer(model), **own, **arguments)
            )

        return transform

    return Method(
        name=name,
        summary=summary_of(wrapper),
        build=build,
        defaults=_defaults(wrapper, 1),
        space=space,
        example=Example(
            wrapper,
            "wrapper",
            knobs=knobs or {},
            needs=frozenset(needs),
            exceptions=exceptions or {},
        ),
        needs=frozenset(needs),
    )


def schedule_method(
    name: str,
    schedule: Callable[..., LRScheduler],
    *,
    space: Mapping[str, Space],
    knobs: Knobs | None = None,
    exceptions: Mapping[str, str] | None = None,
) -> Method:
    """Make a contender of a learning rate schedule.

    Args:
        name: Its name in recipes.
        schedule: Called with the optimizer, the number of steps of the run, and keywords.
        space: Where its hyperparameters are searched.
        knobs: For each argument two values that must differ in effect.
        exceptions: Laws, or knobs, that do not hold, each with the reason.

    Returns:
        A method whose defaults are those of the signature.
    """

    def build(**arguments: Any) -> Transform:
        return lambda setup: replace(
            setup, schedule=lambda optimizer, steps: schedule(optimizer, steps, **arguments)
        )

    return Method(
        name=name,
        summary=summary_of(schedule),
        build=build,
        defaults=_defaults(schedule, 2),
        space=space,
        example=Example(
            schedule,
            "schedule",
            knobs=knobs or {},
            exceptions=exceptions or {},
        ),
        fills=frozenset({"schedule"}),
    )


def loss_method(
    name: str,
    loss: Callable[..., nn.Module],
    *,
    space: Mapping[str, Space],
    knobs: Knobs | None = None,
    exceptions: Mapping[str, str] | None = None,
    takes: Iterable[str] | None = None,
    needs: Iterable[str] = (),
) -> Method:
    """Make a contender of a loss module.

    Args:
        name: Its name in recipes.
        loss: Called with keywords, returns the module.
        space: Where its hyperparameters are searched.
        knobs: For each argument two values that must differ in effect.
        exceptions: Laws, or knobs, that do not hold, each with the reason.
        takes: The arguments a recipe may set; all where not given.
        needs: What it needs of a problem, such as ``index``.

    Returns:
        A method whose defaults are those of the signature.
    """

    def build(**arguments: Any) -> Transform:
        return lambda setup: replace(setup, loss=loss(**arguments).to(setup.device))

    return Method(
        name=name,
        summary=summary_of(loss),
        build=build,
        defaults=_defaults(loss, 0, takes),
        space=space,
        example=Example(
            loss,
            "loss",
            knobs=knobs or {},
            needs=frozenset(needs),
            exceptions=exceptions or {},
        ),
        fills=frozenset({"loss"}),
        needs=frozenset(needs),
    )


def _defaults(
    thing: Callable[..., Any],
    skip: int,
    takes: Iterable[str] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    parameters = list(inspect.signature(thing).parameters.values())[skip:]
    own = {item.name: item.default for item in parameters if item.name not in RUNS_OWN}
    chosen = list(takes) if takes is not None else list(own)
    return {name: (defaults or {}).get(name, own[name]) for name in chosen}


def _seed(thing: Callable[..., Any], setup: Setup) -> dict[str, int]:
    return {"seed": setup.seed} if "seed" in inspect.signature(thing).parameters else {}
