from hypothesis import settings

from tests.laws.counting import pytest_configure  # noqa: F401

# Machines that run tests are shared: an example may take its time, and must be the same each time.
settings.register_profile("thalweg", deadline=None, derandomize=True)
settings.load_profile("thalweg")
