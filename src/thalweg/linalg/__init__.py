"""Linear algebra, and what solvers share."""

from thalweg.linalg.solution import Iterate, NotConverged, Solution, solve

__all__ = ["Iterate", "NotConverged", "Solution", "solve"]
