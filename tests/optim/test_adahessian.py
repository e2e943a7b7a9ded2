import gc
import math

import pytest
import torch
from torch import nn
from torch.nn import Parameter
from torch.nn import functional as F

from thalweg.optim import AdaHessian, _hessian

pytestmark = pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")


def coupled(params):
    """A loss whose Hessian is dense and differs everywhere."""
    joined = torch.cat([p.flatten() for p in params])
    return (joined**4).sum() / 10 + (joined.sin() * joined.roll(1)).sum() + joined.mean() ** 2


def run(optimizer, params, steps, loss=coupled):
    for _ in range(steps):
        optimizer.zero_grad()
        loss(params).backward(create_graph=True)
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in params])


def test_every_element_follows_the_equations_with_the_dense_hessian(monkeypatch):
    generator = torch.Generator().manual_seed(2)
    shapes = [(2, 3), (2, 1, 2, 2)]
    signs = [
        torch.randint(0, 2, (14,), generator=generator, dtype=torch.float64) * 2 - 1
        for _ in range(8)
    ]
    draws = iter(signs)

    def drawn(keys):
        flat = next(draws)
        return dict(zip(keys, (flat[:6].view(shapes[0]), flat[6:].view(shapes[1])), strict=True))

    monkeypatch.setattr(_hessian, "random_signs", drawn)
    start = torch.randn(14, generator=generator, dtype=torch.float64)
    params = [
        Parameter(start[:6].clone().view(shapes[0])),
        Parameter(start[6:].clone().view(shapes[1])),
    ]
    lr, beta1, beta2, eps, power, decay = 0.05, 0.7, 0.9, 1e-2, 0.6, 0.1
    optimizer = AdaHessian(
        params, lr, betas=(beta1, beta2), eps=eps, hessian_power=power, weight_decay=decay
    )
    run(optimizer, params, 8)

    theta, m, s = start.tolist(), [0.0] * 14, [0.0] * 14
    for t in range(1, 9):
        point = torch.tensor(theta, dtype=torch.float64)
        gradient = torch.autograd.functional.jacobian(lambda x: coupled([x]), point).tolist()
        hessian = torch.autograd.functional.hessian(lambda x: coupled([x]), point).tolist()
        z = signs[t - 1].tolist()
        h = [abs(sum(hessian[i][j] * z[j] for j in range(14))) for i in range(14)]
        for kernel in (range(6, 10), range(10, 14)):  # 2 x 2 kernels share their mean
            mean = sum(h[i] for i in kernel) / 4
            for i in kernel:
                h[i] = mean
        for i in range(14):
            m[i] = beta1 * m[i] + (1 - beta1) * gradient[i]
            s[i] = beta2 * s[i] + (1 - beta2) * h[i] ** 2
            m_hat, s_hat = m[i] / (1 - beta1**t), s[i] / (1 - beta2**t)
            theta[i] -= lr * (m_hat / (math.sqrt(s_hat) ** power + eps) + decay * theta[i])
    ours = torch.cat([p.detach().flatten() for p in params])
    expected = torch.tensor(theta, dtype=torch.float64)
    torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-11)


def test_one_step_solves_a_diagonal_quadratic():
    curvature = torch.logspace(-3, 6, 50_000, dtype=torch.float64)
    p = Parameter(torch.linspace(-3, 3, 50_000, dtype=torch.float64))
    optimizer = AdaHessian([p], lr=1.0, betas=(0.0, 0.0), eps=0.0)
    run(optimizer, [p], 1, lambda params: (curvature * params[0] ** 2).sum() / 2)
    torch.testing.assert_close(p.detach(), torch.zeros_like(p), rtol=0, atol=1e-15)


# optim_adahessian.py of github.com/amirgholami/adahessian (image_classification) at 85ebc00, run
# unchanged in float64 on a loss of diagonal Hessian: the signs drawn then do not matter.
AUTHORS = [
    (
        {},
        [
            *(-0.279237003107, -0.195759292714, -0.17608130643, -0.086094541276),
            *(0.125535293665, 0.307590533134, 0.319971190434, 0.16679661095),
            *(0.009693133241, -0.699647199988, 1.621733552356),
        ],
    ),
    (
        {
            "lr": 0.1,
            "betas": (0.8, 0.9),
            "eps": 1e-3,
            "weight_decay": 0.1,
            "hessian_power": 0.5,
        },
        [
            *(0.015513043643, 0.013882131141, -0.037428495502, -0.037328148031),
            *(0.068085327132, 0.080986655185, -0.087897451455, -0.372882502373),
            *(0.111694573615, 0.466035008518, 1.069412587039),
        ],
    ),
]


@pytest.mark.parametrize(("arguments", "expected"), AUTHORS)
def test_numbers_of_the_authors_code(arguments, expected):
    kernel = Parameter(torch.linspace(-1, 1, 8, dtype=torch.float64).view(2, 1, 2, 2))
    bias = Parameter(torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64))
    weight = torch.arange(1.0, 9.0, dtype=torch.float64).view(2, 1, 2, 2)
    scale = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    ours = run(
        AdaHessian([kernel, bias], **arguments),
        [kernel, bias],
        10,
        lambda _: (weight * kernel**4).sum() + (kernel**2).sum() + (scale * bias.cosh()).sum(),
    )
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-11)


def test_the_signs_are_fair_independent_and_repeatable():
    params = [torch.empty(10_000), torch.empty(101, 99), torch.empty(0), torch.empty(())]
    draws = [
        torch.cat([z.flatten() for z in _hessian.random_signs(dict.fromkeys(params, key)).values()])
        for key in ((0, 0), (0, 1), (1, 0), (0, 0, 4))
    ]
    again = _hessian.random_signs(dict.fromkeys(params, (0, 0)))
    assert torch.equal(torch.cat([z.flatten() for z in again.values()]), draws[0])
    assert [z.shape for z in again.values()] == [p.shape for p in params]
    correlations = torch.corrcoef(torch.stack(draws))
    assert (correlations - torch.eye(4)).abs().max() < 0.03  # 4 standard deviations
    for draw in draws:
        assert set(draw.tolist()) == {-1.0, 1.0}
        assert abs(draw.mean()) < 0.03
        assert abs((draw[1:] * draw[:-1]).mean()) < 0.03


def test_between_refreshes_the_last_curvature_is_used_and_no_graph_is_needed():
    curvature = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
    p = Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = AdaHessian([p], 0.5, betas=(0.0, 0.5), eps=0.0, hessian_interval=3)
    for t in range(7):
        optimizer.zero_grad()
        (curvature * p**2).sum().div(2).backward(create_graph=t % 3 == 0)
        optimizer.step()
        torch.testing.assert_close(p.detach(), torch.full_like(p, 0.5 ** (t + 1)))
    assert optimizer.hessian_products == 3


def test_parameters_the_loss_is_linear_in_have_no_curvature():
    bent, linear = Parameter(torch.ones(2)), Parameter(torch.ones(2))
    optimizer = AdaHessian([bent, linear], lr=1.0, betas=(0.0, 0.0), eps=0.5)
    (bent.square().sum() + 2 * linear.sum()).backward(create_graph=True)
    optimizer.step()
    torch.testing.assert_close(bent.detach(), torch.full((2,), 1 - 2 / 2.5))
    torch.testing.assert_close(linear.detach(), torch.full((2,), 1 - 2 / 0.5))


def test_a_closure_leaves_no_graph_to_the_garbage_collector():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(72, 10))
    optimizer = AdaHessian(model.parameters(), lr=1e-3)
    batch, target = torch.ones(4, 1, 8, 8), torch.zeros(4, dtype=torch.long)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch), target)
        loss.backward(create_graph=True)
        return loss

    gc.collect()
    gc.disable()
    try:
        alive = []
        for t in range(200):
            assert not optimizer.step(closure).requires_grad
            if t in (2, 199):
                alive.append(sum(type(x) in (torch.Tensor, Parameter) for x in gc.get_objects()))
    finally:
        gc.enable()
    assert alive[0] == alive[1]
    assert optimizer.hessian_products == 200


def test_gradients_that_a_grad_scaler_unscaled_are_refused():
    p = Parameter(torch.ones(3))
    optimizer = AdaHessian([p])
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(p.pow(4).sum()).backward(create_graph=True)
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="leave out"):
        scaler.step(optimizer)
    run(optimizer, [p], 1)  # which takes no notice of that scaler


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"hessian_power": 1.5}, r"hessian_power must be in \[0, 1\], not 1.5"),
        ({"hessian_interval": 0}, "hessian_interval must be a whole number >= 1, not 0"),
        ({"hessian_interval": 1.5}, "hessian_interval must be a whole number"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        AdaHessian([Parameter(torch.ones(1))], **arguments)
