"""The factored last layer against a dense one."""

import copy
import pickle

import pytest
import torch
from torch import nn

from thalweg.losses import ZLoss
from thalweg.nn import SphericalLinear

D, C = 5, 12


def make(**settings):
    torch.manual_seed(1)
    return SphericalLinear(D, C, **{"dtype": torch.float64, **settings})


def batch(seed=0, n=6):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, D, generator=generator, dtype=torch.float64)
    return hidden, torch.randint(C, (n,), generator=generator)


def dense_step(weight, batches, lr, criterion):
    weight = weight.clone().requires_grad_()
    for hidden, target in batches:
        criterion(hidden @ weight.T, target).backward()
    return (weight - lr * weight.grad).detach()


def test_initial_weights_are_those_of_a_linear_layer():
    layer = make()
    torch.manual_seed(1)
    assert torch.equal(layer.weight, nn.Linear(D, C, bias=False, dtype=torch.float64).weight)


@pytest.mark.parametrize(
    "criterion",
    [
        ZLoss(2.0, 1.0, reduction="sum"),
        ZLoss(eps=0.1),
        ZLoss(weight=torch.linspace(0.5, 2, C)),
        ZLoss(ignore_index=3),
    ],
)
def test_every_setting_of_the_loss_steps_as_the_dense_layer_does(criterion):
    layer = make(criterion=criterion)
    hidden, target = batch()
    target[:2] = 3
    expected = dense_step(layer.weight, [(hidden, target)], 0.7, criterion)
    layer.loss(hidden, target).backward()
    layer.step(0.7)
    torch.testing.assert_close(layer.weight, expected)
    torch.testing.assert_close(layer.gram, expected.T @ expected)


def test_several_backwards_add_up_and_zero_grad_forgets_them():
    layer = make()
    layer.loss(*batch(9)).backward()
    layer.zero_grad()
    batches = [batch(1), batch(2, n=3)]
    expected = dense_step(layer.weight, batches, 0.5, layer.criterion)
    for hidden, target in batches:
        layer.loss(hidden, target).backward()
    layer.step(0.5)
    torch.testing.assert_close(layer.weight, expected)
    layer.step(0.5)  # nothing is left to apply
    torch.testing.assert_close(layer.weight, expected)


def test_a_frozen_layer_only_passes_gradients_on():
    layer = make().eval()
    before = layer.weight
    hidden, target = batch()
    hidden.requires_grad_()
    layer.loss(hidden, target).backward()
    layer.step(0.5)
    assert torch.equal(layer.weight, before)
    assert hidden.grad.abs().sum() > 0


def test_a_step_that_makes_the_factors_singular_folds_them():
    # This rate sends one direction of U to zero: dense SGD does not mind, V U alone would.
    layer = make(criterion=ZLoss(eps=1e-3))
    hidden, _ = batch(n=1)
    target = layer(hidden).argmax(1)
    layer.loss(hidden, target).backward()
    slope = layer._pending[0][2][2]
    lr = (C / (2 * slope * hidden.square().sum())).item()
    expected = dense_step(layer.weight, [(hidden, target)], lr, layer.criterion)
    layer.step(lr)
    torch.testing.assert_close(layer.weight, expected)
    assert torch.equal(layer.mixing, torch.eye(D, dtype=torch.float64))


def test_long_runs_in_single_precision_stay_true():
    layer = SphericalLinear(8, 30, criterion=ZLoss(1.0, 2.0))
    generator = torch.Generator().manual_seed(0)
    for _ in range(3000):
        hidden = torch.randn(4, 8, generator=generator)
        layer.loss(hidden, torch.randint(30, (4,), generator=generator)).backward()
        layer.step(2.0)
    weight = layer.weight
    torch.testing.assert_close(layer.gram, weight.T @ weight, rtol=1e-3, atol=1e-3)
    gram = layer.gram.clone()
    layer.refactor()
    torch.testing.assert_close(layer.weight, weight)
    torch.testing.assert_close(layer.gram, gram, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_and_loaded_layers_train_on_alike(again):
    layer = make()
    layer.loss(*batch(1)).backward()
    layer.step(0.5)
    loaded = make()
    loaded.load_state_dict(layer.state_dict())
    for other in (again(layer), loaded):
        ours = copy.deepcopy(layer)
        for x in (ours, other):
            x.loss(*batch(2)).backward()
            x.step(0.5)
        assert torch.equal(ours.weight, other.weight)


def test_leading_dimensions_and_schedules():
    layer, body = make(), nn.Linear(3, D, dtype=torch.float64)
    optimizer = torch.optim.SGD(body.parameters(), 0.5)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1)
    optimizer.register_step_post_hook(lambda o, *_: layer.step(o.param_groups[0]["lr"]))
    moved = []
    for _ in range(2):
        before = layer.weight
        layer.loss(body(torch.ones(2, 4, 3).double()), torch.arange(8).view(2, 4)).backward()
        optimizer.step()
        schedule.step()
        moved.append((layer.weight - before).norm())
    assert moved[1] < 0.2 * moved[0]
    assert layer(body(torch.ones(2, 4, 3).double())).shape == (2, 4, C)


def test_a_backward_through_weights_of_an_earlier_step_is_refused():
    layer = make()
    hidden, target = batch()
    stale = layer.loss(hidden.requires_grad_(), target)
    layer.loss(hidden, target).backward()
    layer.step(0.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        stale.backward()


def test_autocast_leaves_the_running_products_alone():
    layer = make(dtype=torch.float32)
    hidden, target = batch()
    plain = layer.loss(hidden.float(), target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer.loss(hidden.float(), target), plain)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: SphericalLinear(0, 5), "in_features is 0"),
        (lambda: SphericalLinear(3, 5, max_growth=1.0), "max_growth is 1.0"),
        (lambda: SphericalLinear(3, 5, dtype=torch.bfloat16), "float32 or float64"),
        (lambda: make().bfloat16().loss(*batch()), "a layer of float32 or float64"),
        (lambda: make().load_weight(torch.zeros(C, D + 1)), "give one of"),
        (lambda: make().loss(batch()[0][:, 1:], batch()[1]), "give hidden units"),
        (lambda: make().loss(batch()[0], batch()[1][1:]), "give hidden units"),
        (lambda: make().loss(batch()[0], batch()[1].double()), "give class indices"),
        (lambda: make().step(-1.0), "lr is -1.0"),
    ],
)
def test_what_does_not_fit_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
