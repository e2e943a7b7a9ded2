import contextlib
import copy
import gc
import io
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


def parameters(seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(), (3,), (2, 3), (2, 2, 3), (2, 1, 2, 2), (0,)]
    return [
        Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in shapes
    ]


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


def test_resumes_bit_for_bit_and_groups_change_nothing():
    params = parameters()
    whole = run(AdaHessian(params, hessian_interval=2), params, 7)
    params = parameters()
    optimizer = AdaHessian(params, hessian_interval=2)
    run(optimizer, params, 3)
    saved = io.BytesIO()
    torch.save(optimizer.state_dict(), saved)
    saved.seek(0)
    other = copy.deepcopy(params)
    resumed = AdaHessian(other, 1.0, seed=9)
    resumed.load_state_dict(torch.load(saved, weights_only=True))
    assert torch.equal(run(resumed, other, 4), whole)
    optimizer, params = copy.deepcopy((optimizer, params))
    assert torch.equal(run(optimizer, params, 4), whole)
    params = parameters()
    groups = [{"params": params[:2]}, {"params": params[2:]}]
    assert torch.equal(run(AdaHessian(groups, hessian_interval=2), params, 7), whole)


def test_each_hyperparameter_has_its_effect():
    def result(**arguments):
        params = parameters()
        return run(AdaHessian(params, **arguments), params, 5)

    default = result()
    for arguments in (
        {"lr": 0.1},
        {"betas": (0.8, 0.999)},
        {"betas": (0.9, 0.9)},
        {"eps": 1e-2},
        {"weight_decay": 0.1},
        {"hessian_power": 0.5},
        {"hessian_interval": 2},
        {"spatial_average": False},
        {"seed": 1},
        {"maximize": True},
    ):
        assert not torch.allclose(result(**arguments), default)


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


def test_a_gradient_without_graph_is_refused_with_the_right_call():
    params = parameters()
    optimizer = AdaHessian(params)
    before = [p.detach().clone() for p in params]
    coupled(params).backward()
    with pytest.raises(RuntimeError, match=r"loss\.backward\(create_graph=True\)"):
        optimizer.step()
    assert not optimizer.state
    assert all(torch.equal(p, old) for p, old in zip(params, before, strict=True))


def test_parameters_the_loss_is_linear_in_have_no_curvature():
    bent, linear = Parameter(torch.ones(2)), Parameter(torch.ones(2))
    optimizer = AdaHessian([bent, linear], lr=1.0, betas=(0.0, 0.0), eps=0.5)
    (bent.square().sum() + 2 * linear.sum()).backward(create_graph=True)
    optimizer.step()
    torch.testing.assert_close(bent.detach(), torch.full((2,), 1 - 2 / 2.5))
    torch.testing.assert_close(linear.detach(), torch.full((2,), 1 - 2 / 0.5))


def test_gradients_keep_their_values_and_the_generators_their_state():
    params = parameters()
    optimizer = AdaHessian(params)
    coupled(params).backward(create_graph=True)
    gradients = [p.grad.detach().clone() for p in params]
    generator = torch.get_rng_state()
    optimizer.step()
    assert torch.equal(torch.get_rng_state(), generator)
    for p, gradient in zip(params, gradients, strict=True):
        assert torch.equal(p.grad, gradient)
        assert not p.grad.requires_grad


@pytest.mark.parametrize("with_closure", [False, True])
def test_the_graph_is_freed_without_the_garbage_collector(with_closure):
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
            if with_closure:
                assert not optimizer.step(closure).requires_grad
            else:
                closure()
                optimizer.step()
            if t in (2, 199):
                alive.append(sum(type(x) in (torch.Tensor, Parameter) for x in gc.get_objects()))
    finally:
        gc.enable()
    assert alive[0] == alive[1]
    assert optimizer.hessian_products == 200


def test_a_grad_scaler_changes_nothing_but_skips_overflows():
    def train(scaler):
        params = parameters()
        optimizer = AdaHessian(params)
        for _ in range(4):
            optimizer.zero_grad()
            scaler.scale(coupled(params)).backward(create_graph=True)
            scaler.step(optimizer)
            scaler.update()
        return optimizer, params

    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimizer, params = train(scaler)
    _, expected = train(torch.amp.GradScaler("cpu", enabled=False))
    for p, q in zip(params, expected, strict=True):
        torch.testing.assert_close(p, q)
    before = [p.detach().clone() for p in params]
    scaler.scale(coupled(params) * math.inf).backward(create_graph=True)
    scaler.step(optimizer)
    assert all(torch.equal(p, old) for p, old in zip(params, before, strict=True))
    scaler.update()
    optimizer.zero_grad()
    scaler.scale(coupled(params)).backward(create_graph=True)
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="leave out"):
        scaler.step(optimizer)
    run(optimizer, params, 1)


def test_two_processes_equal_one(tmp_path):
    meeting, result = tmp_path / "meeting", tmp_path / "result"
    torch.multiprocessing.spawn(one_of_two, (str(meeting), str(result)), nprocs=2)
    for interval, double in torch.load(result, weights_only=True).items():
        torch.testing.assert_close(double, train_regression(interval), rtol=0, atol=1e-10)


def one_of_two(rank, meeting, result):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=2
    )
    trained = {interval: train_regression(interval, rank) for interval in (1, 2)}
    if rank == 0:
        torch.save(trained, result)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def train_regression(interval, rank=None):
    generator = torch.Generator().manual_seed(0)
    batch, target = torch.randn(2, 8, 1, 5, 5, generator=generator, dtype=torch.float64)
    target = target.flatten(1).sum(1, keepdim=True)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(18, 1)).double()
    net = model
    if rank is not None:
        net = nn.parallel.DistributedDataParallel(model)
        batch, target = batch[rank::2], target[rank::2]
    optimizer = AdaHessian(net.parameters(), 0.01, hessian_interval=interval)
    for t in range(4):
        optimizer.zero_grad()
        graph = t % interval == 0
        local = net.no_sync() if graph and rank is not None else contextlib.nullcontext()
        with local:
            F.mse_loss(net(batch), target).backward(create_graph=graph)
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"hessian_power": 1.5}, r"hessian_power must be in \[0, 1\], not 1.5"),
        ({"hessian_interval": 0}, "hessian_interval must be a whole number >= 1, not 0"),
        ({"hessian_interval": 1.5}, "hessian_interval must be a whole number"),
        ({"lr": -0.1}, "lr must be"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        AdaHessian([Parameter(torch.ones(1))], **arguments)
