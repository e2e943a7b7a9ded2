import os
import signal

import pytest
from hypothesis import settings

from tests.laws.counting import pytest_configure  # noqa: F401

# Tests run side by side on all cores: threads of one would spin while they wait for a core, in the
# workers of a race, which ask for threads of their own, as well.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1"}

# A shell's background jobs are deaf to Ctrl-C, and so would be the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Machines that run tests are shared: an example may take its time, and must be the same each time.
settings.register_profile("thalweg", deadline=None, derandomize=True)
settings.load_profile("thalweg")


@pytest.fixture
def inline(monkeypatch):
    """Races are run in this process, and spare the start of workers."""
    from tests.bench.inline import InThisProcess

    monkeypatch.setattr("thalweg.bench.compare.LocalEngine", InThisProcess)
