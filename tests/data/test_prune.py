from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from thalweg.core.catalogue import catalogue
from thalweg.core.errors import RecipeError
from thalweg.data import prune
from thalweg.problems import digits_mlp

SCORES = torch.tensor([0.5, 0.1, 0.9, 0.3, 0.2, 0.8, 0.4, 0.7, 0.6, 0.0])
PAIR = torch.arange(10.0), torch.arange(10)


def test_the_highest_scores_are_kept_in_the_order_of_the_data():
    assert prune(PAIR, SCORES, 0.3)[1].tolist() == [2, 5, 7]
    assert prune(PAIR, SCORES, 0.3, offset=0.2)[1].tolist() == [0, 7, 8]
    assert prune(TensorDataset(*PAIR), SCORES, 0.3).indices == [2, 5, 7]


@pytest.mark.parametrize("wrong", [{"keep": 0.0}, {"keep": 1.1}, {"keep": 0.5, "offset": 0.6}])
def test_shares_outside_their_range_are_refused(wrong):
    with pytest.raises(ValueError, match="give a share"):
        prune(PAIR, SCORES, **wrong)


def test_data_that_scores_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="10 samples"):
        prune(PAIR, SCORES[:4], 0.5)
    with pytest.raises(TypeError, match="a loader draws from"):
        prune(DataLoader(TensorDataset(*PAIR)), SCORES, 0.5)


def run(recipe, steps=4):
    problem = digits_mlp.problem()
    parsed = catalogue().recipe(recipe)
    return list(problem.run(parsed, 0, steps=steps, device="cpu", final=True))


def test_scoring_is_on_the_bill():
    n_batches = len(digits_mlp.problem().setup(0).batches)
    last = run("el2n-prune(runs=3, share=0.5)")[-1].cost
    assert (last.gradients, last.functions) == (4 + 3 * 2, 3 * n_batches)
    last = run("grand-prune(runs=3, share=0.5)")[-1].cost
    assert (last.gradients, last.functions) == (4 + 3 * 2 + 3 * n_batches, 0)
    assert last.seconds > 2 * run("random-prune")[-1].cost.seconds


def test_training_sees_the_kept_samples_alone_by_their_own_index():
    setup = digits_mlp.problem().setup(0, steps=1)
    everything = setup.batches.data
    pruned = catalogue().methods["random-prune"].build(keep=0.3)(setup)
    list(pruned.loop(pruned))
    for _ in range(2):
        batches = list(islice(pruned.batches, len(pruned.batches)))
        seen = torch.cat([batch.index for batch in batches])
        assert len(seen) == len(seen.unique()) == round(0.3 * len(everything))
        torch.testing.assert_close(
            torch.cat([batch.input for batch in batches]), everything[seen][0]
        )


def test_pruning_leaves_the_start_of_the_run_and_its_randomness_alone():
    plain, pruned = run("random-prune(keep=1.0)"), run("el2n-prune(keep=1.0, runs=2)")
    assert plain[0].quality == pruned[0].quality
    assert plain[-1].quality == pruned[-1].quality


@pytest.mark.parametrize("wrong", ["el2n-prune(runs=0)", "el2n-prune(share=0)"])
def test_no_scoring_is_refused(wrong):
    with pytest.raises(RecipeError, match="is 0"):
        run(wrong)
