import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

import thalweg
from thalweg.cli import app

TASK = """
import torch
from torch import nn
from thalweg import TrainingProblem

def problem():
    inputs = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    return TrainingProblem(
        "toy",
        model=lambda: nn.Linear(3, 2),
        train=(inputs, (inputs[:, 0] > 0).long()),
        loss=nn.CrossEntropyLoss(),
        metric="accuracy",
        steps=20,
        evaluations=4,
    )

def broken():
    return 1 / 0

def nothing():
    return 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.py").write_text(TASK)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.usefixtures("inline")
def test_a_race_ends_with_a_verdict_and_a_report(folder):
    done = run("compare", "task.py:problem", "-m", "adamw,sgd", "-n", 2, "--seeds", 2)
    assert done.exit_code == 0, done.output
    assert "On toy, tuned alike, in final accuracy" in done.output
    assert "no difference can reach" in done.output
    assert (folder / "thalweg-report.html").stat().st_size > 100_000

    again = run("compare", "task.py:problem", "-m", "adamw,sgd", "-n", 2, "--seeds", 2, "--json")
    results = json.loads(again.stdout)
    assert [row["contender"] for row in results["table"]] == ["adamw", "sgd"] * 2
    assert results["missing"] == 0
    assert results["settings"]["spaces"]["adamw"]["adamw.lr"]["log"] is True

    page = (folder / "thalweg-report.html").read_text()
    rebuilt = run("report", "--report", "again.html", "--figures", "figures")
    assert rebuilt.exit_code == 0, rebuilt.output
    assert (folder / "again.html").read_text() == page
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".png", ".svg", ".pdf"}


@pytest.mark.usefixtures("inline")
def test_a_configuration_file_sets_options_and_the_command_line_wins(folder):
    (folder / "race.toml").write_text(
        'methods = ["sgd"]\ntrials = 0\nseeds = 3\nreport = "a.html"\njson = true\n'
    )
    done = run("compare", "task.py", "--config", "race.toml", "--seeds", 1)
    assert done.exit_code == 0, done.output
    settings = json.loads(done.stdout)["settings"]
    assert (settings["trials"], settings["seeds"]) == (0, 1)
    assert (folder / "a.html").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["compare"], "no problem is given; name one"),
        (["compare", "digit"], "did you mean 'digits'"),
        (["compare", "digits", "-m", "adamq"], "did you mean 'adam'"),
        (["compare", "digits", "-m", "adamw(lr=-1)"], "Invalid learning rate"),
        (["compare", "digits", "-m", "adamw,adamw"], "given twice"),
        (["compare", "digits", "-m", ""], "cannot read"),
        (["compare", "digits", "--budget", "soon"], "write a number of steps like 5000steps"),
        (["compare", "digits", "--seeds", "0"], "give at least 1"),
        (["compare", "digits", "--trials", "-1"], "give 0 for no tuning"),
        (["compare", "digits", "--jobs", "0"], "give at least 1"),
        (["compare", "digits", "--engine", "slurm"], "write local or ray"),
        (["compare", "digits", "--device", "gpu"], "write cpu, cuda or auto"),
        (["compare", "digits", "--report", "no/such/folder.html"], "a folder that exists"),
        (["compare", "digits", "--store", "no/such/runs.db"], "create it first"),
        (["compare", "digits", "--store", "mongo://here"], "cannot be opened"),
        (["compare", "task.py:missing"], "missing"),
        (["compare", "task.py:broken"], "ZeroDivisionError"),
        (["compare", "task.py:nothing"], "int"),
        (["compare", "nothing.py:problem"], "nothing.py"),
        (["compare", "digits", "--config", "no.toml"], "cannot read the configuration"),
        (["compare", "digits", "--config", "bad.toml"], "did you mean 'trials'"),
        (["compare", "digits", "--config", "worse.toml"], "cannot read the configuration"),
        (["report"], "run thalweg compare first"),
    ],
)
def test_wrong_input_is_a_sentence_and_writes_nothing(folder, arguments, sentence):
    (folder / "bad.toml").write_text("trails = 3\n")
    (folder / "worse.toml").write_text("trials == 3\n")
    before = sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr
    assert "Traceback" not in done.output
    assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == before


@pytest.mark.usefixtures("inline")  # the race that goes on
def test_ctrl_c_says_what_is_done_and_the_same_command_goes_on(folder):
    arguments = [
        *("compare", "task.py:problem", "-m", "adamw,sgd", "-n", "2", "--seeds", "3"),
        *("--budget", "400steps", "--jobs", "1"),
    ]
    race = subprocess.Popen(
        [sys.executable, "-m", "thalweg.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    store = folder / "thalweg-runs.sqlite3"
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and not (store.exists() and complete(store) >= 2):
        time.sleep(0.05)
    os.killpg(race.pid, signal.SIGINT)
    output, errors = race.communicate(timeout=180)
    assert race.returncode == 130, errors
    assert "the same command goes on from there" in errors
    assert "Traceback" not in errors
    assert "The race is unfinished" in output

    made = complete(store)
    again = run(*arguments)
    assert again.exit_code == 0, again.output
    assert "unfinished" not in again.stdout
    assert complete(store) > made


def complete(store):
    import sqlite3

    with sqlite3.connect(store) as database:
        query = "select count(*) from trials where state = 'COMPLETE'"
        try:
            return database.execute(query).fetchone()[0]
        except sqlite3.OperationalError:  # the tables are being made
            return 0


def test_lists_and_version():
    assert "label-smoothing" in run("list").output
    assert "quadratic" in run("problems").output
    assert run("--version").output.strip() == thalweg.__version__
    assert "--methods" in run("compare", "--help").output


def test_scale_answers_within_its_ranges_and_says_where_it_leaves_them():
    done = run("scale", "--params", 1e9, "--tokens", 1e11, "--seq-len", 2048)
    assert done.exit_code == 0, done.output
    assert "Peak learning rate: 0.00163" in done.output
    assert "Batch: 1.11e+06 tokens (541 sequences)" in done.output

    refused = run("scale", "--params", 7e9, "--tokens", 1e11)
    assert refused.exit_code == 2
    assert "n_params = 7e+09 lies outside" in refused.stderr
    assert "--extrapolate" in refused.stderr

    told = run("scale", "--params", 7e9, "--tokens", 1e11, "--extrapolate", "--json")
    assert told.exit_code == 0
    assert "Note: n_params = 7e+09 lies outside" in told.stderr
    assert json.loads(told.stdout)["batch_sequences"] is None

    assert "give a positive number" in run("scale", "--params", 0, "--tokens", 1e11).stderr
