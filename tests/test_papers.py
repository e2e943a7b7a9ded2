"""Every paper of the catalogue: its oracles hold and its methods run through the mechanism."""

import pytest

from thalweg.core.catalogue import catalogue
from thalweg.core.errors import RecipeError
from thalweg.problems import diabetes, digits_mlp

PAPERS = catalogue().papers
ORACLES = [
    pytest.param(oracle, id=f"{paper.id}-{oracle.__name__}")
    for paper in PAPERS.values()
    for oracle in paper.oracles
]


@pytest.mark.parametrize("oracle", ORACLES)
def test_oracle(oracle):
    oracle()


@pytest.mark.parametrize("paper", PAPERS.values(), ids=PAPERS)
def test_every_paper_has_an_oracle_and_says_what_it_provides(paper):
    assert paper.oracles
    assert paper.provides
    assert paper.headline.endswith(".")


@pytest.mark.parametrize("name", catalogue().methods)
def test_every_method_for_training_makes_steps_on_classes_or_on_numbers(name):
    recipe = catalogue().recipe(name)
    fitting = [
        problem for problem in (digits_mlp.problem(), diabetes.problem()) if fits(recipe, problem)
    ]
    assert fitting
    for problem in fitting:
        points = list(problem.run(recipe, 0, steps=2, device="cpu", final=True))
        assert points[-1].cost.steps == 2
        assert problem.judged in points[-1].quality


def fits(recipe, problem):
    try:
        problem.check(recipe)
    except RecipeError:
        return False
    return True
