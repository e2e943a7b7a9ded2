import copy

import pytest
import torch
from torch import nn

from thalweg.core.catalogue import catalogue
from thalweg.core.errors import RecipeError
from thalweg.nn import TrAct
from thalweg.problems import digits, quadratic


def slope(layer, x):
    layer.zero_grad()
    layer(x).sin().mean().backward()
    return layer.weight.grad.clone()


def test_it_shares_parameters_and_keeps_kind_and_names():
    plain = nn.Conv2d(3, 8, 3, padding=1)
    layer = TrAct(plain)
    assert isinstance(layer, nn.Conv2d)
    assert layer.weight is plain.weight
    assert list(layer.state_dict()) == list(plain.state_dict()) == ["weight", "bias"]
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(layer(x), plain(x))
    layer.bias = None
    assert type(plain) is nn.Conv2d
    assert plain.bias is not None
    with pytest.raises(TypeError, match="not a TrActConv2d"):
        TrAct(layer)


def test_patch_embeddings_are_linear_layers_on_patches():
    embed = TrAct(nn.Conv2d(3, 5, 4, stride=4).double())
    linear = TrAct(nn.Linear(48, 5).double())
    linear.weight.data, linear.bias.data = embed.weight.flatten(1).detach(), embed.bias.detach()
    images = torch.randn(6, 3, 8, 8, dtype=torch.float64)
    patches = nn.functional.unfold(images, 4, stride=4).mT
    ours, expected = slope(embed, images), slope(linear, patches)
    torch.testing.assert_close(ours.flatten(1), expected)


@pytest.mark.parametrize("shape", [(4, 9), (20, 9)])
def test_half_precision_and_autocast_solve_in_single(shape):
    layer, x = TrAct(nn.Linear(9, 4)), torch.randn(shape)
    exact = slope(layer, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = slope(layer, x)
    half = slope(copy.deepcopy(layer).bfloat16(), x.bfloat16())
    assert (mixed.dtype, half.dtype) == (torch.float32, torch.bfloat16)
    for rough in (mixed, half.float()):
        assert (rough - exact).norm() < 0.05 * exact.norm()


def test_no_samples_give_no_gradient():
    for layer, shape in ((nn.Linear(3, 2), (0, 3)), (nn.Conv1d(3, 2, 2), (0, 3, 5))):
        layer = TrAct(layer)
        layer(torch.zeros(shape)).sum().backward()
        assert not layer.weight.grad.any()


def test_the_recipe_takes_the_first_layer():
    problem = digits.problem()
    setup = problem.apply(catalogue().recipe("sgd+tract(lam=0.3)"), problem.setup(0))
    names = [name for name, module in setup.model.named_modules() if hasattr(module, "lam")]
    assert names == ["0"]
    assert setup.model[0].lam == 0.3
    problem = quadratic.problem()
    with pytest.raises(RecipeError, match="finds no linear"):
        problem.apply(catalogue().recipe("tract"), problem.setup(0))


def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match="not a BatchNorm1d"):
        TrAct(nn.BatchNorm1d(3))
    with pytest.raises(ValueError, match="lam is 0"):
        TrAct(nn.Linear(3, 2), lam=0)
