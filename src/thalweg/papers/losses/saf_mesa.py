"""SAF and MESA (2022): sharpness-aware training without a second gradient."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from thalweg.core.claim import Effort, Finding, MeasurementClaim, RaceClaim
from thalweg.core.example import Example
from thalweg.core.method import Choice, Interval, Method, Space
from thalweg.core.paper import Paper
from thalweg.core.verdicts import beats, exceeds, matches, together
from thalweg.losses import MESA, SAF
from thalweg.optim import SAM
from thalweg.papers.losses._trajectories import mesa, saf
from thalweg.papers.losses._trajectories_retyped import (
    ascent_retyped,
    average_retyped,
    memory_retyped,
    without_weight_it_is_the_criterion,
)
from thalweg.papers.losses._trajectories_trials import sharpness
from thalweg.training.methods import wrapper_method


class _Tokens(nn.Module):
    """Scores of sequences of whole numbers, which no gradient can be asked of."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.embed, self.last = nn.Embedding(7, 4), nn.Linear(4, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.last(self.embed(tokens).mean(1).tanh())
        return scores


def _scored_tokens() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(7, (6, 3), generator=generator)
    return torch.randn(6, 5, generator=generator), torch.arange(6) % 5, tokens


def flatter_than_sgd(figures: Sequence[Mapping[str, float]]) -> Finding:
    """Judge by a sign test whether SGD ends at a larger eigenvalue than each of the others."""
    what = "largest eigenvalue of the Hessian"
    sgd = [run["SGD"] for run in figures]
    return together(
        [
            exceeds(what, sgd, [run[name] for run in figures], names=("SGD", name))
            for name in ("SAF", "MESA", "SAM")
        ]
    )


_LAM: dict[str, Space] = {"lam": Interval(0.03, 3.0, log=True)}
_SMOOTHED = nn.CrossEntropyLoss(label_smoothing=0.1)
_SHORT_RUNS = "the short runs that it scores by would be remembered"
_CLASHES = {"el2n-prune": _SHORT_RUNS, "grand-prune": _SHORT_RUNS}
_SCALED = (
    "Digits, with two fifths of the labels wrong or right, and small nets of some 20 epochs in "
    "place of ImageNet and 90 epochs."
)

PAPER = Paper(
    id="saf-mesa",
    title="Sharpness-Aware Training for Free",
    year=2022,
    arxiv="2205.14083",
    headline="SAF ends as accurate as SAM or more so on ImageNet, at essentially the cost of the "
    "base optimizer, where SAM doubles it; minima are as flat as SAM's.",
    provides=(SAF, MESA, SAM),
    methods=(
        Method(
            name="saf",
            summary="Hold each sample's scores near those of some epochs ago.",
            build=saf,
            defaults={"lam": 0.3, "tau": 5.0, "lag": 3, "start": 5},
            space=_LAM,
            fills=frozenset({"trajectory"}),
            needs=frozenset({"index"}),
            clashes=_CLASHES,
        ),
        Method(
            name="mesa",
            summary="Hold the scores near those of an average of past weights.",
            build=mesa,
            defaults={"lam": 0.8, "tau": 5.0, "decay": 0.9995, "start": 5},
            space={**_LAM, "decay": Choice((0.9, 0.97, 0.99, 0.997, 0.9995))},
            fills=frozenset({"trajectory"}),
            clashes=_CLASHES,
        ),
        wrapper_method(
            "sam",
            SAM,
            space={"rho": Interval(0.01, 1.0, log=True)},
            knobs={"rho": (0.05, 0.5)},
            needs=("closure",),
        ),
    ),
    oracles=(
        memory_retyped,
        average_retyped,
        without_weight_it_is_the_criterion,
        ascent_retyped,
    ),
    examples=(
        Example(
            SAF,
            "loss",
            arguments={"n_samples": 6, "n_classes": 5, "lag": 2, "start": 1},
            knobs={
                "lam": (0.3, 1.0),
                "tau": (5.0, 1.0),
                "lag": (2, 3),
                "start": (1, 7),
                "criterion": (None, _SMOOTHED),
            },
            needs=frozenset({"index"}),
        ),
        Example(
            MESA,
            "module",
            arguments={"model": _Tokens(), "start": -1},
            knobs={
                "lam": (0.8, 0.3),
                "tau": (5.0, 1.0),
                "start": (-1, 0),
                "criterion": (None, _SMOOTHED),
            },
            inputs=_scored_tokens,
            exceptions={
                "decay": "acts where the average takes weights in, which an oracle follows",
                "it_follows_its_training_flag": "the average stays in evaluation mode",
            },
        ),
    ),
    claims=(
        RaceClaim(
            name="more-accurate-than-sgd",
            statement="SAF and MESA end more accurate than the base optimizer alone.",
            problems=("digits-noisy", "digits-mlp"),
            methods=("sgd+cosine", "sgd+cosine+saf", "sgd+cosine+mesa"),
            smoke=Effort(seeds=2, steps=5),
            full=Effort(seeds=10, trials=5),
            expect=beats,
            scaled=_SCALED,
        ),
        RaceClaim(
            name="as-accurate-as-sam",
            statement="SAF ends at least as accurate as SAM, which takes two gradients a step.",
            problems=("digits-noisy", "digits-mlp"),
            methods=("sgd+cosine+sam", "sgd+cosine+saf"),
            smoke=Effort(seeds=2, steps=5),
            full=Effort(seeds=10, trials=5),
            expect=matches,
            scaled=_SCALED,
        ),
        MeasurementClaim(
            name="flatter-minima",
            statement="Where SAF and MESA end, as where SAM does, the largest eigenvalue of the "
            "loss's Hessian is smaller than where SGD ends.",
            measure=sharpness,
            smoke=Effort(seeds=1),
            full=Effort(seeds=10),
            expect=flatter_than_sgd,
            scaled="Digits with two fifths of the labels wrong and a perceptron in place of "
            "CIFAR; MESA's average reaches as many epochs back as the authors'.",
        ),
    ),
    symptoms=(
        "my model fits the training data and fails on new data",
        "SAM helps but doubles my training time",
        "some of my labels are wrong and I cannot clean them",
    ),
)
