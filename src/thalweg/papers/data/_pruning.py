"""Pruning as a method for training: score in short runs, keep a part, train; all on one bill."""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from thalweg.core.clock import Clock
from thalweg.core.errors import RecipeError
from thalweg.core.seeds import derive_seed
from thalweg.core.trace import Cost, Point
from thalweg.data import prune
from thalweg.training.batches import Arrays, Batch, Batches
from thalweg.training.setup import Loop, Loss, Setup, Transform

Score = Callable[[list[nn.Module], Iterable[tuple[Any, Any]], Loss], Tensor]


class Pruned:
    """Batches of all samples, and from the moment `kept` is set of those alone.

    Args:
        batches: Of all samples.
    """

    def __init__(self, batches: Batches) -> None:
        self.all = self.now = batches
        self.kept: Tensor | None = None

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return len(self.now)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.now:
            # An index stays the sample's position in all the data.
            at = batch.index if self.kept is None else self.kept[batch.index]
            yield replace(batch, index=at)

    def keep(self, kept: Tensor) -> None:
        """Go on with some samples, from a first epoch."""
        data = self.all.data
        part = Arrays(*data[kept]) if isinstance(data, Arrays) else Subset(data, kept.tolist())
        self.now, self.kept = self.again(part), kept.to(self.all.device)

    def again(self, data: Any, shuffle: bool = True) -> Batches:
        """Return batches that differ in their data."""
        return Batches(
            data,
            self.all.batch_size,
            seed=self.all.seed,
            shuffle=shuffle,
            device=self.all.device,
            loader=self.all.loader,
        )


def scored_pruning(
    score: Score,
    *,
    counted: str,
    keep: float = 0.5,
    offset: float = 0.0,
    runs: int = 10,
    share: float = 0.1,
) -> Transform:
    """Train on the samples that score highest after `runs` short runs of the same recipe.

    Args:
        score: Called with the trained models, the batches of all samples and the loss.
        counted: What scoring a batch with a model counts as: ``functions`` or ``gradients``.
        keep: As in :func:`thalweg.data.prune`.
        offset: As in :func:`thalweg.data.prune`.
        runs: How many, >= 1, each from other initial values where the layers can draw them.
        share: Of the run's steps that each of them makes, in (0, 1].
    """
    if runs < 1:
        raise RecipeError(f"runs is {runs}; scores need at least 1")
    if not 0 < share <= 1:
        raise RecipeError(f"share is {share}; give a part of the run, in (0, 1]")

    def choose(setup: Setup, samples: Pruned) -> tuple[Tensor, Cost]:
        models, costs = zip(*(_short_run(setup, i, share) for i in range(runs)), strict=True)
        plain = samples.again(samples.all.data, shuffle=False)
        pairs = ((batch.input, batch.target) for batch in plain)
        scores = score(list(models), pairs, setup.loss)
        spent = {
            name: sum(getattr(cost, name) for cost in costs)
            for name in ("gradients", "functions", "products")
        }
        spent[counted] += len(plain) * len(models)
        return scores, Cost(**spent)

    return partial(_transform, choose=choose, keep=keep, offset=offset)


def random_pruning(*, keep: float = 0.5) -> Transform:
    """Train on samples chosen at random."""

    def choose(setup: Setup, samples: Pruned) -> tuple[Tensor, Cost]:
        generator = torch.Generator().manual_seed(derive_seed("pruning", setup.seed))
        return torch.rand(samples.all.length, generator=generator), Cost()

    return partial(_transform, choose=choose, keep=keep, offset=0.0)


def _transform(
    setup: Setup,
    *,
    choose: Callable[[Setup, Pruned], tuple[Tensor, Cost]],
    keep: float,
    offset: float,
) -> Setup:
    if not isinstance(setup.batches, Batches):
        raise RecipeError(
            "pruning chooses among the samples themselves; name it before the methods that change "
            "the batches, as in el2n-prune+mixup"
        )
    if setup.batches.streamed:
        raise RecipeError("pruning chooses among the samples; streamed ones cannot be chosen from")
    samples = Pruned(setup.batches)

    def loop(setup: Setup, inner: Loop = setup.loop) -> Iterator[Point]:
        points = inner(setup)
        yield next(points)
        clock = Clock(torch.cuda.synchronize if setup.device.type == "cuda" else None)
        with clock:
            scores, spent = choose(replace(setup, loop=inner), samples)
            every = torch.arange(samples.all.length)
            samples.keep(prune((every, every), scores.cpu(), keep, offset=offset)[0])
        for point in points:
            cost = point.cost
            cost = replace(
                cost,
                seconds=cost.seconds + clock.seconds,
                gradients=cost.gradients + spent.gradients,
                functions=cost.functions + spent.functions,
                products=cost.products + spent.products,
            )
            yield replace(point, cost=cost)

    return replace(setup, batches=samples, loop=loop)


def _short_run(setup: Setup, number: int, share: float) -> tuple[nn.Module, Cost]:
    """Train a copy of the model from other initial values for the first part of the run."""
    watched: list[nn.Module] = []

    def evaluate(model: nn.Module) -> dict[str, float]:
        watched[:] = [model]
        return {}

    schedule = setup.schedule
    with torch.random.fork_rng([setup.device] if setup.device.type == "cuda" else []):
        torch.manual_seed(derive_seed("pruning", setup.seed, number))
        model = copy.deepcopy(setup.model)
        for module in model.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
        short = replace(
            setup,
            model=model,
            loss=copy.deepcopy(setup.loss),
            steps=max(1, round(share * setup.steps)),
            evaluations=1,
            evaluate=evaluate,
            schedule=schedule and (lambda optimizer, steps: schedule(optimizer, setup.steps)),
        )
        *_, last = setup.loop(short)
    return watched[0], last.cost
