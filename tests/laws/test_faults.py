"""The laws catch what they are for: broken objects, and the law that must see each."""

import importlib
import pkgutil
from types import SimpleNamespace

import pytest

from tests.laws import faults
from tests.laws.cases import Case, Laws, obey
from tests.laws.counting import Count, Made
from thalweg.core.example import Example

MODULES = [
    importlib.import_module(f"{faults.__name__}.{entry.name}")
    for entry in pkgutil.iter_modules(faults.__path__)
]
FAULTS = [
    pytest.param(Case(f"[{fault.name}]", fault.example), fault.law, fault.says, id=fault.name)
    for module in MODULES
    for fault in module.FAULTS
]
SOUND = [
    pytest.param(case := Case("[sound]", example), law, id=f"{case}-{law.__name__}")
    for module in MODULES
    for example in getattr(module, "SOUND", ())
    for law in Laws.of_interface(example.interface).of(example)
]


@pytest.mark.parametrize(("case", "law", "says"), FAULTS)
def test_the_law_catches_the_fault(case, law, says):
    with pytest.raises(Exception, match=says):
        obey(law, case.example)


@pytest.mark.parametrize(("case", "law"), SOUND)
def test_what_is_not_broken_obeys(case, law):
    obey(law, case.example)


def holds(example, check):
    check(example.object, "there is no object")


def fails(example, check):
    with check.part("fails:part"):
        check(False, "it does not hold")


@pytest.mark.parametrize(
    ("law", "excused", "says"),
    [
        (holds, "holds", "holds after all"),
        (fails, "fails", ""),
        (fails, "fails:part", ""),
        (fails, "fails:other", "it does not hold"),
        (holds, "holds:part", "exceptions for nothing"),
        (lambda example, check: None, "other", "made no check"),
    ],
)
def test_an_exception_is_strict(law, excused, says):
    example = Example(print, "function", exceptions={excused: "as a test has it"})
    if not says:
        assert obey(law, example)
    else:
        with pytest.raises(AssertionError, match=says):
            obey(law, example)


def test_a_paper_that_is_checked_too_little_fails_the_run():
    def faults(*counts, tests=2, minimum=10):
        count = Count(is_worker=False)
        count.made = [
            Made("paper", "optimizer", law, n, minimum, tests)
            for law, n in zip("abc", counts, strict=False)
        ]
        session = SimpleNamespace(exitstatus=pytest.ExitCode.OK)
        count.pytest_sessionfinish(session)
        assert bool(count.faults()) == (session.exitstatus != pytest.ExitCode.OK)
        return count.faults()

    assert faults(6, 4) == []
    assert faults(6, 3) == ["paper: 9 checks as optimizer, at least 10 due"]
    assert faults(16, 0) == ["paper: no check of the law b"]
    assert faults(1) == []  # a selection of the tests was run
