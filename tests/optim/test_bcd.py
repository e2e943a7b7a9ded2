import math
from itertools import islice

import pytest
import torch

from thalweg.core.catalogue import catalogue
from thalweg.optim import (
    LogisticObjective,
    QuadraticObjective,
    SoftmaxObjective,
    bcd,
    iterate_bcd,
)
from thalweg.optim._blocks import _promises, inverse
from thalweg.optim._forest import Elimination
from thalweg.problems.coordinates import lattice, problem, regression

PROBLEM, X0 = regression(0, m=30, n=12)
COUPLED = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
EVEN = LogisticObjective(torch.ones(2, 1).double(), torch.tensor([1.0, -1.0]).double())


def numbers(*given):
    return torch.tensor(given, dtype=torch.float64)


def first_step(problem, x0, **rules):
    return list(islice(iterate_bcd(problem, x0, block_size=len(x0), **rules), 2))[1]


def test_forests_take_fewer_steps_than_fields_without_edges():
    spread, x0 = lattice(1, n=100)
    select = {"variable": "gs", "forest": "cyclic", "colours": "cyclic"}
    steps = {
        partition: bcd(spread, x0, partition=partition, select=rule, update="tree").iterations
        for partition, rule in select.items()
    }
    assert steps["variable"] < steps["colours"]
    assert steps["forest"] < steps["colours"]


@pytest.mark.parametrize("data", ["lasso", "logistic", "classes", "moons"])
def test_the_embedded_problems_are_solved(data):
    embedded = problem(data=data, n=10)
    recipe = catalogue().recipe("greedy-bcd(update='newton')")
    points = list(embedded.run(recipe, 0, steps=3000, device="cpu", final=True))
    assert points[-1].quality[embedded.metric.name] == embedded.target


def test_evaluations_are_counted():
    x0 = X0.clone().requires_grad_() + 1
    first, second, third = islice(iterate_bcd(PROBLEM, x0), 3)
    assert torch.equal(first.value, x0)
    assert not first.value.requires_grad
    assert [item.gradients for item in (first, second, third)] == [1, 2, 3]
    assert third.functions == 0


def test_what_is_kept_is_computed_afresh_at_times_alone(monkeypatch):
    calls = []
    memory = QuadraticObjective.memory

    def counted(self, x):
        calls.append(x)
        return memory(self, x)

    monkeypatch.setattr(QuadraticObjective, "memory", counted)
    monkeypatch.setitem(iterate_bcd.__globals__, "AFRESH", 3)
    problem = QuadraticObjective(COUPLED, numbers(1, 0))
    calls.clear()
    list(islice(iterate_bcd(problem, numbers(0, 0), block_size=1), 11))
    assert len(calls) == 1 + 3


@pytest.mark.parametrize("start", [5.0, 2.177279, 2.1769])
def test_newton_steps_are_halved_until_they_descend_enough(start):
    def value(x):
        return math.log1p(math.exp(-x)) + math.log1p(math.exp(x))

    newton, trials = -math.sinh(start), 1
    while value(start + newton) > value(start) + 1e-4 * math.tanh(start / 2) * newton:
        newton, trials = newton / 2, trials + 1
    after = first_step(EVEN, numbers(start), update="newton")
    assert after.functions == trials == {5.0: 4, 2.177279: 2, 2.1769: 1}[start]
    torch.testing.assert_close(after.value, numbers(start + newton))


def test_a_coordinate_at_zero_without_a_gradient_takes_part_in_a_newton_step():
    problem = QuadraticObjective(COUPLED, numbers(0, 1))
    after = first_step(problem, numbers(0, 0), update="newton")
    torch.testing.assert_close(after.value, numbers(-1 / 3, 2 / 3))


@pytest.mark.parametrize("update", ["bound", "newton"])
def test_with_magnitudes_a_step_is_of_what_is_not_zero_or_leaves_it(update):
    problem = QuadraticObjective(COUPLED, numbers(4, 2), l1=1.0)
    after = first_step(problem, numbers(1, 1), update=update)
    torch.testing.assert_close(after.value, numbers(5 / 3, 0))
    problem = QuadraticObjective(COUPLED, numbers(0.75, 3), l1=0.5)
    after = first_step(problem, numbers(0, 1), update=update)
    torch.testing.assert_close(after.value, numbers(0, 1.25))


def test_with_magnitudes_the_bound_is_that_of_all_points():
    problem = LogisticObjective(EVEN.A, EVEN.y, l1=0.01)
    after = first_step(problem, numbers(3), update="bound")
    torch.testing.assert_close(after.value, numbers(3 - 2 * (math.tanh(1.5) + 0.01)))


def test_numbers_whose_squares_vanish_keep_their_sign():
    problem = QuadraticObjective(torch.ones(1, 1).double(), numbers(3e-170), l1=1e-170)
    after = first_step(problem, numbers(1e-170), update="bound")
    torch.testing.assert_close(after.value / 1e-170, numbers(2))


def test_with_magnitudes_a_coordinate_promises_what_its_own_step_brings():
    L, b, x = numbers(2, 3, 4, 5, 2), numbers(3, 0.5, -9, 8, 0.5), numbers(0, 2, 1, 1, 0)
    problem = QuadraticObjective(L.diag(), b, l1=1.0)
    lowest = -((b.abs() - 1).clamp(min=0) ** 2) / L  # twice the least value along each
    promised = _promises(problem, "gsd", x, L * x - b)
    torch.testing.assert_close(promised, L * x**2 - 2 * b * x + 2 * x.abs() - lowest)


def test_eigenvalues_that_are_rounding_have_no_inverse():
    eps = torch.finfo(torch.float64).eps
    values = 1024 * numbers(-5 * eps, 0, 5 * eps, 20 * eps, 0.5, 1)
    expected = numbers(0, 0, 0, 1 / (20 * eps), 2, 1) / 1024
    assert torch.equal(inverse(values), expected)
    assert torch.equal(
        inverse(torch.stack([values, values / 4096])), expected * numbers(1, 4096)[:, None]
    )


def test_values_that_differ_by_rounding_are_one():
    class Rounded(QuadraticObjective):
        def value(self, memory, x):
            return numbers(-1e8)[0] * (1 - 5 * torch.finfo(x.dtype).eps * bool(x == 0))

    after = first_step(Rounded(numbers(1)[:, None], numbers(0)), numbers(1e-6), update="newton")
    assert (after.value.item(), after.functions) == (0, 1)


def test_a_step_of_no_length_takes_one_trial():
    problem = QuadraticObjective(COUPLED, numbers(0, 0))
    assert first_step(problem, numbers(0, 0), update="newton").functions == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"partition": "halves"}, "partition"),
        ({"select": "best"}, "select"),
        ({"update": "hope"}, "update"),
        ({"block_size": 0}, "block_size"),
        ({"block_size": 13}, "block_size"),
        ({"update": "tree"}, "sparse"),
        ({"partition": "forest"}, "update='tree'"),
    ],
)
def test_rules_that_do_not_fit_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        bcd(PROBLEM, X0, **wrong)


def test_rules_for_trees_and_magnitudes_are_refused_where_there_are_none():
    spread, x0 = lattice(1, n=16)
    with pytest.raises(ValueError, match="scores no such forests"):
        bcd(spread, x0, partition="forest", select="gsl", update="tree")
    with pytest.raises(ValueError, match="scores no such forests"):
        bcd(spread, x0, select="cyclic", update="tree")
    lasso, x0 = regression(0, m=30, n=12, l1=0.1)
    with pytest.raises(ValueError, match="knows no l1"):
        bcd(lasso, x0, select="gs")


def test_a_path_of_uneven_weights_is_solved_in_one_step():
    Q = 4 * torch.eye(3).double() + numbers(1, 2).diag(1) + numbers(1, 2).diag(-1)
    problem = QuadraticObjective(Q.to_sparse(), numbers(5, 7, 6))
    after = first_step(problem, numbers(0, 0, 0), select="gs", update="tree")
    torch.testing.assert_close(after.value, numbers(1, 1, 1))


def test_trees_nodes_alone_and_pairs_are_solved_in_one_step():
    Q = numbers(3, 4, 2, 5, 6, 3, 7).diag()
    for i, j, entry in ((0, 1, 1.5), (2, 3, -0.5), (3, 4, 2.0), (3, 5, 0.25)):
        Q[i, j] = Q[j, i] = entry
    problem = QuadraticObjective(Q.to_sparse(), numbers(1, 2, -3, 4, 5, -6, 7))
    after = first_step(problem, torch.zeros_like(problem.b), select="gs", update="tree")
    torch.testing.assert_close(after.value, torch.linalg.solve(Q, problem.b))


def test_a_cycle_is_no_forest():
    ring = torch.eye(4).roll(1, 0) + torch.eye(4).roll(-1, 0) + 3 * torch.eye(4)
    problem = QuadraticObjective(ring.to_sparse(), torch.ones(4))
    with pytest.raises(ValueError, match="cycle"):
        Elimination.of(torch.arange(4), problem.near, problem.weights)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: QuadraticObjective(torch.eye(3), torch.ones(2)), "shapes"),
        (lambda: QuadraticObjective(torch.zeros(2, 2), torch.ones(2)), "diagonal"),
        (lambda: QuadraticObjective(torch.eye(2), torch.ones(2), l1=-1.0), "l1"),
        (lambda: LogisticObjective(torch.eye(2), torch.ones(3)), "shapes"),
        (lambda: LogisticObjective(torch.eye(2), torch.zeros(2)), "-1 and 1"),
        (lambda: LogisticObjective(torch.eye(2), torch.ones(2), l2=-1.0), "l2"),
        (lambda: SoftmaxObjective(torch.eye(2), torch.tensor([0, 3]), n_classes=3), "n_classes"),
    ],
)
def test_what_is_no_problem_is_refused(build, says):
    with pytest.raises(ValueError, match=says):
        build()
