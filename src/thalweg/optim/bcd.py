"""Block coordinate descent with greedy rules."""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal

import torch
from torch import Tensor

from thalweg.linalg.solution import Iterate, Solution, solve
from thalweg.optim._blocks import chooser, inverse, soft
from thalweg.optim.block_objectives import BlockObjective, QuadraticObjective

Partition = Literal["variable", "order", "sort", "average", "forest", "colours"]
Selection = Literal["gs", "gsl", "gsd", "gsq", "random", "cyclic"]
Update = Literal["lipschitz", "bound", "newton", "tree"]

PARTITIONS = ("variable", "order", "sort", "average", "forest", "colours")
SELECTIONS = ("gs", "gsl", "gsd", "gsq", "random", "cyclic")
UPDATES = ("lipschitz", "bound", "newton", "tree")
AFRESH = 500  # steps after which what is kept is computed from scratch, against drift
HALVINGS = 40
DESCENT = 1e-4  # share of the promised descent that a step must bring


def bcd(
    problem: BlockObjective,
    x0: Tensor,
    *,
    block_size: int = 5,
    partition: Partition = "variable",
    select: Selection = "gsd",
    update: Update = "bound",
    seed: int = 0,
    rtol: float = 1e-6,
    max_steps: int = 10_000,
    throw: bool = True,
) -> Solution[Tensor]:
    """Minimise a convex function by steps along the block of coordinates that promises most.

        gs   max sum g_i^2              gsl  max |g_b|^2 / L_b        L_b the norm of H_b
        gsd  max sum g_i^2 / L_i        gsq  max g_b^T H_b^-1 g_b     H_b bounds the block's Hessian
        lipschitz  x_b = x_b - g_b / L_b            bound  x_b = x_b - H_b^-1 g_b
        newton     x_b = x_b - t (Hessian_bb)^-1 g_b,  t = 1, 1/2, ... until it descends enough
        tree       as bound, for blocks without a cycle in Q's graph, by messages along the edges

    Use it when the function is a sum over many samples with cheap columns, or a quadratic on a
    sparse graph: forests of half of all nodes are then solved exactly in one step. Avoid it when
    every product with the whole matrix is as cheap as one with a few columns, or when `A` is dense
    and a solver of second order fits. Cost: a step touches k columns, and finds the gradient: for a
    quadratic that is all, for the others a product with A^T more; k^3 for the block's system, or
    k for a tree. Greedy forests are scanned node by node, and planned, anew each step.

    Args:
        problem: A :class:`QuadraticObjective`, :class:`LogisticObjective` or
            :class:`SoftmaxObjective`, or another :class:`BlockObjective`.
        x0: Where to start, of shape (problem.size,).
        block_size: Coordinates of a block, from 1 to problem.size; forests have no limit.
        partition: "variable" for blocks made anew at each step; else fixed ones of coordinates in
            their order, sorted by L_i, or with large and small L_i in turn ("average"); "forest"
            and "colours" divide the graph of a sparse quadratic, the latter so that no block has
            an edge, as red and black fields do.
        select: The rule; of variable blocks "gsl" takes the row sums of the bound for L_b, and
            "gsq" comes near the best block by ten steps of hard thresholding.
        update: What is done with the block. With `l1 > 0` "bound" and "newton" are steps of
            two-metric projection: on what is not zero or leaves it, projected where a sign flips.
        seed: Of the random blocks.
        rtol: Norm of the least subgradient to stop at, as share of that at `x0`, > 0.
        max_steps: Most blocks, >= 0.
        throw: Raise where that does not do, instead of returning what there is.

    Returns:
        A :class:`~thalweg.linalg.Solution`: `residuals` are norms of the least subgradient over
        that at `x0`; `functions` counts the trials of line searches.

    Raises:
        NotConverged: If the tolerance is not met and `throw` is set.
        ValueError: If a rule is unknown or does not fit the problem, or a number is out of range.

    Example:
        >>> import torch
        >>> from thalweg.optim import bcd, least_squares
        >>> A = torch.randn(40, 20, dtype=torch.float64, generator=torch.manual_seed(0))
        >>> x0 = torch.zeros(20, dtype=torch.float64)
        >>> solution = bcd(least_squares(A, A.sum(1)), x0)  # all ones solve it
        >>> round(float(solution.value.min()), 4), round(float(solution.value.max()), 4)
        (1.0, 1.0)

    Paper: Let's Make Block Coordinate Descent Converge Faster: Faster Greedy Rules,
        Message-Passing, Active-Set Complexity, and Superlinear Convergence, 2017,
        arXiv 1712.08859. Differs: scores of fixed blocks are the paper's sums of squares, where
        the authors' code adds |g_i| / sqrt(L_i); with `l1` the only greedy rule is "gsd", by what
        the coordinates' own steps promise; the magnitudes take the place of bounds on x.
    """
    iterates = iterate_bcd(
        problem,
        x0,
        block_size=block_size,
        partition=partition,
        select=select,
        update=update,
        seed=seed,
    )
    return solve(iterates, rtol=rtol, max_steps=max_steps, throw=throw)


def iterate_bcd(
    problem: BlockObjective,
    x0: Tensor,
    *,
    block_size: int = 5,
    partition: Partition = "variable",
    select: Selection = "gsd",
    update: Update = "bound",
    seed: int = 0,
) -> Generator[Iterate[Tensor], None, str]:
    """Yield what :func:`bcd` has before the first step and after each.

    Args:
        problem: As of :func:`bcd`.
        x0: Likewise.
        block_size: Likewise.
        partition: Likewise.
        select: Likewise.
        update: Likewise.
        seed: Likewise.

    Returns:
        An iterator of :class:`~thalweg.linalg.Iterate`, to watch a run or to stop it otherwise.
    """
    _check(problem, x0, block_size, partition, select, update)
    choose = chooser(problem, block_size, partition, select, update, seed)
    searching = update == "newton" or (update == "bound" and problem.l1 > 0)
    x = x0.detach()
    memory, step, functions, start = problem.memory(x), 0, 0, 0.0
    while True:
        g = problem.gradient(memory, x)
        slope = _least_subgradient(x, g, problem.l1)
        norm = float(slope.norm())
        start = start or norm or 1.0
        yield Iterate(x, norm / start, gradients=step + 1, functions=functions)
        block, step_along = choose(x, g, step)
        if searching:
            d, trials = _line_search(problem, memory, x, slope, block, update)
            functions += trials
        else:
            d = step_along(x[block], g[block])
        x = x.index_add(0, block, d)
        step += 1
        memory = problem.moved(memory, block, d) if step % AFRESH else problem.memory(x)


def _least_subgradient(x: Tensor, g: Tensor, l1: float) -> Tensor:
    return torch.where(x == 0, soft(g, l1), g + l1 * x.sign()) if l1 else g


def _line_search(
    problem: BlockObjective,
    memory: Tensor,
    x: Tensor,
    slope: Tensor,
    block: Tensor,
    update: str,
) -> tuple[Tensor, int]:
    """Return a Newton step that descends, projected where a sign flips, and the trials made."""
    there, downhill = x[block], slope[block]
    free = (there != 0) | (downhill != 0) | (problem.l1 == 0)
    bound = problem.bound(block) if update == "bound" else problem.hessian(memory, block)
    bound = torch.where(free[:, None] & free, bound, torch.eye(len(block)).to(bound))
    values, vectors = torch.linalg.eigh(bound)
    newton = -(vectors @ (inverse(values) * (vectors.T @ downhill)))
    side = torch.where(there == 0, -downhill, there).sign()
    value = problem.value(memory, x)
    rounding = 10 * torch.finfo(x.dtype).eps * value.abs()
    for halvings in range(HALVINGS):
        target = there + newton / 2**halvings
        if problem.l1:
            target = torch.where(target * side > 0, target, 0)
        d = target - there
        new = problem.value(problem.moved(memory, block, d), x.index_add(0, block, d))
        if new <= value + DESCENT * (downhill @ d) + rounding:
            return d, halvings + 1
    return torch.zeros_like(d), HALVINGS


def _check(
    problem: BlockObjective, x0: Tensor, size: int, partition: str, select: str, update: str
) -> None:
    for name, value, known in (
        ("partition", partition, PARTITIONS),
        ("select", select, SELECTIONS),
        ("update", update, UPDATES),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; give one of {', '.join(known)}")
    like = problem.diagonal
    if not (isinstance(x0, Tensor) and x0.shape == like.shape and x0.dtype == like.dtype):
        raise ValueError(f"x0 is not of shape {tuple(like.shape)} and {like.dtype}; make it so")
    if not x0.isfinite().all():
        raise ValueError("x0 holds numbers that are not finite; give the point to start from")
    if not 1 <= size <= problem.size:
        raise ValueError(f"block_size is {size}; give a whole number from 1 to {problem.size}")
    of_graph = partition in ("forest", "colours")
    if of_graph and update != "tree":
        raise ValueError(f"partition={partition!r} wants update='tree', which solves its blocks")
    if update == "tree":
        sparse = isinstance(problem, QuadraticObjective) and problem.sparse
        if problem.l1 or not sparse or not (of_graph or partition == "variable"):
            raise ValueError(
                "update='tree' is for a sparse QuadraticObjective without l1, and for "
                "partition='variable', 'forest' or 'colours'"
            )
    rules = ("gs", "gsd", "random", "cyclic" if of_graph else "gsl")
    if update == "tree" and select not in rules:
        raise ValueError(
            f"select={select!r} scores no such forests; give one of {', '.join(rules)}"
        )
    if problem.l1 and select not in ("gsd", "random", "cyclic"):
        raise ValueError(f"select={select!r} knows no l1; give 'gsd', 'random' or 'cyclic'")
