"""Target-based surrogates (2023): many cheap steps for each gradient of an expensive loss."""

import math
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
from thalweg.core.verdicts import beats, exceeds
from thalweg.optim import SSO
from thalweg.problems.digits import parts
from thalweg.problems.nets import mlp
from thalweg.training.batches import Batch
from thalweg.training.loop import Training
from thalweg.training.methods import optimizer_method
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem
from thalweg.training.setup import Setup, Transform, apply_model

INPUTS = [[1.0, -0.5], [0.3, 2.0], [-1.2, 0.4]]
LABELS = [1.0, -1.0, 1.0]


def _logistic(labels: Tensor, z: Tensor) -> Tensor:
    return nn.functional.softplus(-labels * z).mean()


def equations_retyped() -> None:
    """Follow surrogate and search for single numbers, on logistic regression of three samples."""
    eta, m, rate, c, shrink, expand = 2.0, 3, 0.7, 0.4, 0.8, 1.5
    theta = [0.5, -1.0]
    ours = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    inputs, labels = (torch.tensor(x, dtype=torch.float64) for x in (INPUTS, LABELS))
    optimizer = SSO(
        [ours],
        eta,
        inner_steps=m,
        inner_lr=rate,
        sufficient_decrease=c,
        shrink=shrink,
        expand=expand,
    )

    def outputs(theta: Sequence[float]) -> list[float]:
        return [sum(a * b for a, b in zip(row, theta, strict=True)) for row in INPUTS]

    for _ in range(3):
        z_t = outputs(theta)
        g = [-y / (1 + math.exp(y * z)) / 3 for y, z in zip(LABELS, z_t, strict=True)]

        def q(z: Sequence[float], z_t: Sequence[float] = z_t, g: Sequence[float] = g) -> float:
            steps = [new - old for new, old in zip(z, z_t, strict=True)]
            linear = sum(a * b for a, b in zip(g, steps, strict=True))
            return linear + sum(d * d for d in steps) / (2 * eta * 3)

        for _ in range(m):
            z = outputs(theta)
            slope = [g[i] + (z[i] - z_t[i]) / (eta * 3) for i in range(3)]
            gradient = [sum(slope[i] * INPUTS[i][j] for i in range(3)) for j in range(2)]
            squared = sum(x * x for x in gradient)
            rate *= expand
            while True:
                tried = [x - rate * d for x, d in zip(theta, gradient, strict=True)]
                if q(outputs(tried)) <= q(z) - c * rate * squared:
                    break
                rate *= shrink
            theta = tried
        expected = sum(math.log1p(math.exp(-y * z)) for y, z in zip(LABELS, z_t, strict=True)) / 3
        loss = optimizer.step(lambda: inputs @ ours, partial(_logistic, labels))
        assert math.isclose(float(loss), expected, rel_tol=1e-12)
        assert math.isclose(optimizer.param_groups[0]["inner_lr"], rate, rel_tol=1e-12)
        torch.testing.assert_close(ours.detach(), torch.tensor(theta, dtype=torch.float64))


def one_inner_step_is_gradient_descent() -> None:
    """With m = 1 every parameter of any model moves by minus the step times its gradient."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    for p in model.parameters():
        p.data.normal_(generator=generator)
    x = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    target = torch.arange(7) % 3
    optimizer = SSO(model.parameters(), lr=2.0, inner_steps=1)
    for _ in range(3):
        before = [p.detach().clone() for p in model.parameters()]
        loss = nn.functional.cross_entropy(model(x), target)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        optimizer.step(lambda: model(x), lambda z: nn.functional.cross_entropy(z, target))
        rate = optimizer.param_groups[0]["inner_lr"]
        for p, old, gradient in zip(model.parameters(), before, gradients, strict=True):
            torch.testing.assert_close(p.detach(), old - rate * gradient)


def linear_models_reach_the_surrogates_minimum() -> None:
    """For z = X theta the inner steps end at theta - eta rows pinv(X) g."""
    inputs = torch.tensor([[1.0, 0.2], [-0.4, 1.5], [0.7, -0.9]], dtype=torch.float64)
    labels = torch.tensor(LABELS, dtype=torch.float64)
    theta = torch.tensor([0.3, -0.6], dtype=torch.float64, requires_grad=True)
    gradient = torch.autograd.grad(_logistic(labels, z := inputs @ theta), z)[0]
    expected = theta.detach() - 1.5 * 3 * torch.linalg.pinv(inputs) @ gradient
    optimizer = SSO([theta], lr=1.5, inner_steps=200, tolerance=1e-10)
    optimizer.step(lambda: inputs @ theta, partial(_logistic, labels))
    torch.testing.assert_close(theta.detach(), expected, rtol=1e-8, atol=1e-8)


def losses_never_rise() -> None:
    """At eta = 1/L, the surrogate lies above the loss: no step on a full batch raises it."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(20, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(2, (20,), generator=generator).double() * 2 - 1
    for m in (1, 5, 20):
        theta = torch.zeros(6, dtype=torch.float64, requires_grad=True)
        optimizer = SSO([theta], lr=4.0, inner_steps=m)  # L = 1/4 for the logistic loss
        outputs = partial(torch.mv, inputs, theta)
        losses = [float(optimizer.step(outputs, partial(_logistic, labels))) for _ in range(15)]
        assert losses == sorted(losses, reverse=True)


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
                optimizer.step(lambda: inputs @ theta, partial(_logistic, labels))
            else:
                theta.grad = torch.autograd.grad(_logistic(labels, inputs @ theta), theta)[0]
                optimizer.step()
        return float(_logistic(labels, inputs @ theta.detach()))

    figures = {}
    for name, rates, kind in (
        ("gradient descent", (0.1, 0.3, 1.0, 3.0, 10.0), torch.optim.SGD),
        ("target-based", (1.0, 2.0, 4.0, 8.0, 16.0), partial(SSO, inner_steps=m)),
    ):
        losses = []
        for rate in rates:
            theta = torch.zeros(inputs.shape[1], dtype=torch.float64, requires_grad=True)
            losses.append(end(kind([theta], lr=rate), theta))
        figures[name] = min(losses)
    return figures


def lower_than_gradient_descent(figures: Sequence[Mapping[str, float]]) -> Finding:
    """Judge by a sign test whether gradient descent is left with the larger loss."""
    names = ("gradient descent", "target-based")
    ours, theirs = ([run[name] for run in figures] for name in names)
    return exceeds("Loss after 200 gradients of it", ours, theirs, names=names)


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
        losses_never_rise,
    ),
    claims=(
        MeasurementClaim(
            "fewer-expensive-gradients",
            statement="After as many gradients of the loss, 20 inner steps for each have lowered a "
            "logistic loss further than tuned gradient descent.",
            measure=after_two_hundred_calls,
            smoke=Effort(seeds=2),
            full=Effort(seeds=10),
            expect=lower_than_gradient_descent,
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
