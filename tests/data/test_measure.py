import pytest
import torch
from torch import nn
from torch.nn import functional as F

from thalweg.data import _measure


class Named(nn.Module):
    def forward(self, left, right):
        return left - 2 * right


X, Y = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [5.0]])


@pytest.mark.parametrize("inputs", [(X, Y), [X, Y], {"left": X, "right": Y}])
def test_several_inputs_become_arguments(inputs):
    expected = torch.tensor([[-5.0], [-8.0]])
    assert torch.equal(_measure.apply(Named(), inputs), expected)
    assert torch.equal(_measure.apply_at(Named(), {}, inputs), expected)


def test_all_tensors_of_a_nest_are_found_and_changed_and_nothing_else():
    nest = {"a": X, "b": (Y, [X, "name"]), "c": None}
    assert [id(x) for x in _measure.tensors(nest)] == [id(X), id(Y), id(X)]
    cut = _measure.rows(nest, slice(1))
    assert torch.equal(cut["a"], X[:1])
    assert torch.equal(cut["b"][0], Y[:1])
    assert cut["b"][1][1] == "name"
    assert cut["c"] is None


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_means_are_told_from_sums(n):
    batch = torch.randn(n, 3), torch.randn(n, 3)
    model = nn.Linear(3, 3)
    assert _measure.averages(model, nn.MSELoss(), batch) is True
    assert _measure.averages(model, nn.MSELoss(reduction="sum"), batch) is (n == 1)


def test_a_mean_of_the_means_of_halves_is_none():
    def by_halves(output, target):
        half = -(-len(output) // 2)
        terms = (output - target).square().mean(1).split(half)
        return torch.stack([term.mean() for term in terms]).mean()

    batch = torch.randn(5, 3), torch.randn(5, 3)
    assert not _measure.averages(nn.Identity(), by_halves, batch)


def test_a_loss_without_batches_is_a_mean_of_one():
    seen = []

    def loss(output, target):
        seen.append(len(output))
        return F.mse_loss(output, target)

    assert _measure.averages(nn.Identity(), loss, (X[:1], Y[:1]))
    assert not seen


def test_results_are_close_next_to_what_they_are_summed_of():
    assert _measure.close(1.0, 1.0 + 1e-5, 1.0) is True
    assert _measure.close(torch.tensor(0.0), torch.tensor(1e-5), 1e-4) is False
    assert _measure.close(torch.tensor([0.0, 1.0]), torch.tensor([1e-5, 1.0]), 1.0) is True
    assert _measure.close(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.1]), 1.0) is False


@pytest.mark.parametrize("batch", [X, (X,), (X, Y, Y), {"x": X, "y": Y}, "xy"])
def test_a_batch_that_is_no_pair_is_refused(batch):
    with pytest.raises(TypeError, match="each has to be a pair"):
        list(_measure.read([batch], None, torch.device("cpu")))
