"""LDR-KL and ALDR-KL: whose temperature it is, and what is refused."""

import io
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from thalweg.core.catalogue import catalogue
from thalweg.core.errors import RecipeError
from thalweg.losses import ALDRKL, LDRKL
from thalweg.papers.losses._ldr_kl_trials import aldr_kl
from thalweg.problems import digits_mlp

ROUNDS, N, C = 4, 9, 5
SCORES = torch.randn(ROUNDS, N, C, generator=torch.Generator().manual_seed(0))
TARGET = torch.arange(N) % C
ORDERS = [torch.randperm(N, generator=torch.Generator().manual_seed(i)) for i in range(ROUNDS)]


def visit(loss, number, part):
    index = ORDERS[number][part]
    return loss(SCORES[number, index], TARGET[index], index)


def test_temperatures_are_in_the_checkpoint():
    loss = ALDRKL(N)
    for number in range(2):
        visit(loss, number, slice(0, 6))
    torch.save(loss.state_dict(), saved := io.BytesIO())
    saved.seek(0)
    resumed = ALDRKL(N)
    resumed.load_state_dict(torch.load(saved, weights_only=True))
    for number in (2, 3):
        values = [visit(each, number, slice(0, 9)) for each in (loss, resumed)]
        assert torch.equal(*values)
    assert torch.equal(loss.temperature, resumed.temperature)


def test_of_a_sample_twice_in_a_batch_the_higher_temperature_is_kept():
    index, loss = torch.tensor([3, 3]), ALDRKL(N)
    ends = []
    for order in ([0, 1], [1, 0]):
        loss = ALDRKL(N)
        loss(SCORES[0, order], TARGET[[2, 2]], index)
        ends.append(loss.temperature[3])
    for one in (0, 1):
        loss = ALDRKL(N)
        loss(SCORES[0, [one]], TARGET[[2]], index[:1])
        ends.append(loss.temperature[3])
    assert ends[0] == ends[1] == max(ends[2:]) != min(ends[2:])


def test_temperatures_stay_in_evaluation():
    loss = ALDRKL(N)
    visit(loss, 0, slice(0, 9))
    before = loss.temperature.clone()
    loss.eval()
    assert visit(loss, 1, slice(0, 9)) == visit(loss, 1, slice(0, 9))
    assert torch.equal(loss.temperature, before)
    assert loss(SCORES[0], TARGET) == LDRKL(10.0)(SCORES[0], TARGET)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 1.0, 2.0, 0.25, 3.0])])
def test_at_temperature_one_it_is_torchs_cross_entropy(reduction, weight):
    scores, target = SCORES.movedim(2, 1), TARGET.expand(ROUNDS, N).clone()
    target[1, 2] = -100
    loss = LDRKL(1.0, 0.0, normalize=False, weight=weight, reduction=reduction)
    for goal in (target, scores.roll(1, 0).softmax(1)):
        zero = torch.zeros_like(scores)
        expected = F.cross_entropy(scores, goal, weight=weight, reduction=reduction)
        # At equal scores cross-entropy is log C, weighted, which is what this loss leaves out.
        expected = expected - F.cross_entropy(zero, goal, weight=weight, reduction=reduction)
        torch.testing.assert_close(loss(scores, goal), expected, rtol=1e-5, atol=1e-5)


def test_the_recipe_trains_and_refuses_batches_of_chosen_samples():
    problem = digits_mlp.problem()
    recipe = catalogue().recipe("sgd+aldr-kl")
    points = [*problem.run(recipe, 0, steps=5, device="cpu", final=False)]
    assert points[-1].cost.gradients == 5
    setup = problem.setup(0)
    with pytest.raises(RecipeError, match="a temperature for every sample"):
        aldr_kl()(replace(setup, batches=list(setup.batches)))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: LDRKL(0.0), "lam is 0"),
        (lambda: LDRKL(margin=-0.1), "margin is -0.1"),
        (lambda: ALDRKL(0), "n_samples is 0"),
        (lambda: ALDRKL(3, alpha=1.0), "alpha is 1"),
        (lambda: ALDRKL(N)(SCORES[0], TARGET), "index None"),
        (lambda: ALDRKL(N)(SCORES[0], TARGET, TARGET[1:]), r"index \(8,\)"),
        (lambda: ALDRKL(N)(SCORES[0, :, :1], TARGET * 0, TARGET), "at least 2"),
    ],
)
def test_what_does_not_fit_is_refused(build, says):
    with pytest.raises(ValueError, match=says):
        build()


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of vmap, in place
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("soft", [True, False])
def test_it_is_differentiated_twice_by_every_interface(normalize, soft):
    loss = LDRKL(0.7, 0.3, normalize=normalize)
    scores = SCORES[0].double().requires_grad_()
    target = SCORES[1].double().softmax(1) if soft else TARGET
    (slope,) = torch.autograd.grad(loss(scores, target), scores, create_graph=True)
    curvature = torch.stack(
        [torch.autograd.grad(x, scores, retain_graph=True)[0] for x in slope[0]]
    )
    hessian = torch.func.jacrev(torch.func.grad(loss))(scores.detach(), target)
    torch.testing.assert_close(hessian[0], curvature)
    each = torch.func.vmap(torch.func.grad(loss))(scores.detach(), target)
    torch.testing.assert_close(each / N, slope)


@pytest.mark.parametrize("n_classes", [2, 2**18 + 1])
def test_classes_may_be_two_or_very_many(n_classes):
    loss, target = ALDRKL(3), torch.tensor([0, 1, 1])
    scores = torch.zeros(3, n_classes)
    assert loss(scores, target, torch.arange(3)).isfinite()
    assert loss.temperature.unique().numel() == 1


def test_the_parts_of_a_batch_do_not_show(monkeypatch):
    whole, parted = ALDRKL(N), ALDRKL(N)
    visit(whole, 0, slice(0, N))
    monkeypatch.setattr("thalweg.losses.aldr_kl._PART", 1)
    visit(parted, 0, slice(0, N))
    torch.testing.assert_close(parted.temperature, whole.temperature)
