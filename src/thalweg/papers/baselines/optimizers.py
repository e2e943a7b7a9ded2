"""Torch's own optimizers and its clipping of gradients, as baselines."""

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from thalweg.core.method import Choice, Interval, Method
from thalweg.training.batches import Batch
from thalweg.training.composite import Composite
from thalweg.training.loop import Training
from thalweg.training.methods import optimizer_method
from thalweg.training.setup import Setup, Transform

_LR = Interval(1e-5, 1e-1, log=True)
_L2 = Choice((0.0, 1e-5, 1e-4, 5e-4, 1e-3, 1e-2))
_DECOUPLED = Interval(1e-4, 1.0, log=True)
_ADAM = ("lr", "betas", "eps", "weight_decay")
_ADAM_KNOBS = {
    "lr": (1e-3, 2e-3),
    "betas": ((0.9, 0.999), (0.8, 0.9)),
    "eps": (1e-8, 1e-2),
    "weight_decay": (0.0, 0.1),
}


def muon_with_adamw(
    model: nn.Module, lr: float = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95
) -> Optimizer:
    """Muon for the weight matrices, AdamW for all other parameters, at one learning rate."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in model.parameters():
        (matrices if parameter.dim() == 2 else others).append(parameter)
    parts: list[Optimizer] = []
    if matrices:
        parts.append(
            torch.optim.Muon(
                matrices,
                lr=lr,
                weight_decay=weight_decay,
                momentum=momentum,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    if others:
        parts.append(torch.optim.AdamW(others, lr=lr, weight_decay=weight_decay))
    return Composite(parts)


def clip(*, max_norm: float = 1.0) -> Transform:
    """Shorten the gradient to a largest norm before each update."""

    def step(training: Training, batch: Batch) -> Tensor:
        def closure() -> Any:
            loss = training.backward(batch)
            nn.utils.clip_grad_norm_(training.model.parameters(), max_norm)
            return loss

        return cast(Tensor, training.optimizer.step(closure))

    def transform(setup: Setup) -> Setup:
        return replace(setup, step=step)

    return transform


def _itself(model: nn.Module) -> Any:
    return model


METHODS = (
    optimizer_method(
        "sgd",
        torch.optim.SGD,
        takes=("lr", "momentum", "dampening", "weight_decay", "nesterov"),
        defaults={"lr": 0.1, "momentum": 0.9, "nesterov": True},
        space={"lr": Interval(1e-4, 1.0, log=True), "weight_decay": _L2},
        knobs={
            "lr": (0.1, 0.01),
            "momentum": (0.9, 0.5),
            "weight_decay": (0.0, 0.1),
            "nesterov": (True, False),
        },
        summary="Stochastic gradient descent with Nesterov momentum.",
    ),
    optimizer_method(
        "adam",
        torch.optim.Adam,
        takes=(*_ADAM, "amsgrad"),
        space={"lr": _LR, "weight_decay": _L2},
        knobs={**_ADAM_KNOBS, "amsgrad": (False, True)},
        summary="Adam, with weight decay added to the gradient.",
    ),
    optimizer_method(
        "adamw",
        torch.optim.AdamW,
        takes=(*_ADAM, "amsgrad"),
        space={"lr": _LR, "weight_decay": _DECOUPLED},
        knobs={**_ADAM_KNOBS, "amsgrad": (False, True)},
        summary="Adam with decoupled weight decay.",
    ),
    optimizer_method(
        "nadam",
        torch.optim.NAdam,
        takes=(*_ADAM, "momentum_decay"),
        space={"lr": _LR, "weight_decay": _L2},
        knobs={**_ADAM_KNOBS, "momentum_decay": (4e-3, 0.5)},
        summary="Adam with Nesterov momentum.",
    ),
    optimizer_method(
        "rmsprop",
        torch.optim.RMSprop,
        takes=("lr", "alpha", "eps", "weight_decay", "momentum", "centered"),
        space={"lr": _LR, "weight_decay": _L2},
        knobs={
            "lr": (1e-2, 1e-3),
            "alpha": (0.99, 0.5),
            "eps": (1e-8, 1e-2),
            "weight_decay": (0.0, 0.1),
            "momentum": (0.0, 0.9),
            "centered": (False, True),
        },
        summary="Gradients divided by a running root mean square.",
    ),
    optimizer_method(
        "adagrad",
        torch.optim.Adagrad,
        takes=("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"),
        space={"lr": Interval(1e-4, 1.0, log=True), "weight_decay": _L2},
        knobs={
            "lr": (1e-2, 1e-3),
            "lr_decay": (0.0, 0.1),
            "weight_decay": (0.0, 0.1),
            "initial_accumulator_value": (0.0, 1.0),
            "eps": (1e-10, 1e-1),
        },
        summary="Gradients divided by the root of their summed squares.",
    ),
    optimizer_method(
        "lbfgs",
        torch.optim.LBFGS,
        takes=("lr", "max_iter", "history_size", "line_search_fn"),
        space={
            "lr": Interval(1e-3, 1.0, log=True),
            "line_search_fn": Choice((None, "strong_wolfe")),
        },
        knobs={
            "lr": (1.0, 0.1),
            "max_iter": (20, 5),
            "history_size": (100, 1),
            "line_search_fn": (None, "strong_wolfe"),
        },
        summary="Limited-memory BFGS; several gradient evaluations a step.",
    ),
    optimizer_method(
        "muon",
        muon_with_adamw,
        space={"lr": _LR, "weight_decay": _DECOUPLED},
        knobs={"lr": (1e-3, 2e-3), "weight_decay": (0.1, 0.5), "momentum": (0.95, 0.5)},
        parameters=_itself,
    ),
    Method(
        "clip",
        summary="Shorten the gradient to a largest norm before each update.",
        build=clip,
        defaults={"max_norm": 1.0},
        space={"max_norm": Interval(0.1, 10.0, log=True)},
        fills=frozenset({"step"}),
    ),
)
