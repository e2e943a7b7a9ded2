"""Target-based surrogates (2023): many cheap steps for each gradient of an expensive loss."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn

from thalweg.core.claim import Effort, Finding, MeasurementClaim, RaceClaim, Size
from thalweg.core.example import Example
from thalweg.core.method import Choice, Interval
from thalweg.core.paper import Paper
from thalweg.core.verdicts import beats, exceeds, together
from thalweg.optim import SSO
from thalweg.papers.optim._sso_oracles import (
    equations_retyped,
    linear_models_reach_the_surrogates_minimum,
    logistic,
    losses_never_rise,
    one_inner_step_is_gradient_descent,
    random_numbers_are_frozen_within_a_step,
    searches_end_where_they_may,
)
from thalweg.problems.digits import parts
from thalweg.problems.nets import mlp
from thalweg.training.batches import Batch
from thalweg.training.loop import Training
from thalweg.training.methods import optimizer_method
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem
from thalweg.training.setup import Setup, Transform, apply_model


def descend(optimizer: SSO, params: Sequence[Tensor], loss: Callable[..., Tensor]) -> None:
    """Make one step on a loss of the parameters, which are themselves the outputs."""

    def outputs() -> Tensor:
        return torch.cat([p.flatten() for p in params]).unsqueeze(0)

    def of_outputs(z: Tensor) -> Tensor:
        values = torch.split(z[0], [p.numel() for p in params])
        return loss([x.view(p.shape) for x, p in zip(values, params, strict=True)])

    optimizer.step(outputs, of_outputs)


def step(training: Training, batch: Batch) -> Tensor:
    """Make one step; each loss counts as a gradient, each pass of the model as a function."""
    index = {"index": batch.index} if "index" in training.needs else {}

    def outputs() -> Tensor:
        training.counts.functions += 1
        return cast(Tensor, apply_model(training.model, batch.input))

    def loss(z: Tensor) -> Tensor:
        training.counts.gradients += 1
        return training.loss(z, batch.target, **index)

    return cast(SSO, training.optimizer).step(outputs, loss)


_OPTIMIZER = optimizer_method(
    "sso",
    SSO,
    space={"lr": Interval(1e-2, 1e2, log=True), "inner_steps": Choice((1, 5, 10, 20))},
    knobs={
        "lr": (0.05, 0.1),
        "inner_steps": (3, 1),
        "inner_lr": (1.0, 0.01),
        "sufficient_decrease": (0.5, 0.2),
        "shrink": (0.9, 0.5),
        "expand": (1.8, 1.2),
        "tolerance": (1e-6, 1.0),
    },
    exceptions={
        "shards_equal_the_whole_or_are_refused:refused": "its own gradients pass by fully_shard's"
    },
)


def _build(**arguments: Any) -> Transform:
    transform = _OPTIMIZER.build(**arguments)
    return lambda setup: cast(Setup, replace(transform(setup), step=step))


METHOD = replace(
    _OPTIMIZER,
    build=_build,
    example=replace(cast(Example, _OPTIMIZER.example), arguments={"lr": 0.05}, step=descend),
    fills=frozenset({"optimizer", "step"}),
)


def after_two_hundred_calls(seed: int, size: Size) -> Mapping[str, float]:
    """Return the best loss of each grid of five learning rates, on a random half of the data."""
    data = load_breast_cancer()
    inputs, labels = torch.tensor(data.data), torch.tensor(data.target).double() * 2 - 1
    half = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))[::2]
    inputs, labels = inputs[half], labels[half]
    inputs = (inputs - inputs.mean(0)) / inputs.std(0)
    calls, m = (5, 2) if size == "smoke" else (200, 20)

    def end(optimizer: torch.optim.Optimizer, theta: Tensor) -> float:
        for _ in range(calls):
            if isinstance(optimizer, SSO):
                optimizer.step(lambda: inputs @ theta, partial(logistic, labels))
            else:
                theta.grad = torch.autograd.grad(logistic(labels, inputs @ theta), theta)[0]
                optimizer.step()
        return float(logistic(labels, inputs @ theta.detach()))

    figures = {}
    for name, rates, kind in (
        ("gradient descent", (0.1, 0.3, 1.0, 3.0, 10.0), torch.optim.SGD),
        ("one inner step", (1.0, 2.0, 4.0, 8.0, 16.0), partial(SSO, inner_steps=1)),
        ("20 inner steps", (1.0, 2.0, 4.0, 8.0, 16.0), partial(SSO, inner_steps=m)),
    ):
        losses = []
        for rate in rates:
            theta = torch.zeros(inputs.shape[1], dtype=torch.float64, requires_grad=True)
            losses.append(end(kind([theta], lr=rate), theta))
        figures[name] = min(losses)
    return figures


def lower_than_either(figures: Sequence[Mapping[str, float]]) -> Finding:
    """Judge by sign tests whether 20 steps lower the loss further than one, and than descent."""
    ours = [run["20 inner steps"] for run in figures]
    return together(
        [
            exceeds(
                "Loss after 200 gradients of it",
                [run[name] for run in figures],
                ours,
                names=(name, "20 inner steps"),
            )
            for name in ("one inner step", "gradient descent")
        ]
    )


def digits_in_large_batches() -> TrainingProblem:
    """Recognise digits with a multilayer perceptron, half the training data in each batch."""
    train, validation, test = parts()
    return TrainingProblem(
        "digits-large-batches",
        model=partial(mlp, 64, 10, depth=1),
        train=train,
        validation=validation,
        test=test,
        loss=nn.CrossEntropyLoss(),
        metric=METRICS["cross-entropy"],
        batch_size=576,
        steps=60,
        description="handwritten digits in batches of 576, multilayer perceptron",
    )


PAPER = Paper(
    id="sso-target-surrogate",
    title="Target-based Surrogates for Stochastic Optimization",
    year=2023,
    arxiv="2302.02607",
    headline="With several updates for each gradient of an expensive loss, supervised learning and "
    "online imitation learning converge in fewer such gradients than with SGD, Adam, Adagrad or "
    "SGD with a line search.",
    provides=(SSO,),
    methods=(METHOD,),
    oracles=(
        equations_retyped,
        one_inner_step_is_gradient_descent,
        linear_models_reach_the_surrogates_minimum,
        searches_end_where_they_may,
        losses_never_rise,
        random_numbers_are_frozen_within_a_step,
    ),
    claims=(
        MeasurementClaim(
            "fewer-expensive-gradients",
            statement="After as many gradients of the loss, 20 inner steps for each have lowered a "
            "logistic loss further than one step, or tuned gradient descent.",
            measure=after_two_hundred_calls,
            smoke=Effort(seeds=2),
            full=Effort(seeds=10),
            expect=lower_than_either,
            scaled="Random halves of the breast cancer data, full batches.",
        ),
        RaceClaim(
            "beats-adam-per-call",
            statement="After as many gradients of the loss, nets trained on target-based "
            "surrogates have a lower loss than with Adam.",
            problems=(digits_in_large_batches,),
            methods=("adam", "sso"),
            smoke=Effort(seeds=2, trials=1, steps=3),
            full=Effort(seeds=10, trials=5),
            expect=beats,
            scaled="A small net on digits in batches of 576 in place of MNIST and MuJoCo.",
        ),
    ),
    symptoms=(
        "my loss is a simulator, far more expensive than the model",
        "each evaluation of the loss costs money",
        "I cannot afford to tune a step size",
    ),
)
