"""What the claims about greedy block coordinate descent measure: steps to a tolerance."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import torch

from thalweg.core.claim import Finding, Size
from thalweg.core.verdicts import exceeds, together
from thalweg.optim import BlockObjective, bcd, iterate_bcd
from thalweg.problems.coordinates import lattice, regression

TOLERANCE = 1e-8  # of the value, relative to that at the start


def steps(problem: BlockObjective, least: float, most: int, **rules: Any) -> float:
    """Count steps from 0 until the value is within the tolerance of the least; at most some."""
    x0 = torch.zeros_like(problem.diagonal)
    enough = least + TOLERANCE * (float(problem(x0)) - least)
    for k, item in enumerate(islice(iterate_bcd(problem, x0, **rules), most)):
        if float(problem(item.value)) <= enough:
            return float(k)
    return float(most)


def quadratic_least(problem: BlockObjective) -> float:
    """Return the least value, by a dense system."""
    n = problem.size
    x = torch.linalg.solve(problem.bound(torch.arange(n)), -problem.memory(torch.zeros(n).double()))
    return float(problem(x))


def rules(seed: int, size: Size) -> Mapping[str, float]:
    """Count steps of selection rules on ridge regression, with blocks of 5."""
    m, n, most = (300, 200, 4000) if size == "full" else (30, 20, 60)
    problem, _ = regression(seed, m=m, n=n)
    least = quadratic_least(problem)
    kinds: tuple[Any, ...] = ("gsd", "gsl", "random", "cyclic")
    return {
        kind: steps(problem, least, most, select=kind, update="bound", seed=seed) for kind in kinds
    }


def partitions(seed: int, size: Size) -> Mapping[str, float]:
    """Count steps of fixed blocks of 5, greedy by Lipschitz constants, in two partitions."""
    m, n, most = (300, 200, 4000) if size == "full" else (30, 20, 60)
    problem, _ = regression(seed, m=m, n=n)
    least = quadratic_least(problem)
    return {
        kind: steps(problem, least, most, partition=kind, select="gsl", update="lipschitz")
        for kind in ("sort", "order")
    }


def trees(seed: int, size: Size) -> Mapping[str, float]:
    """Count steps on a lattice of blocks without edges, and of forests."""
    problem, _ = lattice(seed, n=900 if size == "full" else 25)
    least, most = quadratic_least(problem), 4000 if size == "full" else 30
    ways: dict[str, dict[str, Any]] = {
        "red and black": {"partition": "colours", "select": "cyclic"},
        "forests": {"partition": "forest", "select": "cyclic"},
        "greedy forests": {"partition": "variable", "select": "gs"},
    }
    return {name: steps(problem, least, most, update="tree", **way) for name, way in ways.items()}


def projections(seed: int, size: Size) -> Mapping[str, float]:
    """Count steps on the lasso, blocks of 20: two-metric projection and proximal gradients."""
    m, n, most = (300, 200, 4000) if size == "full" else (30, 25, 60)
    problem, x0 = regression(seed, m=m, n=n, l1=0.01)
    least = float(problem(bcd(problem, x0, block_size=n, rtol=1e-12, throw=False).value))
    names = {"bound": "two-metric projection", "lipschitz": "proximal gradient"}
    return {
        name: steps(problem, least, most, block_size=20, update=update)
        for update, name in names.items()
    }


def fewer(best: Sequence[str], others: Sequence[str]) -> Callable[..., Finding]:
    """Return a judge, by sign tests, of whether some ways take fewer steps than others."""

    def judge(figures: Sequence[Mapping[str, float]]) -> Finding:
        return together(
            [
                exceeds(
                    "Steps",
                    *([row[name] for row in figures] for name in (slow, fast)),
                    names=(slow, fast),
                )
                for fast in best
                for slow in others
            ]
        )

    return judge
