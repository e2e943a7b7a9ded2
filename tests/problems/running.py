"""How the tests of problems run them."""

import pytest
import torch

from thalweg.core.catalogue import catalogue
from thalweg.core.errors import ProblemError
from thalweg.problems.loading import load_problem


def qualities(problem, text="adamw(lr=3e-3)", *, steps=None, seed=0):
    """Watched values along a run, the judged one last."""
    torch.set_num_threads(1)
    recipe = catalogue().recipe(text)
    points = list(problem.run(recipe, seed, steps=steps or problem.steps, device="cpu", final=True))
    watched = [point.quality[problem.progress] for point in points]
    return [*watched, points[-1].quality[problem.judged]]


def refusal(reference, **options):
    """The message with which a reference is refused."""
    with pytest.raises(ProblemError) as caught:
        load_problem(reference, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message
