import pytest
import torch
from torch import nn

from thalweg.diagnostics._kernel_data import gathered, modes


class Added(nn.Linear):
    def forward(self, a, b):
        return super().forward(a + b)


@pytest.fixture
def x():
    return torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("classes", [2, 3])
def test_indices_of_classes_become_ones_and_zeros(x, classes):
    label = torch.tensor([0, 1, 1, 0, classes - 1])
    target = gathered(nn.Linear(3, classes).double(), (x, label))[2]
    assert torch.equal(target, torch.eye(classes).double()[label])


def test_whole_numbers_are_the_targets_of_a_single_output(x):
    target = gathered(nn.Linear(3, 1).double(), (x, torch.arange(5)))[2]
    assert torch.equal(target, torch.arange(5.0).double()[:, None])


@pytest.mark.parametrize(
    "pack", [lambda a, b: {"a": a, "b": b}, lambda a, b: (a, b), lambda a, b: [a, b]]
)
def test_batches_of_named_and_of_several_inputs_are_joined(x, pack):
    model, target = Added(3, 1).double(), x[:, :1]
    batches = [(pack(x[s], 2 * x[s]), target[s]) for s in (slice(2), slice(2, 5))]
    inputs, found, joined = gathered(model, batches)
    a, b = inputs.values() if isinstance(inputs, dict) else inputs
    assert torch.equal(a, x)
    assert torch.equal(b, 2 * x)
    assert torch.equal(joined, target)
    torch.testing.assert_close(found, model(x, 2 * x).detach())


def test_inputs_and_targets_of_different_lengths_are_refused(x):
    with pytest.raises(ValueError, match="different lengths"):
        gathered(nn.Linear(3, 1).double(), (x, x[:4, :1]))


def test_data_that_is_no_data_is_refused():
    with pytest.raises(TypeError, match="give a pair of tensors"):
        gathered(nn.Linear(3, 1), 5)


def test_a_kernel_of_one_sample_has_one_mode():
    values, vectors = modes(torch.tensor([[4.0]]), torch.float32)
    assert values.tolist() == [4]
    assert vectors.abs().tolist() == [[1]]


def test_rounding_is_told_from_the_largest_eigenvalue():
    diagonal = torch.tensor([1.0, 1e-3, 1e-9], dtype=torch.float64).diag()
    assert modes(diagonal, torch.float32)[0].count_nonzero() == 2
    assert modes(diagonal, torch.float64)[0].count_nonzero() == 3
