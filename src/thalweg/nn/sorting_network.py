"""SortingNetwork: sorting whose order is a matrix one can differentiate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

Wiring = Literal["odd_even", "bitonic"]


class SortingNetwork(nn.Module):
    """Sort by a fixed net of comparators, each of which swaps two numbers to a degree.

        alpha = 1/2 + arctan(steepness * (b - a)) / pi      1 where a < b by far, 0 where a > b
        lower, upper = alpha * a + (1 - alpha) * b,  (1 - alpha) * a + alpha * b
        sorted = x P,   P = P_1 P_2 ... P_L                  one factor a layer of comparators

    P[i, r] is the share of element i at rank r: rows and columns of P sum to 1, and P becomes the
    permutation matrix of the sorted order as the steepness grows.

    Use it where only an order is known to learn from: compare P with that order by cross-entropy.
    Avoid it on long lists, whose order many soft swaps blur: `bitonic` makes fewer of them from 11
    numbers on; and where ranks are only computed, as :func:`torch.argsort` does. Cost: for n
    numbers n layers (`odd_even`) or k * (k + 1) / 2, k = log2(n) rounded up (`bitonic`), of O(n^2)
    time and memory each.

    Args:
        wiring: ``odd_even`` compares neighbours, ``bitonic`` merges sorted halves.
        steepness: Inverse of the difference that counts as one, > 0: the larger, the harder the
            swaps, and the smaller the gradients of numbers that are far apart.

    Returns:
        From ``network(x)`` of numbers (..., n): their soft sorting in ascending order, (..., n),
        and P, (..., n, n).

    Raises:
        ValueError: If an argument is outside its range or `x` is no list of numbers.

    Example:
        >>> import torch
        >>> from thalweg.nn import SortingNetwork
        >>> ordered, order = SortingNetwork(steepness=1e6)(torch.tensor([3.0, 1.0, 2.0]))
        >>> [round(value, 3) for value in ordered.tolist()]
        [1.0, 2.0, 3.0]
        >>> order.round().int().tolist()  # 3 is at the last rank, 1 at the first
        [[0, 0, 1], [1, 0, 0], [0, 1, 0]]

    Paper: Monotonic Differentiable Sorting Networks, 2022, arXiv 2203.09630, by its Cauchy
        distribution; the networks of Differentiable Sorting Networks for Scalable Sorting and
        Ranking Supervision, 2021, arXiv 2105.04019. Differs: the other distributions are not here;
        where n is no power of 2, the bitonic net is that of the next power without the wires and
        comparators beyond n, which sorts any list.
    """

    def __init__(self, wiring: Wiring = "odd_even", *, steepness: float = 10.0) -> None:
        super().__init__()
        if wiring not in ("odd_even", "bitonic"):
            raise ValueError(f"wiring is {wiring!r}; give one of odd_even, bitonic")
        if not steepness > 0:
            raise ValueError(f"steepness is {steepness}; it must be above 0")
        self.wiring, self.steepness = wiring, steepness

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers softly sorted, (..., n), and P, (..., n, n)."""
        if x.dim() == 0 or x.shape[-1] == 0 or not x.is_floating_point():
            raise ValueError(
                f"x has shape {tuple(x.shape)} and type {x.dtype}; give real numbers (..., n) "
                "with n at least 1"
            )
        exact = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        n, ones = x.shape[-1], [1] * (x.dim() - 1)
        wires = torch.arange(n, device=x.device)
        # Wires come first, (n, ...) and (n, ..., n): rows are exchanged faster than columns.
        exact = exact.movedim(-1, 0)
        order = torch.eye(n, dtype=exact.dtype, device=x.device).view(n, *ones, n)
        order = order.expand(*exact.shape, n)
        for other in self._layers(wires):
            partner = exact.index_select(0, other)
            # A wire keeps the smaller number if its partner lies above; alone it keeps its own.
            side = torch.sign(other - wires).to(exact.dtype).view(n, *ones)
            alpha = 0.5 + torch.atan(side * self.steepness * (partner - exact)) / math.pi
            exact = alpha * exact + (1 - alpha) * partner
            alpha = alpha.unsqueeze(-1)
            order = alpha * order + (1 - alpha) * order.index_select(0, other)
        return exact.movedim(0, -1).to(x.dtype), order.movedim(0, -1).to(x.dtype)

    def extra_repr(self) -> str:
        """Return the settings for printing."""
        return f"wiring={self.wiring!r}, steepness={self.steepness}"

    def _layers(self, wires: Tensor) -> Iterator[Tensor]:
        """Yield for each layer every wire's partner; without one, the wire itself."""
        n = len(wires)
        if self.wiring == "odd_even":
            for layer in range(n):
                yield _within(n, ((wires + layer % 2) ^ 1) - layer % 2, wires)
            return
        height = (n - 1).bit_length()
        above = wires + 2**height - n  # short of a power of 2 the lowest wires are left out
        for bits in range(1, height + 1):
            # Both halves ascend, so that the first layer of a merge compares mirror images.
            for mask in (2**bits - 1, *(2**bit for bit in reversed(range(bits - 1)))):
                yield _within(n, (above ^ mask) - 2**height + n, wires)


def _within(n: int, other: Tensor, wires: Tensor) -> Tensor:
    return other.where((other >= 0) & (other < n), wires)
