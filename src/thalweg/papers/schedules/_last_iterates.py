"""What the claim about last iterates measures: SGD on convex problems, by several schedules."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor
from torch.nn import functional as F

from thalweg.core.claim import Finding, Size
from thalweg.core.seeds import derive_seed
from thalweg.core.verdicts import exceeds, together
from thalweg.problems import logistic
from thalweg.schedules import LinearDecay, RefinedSchedule

STEPS, BATCH = 1500, 4
PEAKS = torch.logspace(-2, 1, 7, dtype=torch.float64)  # the learning rates tried, for each schedule
Figures = Sequence[Mapping[str, float]]


def last_iterates(seed: int, size: Size) -> Mapping[str, float]:
    """Return the training loss at the end at the best of seven rates, for each schedule."""
    steps = STEPS if size == "full" else 60
    figures = {}
    for name, (inputs, target) in {"breast cancer": _tumours(), "synthetic data": _drawn()}.items():
        generator = torch.Generator().manual_seed(derive_seed(name, seed))
        order = torch.randint(len(target), (steps + 1, BATCH), generator=generator)

        def train(
            factors: Tensor, inputs: Tensor = inputs, target: Tensor = target, order: Tensor = order
        ) -> tuple[float, Tensor]:
            """Follow all peak rates at once; factors are (steps, 1 or as many)."""
            weights = torch.zeros(len(PEAKS), inputs.shape[1], dtype=torch.float64)
            norms = []
            for rows, factor in zip(order, factors, strict=False):
                x, y = inputs[rows], target[rows]
                slope = (torch.sigmoid(weights @ x.T) - y) @ x / BATCH
                norms.append(slope.norm(dim=1))
                weights -= (PEAKS * factor)[:, None] * slope
            logits = weights @ inputs.T
            losses = F.binary_cross_entropy_with_logits(
                logits, target.expand_as(logits), reduction="none"
            ).mean(1)
            return float(losses.nan_to_num(math.inf).min()), torch.stack(norms)

        t = torch.arange(steps + 1, dtype=torch.float64)[:, None]
        factors = {
            "constant": torch.ones_like(t),
            "1/sqrt(t)": (1 + t).rsqrt(),
            "cosine": (1 + torch.cos(math.pi * t / steps)) / 2,
            "linear": _at(LinearDecay(_any(), steps).factor, steps),
        }
        for schedule, factor in factors.items():
            figures[f"{schedule}, {name}"] = train(factor[:steps])[0]
        longer = _at(LinearDecay(_any(), steps + 1).factor, steps + 1)[: steps + 1]
        _, norms = train(longer)
        refined = [_at(RefinedSchedule(_any(), row).factor, steps) for row in norms.T]
        figures[f"refined, {name}"] = train(torch.cat(refined, 1)[:steps])[0]
    return figures


def _at(factor: Callable[[float], float], steps: int) -> Tensor:
    rows = [[factor(t / steps)] for t in range(steps + 1)]
    return torch.tensor(rows, dtype=torch.float64)


def _any() -> torch.optim.SGD:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


def _tumours() -> tuple[Tensor, Tensor]:
    data = load_breast_cancer()
    return _prepared(torch.tensor(data.data), torch.tensor(data.target))


def _drawn() -> tuple[Tensor, Tensor]:
    return _prepared(*logistic.samples(False, "train"))


def _prepared(inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    inputs = inputs.double()
    scaled = (inputs - inputs.mean(0)) / inputs.std(0)
    return torch.cat([scaled, torch.ones(len(scaled), 1, dtype=torch.float64)], 1), target.double()


def linear_then_refined(figures: Figures) -> Finding:
    """Judge by sign tests on each data set.

    Linear decay must end below the constant rate and below 1/sqrt(t), and the refined schedule
    below linear decay.
    """
    names = [key.removeprefix("linear, ") for key in figures[0] if key.startswith("linear, ")]
    return together(
        [
            exceeds(
                f"Last training loss, {name}",
                [run[f"{above}, {name}"] for run in figures],
                [run[f"{below}, {name}"] for run in figures],
                names=(above, below),
            )
            for name in names
            for above, below in (
                ("constant", "linear"),
                ("1/sqrt(t)", "linear"),
                ("linear", "refined"),
            )
        ]
    )
