"""The commands about papers and claims, with a room of papers that were never written."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

import thalweg.papers
from thalweg.cli import app
from thalweg.core.catalogue import catalogue

MEASURING = """
import os, time

def measure(seed, size):
    time.sleep(float(os.environ.get("NAP", 0)))
    with open("log", "a") as log:
        log.write(f"{seed}\\n")
    return {"gain": 1.0}

def fail(seed, size):
    return 1 / 0
"""
PAPER = """
from measuring import fail, measure
from thalweg.core.claim import Effort, Finding, MeasurementClaim
from thalweg.core.paper import Paper
from thalweg.core.verdicts import typical
from thalweg.optim import DiffGrad

def judge(figures):
    number = typical("gain [m]", [figure["gain"] for figure in figures], paper="2")
    return Finding("not reproduced", "It gained 1 m, half of it.", (number,))

PAPER = Paper(
    "{id}", "On {id}", 1999, "", "It gains.", (DiffGrad,),
    claims=({claims}),
)
"""
CLAIM = (
    'MeasurementClaim("{name}", "It gains [2 m].", {measure}, Effort(1), Effort(6), expect=judge),'
)


@pytest.fixture
def room(tmp_path, monkeypatch, inline):
    """A folder with the papers `honest`, `broken` and `silent` in the room `fiction`."""
    papers = tmp_path / "papers"
    (papers / "fiction").mkdir(parents=True)
    (papers / "fiction" / "__init__.py").touch()
    (tmp_path / "measuring.py").write_text(MEASURING)
    honest = CLAIM.format(name="gains", measure="measure")
    broken = honest + CLAIM.format(name="fails", measure="fail")
    for id, claims in (("honest", honest), ("broken", broken), ("silent", "")):
        text = PAPER.format(id=id, claims=claims)
        (papers / "fiction" / f"{id}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(thalweg.papers, "__path__", [*thalweg.papers.__path__, str(papers)])
    catalogue.cache_clear()
    yield tmp_path
    catalogue.cache_clear()
    for name in [n for n in sys.modules if n.startswith(("thalweg.papers.fiction", "measuring"))]:
        del sys.modules[name]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_claim_is_measured_and_kept(room):
    done = run("claims", "run", "honest", "--size", "full")
    assert done.exit_code == 0, done.output
    for part in ("not reproduced", "It gains [2 m].", "half of it", "gain [m]", "1 to 1"):
        assert part in done.output
    assert not (room / "docs").exists()
    assert "not yet run" in run("claims", "table", "--room", "fiction").output

    written = run("claims", "run", "honest", "--size", "full", "--write")
    assert "docs/claims/honest.json" in written.output
    kept = json.loads((room / "docs/claims/honest.json").read_text())
    assert kept["claims"]["gains"]["verdict"] == "not reproduced"
    assert len((room / "log").read_text().split()) == 6  # nothing was measured twice

    rows = json.loads(run("claims", "table", "--room", "fiction", "--format", "json").output)
    assert [(row["paper"], row["claim"], row["verdict"]) for row in rows] == [
        ("broken", "gains", "not yet run"),
        ("broken", "fails", "not yet run"),
        ("honest", "gains", "not reproduced"),
        ("silent", "", "not yet run"),
    ]
    assert "1 not reproduced; 3 not yet run" in run("claims", "table", "--room", "fiction").output
    assert "<table>" in run("claims", "table", "--format", "html").output
    shown = run("show", "honest").output
    assert "gains: not reproduced" in shown
    assert "half of it" in shown

    (room / "README.md").write_text("<!-- claims: begin -->\n<!-- claims: end -->\n")
    assert "updated" in run("claims", "table", "--update", "README.md").output
    assert "| fiction | 0 | 0 | 1 |" in (room / "README.md").read_text()


def test_a_claim_that_fails_is_reported_and_not_kept(room):
    done = run("claims", "run", "broken", "honest", "--size", "full", "--write")
    assert done.exit_code == 1
    assert "broken, fails: failed" in done.output
    assert "ZeroDivisionError: division by zero" in done.output
    assert "broken: not written" in done.output
    assert [path.name for path in (room / "docs/claims").iterdir()] == ["honest.json"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["claims", "run", "honset"], "did you mean 'honest'"),
        (["claims", "run", "silent"], "states no claim"),
        (["claims", "run", "--size", "huge"], "write smoke or full"),
        (["claims", "run", "honest", "--write"], "no evidence"),
        (["claims", "run", "honest", "--jobs", "0"], "give at least 1"),
        (["claims", "run", "honest", "--store", "no/such/runs.db"], "create it first"),
        (["claims", "table", "--room", "fictoin"], "did you mean 'fiction'"),
        (["claims", "table", "--format", "xml"], "write md, json, html"),
        (["claims", "table", "--update", "none.md"], "cannot read none.md"),
        (["claims", "table", "--update", "none.md", "--room", "optim"], "leave --room out"),
        (["list", "--room", "fictoin"], "did you mean 'fiction'"),
        (["show", "diffgard"], "did you mean 'diffgrad'"),
    ],
)
def test_wrong_input_is_a_sentence(room, arguments, sentence):
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_lists_of_a_room(room):
    fiction, optim = run("list", "--room", "fiction").output, run("list", "--room", "optim").output
    assert "honest" in fiction
    assert "diffgrad" not in fiction
    assert "diffgrad" in optim
    assert "honest" not in optim


def test_a_paper_is_shown_with_all_that_is_known_of_it():
    shown = run("show", "adahessian").output
    for part in (
        "2006.00719",
        "from thalweg.optim import AdaHessian",
        "lr=0.15, searched from 0.001 to 1, on a logarithmic scale",
        "betas=(0.9, 0.999), not searched",
        "beats-adam: ",
        "my loss plateaus",
    ):
        assert part in shown
    assert run("show", "uba").output.startswith("uba-schedule (schedules)")


def test_help_needs_no_torch():
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom thalweg.cli import app\n"
        "done = CliRunner().invoke(app, ['claims', 'run', '--help'])\n"
        "assert done.exit_code == 0 and '--size' in done.output\n"
        "assert 'torch' not in sys.modules and 'optuna' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(room):
    code = (
        "import thalweg.papers\nthalweg.papers.__path__.append('papers')\n"
        "from thalweg.cli import main\nmain()"
    )
    arguments = ("claims", "run", "honest", "--size", "full", "--write", "--jobs", "1")
    command = [sys.executable, "-c", code, *arguments]
    settings = {**os.environ, "PYTHONPATH": str(room), "NAP": "0.3"}
    program = subprocess.Popen(
        command,
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    log = room / "log"
    until = time.monotonic() + 120
    while not (log.exists() and len(log.read_text().split()) >= 2) and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(program.pid, signal.SIGINT)
    _, errors = program.communicate(timeout=180)
    assert program.returncode == 130, errors
    assert "the same command goes on from there" in errors
    assert "Traceback" not in errors
    assert not (room / "docs").exists()

    made = len(log.read_text().split())
    assert made < 6
    again = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert (room / "docs/claims/honest.json").exists()
    assert len(log.read_text().split()) <= 7  # the one that was interrupted, once more
