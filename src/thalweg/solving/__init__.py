"""Solving: the problems whose methods are solvers."""

from thalweg.solving.methods import solver_method
from thalweg.solving.problem import SolvingProblem

__all__ = ["SolvingProblem", "solver_method"]
