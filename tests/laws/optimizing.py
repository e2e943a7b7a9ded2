"""What the laws of optimizers and wrappers share: small parameters, a coupled loss, a loop."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from thalweg.core.example import Example
from thalweg.optim import AdaHessian

SHAPES = [(), (3,), (2, 3), (2, 2, 3), (2, 1, 2, 2), (0,)]


def parameters(example: Example, dtype: torch.dtype = torch.float64) -> list[Parameter]:
    """Return parameters of all shapes, one not contiguous; or what the example is for."""
    if example.inputs is not None:
        return [Parameter(value.detach().clone().to(dtype)) for value in example.inputs()]
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(x, generator=generator, dtype=torch.float64) for x in SHAPES]
    values.append(torch.randn(3, 2, generator=generator, dtype=torch.float64).t())
    return [Parameter(value.to(dtype)) for value in values]


def make(example: Example, params: Iterable[Any], **changes: Any) -> Any:
    """Build the optimizer of an example, with other arguments where told."""
    return example.object(params, **{**example.arguments, **changes})


def takes(example: Example) -> list[str]:
    """Return the keywords of the signature."""
    return list(inspect.signature(example.object).parameters)[1:]


def coupled(params: Sequence[Tensor], t: int = 0) -> Tensor:
    """Return a loss whose Hessian is dense, differs everywhere and changes from step to step."""
    x = torch.cat([p.flatten() for p in params])
    swing = (0.4, 2.0, 1.0, 0.2, 1.5)[t % 5]
    return swing * ((x**4).sum() / 10 + (x.sin() * x.roll(1)).sum()) + (x.sum() / 5) ** 2


def differentiate(example: Example, loss: Tensor, params: Sequence[Parameter]) -> None:
    """Set the gradients, with their graph for a method that needs it."""
    if "graph" not in example.needs:
        loss.backward()
        return
    wanted = [p for p in params if p.requires_grad]
    grads = torch.autograd.grad(loss, wanted, create_graph=True, allow_unused=True)
    for p, g in zip(wanted, grads, strict=True):
        p.grad = g


def run(
    example: Example,
    optimizer: Optimizer,
    params: Sequence[Parameter],
    steps: int,
    start: int = 0,
    loss: Callable[[Sequence[Tensor], int], Tensor] = coupled,
) -> Tensor:
    """Make steps and return where they end, all parameters end to end."""
    for t in range(start, start + steps):
        step(example, optimizer, params, lambda params, t=t: loss(params, t))
    return flat(params)


def step(
    example: Example,
    optimizer: Optimizer,
    params: Sequence[Parameter],
    loss: Callable[[Sequence[Tensor]], Tensor],
) -> None:
    """Make one step the way the example needs it."""

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(params)
        differentiate(example, value, params)
        return value

    if example.step is not None:
        example.step(optimizer, params, loss)
    elif "closure" in example.needs:
        optimizer.step(closure)
    else:
        closure()
        optimizer.step()


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """Return tensors end to end, as numbers that are no longer theirs."""
    return torch.cat([x.detach().flatten() for x in tensors])


def scale_lr(optimizer: Optimizer, factor: float) -> None:
    """Change the learning rate of every group, as a schedule does."""
    for group in optimizer.param_groups:
        group["lr"] *= factor


@dataclass(frozen=True)
class Wrapped:
    """A wrapper over a base, built like an optimizer.

    Args:
        wrapper: Called with the base.
        base: The class of the base.
        arguments: Of the base.
    """

    wrapper: Callable[..., Optimizer]
    base: Callable[..., Optimizer]
    arguments: tuple[tuple[str, Any], ...] = ()

    def __call__(self, params: Any, **keywords: Any) -> Optimizer:
        """Build both; what the wrapper does not take is the base's."""
        own = inspect.signature(self.wrapper).parameters
        of_base = {k: keywords.pop(k) for k in ("lr", "maximize") if k in keywords and k not in own}
        return self.wrapper(self.base(params, **{**dict(self.arguments), **of_base}), **keywords)

    @property
    def __name__(self) -> str:
        return f"{self.wrapper.__name__}({self.base.__name__})"

    @property
    def __signature__(self) -> inspect.Signature:
        own = list(inspect.signature(self.wrapper).parameters.values())
        names = [x.name for x in own]
        keyword = inspect.Parameter.KEYWORD_ONLY
        more = [inspect.Parameter(x, keyword) for x in ("lr", "maximize") if x not in names]
        variable = [x for x in own if x.kind is inspect.Parameter.VAR_KEYWORD]
        return inspect.Signature([x for x in own if x not in variable] + more + variable)


BASES = (
    (torch.optim.SGD, (("lr", 0.05), ("momentum", 0.9)), frozenset()),
    (torch.optim.AdamW, (("lr", 0.05),), frozenset()),
    (AdaHessian, (), frozenset({"graph"})),
)


def subjects(example: Example) -> list[Example]:
    """Return an optimizer as it is, a wrapper over each of several bases."""
    if example.interface == "optimizer":
        return [example]
    return [
        replace(
            example,
            object=Wrapped(example.object, base, arguments),
            interface="optimizer",
            needs=example.needs | needs,
        )
        for base, arguments, needs in BASES
        # A second closure moves what the graph of the first was made from.
        if not ((example.step or "closure" in example.needs) and "graph" in needs)
    ]
