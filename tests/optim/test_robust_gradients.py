import pytest
import torch
from torch.nn import Parameter

from thalweg.optim import M3, RM3, Winsorized


def test_single_samples_are_asked_for():
    p = Parameter(torch.zeros(2))
    optimizer = Winsorized(torch.optim.SGD([p], lr=1.0))
    p.grad = torch.ones(2)
    with pytest.raises(RuntimeError, match="grad_sample"):
        optimizer.step()
    p.grad_sample = torch.ones(3, 2)
    assert optimizer.step(lambda: torch.tensor(5.0, requires_grad=True)) == 5
    assert p.tolist() == [-1, -1]
    assert p.grad_sample is None
    with pytest.raises(ValueError, match=r"\[0, 50\]"):
        Winsorized(torch.optim.SGD([p], lr=1.0), c=60)


def test_a_third_without_a_gradient_counts_as_zero():
    seen, unseen = Parameter(torch.zeros(1)), Parameter(torch.zeros(1))
    optimizer = M3(torch.optim.SGD([seen, unseen], lr=1.0))
    slopes = iter([3.0, None, 1.0])

    def closure():
        slope = next(slopes)
        optimizer.zero_grad()
        if slope:
            (slope * seen).sum().backward()
        return slope or 0.0

    assert optimizer.step(closure) == 1.0
    assert seen.item() == -1
    assert unseen.grad is None
    with pytest.raises(TypeError, match="next third"):
        optimizer.step()


@pytest.mark.parametrize("overflow", [False, True])
def test_a_scaler_that_leaves_unscaling_to_the_optimizer(overflow):
    ends = []
    for scale in (1.0, 64.0):
        p = Parameter(torch.tensor([1.0, -2.0]))
        optimizer = RM3(torch.optim.SGD([p], lr=0.1, fused=True))
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        for t, slope in enumerate((1.0, -3.0, 2.0, 9.0, 4.0)):
            loss = (p * slope).sum() * (torch.inf if overflow and t == 2 else 1)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        ends.append(p.detach())
    torch.testing.assert_close(*ends)


def test_every_evaluation_of_a_step_gets_the_same_past():
    p = Parameter(torch.tensor([3.0, -2.0]))
    optimizer = RM3(torch.optim.LBFGS([p], lr=0.1, max_iter=3))
    seen = []

    def closure():
        optimizer.zero_grad()
        loss = (p**2).sum() / 2
        loss.backward()
        seen.append(p.grad.clone())
        return loss

    for calls in (1, 2):
        optimizer.step(closure)
        last = optimizer.state[p]["rm3_last"]
        assert torch.equal(last, seen[-1])
        assert ("rm3_before" in optimizer.state[p]) == (calls == 2)

def test_a_median_of_sparse_gradients_is_refused():
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    optimizer = RM3(torch.optim.SGD(embedding.parameters(), lr=1.0))
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="sparse"):
        optimizer.step()
