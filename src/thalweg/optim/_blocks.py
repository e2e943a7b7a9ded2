"""The rules by which block coordinate descent divides, selects and solves blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from thalweg.optim._forest import Elimination, colouring, forest_partition, greedy_forest
from thalweg.optim.block_objectives import BlockObjective, QuadraticObjective

THRESHOLDINGS = 10  # of the search for the best variable block

Along = Callable[[Tensor, Tensor], Tensor]  # from x and the gradient of a block to its step
Chooser = Callable[[Tensor, Tensor, int], tuple[Tensor, Along]]


def chooser(
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
    shuffled = _shuffled(n, size, generator)
    if select == "gsq":
        bound = problem.bound(torch.arange(n, device=device))
        rate = 1 / torch.linalg.eigvalsh(bound)[-1]

    def choose(x: Tensor, g: Tensor, step: int) -> tuple[Tensor, Along]:
        if select == "random":
            block = torch.randperm(n, generator=generator)[:size].to(device)
        elif select == "cyclic":
            block = next(shuffled).to(device)
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


def _shuffled(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield blocks without end that hold each coordinate once a pass, in a new order each."""
    while True:
        order = torch.randperm(n, generator=generator)
        yield from order[: n - n % size].view(-1, size)


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
            best = int((parts**2 * inverse(values)).sum(1).argmax())
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
    """Return each node's neighbours, of which it is one itself."""
    rows = zip(problem.near.tolist(), problem.weights.tolist(), strict=True)
    return [[j for j, weight in zip(*row, strict=True) if weight] for row in rows]


def _promises(problem: BlockObjective, select: str, x: Tensor, g: Tensor) -> Tensor:
    """Return twice the descent that each coordinate's own step promises: g^2 / L without l1."""
    if select == "gs":
        return g**2
    L = problem.row_sums if select == "gsl" else problem.diagonal
    if not problem.l1:
        return g**2 / L
    d = soft(x - g / L, problem.l1 / L) - x
    return -2 * (g * d + L / 2 * d**2 + problem.l1 * ((x + d).abs() - x.abs()))


def _along(problem: BlockObjective, update: str, values: Tensor, vectors: Tensor) -> Along:
    """Return the step along a block with the eigenvalues and eigenvectors of its bound."""
    if update == "lipschitz":
        rate = 1 / values[-1]
        return lambda x, g: soft(x - rate * g, problem.l1 * rate) - x
    return lambda x, g: -(vectors @ (inverse(values) * (vectors.T @ g)))


def inverse(values: Tensor) -> Tensor:
    """Return reciprocals of eigenvalues, and zero of those that are rounding."""
    least = 10 * torch.finfo(values.dtype).eps * values[..., -1:]
    return torch.where(values > least, 1 / values, 0)


def soft(x: Tensor, by: Tensor | float) -> Tensor:
    return x.sign() * (x.abs() - by).clamp(min=0)
