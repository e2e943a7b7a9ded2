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


@pytest.mark.parametrize("of", [lambda loss: loss, lambda loss: loss.item()])
def test_the_loss_comes_back_without_a_graph(of):
    p = nn.Parameter(torch.ones(2))
    optimizer = SAM(torch.optim.SGD([p], lr=0.1))

    def closure():
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return of(loss)

    value = optimizer.step(closure)
    assert value == 2
    assert not getattr(value, "requires_grad", False)


def test_a_group_may_have_no_gradient():
    p, idle = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = SAM(torch.optim.SGD([{"params": [idle]}, {"params": [p]}], lr=0.1), rho=0.5)
    optimizer.step(lambda: p.square().sum().backward())
    assert idle == 1
    assert p < 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_gradient_of_zeros_moves_nothing(dtype):
    p = nn.Parameter(torch.zeros(2, dtype=dtype))
    optimizer = SAM(torch.optim.SGD([p], lr=0.1))
    optimizer.step(lambda: p.square().sum().backward())
    assert torch.equal(p, torch.zeros_like(p))
