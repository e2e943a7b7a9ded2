"""The transport problem: drawn by seed, measured by itself, raced as any other."""

import math

import pytest
import torch

import thalweg
from tests.problems.running import refusal
from thalweg.core.catalogue import catalogue
from thalweg.core.errors import RecipeError
from thalweg.core.problem import Problem
from thalweg.linalg import Iterate
from thalweg.problems.loading import load_problem
from thalweg.problems.transport import METRIC
from thalweg.solving import solver_method
from thalweg.transport import TransportPlan, sinkhorn

KINDS = ("assignment", "clouds", "digits", "digits-l1")


def points(problem, text, *, seed=0, steps=None):
    recipe = catalogue().recipe(text)
    steps = steps or problem.steps
    return list(problem.run(recipe, seed, steps=steps, device="cpu", final=True))


@pytest.mark.parametrize("data", KINDS)
def test_every_kind_is_solved_and_ends_at_the_target(data):
    problem = load_problem(f"transport(data='{data}', n=30)")
    assert isinstance(problem, Problem)
    run = points(problem, "sinkhorn-newton-sparse")
    assert run[0].cost.steps == 0
    assert run[-1].quality[problem.judged] == problem.target == -9
    assert 20 < run[-1].cost.steps < 300
    assert run[-1].cost.products > run[-1].cost.functions > 0


def test_methods_meet_the_same_problem_and_seeds_meet_others():
    problem = load_problem("transport(n=20)")
    assert problem.fingerprint(0) == problem.fingerprint(0) != problem.fingerprint(1)
    first, second = (points(problem, text, steps=1)[0].quality for text in problem.contenders)
    assert first == second


def test_the_source_changes_with_the_options():
    sources = {load_problem(f"transport(data='{data}')").source for data in KINDS}
    assert len(sources) == len(KINDS)


def test_the_metric_is_the_marginal_error_of_the_plan():
    given = load_problem("transport(n=15, reg=0.1)").given(0)
    solution = sinkhorn(*given, rtol=1e-5)
    value = METRIC.function(solution.value, *given)
    assert math.isclose(10**value, solution.residuals[-1], rel_tol=1e-6)


def test_a_solver_that_praises_itself_is_measured_all_the_same():
    def boast(a, b, C, reg):
        while True:
            yield Iterate(TransportPlan(torch.zeros_like(a), torch.zeros_like(b), C, reg), 0.0)

    recipe = catalogue().recipe("sinkhorn")
    method = solver_method("boaster", boast, kind="transport")
    fake = type(recipe)((type(recipe.ingredients[0])(method),))
    run = list(load_problem("transport(n=9)").run(fake, 0, steps=5, device="cpu", final=True))
    assert run[-1].cost.steps == 5
    assert run[-1].quality["log10 marginal error"] > -2


def test_a_run_is_measured_at_every_step_first_and_ever_more_seldom():
    steps = [point.cost.steps for point in points(load_problem("transport"), "sinkhorn", steps=400)]
    assert steps[:101] == list(range(101))
    assert steps[-1] == 400
    assert len(steps) < 200


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("transport(data='stars')", "assignment, clouds"),
        ("transport(n=1)", "at least 2"),
        ("transport(reg=0)", "from 1e-4 to 1"),
    ],
)
def test_options_out_of_range_are_refused(reference, says):
    assert says in refusal(reference)


def test_recipes_that_do_not_fit_are_refused():
    problem = load_problem("transport(n=9)")
    with pytest.raises(RecipeError, match="warmup is -1"):
        problem.check(catalogue().recipe("sinkhorn-newton-sparse(warmup=-1)"))
    with pytest.raises(RecipeError, match="both set the solver"):
        catalogue().recipe("sinkhorn+sinkhorn-newton-sparse")


@pytest.mark.usefixtures("inline")
def test_a_race_of_solvers_runs_from_end_to_end(tmp_path):
    results = thalweg.compare(
        "transport(n=20)", trials=1, seeds=2, budget="40steps", jobs=1, store=tmp_path / "s.sqlite3"
    )
    assert list(results.table["contender"]) == ["sinkhorn", "sinkhorn-newton-sparse"]
    page = results.report(tmp_path / "report.html").read_text()
    assert "log10 marginal error" in page
