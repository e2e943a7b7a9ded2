"""What every optimizer of this room shares: one elementwise update, run over many parameters."""

from __future__ import annotations

import functools
import hashlib
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, overload

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.optimizer import ParamsT

_PACK = 2**15  # elements; about where the fixed cost of a call equals copying a tensor to and fro
_TOGETHER = 16  # packs; twice as many take twice as long to compile and save microseconds each
_ALIGN = 64  # elements; whole vectors in every dtype, so no element takes a scalar remainder loop


class ElementwiseOptimizer(torch.optim.Optimizer):
    """A `torch.optim.Optimizer` whose update treats every element of every parameter alike.

    A method states its update once, as two functions: `coefficients` turns the hyperparameters of
    a group and a step count into numbers, `update` applies them to tensors, elementwise and in
    place. The base chooses the tensors: a large parameter by itself, small ones end to end in a
    pack, because a call costs as much as thousands of elements. With `compile=True` the same
    `update` goes through `torch.compile`, which compiles anew for another dtype or other
    `constants`, never for other coefficients.

    Args:
        params: Parameters, named parameters or groups of them, as for every torch optimizer.
        arguments: The `locals()` of the subclass's constructor: its hyperparameters by name.
    """

    state_names: ClassVar[tuple[str, ...]]
    constants: ClassVar[tuple[str, ...]]
    update: ClassVar[Callable[..., None]]

    def __init__(self, params: ParamsT, arguments: dict[str, Any]) -> None:
        others = ("self", "params", "__class__")
        defaults = {name: value for name, value in arguments.items() if name not in others}
        self.validate(defaults)
        super().__init__(params, defaults)
        self._packings: dict[tuple[Any, ...], list[list[_Pack]]] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the state of a pickle, a deep copy or a loaded state dict."""
        super().__setstate__(state)
        self._packings = {}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; its hyperparameters are checked as the constructor's are."""
        super().add_param_group(param_group)
        with group_dropped_if_refused(self):
            self.validate(self.param_groups[-1])
            refuse_complex(self, self.param_groups[-1])

    def validate(self, group: dict[str, Any]) -> None:
        """Raise a ValueError with a sentence for a hyperparameter outside its range."""
        for name in ("lr", "eps", "weight_decay"):
            check(name, group[name], "a finite number >= 0", lambda x: 0 <= x < math.inf)
        check("betas", group["betas"], "two numbers in [0, 1)", _are_decay_rates)

    def coefficients(self, group: dict[str, Any], step: int) -> dict[str, float]:
        """Return the numbers in `update` that change from step to step; Adam's by default."""
        return adam_coefficients(group, step)

    def prepare(self) -> bool:
        """Do what must precede the updates; return False to leave the whole step out."""
        return True

    def inputs(self, p: Tensor) -> list[Tensor]:
        """Return the tensors that `update` only reads, the gradient first; once a step."""
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
        for (step, dtype, _), members in alike.items():
            numbers = self.coefficients(group, step)
            constants = {name: group[name] for name in self.constants}
            if group["compile"]:  # numbers as a tensor, so that new values are no new program
                precise = torch.promote_types(dtype, torch.float32)
                values = torch.tensor(list(numbers.values()), dtype=precise)
            for packs in self._packs(members, together=_TOGETHER if group["compile"] else 1):
                rows = [self._load(pack, group["maximize"]) for pack in packs]
                if group["compile"]:
                    _compiled(self.update, len(rows))(rows, tuple(numbers), values, **constants)
                else:
                    self.update(*rows[0], **numbers, **constants)
                for pack, row in zip(packs, rows, strict=True):
                    pack.store(row[0])

    def _load(self, pack: _Pack, maximize: bool) -> list[Tensor]:
        """Return the operands of one update: parameter, inputs, state."""
        columns = zip(*([p, *self.inputs(p)] for p in pack.params), strict=True)
        rows = [pack.load(i, column) for i, column in enumerate(columns)]
        if maximize:
            rows[1] = -rows[1]
        return rows + pack.keep(self.state_names, [self.state[p] for p in pack.params])

    def _packs(self, params: list[Tensor], together: int) -> list[list[_Pack]]:
        """Divide parameters of one dtype and device into packs, the same while they are.

        Packs of one shape come together, up to so many.
        """
        like = params[0]
        key = like.dtype, like.device, together, *map(id, params)  # tensors that packs keep alive
        if key not in self._packings:
            if len(self._packings) == 32:  # gradients come and go in ever new combinations
                self._packings.clear()
            packs: list[list[Tensor]] = []
            room = -1
            for p in params:
                alone = p.numel() >= _PACK or not _is_plain(p)
                if alone or p.numel() > room:
                    packs.append([])
                    room = _PACK
                packs[-1].append(p)
                room = -1 if alone else room - p.numel()
            alike: dict[tuple[int, ...], list[_Pack]] = {}
            for pack in map(_Pack, packs):
                alike.setdefault(pack.shape, []).append(pack)
            self._packings[key] = [
                some[first : first + together]
                for some in alike.values()
                for first in range(0, len(some), together)
            ]
        return self._packings[key]


class _Pack:
    """Parameters that one call updates: small ones laid end to end, or a single large one."""

    def __init__(self, params: list[Tensor]) -> None:
        self.params = params
        self.plain = _is_plain(params[0])
        self.sizes = [p.numel() for p in params]
        self.length = sum(self.sizes)
        self.alone = len(params) == 1 and self.length >= _PACK
        if not self.alone:
            self.length = _ALIGN * max(1, math.ceil(self.length / _ALIGN))
        self.shape = (self.length,) if self.plain else tuple(params[0].shape)
        self.rows: dict[int | str, tuple[Tensor, list[Tensor]]] = {}
        self.kept: list[Tensor] = []
        self.flat = torch.empty(0)

    def row(self, key: int | str) -> tuple[Tensor, list[Tensor]]:
        """Return a flat row of this pack and the view of it for each parameter."""
        if key not in self.rows:
            like = self.params[0]
            row = torch.zeros(self.length, dtype=like.dtype, device=like.device)
            parts = torch.split(row[: sum(self.sizes)], self.sizes)
            views = [x.view(p.shape) for x, p in zip(parts, self.params, strict=True)]
            self.rows[key] = row, views
        return self.rows[key]

    def load(self, key: int, tensors: Sequence[Tensor]) -> Tensor:
        """Return the tensors end to end: copied, unless a single one lies so already."""
        x = tensors[0]
        if not self.plain:
            return x.detach()
        if not (self.alone and x.is_contiguous()):
            row, views = self.row(key)
            torch._foreach_copy_(views, list(tensors))
            return row
        if key == 0 and self.flat.data_ptr() == x.data_ptr():
            return self.flat
        flat = x.view(-1).data  # not known as a view, or torch.compile would care
        if key == 0:
            self.flat = flat  # a parameter's; to hold a gradient's would keep its memory
        return flat

    def keep(self, names: Sequence[str], states: list[dict[str, Tensor]]) -> list[Tensor]:
        """Return states end to end: they move here once, and again if they were replaced since."""
        if not self.plain:
            return [states[0][name] for name in names]
        held = [state[name] for name in names for state in states]
        if len(self.kept) != len(held) or not all(map(operator.is_, held, self.kept)):
            for name in names:
                _, views = self.row(name)
                torch._foreach_copy_(views, [state[name] for state in states])
                for state, view in zip(states, views, strict=True):
                    state[name] = view
            self.kept = [state[name] for name in names for state in states]
        return [self.rows[name][0] for name in names]

    def store(self, row: Tensor) -> None:
        """Copy the updated row of parameters back, unless it is the parameter itself."""
        if 0 in self.rows and self.rows[0][0] is row:
            torch._foreach_copy_(self.params, self.rows[0][1])


def adam_coefficients(group: dict[str, Any], step: int, power: float = 0.5) -> dict[str, float]:
    """Return the numbers in Adam's update that change with the step, both averages unbiased."""
    beta1, beta2 = group["betas"]
    unit = (1 - beta2**step) ** power
    return {
        "rate": group["lr"] * unit / (1 - beta1**step),
        "eps": group["eps"] * unit,
        "keep": 1 - group["lr"] * group["weight_decay"],
        "weight1": 1 - beta1,
        "weight2": 1 - beta2,
    }


def average_(mean: Tensor, x: Tensor, weight: float) -> None:
    """Move a running mean towards `x` in place, by a weight in [0, 1]."""
    if torch.compiler.is_compiling():
        mean.add_((x - mean) * weight)  # `lerp_` would be compiled to both of its branches
    else:
        mean.lerp_(x, weight)


def check(name: str, value: Any, expected: str, accepts: Callable[[Any], bool]) -> None:
    """Raise a ValueError with a sentence unless the value is accepted."""
    try:
        accepted = accepts(value)
    except TypeError:
        accepted = False
    if not accepted:
        raise ValueError(f"{name} must be {expected}, not {value!r}.")


def refuse_complex(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> None:
    """Raise a ValueError with a sentence for a complex parameter."""
    if any(p.is_complex() for p in group["params"]):
        raise ValueError(
            f"{type(optimizer).__name__} takes real parameters: "
            "keep a complex p as torch.view_as_real(p)."
        )


@contextmanager
def group_dropped_if_refused(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Take the group that was added last away again where a ValueError is raised."""
    try:
        yield
    except ValueError:
        optimizer.param_groups.pop()
        raise


def keyed_generator(device: torch.device, *key: int) -> torch.Generator:
    """Return a generator whose numbers are a function of the key."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest) >> 1)


def _is_plain(p: Tensor) -> bool:
    return type(p) in (Tensor, Parameter)  # and not a DTensor, say


def _are_decay_rates(betas: Any) -> bool:
    return len(betas) == 2 and all(0 <= beta < 1 for beta in betas)


@functools.cache
def _compiled(update: Callable[..., None], count: int) -> Callable[..., None]:
    """Return the update of so many packs of one shape as one program: calls cost microseconds."""

    def program(
        packs: list[list[Tensor]], names: tuple[str, ...], values: Tensor, **constants: Any
    ) -> None:
        numbers = dict(zip(names, values.unbind(), strict=True))
        for rows in packs:
            update(*rows, **numbers, **constants)

    # torch limits the programs compiled from one code object: each update and count has its own
    program.__code__ = program.__code__.replace(co_name=f"{update.__qualname__}_of_{count}")
    # loops over unrelated packs, joined into one, would run through too much memory at a time
    options: dict[str, Any] = {"cpp.max_horizontal_fusion_size": 4, "size_asserts": False}
    return torch.compile(program, dynamic=True, options=options)
