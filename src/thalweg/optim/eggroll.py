"""EGGROLL: evolution strategies whose members differ by matrices of low rank."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.optim import Optimizer

from thalweg.optim._base import check, keyed_generator
from thalweg.optim._distributed import average_over_processes, is_distributed
from thalweg.optim._wrapper import Wrapper, agreed_seed


class EGGROLL(Wrapper):
    """An optimizer around an optimizer: a population's fitness takes the place of a gradient.

        E_j = A_j B_j^T / sqrt(rank)              of a matrix; else full:  A, B, E ~ N(0, 1)
        R_i = fitness at W + s_i sigma E_(i // 2),   s = +1, -1, +1, ...   for all members at once
        f_j = (R_2j - R_(2j+1)) / sqrt(var R + 1e-5)
        g   = -(sigma / sqrt(population)) sum_j f_j E_j
        W   = update of the inner optimizer with g

    All members share the product with W: in `nn.Linear`, x (W + s sigma E)^T is the one product
    x W^T plus the thin (x B) A^T. Nothing is differentiated. Draws are a function of the seed,
    the step and the order of the parameters; `g` stays in `p.grad`. A group may hold its own
    `eggroll_sigma` and `eggroll_rank`; the other settings are those of the first group.

    Use it where the fitness has no gradient (accuracy, rewards, integer weights), or where
    backward does not fit into memory. Avoid it where gradients can be had: it needs many more
    evaluations. Cost: a forward pass of the population a step and rank * (rows + columns) numbers
    of a matrix for each pair of members; a weight that is not an `nn.Linear`'s own (of a
    convolution, or tied) is held once for each member.

    Args:
        optimizer: The inner optimizer, such as SGD or Adam, with the parameters to evolve.
            Integer ones move by one where `|g| / sigma`, which is about N(0, 1) for a fitness
            that tells nothing, is among the share `lr` of that distribution's largest.
        population: Members, an even number >= 2.
        sigma: Standard deviation of a perturbation, >= 0; in units of one for integers.
        rank: Of a matrix's perturbation, >= 1; None for full ones, as elsewhere.
        seed: Of the draws. None takes that of torch's global generator; the first process's where
            `torch.distributed` is initialised.

    Raises:
        TypeError: If `optimizer` is none.
        ValueError: If a hyperparameter is outside its range or a parameter is complex.

    Example:
        >>> import torch
        >>> from thalweg.optim import EGGROLL
        >>> model, x = torch.nn.Linear(3, 1), torch.randn(20, 3)
        >>> optimizer = EGGROLL(torch.optim.SGD(model.parameters(), lr=1.0), population=32, seed=0)
        >>> fitness = optimizer.step(lambda members: (members(model, x) > 0).float().mean((1, 2)))
        >>> members = optimizer.ask()  # the same by hand
        >>> outputs = members(model, x)
        >>> optimizer.tell(-outputs.square().mean((1, 2)))
        >>> tuple(fitness.shape), tuple(outputs.shape)
        ((32,), (32, 20, 1))

    Paper: Evolution Strategies at the Hyperscale, 2025, arXiv 2511.16652. Differs: noise is drawn
        once a step and held, not drawn again for the update; it has real entries for integer
        weights too, whose update is that of the authors' integer model. The mean that the paper
        takes from the fitness of all, or of a group, is left out: it cancels in each pair, though
        the spread stays that of all members. Several processes share one population, each with
        data of its own, and average its fitness.
    """

    prefix = "eggroll"

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        population: int = 64,
        sigma: float = 0.1,
        rank: int | None = 1,
        seed: int | None = None,
    ) -> None:
        own = {"population": population, "sigma": sigma, "rank": rank, "seed": agreed_seed(seed)}
        super().__init__(optimizer, {**own, "step": 0})

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the inner optimizer; a generation under way is asked for anew."""
        super().__setstate__(state)
        self._asked: Population | None = None

    def validate(self, group: dict[str, Any]) -> None:
        """Raise a ValueError with a sentence for a hyperparameter outside its range."""
        own = {name: group[f"eggroll_{name}"] for name in ("population", "sigma", "rank", "seed")}
        size = own["population"]
        check("population", size, "an even number >= 2", lambda n: n >= 2 and n % 2 == 0)
        check("sigma", own["sigma"], "a finite number >= 0", lambda x: 0 <= x < math.inf)
        if own["rank"] is not None:
            ranks = "a whole number >= 1, or None"
            check("rank", own["rank"], ranks, lambda n: n >= 1 and n % 1 == 0)
        check("seed", own["seed"], "a whole number or None", lambda n: isinstance(n, int))

    def ask(self) -> Population:
        """Return the next generation, to be evaluated and told of."""
        self._asked = Population(self.param_groups)
        return self._asked

    @torch.no_grad()
    def tell(self, fitness: Tensor) -> None:
        """Update the parameters that were evaluated.

        Args:
            fitness: Of each member of the generation that `ask` returned last; more is better.

        Raises:
            RuntimeError: If no generation was asked for since the last update.
            ValueError: If there is not one number for each member.
        """
        if self._asked is None:
            raise RuntimeError("There is no generation to tell of: call ask() and evaluate it.")
        members, self._asked = self._asked, None
        if fitness.shape != (members.size,):
            raise ValueError(
                f"The fitness must be of shape ({members.size},), one number for each member, "
                f"not {tuple(fitness.shape)}."
            )
        scores = fitness.to(torch.promote_types(fitness.dtype, torch.float32))
        if is_distributed():
            average_over_processes([scores := scores.clone()])
        spread = (scores.var(correction=0) + 1e-5).sqrt()
        gains = (scores[0::2] - scores[1::2]) / spread
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None
                if p in members.noise:
                    ascent = members.ascent(p, gains)
                    if p.is_floating_point():
                        p.grad = (-group["eggroll_sigma"] * ascent).to(p.dtype)
                    else:
                        _move_by_one(p, -ascent if group.get("maximize") else ascent, group["lr"])
        self.base.step()
        for group in self.param_groups:
            group["eggroll_step"] += 1

    def step(self, fitness: Callable[[Population], Tensor]) -> Tensor:  # type: ignore[override]
        """Ask for a generation, evaluate it and update the parameters.

        Args:
            fitness: Called with the population, which it applies to a model; returns the fitness
                of each member, more being better.

        Returns:
            That fitness.

        Raises:
            ValueError: If there is not one number for each member.
        """
        scores = fitness(self.ask())
        self.tell(scores)
        return scores


class Population:
    """One generation: each parameter with the perturbations of all members.

    Args:
        groups: An `EGGROLL`'s.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        self.size: int = groups[0]["eggroll_population"]
        self.noise: dict[Tensor, tuple[Tensor, ...]] = {}
        self._key = groups[0]["eggroll_seed"], groups[0]["eggroll_step"]
        ordered = [(p, group) for group in groups for p in group["params"]]
        self._places = {p: (i, group) for i, (p, group) in enumerate(ordered) if _evolves(p)}

    @torch.no_grad()
    def __call__(
        self,
        model: nn.Module,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
        *,
        own: bool = False,
    ) -> Any:
        """Return a model's outputs for every member, along a new first dimension.

        Args:
            model: Any module with parameters of the optimizer; in evaluation mode where it has
                buffers that training changes, such as a batch normalisation's.
            args: Its argument, or the tuple of them.
            kwargs: Its keywords.
            own: Whether each member has arguments of its own, along their first dimension.

        Raises:
            ValueError: If the model holds none of the parameters.
        """
        layers = _linear_layers(model)
        thin, full = {}, {}
        for name, p in model.named_parameters():
            if p in self._places:
                if name in layers and len(self._drawn(p)) == 2:
                    thin[name] = self._factors(p)
                else:
                    full[name] = self._perturbed(p)
        if not (thin or full):
            raise ValueError("The model holds no parameter that the optimizer was given to evolve.")

        def member(thin: Any, full: Any, args: Any) -> Any:
            with _low_rank_terms({layers[name]: factors for name, factors in thin.items()}):
                return torch.func.functional_call(model, full, args, kwargs)

        over = (0, 0, 0 if own else None)
        return torch.func.vmap(member, in_dims=over, randomness="different")(thin, full, args)

    def ascent(self, p: Tensor, gains: Tensor) -> Tensor:
        """Return the sum over pairs of what each gained by its noise, over sqrt(size)."""
        noise = self._drawn(p)
        weights = gains.to(noise[0]) / math.sqrt(self.size)
        if len(noise) == 2:
            a, b = noise
            weighted = a * (weights / math.sqrt(a.shape[-1])).view(-1, 1, 1)
            return weighted.permute(1, 0, 2).flatten(1) @ b.permute(0, 2, 1).flatten(0, 1)
        return (weights @ noise[0].view(len(weights), p.numel())).view(p.shape)

    def _drawn(self, p: Tensor) -> tuple[Tensor, ...]:
        """Return the noise of each pair of members: A and B of a matrix, else E."""
        if p not in self.noise:
            place, group = self._places[p]
            generator = keyed_generator(p.device, *self._key, place)
            matrix = p.ndim == 2 and group["eggroll_rank"] is not None
            shape = (sum(p.shape), group["eggroll_rank"]) if matrix else p.shape
            z = torch.randn(self.size // 2, *shape, generator=generator, device=p.device)
            z = z.to(torch.promote_types(p.dtype, torch.float32))  # sums of low rank need it
            self.noise[p] = torch.split(z, list(p.shape), 1) if matrix else (z,)
        return self.noise[p]

    def _factors(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Return each member's s sigma A / sqrt(rank) and B."""
        a, b = self._drawn(p)
        a = a * (self._places[p][1]["eggroll_sigma"] / math.sqrt(a.shape[-1]))
        dtype = p.dtype if p.is_floating_point() else a.dtype
        return _antithetic(a).to(dtype), b.repeat_interleave(2, 0).to(dtype)

    def _perturbed(self, p: Tensor) -> Tensor:
        """Return each member's own copy of a parameter."""
        if len(self._drawn(p)) == 2:
            a, b = self._factors(p)
            noise = a @ b.mT
        else:
            noise = _antithetic(self._places[p][1]["eggroll_sigma"] * self._drawn(p)[0])
        return _rounded(p + noise, p.dtype)


def _evolves(p: Tensor) -> bool:
    if hasattr(p, "device_mesh"):
        raise RuntimeError(
            "EGGROLL takes whole parameters, because its members are no shards of fully_shard: "
            "replicate the model instead."
        )
    return p.requires_grad or not p.is_floating_point()  # integers cannot require a gradient


def _antithetic(z: Tensor) -> Tensor:
    return torch.stack([z, -z], 1).flatten(0, 1)


def _rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the numbers in a type: for integers the nearest it holds."""
    if dtype.is_floating_point:
        return x.to(dtype)
    limits = torch.iinfo(dtype)
    return x.round().clamp(limits.min, limits.max).to(dtype)


def _move_by_one(p: Tensor, ascent: Tensor, share: float) -> None:
    """Move integers where the ascent is among the largest share of a normal distribution."""
    threshold = torch.special.ndtri(torch.tensor(1 - min(share, 1.0) / 2, dtype=torch.float64))
    step = ascent.sign() * (ascent.abs() > threshold)
    p.copy_(_rounded(p + step, p.dtype))


def _linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that alone apply a weight, and by a call, under the weight's name."""
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    return {
        f"{name}.weight".lstrip("."): layer
        for name, layer in model.named_modules()
        # Attention takes the weight out of this kind of layer without calling it.
        if isinstance(layer, nn.Linear) and not isinstance(layer, NonDynamicallyQuantizableLinear)
        if uses[id(layer.weight)] == 1
    }


@contextmanager
def _low_rank_terms(factors: dict[nn.Module, tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Let linear layers add x B A^T to their outputs."""
    hooks = [
        layer.register_forward_hook(partial(_add_low_rank, a, b), prepend=True)
        for layer, (a, b) in factors.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _add_low_rank(a: Tensor, b: Tensor, layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    term = (inputs[0].to(b.dtype) @ b) @ a.mT
    return output + _rounded(term, output.dtype)
