"""Exact checks of gradient-normalized smoothness."""

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from thalweg.linalg import iterate_gns, minimize_gns
from thalweg.optim import GradNormSmooth
from thalweg.papers.optim._gns_retyped import START, Retyped
from thalweg.papers.optim._gns_trials import LogSumExp


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
