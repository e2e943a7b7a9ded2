import copy
import io
import math
import pickle

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


def run(optimizer, params, steps, start=0, sign=1.0):
    for t in range(start, start + steps):
        optimizer.zero_grad()
        joined = torch.cat([p.double().flatten() for p in params])
        loss = (joined.sin() * joined.roll(1)).sum() + t * joined.square().sum() / 10
        (sign * loss).backward()
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


def test_parameters_that_pause_keep_their_own_step_count():
    steady, pausing = (Parameter(torch.ones(3)) for _ in range(2))
    optimizer = DiffGrad([steady, pausing])
    for t in range(4):
        steady.grad = torch.ones(3)
        pausing.grad = torch.ones(3) if t % 2 else None
        optimizer.step()
    alone = Parameter(torch.ones(3))
    other = DiffGrad([alone])
    for _ in range(2):
        alone.grad = torch.ones(3)
        other.step()
    assert [optimizer.state[p]["step"] for p in (steady, pausing)] == [4, 2]
    assert torch.equal(pausing, alone)


def test_resumes_bit_for_bit_through_every_kind_of_copy():
    params = parameters()
    whole = run(DiffGrad(params, 0.1, weight_decay=0.1), params, 6)
    params = parameters()
    optimizer = DiffGrad(params, 0.1, weight_decay=0.1)
    run(optimizer, params, 3)
    saved = io.BytesIO()
    torch.save([optimizer.state_dict(), [p.detach() for p in params]], saved)
    saved.seek(0)
    state, values = torch.load(saved, weights_only=True)
    loaded = [Parameter(value) for value in values]
    resumed = DiffGrad(loaded, 7.0)
    resumed.load_state_dict(state)
    copies = [
        (resumed, loaded),
        copy.deepcopy((optimizer, params)),
        pickle.loads(pickle.dumps((optimizer, params))),
        (optimizer, params),
    ]
    for another, its_params in copies:
        assert torch.equal(run(another, its_params, 3, start=3), whole)


def test_state_that_is_changed_or_replaced_counts():
    def after(change):
        p = Parameter(torch.ones(5))
        optimizer = DiffGrad([p, Parameter(torch.ones(3))], 0.1)
        for t in range(3):
            p.grad = torch.full((5,), t + 1.0)
            optimizer.step()
        change(optimizer.state[p])
        optimizer.step()
        return p.detach()

    untouched = after(lambda state: None)
    for name in DiffGrad.state_names:
        changed = after(lambda state, name=name: state[name].mul_(2))
        assert not torch.equal(changed, untouched)
        replaced = after(lambda state, name=name: state.update({name: state[name] * 2}))
        assert torch.equal(replaced, changed)


def test_single_precision_follows_double_and_bfloat16_stays_finite():
    params = parameters()
    exact = run(DiffGrad(params, 1e-2), params, 5)
    params = parameters(torch.float32)
    torch.testing.assert_close(run(DiffGrad(params, 1e-2), params, 5), exact, rtol=0, atol=2e-6)
    params = parameters(torch.bfloat16)
    assert run(DiffGrad(params, 1e-2), params, 5).isfinite().all()


def test_maximizing_is_minimizing_the_negative():
    params = parameters()
    down = run(DiffGrad(params, 0.1, weight_decay=0.1), params, 4)
    params = parameters()
    up = DiffGrad(params, 0.1, weight_decay=0.1, maximize=True)
    assert torch.equal(run(up, params, 4, sign=-1.0), down)


def test_a_step_touches_parameters_and_nothing_else():
    params = parameters()
    before = torch.cat([p.detach().flatten() for p in params])
    assert torch.equal(run(DiffGrad(params, 0.0), params, 3), before)
    gradients = [p.grad.clone() for p in params]
    generator = torch.get_rng_state()
    unused = Parameter(torch.ones(2))
    optimizer = DiffGrad([*params, unused], maximize=True)
    optimizer.step()
    assert all(torch.equal(p.grad, g) for p, g in zip(params, gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.equal(unused, torch.ones(2))
    assert unused not in optimizer.state


def test_a_closure_is_run_with_gradients_and_its_loss_returned_detached():
    p = Parameter(torch.tensor([2.0]))
    optimizer = DiffGrad([p])

    def closure():
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    assert loss.item() == 4.0
    assert not loss.requires_grad


def test_compiled_equals_eager_and_does_not_compile_again():
    results = []
    for compiled in (False, True):
        params = parameters(torch.float32)
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


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"lr": -1.0}, "lr must be a finite number >= 0, not -1.0"),
        ({"lr": math.nan}, "lr must be a finite number"),
        ({"lr": "fast"}, "lr must be a finite number"),
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers in \[0, 1\)"),
        ({"betas": 0.9}, "betas must be two numbers"),
        ({"eps": -1e-8}, "eps must be"),
        ({"weight_decay": -0.1}, "weight_decay must be"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        DiffGrad([Parameter(torch.ones(1))], **arguments)
    with pytest.raises(ValueError, match=sentence):
        DiffGrad([{"params": [Parameter(torch.ones(1))], **arguments}])


def test_a_misspelt_keyword_is_refused():
    with pytest.raises(TypeError, match="weigth_decay"):
        DiffGrad([Parameter(torch.ones(1))], weigth_decay=0.1)


def test_complex_parameters_and_sparse_gradients_are_refused():
    with pytest.raises(ValueError, match="takes real parameters"):
        DiffGrad([Parameter(torch.ones(1, dtype=torch.complex64))])
    embedding = torch.nn.Embedding(5, 2, sparse=True)
    optimizer = DiffGrad(embedding.parameters())
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="takes dense gradients"):
        optimizer.step()
    assert not optimizer.state


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


def test_a_refused_group_leaves_the_optimizer_as_it_was():
    optimizer = DiffGrad([Parameter(torch.ones(1))])
    with pytest.raises(ValueError, match="lr must be"):
        optimizer.add_param_group({"params": [Parameter(torch.ones(1))], "lr": -1.0})
    assert len(optimizer.param_groups) == 1
