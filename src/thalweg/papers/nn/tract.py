"""TrAct (2024): the first layer of a vision model, trained on its outputs."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from thalweg.core.claim import Effort, RaceClaim
from thalweg.core.errors import RecipeError
from thalweg.core.example import Example
from thalweg.core.method import Interval, Method
from thalweg.core.paper import Paper
from thalweg.core.verdicts import reaches_sooner
from thalweg.nn import TrAct
from thalweg.papers.nn._tract_retyped import (
    a_step_moves_the_outputs_by_their_gradient,
    authors_numbers,
    patches_one_by_one,
    the_change_of_weights_fits_that_of_outputs,
)
from thalweg.problems.digits import conv_net, parts
from thalweg.problems.nets import mlp
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem
from thalweg.training.setup import Setup, Transform


def tract(*, lam: float = 0.1) -> Transform:
    """Train the first linear or convolutional layer on its outputs."""

    def transform(setup: Setup) -> Setup:
        for name, module in setup.model.named_modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
                layer = TrAct(module, lam=lam)
                if not name:
                    return replace(setup, model=layer)
                setup.model.set_submodule(name, layer)
                return setup
        raise RecipeError("tract finds no linear or convolutional layer in the model; leave it out")

    return transform


def standardised(kind: str) -> TrainingProblem:
    """Recognise digits whose pixels have mean 0 and variance 1, in twenty epochs."""
    train, validation, test = parts()
    mean, std = train[0].mean(), train[0].std()
    splits = [((images - mean) / std, label) for images, label in (train, validation, test)]
    return TrainingProblem(
        f"digits-standardised-{kind}",
        model=conv_net if kind == "conv" else partial(mlp, 64, 10),
        train=splits[0],
        validation=splits[1],
        test=splits[2],
        loss=nn.CrossEntropyLoss(),
        metric=METRICS["accuracy"],
        batch_size=128,
        steps=180,
        evaluations=60,
        description="standardised handwritten digits",
    )


def _example(make: Callable[[], nn.Module], *shape: int) -> Example:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer, another = make(), make()
    return Example(
        TrAct,
        "module",
        arguments={"module": layer},
        knobs={"lam": (0.1, 1.0), "module": (layer, another)},
        inputs=lambda: (torch.randn(shape, generator=torch.Generator().manual_seed(0)),),
        exceptions={
            "lam": "acts on the gradient alone, which the oracles follow",
            "gradients_are_those_of_the_values": "the weight's is another, which is the method",
        },
    )


def _sooner(optimizer: str) -> RaceClaim:
    return RaceClaim(
        name=f"faster-{optimizer}",
        statement=f"With {optimizer} a net whose first layer is trained by TrAct is as accurate as "
        "the plain net at its end in fewer steps.",
        problems=(partial(standardised, "mlp"), partial(standardised, "conv")),
        methods=(optimizer, f"{optimizer}+tract(lam=0.1)"),
        smoke=Effort(seeds=2, steps=4),
        full=Effort(seeds=10, trials=5),
        expect=partial(reaches_sooner, paper="1.25 to 4 times sooner"),
        scaled="Digits, a perceptron and a small conv net, and twenty epochs in place of CIFAR and "
        "ImageNet, ResNets and ViTs, and 100 to 800; learning rates are constant and tuned on both "
        "sides, lam is the paper's.",
    )


PAPER = Paper(
    id="tract",
    title="TrAct: Making First-layer Pre-Activations Trainable",
    year=2024,
    arxiv="2410.23970",
    headline="Vision models, convolutional and transformers, reach the same accuracy 1.25 to 4 "
    "times sooner with several optimizers, at a small cost a step.",
    provides=(TrAct,),
    methods=(
        Method(
            name="tract",
            summary="Train the first linear or convolutional layer on its outputs.",
            build=tract,
            defaults={"lam": 0.1},
            space={"lam": Interval(0.01, 1.0, log=True)},
        ),
    ),
    oracles=(
        the_change_of_weights_fits_that_of_outputs,
        patches_one_by_one,
        authors_numbers,
        a_step_moves_the_outputs_by_their_gradient,
    ),
    examples=(
        _example(lambda: nn.Linear(4, 3), 2, 5, 4),
        _example(lambda: nn.Conv1d(2, 4, 3, padding=1, groups=2), 2, 2, 6),
        _example(lambda: nn.Conv2d(2, 3, 2, stride=2, padding_mode="circular"), 2, 2, 4, 6),
    ),
    claims=(_sooner("sgd"), _sooner("adam")),
    symptoms=(
        "training a vision model takes too long",
        "dark or pale images are learned late",
    ),
)
