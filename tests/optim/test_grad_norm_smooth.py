import pytest
import torch
from torch import nn

from thalweg.linalg import NotConverged, minimize_gns
from thalweg.optim import GradNormSmooth


def test_a_network_is_fitted_by_gauss_newton():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    x = torch.randn(64, 2)
    y = (x[:, :1] * x[:, 1:]).sin()
    optimizer = GradNormSmooth(model.parameters(), hess="gauss-newton")

    def closure():
        optimizer.zero_grad()
        output = model(x)
        loss = nn.functional.mse_loss(output, y)
        loss.backward(create_graph=True)
        return loss, output

    losses = [float(optimizer.step(closure)) for _ in range(6)]
    assert losses[-1] < losses[0] / 3
    assert losses == sorted(losses, reverse=True)


def test_gauss_newton_wants_the_output_too():
    p = nn.Parameter(torch.ones(2))
    optimizer = GradNormSmooth([p], hess="gauss-newton")
    with pytest.raises(ValueError, match="return loss, output"):
        optimizer.step(lambda: p.sum())


def test_groups_differ_in_their_rate_alone():
    p, q = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="lr only"):
        GradNormSmooth([{"params": [p]}, {"params": [q], "gamma0": 2.0}])


def test_a_large_problem_takes_few_products():
    n = 100_000
    h = torch.linspace(1, 2, n)
    solution = minimize_gns(lambda x: (h * x).square().sum() / 2, torch.ones(n), rtol=1e-4)
    assert solution.products < 15 * solution.iterations
    assert solution.value.abs().max() < 1e-3


def test_a_value_that_is_not_the_gradients_is_owned_up_to():
    def upside_down(x):
        return (2 * x.detach() - x).sum()  # it rises where its gradient says that it falls

    with pytest.raises(NotConverged, match="no step lowers f"):
        minimize_gns(upside_down, torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"hess": "newton"}, "gauss-newton"),
        ({"gamma0": 0.0}, "gamma0"),
        ({"power": 1.0}, "power"),
        ({"max_products": 0}, "max_products"),
    ],
)
def test_arguments_out_of_range_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        minimize_gns(torch.sum, torch.ones(2), **wrong)


def test_what_f_returns_is_looked_at():
    with pytest.raises(ValueError, match="single real number"):
        minimize_gns(lambda x: x, torch.ones(2))
    with pytest.raises(ValueError, match="never negative"):
        minimize_gns(lambda x: -x.square().sum(), torch.ones(2), hess="fisher")
