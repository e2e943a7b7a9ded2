"""SAF and MESA: what is remembered, and the recipes."""

import functools
import io
from dataclasses import replace

import pytest
import torch

from thalweg.core.catalogue import catalogue
from thalweg.core.errors import RecipeError
from thalweg.losses import MESA, SAF
from thalweg.papers.losses._trajectories import saf
from thalweg.problems import digits_mlp

SCORES, TARGET, INDEX = torch.randn(9, 6, 4), torch.arange(6) % 4, torch.arange(6)


@functools.cache
def run(recipe):
    """Return where three epochs of 18 steps, and a part of the fourth, end."""
    recipe = catalogue().recipe(recipe)
    return [*digits_mlp.problem().run(recipe, 0, steps=60, device="cpu", final=True)][-1]


def test_memory_resumes_in_the_midst_of_an_epoch():
    loss = SAF(6, 4, lag=2, start=0)
    for epoch in range(5):
        loss.set_epoch(epoch)
        loss(SCORES[epoch], TARGET, INDEX)
    loss.set_epoch(5)
    loss(SCORES[5, :3], TARGET[:3], INDEX[:3])
    torch.save(loss.state_dict(), saved := io.BytesIO())
    saved.seek(0)
    resumed = SAF(6, 4, lag=2, start=0)
    resumed.load_state_dict(torch.load(saved, weights_only=True))
    for each in (loss, resumed):
        each.values = [each(SCORES[5, 3:], TARGET[3:], INDEX[3:])]
        each.set_epoch(6)
        each.values.append(each(SCORES[6], TARGET, INDEX))
    assert torch.equal(torch.stack(loss.values), torch.stack(resumed.values))
    assert loss.values[1] > torch.nn.functional.cross_entropy(SCORES[6], TARGET)


def test_a_second_evaluation_of_a_batch_changes_nothing():
    loss = SAF(6, 4, lag=1, start=0)
    for epoch in range(3):
        loss.set_epoch(epoch)
        first, second = (loss(SCORES[epoch], TARGET, INDEX) for _ in range(2))
        assert torch.equal(first, second)


def test_memory_may_be_half():
    whole, half = SAF(6, 4, lag=1, start=0), SAF(6, 4, lag=1, start=0).to(torch.bfloat16)
    for epoch in range(3):
        for loss in (whole, half):
            loss.set_epoch(epoch)
            loss.value = loss(SCORES[epoch], TARGET, INDEX)
    assert half.memory.dtype == torch.bfloat16
    assert half.value.dtype == torch.float32
    torch.testing.assert_close(half.value, whole.value, rtol=0.02, atol=0)


def test_epochs_and_passes_are_counted():
    plain, remembered, averaged = (
        run(f"sgd{x}").cost for x in ("", "+saf(start=1)", "+mesa(start=1)")
    )
    assert (plain.gradients, plain.functions) == (60, 0)
    assert (remembered.gradients, remembered.functions) == (60, 0)
    assert (averaged.gradients, averaged.functions) == (60, 60)
    assert run("sgd+sam").cost.gradients == 120
    setup = saf(start=-1, lag=1)(digits_mlp.problem().setup(0, steps=37))
    for _ in setup.loop(setup):
        pass
    assert setup.loss.epoch == 2  # of 18 batches each
    assert setup.loss.seen.max(1).values.unique().tolist() == [1, 2]


def test_data_keep_their_order():
    problem = digits_mlp.problem()
    plain, changed = problem.setup(0), saf()(problem.setup(0))
    for mine, theirs in zip(plain.batches, changed.batches, strict=True):
        assert torch.equal(mine.index, theirs.index)


def test_it_acts_once_it_has_started():
    without = run("sgd").quality
    for name in ("saf", "mesa"):
        assert run(f"sgd+{name}(start=3)").quality == without
        assert run(f"sgd+{name}(start=1)").quality != without


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="lag is 0"):
        SAF(6, 4, lag=0)
    with pytest.raises(ValueError, match="n_classes 1"):
        SAF(6, 1)
    with pytest.raises(ValueError, match="decay is 1"):
        MESA(torch.nn.Linear(2, 2), decay=1.0)
    with pytest.raises(ValueError, match=r"index \(5,\)"):
        SAF(6, 4)(SCORES[0], TARGET, INDEX[:5])
    with pytest.raises(ValueError, match=r"target has shape \(5,\)"):
        MESA(torch.nn.Linear(4, 4))(SCORES[0], TARGET[:5], SCORES[0])
    setup = digits_mlp.problem().setup(0)
    with pytest.raises(RecipeError, match="remembers every sample"):
        saf()(replace(setup, batches=list(setup.batches)))


@pytest.mark.parametrize("lag", [1, 2, 3])
def test_a_sample_never_seen_is_compared_with_nothing(lag):
    for epoch in range(3 * lag):
        loss = SAF(6, 4, lag=lag, start=-1)
        loss.set_epoch(epoch)
        value = loss(SCORES[0], TARGET, INDEX)
        assert value == torch.nn.functional.cross_entropy(SCORES[0], TARGET)


def test_the_mode_is_that_of_the_loss_and_not_of_the_average():
    loss = MESA(torch.nn.Linear(2, 4))
    for mode in (False, True):
        assert loss.train(mode).training is loss.criterion.training is mode
        assert not loss.average.training


def test_a_model_without_weights_has_an_average():
    model = torch.nn.Identity()
    MESA(model).update(model)
