import math
from dataclasses import replace

import cloudpickle
import pytest
import torch
from torch import nn

from thalweg.core.catalogue import catalogue
from thalweg.core.errors import ProblemError, RecipeError
from thalweg.core.method import Method
from thalweg.core.problem import Metric, Problem
from thalweg.core.recipe import Ingredient, Recipe
from thalweg.core.trace import Cost, Diverged, Point
from thalweg.training import METRICS, TrainingProblem, plain_step

GENERATOR = torch.Generator().manual_seed(0)
INPUT = torch.randn(120, 3, generator=GENERATOR)
TARGET = (INPUT[:, 0] + INPUT[:, 1] > 0).long()


def tiny(**changes):
    settings = {
        "model": lambda: nn.Sequential(
            nn.Linear(3, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2)
        ),
        "train": (INPUT, TARGET),
        "loss": nn.CrossEntropyLoss(),
        "metric": METRICS["accuracy"],
        "batch_size": 16,
        "steps": 40,
        "evaluations": 4,
    }
    return TrainingProblem("tiny", **{**settings, **changes})


def recipe(text="adamw(lr=1e-2)"):
    return catalogue().recipe(text)


def recipe_of(transform, **facts):
    return Recipe((Ingredient(Method("own", "Own.", lambda: transform, **facts)),))


def points(problem, text="adamw(lr=1e-2)", *, seed=0, steps=40, final=True):
    made = text if isinstance(text, Recipe) else recipe(text)
    return list(problem.run(made, seed, steps=steps, device="cpu", final=final))


def qualities(found):
    return [dict(point.quality) for point in found]


def test_it_is_a_problem():
    assert isinstance(tiny(), Problem)


def test_points_lie_at_even_distances_and_only_the_last_is_judged():
    found = points(tiny())
    assert [point.cost.steps for point in found] == [0, 10, 20, 30, 40]
    assert [point.cost.gradients for point in found] == [0, 10, 20, 30, 40]
    seconds = [point.cost.seconds for point in found]
    assert seconds == sorted(seconds)
    assert 0 < found[-1].cost.startup <= seconds[-1]
    assert ["test/accuracy" in quality for quality in qualities(found)] == [False] * 4 + [True]
    assert "test/accuracy" not in qualities(points(tiny(), final=False))[-1]


def test_a_run_is_its_seed_whatever_was_drawn_before():
    problem = tiny()
    first = points(problem)
    torch.rand(7)
    assert qualities(points(problem)) == qualities(first)
    assert qualities(points(cloudpickle.loads(cloudpickle.dumps(problem)))) == qualities(first)
    assert qualities(points(problem, seed=1)) != qualities(first)
    assert problem.fingerprint(0) == tiny().fingerprint(0) != problem.fingerprint(1)


def test_evaluation_changes_nothing():
    often, seldom = points(tiny(evaluations=40)), points(tiny(evaluations=1))
    assert often[-1].quality["validation/accuracy"] == seldom[-1].quality["validation/accuracy"]
    problem = tiny()
    model = problem.setup(0).model.train()
    model[1].eval()
    before = torch.get_rng_state()
    problem.evaluate(model, "test")
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    assert not model[1].training


def test_the_split_is_disjoint_and_whole():
    splits = tiny().splits
    rows = [tuple(row) for part in splits.values() for row in part.data.input.tolist()]
    assert len(rows) == len(set(rows)) == 120
    assert {name: len(part.data) for name, part in splits.items()} == {
        "train": 77,
        "test": 24,
        "validation": 19,
    }


def test_every_part_of_the_problem_is_in_its_source():
    same = tiny()
    assert tiny().source == same.source
    for change in (
        {"steps": 41},
        {"batch_size": 17},
        {"train": (INPUT + 1, TARGET)},
        {"source_text": "other"},
        {"metric": METRICS["cross-entropy"]},
    ):
        assert tiny(**change).source != same.source, change


def test_methods_are_applied_from_left_to_right_and_the_optimizer_is_built_last():
    seen = []

    def widen(setup):
        return replace(setup, model=nn.Sequential(setup.model, nn.Linear(2, 2)))

    def look(setup):
        def step(training, batch):
            seen.append(len(training.optimizer.param_groups[0]["params"]))
            return setup.step(training, batch)

        return replace(setup, step=step)

    made = Recipe(
        (
            *recipe("adamw").ingredients,
            Ingredient(Method("widen", "Widen.", lambda: widen)),
            Ingredient(Method("look", "Look.", lambda: look)),
        )
    )
    points(tiny(), made, steps=2)
    assert seen == [6, 6]  # two layers of the model and one that a method put on top


def test_a_method_may_replace_the_loop_and_is_judged_by_the_model_it_puts_up():
    best = nn.Linear(3, 2)
    with torch.no_grad():
        best.weight.copy_(torch.tensor([[-1.0, -1, 0], [1, 1, 0]]))
        best.bias.zero_()

    def transform(setup):
        def loop(setup):
            yield Point(Cost(steps=setup.steps), setup.evaluate(best))

        return replace(setup, loop=loop)

    (only,) = points(tiny(), recipe_of(transform))
    assert only.quality == {"validation/accuracy": 1.0, "test/accuracy": 1.0}


def test_a_loss_that_needs_the_samples_index_gets_it():
    seen = []

    def transform(setup):
        def loss(output, target, *, index):
            seen.append(index)
            assert torch.equal(tiny().splits["train"].data.target[index], target)
            return nn.functional.cross_entropy(output, target)

        return replace(setup, loss=loss)

    points(tiny(), recipe_of(transform, needs=frozenset({"index"})), steps=3)
    assert len(seen) == 3


def test_gradients_are_counted_however_many_a_step_takes():
    def transform(setup):
        def step(training, batch):
            training.backward(batch)
            return plain_step(training, batch)

        return replace(setup, step=step)

    assert points(tiny(), recipe_of(transform), steps=10)[-1].cost.gradients == 20
    assert points(tiny(), "lbfgs(max_iter=4)", steps=2)[-1].cost.gradients > 4


def test_a_loss_that_is_not_finite_ends_the_run():
    with pytest.raises(Diverged):
        points(tiny(loss=lambda output, target: output.sum() * math.inf))


def test_a_schedule_spans_the_run():
    rates = []

    def look(setup):
        def step(training, batch):
            rates.append(training.optimizer.param_groups[0]["lr"])
            return setup.step(training, batch)

        return replace(setup, step=step)

    made = Recipe(
        (*recipe("sgd(lr=1.0)+linear").ingredients, Ingredient(Method("look", "", lambda: look)))
    )
    points(tiny(), made, steps=5)
    assert rates == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": lambda: nn.Linear(4, 2)}, "do not fit together: RuntimeError: mat1 and mat2"),
        ({"model": lambda: 3}, "returned a int; return an nn.Module"),
        ({"loss": lambda output, target: output}, "do not fit together"),
        ({"train": (INPUT, TARGET.float())}, "do not fit together"),
    ],
)
def test_parts_that_do_not_fit_are_found_before_the_race(changes, sentence):
    with pytest.raises(ProblemError, match=sentence):
        tiny(**changes).check(recipe())


def test_wrong_numbers_and_names_are_refused_at_once():
    with pytest.raises(ProblemError, match="steps is 0, give at least 1"):
        tiny(steps=0)
    with pytest.raises(ProblemError, match="no metric 'acuracy'; did you mean 'accuracy'"):
        tiny(metric="acuracy")
    with pytest.raises(ProblemError, match="write 'higher' or 'lower'"):
        Metric("f1", "up", 0.01)
    with pytest.raises(ProblemError, match="margin is 0, give the smallest difference"):
        Metric("f1", "higher", 0)
    assert tiny(metric="accuracy").metric is METRICS["accuracy"]


def test_a_recipe_that_does_not_fit_is_found_before_the_race():
    with pytest.raises(RecipeError, match=r"adamw\(lr=-1\) fails on tiny: ValueError: Invalid"):
        tiny().check(recipe("adamw(lr=-1)"))
    with pytest.raises(RecipeError, match="needs teacher, which tiny does not offer"):
        tiny().check(recipe_of(lambda setup: setup, needs=frozenset({"teacher"})))
