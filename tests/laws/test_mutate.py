"""The mutation runner: a mutant that matters is caught, one that does not survives."""

import importlib
import sys
import textwrap
from pathlib import Path

import pytest

from tests.laws import mutate

SOURCE = '''
    """A module."""

    def halve(x: float, *, twice: bool = False) -> float:
        """Return a half, or a quarter."""
        if x < 0:
            raise ValueError(f"x is {x - 0}; give more")
        unused = 1
        scaled = x * 0.5
        if twice:
            scaled /= 2
        return scaled
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    path = tmp_path / "halving.py"
    path.write_text(textwrap.dedent(SOURCE))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "halving", path
    sys.modules.pop("halving", None)


def oracle():
    halve = importlib.import_module("halving").halve
    assert halve(3.0) == 1.5


def hunt(module, *oracles, limit=60.0):
    found = list(mutate.mutants(*module))
    fates = mutate.hunt(found, lambda _: ((x.__name__, x) for x in oracles), jobs=2, limit=limit)
    return {fate.mutant.after: fate.killer for fate in fates}


def test_a_bad_mutant_is_caught_and_a_harmless_one_survives(module):
    fates = hunt(module, oracle)
    assert fates["scaled = x / 0.5"] == "oracle"
    assert fates["scaled = -(x * 0.5)"] == "oracle"
    assert fates["scaled = x * 1.0"] == "oracle"
    assert fates["if True:"] == "oracle"
    assert fates["return -scaled"] == "oracle"
    assert {after for after, killer in fates.items() if killer is None} == {
        *("unused = 2", "if False:", "(dropped)", "scaled *= 2", "scaled /= 3")
    }


def test_what_only_speaks_is_left_alone(module):
    altered = [mutant.before for mutant in mutate.mutants(*module)]
    assert not any("ValueError" in line or "x < 0" in line for line in altered)
    assert all(mutant.line > 7 for mutant in mutate.mutants(*module))


def test_nothing_is_altered_outside_the_process(module):
    before = module[1].read_text()
    hunt(module, oracle)
    assert module[1].read_text() == before
    oracle()


def test_altered_code_is_put_into_loaded_functions(module, monkeypatch):
    halve = importlib.import_module("halving").halve
    monkeypatch.setattr(halve, "__module__", "thalweg.halving")
    mutate._loaded_functions.cache_clear()
    mutant = next(m for m in mutate.mutants(*module) if m.after == "scaled = x * 1.0")
    assert mutate._graft(mutant)
    assert halve(3.0) == 3.0
    mutate._loaded_functions.cache_clear()


def test_a_mutant_that_hangs_is_killed(module):
    def waits():
        halve = importlib.import_module("halving").halve
        while halve(3.0) != 1.5:
            pass

    assert hunt(module, waits, limit=2.0)["return -scaled"] == "the clock: it hangs"


def fate(line, killer):
    return mutate.Fate(mutate.Mutant("m", Path("m.py"), "f", line, f"x{line}", "y", None), killer)


def test_survivors_are_explained_or_not():
    fates = [fate(4, None), fate(3, "oracle"), fate(2, "law of example 0"), fate(1, None)]
    fates.append(fate(6, mutate.ROOM))
    report = mutate.judge(fates, {"x1 -> y": "", "x2 -> y": "", "x5 -> y": ""})
    assert str(report).splitlines() == [
        "5 mutants, 1 caught by oracles, 1 caught by laws, 1 caught by tests, "
        "1 explained, 1 unexplained",
        "  m.py:4: x4 -> y",
        "  explained, yet no survivor: x2 -> y",
        "  explained, yet no survivor: x5 -> y",
    ]


def test_every_explanation_is_of_a_mutant():
    for module, reasons in mutate.explanations().items():
        known = mutate.changes(mutate._path(module))
        assert not set(reasons) - known, f"in {module} there is no such change"


def test_every_papers_objects_are_found(capsys):
    papers = mutate._paper_modules()
    homes = mutate._homes(papers)
    assert {paper for users in homes.values() for paper in users} == set(papers)
    assert "hessian-spectrum" in homes["thalweg.diagnostics._lanczos"]
    assert mutate.main(["--list", next(iter(papers))]) == 0
    assert "->" in capsys.readouterr().out
