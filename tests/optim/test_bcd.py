import pytest
import torch

from thalweg.core.catalogue import catalogue
from thalweg.optim import LogisticObjective, QuadraticObjective, SoftmaxObjective, bcd
from thalweg.optim._forest import Elimination
from thalweg.problems.coordinates import lattice, problem, regression

PROBLEM, X0 = regression(0, m=30, n=12)


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
