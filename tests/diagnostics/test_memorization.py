from dataclasses import replace

import pytest
import torch

import thalweg
from thalweg.core.catalogue import catalogue
from thalweg.diagnostics import long_tail_cost, memorization_scores
from thalweg.papers.diagnostics._memorization_trials import subsampled
from thalweg.problems import digits_mlp

LABELS = torch.arange(6) % 2


def majority(rows, seed):
    return LABELS[rows].mode().values.expand(6)


@pytest.mark.parametrize("opened", [dict, lambda: thalweg.Kept("sqlite:///rounds.db", of="toy")])
def test_rounds_go_on_from_a_store(tmp_path, monkeypatch, opened):
    monkeypatch.chdir(tmp_path)
    store, calls = opened(), []

    def interrupted(rows, seed):
        calls.append(seed)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return majority(rows, seed)

    with pytest.raises(KeyboardInterrupt):
        memorization_scores(interrupted, LABELS, rounds=20, store=store)
    if not isinstance(store, dict):
        store.close()
        store = opened()
    found = memorization_scores(interrupted, LABELS, rounds=20, store=store)
    assert len(calls) == 6 + 15
    assert torch.equal(found.scores, memorization_scores(majority, LABELS, rounds=20).scores)
    memorization_scores(interrupted, 1 - LABELS, rounds=20, store=store)
    assert len(calls) == 6 + 15 + 20


def test_a_store_is_opened_first():
    with pytest.raises(TypeError, match="open it: thalweg"):
        memorization_scores(majority, LABELS, store="sqlite:///rounds.db")


def test_progress_is_told_of_every_round():
    told = []
    memorization_scores(majority, LABELS, rounds=30, progress=lambda *x: told.append(x))
    assert told == [(i, 30) for i in range(1, 31)]


def test_a_recipe_of_a_problem_can_be_asked():
    problem = replace(digits_mlp.problem(), steps=100)
    train, labels, tests = subsampled(problem, catalogue().recipe("adamw"))
    rows = torch.arange(0, len(labels), 2)
    one, again, other = (train(rows, seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert (one == torch.cat([labels, tests])).double().mean() > 0.7


@pytest.mark.parametrize(
    ("labels", "settings", "sentence"),
    [
        (LABELS, {"rounds": 1}, "at least 2 rounds"),
        (LABELS, {"keep": 1.0}, "between 0 and 1"),
        (LABELS, {"rounds": 2, "keep": 0.9}, "give more rounds"),
        (LABELS[:, None], {}, "give classes"),
        (LABELS, {"test_labels": LABELS}, r"return the classes of all samples"),
    ],
)
def test_what_cannot_be_estimated_is_refused(labels, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        memorization_scores(majority, labels, **settings)


def test_frequencies_and_shares_outside_their_range_are_refused():
    for frequencies, levels in (
        ([0.5, -0.5], 1),
        ([0.0], 1),
        ([[1.0]], 1),
        ([1.0], 11),
        ([1.0], 0),
    ):
        with pytest.raises(ValueError, match=r"positive|give 1 <= levels"):
            long_tail_cost(frequencies, 10, levels=levels)
    for unfitted in (1.5, torch.tensor([0.5, 0.5])):
        with pytest.raises(ValueError, match="shares between 0 and 1"):
            long_tail_cost([0.5, 0.5], 10).cost(unfitted)
