"""Linear algebra, and what solvers share."""
