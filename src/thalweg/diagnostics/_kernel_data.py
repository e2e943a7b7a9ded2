"""What is trained by a kernel: all samples at once, targets as numbers, and the kernel's modes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.data._measure import Data, check_data, device_of, measured, read
from thalweg.diagnostics._tangent import outputs


def gathered(model: nn.Module, data: Data) -> tuple[Any, Tensor, Tensor]:
    """Return inputs, the model's outputs (N, C) and targets (N, C) of all samples."""
    check_data(data, None)
    batches = list(read(data, None, device_of(model)))
    if not batches:
        raise ValueError("the data holds no batches; give at least one sample")
    inputs, target = (_joined(side) for side in zip(*batches, strict=True))
    with torch.no_grad(), measured([model]):
        found = outputs(model, inputs).double()
    classes = found.shape[1]
    if classes > 1 and target.dim() == 1 and not target.is_floating_point():
        target = F.one_hot(target, classes)
    if target.numel() != found.numel() or len(target) != len(found):
        raise ValueError(
            f"targets have shape {tuple(target.shape)} and the outputs {tuple(found.shape)}; give "
            "a number for each output, or the index of a class"
        )
    return inputs, found, target.reshape(found.shape).double()


def modes(kernel: Tensor, precision: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, descending, and eigenvectors; what may be rounding is 0."""
    values, vectors = torch.linalg.eigh(kernel.double())
    values, vectors = values.flip(0), vectors.flip(1)
    if not values[0] > 0:
        raise ValueError(
            "the kernel is 0: no output depends on a parameter that requires a gradient; unfreeze "
            "some, or look for units that are dead for all samples"
        )
    least = len(values) * torch.finfo(precision).eps * values[0]
    return values.where(values > least, 0), vectors


def as_matrix(kernel: Tensor) -> Tensor:
    """Write a kernel (N, M, C, C) as (N * C, M * C)."""
    n, m, c, _ = kernel.shape
    return kernel.transpose(1, 2).reshape(n * c, m * c)


def _joined(parts: Any) -> Any:
    first = parts[0]
    if isinstance(first, dict):
        return {name: _joined([part[name] for part in parts]) for name in first}
    if isinstance(first, tuple | list):
        return tuple(_joined(list(each)) for each in zip(*parts, strict=True))
    return torch.cat(list(parts))
