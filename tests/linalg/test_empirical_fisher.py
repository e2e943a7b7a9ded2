import pytest
import torch

from thalweg.linalg import EmpiricalFisherInverse

# HInvFastBatch of prun.py, github.com/IST-DASLab/M-FAC at 8116367, run unchanged in float64.
GRADS = torch.sin(torch.arange(1.0, 16.0, dtype=torch.float64) ** 2).view(3, 5)
X = torch.tensor([1.0, -2.0, 0.5, 3.0, -1.0], dtype=torch.float64)
AUTHORS_PRODUCT = [
    *(-20.002045331314, -48.959911708924, 101.437601029016),
    *(168.190265124659, 102.700852576848),
]
AUTHORS_DIAGONAL = [
    *(5.998506780863, 40.806521616734, 61.017672877838),
    *(54.711104263748, 42.523830744889),
]


def test_numbers_of_the_authors_code():
    inverse = EmpiricalFisherInverse(GRADS, damping=0.01)
    for ours, theirs in (
        (inverse.matvec(X), AUTHORS_PRODUCT),
        (inverse.diagonal(), AUTHORS_DIAGONAL),
    ):
        expected = torch.tensor(theirs, dtype=torch.float64)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-11)


def test_half_precision_gradients_are_multiplied_in_double_precision():
    half = EmpiricalFisherInverse(GRADS.bfloat16(), damping=1e-7)
    double = EmpiricalFisherInverse(GRADS.bfloat16().double(), damping=1e-7)
    assert half.grads.dtype == torch.bfloat16
    assert torch.equal(half.matvec(X), double.matvec(X))
    assert half.matvec(X.float()).dtype == torch.float32


def test_blocks_of_a_wide_matrix_make_the_whole():
    generator = torch.Generator().manual_seed(0)
    grads = torch.randn(5, 200_000, generator=generator)
    x = torch.randn(2, 200_000, generator=generator, dtype=torch.float64)
    wide = grads.double()
    small = torch.linalg.inv(5 * 0.1 * torch.eye(5, dtype=torch.float64) + wide @ wide.T)
    inverse = EmpiricalFisherInverse(grads, damping=0.1)
    expected = (x - x @ wide.T @ small @ wide) / 0.1
    torch.testing.assert_close(inverse.matvec(x), expected, rtol=1e-10, atol=1e-10)
    expected = (1 - (small @ wide * wide).sum(0)) / 0.1
    torch.testing.assert_close(inverse.diagonal(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("error", "call", "says"),
    [
        (TypeError, lambda _: EmpiricalFisherInverse(GRADS.long(), 1.0), "int64"),
        (ValueError, lambda _: EmpiricalFisherInverse(X, 1.0), "matrix"),
        (ValueError, lambda _: EmpiricalFisherInverse(GRADS[:0], 1.0), "matrix"),
        (ValueError, lambda _: EmpiricalFisherInverse(GRADS, 0.0), "damping"),
        (ValueError, lambda inverse: inverse.matvec(X[:3]), "x is"),
        (ValueError, lambda inverse: inverse.append(GRADS), "g is"),
        (ValueError, lambda inverse: inverse.prune(X, GRADS > 0), "removed"),
        (IndexError, lambda inverse: inverse.element(0, 5), "bounds"),
    ],
)
def test_what_does_not_fit_is_refused(error, call, says):
    with pytest.raises(error, match=says):
        call(EmpiricalFisherInverse(GRADS, 0.01))
