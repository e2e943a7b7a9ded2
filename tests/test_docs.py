"""Every example in the documentation runs."""

import doctest
import importlib
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import thalweg
from thalweg.cli import app
from thalweg.core.catalogue import catalogue

ROOT = Path(__file__).parents[1]
MODULES = [entry.name for entry in pkgutil.walk_packages(thalweg.__path__, "thalweg.")]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)
    )
]
COMMANDS = [
    pytest.param(command, id=f"{page.name}: {command}")
    for page in PAGES
    for command in re.findall(r"^(?:.*&& )?(thalweg .*?)(?:  +#.*)?$", page.read_text(), re.M)
]


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_docstrings_hold(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.failed == 0


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("block", BLOCKS)
def test_the_code_on_the_pages_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "<page>", "exec"), {"__name__": "page"})


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_on_the_pages_exist(command):
    parser, words = typer.main.get_command(app), shlex.split(command)[1:]
    while hasattr(parser, "commands"):
        parser = parser.commands[words.pop(0)]
    parser.make_context("thalweg", words)


def test_the_site_is_built_without_a_warning(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    for paper in catalogue().papers:
        assert (tmp_path / "papers" / paper / "index.html").is_file()
    for page in tmp_path.rglob("*.html"):
        assert "built-in method" not in page.read_text()
