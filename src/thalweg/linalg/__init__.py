"""Linear algebra, and what solvers share."""

from thalweg.linalg.empirical_fisher import EmpiricalFisherInverse
from thalweg.linalg.minimize_gns import iterate_gns, minimize_gns
from thalweg.linalg.solution import Iterate, NotConverged, Solution, solve

__all__ = [
    "EmpiricalFisherInverse",
    "Iterate",
    "NotConverged",
    "Solution",
    "iterate_gns",
    "minimize_gns",
    "solve",
]
