"""EGGROLL (2025): evolution strategies with perturbations of low rank."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist, fmean
from typing import Any, cast

import torch
from torch import Tensor, nn

from thalweg.core.claim import Effort, Finding, MeasurementClaim, RaceClaim
from thalweg.core.example import Example
from thalweg.core.method import Interval
from thalweg.core.paper import Paper
from thalweg.core.verdicts import exceeds, matches, typical
from thalweg.optim import EGGROLL
from thalweg.optim.eggroll import Population
from thalweg.papers.optim._eggroll_trials import cosines, integers_learn, small_digits
from thalweg.training.batches import Batch
from thalweg.training.loop import Training
from thalweg.training.methods import wrapper_method
from thalweg.training.setup import Setup, Transform


class _Raw(nn.Module):
    """The same layer, whose weight is not known to be that of a product."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, input: Tensor) -> Tensor:
        return input @ self.weight.mT + self.bias


def _perturbations(members: Population, layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Return what each member adds to weight and bias, as its outputs tell."""
    columns = layer.in_features
    bias = members(layer, torch.zeros(1, columns, dtype=layer.weight.dtype))
    weight = members(layer, torch.eye(columns, dtype=layer.weight.dtype)) - bias
    return weight.mT - layer.weight.detach(), bias[:, 0] - layer.bias.detach()


def _layer(seed: int = 0) -> nn.Linear:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(5, 4, dtype=torch.float64)
    for p in layer.parameters():
        p.data.normal_(generator=generator)
    return layer


def members_are_perturbed_weights() -> None:
    """Members come in pairs of opposite sign, of the rank, the same however they are applied."""
    for rank in (1, 2, None):
        layer = _layer()
        sgd = torch.optim.SGD(layer.parameters(), lr=0.1)
        members = EGGROLL(sgd, population=6, sigma=0.3, rank=rank, seed=1).ask()
        weight, bias = _perturbations(members, layer)
        for part in (weight, bias):
            torch.testing.assert_close(part[0::2], -part[1::2], rtol=1e-9, atol=1e-12)
        found = torch.linalg.matrix_rank(weight, rtol=1e-9).tolist()
        assert found == [rank or 4] * 6, found
        x = torch.linspace(-1, 1, 6 * 3 * 5, dtype=torch.float64).view(6, 3, 5)
        expected = x @ (layer.weight + weight).mT + (layer.bias + bias)[:, None]
        for module in (layer, _Raw(layer), nn.Sequential(layer)):
            torch.testing.assert_close(members(module, x, own=True), expected)
            torch.testing.assert_close(members(module, x[2])[2], expected[2])


def update_retyped() -> None:
    """The inner optimizer is given the paper's estimate, retyped from single numbers."""
    lr, sigma, size = 0.2, 0.3, 8
    fitness = [0.5, -1.0, 2.0, 0.25, 3.0, 1.0, -2.0, 0.75]
    for rank, per_group in ((1, 0), (3, 4), (None, 2)):
        layer = _layer()
        before = [p.detach().clone() for p in layer.parameters()]
        sgd = torch.optim.SGD(layer.parameters(), lr=lr)
        optimizer = EGGROLL(
            sgd, population=size, sigma=sigma, rank=rank, group_size=per_group, seed=4
        )
        for _ in range(2):  # of which the second draws anew
            members = optimizer.ask()
            noise = [part / sigma for part in _perturbations(members, layer)]
            optimizer.tell(torch.tensor(fitness, dtype=torch.float64))
        mean = fmean(fitness)
        scale = math.sqrt(fmean((r - mean) ** 2 for r in fitness) + 1e-5)
        width = per_group or size
        means = [fmean(fitness[i - i % width :][:width]) for i in range(size)]
        shaped = [(r - mean) / scale for r, mean in zip(fitness, means, strict=True)]
        for p, old, z in zip(layer.parameters(), before, noise, strict=True):
            ghat = sum(f * e for f, e in zip(shaped, z, strict=True)) / size
            step = sigma * math.sqrt(size) * ghat
            torch.testing.assert_close(p.grad, -step)
            assert not torch.allclose(p.detach() - old, lr * step), "both steps draw the same"


def noise_is_standard_and_the_estimate_unbiased() -> None:
    """To five standard errors, whatever the rank: E has variance 1, E[<G, E> E] is G."""
    gradient = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.0, -1.0]], dtype=torch.float64)
    size = 40_000
    for rank in (1, 3, None):
        layer = nn.Linear(3, 2, bias=False, dtype=torch.float64)
        sgd = torch.optim.SGD(layer.parameters(), lr=1.0)
        members = EGGROLL(sgd, population=size, sigma=2.0, rank=rank, seed=5).ask()
        outputs = members(layer, torch.eye(3, dtype=torch.float64))
        noise = (outputs.mT - layer.weight.detach())[0::2] / 2.0
        for power, expected in ((noise, 0.0), (noise**2, 1.0)):
            error = (power.mean(0) - expected) * math.sqrt(size / 2) / power.std(0)
            assert (error.abs() < 5).all(), error
        fitness = (outputs.mT * gradient).sum((1, 2)) / 2.0
        terms = noise * (noise * gradient).sum((1, 2), keepdim=True)
        estimate = members.ascent(layer.weight, fitness) / math.sqrt(size)
        error = (estimate - gradient) * math.sqrt(size / 2) / terms.std(0)
        assert (error.abs() < 5).all(), error


def equal_pairs_change_nothing() -> None:
    """Where both of each pair fare alike, whoever else fares better, no number moves."""
    layer = _layer()
    before = [p.detach().clone() for p in layer.parameters()]
    optimizer = EGGROLL(torch.optim.SGD(layer.parameters(), lr=1.0), population=6, seed=2)
    for fitness in ([1.0, 1.0, 5.0, 5.0, -3.0, -3.0], [2.0] * 6):
        _perturbations(optimizer.ask(), layer)
        optimizer.tell(torch.tensor(fitness))
    assert all(map(torch.equal, before, layer.parameters()))


def integers_move_by_one() -> None:
    """Eight-bit weights step by one, up to their limits, where the estimate is large for noise."""
    values = torch.tensor([[3, -128, 0, 127], [7, 1, -2, 127], [-128, 5, 9, 127]])
    for share in (0.0, 0.3, 1.0):
        layer = nn.Linear(4, 3, bias=False)
        layer.weight = nn.Parameter(values.to(torch.int8), requires_grad=False)
        sgd = torch.optim.SGD(layer.parameters(), lr=share)
        optimizer = EGGROLL(sgd, population=16, sigma=1.0, seed=3)
        members, fitness = optimizer.ask(), torch.linspace(-1, 1, 16) ** 3
        shaped = (fitness - fitness.mean()) / (fitness.var(correction=0) + 1e-5).sqrt()
        outputs = members(_Integer(layer.weight), torch.eye(4, dtype=torch.int32) * 10_000)
        noise = outputs.mT / 10_000 - values
        z = (noise * shaped[:, None, None]).sum(0) / 4
        optimizer.tell(fitness)
        threshold = NormalDist().inv_cdf(1 - share / 2) if share else math.inf
        expected = (values + z.sign() * (z.abs() > threshold)).clamp(-128, 127)
        torch.testing.assert_close(layer.weight, expected.to(torch.int8))


class _Integer(nn.Linear):
    """A product of whole numbers."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias=False)
        self.weight = weight

    def forward(self, input: Tensor) -> Tensor:
        return input @ self.weight.to(torch.int32).mT


class _Function(nn.Module):
    """A loss of parameters, as the output of a model."""

    def __init__(self, params: Sequence[nn.Parameter], loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.params, self.loss = nn.ParameterList(params), loss

    def forward(self) -> Tensor:
        return self.loss(list(self.params))


def descend(
    optimizer: EGGROLL, params: Sequence[nn.Parameter], loss: Callable[..., Tensor]
) -> None:
    """Make one step on a loss of the parameters."""
    optimizer.step(lambda members: -members(_Function(params, loss)))


def evolve(training: Training, batch: Batch) -> Tensor:
    """Make one step, each member's fitness minus its loss of the batch; return the mean loss."""
    optimizer = cast(EGGROLL, training.optimizer)
    index = {"index": batch.index} if "index" in training.needs else {}

    def fitness(members: Population) -> Tensor:
        inputs = batch.input
        named = inputs if isinstance(inputs, dict) else None
        placed = () if named else tuple(inputs) if isinstance(inputs, tuple | list) else inputs
        outputs = members(training.model, placed, named)
        training.counts.functions += members.size
        losses = torch.func.vmap(lambda output: training.loss(output, batch.target, **index))
        return -losses(outputs)

    return -optimizer.step(fitness).mean()


_WRAPPER = wrapper_method(
    "eggroll",
    EGGROLL,
    space={"sigma": Interval(1e-2, 1.0, log=True)},
    knobs={
        "population": (8, 16),
        "sigma": (0.1, 0.3),
        "rank": (1, 2),
        "group_size": (0, 2),
        "seed": (0, 1),
    },
)


def _build(**arguments: Any) -> Transform:
    wrap = _WRAPPER.build(**arguments)
    return lambda setup: cast(Setup, replace(wrap(setup), step=evolve))


METHOD = replace(
    _WRAPPER,
    build=_build,
    example=replace(cast(Example, _WRAPPER.example), step=descend),
    fills=frozenset({"step"}),
)


def within_three_hundredths(figures: Sequence[Mapping[str, float]]) -> Finding:
    """Judge by the interval of the difference whether both cosines are the same to 0.03."""
    number = typical(
        "cosine to the gradient, full rank minus rank 1",
        [run["full rank"] - run["rank 1"] for run in figures],
    )
    low, high = number.interval or (-math.inf, math.inf)
    inside = low >= -0.03 and high <= 0.03
    apart = low > 0.03 or high < -0.03
    return Finding(
        "reproduced" if inside else "not reproduced" if apart else "partly",
        f"The cosine is {fmean(run['rank 1'] for run in figures):.3f} with rank 1 and "
        f"{fmean(run['full rank'] for run in figures):.3f} with full rank; the margin is 0.03.",
        (number,),
    )


def better_than_before(figures: Sequence[Mapping[str, float]]) -> Finding:
    """Judge by a sign test whether training raises the accuracy on test data."""
    ours, theirs = ([run[name] for run in figures] for name in ("after", "before"))
    return exceeds("Test accuracy", ours, theirs, names=("the trained net", "the untrained"))


PAPER = Paper(
    id="eggroll",
    title="Evolution Strategies at the Hyperscale",
    year=2025,
    arxiv="2511.16652",
    headline="A hundred times faster than full-rank evolution strategies for models of a billion "
    "parameters and large populations, at no loss in reinforcement learning from scratch; "
    "competitive with GRPO in teaching language models to reason; trains a recurrent language "
    "model in integers alone.",
    provides=(EGGROLL,),
    methods=(METHOD,),
    oracles=(
        members_are_perturbed_weights,
        update_retyped,
        noise_is_standard_and_the_estimate_unbiased,
        equal_pairs_change_nothing,
        integers_move_by_one,
    ),
    claims=(
        MeasurementClaim(
            "same-direction-as-full-rank",
            statement="Perturbations of rank 1 estimate a gradient as well as full-rank ones.",
            measure=cosines,
            smoke=Effort(seeds=6),
            full=Effort(seeds=20),
            expect=within_three_hundredths,
            scaled="A linear fitness of a 32 x 32 matrix, 4096 members.",
        ),
        RaceClaim(
            "trains-like-full-rank",
            statement="Nets trained with perturbations of rank 1 end as good as with full-rank "
            "ones.",
            problems=(small_digits,),
            methods=("sgd+eggroll(rank=None)", "sgd+eggroll"),
            smoke=Effort(seeds=2, trials=1, steps=3),
            full=Effort(seeds=10, trials=5, steps=150),
            expect=matches,
            scaled="A perceptron on digits, 64 members, in place of reinforcement learning.",
        ),
        MeasurementClaim(
            "integers-learn",
            statement="A net with integer weights and activations learns from its accuracy alone, "
            "with no gradient.",
            measure=integers_learn,
            smoke=Effort(seeds=2),
            full=Effort(seeds=10),
            expect=better_than_before,
            scaled="A perceptron on digits in place of a recurrent language model.",
        ),
    ),
    symptoms=(
        "my loss has no gradient",
        "I want to train on a reward or on the accuracy itself",
        "backward does not fit into memory",
        "my weights are integers",
    ),
)
