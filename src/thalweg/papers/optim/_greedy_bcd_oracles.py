"""Exact checks of block coordinate descent."""

from collections import Counter
from itertools import islice, pairwise
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import Lasso
from torch import Tensor

from thalweg.optim import (
    BlockObjective,
    LogisticObjective,
    QuadraticObjective,
    SoftmaxObjective,
    bcd,
    iterate_bcd,
    least_squares,
)
from thalweg.optim._forest import colouring, forest_partition
from thalweg.papers.optim import _greedy_bcd_retyped as retyped
from thalweg.problems.coordinates import classes, lattice, logistic, regression, residual

DERIVATIVES: Any = torch.autograd.functional  # without types


def quadratic(seed: int, n: int = 11) -> tuple[Tensor, Tensor]:
    """Draw a positive definite matrix whose diagonal is uneven, and a right-hand side."""
    generator = torch.Generator().manual_seed(seed)
    root, b = (torch.randn(k, generator=generator, dtype=torch.float64) for k in ((n, n), (n,)))
    scale = torch.logspace(-1, 1, n, dtype=torch.float64).flip(0)
    return scale[:, None] * (root @ root.T + torch.eye(n, dtype=b.dtype)) * scale, b


def steps_retyped() -> None:
    """Follow every greedy rule with every partition and both updates."""
    Q, b = quadratic(0)
    for partition in ("variable", "order", "sort", "average"):
        for select in ("gs", "gsl", "gsd", "gsq", *("cyclic",) * (partition != "variable")):
            for update in ("lipschitz", "bound"):
                expected = retyped.steps(Q.numpy(), b.numpy(), 3, partition, select, update, 5)
                rules: Any = {"partition": partition, "select": select, "update": update}
                iterates = iterate_bcd(QuadraticObjective(Q, b), 0 * b, block_size=3, **rules)
                for point, item in zip(expected, iterates, strict=False):
                    np.testing.assert_allclose(item.value.numpy(), point, rtol=1e-8, atol=1e-12)


def passes_are_shuffled() -> None:
    """Cyclic variable blocks hold no coordinate twice a pass, and are others in the next."""
    Q, b = quadratic(6)
    iterates = iterate_bcd(QuadraticObjective(Q, b), 0 * b, block_size=3, select="cyclic")
    points = [item.value for item in islice(iterates, 7)]
    blocks = [(new != old).nonzero().flatten().tolist() for old, new in pairwise(points)]
    for some in (blocks[:3], blocks[3:]):
        assert sorted(map(len, some)) == [3, 3, 3]
        assert len({i for block in some for i in block}) == 9
    assert sorted(blocks[:3]) != sorted(blocks[3:])


def random_blocks_are_drawn() -> None:
    """Fixed ones about equally often; forests by the seed."""
    Q, b = quadratic(8)
    rules: Any = {"block_size": 3, "partition": "order", "update": "lipschitz"}
    iterates = iterate_bcd(QuadraticObjective(Q, b), 0 * b, select="random", **rules)
    points = [item.value for item in islice(iterates, 201)]
    drawn = Counter(tuple((new != old).tolist()) for old, new in pairwise(points))
    assert len(drawn) == 4
    assert 25 < min(drawn.values()) <= max(drawn.values()) < 75  # four standard deviations
    problem, x0 = lattice(3, n=49)
    forests = [
        (item.value == x0).tolist()
        for seed in (0, 1)
        for item in islice(
            iterate_bcd(problem, x0, select="random", update="tree", seed=seed), 1, 2
        )
    ]
    assert forests[0] != forests[1]


def objectives_are_what_they_say() -> None:
    """Value, gradient, Hessian and steps agree with automatic derivatives; the bounds bound."""
    generator = torch.Generator().manual_seed(1)
    A = torch.randn(20, 9, generator=generator, dtype=torch.float64)
    for objective in (
        QuadraticObjective(*quadratic(1), l1=0.3),
        QuadraticObjective(quadratic(1)[0].to_sparse(), quadratic(1)[1]),
        lattice(0, n=25)[0],
        LogisticObjective(A, A[:, 0].sign(), l2=0.2),
        SoftmaxObjective(A, (A[:, 0] > 0).long(), n_classes=2),
        classes(0, m=20, n=5)[0],
    ):
        n, every = objective.size, torch.arange(objective.size)
        x, d = torch.randn(2, n, generator=generator, dtype=torch.float64)
        block = torch.randperm(n, generator=generator)[:4]

        def smooth(y: Tensor, objective: BlockObjective = objective) -> Tensor:
            return objective.smooth(objective.memory(y), y)

        memory = objective.memory(x)
        hessian = DERIVATIVES.hessian(smooth, x)
        gradient = DERIVATIVES.jacobian(smooth, x)
        torch.testing.assert_close(objective.gradient(memory, x), gradient)
        torch.testing.assert_close(objective.hessian(memory, every), hessian)
        torch.testing.assert_close(objective.hessian(memory, block), hessian[block][:, block])
        moved = objective.moved(memory, block, d[block])
        afresh = objective.memory(x.index_add(0, block, d[block]))
        torch.testing.assert_close(moved, afresh)
        bound = objective.bound(every)
        torch.testing.assert_close(objective.bound(block), bound[block][:, block])
        torch.testing.assert_close(objective.row_sums, bound.abs().sum(1))
        for point in (x, x / 100, torch.zeros_like(x)):
            now = objective.hessian(objective.memory(point), every)
            assert torch.linalg.eigvalsh(bound - now)[0] > -1e-9, "the bound is below the Hessian"
            assert (objective.diagonal - now.diagonal() > -1e-9).all(), "so is its diagonal"
            assert (objective.diagonal <= bound.diagonal() + 1e-9).all(), "the diagonal is loose"


def values_are_those_of_the_paper() -> None:
    """Each function, sample by sample."""
    A = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)
    x = torch.tensor([0.7, -0.4], dtype=torch.float64)
    y = torch.tensor([1.0, -1.0], dtype=torch.float64)
    l1, l2 = 0.3, 0.2
    more = l2 / 2 * (0.49 + 0.16) + l1 * 1.1
    outputs = [0.7 + 0.8, 0.35 - 1.2]
    squares = sum((o - t) ** 2 for o, t in zip(outputs, (1, -1), strict=True)) / 2 - 1
    logs = np.log1p(np.exp(-outputs[0])) + np.log1p(np.exp(outputs[1]))
    X = torch.tensor([0.7, -0.4, 0.1, 0.2], dtype=torch.float64)  # two features by two classes
    rows = [[0.7 - 0.2, -0.4 - 0.4], [0.35 + 0.3, -0.2 + 0.6]]
    soft = sum(
        np.log(sum(np.exp(o) for o in row)) - row[c] for row, c in zip(rows, (1, 0), strict=True)
    )
    labels = torch.tensor([1, 0])
    for objective, point, expected in (
        (least_squares(A, y, l2=l2, l1=l1), x, squares + more),
        (LogisticObjective(A, y, l2=l2, l1=l1), x, logs + more),
        (SoftmaxObjective(A, labels, n_classes=2, l2=l2, l1=l1), X, soft + 0.1 * 0.7 + 0.3 * 1.4),
    ):
        np.testing.assert_allclose(float(objective(point)), float(expected), rtol=1e-12)


def forests_are_solved_exactly() -> None:
    """A step along a forest leaves no gradient there; greedy ones are those of a plain scan."""
    problem, x0 = lattice(3, n=49)
    x0 = torch.randn(problem.size, generator=torch.Generator().manual_seed(4)).double()
    Q = problem.bound(torch.arange(problem.size)).numpy()
    for partition, select, best in (
        ("variable", "gs", np.ones(len(Q))),
        ("variable", "gsd", np.diag(Q)),
        ("variable", "gsl", abs(Q).sum(1)),
        ("variable", "random", None),
        ("forest", "cyclic", None),
        ("forest", "gsd", None),
        ("colours", "gs", None),
    ):
        rules: Any = {"partition": partition, "select": select, "update": "tree", "seed": 1}
        points = [item.value for item in islice(iterate_bcd(problem, x0, **rules), 5)]
        for step, (before, after) in enumerate(pairwise(points)):
            block = (after != before).nonzero().flatten().tolist()
            np.testing.assert_allclose(problem.memory(after).numpy()[block], 0, atol=1e-12)
            assert not retyped.holds_a_cycle(Q, block)
            if step == 0:  # later on some steps are below rounding
                assert len(block) > len(Q) / 3
            if best is not None and step == 0:
                g = problem.memory(before).numpy()
                assert set(block) == set(
                    retyped.greedy_forest(Q, np.argsort(-(g**2) / best).tolist())
                )
            if partition == "colours":
                assert not np.triu(Q[np.ix_(block, block)], 1).any(), "the block holds an edge"
            elif partition == "forest" and step == 0 and select == "cyclic":
                order = np.argsort(-np.diag(Q), kind="stable").tolist()
                assert set(block) == set(retyped.greedy_forest(Q, order))


def partitions_hold_each_node_once() -> None:
    """Of four nodes that are all linked, two make a forest and one a colour; a path is one tree."""
    linked = [[j for j in range(4) if j != i] for i in range(4)]
    assert forest_partition(range(4), linked) == [[0, 1], [2, 3]]
    assert colouring(range(4), linked) == [[0], [1], [2], [3]]
    Q = torch.ones(4, 4).triu(-1).tril(1).double() + 2 * torch.eye(4)
    problem, b = QuadraticObjective(Q.to_sparse(), Q[0]), Q[0]
    rules: Any = {"block_size": 1, "select": "gs", "update": "tree"}
    (after,) = islice(iterate_bcd(problem, 0 * b, **rules), 1, 2)
    torch.testing.assert_close(after.value, torch.linalg.solve(Q, b))


def magnitudes_are_handled() -> None:
    """All coordinates at once are proximal gradient; both metrics end where scikit-learn does."""
    generator = torch.Generator().manual_seed(2)
    A, y = (torch.randn(k, generator=generator, dtype=torch.float64) for k in ((30, 9), (30,)))
    problem, x = least_squares(A, y, l1=6.0), torch.zeros(9, dtype=torch.float64)
    L = float(torch.linalg.eigvalsh(A.T @ A)[-1])
    for item in islice(iterate_bcd(problem, x, block_size=9, update="lipschitz"), 6):
        torch.testing.assert_close(item.value, x, rtol=1e-10, atol=1e-12)
        z = x - A.T @ (A @ x - y) / L
        x = torch.tensor([np.sign(v) * max(abs(v) - 6 / L, 0) for v in z.tolist()]).to(x)
    theirs = Lasso(6 / 30, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(A, y).coef_
    assert 0 < np.count_nonzero(theirs) < 9
    updates: tuple[Any, ...] = ("lipschitz", "bound", "newton")
    for update in updates:
        ours = bcd(problem, 0 * x, block_size=4, update=update, rtol=1e-10).value.numpy()
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)
        np.testing.assert_array_equal(ours == 0, theirs == 0)


def the_best_coordinate_is_chosen() -> None:
    """With magnitudes, single steps of "gsd" lower a quadratic as far as any coordinate can."""
    Q, b = quadratic(9)
    problem, x = QuadraticObjective(Q, b, l1=2.0), torch.linspace(-1, 1, len(b)).to(b)
    x[::3] = 0
    iterates = iterate_bcd(problem, x, block_size=1, update="lipschitz")
    points = [item.value for item in islice(iterates, 6)]
    for x, new in pairwise(points):
        lowest = []
        for i in range(len(b)):
            g, L, candidates = Q[i] @ x - b[i], Q[i, i], []
            for d in (-(g + 2.0) / L, -(g - 2.0) / L, -x[i]):
                candidates.append(float(problem(x.index_add(0, torch.tensor([i]), d[None]))))
            lowest.append(min(candidates))
        assert float(problem(new)) <= min(lowest) + 1e-9


def newton_steps_are_exact() -> None:
    """A block of all coordinates is Newton's method; half the score of "gsq" is the descent."""
    problem, x = logistic(1, m=40, n=6)
    iterates = iterate_bcd(problem, x, block_size=6, update="newton")
    for item in islice(iterates, 5):
        torch.testing.assert_close(item.value, x, rtol=1e-9, atol=1e-11)
        leaf = x.requires_grad_()
        (g,) = torch.autograd.grad(problem(leaf), leaf)
        x = x.detach() - torch.linalg.solve(DERIVATIVES.hessian(problem, x), g)
    Q, b = quadratic(5)
    first, second = islice(
        iterate_bcd(QuadraticObjective(Q, b), 0 * b, block_size=4, partition="order", select="gsq"),
        2,
    )
    scores = [
        b[k] @ torch.linalg.solve(Q[k][:, k], b[k])
        for k in Q.new_tensor([[0, 1, 2, 3], [4, 5, 6, 7], [7, 8, 9, 10]]).long()
    ]
    objective = QuadraticObjective(Q, b)
    fall = objective(first.value) - objective(second.value)
    torch.testing.assert_close(fall, torch.stack(scores).max() / 2)
    (last,) = islice(iterate_bcd(objective, 0 * b, block_size=11), 1, 2)
    torch.testing.assert_close(last.value, torch.linalg.solve(Q, b))


def drift_is_stopped() -> None:
    """After hundreds of steps the residual is still that of the point."""
    problem, x0 = regression(7, m=60, n=40)
    solution = bcd(problem, x0, select="random", update="lipschitz", max_steps=1100, throw=False)
    np.testing.assert_allclose(
        solution.residuals[-1], residual(solution.value, problem, x0), rtol=1e-9
    )
