"""EGGROLL (2025): evolution strategies with perturbations of low rank."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
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
from thalweg.papers.optim._eggroll_oracles import (
    equal_pairs_change_nothing,
    integers_are_perturbed_by_integers,
    integers_move_by_one,
    members_are_perturbed_weights,
    noise_is_standard_and_the_estimate_unbiased,
    update_retyped,
)
from thalweg.papers.optim._eggroll_trials import cosines, integers_learn, small_digits
from thalweg.training.batches import Batch
from thalweg.training.loop import Training
from thalweg.training.methods import wrapper_method
from thalweg.training.setup import Setup, Transform


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
        integers_are_perturbed_by_integers,
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
