"""Images as cubical complexes whose cells enter one after the other."""

from __future__ import annotations

from functools import cached_property, lru_cache
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

Indices = NDArray[np.intp]


class Grid:
    """The cells of one image: pixels, edges, squares and, in three dimensions, cubes.

    Cells of a dimension are numbered by the axes they extend along, then by position.

    Attributes:
        counts: Of cells, by dimension.
        corners: Pixels of each cell, by dimension, (cells, 2^dimension).
        walls: The two top cells on both sides of each cell one dimension lower; ``counts[-1]``
            stands for the outside.
        sides: The four edges of each square.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, n_axes = shape, len(shape)
        axes = range(n_axes)
        pixels = np.arange(np.prod(shape)).reshape(shape)
        self.counts, self.corners = [], []
        numbers: dict[tuple[int, ...], Indices] = {}
        for dimension in range(n_axes + 1):
            start, corners = 0, []
            for along in combinations(axes, dimension):
                moved = [
                    _slices(pixels, dict(zip(along, end, strict=True))) for end in _ends(dimension)
                ]
                numbers[along] = start + np.arange(moved[0].size).reshape(moved[0].shape)
                start += moved[0].size
                corners.append(np.stack([corner.ravel() for corner in moved], 1))
            self.counts.append(start)
            self.corners.append(np.concatenate(corners))
        top = numbers[tuple(axes)]
        walls = []
        for axis in reversed(axes):
            outside = [(int(a == axis),) * 2 for a in axes]
            padded = np.pad(top, outside, constant_values=self.counts[-1])
            walls.append(np.stack([_slices(padded, {axis: end}).ravel() for end in (0, 1)], 1))
        self.walls = np.concatenate(walls)
        self.sides = np.concatenate(
            [
                np.stack(
                    [
                        _slices(numbers[(one,)], {other: end}).ravel()
                        for one, other in (along, along[::-1])
                        for end in (0, 1)
                    ],
                    1,
                )
                for along in combinations(axes, 2)
            ]
        )


class Filtration:
    """Images (N, *shape) whose pixels, and the cells between them, enter in order of their value.

    A cell enters with its last pixel, its owner. Where values are equal, pixels that come first in
    the image enter last; so do the cells of one pixel, from first to last neighbour.
    """

    def __init__(self, images: NDArray[np.float64]) -> None:
        self.grid = grid_of(images.shape[1:])
        self.n_images, n_pixels = len(images), self.grid.counts[0]
        self.values = images.reshape(self.n_images, n_pixels)
        from_last = np.argsort(self.values[:, ::-1], axis=1, kind="stable")
        self.rank = np.empty_like(from_last)
        np.put_along_axis(self.rank, n_pixels - 1 - from_last, np.arange(n_pixels)[None], 1)
        self._cells: dict[int, tuple[Indices, Indices]] = {}

    def order(self, dimension: int) -> Indices:
        """Return when each cell of all images enters: numbers to sort by."""
        return self._ordered(dimension)[0]

    def owner(self, dimension: int) -> Indices:
        """Return the pixel, of all images, whose value each cell has."""
        return self._ordered(dimension)[1]

    def _ordered(self, dimension: int) -> tuple[Indices, Indices]:
        if dimension not in self._cells:
            corners = self.grid.corners[dimension]
            n_cells, n_corners = corners.shape
            ranks = self.rank[:, corners]
            last = ranks.argmax(-1)
            rank = np.take_along_axis(ranks, last[..., None], -1)[..., 0]
            first = np.arange(self.n_images)[:, None] * self.grid.counts[0]
            order = ((first + rank) * n_corners + last) * n_cells - np.arange(n_cells)
            owner = first + corners[np.arange(n_cells), last]
            self._cells[dimension] = order.ravel(), owner.ravel()
        return self._cells[dimension]

    @cached_property
    def tree(self) -> Indices:
        """The edges that join two components, by the time they enter."""
        return self._spanning(self.grid.corners[1], self.grid.counts[0], self.order(1))

    @cached_property
    def dual_tree(self) -> Indices:
        """The walls that split a cavity from the rest as they enter, from last to first."""
        walls = self.order(len(self.grid.shape) - 1)
        return self._spanning(self.grid.walls, self.grid.counts[-1] + 1, -walls)

    def _spanning(self, ends: Indices, n_nodes: int, weight: Indices) -> Indices:
        """Return the edges of the minimum spanning forest, lightest first."""
        by_weight = np.argsort(weight)
        rank = np.empty(len(weight))
        rank[by_weight] = np.arange(1, len(weight) + 1)
        # Parallel edges, such as a corner's two to the outside, must not be added up.
        from_node = np.argsort(ends[:, 0], kind="stable")
        starts = np.searchsorted(ends[from_node, 0], np.arange(n_nodes))
        image = np.arange(self.n_images)[:, None]
        graph = csr_array(
            (
                rank.reshape(self.n_images, len(ends))[:, from_node].ravel(),
                (image * n_nodes + ends[from_node, 1]).ravel(),
                np.append((image * len(ends) + starts).ravel(), len(weight)),
            ),
            shape=(self.n_images * n_nodes,) * 2,
        )
        chosen = np.sort(minimum_spanning_tree(graph).data).astype(np.intp)
        return by_weight[chosen - 1]


def _ends(dimension: int) -> product[tuple[int, ...]]:
    return product((0, 1), repeat=dimension)


def _slices(array: Indices, ends: dict[int, int]) -> Indices:
    """Drop along each of these axes the last (end 0) or the first (end 1) entry."""
    kept = [slice(None)] * array.ndim
    for axis, end in ends.items():
        kept[axis] = slice(end, array.shape[axis] - 1 + end)
    return array[tuple(kept)]


@lru_cache(maxsize=8)
def grid_of(shape: tuple[int, ...]) -> Grid:
    """Return the cells of an image of this shape."""
    return Grid(shape)
