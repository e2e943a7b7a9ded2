"""Gradient-normalized smoothness (2025): Newton's method damped by the gradient's norm."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from thalweg.core.claim import Effort, MeasurementClaim
from thalweg.core.example import Example
from thalweg.core.method import Interval
from thalweg.core.paper import Paper
from thalweg.linalg import minimize_gns
from thalweg.optim import GradNormSmooth
from thalweg.papers.optim import _gns_oracles as oracles
from thalweg.papers.optim._gns_trials import fewer_than_gradient_descent, on_log_sum_exp
from thalweg.training.methods import optimizer_method


def shallow(x: Tensor) -> Tensor:
    """Return a milder relative of Rosenbrock's function."""
    return (1 - x[0]) ** 2 + 3 * (x[1] - x[0] ** 2) ** 2


def relative_gradient(value: Tensor, f: Callable[[Tensor], Tensor], x0: Tensor) -> float:
    """Return the norm of the gradient over that at the start."""
    norms = []
    for x in (value, x0):
        leaf = x.detach().requires_grad_()
        norms.append(torch.autograd.grad(f(leaf), leaf)[0].norm())
    return float(norms[0] / norms[1])


METHOD = optimizer_method(
    "grad-norm-smooth",
    GradNormSmooth,
    takes=("gamma0", "max_products"),
    space={"gamma0": Interval(1e-2, 1e2, log=True)},
    needs={"closure", "graph"},
)
EXAMPLE = Example(
    GradNormSmooth,
    "optimizer",
    arguments={"gamma0": 0.5},  # from 1 the law on state finds gamma where it was, by chance
    knobs={"lr": (1.0, 0.3), "gamma0": (1.0, 0.1), "max_products": (100, 1)},
    needs=METHOD.needs,
    exceptions={
        "hess": "the loss of the laws is no power of a norm, as the other choices suppose",
        "power": "it only acts with hess='fisher'",
        "shards_equal_the_whole_or_are_refused:refused": "no graph passes fully_shard",
    },
)

PAPER = Paper(
    id="grad-norm-smooth",
    title="Gradient-Normalized Smoothness for Optimization with Approximate Hessians",
    year=2025,
    arxiv="2506.13710",
    headline="One scheme without parameters attains the best known global rates for functions with "
    "Hoelder-continuous Hessians or third derivatives, for quasi-self-concordant and for merely "
    "smooth functions, and global linear rates for logistic and softmax problems although the "
    "Hessian is only approximated.",
    provides=(GradNormSmooth, minimize_gns),
    methods=(replace(METHOD, example=EXAMPLE),),
    examples=(
        Example(
            minimize_gns,
            "solver",
            inputs=lambda: (shallow, torch.tensor([-1.2, 1.0], dtype=torch.float64)),
            residual=relative_gradient,
            knobs={
                "gamma0": (1.0, 0.1),
                "hess": ("exact", "fisher"),
                "max_products": (100, 1),
                "rtol": (1e-6, 1e-2),
                "max_steps": (1000, 3),
            },
            exceptions={
                "throw": "decides between raising and returning, not what is found",
                "power": "it only acts with hess='fisher'",
                "units_do_not_matter": "the law scales the start and leaves the function as it is",
                "inputs_that_do_not_fit_are_refused": "what fits is for the function to say",
            },
        ),
    ),
    oracles=(
        oracles.solver_retyped,
        oracles.optimizer_retyped,
        oracles.no_way_down_is_no_step,
        oracles.exact_on_a_quadratic,
        oracles.converges_to_rounding,
    ),
    claims=(
        MeasurementClaim(
            "fewer-iterations-than-gradient-descent",
            statement="On the softmax problem, to a value within 1e-8 of the least, the method "
            "takes fewer iterations than gradient descent with a line search, with the exact "
            "Hessian and with the weighted Gauss-Newton matrix in its place.",
            measure=on_log_sum_exp,
            smoke=Effort(seeds=2),
            full=Effort(seeds=10),
            expect=fewer_than_gradient_descent,
            scaled="200 functions of 50 variables at mu = 0.1, in place of 1000 of 1000 at 1, in "
            "the Euclidean metric.",
        ),
    ),
    symptoms=(
        "first-order methods crawl on a small full-batch problem",
        "Newton's method diverges far from the solution",
        "only an approximate Hessian is at hand",
    ),
)
