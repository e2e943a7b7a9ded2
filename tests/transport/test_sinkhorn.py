"""Sinkhorn's algorithm and Sinkhorn-Newton-Sparse: what is particular to transport."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch

from thalweg.linalg import NotConverged
from thalweg.problems.transport import assignment, clouds, digits
from thalweg.transport import sinkhorn, sinkhorn_newton_sparse

SOLVERS = pytest.mark.parametrize("solver", [sinkhorn, sinkhorn_newton_sparse])
A, B = (torch.full((n,), 1 / n, dtype=torch.float64) for n in (3, 4))
C = torch.arange(12).double().reshape(3, 4).sin()


@pytest.mark.parametrize(
    "draw",
    [
        partial(assignment, n=60, reg=1 / 300),
        partial(assignment, n=30, reg=1 / 5000),
        partial(clouds, n=80, reg=1 / 1200),
        partial(digits, reg=1 / 300, norm=2),
        partial(digits, reg=1 / 300, norm=1),
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_newtons_steps_end_where_the_paper_and_others_fail_for_singularity(draw, seed):
    solution = sinkhorn_newton_sparse(*draw(seed))
    assert solution.residuals[-1] <= 1e-9
    assert solution.iterations < 250


def test_the_last_steps_square_the_error():
    residuals = sinkhorn_newton_sparse(*assignment(0, n=80, reg=0.01), rtol=1e-12).residuals[20:]
    orders = [
        math.log(after) / math.log(before)
        for before, after in pairwise(residuals)
        if 1e-6 < before < 1e-2
    ]
    assert max(orders) > 1.5


def test_a_fixed_number_of_entries_takes_more_steps_to_the_same_plan():
    given = assignment(0, n=50, reg=0.01)
    by_error = sinkhorn_newton_sparse(*given)
    fixed = sinkhorn_newton_sparse(*given, entries=2)
    assert by_error.iterations < fixed.iterations
    torch.testing.assert_close(by_error.value.matrix, fixed.value.matrix, rtol=0, atol=1e-9)


@SOLVERS
def test_a_batch_is_solved_as_its_members_are(solver):
    members = [assignment(seed, n=20, reg=0.02)[:3] for seed in range(3)]
    batch = (torch.stack(part) for part in zip(*members, strict=True))
    together = solver(*batch, 0.02)
    for i, member in enumerate(members):
        alone = solver(*member, 0.02)
        torch.testing.assert_close(together.value.matrix[i], alone.value.matrix, rtol=0, atol=1e-9)
        torch.testing.assert_close(together.value.cost[i], alone.value.cost, rtol=0, atol=1e-8)


@SOLVERS
def test_a_shift_of_rows_and_columns_of_the_cost_changes_nothing_but_the_potentials(solver):
    plan = solver(A, B, C, 0.1).value
    shifted = solver(A, B, C + torch.tensor([[5.0], [-3.0], [1.0]]) + 7, 0.1).value
    torch.testing.assert_close(plan.matrix, shifted.matrix, rtol=1e-7, atol=1e-9)


@SOLVERS
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"a": A[:2]}, "shapes"),
        ({"a": A * 2}, "divide each by its sum"),
        ({"b": B * 2}, "divide each by its sum"),
        ({"C": C.long()}, "differ in type"),
        ({"reg": 0.0, "rtol": 1e-6}, "reg is 0"),
        ({"a": torch.tensor([0.0, 0.5, 0.5]).double()}, "leave points without mass out"),
        ({"b": -B}, "not positive"),
        ({"C": C * math.inf}, "not finite"),
        ({"C": C.float()}, "differ in type"),
        ({"C": C.half(), "a": A.half(), "b": B.half()}, "float64"),
        ({"a": A[:0], "C": C[:0]}, "empty"),
        ({"reg": 0.0}, "reg is 0"),
        ({"reg": math.nan}, "reg is nan"),
        ({"rtol": 1e-17}, "raise rtol"),
    ],
)
def test_what_is_no_problem_of_transport_is_refused_with_a_sentence(solver, changes, says):
    given = {"a": A, "b": B, "C": C, "reg": 0.1, **changes}
    with pytest.raises(ValueError, match=says):
        solver(**given)


@SOLVERS
def test_masses_that_differ_by_rounding_and_single_points_are_solved(solver):
    a, b = 1e3 * A, 1e3 * B * (1 + 1.5e-13)
    assert solver(a, b, C, 0.1).converged
    steps = {"warmup": 0} if solver is sinkhorn_newton_sparse else {}
    assert solver(A, B.sum(0, keepdim=True), C[:, :1], 0.1, **steps).converged
    assert solver(A.sum(0, keepdim=True), B, C[:1], 0.1, **steps).converged


@pytest.mark.parametrize("wrong", [{"warmup": -1}, {"entries": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        sinkhorn_newton_sparse(A, B, C, 0.1, **wrong)


def test_what_did_not_converge_says_what_to_do_and_holds_what_there_is():
    with pytest.raises(NotConverged, match="raise max_steps or rtol") as caught:
        sinkhorn(A, B, C, 0.01, max_steps=3)
    assert caught.value.solution.iterations == 3
    assert caught.value.solution.value.matrix.shape == (3, 4)


def test_single_precision_stops_where_it_can():
    given = [x.float() if isinstance(x, torch.Tensor) else x for x in clouds(0, n=50, reg=1 / 300)]
    solution = sinkhorn_newton_sparse(*given)
    assert solution.value.f.dtype == torch.float32
    assert solution.residuals[-1] <= 10 * 1.2e-7 * 300


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
@SOLVERS
def test_on_a_gpu_as_on_the_cpu(solver):
    a, b, C, reg = assignment(0, n=50, reg=0.01)
    here, there = solver(a, b, C, reg), solver(a.cuda(), b.cuda(), C.cuda(), reg)
    torch.testing.assert_close(there.value.matrix.cpu(), here.value.matrix, rtol=0, atol=1e-10)
