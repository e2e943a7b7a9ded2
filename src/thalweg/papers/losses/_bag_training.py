"""Training on mean responses of bags, as a method: it may not see a single response."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.data import Bags, aggregate
from thalweg.losses import AggregateLoss
from thalweg.losses.aggregate import Kind
from thalweg.training.batches import Arrays, Batch, Batches
from thalweg.training.setup import Setup, Transform


@dataclass(frozen=True)
class BagBatches:
    """Batches of whole bags, laid out as the samples in them."""

    batches: Batches

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            n, size = batch.input.shape[:2]
            index = torch.arange(n, device=batch.input.device).repeat_interleave(size)
            yield Batch(batch.input.flatten(0, 1), Bags(batch.target, index))


def bags(*, kind: Kind = "interpolated", rho: float = 0.5, bag_size: int = 4) -> Transform:
    """Put the training samples into bags at random and learn from the means of their responses."""
    loss = AggregateLoss(kind, rho=rho)

    def of_bags(output: Tensor, target: Bags) -> Tensor:
        value: Tensor = loss(output, target.response, target.bag)
        return value

    def transform(setup: Setup) -> Setup:
        plain = setup.batches
        data = plain.data if isinstance(plain, Batches) else None
        if not isinstance(plain, Batches) or not isinstance(data, Arrays):
            raise RecipeError(
                "bags are made of samples held in memory; name them before the methods that "
                "change the batches"
            )
        if not isinstance(data.input, Tensor) or not data.target.is_floating_point():
            raise RecipeError("bags tell the mean of responses, which have to be real numbers")
        known = aggregate(data.target, bag_size, seed=setup.seed)
        n = len(data.target) // bag_size  # a smaller bag would make batches ragged
        order = known.bag.argsort(stable=True)[: n * bag_size].view(n, bag_size)
        batches = Batches(
            Arrays(data.input[order], known.response[:n]),
            max(1, plain.batch_size // bag_size),
            seed=plain.seed,
            device=plain.device,
        )
        return replace(setup, batches=BagBatches(batches), loss=of_bags)

    return transform
