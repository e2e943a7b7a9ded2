"""TrAct: a first layer trained as if its outputs were, not its weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CHUNK = 2**24  # numbers of unfolded patches that are held at a time, about


def TrAct(module: nn.Module, *, lam: float = 0.1) -> nn.Module:
    """Make a first layer follow descent on its outputs: its weight gets another gradient.

        Z = X W' + bias,   G = dL/dZ,   b rows of inputs X: samples, positions or patches
        W.grad = argmin over D of  |X D' - b G|^2 / b + lam |D|^2  =  G' X (X'X / b + lam I)^-1

    Any optimizer takes this for the gradient. What it changes of Z is close to a step down G,
    whereas a gradient's share in the change of Z grows with the square of the inputs: dark, pale
    and rare patterns are learned more slowly than others.

    Use it for the first layer of a vision model, on standardised inputs: ``model.conv1 =
    TrAct(model.conv1)``, ``model.patch_embed.proj = TrAct(model.patch_embed.proj)``. Avoid it for
    other layers, whose inputs are themselves learned; with weight sharing; and with methods that
    differentiate a gradient again, of whose loss this is none. Tune `lr` anew. Cost: each backward
    forms X'X, n by n for n inputs of a row, and solves with it, or with X X' where that is smaller:
    little for patches, as much as the layer itself for whole images; no state.

    Args:
        module: A ``torch.nn.Linear``, ``Conv1d`` or ``Conv2d``; it is left as it is, its parameters
            are shared.
        lam: Ridge, > 0, in squared units of the inputs; large, it gives back the gradient / lam.

    Returns:
        A layer of the same kind, with the same parameters, state dict and outputs.

    Raises:
        TypeError: If the module is of another kind.
        ValueError: If `lam` is not above 0.

    Example:
        >>> import torch
        >>> from thalweg.nn import TrAct
        >>> layer = TrAct(torch.nn.Linear(2, 1, bias=False), lam=1.0)
        >>> x = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
        >>> layer(x).sum().backward()
        >>> [round(slope, 4) for slope in layer.weight.grad[0].tolist()]  # 3 / 5.5 and 1 / 1.5
        [0.5455, 0.6667]

    Paper: TrAct: Making First-layer Pre-Activations Trainable, 2024, arXiv 2410.23970. Differs: one
        solve by Cholesky's factor where the authors' code inverts; also one-dimensional
        convolutions, and any padding, dilation and number of groups; in distributed training X is
        each process's own.
    """
    kind = _KINDS.get(type(module))
    if kind is None:
        raise TypeError(
            f"TrAct takes a torch.nn.Linear, Conv1d or Conv2d, not a {type(module).__name__}: give "
            "it the first layer itself, such as model.conv1 or model.patch_embed.proj."
        )
    if not lam > 0:
        raise ValueError(f"lam is {lam}; the ridge must be above 0")
    layer = kind.__new__(kind)
    own = {k: v.copy() if isinstance(v, dict) else v for k, v in vars(module).items()}
    layer.__dict__.update(own, lam=lam)
    return layer


class TrActLinear(nn.Linear):
    """A linear layer whose weight's gradient follows descent on its outputs."""

    lam: float

    def forward(self, input: Tensor) -> Tensor:
        """Return what the plain layer returns."""
        return F.linear(input, _followed(self, input), self.bias)


class TrActConv1d(nn.Conv1d):
    """A convolution of one dimension whose weight's gradient follows descent on its outputs."""

    lam: float

    def forward(self, input: Tensor) -> Tensor:
        """Return what the plain layer returns."""
        output: Tensor = self._conv_forward(input, _followed(self, input), self.bias)
        return output


class TrActConv2d(nn.Conv2d):
    """A convolution of two dimensions whose weight's gradient follows descent on its outputs."""

    lam: float

    def forward(self, input: Tensor) -> Tensor:
        """Return what the plain layer returns."""
        output: Tensor = self._conv_forward(input, _followed(self, input), self.bias)
        return output


_Layer = TrActLinear | TrActConv1d | TrActConv2d
_KINDS: dict[type[nn.Module], type[_Layer]] = {
    nn.Linear: TrActLinear,
    nn.Conv1d: TrActConv1d,
    nn.Conv2d: TrActConv2d,
}


def _followed(layer: _Layer, input: Tensor) -> Tensor:
    weight: Tensor = _Following.apply(layer.weight, input, layer)  # type: ignore[no-untyped-call]
    return weight


class _Following(torch.autograd.Function):
    """The weight as it is, with (X'X / b + lam I)^-1 behind its gradient."""

    @staticmethod
    def forward(weight: Tensor, input: Tensor, layer: _Layer) -> Tensor:
        return weight.view_as(weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, _Layer], output: Tensor) -> None:
        _, input, ctx.layer = inputs
        ctx.save_for_backward(input)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        (input,) = ctx.saved_tensors
        dtype = torch.promote_types(slope.dtype, torch.float32)
        with torch.autocast(slope.device.type, enabled=False):
            followed = _solve(ctx.layer, input.to(dtype), slope.to(dtype))
        return followed.to(slope.dtype), None, None


def _solve(layer: _Layer, input: Tensor, slope: Tensor) -> Tensor:
    """Return slope (X'X / b + lam I)^-1, or the same by X X' where that is smaller."""
    sample = 1 if isinstance(layer, nn.Linear) else 1 + len(layer.kernel_size)
    input = input.reshape(-1, *input.shape[-sample:])
    patches = math.prod(layer.weight.shape[2:]) * math.prod(input.shape[1:])
    first, *others = torch.split(input, max(1, _CHUNK // max(1, patches)))
    x = _rows(layer, first)
    (groups, b, n), lam = x.shape, layer.lam
    slopes = slope.reshape(groups, -1, n)
    if b < n and not others:
        gram = x @ x.mT / max(b, 1) + lam * torch.eye(b, dtype=x.dtype, device=x.device)
        across = torch.cholesky_solve(x @ slopes.mT, torch.linalg.cholesky(gram))
        return ((slopes - across.mT @ x / max(b, 1)) / lam).view_as(slope)
    gram = x.mT @ x
    for part in others:
        x = _rows(layer, part)
        gram, b = gram + x.mT @ x, b + x.shape[1]
    gram = gram / b + lam * torch.eye(n, dtype=x.dtype, device=x.device)
    return torch.cholesky_solve(slopes.mT, torch.linalg.cholesky(gram)).mT.reshape(slope.shape)


def _rows(layer: _Layer, input: Tensor) -> Tensor:
    """Return the inputs of each output, (groups, outputs, n)."""
    if isinstance(layer, nn.Linear):
        return input.unsqueeze(0)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = F.pad(input, layer._reversed_padding_repeated_twice, mode)
    if padded.dim() == 3:  # of one dimension: images one pixel high
        padded = padded.unsqueeze(2)
    kernel, dilation, stride = (
        (1,) * (2 - len(size)) + size for size in (layer.kernel_size, layer.dilation, layer.stride)
    )
    patches = F.unfold(padded, kernel, dilation=dilation, stride=stride)
    rows, width, positions = patches.shape
    grouped = patches.view(rows, layer.groups, width // layer.groups, positions)
    return grouped.permute(1, 0, 3, 2).flatten(1, 2)
