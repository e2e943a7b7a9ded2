import math

import pytest
import torch
from torch.nn import Parameter

from thalweg.optim import DiffGrad

SHAPES = [(), (7,), (3, 5), (2, 3, 2), (4, 2, 3, 3), (0,), (1,), (190, 190), (70, 600)]


def parameters(dtype=torch.float64, seed=0):
    """Parameters of every shape, small and large, two of them not contiguous."""
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    tensors.append(torch.randn(6, 5, generator=generator, dtype=torch.float64).t())
    tensors.append(torch.randn(300, 200, generator=generator, dtype=torch.float64).t())
    return [Parameter(tensor.to(dtype)) for tensor in tensors]


def run(optimizer, params, steps, start=0):
    for t in range(start, start + steps):
        optimizer.zero_grad()
        joined = torch.cat([p.double().flatten() for p in params])
        loss = (joined.sin() * joined.roll(1)).sum() + t * joined.square().sum() / 10
        loss.backward()
        optimizer.step()
    return torch.cat([p.detach().double().flatten() for p in params])


def by_the_paper(gradients, theta, lr, beta1, beta2, eps, l2=0.0, decay=0.0):
    """The paper's equations for one number; returns every iterate."""
    m = v = previous = 0.0
    iterates = []
    for t, gradient in enumerate(gradients, start=1):
        g = gradient + l2 * theta
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        friction = 1 / (1 + math.exp(-abs(previous - g)))
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        theta = (1 - lr * decay) * theta - lr * friction * m_hat / (math.sqrt(v_hat) + eps)
        previous = g
        iterates.append(theta)
    return iterates


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(4,), (2, 2), (40_000,)])
def test_each_element_follows_the_equations(shape, weight_decay, decoupled):
    p = Parameter(torch.full(shape, 1.5, dtype=torch.float64))
    optimizer = DiffGrad(
        [p],
        0.05,
        betas=(0.7, 0.95),
        eps=1e-3,
        weight_decay=weight_decay,
        decoupled_weight_decay=decoupled,
    )
    generator = torch.Generator().manual_seed(1)
    gradients = torch.randn(15, 4, generator=generator, dtype=torch.float64)
    for gradient in gradients:
        p.grad = gradient.repeat(p.numel() // 4).view(shape)
        optimizer.step()
    decays = {"decay" if decoupled else "l2": weight_decay}
    expected = [
        by_the_paper(gradients[:, i].tolist(), 1.5, 0.05, 0.7, 0.95, 1e-3, **decays)[-1]
        for i in range(4)
    ]
    expected = torch.tensor(expected, dtype=torch.float64).repeat(p.numel() // 4).view(shape)
    torch.testing.assert_close(p.detach(), expected, rtol=1e-12, atol=1e-12)


def test_half_of_adams_step_where_the_gradient_stays():
    ours, adams = (Parameter(torch.zeros(3, dtype=torch.float64)) for _ in range(2))
    optimizers = DiffGrad([ours], 0.1), torch.optim.Adam([adams], 0.1)
    gradient = torch.tensor([1.0, -20.0, 1e-3], dtype=torch.float64)
    for t in range(6):
        before = ours.detach().clone(), adams.detach().clone()
        for p, optimizer in zip((ours, adams), optimizers, strict=True):
            p.grad = gradient.clone()
            optimizer.step()
        friction = torch.sigmoid(gradient.abs()) if t == 0 else 0.5
        torch.testing.assert_close(
            ours.detach() - before[0], friction * (adams.detach() - before[1]), rtol=1e-12, atol=0
        )


@pytest.mark.parametrize(
    ("weight_decay", "expected"),
    [
        (0.0, [-0.83010494681, 0.923027346157, 0.075557911328]),
        (0.1, [-0.826182028063, 0.92143904495, 0.07542925266]),
    ],
)
def test_numbers_of_the_authors_code(weight_decay, expected):
    # diffGrad_v2.py of github.com/shivram1987/diffGrad at 73233ba, its calls in torch's present
    # argument order, run in float64. It adds eps before the bias correction: hence 1e-9.
    p = Parameter(torch.tensor([-1.0, 1.5, 0.5], dtype=torch.float64))
    optimizer = DiffGrad([p], 0.05, betas=(0.8, 0.95), weight_decay=weight_decay)
    for _ in range(20):
        optimizer.zero_grad()
        x, y, z = p
        ((1 - x) ** 2 + 5 * (y - x * x) ** 2 + 0.5 * (z - x * y) ** 4 + (x * z).sin()).backward()
        optimizer.step()
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(p.detach(), expected, rtol=0, atol=1e-9)


def test_packing_groups_and_order_change_nothing():
    params = parameters()
    together = run(DiffGrad(params, 0.1), params, 5)
    params = parameters()
    groups = [{"params": [p]} for p in params]
    assert torch.equal(run(DiffGrad(groups, 0.1), params, 5), together)
    params = parameters()
    assert torch.equal(run(DiffGrad(params[::-1], 0.1), params, 5), together)


def large():
    """Return two parameters of one shape, each too large to be packed with others."""
    generator = torch.Generator().manual_seed(1)
    return [torch.nn.Parameter(torch.randn(200, 200, generator=generator)) for _ in range(2)]


def test_compiled_equals_eager_and_does_not_compile_again():
    results = []
    for compiled in (False, True):
        params = large()
        optimizer = DiffGrad(
            params, 0.1, weight_decay=0.1, decoupled_weight_decay=True, compile=compiled
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 8)  # of lr and betas
        run(optimizer, params, 1)
        with torch.compiler.set_stance("fail_on_recompile"):
            for t in range(1, 6):
                schedule.step()
                result = run(optimizer, params, 1, start=t)
        results.append(result)
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=2e-6)


def test_a_model_may_change_its_dtype_between_steps():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 20_000))
    optimizer = DiffGrad(model.parameters())
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        model.to(dtype)
        optimizer.zero_grad()
        model(torch.ones(2, 3, dtype=dtype)).square().mean().backward()
        before = [p.detach().clone() for p in model.parameters()]
        optimizer.step()
        for p, old in zip(model.parameters(), before, strict=True):
            assert optimizer.state[p]["exp_avg"].dtype == dtype
            assert not torch.equal(p, old)
