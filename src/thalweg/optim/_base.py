"""What every optimizer of this room shares: one elementwise update, run over many parameters."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, ClassVar, overload

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.optimizer import ParamsT

_PACK = 2**15  # elements; about where the fixed cost of a call equals copying a tensor to and fro
_ALIGN = 64  # elements; whole vectors in every dtype, so no element takes a scalar remainder loop


class ElementwiseOptimizer(torch.optim.Optimizer):
    """A `torch.optim.Optimizer` whose update treats every element of every parameter alike.

    A method states its update once, as two functions: `coefficients` turns the hyperparameters of
    a group and a step count into numbers, `update` applies them to tensors, elementwise and in
    place. The base chooses the tensors: a large parameter by itself, small ones end to end in a
    pack, because a call costs as much as thousands of elements. With `compile=True` the same
    `update` goes through `torch.compile`, which compiles anew for another dtype or other
    `constants`, never for another `lr` or step.

    Args:
        params: Parameters, named parameters or groups of them, as for every torch optimizer.
        defaults: The hyperparameters of a group that does not set its own.
    """

    needs_graph: ClassVar[bool] = False
    state_names: ClassVar[tuple[str, ...]]
    n_inputs: ClassVar[int] = 1
    constants: ClassVar[tuple[str, ...]]
    update: ClassVar[Callable[..., None]]

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.validate(defaults)
        super().__init__(params, defaults)
        self._layouts: dict[tuple[int, ...], _Layout] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the state of a pickle, a deep copy or a loaded state dict."""
        super().__setstate__(state)
        self._layouts = {}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; its hyperparameters are checked as the constructor's are."""
        super().add_param_group(param_group)
        self.validate(self.param_groups[-1])
        if any(p.is_complex() for p in self.param_groups[-1]["params"]):
            raise ValueError(
                f"{type(self).__name__} takes real parameters: "
                "keep a complex p as torch.view_as_real(p)."
            )

    def validate(self, group: dict[str, Any]) -> None:
        """Raise a ValueError with a sentence for a hyperparameter outside its range."""
        for name in ("lr", "eps", "weight_decay"):
            check(name, group[name], "a finite number >= 0", lambda x: 0 <= x < math.inf)
        check(
            "betas",
            group["betas"],
            "two numbers in [0, 1)",
            lambda betas: len(betas) == 2 and all(0 <= beta < 1 for beta in betas),
        )

    def coefficients(self, group: dict[str, Any], step: int) -> dict[str, float]:
        """Return the numbers in `update` that change from step to step, by keyword."""
        raise NotImplementedError

    def prepare(self) -> bool:
        """Do what must precede the updates; return False to leave the whole step out."""
        return True

    def inputs(self, p: Tensor) -> list[Tensor]:
        """Return the `n_inputs` tensors that `update` only reads, the gradient first."""
        assert p.grad is not None
        return [p.grad]

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient.

        Args:
            closure: Clears the gradients, computes the loss, calls backward and returns the loss.

        Returns:
            The closure's loss, detached from its graph; None without a closure.

        Raises:
            RuntimeError: If a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            ready = [self._with_gradient(group) for group in self.param_groups]
            if self.prepare():
                for group, params in zip(self.param_groups, ready, strict=True):
                    self._advance(group, params)
        return loss.detach() if isinstance(loss, Tensor) else loss

    def _with_gradient(self, group: dict[str, Any]) -> list[Tensor]:
        params = [p for p in group["params"] if p.grad is not None]
        if any(p.grad.layout is not torch.strided for p in params):
            raise RuntimeError(
                f"{type(self).__name__} takes dense gradients: build the embedding with "
                "sparse=False, or train it by torch.optim.SparseAdam."
            )
        return params

    def _advance(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Count one step for each parameter, then update those of equal count together."""
        alike: dict[tuple[int, torch.dtype, torch.device], list[Tensor]] = {}
        for p in params:
            state = self.state[p]
            if "step" not in state:
                state["step"] = 0
                for name in self.state_names:
                    state[name] = torch.zeros_like(p, memory_format=torch.preserve_format)
            state["step"] += 1
            alike.setdefault((state["step"], p.dtype, p.device), []).append(p)
        for (step, _, _), members in alike.items():
            numbers: dict[str, Any] = dict(self.coefficients(group, step))
            update: Callable[..., None] = self.update
            if group["compile"]:  # numbers as tensors, so that new values are no new program
                update = _compiled(update)
                numbers = {k: torch.tensor(x, dtype=torch.float64) for k, x in numbers.items()}
            numbers |= {name: group[name] for name in self.constants}
            layout = self._layout(members)
            jobs = [self._operands(p, group["maximize"]) for p in layout.alone]
            jobs += [self._gather(pack, group["maximize"]) for pack in layout.packs]
            for tensors in jobs:
                update(*tensors, **numbers)
            for pack in layout.packs:
                torch._foreach_copy_(pack.params, pack.views[0])

    def _operands(self, p: Tensor, maximize: bool) -> list[Tensor]:
        """Return the tensors of one update: parameter, inputs, state; flat where that is free."""
        state = self.state[p]
        tensors = [p.detach(), *self.inputs(p), *(state[name] for name in self.state_names)]
        if maximize:
            tensors[1] = -tensors[1]
        if _is_plain(p) and all(t.is_contiguous() for t in tensors):
            return [t.view(-1) for t in tensors]
        return tensors

    def _gather(self, pack: _Pack, maximize: bool) -> list[Tensor]:
        """Copy parameters and inputs into the pack; their state moves in once and stays."""
        rows = [[p, *self.inputs(p)] for p in pack.params]
        for views, column in zip(pack.views, zip(*rows, strict=True), strict=False):
            torch._foreach_copy_(views, column)
        if maximize:
            pack.rows[1].neg_()
        for name, views in zip(self.state_names, pack.views[len(rows[0]) :], strict=True):
            states = [self.state[p][name] for p in pack.params]
            if not all(map(operator.is_, states, views)):  # fresh, or loaded since
                torch._foreach_copy_(views, states)
                for p, view in zip(pack.params, views, strict=True):
                    self.state[p][name] = view
        return pack.rows

    def _layout(self, params: list[Tensor]) -> _Layout:
        key = tuple(map(id, params))
        if key not in self._layouts:
            if len(self._layouts) == 32:  # gradients come and go in ever new combinations
                self._layouts.clear()
            self._layouts[key] = _Layout(params, 1 + self.n_inputs + len(self.state_names))
        return self._layouts[key]


class _Layout:
    """Which parameters, all of one dtype and device, are updated alone and which in packs."""

    def __init__(self, params: list[Tensor], n_rows: int) -> None:
        self.params = params  # held, so that no other tensor gets an id of this layout's key
        self.alone = [p for p in params if p.numel() > _PACK or not _is_plain(p)]
        batches: list[list[Tensor]] = []
        room = -1
        for p in params:
            if p.numel() <= _PACK and _is_plain(p):
                if p.numel() > room:
                    batches.append([])
                    room = _PACK
                batches[-1].append(p)
                room -= p.numel()
        self.packs = [_Pack(batch, n_rows) for batch in batches]


class _Pack:
    """Small parameters end to end: a flat row for each operand, with a view for each parameter."""

    def __init__(self, params: list[Tensor], n_rows: int) -> None:
        self.params = params
        sizes = [p.numel() for p in params]
        length = _ALIGN * max(1, math.ceil(sum(sizes) / _ALIGN))
        dtype, device = params[0].dtype, params[0].device
        self.rows = [torch.zeros(length, dtype=dtype, device=device) for _ in range(n_rows)]
        self.views = []
        for row in self.rows:
            parts = torch.split(row[: sum(sizes)], sizes)
            self.views.append([x.view(p.shape) for x, p in zip(parts, params, strict=True)])


def check(name: str, value: Any, expected: str, accepts: Callable[[Any], bool]) -> None:
    """Raise a ValueError with a sentence unless the value is accepted."""
    try:
        accepted = accepts(value)
    except TypeError:
        accepted = False
    if not accepted:
        raise ValueError(f"{name} must be {expected}, not {value!r}.")


def _is_plain(p: Tensor) -> bool:
    return type(p) in (Tensor, Parameter)  # a DTensor is updated as it is, shard by shard


@functools.cache
def _compiled(update: Callable[..., None]) -> Callable[..., None]:
    return torch.compile(update, dynamic=True)
