import copy
import math

import pytest
import torch
from torch.nn import Parameter

from thalweg.optim import AdaHessian, GradientNoise

pytestmark = pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")


def noise(dtype=torch.float64, maximize=False, **arguments):
    """Return the noise of three steps."""
    p = Parameter(torch.zeros(4, 5, dtype=dtype))
    inner = torch.optim.SGD([p], lr=1.0, maximize=maximize)
    optimizer = GradientNoise(inner, **{"eta": 1.0, "seed": 0, **arguments})
    rows = []
    for _ in range(3):
        before = p.detach().clone()
        p.grad = torch.zeros_like(p)
        optimizer.step()
        rows.append(before - p.detach())
    return torch.stack(rows)


def test_the_noise_is_the_same_in_every_dtype_and_for_the_negative_loss():
    torch.testing.assert_close(noise(torch.float32).double(), noise(), rtol=0, atol=1e-6)
    assert torch.equal(noise(maximize=True), noise())


def test_without_a_seed_the_global_generators_is_taken():
    torch.manual_seed(5)
    first = noise(seed=None)
    torch.manual_seed(6)
    second = noise(seed=None)
    assert torch.equal(first, noise(seed=5))
    assert not torch.equal(first, second)


def test_every_evaluation_of_a_step_gets_the_same_noise():
    seen = []
    p = Parameter(torch.tensor([3.0, -2.0]))
    inner = torch.optim.LBFGS([p], lr=0.1, max_iter=3)
    optimizer = GradientNoise(inner, eta=0.1, seed=0)

    def closure():
        seen.append(p.detach().clone())
        optimizer.zero_grad()
        loss = (p**2).sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    assert len(seen) > 2
    assert torch.equal(p.grad, seen[-1])  # clean
    other = Parameter(torch.zeros(2))
    other.grad = torch.zeros(2)
    GradientNoise(torch.optim.SGD([other], lr=1.0), eta=0.1, seed=0).step()
    shifted = Parameter(torch.tensor([3.0, -2.0]))  # what the noise makes of the loss
    alone = torch.optim.LBFGS([shifted], lr=0.1, max_iter=3)

    def tilted():
        alone.zero_grad()
        loss = (shifted**2).sum() / 2 - (other.detach() * shifted).sum()
        loss.backward()
        return loss

    alone.step(tilted)
    torch.testing.assert_close(p, shifted)


def test_a_group_may_have_its_own_noise():
    quiet, loud = (Parameter(torch.zeros(3)) for _ in range(2))
    groups = [{"params": [quiet], "noise_eta": 0.0}, {"params": [loud]}]
    optimizer = GradientNoise(torch.optim.SGD(groups, lr=1.0), eta=1.0)
    quiet.grad, loud.grad = torch.zeros(3), torch.zeros(3)
    optimizer.step()
    assert not quiet.any()
    assert loud.all()
    with pytest.raises(ValueError, match="eta must be"):
        optimizer.add_param_group({"params": [Parameter(torch.zeros(1))], "noise_eta": -1.0})
    assert len(optimizer.param_groups) == 2


def test_a_run_without_noise_can_go_on_with_it():
    p = Parameter(torch.ones(3))
    plain = torch.optim.SGD([p], lr=0.1, momentum=0.9)
    p.grad = torch.ones(3)
    plain.step()
    saved = copy.deepcopy(plain.state_dict())
    optimizer = GradientNoise(torch.optim.SGD([p], lr=1.0), eta=0.3, seed=4)
    optimizer.load_state_dict(saved)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["noise_eta"], group["noise_step"]) == (0.1, 0.3, 0)
    assert "momentum_buffer" in optimizer.state[p]
    optimizer.step()
    assert group["noise_step"] == 1


def test_a_scaler_reaches_an_optimizer_that_unscales_by_itself():
    ends = []
    for scaled in (False, True):
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0, enabled=scaled)
        p = Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        optimizer = GradientNoise(AdaHessian([p], lr=0.1), eta=0.1, seed=0)
        for factor in (1.0, 1.0, math.inf) if scaled else (1.0, 1.0):
            optimizer.zero_grad()
            scaler.scale((p**4).sum() * factor).backward(create_graph=True)
            scaler.step(optimizer)
            scaler.update()
        assert optimizer.param_groups[0]["noise_step"] == optimizer.hessian_products == 2
        ends.append(p.detach())
    torch.testing.assert_close(*ends)


def test_what_is_no_optimizer_is_refused():
    with pytest.raises(TypeError, match="wraps an optimizer"):
        GradientNoise([Parameter(torch.zeros(1))])
    with pytest.raises(ValueError, match="seed must be a whole number"):
        GradientNoise(torch.optim.SGD([Parameter(torch.zeros(1))]), seed=0.5)
