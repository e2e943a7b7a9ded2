"""M-FAC (2021): the inverse of an empirical Fisher matrix, applied but never formed."""

import torch
from torch import Tensor

from thalweg.core.claim import Effort, MeasurementClaim, RaceClaim
from thalweg.core.example import Example
from thalweg.core.method import Choice, Interval
from thalweg.core.paper import Paper
from thalweg.core.verdicts import matches
from thalweg.linalg import EmpiricalFisherInverse
from thalweg.optim import MFAC
from thalweg.papers.optim._m_fac_retyped import (
    recursion_retyped,
    steps_retyped,
    surgeon_retyped,
)
from thalweg.papers.optim._m_fac_trials import more_accurate_than_by_magnitude, prunes_in_one_go
from thalweg.training.methods import optimizer_method


def _gradients() -> tuple[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(4, 9, generator=generator, dtype=torch.float64),)


KNOBS = {
    "lr": (1e-3, 1e-2),
    "momentum": (0.0, 0.9),
    "weight_decay": (0.0, 0.1),
    "n_grads": (1024, 2),
    "damping": (1e-5, 1e-2),
    "history_dtype": (None, torch.bfloat16),
    "history_device": (None, "cpu"),
}
EXCEPTIONS = {
    "history_device": "where the window lies changes no number",
    "shards_equal_the_whole_or_are_refused:refused": "the window spans all parameters",
}

PAPER = Paper(
    id="m-fac",
    title="M-FAC: Efficient Matrix-Free Approximations of Second-Order Information",
    year=2021,
    arxiv="2107.03356",
    headline="The inverse of a Fisher matrix of m gradients in d dimensions multiplies a vector in "
    "O(dm) after O(dm^2), and in O(dm + m^3) for a window that slides, without forming it or "
    "dividing it into blocks: state-of-the-art pruning and optimization at less cost than other "
    "second-order methods.",
    provides=(MFAC, EmpiricalFisherInverse),
    methods=(
        optimizer_method(
            "m-fac",
            MFAC,
            takes=("lr", "momentum", "weight_decay", "n_grads", "damping"),
            space={
                "lr": Interval(1e-5, 1e-1, log=True),
                "weight_decay": Choice((0.0, 1e-4, 1e-3, 1e-2, 1e-1)),
                "damping": Interval(1e-6, 1e-1, log=True),
            },
            knobs=KNOBS,
            exceptions={
                "state_is_live:momentum_buffer": "without momentum there is no use for it",
                "single_precision_follows_double": "where past gradients nearly span the newest, "
                "its rounding is divided by the damping",
                **EXCEPTIONS,
            },
        ),
    ),
    examples=(
        Example(
            MFAC,
            "optimizer",
            arguments={"lr": 0.1, "momentum": 0.9, "n_grads": 4, "damping": 1e-2},
            knobs=KNOBS,
            exceptions=EXCEPTIONS,
        ),
        Example(
            EmpiricalFisherInverse,
            "function",
            arguments={"damping": 1e-3},
            knobs={"damping": (1e-3, 1e-2)},
            inputs=_gradients,
        ),
    ),
    oracles=(recursion_retyped, surgeon_retyped, steps_retyped),
    claims=(
        MeasurementClaim(
            "one-shot-pruning",
            statement="Pruned in one go by the Optimal Brain Surgeon with M-FAC's inverse, a net "
            "stays more accurate than pruned by magnitude.",
            measure=prunes_in_one_go,
            smoke=Effort(seeds=2),
            full=Effort(seeds=10),
            expect=more_accurate_than_by_magnitude,
            scaled="A multilayer perceptron of 8,832 weights on handwritten digits in place of "
            "ResNets, 1,024 gradients of single samples, no training afterwards.",
        ),
        RaceClaim(
            "competes-with-adam",
            statement="Nets trained with M-FAC classify at least as well as with Adam after "
            "equally many steps.",
            problems=("digits-mlp",),
            methods=("adam", "m-fac(n_grads=32)"),
            smoke=Effort(seeds=2, trials=2, steps=10),
            full=Effort(seeds=10, trials=5),
            expect=matches,
            scaled="A multilayer perceptron on handwritten digits and a window of 32 gradients in "
            "place of ResNets on CIFAR and 512 or 1,024; both tuned alike.",
        ),
    ),
    symptoms=(
        "my loss is badly conditioned",
        "I want second-order steps and cannot form a Hessian",
        "pruning costs too much accuracy",
    ),
)
