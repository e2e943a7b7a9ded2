import importlib
import tempfile
import warnings
from pathlib import Path

import pytest

from tests.bench.racing import STAND_IN
from thalweg.bench import store as store_module

MEMORY = Path("/dev/shm")  # commits there need not wait for a disk


@pytest.fixture
def folder(tmp_path):
    if not MEMORY.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="thalweg-") as name:
        yield Path(name)


@pytest.fixture
def path(folder):
    """Of a store that does not exist yet."""
    return folder / "runs.sqlite3"


@pytest.fixture
def impatient(monkeypatch):
    """Let claims die soon."""
    monkeypatch.setattr(store_module, "HEARTBEAT", 0.1)
    monkeypatch.setattr(store_module, "GRACE", 1.2)


@pytest.fixture
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def torchless(monkeypatch):
    """Let the workers of engines do without torch."""
    importlib.import_module("torch")  # but not this process
    monkeypatch.syspath_prepend(STAND_IN)
