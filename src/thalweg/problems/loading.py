"""Finding a problem by its name, its function or its file."""

import importlib
import inspect
import os
import pkgutil
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import thalweg.problems
from thalweg.core.errors import ProblemError, RecipeError
from thalweg.core.problem import Problem
from thalweg.core.recipe import Call, parse_calls, suggest
from thalweg.problems.supervised import Task, check_task
from thalweg.solving.problem import SolvingProblem
from thalweg.training.problem import TrainingProblem

Factory = Callable[..., TrainingProblem | SolvingProblem]

OWN = "task.py:function, a .csv, .tsv, .parquet or .npz file, or a folder of images"
_EMBEDDED = re.compile(r"([a-z0-9-]+)\s*(\(.*\))?", re.DOTALL)
_FILE = re.compile(r"(?P<where>.+\.py)(:(?P<function>.*))?")
_MODULE = re.compile(r"(?P<where>[A-Za-z_]\w*(\.\w+)*):(?P<function>\w*)")


def embedded() -> dict[str, Factory]:
    """Return the functions of the embedded problems, by name.

    Every module of this package with a function ``problem`` is one; its file's name is the
    problem's, with hyphens.

    Example:
        >>> embedded()["quadratic"](condition=10).description
        'quadratic of condition 10 in 50 dimensions'
    """
    modules = (entry.name for entry in pkgutil.iter_modules(thalweg.problems.__path__))
    factories = {name.replace("_", "-"): _factory(name) for name in sorted(modules)}
    return {name: factory for name, factory in factories.items() if factory is not None}


def describe() -> dict[str, str]:
    """Return one line about each embedded problem, by how it is written with all its options.

    Example:
        >>> describe()["rosenbrock(dimension=2)"].split(":")[0]
        "Rosenbrock's function"
    """
    lines = {}
    for name, factory in embedded().items():
        options = inspect.signature(factory).parameters.values()
        written = ", ".join(f"{option.name}={option.default!r}" for option in options)
        module = inspect.getmodule(factory)
        lines[f"{name}({written})" if written else name] = (
            inspect.getdoc(module) or ""
        ).splitlines()[0]
    return lines


def load_problem(
    reference: str | os.PathLike[str], *, target: str | None = None, task: str | None = None
) -> Problem:
    """Return the problem that a reference names.

    Args:
        reference: The first of these that fits:

            - an embedded problem, such as ``digits`` or ``quadratic(condition=1000)``;
            - ``task.py:function`` or ``package.module:function``, a function that returns a
              problem; of a file the function ``problem`` where none is named;
            - a table, ``data.csv``, ``data.tsv`` or ``data.parquet``;
            - ``arrays.npz`` with ``X`` and ``y``;
            - a folder with one folder of images for each class.
        target: The column of a table to predict.
        task: ``classification`` or ``regression``, where the targets in a file leave it open.

    Returns:
        The problem. Its ``source`` changes with the contents of the files it comes from.

    Raises:
        ProblemError: Where nothing fits, or what fits cannot be used; the message says what to do.

    Example:
        >>> load_problem("quadratic(condition=1000)").name
        'quadratic(condition=1000)'
    """
    text = os.fspath(reference)
    path = Path(text).expanduser()
    check_task(task)
    call = _embedded_call(text)
    if call is not None:
        _refuse_options(text, "an embedded problem", target=target, task=task)
        return _load_embedded(call)
    for pattern, load in ((_FILE, _load_file), (_MODULE, _load_module)):
        match = pattern.fullmatch(text)
        if match is not None:
            _refuse_options(text, "a Python function", target=target, task=task)
            return load(match["where"], match["function"] or "problem")
    return _load_data(path, text, target, cast(Task | None, task))


def _factory(module: str) -> Factory | None:
    return getattr(importlib.import_module(f"thalweg.problems.{module}"), "problem", None)


def _embedded_call(text: str) -> Call | None:
    """Return the call where the text names an embedded problem, without importing the others."""
    match = _EMBEDDED.fullmatch(text.strip())
    if match is None:
        return None
    module = match[1].replace("-", "_")
    modules = (entry.name for entry in pkgutil.iter_modules(thalweg.problems.__path__))
    if module not in modules or _factory(module) is None:
        return None
    try:
        (call,) = parse_calls(text.strip())
    except RecipeError:
        raise ProblemError(
            f"cannot read {text!r}; write {match[1]}, or {match[1]}(option=value) with a number, "
            "a quoted string, True, False or None"
        ) from None
    return call


def _load_embedded(call: Call) -> Problem:
    factory = _factory(call.name.replace("-", "_"))
    assert factory is not None
    options = inspect.signature(factory).parameters
    for name in call.arguments:
        if name not in options:
            raise ProblemError(
                f"{call.name} has no option {name!r}{suggest(name, options)}; "
                f"it takes: {', '.join(options) or 'none at all'}"
            )
    problem = factory(**call.arguments)
    text = inspect.getsource(inspect.getmodule(factory) or factory)
    written = ", ".join(f"{name}={call.arguments[name]!r}" for name in sorted(call.arguments))
    return replace(
        problem,
        name=f"{call.name}({written})" if written else call.name,
        source_text=problem.source_text + text,
    )


def _load_file(where: str, function: str) -> Problem:
    from thalweg.problems.tasks import problem_from_file

    path = Path(where).expanduser()
    if not path.is_file():
        raise _not_there(path)
    return problem_from_file(path, function)


def _load_module(where: str, function: str) -> Problem:
    from thalweg.problems.tasks import problem_from_module

    return problem_from_module(where, function)


def _load_data(path: Path, text: str, target: str | None, task: Task | None) -> Problem:
    # Imported here: reading tables and images needs libraries that other problems do without.
    if text.strip() and path.is_dir():
        from thalweg.problems.images import image_problem

        _refuse_options(text, "a folder of images", target=target, task=task)
        return image_problem(path.resolve())
    suffix = path.suffix.lower()
    if path.is_file():
        if suffix in (".csv", ".tsv", ".parquet"):
            from thalweg.problems.tables import table_problem

            return table_problem(path, target, task)
        if suffix == ".npz":
            from thalweg.problems.arrays import array_problem

            _refuse_options(text, "an archive of arrays", target=target)
            return array_problem(path, task)
        raise ProblemError(f"cannot tell what kind of problem {text} holds; give {OWN}")
    if suffix or len(path.parts) > 1:
        raise _not_there(path)
    raise ProblemError(
        f"there is no problem {text!r}{suggest(text.partition('(')[0], embedded())}; give one of "
        f"{', '.join(embedded())}, or {OWN}"
    )


def _not_there(path: Path) -> ProblemError:
    folder = path.parent
    if not folder.is_dir():
        return ProblemError(f"there is no folder {folder}; check the path")
    beside = (entry.name for entry in folder.iterdir())
    return ProblemError(
        f"there is no {path.name!r} in {folder.resolve()}{suggest(path.name, beside)}; "
        "check the path"
    )


def _refuse_options(text: str, kind: str, **options: Any) -> None:
    for name, value in options.items():
        if value is not None:
            raise ProblemError(
                f"{name}={value!r} does not apply to {text}, which is {kind}; leave {name} out"
            )
