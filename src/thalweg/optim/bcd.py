"""Block coordinate descent with greedy rules."""

from __future__ import annotations

from collections.abc import Callable, Generator
from itertools import count
from typing import Literal

import torch
from torch import Tensor

from thalweg.linalg.solution import Iterate, Solution, solve
from thalweg.optim._forest import Elimination, colouring, forest_partition, greedy_forest
from thalweg.optim.block_objectives import BlockObjective, QuadraticObjective

Partition = Literal["variable", "order", "sort", "average", "forest", "colours"]
Selection = Literal["gs", "gsl", "gsd", "gsq", "random", "cyclic"]
Update = Literal["lipschitz", "bound", "newton", "tree"]

PARTITIONS = ("variable", "order", "sort", "average", "forest", "colours")
SELECTIONS = ("gs", "gsl", "gsd", "gsq", "random", "cyclic")
UPDATES = ("lipschitz", "bound", "newton", "tree")
AFRESH = 500  # steps after which what is kept is computed from scratch, against drift
THRESHOLDINGS = 10  # of the search for the best variable block
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
    k for a tree, whose order of elimination is found anew where blocks vary.

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
    choose = _chooser(problem, block_size, partition, select, update, seed)
    searching = update == "newton" or (update == "bound" and problem.l1 > 0)
    x = x0.detach()
    memory, functions, start = problem.memory(x), 0, 0.0
    for step in count():
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
        afresh = step % AFRESH == AFRESH - 1
        memory = problem.memory(x) if afresh else problem.moved(memory, block, d)
    raise AssertionError("counting has no end")


Along = Callable[[Tensor, Tensor], Tensor]  # from x and the gradient of a block to its step
Chooser = Callable[[Tensor, Tensor, int], tuple[Tensor, Along]]


def _chooser(
    problem: BlockObjective, size: int, partition: str, select: str, update: str, seed: int
) -> Chooser:
    """Return what finds the next block, and how to step along it."""
    generator = torch.Generator().manual_seed(seed)
    if partition == "variable" and update == "tree":
        return _greedy_forests(problem, select, generator)
    if partition == "variable":
        return _variable_blocks(problem, size, select, update, generator)
    return _fixed_blocks(problem, size, partition, select, update, generator)


def _variable_blocks(
    problem: BlockObjective, size: int, select: str, update: str, generator: torch.Generator
) -> Chooser:
    n, device = problem.size, problem.diagonal.device
    order = torch.empty(0, dtype=torch.long)
    if select == "gsq":
        bound = problem.bound(torch.arange(n, device=device))
        rate = 1 / torch.linalg.eigvalsh(bound)[-1]

    def choose(x: Tensor, g: Tensor, step: int) -> tuple[Tensor, Along]:
        nonlocal order
        if select == "random":
            block = torch.randperm(n, generator=generator)[:size].to(device)
        elif select == "cyclic":
            if len(order) < size:
                order = torch.randperm(n, generator=generator).to(device)
            block, order = order[:size], order[size:]
        elif select == "gsq":
            d = torch.zeros_like(g)
            for _ in range(THRESHOLDINGS):
                d = d - rate * (g + bound @ d)
                block = d.abs().topk(size).indices
                d = torch.zeros_like(d).index_copy(0, block, d[block])
        else:
            block = _promises(problem, select, x, g).topk(size).indices
        return block, _along(problem, update, *torch.linalg.eigh(problem.bound(block)))

    return choose


def _fixed_blocks(
    problem: BlockObjective,
    size: int,
    partition: str,
    select: str,
    update: str,
    generator: torch.Generator,
) -> Chooser:
    blocks = _divide(problem, size, partition)
    flat = torch.cat(blocks)
    owner = torch.repeat_interleave(
        torch.arange(len(blocks)), torch.tensor([len(b) for b in blocks])
    ).to(flat.device)
    if update == "tree":
        assert isinstance(problem, QuadraticObjective)
        plans = [Elimination.of(b, problem.near, problem.weights) for b in blocks]
        along: list[Along] = [plan.along for plan in plans]
    else:
        values, vectors = torch.linalg.eigh(problem.bound(torch.stack(blocks)))
        along = [_along(problem, update, *pair) for pair in zip(values, vectors, strict=True)]

    def choose(x: Tensor, g: Tensor, step: int) -> tuple[Tensor, Along]:
        if select == "cyclic":
            best = step % len(blocks)
        elif select == "random":
            best = int(torch.randint(len(blocks), (), generator=generator))
        elif select == "gsq":
            parts = (vectors.mT @ g[flat].view(len(blocks), -1, 1)).squeeze(-1)
            best = int((parts**2 * _inverse(values)).sum(1).argmax())
        else:
            promised = _promises(problem, "gs" if select == "gsl" else select, x, g)[flat]
            scores = g.new_zeros(len(blocks)).index_add(0, owner, promised)
            best = int((scores / values[:, -1] if select == "gsl" else scores).argmax())
        return blocks[best], along[best]

    return choose


def _greedy_forests(problem: BlockObjective, select: str, generator: torch.Generator) -> Chooser:
    assert isinstance(problem, QuadraticObjective)
    near, weights, neighbours = problem.near, problem.weights, _neighbours(problem)

    def choose(x: Tensor, g: Tensor, step: int) -> tuple[Tensor, Along]:
        if select == "random":
            order = torch.randperm(problem.size, generator=generator)
        else:
            order = _promises(problem, select, x, g).argsort(descending=True, stable=True)
        block = torch.tensor(greedy_forest(order.tolist(), neighbours), device=near.device)
        plan = Elimination.of(block, near, weights)
        return block, plan.along

    return choose


def _divide(problem: BlockObjective, size: int, partition: str) -> list[Tensor]:
    """Return fixed blocks; of those of one size the last borrows from the one before."""
    L, device = problem.diagonal, problem.diagonal.device
    if partition in ("forest", "colours"):
        assert isinstance(problem, QuadraticObjective)
        divide = forest_partition if partition == "forest" else colouring
        nodes = L.argsort(descending=True, stable=True).tolist()
        return [torch.tensor(b, device=device) for b in divide(nodes, _neighbours(problem))]
    order = torch.arange(len(L), device=device) if partition == "order" else L.argsort(stable=True)
    if partition == "average":  # the smallest, the largest, the second smallest, ...
        order = torch.stack([order, order.flip(0)], 1).flatten()[: len(L)]
    starts = [*range(0, len(L) - size, size), len(L) - size]
    return [order[i : i + size] for i in starts]


def _neighbours(problem: QuadraticObjective) -> list[list[int]]:
    rows = zip(problem.near.tolist(), problem.weights.tolist(), strict=True)
    return [
        [j for j, weight in zip(*row, strict=True) if weight and j != i]
        for i, row in enumerate(rows)
    ]


def _promises(problem: BlockObjective, select: str, x: Tensor, g: Tensor) -> Tensor:
    """Return twice the descent that each coordinate's own step promises: g^2 / L without l1."""
    if select == "gs":
        return g**2
    L = problem.row_sums if select == "gsl" else problem.diagonal
    if not problem.l1:
        return g**2 / L
    d = _soft(x - g / L, problem.l1 / L) - x
    return -2 * (g * d + L / 2 * d**2 + problem.l1 * ((x + d).abs() - x.abs()))


def _along(problem: BlockObjective, update: str, values: Tensor, vectors: Tensor) -> Along:
    """Return the step along a block with the eigenvalues and eigenvectors of its bound."""
    if update == "lipschitz":
        rate = 1 / values[-1]
        return lambda x, g: _soft(x - rate * g, problem.l1 * rate) - x
    return lambda x, g: -(vectors @ (_inverse(values) * (vectors.T @ g)))


def _inverse(values: Tensor) -> Tensor:
    """Return reciprocals of eigenvalues, and zero of those that are rounding."""
    least = 10 * torch.finfo(values.dtype).eps * values[..., -1:]
    return torch.where(values > least, 1 / values, 0)


def _soft(x: Tensor, by: Tensor | float) -> Tensor:
    return x.sign() * (x.abs() - by).clamp(min=0)


def _least_subgradient(x: Tensor, g: Tensor, l1: float) -> Tensor:
    return torch.where(x == 0, _soft(g, l1), g + l1 * x.sign()) if l1 else g


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
    free = (there != 0) | (downhill != 0)
    bound = problem.bound(block) if update == "bound" else problem.hessian(memory, block)
    bound = torch.where(free[:, None] & free, bound, torch.eye(len(block)).to(bound))
    values, vectors = torch.linalg.eigh(bound)
    newton = -(vectors @ (_inverse(values) * (vectors.T @ downhill))) * free
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
    if not (isinstance(x0, Tensor) and x0.shape == (problem.size,)):
        raise ValueError(f"x0 is not of shape ({problem.size},); give the point to start from")
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
    if update == "tree" and select in ("gsq", "gsl") and of_graph:
        raise ValueError(f"select={select!r} has no score for forests; give 'gsd' or 'cyclic'")
    if problem.l1 and select not in ("gsd", "random", "cyclic"):
        raise ValueError(f"select={select!r} knows no l1; give 'gsd', 'random' or 'cyclic'")
