"""Mixing of batches, and the recipes that do it."""

import copy
import pickle

import pytest
import torch

from thalweg.core.catalogue import catalogue
from thalweg.core.errors import RecipeError
from thalweg.data import Mixup
from thalweg.losses import DecoupledMixup
from thalweg.problems import diabetes, digits, digits_mlp

IMAGES, LABELS = torch.randn(9, 2, 8, 6), torch.arange(9) % 4


def run(recipe, seed=0, steps=4):
    points = digits_mlp.problem().run(
        catalogue().recipe(recipe), seed, steps=steps, device="cpu", final=True
    )
    return list(points)[-1].quality


def test_a_mixture_holds_of_each_sample_what_its_labels_say():
    mixed, labels = Mixup(seed=3)(torch.nn.functional.one_hot(LABELS, 4).double(), LABELS)
    torch.testing.assert_close(mixed, labels.probabilities(4, torch.float64))
    assert 0 < labels.share < 1


def test_a_box_is_as_large_as_the_labels_say():
    for seed in range(20):
        plain = torch.arange(9.0)[:, None, None, None].expand(9, 2, 8, 6)
        mixed, labels = Mixup(policy="cutmix", seed=seed)(plain, torch.arange(9))
        own = (mixed == plain).double().mean((1, 2, 3))
        moved = labels.first != labels.second
        torch.testing.assert_close(own[moved], torch.full_like(own[moved], labels.share))
        torch.testing.assert_close(labels.probabilities(9).sum(1), torch.ones(9))


@pytest.mark.parametrize("policy", ["mixup", "cutmix"])
def test_its_random_numbers_are_its_own_and_resume(policy):
    before, images = torch.get_rng_state(), IMAGES.clone()
    mix = Mixup(policy=policy, seed=5)
    whole = [mix(IMAGES, LABELS)[0] for _ in range(4)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(IMAGES, images)
    assert not torch.equal(whole[0], whole[1])
    first = Mixup(policy=policy, seed=5)
    first(IMAGES, LABELS)
    second = Mixup(policy=policy, seed=5)
    second.load_state_dict(first.state_dict())
    for again in (second, copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        for expected in whole[1:]:
            assert torch.equal(again(IMAGES, LABELS)[0], expected)


@pytest.mark.parametrize(
    ("settings", "input", "target", "says"),
    [
        ({"alpha": 0.0}, IMAGES, LABELS, "alpha is 0.0"),
        ({"policy": "mix"}, IMAGES, LABELS, "policy is 'mix'"),
        ({}, LABELS, LABELS, "inputs are torch.int64"),
        ({}, (IMAGES, IMAGES), LABELS, "inputs are tuple"),
        ({}, IMAGES, LABELS.double(), "no class indices"),
        ({"policy": "cutmix"}, torch.randn(9, 3), LABELS, "cutmix needs images"),
    ],
)
def test_what_cannot_be_mixed_is_refused(settings, input, target, says):
    with pytest.raises(ValueError, match=says):
        Mixup(**settings)(input, target)


def test_the_recipe_is_its_parts():
    assert run("adamw+decoupled-mixup(eta=0.0)") == run("adamw+mixup")
    assert run("adamw+decoupled-mixup(eta=3.0)") != run("adamw+mixup")
    assert run("adamw+mixup") == run("adamw+mixup")
    assert run("adamw+mixup") != run("adamw+mixup(alpha=0.01)") != run("adamw")


def test_mixing_commutes_with_other_losses_and_excludes_itself():
    assert run("adamw+mixup+label-smoothing") == run("adamw+label-smoothing+mixup")
    with pytest.raises(RecipeError, match="both set the mixing"):
        catalogue().recipe("mixup+decoupled-mixup")
    with pytest.raises(RecipeError, match="both set the loss"):
        catalogue().recipe("label-smoothing+decoupled-mixup")


def test_the_recipe_sets_batches_and_loss_and_no_more():
    problem = digits.problem()
    plain = problem.setup(0)
    setup = problem.apply(catalogue().recipe("decoupled-mixup(policy='cutmix', eta=0.2)"), plain)
    assert isinstance(setup.loss, DecoupledMixup)
    assert setup.loss.eta == 0.2
    assert setup.optimizer is plain.optimizer
    batch = next(iter(setup.batches))
    assert batch.input.shape == (64, 1, 8, 8)
    assert batch.index is None


def test_where_targets_are_numbers_mixing_is_refused():
    with pytest.raises(RecipeError, match="no class indices"):
        diabetes.problem().check(catalogue().recipe("decoupled-mixup"))
