"""A solver that obeys all laws, and ways to break it."""

import torch

from tests.laws import calling
from tests.laws import test_solvers as laws
from tests.laws.cases import Fault
from thalweg.core.example import Example
from thalweg.linalg import Iterate, Solution, solve


def sound(A, b, *, relaxation=1.0, rtol=1e-9, max_steps=1000, throw=True):
    """Solve A x = b, A symmetric positive definite, by conjugate gradients."""
    A, b = checked(A, b)
    rtol = reachable(A, rtol)
    return solve(iterates(A, b, relaxation), rtol=rtol, max_steps=max_steps, throw=throw)


def checked(A, b):
    if A.shape != (len(b), len(b)):
        raise ValueError(f"A of shape {tuple(A.shape)} does not go with b of {tuple(b.shape)}")
    if not (A.isfinite().all() and b.isfinite().all()):
        raise ValueError("A and b must be finite: look where the others come from")
    return A.detach(), b.detach()


def reachable(A, rtol):
    return max(rtol, 1e-5) if A.dtype == torch.float32 and rtol > 0 else rtol


def iterates(A, b, relaxation, *, recursive=False):
    scale = A.diagonal().mean() * relaxation
    x, size = torch.zeros_like(b), b.norm()
    r = direction = b
    yield Iterate(x, 1.0)
    while True:
        image = A @ direction / scale
        length = (r @ r) / (direction @ image)
        x = x + length * direction / scale
        after = r - length * image if recursive else b - A @ x
        yield Iterate(x, float(after.norm() / size))
        direction = after + (after @ after) / (r @ r) * direction
        r = after


def recursive(A, b, *, relaxation=1.0, rtol=1e-9, max_steps=1000, throw=True):
    A, b = checked(A, b)
    steps = iterates(A, b, relaxation, recursive=True)
    return solve(steps, rtol=reachable(A, rtol), max_steps=max_steps, throw=throw)


def dead_knob(A, b, *, relaxation=1.0, rtol=1e-9, max_steps=1000, throw=True):
    return sound(A, b, rtol=rtol, max_steps=max_steps, throw=throw)


def hopeful(A, b, *, relaxation=1.0, rtol=1e-9, max_steps=1000, throw=True):
    """Say of whatever there is that it is the solution."""
    found = sound(A, b, relaxation=relaxation, rtol=rtol, max_steps=max_steps, throw=False)
    return Solution(**{**vars(found), "converged": True})


def never_throws(A, b, *, relaxation=1.0, rtol=1e-9, max_steps=1000, throw=True):
    return sound(A, b, relaxation=relaxation, rtol=rtol, max_steps=max_steps, throw=False)


def absolute(A, b, *, relaxation=1.0, rtol=1e-9, max_steps=1000, throw=True):
    """Add a number that has a unit."""
    A, b = checked(A, b)
    A = A + 1e-7 * torch.eye(len(b), dtype=A.dtype)
    return sound(A, b, relaxation=relaxation, rtol=rtol, max_steps=max_steps, throw=throw)


def in_place(A, b, *, relaxation=1.0, rtol=1e-9, max_steps=1000, throw=True):
    A.diagonal().add_(1e-3)
    return sound(A, b, relaxation=relaxation, rtol=rtol, max_steps=max_steps, throw=throw)


def always_double(A, b, *, relaxation=1.0, rtol=1e-9, max_steps=1000, throw=True):
    A, b = A.double(), b.double()
    return sound(A, b, relaxation=relaxation, rtol=rtol, max_steps=max_steps, throw=throw)


def random_start(A, b, *, relaxation=1.0, rtol=1e-9, max_steps=1000, throw=True):
    A, b = checked(A, b)
    A = A * (1 + 1e-15 * torch.rand(()))
    return sound(A, b, relaxation=relaxation, rtol=rtol, max_steps=max_steps, throw=throw)


def takes_anything(A, b, *, relaxation=1.0, rtol=1e-9, max_steps=1000, throw=True):
    A, b = A.detach(), b.detach()
    n = min(len(A), A.shape[1], len(b))
    A, b = A[:n, :n].nan_to_num(), b[:n].nan_to_num(posinf=1.0)
    return sound(A, b, relaxation=relaxation, rtol=rtol, max_steps=max_steps, throw=throw)


def swallows(A, b, **keywords):
    return sound(A, b)


def unchecked(A, b, *, relaxation=1.0, rtol=1e-9, max_steps=1000, throw=True):
    rtol = max(rtol, 1e-12) if rtol == rtol else 1e-9
    return sound(A, b, relaxation=relaxation, rtol=rtol, max_steps=max(max_steps, 0), throw=throw)


def _system(decades=2):
    generator = torch.Generator().manual_seed(0)
    Q = torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=torch.float64)).Q
    b = torch.randn(12, generator=generator, dtype=torch.float64)
    return Q @ torch.diag(torch.logspace(0, decades, 12, dtype=torch.float64)) @ Q.T, b


def _ill_conditioned():
    return _system(decades=8)


def _example(solver, inputs=_system):
    knobs = {"relaxation": (1.0, 1.5), "rtol": (1e-9, 1e-3)}
    return Example(solver, "solver", knobs=knobs, inputs=inputs, residual=_residual)


def _residual(x, A, b):
    return float((b - A @ x).norm() / b.norm())


def _fault(name, solver, law, says):
    return Fault(f"solver-{name}", _example(solver), law, says)


SOUND = [_example(sound)]
FAULTS = [
    Fault(
        "solver-recursive-residual",
        _example(recursive, _ill_conditioned),
        laws.residuals_are_as_reported,
        "reported is",
    ),
    _fault("dead-knob", dead_knob, laws.knobs_are_live, "relaxation has no effect"),
    _fault("hopeful", hopeful, laws.too_few_steps_are_owned_up_to, "says it has converged"),
    _fault("never-throws", never_throws, laws.too_few_steps_are_owned_up_to, "raises nothing"),
    _fault("absolute", absolute, laws.units_do_not_matter, "all inputs times"),
    _fault("in-place", in_place, calling.inputs_are_untouched, "its inputs are changed"),
    _fault("always-double", always_double, laws.single_precision_is_as_reported, "of float32"),
    _fault(
        "random-start", random_start, calling.global_generators_are_untouched, "global generator"
    ),
    _fault("takes-anything", takes_anything, laws.inputs_that_do_not_fit_are_refused, "in silence"),
    _fault("solves-nan", takes_anything, laws.numbers_that_are_none_are_not_solved, "converged"),
    _fault("swallows", swallows, calling.misspelt_keywords_are_refused, "accepted in silence"),
    _fault("unchecked", unchecked, laws.limits_out_of_range_are_refused, "accepted in silence"),
]
