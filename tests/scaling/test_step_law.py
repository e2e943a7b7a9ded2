"""Step Law: what it refuses, and that it never extrapolates in silence."""

import numpy as np
import pytest

from thalweg.scaling import fit_hyperparameter_law, step_law
from thalweg.scaling.step_law import COLUMNS


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"n_params": 7e9, "n_tokens": 1e11}, "n_params = 7e.09 lies outside 6e.07 to 1.08e.09"),
        ({"n_params": 1e9, "n_tokens": 1e9}, "n_tokens = 1e.09 lies outside.*extrapolate=True"),
        ({"n_params": 0, "n_tokens": 1e11}, "n_params is 0; give a positive number"),
        ({"n_params": 1e9, "n_tokens": float("nan")}, "n_tokens is nan"),
        ({"n_params": 1e9, "n_tokens": 1e11, "seq_len": 0}, "seq_len is 0; give at least 1"),
    ],
)
def test_what_the_law_does_not_cover_is_refused(given, says):
    with pytest.raises(ValueError, match=says):
        step_law(**given)


def sweeps(**changes):
    grid = np.meshgrid([1e6, 4e6], [1e8, 4e8], [1e-3, 2e-3, 4e-3], [1e4, 2e4, 4e4])
    n, d, lr, batch = (x.ravel() for x in grid)
    loss = 3 + np.log(lr / 2e-3) ** 2 + np.log(batch / 2e4) ** 2
    return dict(zip(COLUMNS, (n, d, lr, batch, loss), strict=True)) | changes


@pytest.mark.parametrize(
    ("runs", "settings", "says"),
    [
        ({"n_params": [1e6]}, {}, "runs lack n_tokens, lr, batch_tokens, loss"),
        (sweeps(lr=[1e-3]), {}, "lists of one length"),
        (sweeps(lr=np.full(36, -1.0)), {}, "must be positive"),
        (sweeps(), {"window": 0.01}, "0 of 4 sweeps show a minimum.*raise window"),
        (sweeps(n_tokens=sweeps()["n_params"] * 20), {"window": 9.0}, "do not rise in step"),
        (sweeps(), {"draws": 0}, "draws is 0; give a positive number"),
    ],
)
def test_sweeps_that_show_no_law_are_refused(runs, settings, says):
    with pytest.raises(ValueError, match=says):
        fit_hyperparameter_law(runs, **settings)


def test_the_published_law_says_its_schedule():
    found = step_law(1e9, 1e11)
    assert (found.warmup_steps, found.final_lr) == (2000, 1e-5)
