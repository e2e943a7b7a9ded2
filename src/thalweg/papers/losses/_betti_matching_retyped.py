"""Oracles of Betti matching: the authors' numbers, all cells in one matrix, worked examples."""

from itertools import combinations, product
from typing import Any

import torch
from torch import Tensor

from thalweg.losses import BettiMatching, betti_matching_error
from thalweg.losses._induced import Comparison
from thalweg.losses.betti_matching import Filtration

Cell = tuple[int, ...]


def worked_examples() -> None:
    """A ridge holds two blobs apart that counts cannot tell from others; a ring is half broken."""
    ridge = torch.zeros(9, 9, dtype=torch.float64)
    ridge[1:3, 1:8] = ridge[1:8, 1:3] = 0.1
    x, y = ridge.clone(), ridge.clone()
    x[1:3, 1:3] = y[1:3, 1:3] = 1.0
    x[1:3, 6:8] = y[6:8, 1:3] = 0.9
    x, y = x[None, None], y[None, None]
    assert abs(BettiMatching()(x, y).item() - 2 * 0.8**2) < 1e-12
    assert BettiMatching()(x, x).item() == 0
    ring = torch.ones(1, 1, 5, 5, dtype=torch.float64)
    ring[..., 2, 2] = 0
    broken = ring.clone()
    broken[..., 0, 2], broken[..., 1, 2] = 0.4, 0.3
    assert abs(BettiMatching()(broken, ring).item() - 2 * 0.6**2) < 1e-12


def counted_errors() -> None:
    """Of volumes too features are counted by dimension, and where they are."""
    hollow = torch.zeros(1, 1, 5, 5, 5)
    hollow[..., 1:4, 1:4, 1:4] = 1
    solid, pierced, two = hollow.clone(), hollow.clone(), hollow.clone()
    hollow[..., 2, 2, 2] = 0
    pierced[..., 2, 2] = 0
    two[..., 2, :, :] = 0
    for one, other, unmatched, betti in (
        (hollow, solid, [0, 0, 1], [0, 0, 1]),
        (pierced, solid, [0, 1, 0], [0, 1, 0]),
        (hollow, pierced, [0, 1, 1], [0, 1, 1]),
        (two, solid, [1, 0, 0], [1, 0, 0]),
        (0 * solid, two, [2, 0, 0], [2, 0, 0]),
        (0 * solid, 0 * solid, [0, 0, 0], [0, 0, 0]),
    ):
        for pair in ((one, other), (other, one)):
            error = betti_matching_error(pair[0] / 2, pair[1] / 2)  # 0.5 is foreground
            assert error.unmatched.tolist() == [unmatched]
            assert error.betti.tolist() == [betti]
            assert error.total.tolist() == [sum(unmatched)]
    inputs = torch.cat((hollow, solid, two, solid)).view(2, 2, 5, 5, 5)  # channels are added up
    target = torch.cat((solid, solid, solid, pierced)).view(2, 2, 5, 5, 5)
    assert betti_matching_error(inputs, target).unmatched.tolist() == [[0, 0, 1], [1, 1, 0]]
    left, right = torch.ones(2, 1, 1, 5, 7)
    left[..., 2, 2] = right[..., 2, 4] = 0
    moved = betti_matching_error(left, right)
    assert (moved.unmatched.tolist(), moved.betti.tolist()) == ([[0, 2]], [[0, 0]])


def batches_and_precisions() -> None:
    """Images count by themselves, channels by their mean; half precision is rounded single."""
    x, y = images(2, 2, 4, 6)
    loss = BettiMatching(sigmoid=False, reduction="none")
    each = [loss(x[i].unsqueeze(1), y[i].unsqueeze(1)).mean() for i in range(2)]
    torch.testing.assert_close(loss(x, y), torch.stack(each))
    scores = BettiMatching(sigmoid=True, reduction="none")
    torch.testing.assert_close(scores(x, y), loss(x.sigmoid(), y))
    one, other = (image.bfloat16() for image in images(12, 1, 4, 6))
    assert torch.equal(loss(one, other), loss(one.float(), other.float()).bfloat16())


def images(*shape: int) -> tuple[Tensor, Tensor]:
    """Return two waves of this shape with values in [0, 1]."""
    place = torch.arange(torch.Size(shape).numel(), dtype=torch.float64).view(shape)
    x = 0.5 + 0.5 * torch.sin(2.3 * place + 0.11 * place.square())
    return x, 0.5 + 0.5 * torch.cos(1.1 * place + 0.07 * place.square())


def numbers_of_the_authors() -> None:
    """Equal the authors' code on waves, where values are tied, and where the target is binary.

    `BettiMatching(x, y, ...).loss()` of nstucki/Betti-matching at 3e7eca2.
    """
    x, y = images(9, 11)
    tied = [(4 * image).round() / 4 for image in (x, y)]
    for pair, theirs in (
        ((x, y), [3.8829289366513833, 4.886159381999669, 5.059195420225649, 5.767075726924403]),
        (tied, [5.9375, 5.9375, 5.9375, 9.125]),
        (
            (x, (y > 0.5).double()),
            [11.304494931006149, 12.924047893447804, 7.937722182510026, 9.784029627502933],
        ),
    ):
        ours = [
            BettiMatching(filtration, comparison=comparison)(*(image[None, None] for image in pair))
            for filtration in ("superlevel", "sublevel")
            for comparison in ("union", "intersection")
        ]
        expected = torch.tensor(theirs, dtype=torch.float64)
        torch.testing.assert_close(torch.stack(ours), expected, rtol=1e-12, atol=0)


def matrix_reduced() -> None:
    """Reduce one matrix of all cells, of images and of volumes; compare losses and gradients.

    The narrowing wave leaves most of the work to union-find.
    """
    ramp = torch.linspace(0, 1, 10, dtype=torch.float64)
    wave = torch.stack((ramp, 2 - ramp), 1).view(1, 20) / 2
    pairs = [images(4, 6), images(3, 3, 3), (wave, wave.flip(1))]
    pairs += [((3 * x).round() / 3, (3 * y).round() / 3) for x, y in pairs[:2]]
    filtrations: tuple[tuple[int, Filtration], ...] = ((-1, "superlevel"), (1, "sublevel"))
    comparisons: tuple[Comparison, ...] = ("union", "intersection")
    for pair in pairs:
        for (sign, filtration), comparison in product(filtrations, comparisons):
            one, other = ([i.clone().requires_grad_() for i in pair] for _ in range(2))
            ours = BettiMatching(filtration, comparison=comparison)
            _compare(
                ours(*(i[None, None] for i in one)),
                _loss(other[0], other[1], sign, comparison),
                one,
                other,
            )


def _compare(ours: Tensor, expected: Tensor, one: list[Tensor], other: list[Tensor]) -> None:
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(ours, one, allow_unused=True, materialize_grads=True),
        torch.autograd.grad(expected, other, allow_unused=True, materialize_grads=True),
    )


def _loss(x: Tensor, y: Tensor, sign: int, comparison: str) -> Tensor:
    common = (torch.minimum if comparison == "union" else torch.maximum)(sign * x, sign * y)
    between = _entering(common)
    shared = _lasting(between, common)
    found: list[list[Any]] = []
    ends: list[dict[Any, list[Tensor]]] = []
    for image in (x, y):
        cells = _entering(sign * image)
        bars = _lasting(cells, sign * image)
        ends.append({bar: [image[cells[cell]] for cell in bar] for bar in bars})
        if comparison == "union":
            born_in = {death: birth for birth, death in _pairs(cells, between)}
            own = {birth: (birth, death) for birth, death in bars}
            found.append([own.get(born_in[death]) for _, death in shared])
        else:
            dead_in = dict(_pairs(between, cells))
            own = {death: (birth, death) for birth, death in bars}
            found.append([own.get(dead_in[birth]) for birth, _ in shared])
        found[-1].append(None)  # the component that never dies has no end
        ends[-1][None] = [image[next(iter(cells.values()))]]
    loss: Tensor = 2 * (ends[0].pop(None)[0] - ends[1].pop(None)[0]) ** 2
    for one, other in zip(*found, strict=True):
        if one and other:
            births, deaths = zip(ends[0].pop(one), ends[1].pop(other), strict=True)
            loss = loss + 2 * ((births[0] - births[1]) ** 2 + (deaths[0] - deaths[1]) ** 2)
    for birth, death in (*ends[0].values(), *ends[1].values()):
        loss = loss + (birth - death) ** 2
    return loss


def _entering(image: Tensor) -> dict[Cell, Cell]:
    """Return the pixel of each cell, at doubled coordinates, in the order in which cells enter."""
    pixels = list(product(*map(range, image.shape)))
    axes = range(image.dim())
    owner: dict[Cell, Cell] = {}
    for value in sorted({image[p].item() for p in pixels}, reverse=True):
        for dimension in reversed(range(image.dim() + 1)):
            steps = [
                tuple(dict(zip(along, signs, strict=True)).get(axis, 0) for axis in axes)
                for signs in product((-1, 1), repeat=dimension)
                for along in combinations(axes, dimension)
            ]
            for p in pixels:
                for step in steps if image[p].item() == value else ():
                    cell = tuple(2 * i + j for i, j in zip(p, step, strict=True))
                    if all(0 <= c <= 2 * n - 2 for c, n in zip(cell, image.shape, strict=True)):
                        owner.setdefault(cell, p)
    return dict(reversed(owner.items()))


def _pairs(born: dict[Cell, Cell], dying: dict[Cell, Cell]) -> list[tuple[Cell, Cell]]:
    """Reduce the boundary matrix, its rows in one order and its columns in the other."""
    row = {cell: place for place, cell in enumerate(born)}
    reduced: dict[Cell, tuple[Cell, set[Cell]]] = {}
    for cell in dying:
        column = {
            (*cell[:axis], cell[axis] + side, *cell[axis + 1 :])
            for axis in range(len(cell))
            for side in (-1, 1)
            if cell[axis] % 2
        }
        while column and (pivot := max(column, key=row.__getitem__)) in reduced:
            column ^= reduced[pivot][1]
        if column:
            reduced[pivot] = cell, column
    return [(birth, death) for birth, (death, _) in reduced.items()]


def _lasting(cells: dict[Cell, Cell], image: Tensor) -> list[tuple[Cell, Cell]]:
    return [(b, d) for b, d in _pairs(cells, cells) if image[cells[b]] < image[cells[d]]]
