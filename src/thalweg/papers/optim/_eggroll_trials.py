"""What the claims on EGGROLL train: a net whose weights and activations are all integers."""

from collections.abc import Mapping
from functools import cache, partial
from typing import cast

import torch
from torch import Tensor, nn

from thalweg.core.claim import Size
from thalweg.core.seeds import derive_seed
from thalweg.optim import EGGROLL
from thalweg.optim.eggroll import Population
from thalweg.problems.digits import parts
from thalweg.problems.nets import mlp
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem


def small_digits() -> TrainingProblem:
    """Recognise digits with a perceptron small enough for evolution strategies."""
    train, validation, test = parts()
    return TrainingProblem(
        "digits-small",
        model=partial(mlp, 64, 10, width=32, depth=1),
        train=train,
        validation=validation,
        test=test,
        loss=nn.CrossEntropyLoss(),
        metric=METRICS["accuracy"],
        steps=300,
        target=0.9,
        description="handwritten digits, one hidden layer of 32 units",
    )


class IntegerLinear(nn.Linear):
    """A product of integers with eight-bit weights.

    Args:
        n_inputs: Columns.
        n_outputs: Rows.
        generator: Of the first weights.
    """

    def __init__(self, n_inputs: int, n_outputs: int, generator: torch.Generator) -> None:
        super().__init__(n_inputs, n_outputs, bias=False)
        values = 16 * torch.randn(n_outputs, n_inputs, generator=generator)
        weight = values.round().clamp(-127, 127).to(torch.int8)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, input: Tensor) -> Tensor:
        """Multiply, without a bias."""
        return input @ self.weight.to(input.dtype).mT


class Requantize(nn.Module):
    """Divide so that a layer's outputs are of the size of its inputs, and clip to eight bits.

    Args:
        divisor: A whole number.
    """

    def __init__(self, divisor: int) -> None:
        super().__init__()
        self.divisor = divisor

    def forward(self, input: Tensor) -> Tensor:
        """Return positive whole numbers up to 127."""
        return (input // self.divisor).clamp(0, 127)


def integer_net(seed: int) -> nn.Module:
    """Return a perceptron on whole numbers, with 48 hidden units."""
    generator = torch.Generator().manual_seed(derive_seed("integer net", seed))
    return nn.Sequential(
        IntegerLinear(64, 48, generator), Requantize(16 * 8), IntegerLinear(48, 10, generator)
    )


@cache
def _whole_digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return images as whole numbers from 0 to 64 and their digits, to train and to test on."""
    train, _, test = parts()
    first, second = ((64 * x.flatten(1)).to(torch.int32) for x in (train[0], test[0]))
    return (first, train[1]), (second, test[1])


def _correct(model: nn.Module, input: Tensor, target: Tensor) -> float:
    return float((model(input).argmax(-1) == target).float().mean())


def integers_learn(seed: int, size: Size) -> Mapping[str, float]:
    """Train the net on how often it is right, which has no gradient."""
    train, test = _whole_digits()
    model = integer_net(seed)
    before = _correct(model, *test)
    steps, population = (3, 16) if size == "smoke" else (300, 128)
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    optimizer = EGGROLL(sgd, population=population, sigma=4.0, seed=derive_seed("members", seed))
    generator = torch.Generator().manual_seed(derive_seed("batches", seed))
    for t in range(steps):
        batch = torch.randint(len(train[0]), (256,), generator=generator)
        input, target = train[0][batch], train[1][batch]

        def accuracy(members: Population, input: Tensor = input, target: Tensor = target) -> Tensor:
            outputs: Tensor = members(model, input)
            return (outputs.argmax(-1) == target).float().mean(1)

        for group in optimizer.param_groups:  # the share that moves, as the authors let it fall
            group["lr"] = 1 / (1 + 15 * t / steps)
        optimizer.step(accuracy)
    return {"before": before, "after": _correct(model, *test)}


def cosines(seed: int, size: Size) -> Mapping[str, float]:
    """Return how well estimates of the gradient G of the fitness <G, W> point along it."""
    n, population = (8, 256) if size == "smoke" else (32, 4096)
    generator = torch.Generator().manual_seed(seed)
    gradient = torch.randn(n, n, generator=generator)
    found = {}
    for name, rank in (("rank 1", 1), ("full rank", None)):
        layer = nn.Linear(n, n, bias=False)
        sgd = torch.optim.SGD(layer.parameters(), lr=1.0)
        optimizer = EGGROLL(sgd, population=population, rank=rank, seed=seed)
        # Applied to the rows of the identity, the layer returns its transposed weight.
        optimizer.tell((optimizer.ask()(layer, torch.eye(n)) * gradient.mT).sum((1, 2)))
        estimate = cast(Tensor, layer.weight.grad)
        found[name] = float(torch.cosine_similarity(-estimate.view(-1), gradient.view(-1), 0))
    return found
