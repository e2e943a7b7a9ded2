"""Inner products of the gradients of single samples' outputs, without the gradients."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap
from torch.nn import functional as F

from thalweg.data._gradient_norms import (
    NORMALISED,
    PROBED,
    Calls,
    affine,
    apply_alone,
    factors,
    has_closed_form,
    hooked,
)
from thalweg.data._measure import apply, close, n_samples, rows

Mode = Literal["full", "diagonal", "trace"]
# Of a block of parameters: x (n, groups, S, p) and y (C, n, groups, S, q), such that the gradient
# of output c of sample n is the sum of the outer products of their rows at the S positions.
Factors = tuple[Tensor, Tensor]


class Tangents:
    """Gradients of each output of each sample, as factors, and their inner products.

    A layer's factors are trusted only after they have agreed with autograd on the first samples;
    where they have not, as where its parameters are used in another way too, `torch.func` takes
    their place.

    Args:
        model: In evaluation mode; its parameters that require a gradient are the variables.
        inputs: Of some samples, on which the factors are tried.
    """

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        self.model = model
        every: Iterable[tuple[str, Tensor]] = model.named_parameters()
        self.rest = {name: p for name, p in every if p.requires_grad}
        if not self.rest:
            raise ValueError("no parameter of the model requires a gradient; unfreeze some")
        owned = (
            (layer, {n for n, p in layer.named_parameters(recurse=False) if p.requires_grad})
            for layer in model.modules()
            if has_closed_form(layer)
        )
        self.layers = {layer: own for layer, own in owned if own}
        self._probe(rows(inputs, slice(PROBED)))

    def __call__(self, inputs: Any) -> list[Factors]:
        """Return the factors of a batch."""
        return [*(pair for own in self._closed(inputs).values() for pair in own)] + [
            _dense(slope) for slope in self._jacobians(inputs)
        ]

    def _probe(self, inputs: Any) -> None:
        """Keep the layers whose factors are right; leave the other parameters to `torch.func`."""
        every = list(self.rest.values())
        exact: dict[int, list[Tensor]] = {id(p): [] for p in every}
        for i in range(n_samples(inputs)):
            output = outputs(self.model, rows(inputs, slice(i, i + 1)))
            weights = _probe_weights(output.shape[1], output)
            slopes = torch.autograd.grad(output[0] @ weights, every, materialize_grads=True)
            for p, slope in zip(every, slopes, strict=True):
                exact[id(p)].append(slope.flatten())
        naive = {p: torch.stack(slopes) @ torch.stack(slopes).T for p, slopes in exact.items()}
        scale = torch.stack(list(naive.values())).diagonal(dim1=1, dim2=2).sum()
        tied: set[int] = set()
        for layer, pairs in self._closed(inputs).items():
            own = {id(p) for n, p in layer.named_parameters(recurse=False) if id(p) in exact}
            kernel = contracted(pairs, pairs, "full")
            weights = _probe_weights(len(kernel), kernel)
            found = torch.einsum("cndm,c,d->nm", kernel, weights, weights)
            expected = torch.stack([naive[p] for p in own]).sum(0)
            size = expected.diagonal().sqrt()
            least = torch.finfo(size.dtype).eps * scale
            if own & tied or not close(found, expected, torch.outer(size, size) + least):
                del self.layers[layer]
            else:
                tied |= own
        self.rest = {name: p for name, p in self.rest.items() if id(p) not in tied}

    def _closed(self, inputs: Any) -> dict[nn.Module, list[Factors]]:
        n = n_samples(inputs)
        found: dict[nn.Module, Calls] = {layer: [] for layer in self.layers}
        if not found:
            return {}
        with torch.enable_grad(), hooked(self.model, found):
            output = outputs(self.model, inputs)
        ends = [end for calls in found.values() for _, end in calls]
        each = [
            torch.autograd.grad(output[:, c].sum(), ends, retain_graph=True, materialize_grads=True)
            for c in range(output.shape[1] if ends else 0)
        ]
        slopes = iter([torch.stack(parts) for parts in zip(*each, strict=True)])
        made = {}
        for layer, calls in found.items():
            seen = [(given, next(slopes)) for given, _ in calls]
            if seen and all(len(given) == g.shape[1] == n for given, g in seen):
                made[layer] = _factors(layer, seen, self.layers[layer])
            else:  # not called, or its first dimension is not the sample
                made[layer] = [_dense(output.new_full((output.shape[1], n, 1), torch.nan))]
        return made

    @torch.no_grad()  # beyond torch.func's own: its slopes would keep the graph they come from
    def _jacobians(self, inputs: Any) -> list[Tensor]:
        """Return the derivatives by the remaining parameters, each (C, n, ...)."""
        if not self.rest:
            return []

        def slopes(parameters: dict[str, Tensor], sample: Any) -> list[dict[str, Tensor]]:
            output, pull, *_ = vjp(
                lambda chosen: _flat(apply_alone(self.model, chosen, sample), 1)[0], parameters
            )
            # One output at a time: nested in one another, vmaps break on some layers, as on PReLU.
            return [pull(end)[0] for end in torch.eye(len(output)).to(output)]

        each = vmap(slopes, (None, 0), randomness="different")(self.rest, inputs)
        return [torch.stack([of_one.pop(name) for of_one in each]) for name in self.rest]


def outputs(model: nn.Module, inputs: Any) -> Tensor:
    """Return a model's outputs, (n, C)."""
    return _flat(apply(model, inputs), n_samples(inputs))


def contracted(one: Sequence[Factors], other: Sequence[Factors], mode: Mode) -> Tensor:
    """Sum the inner products over the blocks: (C, n, C, m), its diagonal (C, n, m) or trace."""
    total = _inner(one[0], other[0], mode)
    for mine, yours in zip(one[1:], other[1:], strict=True):
        total += _inner(mine, yours, mode)
    return total


def _inner(one: Factors, other: Factors, mode: Mode) -> Tensor:
    (x, y), (u, v) = one, other
    c, n, groups, s, q = y.shape
    m, t, p = len(u), *u.shape[2:]
    pairs = c * c if mode == "full" else c
    if p > 1 and s * t * (p / pairs + q + 1) > p * q:  # multiplications for a pair of samples
        x, y = _multiplied(one)
        u, v = (x, y) if other is one else _multiplied(other)
        groups = s = t = 1
    # The outputs are a batch of products (b), rows and columns of them (r), or summed over.
    order, b, r, ends = {
        "full": ("cngsq->gcnsq", 1, c, (c, n, c, m)),
        "diagonal": ("cngsq->cgnsq", c, 1, (c, n, m)),
        "trace": ("cngsq->gnscq", 1, 1, (n, m)),
    }[mode]
    left, right = (torch.einsum(order, side) for side in (y, v))
    left = left.reshape(b * groups, r * n * s, -1)
    right = right.reshape(b * groups, r * m * t, -1)
    products = (left @ right.mT).view(b, groups, r, n, s, r, m, t)
    alike = x.transpose(0, 1).flatten(1, 2) @ u.transpose(0, 1).flatten(1, 2).mT
    products *= alike.view(groups, 1, n, s, 1, m, t)
    return products.sum((1, 4, 7)).reshape(ends)


def _multiplied(side: Factors) -> Factors:
    """Write gradients out."""
    x, y = side
    return _dense(x.mT @ y)


def _dense(slopes: Tensor) -> Factors:
    """Write gradients (C, n, ...) as factors."""
    c, n = slopes.shape[:2]
    return slopes.new_ones(n, 1, 1, 1), slopes.reshape(c, n, 1, 1, -1)


def _factors(layer: Any, calls: Calls, wanted: set[str]) -> list[Factors]:
    if type(layer) in NORMALISED:
        each = [vmap(partial(affine, layer, a))(g) for a, g in calls]
        return [
            _dense(sum(parts))
            for name, parts in zip(("weight", "bias"), zip(*each, strict=True), strict=True)
            if name in wanted
        ]
    n, groups = len(calls[0][0]), getattr(layer, "groups", 1)
    ends: Any = (None, 0)  # the input's side is the same for all outputs
    pairs = (vmap(partial(factors, layer, a), out_dims=ends)(g) for a, g in calls)
    xs, ys = zip(*pairs, strict=True)
    x, y = torch.cat(xs, 1), torch.cat(ys, 2)
    if isinstance(layer, nn.Embedding):
        padding = -1 if layer.padding_idx is None else layer.padding_idx
        x = F.one_hot(x, layer.num_embeddings) * x.ne(padding)[:, :, None]
    x = x.to(y.dtype)
    # The bias is the weight of an input that is always 1.
    columns = [x] * ("weight" in wanted) + [x.new_ones(*x.shape[:2], 1)] * ("bias" in wanted)
    x = torch.cat(columns, 2)
    return [
        (x.reshape(n, groups, *x.shape[1:]), y.reshape(len(y), n, groups, *y.shape[2:])),
    ]


def _probe_weights(c: int, like: Tensor) -> Tensor:
    """Return weights of the outputs that no two wrong ones would cancel under."""
    return torch.linspace(1, 2, c, dtype=like.dtype, device=like.device).cos()


def _flat(output: Any, n: int) -> Tensor:
    if not isinstance(output, Tensor) or not output.dim() or len(output) != n:
        what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"the model's output for {n} samples is {what}; wrap it in one that returns a tensor "
            "with a row for each sample"
        )
    return output.reshape(n, -1)
