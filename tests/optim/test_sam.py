import pytest
import torch
from torch import nn

from thalweg.optim import SAM


def test_without_rho_it_is_the_inner_optimizer():
    ends = []
    for wrap in (lambda optimizer: optimizer, lambda optimizer: SAM(optimizer, rho=0.0)):
        p = nn.Parameter(torch.linspace(-1, 2, 7))
        optimizer = wrap(torch.optim.Adam([p], lr=0.1))

        def closure(p=p, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (p**4 - p.roll(1) * p).sum()
            loss.backward()
            return loss

        for _ in range(5):
            optimizer.step(closure)
        ends.append(p.detach())
    assert torch.equal(*ends)


def test_a_closure_that_fails_leaves_the_parameters():
    p = nn.Parameter(torch.ones(3))
    optimizer = SAM(torch.optim.SGD([p], lr=0.1), rho=1.0)
    calls = []

    def closure():
        calls.append(p.detach().clone())
        if len(calls) == 2:
            raise InterruptedError
        p.grad = torch.ones(3)
        return p.sum()

    with pytest.raises(InterruptedError):
        optimizer.step(closure)
    torch.testing.assert_close(calls[1], torch.full((3,), 1 + 3**-0.5))
    assert torch.equal(p.detach(), torch.ones(3))


def test_a_step_without_a_closure_is_refused():
    optimizer = SAM(torch.optim.SGD([nn.Parameter(torch.ones(1))]))
    with pytest.raises(TypeError, match="closure that clears"):
        optimizer.step()
