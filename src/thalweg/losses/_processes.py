"""What losses with a memory share in distributed training."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist


def of_all_processes(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the rows of all processes, one process after the other; they may differ in number."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tensors
    own = torch.tensor(len(tensors[0]), device=tensors[0].device)
    lengths = [torch.zeros_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(lengths, own)
    sizes = [int(length) for length in lengths]
    return tuple(_gathered(x, sizes) for x in tensors)


def _gathered(x: Tensor, sizes: list[int]) -> Tensor:
    padded = x.new_zeros(max(sizes), *x.shape[1:])
    padded[: len(x)] = x
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
