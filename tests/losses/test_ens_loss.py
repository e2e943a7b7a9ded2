"""EnsLoss: what a checkpoint holds, when `lam` is drawn, and what is refused."""

import io

import pytest
import torch

from thalweg.losses import EnsLoss

SCORES, TARGET = torch.linspace(-2, 3, 16), torch.arange(16) % 2


def test_what_is_drawn_goes_on_from_a_checkpoint():
    loss = EnsLoss(period=1, seed=3)
    loss.set_epoch(2)
    loss(SCORES, TARGET)
    torch.save(loss.state_dict(), saved := io.BytesIO())
    saved.seek(0)
    resumed = EnsLoss(period=1)
    resumed.load_state_dict(torch.load(saved, weights_only=True))
    values = [torch.stack([each(SCORES, TARGET) for _ in range(3)]) for each in (loss, resumed)]
    assert torch.equal(*values)
    assert values[0].unique().numel() == 3


def test_each_period_has_a_transform_of_its_own():
    loss, found = EnsLoss(0.5, period=2, seed=3), []
    for epoch in (0, 1, 2, 3, 4, 4):
        loss.set_epoch(epoch)
        found.append(loss.lam)
    assert found[:2] == [0.5, 0.5]
    assert found[2] == found[3]
    assert found[4] == found[5]
    assert len({*found}) == 3
    assert all(-1 < lam < 1 for lam in found)
    again = EnsLoss(0.5, period=2, seed=4)
    again.set_epoch(2)
    assert again.lam != found[2]
    never = EnsLoss(0.5)
    never.set_epoch(9)
    assert never.lam == 0.5


def test_a_small_transform_is_nearly_the_exponential():
    near, exponential = EnsLoss(1e-4), EnsLoss(0.0)
    torch.testing.assert_close(
        near.derivatives(SCORES), exponential.derivatives(SCORES), rtol=1e-3, atol=1e-4
    )


def test_a_column_is_a_row():
    values = [
        EnsLoss()(SCORES.reshape(shape), TARGET.reshape(other))
        for shape, other in (((16,), (16,)), ((16, 1), (16,)), ((16, 1), (16, 1)))
    ]
    assert values[0] == values[1] == values[2]


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: EnsLoss(1.5), "lam is 1.5"),
        (lambda: EnsLoss(period=0), "period is 0"),
        (lambda: EnsLoss()(SCORES.reshape(8, 2), TARGET[:8]), r"input has shape \(8, 2\)"),
        (lambda: EnsLoss()(SCORES, TARGET[:15]), r"target \(15,\)"),
        (lambda: EnsLoss()(SCORES, TARGET[:, None]), r"target \(16, 1\)"),
        (lambda: EnsLoss()(SCORES[0], TARGET[0]), "one score a sample"),
    ],
)
def test_what_does_not_fit_is_refused(build, says):
    with pytest.raises(ValueError, match=says):
        build()
