"""Gradient-normalized smoothness (2025): Newton's method damped by the gradient's norm."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from thalweg.core.claim import Effort, MeasurementClaim
from thalweg.core.example import Example
from thalweg.core.method import Interval
from thalweg.core.paper import Paper
from thalweg.linalg import iterate_gns, minimize_gns
from thalweg.optim import GradNormSmooth
from thalweg.papers.optim._gns_retyped import START, Retyped
from thalweg.papers.optim._gns_trials import (
    LogSumExp,
    fewer_than_gradient_descent,
    on_log_sum_exp,
)
from thalweg.training.methods import optimizer_method


def residuals(x: Tensor) -> Tensor:
    """Return u with |u|^2 Rosenbrock's function."""
    return torch.stack([1 - x[0], 10 * (x[1] - x[0] ** 2)])


def valley(x: Tensor) -> Tensor:
    """Return Rosenbrock's function."""
    return residuals(x).square().sum()


def fourth_power(x: Tensor, *, with_output: bool = False) -> Tensor | tuple[Tensor, Tensor]:
    """Return |u|^4 / 4, and u where it is wanted."""
    u = residuals(x)
    value = u.square().sum() ** 2 / 4
    return (value, u) if with_output else value


STEPS = 10
CASES: dict[str, tuple[Any, dict[str, Any], float]] = {  # function, keywords, first radius
    "exact": (valley, {}, 0.3),
    "gauss-newton": (partial(fourth_power, with_output=True), {"hess": "gauss-newton"}, 1.0),
    "fisher": (fourth_power, {"hess": "fisher", "power": 4.0}, 1.0),
    "one product": (valley, {"max_products": 1}, 1.0),
}


def solver_retyped() -> None:
    """Follow points, evaluations and products with dense matrices, derivatives by hand."""
    for name, (f, keywords, gamma) in CASES.items():
        retyped = Retyped(name, gamma)
        iterates = iterate_gns(f, START, gamma0=gamma, **keywords)
        for item in islice(iterates, STEPS):
            torch.testing.assert_close(item.value, retyped.x, rtol=1e-9, atol=1e-9)
            expected = retyped.gradient().norm() / Retyped(name, 1.0).gradient().norm()
            torch.testing.assert_close(item.residual, float(expected), rtol=1e-8, atol=1e-12)
            assert [item.gradients, item.products] == [retyped.evaluations, retyped.products]
            retyped.step()


def optimizer_retyped() -> None:
    """Follow the optimizer likewise, with a metric that differs between two groups."""
    rates = (0.5, 2.0)
    for name, (f, keywords, gamma) in CASES.items():
        params = [torch.nn.Parameter(START[i].clone()) for i in (0, 1)]
        groups = [{"params": [p], "lr": lr} for p, lr in zip(params, rates, strict=True)]
        optimizer = GradNormSmooth(groups, gamma0=gamma, **keywords)
        retyped = Retyped(name, gamma, rates)
        for _ in range(STEPS):
            loss = optimizer.step(partial(_closure, f, params, optimizer))
            torch.testing.assert_close(loss, retyped.value(), rtol=1e-8, atol=1e-12)
            retyped.step()
            ours = torch.stack([p.detach() for p in params])
            torch.testing.assert_close(ours, retyped.x, rtol=1e-9, atol=1e-9)
            left = torch.stack([p.grad for p in params if p.grad is not None])
            torch.testing.assert_close(left, retyped.gradient(), rtol=1e-7, atol=1e-9)


def no_way_down_is_no_step() -> None:
    """Where the loss rises against its gradient, even one that comes and goes, nothing moves."""
    p, q = (torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = GradNormSmooth([p, q])
    calls: list[Tensor] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        calls.append(p.detach().clone())
        loss = (4 * p.detach() - p.square()).sum()
        if len(calls) == 1:
            loss = loss + (q.square() - q.detach().square()).sum()
        torch.autograd.backward(loss, create_graph=True)
        return loss

    loss = optimizer.step(closure)
    assert len(calls) > 10
    assert torch.equal(p.detach(), calls[0])
    assert torch.equal(q.detach(), calls[0])
    assert not loss.requires_grad
    solution = minimize_gns(lambda x: (4 * x.detach() - x).sum(), calls[0], throw=False)
    assert solution.reason.startswith("no step lowers f")
    assert torch.equal(solution.value, calls[0])


def _closure(f: Any, params: Sequence[Tensor], optimizer: GradNormSmooth) -> Any:
    optimizer.zero_grad()
    returned = f(torch.stack([*params]))
    loss = returned[0] if isinstance(returned, tuple) else returned
    loss.backward(create_graph=True)
    return returned


def exact_on_a_quadratic() -> None:
    """Each first trial is taken; with no curvature at all the step is as long as gamma."""
    root = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    Q, x, gamma = root @ root.T, torch.ones(6, dtype=torch.float64), 0.25
    for item in islice(iterate_gns(lambda y: y @ Q @ y / 2, x, gamma0=gamma), 8):
        torch.testing.assert_close(item.value, x, rtol=1e-9, atol=1e-12)
        damping, gamma = (Q @ x).norm() / gamma, 2 * gamma
        x = damping * torch.linalg.solve(Q + damping * torch.eye(6, dtype=Q.dtype), x)
    flat = iterate_gns(torch.sum, x, hess=lambda y: 0 * Q, gamma0=0.7)
    first, second = islice(flat, 2)
    torch.testing.assert_close(float((second.value - first.value).norm()), 0.7)


def converges_to_rounding() -> None:
    """Where the values no longer tell a step from none, the gradients do."""
    f = LogSumExp(0, 20, 5, 0.5)
    for hess in ("exact", f.weighted_gauss_newton):
        x0 = f.start.clone().requires_grad_()
        solution = minimize_gns(f, x0, hess=hess, rtol=1e-14)
        assert not solution.value.requires_grad
        assert solution.value.norm() < 1e-13, solution.value


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
        solver_retyped,
        optimizer_retyped,
        no_way_down_is_no_step,
        exact_on_a_quadratic,
        converges_to_rounding,
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
