"""Break a paper's method one spot at a time and list what its oracles and laws do not notice.

    python -m tests.laws.mutate [ID ...] [--module M] [--new] [--list] [--jobs N]

A spot is a statement or an expression in a function of a file that defines something the paper
provides, or that this is computed with: it is dropped, negated, frozen, or replaced by its
neighbour. What several papers compute with is altered with the first of them, and what that does
not notice is shown to the others, then to the tests of its room. Nothing on disk changes: a forked
process puts the altered code in place of the function's, and where nobody notices, imports the
altered module in place of the file, as some of it may have run on import. A survivor is either
equivalent to the original, which `explained.toml` must say, or asks for a sharper oracle.
"""

import argparse
import ast
import contextlib
import copy
import functools
import gc
import importlib.abc
import importlib.util
import inspect
import math
import multiprocessing
import os
import signal
import sys
import time
import tomllib
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.machinery import ModuleSpec
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import pytest

EXPLAINED = Path(__file__).with_name("explained.toml")
SOURCES = str(Path(str(importlib.util.find_spec("thalweg").origin)).parent)
CHEAP = 1.0  # seconds of work; a law or test that takes longer is not asked about a mutant
ROOM = "the tests of its room"
HANGS = "the clock: it hangs"

_PAIRS = [
    *((ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.Lt, ast.LtE), (ast.Gt, ast.GtE)),
    *((ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn), (ast.And, ast.Or)),
]
SWAPPED: dict[type, type] = {
    **dict(_PAIRS),
    **{right: left for left, right in _PAIRS},
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
}
_NAMES = "add sub, add_ sub_, mul div, mul_ div_, min max, amin amax, argmin argmax, sum mean"
RENAMED = {
    name: other
    for pair in _NAMES.split(", ")
    for name, other in (pair.split(), reversed(pair.split()))
}
_LEFT_OUT = """abs square sqrt rsqrt reciprocal exp expm1 log log1p sigmoid softplus tanh relu
    sign neg detach clone flip cumsum cumprod clamp roll logical_not"""
LEFT_OUT = frozenset(_LEFT_OUT.split())  # calls on a tensor that are as well typed without
REFUSING = {"check", "validate", "warn"}
SPEAKING = {"__repr__", "extra_repr", "chart", "validate"}
NUMERIC = (ast.BinOp, ast.Call, ast.Name, ast.Attribute, ast.Subscript, ast.IfExp, ast.UnaryOp)


@dataclass(frozen=True)
class Mutant:
    """A module with one spot of a function altered: what was there, what is there now."""

    module: str
    path: Path
    function: str
    line: int
    before: str
    after: str
    code: CodeType = field(repr=False)

    @property
    def altered(self) -> tuple[str, str]:
        """Where the spot is: a file and the qualified name of a function in it."""
        return str(self.path), self.function

    @property
    def change(self) -> str:
        """What an explanation calls it by."""
        return f"{self.before} -> {self.after}"

    def __str__(self) -> str:
        return f"{_relative(self.path)}:{self.line}: {self.change}"


@dataclass(frozen=True)
class Fate:
    """What became of a mutant: who noticed it; nobody, if it survived."""

    mutant: Mutant
    killer: str | None


# Alterations --------------------------------------------------------------------------------


def mutants(module: str, path: Path) -> Iterator[Mutant]:
    """Return every mutant of a module's functions."""
    tree = ast.parse(path.read_text())
    for function, line, before, after in _altered(tree):
        if code := _compiled(tree, path):
            yield Mutant(module, path, function, line, before, after, code)


def changes(path: Path) -> set[str]:
    """Return what the mutants of a file are called by, and those that do not compile."""
    altered = _altered(ast.parse(path.read_text()))
    return {f"{before} -> {after}" for _, _, before, after in altered}


def _altered(tree: ast.Module) -> Iterator[tuple[str, int, str, str]]:
    """Alter one spot of a file after the other; while it is yielded the tree is so altered."""
    as_written = functools.cache(_line)  # asked for nodes that are not altered at the time
    for qualname, function in _functions(tree):
        seen: set[tuple[int, str]] = set()
        flags = {
            item.arg
            for item in ast.walk(function.args)
            if isinstance(item, ast.arg) and item.annotation and _line(item.annotation) == "bool"
        }
        for statement, holder, name, index in _spots(function, None):
            original = _get(holder, name, index)
            line = getattr(original, "lineno", None) or statement.lineno
            around = next(  # the most of it that is short to read
                (part for part in (statement, holder) if len(as_written(part)) < 80), original
            )
            before = as_written(around)
            for altered in _alterations(original, holder, _bound(function, statement), flags):
                _set(holder, name, index, ast.copy_location(altered, original))
                shown = altered if original is around else around
                after = "(dropped)" if isinstance(altered, ast.Pass) else _line(shown)
                if (line, after) not in seen and after != before:
                    seen.add((line, after))
                    yield qualname, line, before, after
                _set(holder, name, index, original)


def _functions(
    holder: ast.Module | ast.ClassDef, prefix: str = ""
) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Return the functions and methods of a file by their qualified names; those inside not."""
    for node in holder.body:
        if isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef) and not _is_talk(node):
            yield prefix + node.name, node


def _compiled(tree: ast.Module, path: Path) -> CodeType | None:
    with contextlib.suppress(SyntaxError), warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        return compile(ast.fix_missing_locations(tree), str(path), "exec")
    return None


def _spots(
    node: ast.AST, statement: ast.stmt | None
) -> Iterator[tuple[ast.stmt, ast.AST, str, int | None]]:
    """Walk the statements and expressions that are no signature, docstring or refusal."""
    for name, value in ast.iter_fields(node):
        if isinstance(node, ast.FunctionDef) and name != "body":
            continue
        if name in ("annotation", "format_spec", "ctx"):
            continue
        children = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        for index, child in children:
            if not isinstance(child, ast.AST) or _is_talk(child):
                continue
            holder = child if isinstance(child, ast.stmt) else statement
            if holder is not None:
                yield holder, node, name, index
            yield from _spots(child, holder)


def _is_talk(node: ast.AST) -> bool:
    """Whether a node only documents, refuses or imports."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Raise() | ast.Assert() | ast.JoinedStr():
            return True
        case ast.Import() | ast.ImportFrom() | ast.Global() | ast.Nonlocal():
            return True
        case ast.If(body=body, orelse=[]):
            return isinstance(body[-1], ast.Raise)
        case ast.keyword(arg="strict" | "keepdim" | "check_invariants"):
            return True
        case ast.Expr(value=ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name))):
            return name in REFUSING
        case ast.FunctionDef(name=name):
            return name in SPEAKING
    return False


def _alterations(
    node: ast.AST, holder: ast.AST, bound: set[str], flags: set[str]
) -> Iterator[ast.AST]:
    match node:
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign():
            yield ast.Pass()
        case ast.Assign(targets=[target]) if _names(target) and not _names(target) & bound:
            pass  # without it there would only be a NameError
        case ast.Assign() | ast.AnnAssign() | ast.Delete() | ast.Continue() | ast.Break():
            yield ast.Pass()
        case ast.While():
            yield _with(node, test=ast.Constant(False))
        case ast.If() | ast.IfExp():
            yield from (_with(node, test=ast.Constant(value)) for value in (True, False))
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in SWAPPED:
            yield _with(node, op=SWAPPED[type(op)]())
        case ast.Compare(ops=[op]) if type(op) in SWAPPED:
            yield _with(node, ops=[SWAPPED[type(op)]()])
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield ast.Constant(2 * value or 1.0)
        case ast.Call(func=ast.Attribute(value=value, attr=attr) as function):
            if attr in RENAMED:
                yield _with(node, func=_with(function, attr=RENAMED[attr]))
            in_place = attr.endswith("_") and not attr.startswith("_")
            if (in_place or attr in LEFT_OUT) and not isinstance(holder, ast.Expr):
                yield value
            first, *rest = node.args or [ast.Constant(None)]
            if in_place and attr not in ("add_", "sub_") and not isinstance(first, ast.Constant):
                yield _with(node, args=[_negative(first), *rest])
        case ast.Call(func=ast.Name(id=name) as function) if name in RENAMED:
            yield _with(node, func=_with(function, id=RENAMED[name]))
    if isinstance(node, ast.AugAssign) and type(node.op) in SWAPPED:
        yield _with(node, op=SWAPPED[type(node.op)]())
    valued = isinstance(holder, ast.Assign | ast.AugAssign | ast.Return | ast.Dict)
    is_flag = isinstance(node, ast.Name) and node.id in flags
    if isinstance(node, NUMERIC) and valued and not _is_target(node, holder) and not is_flag:
        yield _negative(node)


def _is_target(node: ast.AST, holder: ast.AST) -> bool:
    match holder:
        case ast.Assign(targets=targets):
            return node in targets
        case ast.AugAssign(target=target):
            return node is target
        case ast.Dict(keys=keys):
            return node in keys
    return False


def _negative(node: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.USub(), node)


def _with(node: ast.AST, **fields: object) -> ast.AST:
    altered = copy.copy(node)
    for name, value in fields.items():
        setattr(altered, name, value)
    return altered


def _bound(function: ast.FunctionDef, statement: ast.stmt) -> set[str]:
    """Return the names that have a value before a statement of the function."""
    arguments = {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}
    return arguments | {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name)
        and isinstance(node.ctx, ast.Store)
        and node.lineno < statement.lineno
    }


def _names(target: ast.expr) -> set[str]:
    """Return the variables an assignment sets; none if it also sets something else."""
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    return {part.id for part in parts} if all(isinstance(p, ast.Name) for p in parts) else set()


def _get(holder: ast.AST, name: str, index: int | None) -> ast.AST:
    value = getattr(holder, name)
    return value if index is None else value[index]


def _set(holder: ast.AST, name: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(holder, name, node)
    else:
        getattr(holder, name)[index] = node


def _line(node: ast.AST) -> str:
    return ast.unparse(node).partition("\n")[0]


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


# Trials -------------------------------------------------------------------------------------

Check = tuple[str, Callable[[], object]]
Trial = Callable[[Mutant], Iterator[Check]]


@dataclass(frozen=True)
class Passed:
    """What the unaltered module passes.

    Args:
        seconds: How long it takes.
        functions: The project's functions that it calls, as file and qualified name.
    """

    seconds: float
    functions: frozenset[tuple[str, str]]


def checks(paper_module: str) -> Iterator[Check]:
    """Return a paper's oracles, then the laws of its examples."""
    paper = _paper(paper_module)
    yield from ((oracle.__name__, oracle) for oracle in paper.oracles)
    cases = importlib.import_module("tests.laws.cases")
    processes = importlib.import_module("tests.laws.processes")
    for number, example in enumerate(paper.all_examples):
        for law in cases.Laws.of_interface(example.interface).of(example):
            if law not in processes.LAWS:  # in processes that import the file unaltered
                name = f"{law.__name__} of example {number}"
                yield name, functools.partial(cases.obey, law, example)


def named_checks(paper_module: str, names: Sequence[str]) -> Iterator[Check]:
    """Return some of a paper's checks, in the order of their names."""
    found = dict(checks(paper_module))
    yield from ((name, found[name]) for name in names)


def measure(paper_module: str) -> dict[str, Passed]:
    """Return those of a paper's checks that pass."""
    passed: dict[str, Passed] = {}
    for name, check in checks(paper_module):
        _forget_results()  # or only the first of them would call what they share
        start = time.process_time()
        with contextlib.suppress(Exception), _watched() as functions:
            check()
            passed[name] = Passed(time.process_time() - start, frozenset(functions))
    return passed


class RoomTests:
    """The tests of a room, as a plugin of pytest.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.passed: dict[str, Passed] = {}
        self.failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Watch a test."""
        start = time.process_time()
        with _watched() as functions:
            done = yield
        if item.nodeid not in self.failed:
            self.passed[item.nodeid] = Passed(time.process_time() - start, frozenset(functions))
        return done

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember what fails: tests that start processes do, in one that may start none."""
        if report.failed:
            self.failed.add(report.nodeid)

    def measure(self) -> dict[str, Passed]:
        """Return what passes, with all that the tests of its file call: fixtures are shared."""
        _run_pytest(str(self.folder), plugins=[self])
        files: dict[str, set[tuple[str, str]]] = {}
        for name, one in self.passed.items():
            files.setdefault(name.partition("::")[0], set()).update(one.functions)
        return {
            name: replace(one, functions=frozenset(files[name.partition("::")[0]]))
            for name, one in self.passed.items()
        }


def room_checks(names: Sequence[str]) -> Iterator[Check]:
    """Return some tests as a single check."""

    def pass_all() -> None:
        assert _run_pytest("-x", *names) == 0

    if names:
        yield ROOM, pass_all


def _run_pytest(*arguments: str, plugins: Sequence[object] = ()) -> int:
    """Run tests in this process and return pytest's exit code."""
    alone = "-o", "addopts=", "-p", "no:xdist", "-p", "no:cacheprovider"
    return pytest.main([*alone, *arguments], plugins=list(plugins))


@contextlib.contextmanager
def _watched() -> Iterator[set[tuple[str, str]]]:
    """Collect the project's functions that are called, as file and qualified name."""
    called: set[tuple[str, str]] = set()

    def trace(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if code.co_filename.startswith(SOURCES):
            called.add((code.co_filename, code.co_qualname.partition(".<locals>")[0]))

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield called
    finally:
        sys.settrace(before)


def survey(measured: Callable[[], dict[str, Passed]]) -> dict[str, Passed]:
    """Return what is measured in another process.

    What this imports of others' is imported here too, once for all processes to come.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def work() -> None:
        _silence()
        theirs.send((measured(), set(sys.modules)))

    process = context.Process(target=work, daemon=True)
    process.start()
    theirs.close()
    passed, loaded = ours.recv()
    process.join()
    for name in sorted(loaded - set(sys.modules)):
        if not _is_ours(name):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    return passed


def hunt(
    found: Sequence[Mutant],
    trial: Trial,
    *,
    imported: Collection[tuple[str, str]] = (),
    jobs: int = 1,
    limit: float = 60.0,
) -> Iterator[Fate]:
    """Try each mutant in a process of its own, which is killed when its time is up.

    Args:
        found: The mutants.
        trial: Called where the mutant is in place of the original; returns the checks.
        imported: Functions that run on import: with one of them altered, this is done anew.
        jobs: Processes at a time.
        limit: Seconds a process may take.

    Returns:
        The fates, in order of completion.
    """
    waiting = list(reversed(found))
    running: dict[Connection, tuple[Mutant, BaseProcess, float]] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            process, pipe = _start(waiting[-1], trial, waiting[-1].altered in imported)
            running[pipe] = waiting.pop(), process, time.monotonic() + limit
        ready = set(wait(running, timeout=0.2))
        for pipe, (mutant, process, deadline) in list(running.items()):
            if pipe in ready or time.monotonic() > deadline:
                process.kill()
                process.join()
                yield Fate(mutant, _verdict(pipe, process) if pipe in ready else HANGS)
                del running[pipe]


def _start(mutant: Mutant, trial: Trial, anew: bool) -> tuple[BaseProcess, Connection]:
    _dependents(mutant.module)  # found once, here
    _loaded_functions()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_try, args=(mutant, trial, anew, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _try(
    mutant: Mutant,
    trial: Trial,
    anew: bool,
    answer: Connection,
) -> None:
    """Report the first check that fails; an empty name where none does."""
    _silence()
    name = "import"
    try:
        if anew or not _graft(mutant):
            _replace(mutant)
        for name, check in trial(mutant):  # noqa: B007
            check()
        name = ""
    except BaseException:
        pass
    answer.send(name)


def _silence() -> None:
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    warnings.simplefilter("ignore")


def _verdict(pipe: Connection, process: BaseProcess) -> str | None:
    try:
        return pipe.recv() or None
    except EOFError:
        return HANGS if process.exitcode == -signal.SIGALRM else "a crash of the interpreter"


def _graft(mutant: Mutant) -> bool:
    """Put altered code into the functions that are loaded; return False where that cannot be."""
    pairs = [
        (function, altered)
        for altered in _codes(mutant.code)
        if altered.co_qualname == mutant.function
        for function in _loaded_functions().get(_place(altered), ())
    ]
    if not all(f.__code__.co_freevars == code.co_freevars for f, code in pairs):
        return False
    for function, altered in pairs:
        function.__code__ = altered
    _forget_results()
    return bool(pairs)


def _forget_results() -> None:
    """Clear the caches of the project's functions."""
    for module in filter(_is_ours, sys.modules):
        for value in vars(sys.modules[module]).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def _codes(code: CodeType) -> Iterator[CodeType]:
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield part
            yield from _codes(part)


def _place(code: CodeType) -> tuple[str, int, str]:
    return code.co_filename, code.co_firstlineno, code.co_qualname


@functools.cache
def _loaded_functions() -> dict[tuple[str, int, str], list[FunctionType]]:
    """Return the project's functions by where they are written."""
    found: dict[tuple[str, int, str], list[FunctionType]] = {}
    for thing in gc.get_objects():
        if type(thing) is FunctionType and _is_ours(thing.__module__ or ""):
            found.setdefault(_place(thing.__code__), []).append(thing)
    return found


def _replace(mutant: Mutant) -> None:
    """Forget the modules that import the mutant's, so that they are imported again around it."""
    for name in _dependents(mutant.module):
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Finder(mutant))


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("thalweg", "tests")


@functools.cache
def _dependents(module: str) -> set[str]:
    """Return a loaded module and those of the project that import it, directly or not."""
    imports = {
        name: _imports(Path(loaded.__file__))
        for name, loaded in sys.modules.items()
        if _is_ours(name) and getattr(loaded, "__file__", None)
    }
    found, fresh = set(), {module}
    while fresh:
        found |= fresh
        fresh = {name for name, imported in imports.items() if imported & found} - found
    return found


def _imports(path: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads a mutant where its module is asked for."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if name != self.mutant.module:
            return None
        return importlib.util.spec_from_file_location(name, self.mutant.path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(self.mutant.code, module.__dict__)


# Survivors ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """What became of a module's mutants."""

    by_oracles: int
    by_laws: int
    by_tests: int
    explained: list[Mutant]
    unexplained: list[Mutant]
    needless: list[str]  # explanations of what is caught, or is no mutant any more

    def __str__(self) -> str:
        counts = {
            "caught by oracles": self.by_oracles,
            "caught by laws": self.by_laws,
            "caught by tests": self.by_tests,
            "explained": len(self.explained),
            "unexplained": len(self.unexplained),
        }
        lines = [
            f"{sum(counts.values())} mutants, "
            + ", ".join(f"{count} {what}" for what, count in counts.items()),
            *(f"  {mutant}" for mutant in self.unexplained),
            *(f"  explained, yet no survivor: {change}" for change in self.needless),
        ]
        return "\n".join(lines)


def judge(fates: Sequence[Fate], reasons: Mapping[str, str]) -> Report:
    """Sort fates by who caught the mutant, or whether there is a reason that nobody did."""
    killers = [fate.killer for fate in fates if fate.killer]
    by_laws = sum(" of example " in killer for killer in killers)
    by_tests = killers.count(ROOM)
    survivors = sorted((fate.mutant for fate in fates if not fate.killer), key=lambda m: m.line)
    return Report(
        by_oracles=len(killers) - by_laws - by_tests,
        by_laws=by_laws,
        by_tests=by_tests,
        explained=[mutant for mutant in survivors if mutant.change in reasons],
        unexplained=[mutant for mutant in survivors if mutant.change not in reasons],
        needless=sorted(set(reasons) - {mutant.change for mutant in survivors}),
    )


def explanations() -> dict[str, dict[str, str]]:
    """Return by module and change why a mutant is as good as the original."""
    found: dict[str, dict[str, str]] = {}
    for entry in tomllib.loads(EXPLAINED.read_text())["survivors"]:
        for change in entry["changes"]:
            found.setdefault(entry["module"], {})[change] = entry["why"]
    return found


# The command ---------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt for survivors; return 1 if some are not explained."""
    parser = argparse.ArgumentParser(prog="python -m tests.laws.mutate", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID", help="papers; all where none is given")
    parser.add_argument("--list", action="store_true", help="list the mutants, try none")
    parser.add_argument(
        "--module", action="append", help="alter this module instead of the paper's own"
    )
    parser.add_argument("--new", action="store_true", help="pass over what is explained")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    options = parser.parse_args(arguments)
    with _watched() as imported:
        papers = _paper_modules()
        for paper_module in papers.values():  # the laws, too, before the processes fork
            list(checks(paper_module))
    if unknown := set(options.ids) - set(papers):
        parser.error(f"no paper is called {', '.join(sorted(unknown))}")
    homes, chosen = _homes(papers), options.ids or list(papers)
    if options.module:
        homes = {module: options.ids or homes[module] for module in options.module}
    else:
        homes = {module: users for module, users in homes.items() if users[0] in chosen}
    reasons, unexplained = explanations(), 0
    for module, users in homes.items():
        if options.list:
            print(*mutants(module, _path(module)), sep="\n")
            continue
        start, known = time.monotonic(), reasons.get(module, {})
        found = [
            mutant
            for mutant in mutants(module, _path(module))
            if not (options.new and mutant.change in known)
        ]
        fates = _fates([papers[name] for name in users], found, imported, options.jobs)
        report = judge(fates, {} if options.new else known)
        unexplained += len(report.unexplained)
        print(f"{users[0]}, {module}, {time.monotonic() - start:.0f} s: {report}", flush=True)
    return bool(unexplained)


@dataclass
class Hunters:
    """Who may notice a mutant: a paper's oracles and laws, or the tests of a room.

    Args:
        passed: What they pass without it.
        ask: Returns checks by name.
        always: Those that are asked whatever they cost.
    """

    passed: dict[str, Passed]
    ask: Callable[[Sequence[str]], Iterator[Check]]
    always: set[str]

    def __post_init__(self) -> None:
        if broken := self.always - set(self.passed):
            raise SystemExit(f"{', '.join(broken)} fails without any mutation")
        quick_first = sorted(self.passed, key=lambda name: self.passed[name].seconds)
        self.cheap = [
            name for name in quick_first if self.passed[name].seconds < CHEAP or name in self.always
        ]
        unaltered = Mutant("", Path(), "", 0, "", "", compile("", "", "exec"))
        control = next(hunt([unaltered], lambda _: self.ask(self.cheap), limit=600.0))
        if control.killer:
            raise SystemExit(f"{control.killer} notices a mutant where there is none")

    def try_on(
        self, found: Sequence[Mutant], imported: Collection[tuple[str, str]], jobs: int
    ) -> list[Fate]:
        """Ask those that call a mutant's function: all, if it runs on import."""

        total = sum(self.passed[name].seconds for name in self.cheap)

        def trial(mutant: Mutant) -> Iterator[Check]:
            everything = mutant.altered in imported
            calling = [n for n in self.cheap if mutant.altered in self.passed[n].functions]
            for name, check in self.ask(self.cheap if everything else calling):
                seconds = self.passed[name].seconds if name in self.passed else total
                yield name, functools.partial(_in_time, check, 5 + 10 * seconds)

        return list(hunt(found, trial, imported=imported, jobs=jobs, limit=600.0))


def _in_time(check: Callable[[], object], limit: float) -> None:
    """Make a check in the main thread of a process that is killed if it takes longer."""
    signal.alarm(math.ceil(limit))
    check()
    signal.alarm(0)


@functools.cache
def paper_hunters(paper_module: str) -> Hunters:
    """Return a paper's oracles and laws."""
    oracles = {oracle.__name__ for oracle in _paper(paper_module).oracles}
    passed = survey(functools.partial(measure, paper_module))
    return Hunters(passed, functools.partial(named_checks, paper_module), oracles)


@functools.cache
def room_hunters(room: str) -> Hunters | None:
    """Return the tests of a room, if it has some."""
    folder = Path(__file__).parents[1] / room
    if not folder.is_dir():
        return None
    return Hunters(survey(RoomTests(folder).measure), room_checks, set())


def _fates(
    paper_modules: Sequence[str],
    found: Sequence[Mutant],
    imported: Collection[tuple[str, str]],
    jobs: int,
) -> list[Fate]:
    """Show a module's mutants to one paper after the other, then to the tests of their room."""
    left, fates = found, list[Fate]()
    rooms = {mutant.module.split(".")[1] for mutant in found}
    makers = [
        *(functools.partial(paper_hunters, name) for name in paper_modules),
        *(functools.partial(room_hunters, room) for room in rooms),
    ]
    for make in makers:
        if left and (hunters := make()):
            tried = hunters.try_on(left, imported, jobs)
            fates += [fate for fate in tried if fate.killer]
            left = [fate.mutant for fate in tried if not fate.killer]
    for mutant in left:
        print(f"  not noticed: {mutant}", file=sys.stderr, flush=True)
    return fates + [Fate(mutant, None) for mutant in left]


def _path(module: str) -> Path:
    return Path(inspect.getfile(importlib.import_module(module)))


def _paper_modules() -> dict[str, str]:
    """Return the module of each paper, by id."""
    catalogue = importlib.import_module("thalweg.core.catalogue").catalogue
    known = catalogue().papers
    modules = {id(vars(m).get("PAPER")): name for name, m in list(sys.modules.items())}
    return {name: modules[id(paper)] for name, paper in known.items()}


def _paper(module: str) -> Any:
    return importlib.import_module(module).PAPER


def _homes(papers: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the modules that make what papers provide, each with the papers that do so.

    They are those in which something is written that a paper provides, and the private ones that
    these import, directly or not.
    """
    homes: dict[str, list[str]] = {}
    for name, paper_module in papers.items():
        own = dict.fromkeys(thing.__module__ for thing in _paper(paper_module).provides)
        fresh = list(own)
        for module in fresh:  # which grows
            imported = sorted(_imports(_path(module)) & set(sys.modules))
            fresh += [m for m in imported if _is_private(m) and m not in fresh]
            homes.setdefault(module, []).append(name)
    return homes


def _is_private(module: str) -> bool:
    return _is_ours(module) and module.rpartition(".")[2].startswith("_")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
