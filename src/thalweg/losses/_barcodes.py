"""Persistence barcodes of images as cubical complexes, many images of one shape at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from thalweg.losses._cubical import Filtration, Indices


class Bars(NamedTuple):
    """Pairs of a cell that gives birth to a feature and the cell that it dies by."""

    birth: Indices
    death: Indices


def image_bars(born: Filtration, dying: Filtration, dimension: int) -> Bars:
    """Return the barcode of the features of one filtration as they live on in a larger one.

    Every pair is returned, those of no length too, but no component that lives forever.

    Args:
        born: Where features are born.
        dying: In which they die; no pixel enters it later than ``born``. The same filtration for
            its own barcode.
        dimension: 0 for components, 1 for loops, 2 for cavities.
    """
    grid, n_axes = born.grid, len(born.grid.shape)
    if dimension == 0:
        edges = dying.tree
        return Bars(_elder(_of_all(grid.corners[1], edges, grid.counts[0]), born.order(0)), edges)
    if dimension == n_axes - 1:
        walls, n_top = born.dual_tree, grid.counts[-1]
        ages = np.full((born.n_images, n_top + 1), np.iinfo(np.intp).min)
        ages[:, :-1] = -dying.order(n_axes).reshape(born.n_images, n_top)
        tops = _elder(_of_all(grid.walls, walls, n_top + 1), ages.ravel())
        return Bars(walls, tops - tops // (n_top + 1))  # without the outsides between images
    return _reduced(born, dying)


def _elder(ends: Indices, ages: Indices) -> Indices:
    """Return which node each edge of a forest, lightest first, makes the younger of two elders.

    Rounds of contraction: a node whose lightest edge leads to an older one ends there. Where too
    few do, union-find takes over.
    """
    dies_by = np.empty(len(ends), dtype=np.intp)
    names, edges, (u, v) = np.arange(len(ages)), np.arange(len(ends)), ends.T
    busy = True
    while busy and len(edges):
        nodes, places = np.arange(len(names)), np.arange(len(edges))[::-1]
        lightest = np.full((2, len(names)), len(edges))
        lightest[0, u[::-1]], lightest[1, v[::-1]] = places, places
        first = lightest.min(0)
        joined = first < len(edges)
        other = nodes.copy()
        other[joined] = (u + v)[first[joined]] - nodes[joined]
        ends_here = ages[other] < ages[nodes]
        dies_by[edges[first[ends_here]]] = names[ends_here]
        root = np.where(ends_here, other, nodes)
        while (root != root[root]).any():
            root = root[root]
        label = (np.cumsum(~ends_here) - 1)[root]
        u, v = label[u], label[v]
        kept = u != v
        u, v, edges = u[kept], v[kept], edges[kept]
        busy = 8 * int(ends_here.sum()) > len(names)
        names, ages = names[~ends_here], ages[~ends_here]
    dies_by[edges] = names[_by_union_find(u.tolist(), v.tolist(), ages.tolist())]
    return dies_by


def _by_union_find(u: list[int], v: list[int], ages: list[int]) -> Indices:
    above, dead = list(range(len(ages))), []
    for one, other in zip(u, v, strict=True):
        while above[one] != one:
            above[one] = one = above[above[one]]
        while above[other] != other:
            above[other] = other = above[above[other]]
        older, younger = (one, other) if ages[one] < ages[other] else (other, one)
        above[younger] = older
        dead.append(younger)
    return np.array(dead, dtype=np.intp)


def _reduced(born: Filtration, dying: Filtration) -> Bars:
    """Return the loops of volumes by reducing the boundaries of squares, rows as they are born."""
    grid = born.grid
    n_edges, n_squares = grid.counts[1:3]
    # Squares that close a cavity kill no loop; edges that join components bear none.
    kills, bears = np.ones(dying.n_images * n_squares, bool), np.ones(born.n_images * n_edges, bool)
    kills[dying.dual_tree], bears[born.tree] = False, False
    squares = np.flatnonzero(kills)
    squares = squares[np.argsort(dying.order(2)[squares])]
    edge_at = np.argsort(born.order(1))
    place = np.argsort(edge_at)
    sides = _of_all(grid.sides, squares, n_edges)
    rows = np.where(bears[sides], place[sides], -1)
    columns: dict[int, set[int]] = {}
    pivots = []
    for row in rows.tolist():
        column = set(row)
        pivot = max(column)
        while pivot in columns:
            column ^= columns[pivot]
            pivot = max(column)
        columns[pivot] = column
        pivots.append(pivot)
    return Bars(edge_at[np.array(pivots, dtype=np.intp)], squares)


def _of_all(table: Indices, cells: Indices, n_values: int) -> Indices:
    """Look cells of all images up in a table for one, whose values are less than so many."""
    image, cell = np.divmod(cells, len(table))
    return image[:, None] * n_values + table[cell]
