import pytest
import torch

from thalweg.core.catalogue import catalogue
from thalweg.core.errors import RecipeError
from thalweg.papers.schedules._refined_twice import refined_twice
from thalweg.problems import digits_mlp
from thalweg.schedules import RefinedSchedule


def optimizer(lr=1.0):
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)


def test_falling_norms_warm_up_and_rising_norms_anneal_faster():
    falling = RefinedSchedule(optimizer(), [10 * 0.99**t + 1 for t in range(300)])
    rising = RefinedSchedule(optimizer(), [1 + 0.01 * t for t in range(300)])
    assert falling.factor(0) < 0.2
    assert falling.factor(0.4) < falling.factor(0.6)
    assert rising.factor(0.5) < 0.5


def test_a_lone_gradient_that_is_zero_or_infinite_is_smoothed_away():
    norms = [1.0] * 60
    norms[20], norms[40] = 0.0, float("inf")
    assert RefinedSchedule(optimizer(), norms).factor(0.5) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("norms", "given", "sentence"),
    [
        ([1.0], {}, "at least 2 steps"),
        ([[1.0, 2.0]], {}, r"shape \(1, 2\)"),
        ([1.0, float("nan")], {}, "finite and positive"),
        ([1.0, -1.0], {}, "finite and positive"),
        ([0.0] * 9, {}, "had no gradient"),
        ([1.0, 2.0], {"kind": "lion"}, "kind must be 'sgd' or 'adam', not 'lion'"),
        ([1.0, 2.0], {"tau": 1.5}, "tau must be a share of the run between 0 and 1, not 1.5"),
    ],
)
def test_arguments_out_of_range_are_refused_with_a_sentence(norms, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        RefinedSchedule(optimizer(), norms, **given)


def test_the_recipe_records_before_clipping_and_refuses_another_schedule():
    problem = digits_mlp.problem()
    ends = []
    for norm in (1e-3, 1e-4):  # both clip every gradient to a length of their own
        recipe = catalogue().recipe(f"sgd(lr={1e-4 / norm})+clip(max_norm={norm})+refined-schedule")
        *_, last = problem.run(recipe, 0, steps=12, device="cpu", final=False)
        ends.append(last.quality["train/loss"])
    assert ends[0] == pytest.approx(ends[1], rel=1e-4)
    with pytest.raises(RecipeError, match="both set the schedule"):
        catalogue().recipe("sgd+cosine+refined-schedule")
    with pytest.raises(RecipeError, match="write 'sgd' or 'adam'"):
        refined_twice(kind="lion")
