"""Problems that the user's own Python code returns."""

import importlib
import inspect
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any, cast

import cloudpickle
import numpy as np
import torch

from thalweg.core.errors import ProblemError
from thalweg.core.problem import Problem
from thalweg.core.recipe import suggest
from thalweg.training.problem import TrainingProblem

DEFAULT_FUNCTION = "problem"
OURS = Path(__file__).parents[1]


@contextmanager
def _seeded() -> Iterator[None]:
    """Seed all global generators, so that what the user's code draws is the same each time."""
    own, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        try:
            yield
        finally:
            random.setstate(own)
            np.random.set_state(numpys)  # noqa: NPY002


@_seeded()
def problem_from_file(path: Path, function: str = DEFAULT_FUNCTION) -> Problem:
    """Call a function in a Python file.

    The file runs as a module whose objects travel to worker processes by value; the file's folder
    is put at the head of ``sys.path``, as if the file were run as a script. Data that it draws at
    random are the same each time: the global generators are seeded meanwhile, and restored.

    Args:
        path: The file.
        function: Takes nothing, returns a problem.

    Raises:
        ProblemError: Where file or function raise, or no problem comes back.
    """
    path = path.resolve()
    _importable_from(path.parent)
    label = path.name
    module = ModuleType(f"{path.stem}_{sha256(str(path).encode()).hexdigest()[:8]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise _explained(error, label, path) from error
    cloudpickle.register_pickle_by_value(module)
    return _call(module, function, label)


@_seeded()
def problem_from_module(name: str, function: str = DEFAULT_FUNCTION) -> Problem:
    """Call a function in an importable module; the working directory is searched first.

    Args:
        name: Dotted, such as ``package.module``.
        function: Takes nothing, returns a problem.

    Raises:
        ProblemError: Where there is no such module, module or function raise, or no problem comes
            back.
    """
    _importable_from(Path.cwd())
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _explained(error, name, None) from error
        raise ProblemError(
            f"there is no module {error.name!r} in {Path.cwd()} or among the installed packages; "
            "check the name, or give the path of the file as in path/to/task.py:problem"
        ) from None
    except (Exception, SystemExit) as error:
        raise _explained(error, name, None) from error
    return _call(module, function, name)


def _call(module: ModuleType, name: str, label: str) -> Problem:
    file = Path(module.__file__) if module.__file__ else None
    label = f"{label}:{name}"
    function = _function(module, name, label)
    try:
        problem: Problem = function()
        _check(problem, label)
        if file is not None and isinstance(problem, TrainingProblem):
            texts = "".join(_texts(module, file.parent, {}).values())
            problem = replace(problem, source_text=problem.source_text + texts)
        _ = problem.source  # builds the model and a batch, so that their faults are found here
    except ProblemError:
        raise
    except (Exception, SystemExit) as error:
        raise _explained(error, label, file) from error
    return problem


def _function(module: ModuleType, name: str, label: str) -> Callable[[], Any]:
    defined = [
        key
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    function = getattr(module, name, None)
    if function is None:
        there = f"it defines {', '.join(defined)}" if defined else "it defines no function"
        raise ProblemError(
            f"{label}: there is no function {name!r}{suggest(name, defined)}; {there}; "
            f"write def {name if name.isidentifier() else DEFAULT_FUNCTION}(): "
            "return TrainingProblem(...)"
        )
    if not callable(function):
        raise ProblemError(
            f"{label} is a {type(function).__name__}, not a function; "
            f"write def {name}(): and return it from there"
        )
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise ProblemError(
            f"{label} cannot be called without arguments ({error}); give each a default"
        ) from None
    except ValueError:
        pass  # built-in callables may have no signature to look at
    return cast(Callable[[], Any], function)


def _check(problem: object, label: str) -> None:
    # Looked up without evaluation: a property may raise for reasons of its own.
    missing = [
        name
        for name in vars(Problem)
        if not name.startswith("_") and inspect.getattr_static(problem, name, ...) is ...
    ]
    if not isinstance(problem, TrainingProblem) and missing:
        raise ProblemError(
            f"{label} returned a {type(problem).__name__}, which is no problem (it lacks "
            f"{', '.join(missing)}); return a thalweg.TrainingProblem"
        )


def _texts(module: ModuleType, folder: Path, found: dict[Path, str]) -> dict[Path, str]:
    """Collect the sources of a module and of all in its folder that it uses by name."""
    file = Path(getattr(module, "__file__", None) or "<built in>").resolve()
    foreign = "site-packages" in file.parts or folder not in file.parents or not file.is_file()
    if file in found or foreign:
        return found
    found[file] = file.read_text(encoding="utf-8", errors="replace")
    for _, value in sorted(vars(module).items()):
        name = value.__name__ if isinstance(value, ModuleType) else _home(value)
        if isinstance(name, str) and name in sys.modules:
            _texts(sys.modules[name], folder, found)
    return found


def _home(value: object) -> object:
    return getattr(value, "__module__", None) if callable(value) else None


def _importable_from(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _explained(error: BaseException, label: str, file: Path | None) -> ProblemError:
    frames = [(frame.filename, frame.lineno) for frame in extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    own = [frame for frame in frames if _is_own(frame[0], file)]
    where = f" (line {own[-1][1]} of {os.path.basename(own[-1][0])})" if own else ""
    message = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split())
    kind = type(error).__name__
    if isinstance(error, ModuleNotFoundError):
        remedy = "install it in this environment"
    else:
        remedy = "correct it and run again"
    return ProblemError(f"{label} raised {kind}{': ' if message else ''}{message}{where}; {remedy}")


def _is_own(filename: str, file: Path | None) -> bool:
    """Whether a frame is in the user's file, or, without one, in the working directory."""
    path = Path(filename).resolve()
    if file is not None:
        return path == file.resolve()
    foreign = "site-packages" in path.parts or OURS in path.parents or not path.is_file()
    return Path.cwd() in path.parents and not foreign
