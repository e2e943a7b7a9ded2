"""Forests in the graph of a sparse symmetric matrix: found greedily, and solved exactly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class _Forest:
    """Nodes whose induced graph has no cycle; a union-find over their trees."""

    def __init__(self) -> None:
        self.above: dict[int, int] = {}

    def _root(self, node: int) -> int:
        while self.above[node] != node:
            self.above[node] = node = self.above[self.above[node]]
        return node

    def takes(self, node: int, neighbours: Sequence[int]) -> bool:
        """Add a node, unless it would close a cycle."""
        roots = [self._root(other) for other in neighbours if other in self.above]
        if len({*roots}) < len(roots):
            return False
        self.above[node] = node
        for root in roots:
            self.above[root] = node
        return True


def greedy_forest(order: Iterable[int], neighbours: Sequence[Sequence[int]]) -> list[int]:
    """Return the nodes of a maximal forest, scanned in order."""
    forest = _Forest()
    return [node for node in order if forest.takes(node, neighbours[node])]


def forest_partition(order: Iterable[int], neighbours: Sequence[Sequence[int]]) -> list[list[int]]:
    """Divide all nodes into forests, each node into the first that takes it."""
    forests: list[tuple[_Forest, list[int]]] = []
    for node in order:
        for forest, members in forests:
            if forest.takes(node, neighbours[node]):
                members.append(node)
                break
        else:
            forests.append((forest := _Forest(), [node]))
            forest.takes(node, neighbours[node])
    return [members for _, members in forests]


def colouring(order: Iterable[int], neighbours: Sequence[Sequence[int]]) -> list[list[int]]:
    """Divide all nodes into sets without edges, each node into the first that takes it."""
    colour: dict[int, int] = {}
    sets: list[list[int]] = []
    for node in order:
        taken = {colour[other] for other in neighbours[node] if other in colour}
        free = next(c for c in range(len(sets) + 1) if c not in taken)
        if free == len(sets):
            sets.append([])
        sets[free].append(node)
        colour[node] = free
    return sets


@dataclass(frozen=True, eq=False)
class Elimination:
    """The order in which a forest's nodes are eliminated: all leaves at once, round by round.

    Args:
        rounds: Of each round the leaves, their only neighbours left, and the entries between.
        diagonal: Of the matrix.
    """

    rounds: list[tuple[Tensor, Tensor, Tensor]]
    diagonal: Tensor

    @classmethod
    def of(cls, block: Tensor, near: Tensor, weights: Tensor) -> Elimination:
        """Plan the elimination of a block of the matrix whose rows are padded lists."""
        n = len(near)
        place = torch.full((n,), -1, device=near.device)
        place[block] = torch.arange(len(block), device=near.device)
        other, entry = place[near[block]], weights[block]
        own = torch.arange(len(block), device=near.device)[:, None]
        diagonal = (entry * (other == own)).sum(1)
        edge = (other >= 0) & (other != own) & (entry != 0)
        rounds = []
        alive = torch.ones(len(block), dtype=torch.bool, device=near.device)
        while edge.any():
            degree = edge.sum(1)
            leaves = (degree == 1).nonzero().squeeze(1)
            if not len(leaves):
                raise ValueError("the block holds a cycle; choose its coordinates as a forest")
            slot = edge[leaves].int().argmax(1)
            parent = other[leaves, slot]
            # Of two leaves that hold each other the first one stays.
            goes = (degree[parent] > 1) | (leaves > parent)
            leaves, parent, slot = leaves[goes], parent[goes], slot[goes]
            rounds.append((leaves, parent, entry[leaves, slot]))
            alive[leaves] = False
            edge = edge & alive[:, None] & alive[other]
        return cls(rounds, diagonal)

    def along(self, x: Tensor, g: Tensor) -> Tensor:
        """Return the step that leaves no gradient: messages up to the roots, then back."""
        pivot, x = self.diagonal.clone(), -g
        for leaves, parent, entry in self.rounds:
            factor = entry / pivot[leaves]
            pivot.index_add_(0, parent, -factor * entry)
            x.index_add_(0, parent, -factor * x[leaves])
        x = x / pivot
        for leaves, parent, entry in reversed(self.rounds):
            x[leaves] -= entry / pivot[leaves] * x[parent]
        return x
