import torch

from thalweg.linalg._gram import factorised


def test_long_gradients_that_are_all_alike_have_a_factor():
    gram = torch.full((8, 8), 1e14, dtype=torch.float64)
    factor = factorised(gram, damping=1e-12)
    added = 8 * torch.finfo(torch.float64).eps * 8e14
    assert (factor.diagonal()[1:] > added**0.5).all()
    torch.testing.assert_close(factor @ factor.mT, gram + added * torch.eye(8), rtol=0, atol=0.1)
