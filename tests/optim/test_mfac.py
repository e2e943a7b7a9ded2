import io

import pytest
import torch
from torch.nn import Parameter

from thalweg.optim import MFAC


def run(optimizer, p, start, stop, rounded=lambda g: g):
    for t in range(start, stop):
        generator = torch.Generator().manual_seed(t)
        p.grad = rounded(torch.randn(p.shape, generator=generator)).to(p.dtype)
        optimizer.step()
    return p.detach().clone()


def test_a_window_in_half_precision_holds_rounded_gradients():
    p, q = Parameter(torch.zeros(20)), Parameter(torch.zeros(20))
    half = MFAC([p], lr=0.1, n_grads=4, history_dtype=torch.bfloat16)
    whole = MFAC([q], lr=0.1, n_grads=4)
    ours = run(half, p, 0, 6)
    assert torch.equal(ours, run(whole, q, 0, 6, lambda g: g.bfloat16().float()))
    assert half.state_dict()["state"]["window"]["grads"].dtype == torch.bfloat16


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("trained", [torch.bfloat16, torch.float32])
def test_the_window_survives_a_resume_bit_for_bit(stored, trained):
    p = Parameter(torch.zeros(20, dtype=trained))
    optimizer = MFAC([p], lr=0.1, n_grads=4, history_dtype=stored)
    run(optimizer, p, 0, 6)
    saved = io.BytesIO()
    torch.save([optimizer.state_dict(), p.detach()], saved)
    saved.seek(0)
    state, value = torch.load(saved, weights_only=True)
    q = Parameter(value)
    resumed = MFAC([q])
    resumed.load_state_dict(state)
    for name, kept in optimizer.state_dict()["state"]["window"].items():
        loaded = resumed.state_dict()["state"]["window"][name]
        torch.testing.assert_close(loaded, kept, rtol=0, atol=0)
    assert torch.equal(run(resumed, q, 6, 12), run(optimizer, p, 6, 12))


@pytest.mark.parametrize(("length", "damping", "rtol"), [(1e2, 1e-5, 1e-4), (1e6, 1e-12, 0.5)])
def test_gradients_that_are_long_and_all_alike_do_no_harm(length, damping, rtol):
    g = torch.linspace(1, 2, 100, dtype=torch.float64).float() * length
    p = Parameter(torch.zeros(100))
    optimizer = MFAC([p], lr=1.0, n_grads=8, damping=damping)
    for _ in range(20):
        p.grad = g
        optimizer.step()
    torch.testing.assert_close(p.detach(), -20 * g / g.square().sum(), rtol=rtol, atol=0)


def test_a_parameter_without_gradient_takes_no_memory():
    frozen, trained = Parameter(torch.zeros(1000), requires_grad=False), Parameter(torch.ones(3))
    optimizer = MFAC([frozen, trained], n_grads=2)
    run(optimizer, trained, 0, 1)
    assert optimizer.state_dict()["state"]["window"]["grads"].shape == (2, 3)


def test_groups_share_the_window():
    first, second = Parameter(torch.zeros(2)), Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match="damping must be the same"):
        MFAC([{"params": [first]}, {"params": [second], "damping": 1.0}])
