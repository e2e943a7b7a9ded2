import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from thalweg.diagnostics import opposing_groups

DATA = torch.arange(8.0)[:, None], torch.zeros(8, 1)


def found(data=DATA, run=None, k=2):
    return opposing_groups(run or [nn.Linear(1, 1) for _ in "12"], data, F.mse_loss, k=k)


def test_what_cannot_be_told_is_refused():
    for k in (0, 5):
        with pytest.raises(ValueError, match="half of the samples"):
            found(k=k)
    with pytest.raises(ValueError, match="makes no step"):
        found(run=[nn.Linear(1, 1)])
    with pytest.raises(ValueError, match="shuffle=False"):
        found(DataLoader(TensorDataset(*DATA), shuffle=True))
    with pytest.raises(TypeError, match="only once"):
        found(iter([DATA]))
    with pytest.raises(ValueError, match="unfreeze"):
        found(run=[nn.Linear(1, 1).requires_grad_(False)])


def test_pictures_come_in_the_order_of_the_changes():
    images = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    nets = [nn.Sequential(nn.Flatten(), nn.Linear(48, 1)) for _ in "12"]
    one, other = (
        opposing_groups(nets, (images, torch.zeros(8, 1)), F.mse_loss, k=3, batch_size=size)
        for size in (8, 3)
    )
    assert one.pictures.shape == (2, 3, 3, 4, 4)
    torch.testing.assert_close(one.pictures, other.pictures)
    both = images[torch.cat([one.up, one.down])]
    expected = (images[one.up] - both.min()) / (both.max() - both.min())
    torch.testing.assert_close(one.pictures[0], expected)


def test_half_of_an_odd_number_of_samples_is_rounded_down():
    with pytest.raises(ValueError, match="give 1 to 3, half"):
        found((torch.arange(7.0)[:, None], torch.zeros(7, 1)), k=4)


def test_of_equal_changes_the_first_samples_rise_and_the_last_fall():
    model = nn.Linear(1, 1)
    still = found((torch.ones(100, 1), torch.zeros(100, 1)), [model, model])
    assert still.up.tolist() == [0, 1]
    assert still.down.tolist() == [99, 98]
    assert still.share == 0


class Spare(nn.Module):
    """A net with a weight it does not use, which cannot take an empty batch."""

    def __init__(self):
        super().__init__()
        self.used, self.spare = nn.Linear(1, 1), nn.Linear(1, 1)

    def forward(self, x):
        return self.used(x.view(len(x), -1))


def test_weights_without_part_in_the_loss_and_batches_without_chosen_samples_are_passed_over():
    measured = opposing_groups([Spare(), Spare()], DATA, F.mse_loss, k=1, batch_size=2)
    assert -1 <= measured.gradient_cosine <= 1


def pictures_of(images):
    nets = [nn.Sequential(nn.Flatten(), nn.LazyLinear(1)) for _ in "12"]
    for module in nets:
        module(images)
    return opposing_groups(nets, (images, torch.arange(8.0)[:, None]), F.mse_loss, k=2).pictures


def test_images_without_contrast_are_black():
    assert torch.equal(pictures_of(torch.full((8, 3, 2, 2), 5.0)), torch.zeros(2, 2, 3, 2, 2))


def test_a_single_row_or_column_is_no_image():
    assert not pictures_of(torch.rand(8, 3, 1, 4)).numel()
    assert not pictures_of(torch.rand(8, 3, 4, 1)).numel()
