"""Norms of single samples' gradients, without the gradients where a layer allows it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from thalweg.data._measure import Batch, Loss, apply, apply_at, close, n_samples, on_tensors, rows

Calls = list[tuple[Tensor, Tensor]]  # of a layer: its input and the slope of its output, each time

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
NORMALISED: Mapping[type[nn.Module], Callable[[Any, Tensor], Tensor]] = {
    nn.LayerNorm: lambda layer, a: F.layer_norm(a, layer.normalized_shape, eps=layer.eps),
    nn.RMSNorm: lambda layer, a: F.rms_norm(a, layer.normalized_shape, eps=layer.eps),
    nn.GroupNorm: lambda layer, a: F.group_norm(a, layer.num_groups, eps=layer.eps),
    **dict.fromkeys(
        (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
        lambda layer, a: F.batch_norm(a, layer.running_mean, layer.running_var, eps=layer.eps),
    ),
}
PROBED = 4  # samples on which each closed form is compared with autograd


class GradientNorms:
    """Norms of the gradients of each sample's loss.

    A layer's closed form is trusted only after it has agreed with autograd on the first samples;
    where it has not, as where its parameters are used in another way too, vmap takes its place.

    Args:
        model: In evaluation mode.
        loss: Of the output and target of a batch.
        parameters: Those with respect to which the gradients are taken.
    """

    def __init__(self, model: nn.Module, loss: Loss, parameters: Iterable[nn.Parameter]) -> None:
        self.model, self.loss = model, loss
        chosen = {id(p) for p in parameters if p.requires_grad}
        self.rest = {name: p for name, p in model.named_parameters() if id(p) in chosen}
        if not self.rest:
            raise ValueError("there is no parameter to take gradients of; choose or unfreeze some")
        owned = (
            (layer, {n: p for n, p in layer.named_parameters(recurse=False) if id(p) in chosen})
            for layer in model.modules()
            if has_closed_form(layer)
        )
        self.layers = {layer: own for layer, own in owned if own}
        self.probed = False

    def norms(self, batch: Batch) -> Tensor:
        """Return the norms, (n,)."""
        return torch.stack([*self.squares(batch).values()]).sum(0).sqrt()

    def squares(self, batch: Batch) -> dict[str, Tensor]:
        """Return the squared norms of each layer's part of the gradients, (n,)."""
        if not self.probed:
            self._probe(rows(batch, slice(PROBED)))
        names = {layer: name for name, layer in self.model.named_modules()}
        found = {names[layer]: squares for layer, squares in self._closed(batch).items()}
        for name, slope in sample_gradients(self.model, self.loss, self.rest, batch).items():
            owner = name.rpartition(".")[0]
            found[owner] = found.get(owner, 0) + slope.flatten(1).square().sum(1)
        return found

    def _probe(self, batch: Batch) -> None:
        """Keep the layers whose closed form holds; leave the other parameters to vmap."""
        every = list(self.rest.values())
        exact: dict[int, list[Tensor]] = {id(p): [] for p in every}
        for i in range(n_samples(batch)):
            inputs, target = rows(batch, slice(i, i + 1))
            value = self.loss(apply(self.model, inputs), target)
            slopes = torch.autograd.grad(value, every, materialize_grads=True)
            for p, slope in zip(every, slopes, strict=True):
                exact[id(p)].append(slope.square().sum())
        scale = torch.stack([torch.stack(norms) for norms in exact.values()]).sum(0)
        tied: set[int] = set()
        for layer, closed in self._closed(batch).items():
            own = {id(p) for p in self.layers[layer].values()}
            naive = torch.stack([torch.stack(exact[p]) for p in own]).sum(0)
            if own & tied or not close(closed, naive, naive + torch.finfo(naive.dtype).eps * scale):
                del self.layers[layer]
            else:
                tied |= own
        self.rest = {name: p for name, p in self.rest.items() if id(p) not in tied}
        self.probed = True

    def _closed(self, batch: Batch) -> dict[nn.Module, Tensor]:
        n = n_samples(batch)
        found: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in self.layers}
        with hooked(self.model, found):
            value = each_loss(self.loss, apply(self.model, batch[0]), batch[1]).sum()
        outputs = [output for calls in found.values() for _, output in calls]
        if not outputs:
            return {}
        slopes = iter(torch.autograd.grad(value, outputs, materialize_grads=True))
        norms = {}
        for layer, calls in found.items():
            seen = [(inputs, next(slopes)) for inputs, _ in calls]
            if seen and all(len(inputs) == len(slope) == n for inputs, slope in seen):
                norms[layer] = _squared_norm(layer, seen, set(self.layers[layer]))
            else:  # not called, or its first dimension is not the sample
                norms[layer] = torch.full((n,), torch.nan, device=value.device, dtype=value.dtype)
        return norms


@torch.no_grad()  # beyond torch.func's own: what it returns would keep the graph it comes from
def sample_gradients(
    model: nn.Module, loss: Loss, parameters: Mapping[str, Tensor], batch: Batch
) -> dict[str, Tensor]:
    """Return the gradients of each sample's loss by some parameters, (n, *shape) each."""
    if not parameters:
        return {}

    def alone(values: dict[str, Tensor], inputs: Any, target: Any) -> Tensor:
        return loss(apply_alone(model, values, inputs), on_tensors(lambda t: t[None], target))

    per_sample = vmap(grad(alone), (None, 0, 0), randomness="different")
    with torch.no_grad():  # or what else the loss depends on would be kept
        slopes: dict[str, Tensor] = per_sample(dict(parameters), *batch)
    return slopes


def apply_alone(model: nn.Module, parameters: dict[str, Tensor], inputs: Any) -> Any:
    """Call a model with other parameters on a single sample, as a batch of one."""
    return apply_at(model, parameters, on_tensors(lambda t: t[None], inputs))


def each_loss(loss: Loss, output: Any, target: Any) -> Tensor:
    """Return the loss of each sample, whatever the loss does with a batch."""

    def alone(output: Any, target: Any) -> Tensor:
        return loss(*(on_tensors(lambda t: t[None], part) for part in (output, target)))

    return vmap(alone, randomness="different")(output, target)


@contextmanager
def hooked(model: nn.Module, found: dict[nn.Module, Calls]) -> Iterator[None]:
    """Keep inputs and outputs of layers, and activations from overwriting the outputs."""

    def keep(layer: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
        if arguments and output.requires_grad:
            found[layer].append((arguments[0].detach(), output))

    handles = [layer.register_forward_hook(keep) for layer in found]
    overwriting: list[Any] = [m for m in model.modules() if getattr(m, "inplace", False)]
    try:
        for module in overwriting:
            module.inplace = False
        yield
    finally:
        for module in overwriting:
            module.inplace = True
        for handle in handles:
            handle.remove()


def has_closed_form(layer: Any) -> bool:
    kind = type(layer)  # a subclass, such as a parametrised layer, may do anything
    if kind is nn.Embedding:
        return layer.max_norm is None and not layer.scale_grad_by_freq and not layer.sparse
    if kind in CONVOLUTIONS:
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if isinstance(layer, _BatchNorm):
        return kind in NORMALISED and layer.running_mean is not None
    return kind is nn.Linear or kind in NORMALISED


def _squared_norm(layer: nn.Module, calls: Calls, wanted: set[str]) -> Tensor:
    """Sum over all positions of all calls first, then square."""
    n = len(calls[0][0])
    if type(layer) in NORMALISED:
        scales, shifts = zip(*(affine(layer, a, g) for a, g in calls), strict=True)
        summed = [sum(scales)] * ("weight" in wanted) + [sum(shifts)] * ("bias" in wanted)
        return torch.cat(summed, 1).square().sum(1)
    pairs = (factors(layer, a, g) for a, g in calls)
    x, y = (torch.cat(parts, 1) for parts in zip(*pairs, strict=True))
    if isinstance(layer, nn.Embedding):
        padding = -1 if layer.padding_idx is None else layer.padding_idx
        alike = (x[:, :, None] == x[:, None]) & x.ne(padding)[:, None]
        return (y @ y.mT).mul(alike).sum((1, 2))
    total = y.new_zeros(n)
    if "weight" in wanted:
        total += _product(x, y).reshape(n, -1).sum(1)
    if "bias" in wanted:
        total += y.sum(1).square().reshape(n, -1).sum(1)
    return total


def _product(x: Tensor, y: Tensor) -> Tensor:
    """Return |x' y|^2 of each sample, for (n, positions, p) and (n, positions, q)."""
    positions, p, q = x.shape[1], x.shape[2], y.shape[2]
    if positions == 1:
        return x.square().sum((1, 2)) * y.square().sum((1, 2))
    if positions * (p + q) < p * q:
        return ((x @ x.mT) * (y @ y.mT)).sum((1, 2))
    return (x.mT @ y).square().sum((1, 2))


def factors(layer: Any, a: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Write the gradient of a weight as x' y, summed over positions."""
    n = len(a)
    if isinstance(layer, nn.Embedding):
        return a.reshape(n, -1), g.reshape(n, -1, g.shape[-1])
    if isinstance(layer, nn.Linear):
        return a.reshape(n, -1, a.shape[-1]), g.reshape(n, -1, g.shape[-1])
    sizes = [layer.kernel_size, layer.dilation, layer.padding, layer.stride]
    if a.dim() == 3:  # a convolution along a line is one of images of height 1
        heights = (1, 1, 0, 1)
        a = a[:, :, None]
        sizes = [(height, *size) for height, size in zip(heights, sizes, strict=True)]
    patches = F.unfold(a, *sizes)
    x, y = (t.reshape(n * layer.groups, -1, t.shape[-1]) for t in (patches, g.flatten(2)))
    return x.mT, y.mT


def affine(layer: Any, a: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Return each sample's gradients of the scale and of the shift, (n, size)."""
    hat = NORMALISED[type(layer)](layer, a)
    size = layer.weight.numel()
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm):
        return (hat * g).reshape(len(a), -1, size).sum(1), g.reshape(len(a), -1, size).sum(1)
    return (hat * g).reshape(len(a), size, -1).sum(2), g.reshape(len(a), size, -1).sum(2)
