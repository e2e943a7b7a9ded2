"""Block coordinate descent on a quadratic, rule by rule, block by block and number by number."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Blocks = list[list[int]]


def fixed_blocks(Q: Vector, size: int, partition: str) -> Blocks:
    """Divide the coordinates; the last block borrows from the one before."""
    n = len(Q)
    order = list(range(n))
    if partition != "order":
        order.sort(key=lambda i: Q[i, i])
    if partition == "average":
        small, large = list(order), order[::-1]
        order = [(small if place % 2 == 0 else large)[place // 2] for place in range(n)]
    blocks = [order[start : start + size] for start in range(0, n - size + 1, size)]
    return blocks if n % size == 0 else [*blocks, order[-size:]]


def score(Q: Vector, g: Vector, block: list[int], select: str) -> float:
    """Return what a rule says of a block of a fixed partition."""
    H, part = Q[np.ix_(block, block)], g[block]
    if select == "gs":
        return sum(float(x) ** 2 for x in part)
    if select == "gsl":
        return float(part @ part / np.linalg.eigvalsh(H).max())
    if select == "gsd":
        return sum(float(g[i]) ** 2 / float(Q[i, i]) for i in block)
    return float(part @ np.linalg.solve(H, part))


def variable_block(Q: Vector, g: Vector, size: int, select: str) -> list[int]:
    """Return the coordinates a rule picks one by one, or by hard thresholding."""
    n = len(Q)
    weight = {
        "gs": np.ones(n),
        "gsd": np.diag(Q),
        "gsl": np.array([sum(abs(Q[i, j]) for j in range(n)) for i in range(n)]),
    }
    if select in weight:
        return sorted(range(n), key=lambda i: -(g[i] ** 2) / weight[select][i])[:size]
    d, rate = np.zeros(n), 1 / np.linalg.eigvalsh(Q).max()
    for _ in range(10):
        d = d - rate * (g + Q @ d)
        kept = sorted(range(n), key=lambda i: -abs(d[i]))[:size]
        d = np.array([d[i] if i in kept else 0.0 for i in range(n)])
    return kept


def steps(
    Q: Vector, b: Vector, size: int, partition: str, select: str, update: str, number: int
) -> list[Vector]:
    """Return the points of a run from 0."""
    x = np.zeros(len(b))
    points = [x]
    blocks = [] if partition == "variable" else fixed_blocks(Q, size, partition)
    for step in range(number):
        g = Q @ x - b
        if partition == "variable":
            block = variable_block(Q, g, size, select)
        elif select == "cyclic":
            block = blocks[step % len(blocks)]
        else:
            block = max(blocks, key=lambda block: score(Q, g, block, select))
        H = Q[np.ix_(block, block)]
        if update == "lipschitz":
            d = -g[block] / np.linalg.eigvalsh(H).max()
        else:
            d = -np.linalg.solve(H, g[block])
        x = x.copy()
        x[block] += d
        points.append(x)
    return points


def holds_a_cycle(Q: Vector, block: Sequence[int]) -> bool:
    """Count edges against nodes less trees."""
    linked = (Q[np.ix_(block, block)] != 0) & ~np.eye(len(block), dtype=bool)
    laplacian = np.diag(linked.sum(1)) - linked
    return bool(linked.sum() / 2 > np.linalg.matrix_rank(laplacian))


def greedy_forest(Q: Vector, order: Sequence[int]) -> list[int]:
    """Take every node that closes no cycle with those before it."""
    block: list[int] = []
    for node in order:
        if not holds_a_cycle(Q, [*block, int(node)]):
            block.append(int(node))
    return block
