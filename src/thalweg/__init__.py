"""thalweg: better ways to train and to solve, as objects, claims and fair races.

Everything here is loaded when it is first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thalweg.bench.compare import compare
    from thalweg.bench.store import Kept
    from thalweg.core.catalogue import catalogue
    from thalweg.core.errors import UserError
    from thalweg.core.problem import Metric, Problem
    from thalweg.diagnosis.diagnose import diagnose
    from thalweg.problems.loading import load_problem
    from thalweg.training.problem import TrainingProblem

__version__ = "0.1.0"

_HOMES = {
    "Kept": "thalweg.bench.store",
    "Metric": "thalweg.core.problem",
    "Problem": "thalweg.core.problem",
    "TrainingProblem": "thalweg.training.problem",
    "UserError": "thalweg.core.errors",
    "catalogue": "thalweg.core.catalogue",
    "compare": "thalweg.bench.compare",
    "diagnose": "thalweg.diagnosis.diagnose",
    "load_problem": "thalweg.problems.loading",
}

__all__ = [
    "Kept",
    "Metric",
    "Problem",
    "TrainingProblem",
    "UserError",
    "__version__",
    "catalogue",
    "compare",
    "diagnose",
    "load_problem",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
