"""Oracles of TrAct: what its gradient minimises, patch by patch, and what that does to outputs."""

import math
from itertools import product
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.nn import TrAct, tract

MODES: dict[str, Any] = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


def _waves(*shape: int) -> Tensor:
    return (torch.arange(math.prod(shape), dtype=torch.float64) * 1.7).sin().view(shape)


def _filled(layer: nn.Module) -> Any:
    for p in layer.double().parameters():
        p.data = _waves(*p.shape)
    return layer


def _backward(layer: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the outputs' gradient and the weight's, of a loss that is not linear."""
    outputs = layer(x)
    outputs.retain_grad()
    torch.autograd.backward(outputs.sin().mean())
    assert outputs.grad is not None
    (weight, *_) = layer.parameters()
    assert weight.grad is not None
    return outputs.grad, weight.grad


def _fitted(x: Tensor, g: Tensor, lam: float) -> Tensor:
    """Return the D, (k, n), that minimises |X D' - b G|^2 / b + lam |D|^2, by least squares."""
    b, n = x.shape
    ridge = math.sqrt(lam * b) * torch.eye(n, dtype=x.dtype)
    goal = torch.cat((b * g, torch.zeros(n, g.shape[1], dtype=x.dtype)))
    fit: Tensor = torch.linalg.lstsq(torch.cat((x, ridge)), goal).solution
    return fit.T


def the_change_of_weights_fits_that_of_outputs() -> None:
    """The weight's gradient is the least-squares fit, for more rows than inputs and for fewer."""
    for lam, shape in product((0.1, 2.0), ((12, 5), (4, 9), (3, 4, 6), (7,))):
        n = shape[-1]
        plain, layer = _filled(nn.Linear(n, 3)), _filled(TrAct(nn.Linear(n, 3), lam=lam))
        x = _waves(*shape)
        own, other = x.clone().requires_grad_(), x.clone().requires_grad_()
        g, slope = _backward(layer, own)
        expected = _fitted(x.reshape(-1, n), g.reshape(-1, 3), lam)
        torch.testing.assert_close(slope, expected, rtol=1e-8, atol=1e-10)
        _backward(plain, other)
        torch.testing.assert_close(layer.bias.grad, plain.bias.grad)
        torch.testing.assert_close(own.grad, other.grad)


def patches_one_by_one() -> None:
    """The same for convolutions, whose patches are cut out; also where few are held at a time."""
    with mock.patch.object(tract, "_CHUNK", 200):
        _cut_out(nn.Conv2d(2, 2, 2), _waves(5, 2, 5, 6))
        _cut_out(nn.Conv2d(2, 2, 3), _waves(5, 2, 4, 4))  # a sample at a time, of few patches
    for mode, (stride, padding, dilation, groups) in product(
        MODES, ((1, 1, 1, 1), (2, 2, 1, 2), (1, 1, 2, 1), (3, 0, 1, 4), (1, "same", 2, 2))
    ):
        given: dict[str, Any] = {
            "stride": stride,
            "dilation": dilation,
            "groups": groups,
            "padding_mode": mode,
        }
        _cut_out(nn.Conv2d(4, 8, (3, 2), padding=padding, **given), _waves(3, 4, 8, 7))
        _cut_out(nn.Conv1d(4, 8, 3, padding=padding, **given), _waves(3, 4, 9))
    _cut_out(nn.Conv2d(3, 2, 4, stride=4), _waves(2, 3, 8, 4))  # of fewer patches than inputs
    _cut_out(nn.Conv2d(3, 2, 2), _waves(3, 5, 5))  # of a single image


def _cut_out(plain: nn.Conv1d | nn.Conv2d, x: Tensor) -> None:
    layer = TrAct(_filled(plain), lam=0.3)
    g, slope = _backward(layer, x)
    d = len(plain.kernel_size)
    x, g = x.reshape(-1, *x.shape[-1 - d :]), g.reshape(-1, *g.shape[-1 - d :])
    widths = np.array(plain._reversed_padding_repeated_twice).reshape(-1, 2)[::-1]
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), *widths], mode=MODES[plain.padding_mode])
    inputs, outputs = (m // plain.groups for m in (plain.in_channels, plain.out_channels))
    for group in range(plain.groups):
        rows, goals = [], []
        for at in product(*map(range, (len(x), *g.shape[2:]))):
            sample, *place = at
            window: Any = tuple(
                slice(i * step, i * step + (size - 1) * gap + 1, gap)
                for i, step, size, gap in zip(
                    place, plain.stride, plain.kernel_size, plain.dilation, strict=True
                )
            )
            own = slice(group * inputs, (group + 1) * inputs)
            rows.append(torch.from_numpy(padded[(sample, own, *window)].copy()).flatten())
            goals.append(g[:, group * outputs : (group + 1) * outputs].movedim(1, -1)[at])
        expected = _fitted(torch.stack(rows), torch.stack(goals), 0.3)
        ours = slope[group * outputs : (group + 1) * outputs].flatten(1)
        torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-10)


def authors_numbers() -> None:
    """Weights' gradients of the authors' code (torch_tract 1.0.0) on fixed inputs, in float64."""
    _, linear = _backward(TrAct(_filled(nn.Linear(3, 2))), _waves(7, 3))
    _, convolution = _backward(TrAct(_filled(nn.Conv2d(1, 2, 2))), _waves(2, 1, 4, 3))
    expected = (
        (
            *(-0.03867126266521481, 0.0963803488675354, 0.01383510804548746),
            *(0.22935850053929263, -0.06344606873883307, -0.21300914725590392),
        ),
        (
            *(0.05258053578401972, 0.06529403285854127, -0.04740884796342215, 0.08162282715432845),
            *(0.10216961984815279, -0.15324480752708214, 0.16939678435506167, 0.019028434358636548),
        ),
    )
    for ours, theirs in zip((linear, convolution), expected, strict=True):
        torch.testing.assert_close(ours.flatten().tolist(), list(theirs), rtol=1e-9, atol=1e-12)


def a_step_moves_the_outputs_by_their_gradient() -> None:
    """At lr = 1 and a vanishing ridge the outputs change by -b G, as far as X reaches."""
    for b, n in ((11, 4), (3, 6)):
        layer, x = TrAct(_filled(nn.Linear(n, 2, bias=False)), lam=1e-9), _waves(b, n)
        before = layer(x).detach()
        g, _ = _backward(layer, x)
        torch.optim.SGD(layer.parameters(), lr=1.0).step()
        reached = x @ torch.linalg.pinv(x)
        torch.testing.assert_close(layer(x), before - b * reached @ g, rtol=1e-6, atol=1e-6)
