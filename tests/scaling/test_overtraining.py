"""The laws of over-training: what they refuse."""

import numpy as np
import pytest

from thalweg.scaling import DownstreamErrorLaw, OvertrainedLossLaw

SIZES = np.array([[1e7, 2e8], [1e8, 2e9], [2e8, 4e9], [4e8, 8e9], [1e7, 3e9]])
LOSSES = 2 + 90 * (SIZES**-0.3).sum(1)


@pytest.mark.parametrize(
    ("sizes", "settings", "says"),
    [
        (np.where(SIZES == 1e8, 0, SIZES), {}, "must be positive; there are zeros"),
        (-SIZES, {}, "Negative values"),
        (SIZES[:3], {}, "a law of 4 numbers was given n_samples = 3"),
        (SIZES, {"draws": 0}, "draws is 0; give at least 1"),
    ],
)
def test_what_shows_no_law_is_refused(sizes, settings, says):
    with pytest.raises(ValueError, match=says):
        OvertrainedLossLaw(**settings).fit(sizes, LOSSES[: len(sizes)])


def test_intervals_widen_far_from_the_runs():
    noisy = LOSSES * [1.01, 0.99, 1.01, 0.99, 1.0]
    law = OvertrainedLossLaw(random_state=0).fit(SIZES, noisy)
    low, high = law.predict_interval([[1e8, 2e9], [1e11, 2e12]])
    assert high[1] - low[1] > high[0] - low[0] > 0


def test_it_is_asked_of_the_columns_it_was_fitted_to():
    law = OvertrainedLossLaw().fit(SIZES, LOSSES)
    with pytest.raises(ValueError, match="2 features"):
        law.predict(SIZES[:, :1])


def test_the_downstream_law_is_asked_of_the_column_it_was_fitted_to():
    losses = np.linspace(2, 5, 6)[:, None]
    law = DownstreamErrorLaw(draws=1).fit(losses, 0.85 - 2 * np.exp(-0.7 * losses[:, 0]))
    with pytest.raises(ValueError, match="2 features"):
        law.predict(np.column_stack([losses, losses]))
