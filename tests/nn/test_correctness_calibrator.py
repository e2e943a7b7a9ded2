import pytest
import torch

from thalweg.diagnostics import reliability
from thalweg.nn import CorrectnessCalibrator

GENERATOR = torch.Generator().manual_seed(0)
SCORES = 3 * torch.randn(300, 5, generator=GENERATOR)
LABELS = torch.multinomial((SCORES / 3).softmax(1), 1, generator=GENERATOR).squeeze(1)
COPIES = SCORES.unsqueeze(1) + torch.randn(300, 3, 5, generator=GENERATOR)


def test_fitting_lowers_the_error_and_changes_no_prediction():
    before = reliability(SCORES.softmax(1), LABELS).ece
    torch.manual_seed(0)
    calibrator = CorrectnessCalibrator().fit(SCORES, COPIES, LABELS, epochs=200, lr=0.03)
    calibrated = calibrator.transform(SCORES, COPIES)
    assert torch.equal(calibrated.argmax(1), SCORES.argmax(1))
    assert not calibrated.requires_grad
    assert reliability(calibrated.softmax(1), LABELS).ece < 0.6 * before


def test_fitting_leaves_the_model_that_gave_the_scores_alone():
    scale = torch.ones(1, requires_grad=True)
    CorrectnessCalibrator().fit(scale * SCORES, scale * COPIES, LABELS, epochs=2)
    assert scale.grad is None


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: CorrectnessCalibrator(0), "n_copies is 0"),
        (lambda: CorrectnessCalibrator(2)(SCORES, COPIES), r"and \(N, 2, C\)"),
        (lambda: CorrectnessCalibrator()(SCORES[0], COPIES[0]), r"give scores \(N, C\)"),
        (lambda: CorrectnessCalibrator(top=6)(SCORES, COPIES), "there are 5 classes"),
    ],
)
def test_what_does_not_fit_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
