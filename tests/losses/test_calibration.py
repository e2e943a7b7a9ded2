"""The correctness-aware loss, and the reliability that it is graded by."""

import pytest
import torch

from thalweg.diagnostics import reliability
from thalweg.losses import CorrectnessAware
from thalweg.training.metrics import METRICS

GENERATOR = torch.Generator().manual_seed(0)
SCORES = 3 * torch.randn(300, 5, generator=GENERATOR)
LABELS = torch.multinomial((SCORES / 3).softmax(1), 1, generator=GENERATOR).squeeze(1)


def test_the_calibration_error_is_torchmetrics():
    # Imported here: with it comes the whole of transformers.
    from torchmetrics.functional.classification import multiclass_calibration_error

    for n_bins in (1, 15, 25):
        found = reliability(SCORES.softmax(1), LABELS, n_bins=n_bins)
        expected = multiclass_calibration_error(SCORES.softmax(1), LABELS, 5, n_bins)
        assert found.ece == pytest.approx(expected.item(), rel=1e-5)
        assert found.count.sum() == 300
    assert METRICS["ECE"].function(SCORES, LABELS) == pytest.approx(
        reliability(SCORES.double().softmax(1), LABELS).ece
    )


def test_what_is_reliable_has_no_error_and_a_chart():
    found = reliability(torch.eye(5)[LABELS], LABELS)
    assert (found.ece, found.classwise_ece, found.brier) == (0, 0, 0)
    drawn = reliability(SCORES.softmax(1), LABELS).chart().to_dict()
    assert drawn["title"].startswith("ECE 0.")
    assert set(found.to_dict()) >= {"ece", "auroc", "count"}


def test_halves_are_computed_in_single_precision():
    halves = SCORES.bfloat16()
    loss = CorrectnessAware(reduction="none")
    assert torch.equal(loss(halves, LABELS), loss(halves.float(), LABELS).bfloat16())


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: CorrectnessAware(reduction="max"), "reduction is 'max'"),
        (lambda: CorrectnessAware()(SCORES[0], LABELS), "give real scores"),
        (lambda: CorrectnessAware()(SCORES, LABELS[1:]), "target has shape"),
        (lambda: CorrectnessAware()(SCORES, LABELS, LABELS[1:]), "predicted has shape"),
        (lambda: reliability(SCORES, LABELS), "do not sum to 1"),
        (lambda: reliability(SCORES.softmax(1), LABELS[1:]), "probabilities have shape"),
        (lambda: reliability(SCORES.softmax(1), LABELS, n_bins=0), "n_bins is 0"),
    ],
)
def test_what_does_not_fit_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
