import math

import numpy as np
import pytest
import torch

from thalweg.diagnostics import fit_eigenstructure, optimal_ridge, predict_risk

VALUES = np.arange(1, 301) ** -1.5
TARGETS = np.arange(1, 301) ** -0.85


def test_more_never_hurts_with_the_best_ridge():
    by_n = [optimal_ridge(VALUES, TARGETS, n, 64, noise=0.05).test for n in (16, 64, 256)]
    by_k = [optimal_ridge(VALUES, TARGETS, 64, k, noise=0.05).test for k in (16, 256, math.inf)]
    assert by_n == sorted(by_n, reverse=True)
    assert by_k == sorted(by_k, reverse=True)


def test_without_a_ridge_the_risk_peaks_where_features_equal_samples():
    near, beyond = (predict_risk(VALUES, TARGETS, 64, k, ridge=0.0).test for k in (65, 256))
    assert near > 10 * beyond
    with pytest.raises(ValueError, match="infinite"):
        predict_risk(VALUES, TARGETS, 64, 64, ridge=0.0)


def test_a_ridge_lost_in_rounding_is_none():
    for n in (3, 6, 8, 10):
        nearly, without = (predict_risk(VALUES, TARGETS, n, ridge=x) for x in (1e-300, 0.0))
        assert nearly.test == pytest.approx(without.test, rel=1e-9)


def test_low_noise_and_slow_decay_ask_for_a_perfect_fit():
    quiet, loud = (optimal_ridge(VALUES, TARGETS, 100, noise=noise) for noise in (0.0, 1.0))
    assert quiet.fitting_ratio < 0.01 < 0.1 < loud.fitting_ratio


def test_tensors_arrays_and_lists_are_the_same():
    expected = predict_risk(VALUES, TARGETS, 10, ridge=0.1)
    assert predict_risk(VALUES.tolist(), TARGETS.tolist(), 10, ridge=0.1) == expected
    assert predict_risk(torch.tensor(VALUES), torch.tensor(TARGETS), 10, ridge=0.1) == expected


def test_chart_and_dict_hold_what_was_found():
    found = fit_eigenstructure(torch.eye(3) + 1, torch.ones(3, 2))
    assert found.to_dict()["eigenvalues"] == found.eigenvalues.tolist()
    assert found.chart().to_dict()
    assert predict_risk([1.0], [1.0], 5, ridge=1.0).to_dict()["fitting_ratio"] > 0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: predict_risk([1.0, -1.0], [1.0, 1.0], 5, ridge=1.0), "none below 0"),
        (lambda: predict_risk([1.0], [1.0, 1.0], 5, ridge=1.0), "shape"),
        (lambda: predict_risk([1.0], [1.0], 0, ridge=1.0), "n is 0"),
        (lambda: predict_risk([1.0], [1.0], 5, 0, ridge=1.0), "k is 0"),
        (lambda: predict_risk([1.0], [1.0], 5, ridge=-1.0), "ridge is -1"),
        (lambda: fit_eigenstructure(torch.ones(2, 3), torch.ones(2)), "shape"),
        (lambda: fit_eigenstructure(torch.ones(2, 2).tril(), torch.ones(2)), "symmetric"),
        (lambda: fit_eigenstructure(-torch.eye(2), torch.ones(2)), "without negative"),
    ],
)
def test_what_makes_no_sense_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
