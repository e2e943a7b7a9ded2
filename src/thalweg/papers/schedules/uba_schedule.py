"""UBA (2025): a learning rate schedule for a budget of steps, with one shape parameter."""

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from thalweg.core.claim import Effort, RaceClaim
from thalweg.core.method import Interval
from thalweg.core.paper import Paper
from thalweg.core.verdicts import beats
from thalweg.problems import digits
from thalweg.problems.objective import objective_problem
from thalweg.schedules import UBA
from thalweg.training.methods import schedule_method
from thalweg.training.problem import TrainingProblem


def _optimizer(lr: float) -> SGD:
    return SGD([torch.zeros(1, requires_grad=True)], lr=lr)


def cosine_annealing_where_phi_is_two() -> None:
    """At phi = 2 the schedule is torch's cosine annealing, at every step."""
    total_steps, pair = 37, (_optimizer(0.3), _optimizer(0.3))
    ours = UBA(pair[0], total_steps, phi=2, eta_min=0.01)
    cosine = CosineAnnealingLR(pair[1], T_max=total_steps, eta_min=0.01)
    for _ in range(total_steps + 1):
        assert math.isclose(ours.get_last_lr()[0], cosine.get_last_lr()[0], rel_tol=1e-12)
        for optimizer, schedule in zip(pair, (ours, cosine), strict=True):
            optimizer.step()
            schedule.step()


def equation_retyped() -> None:
    """Follow the formula for several shapes and warm-ups; the half-way value tells them apart."""
    cosines = [1 + math.cos(math.pi * t / 100) for t in range(101)]
    for phi, warmup in ((0.25, 0), (1.0, 3), (2.0, 0), (5.0, 10)):
        optimizer = _optimizer(0.5)
        schedule = UBA(optimizer, warmup + 100, phi=phi, eta_min=0.1, warmup_steps=warmup)
        rates = []
        for _ in range(warmup + 101):
            rates.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        factors = [(t + 1) / (warmup + 1) for t in range(warmup)]
        factors += [2 * c / (2 * phi + (2 - phi) * c) for c in cosines]
        for rate, factor in zip(rates, factors, strict=True):
            assert math.isclose(rate, 0.1 + 0.4 * factor, rel_tol=1e-12)
        assert rates[warmup] == 0.5
        assert math.isclose(rates[warmup + 50], 0.1 + 0.4 * 2 / (2 + phi), rel_tol=1e-12)


class _NoisyQuadratic(nn.Module):
    """The sum of h x^2 / 2, h from 0.001 to 1; in training with gradient noise of variance h."""

    h: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("h", torch.logspace(-3, 0, 50))
        self.point = nn.Parameter(10 * torch.randn(50))

    def forward(self, _: Tensor) -> Tensor:
        value = (self.h * self.point**2).sum() / 2
        if self.training:
            value = value + (self.h.sqrt() * torch.randn_like(self.h) * self.point).sum()
        return value


def noisy_quadratic(steps: int) -> TrainingProblem:
    """Descend within a budget of steps."""
    return objective_problem(
        f"noisy quadratic, {steps} steps",
        _NoisyQuadratic,
        steps=steps,
        target=None,
        description="quadratic of condition 1000 with gradient noise",
    )


def digits_within(steps: int) -> TrainingProblem:
    """Recognise digits within a budget of steps."""
    return replace(digits.problem(), name=f"digits, {steps} steps", steps=steps, target=None)


SGD_ALONE = "sgd(momentum=0.0, nesterov=False, weight_decay=0.0)"


PAPER = Paper(
    id="uba-schedule",
    title="Stepsize anything: A unified learning rate schedule for budgeted-iteration training",
    year=2025,
    arxiv="2505.24452",
    headline="One schedule with one shape parameter is reported to beat step, cosine, cyclic, REX, "
    "OneCycle and budgeted-linear schedules across vision and language tasks and several training "
    "budgets.",
    provides=(UBA,),
    methods=(
        schedule_method(
            "uba",
            UBA,
            space={"phi": Interval(0.1, 10.0, log=True)},
            knobs={"phi": (1.0, 5.0), "eta_min": (0.0, 1e-4), "warmup_steps": (0, 1)},
        ),
    ),
    oracles=(cosine_annealing_where_phi_is_two, equation_retyped),
    claims=(
        RaceClaim(
            "quadratics",
            statement="On quadratics UBA ends lower than cosine annealing within any budget.",
            problems=(partial(noisy_quadratic, 100), partial(noisy_quadratic, 1000)),
            methods=(f"{SGD_ALONE}+cosine", f"{SGD_ALONE}+uba"),
            smoke=Effort(seeds=2, trials=2, steps=10),
            full=Effort(seeds=20, trials=20),
            expect=beats,
            scaled="The model problem of the paper's derivation, with gradient noise; learning "
            "rate and phi tuned together, in as many trials as the learning rate alone.",
        ),
        RaceClaim(
            "networks",
            statement="Nets trained with SGD and UBA classify better than with cosine annealing, "
            "within a small and a large budget of steps.",
            problems=(partial(digits_within, 75), partial(digits_within, 300), "mnist1d"),
            methods=("sgd+cosine", "sgd+uba"),
            smoke=Effort(seeds=2, trials=2, steps=10),
            full=Effort(seeds=10, trials=10),
            expect=beats,
            scaled="Small nets on digits and signals in place of ResNets and language models.",
        ),
    ),
    symptoms=("training must end after a fixed number of steps",),
)
