import pytest
import torch

from thalweg.linalg import minimize_gns
from thalweg.linalg._gradient_normalized import SOLVED, Layout, Point, _decrease, search

EPS = torch.finfo(torch.float64).eps


def numbers(*given):
    return torch.tensor(given, dtype=torch.float64)


def leaf(*given):
    return numbers(*given).requires_grad_()


def point_of(value, variables, hess, output=None):
    gradients = torch.autograd.grad(value, variables, create_graph=True, materialize_grads=True)
    return Layout(variables, [1.0] * len(variables)).point(value, gradients, output, hess, 4.0)


def test_a_step_that_lowers_by_just_what_is_due_is_taken():
    start = Point(1.0, numbers(1), torch.zeros_like)
    found = search(start, 1.0, lambda step: Point(7 / 8, numbers(1), torch.zeros_like), 1)
    assert found.step.tolist() == [-1]
    assert (found.gamma, found.trials) == (2.0, 1)


def test_a_damping_that_makes_the_hessian_singular_is_enlarged():
    start = Point(0.0, numbers(1), torch.neg)
    found = search(start, 1.0, lambda step: Point(-1.5, numbers(0.5), torch.neg), 1)
    assert found.step.tolist() == [-1]
    assert (found.gamma, found.trials, found.products) == (1.0, 1, 1)


def test_a_residual_of_just_the_tolerance_is_enough():
    matrix = torch.tensor([[0.5, SOLVED], [SOLVED, 1.0]], dtype=torch.float64)
    start = Point(1.0, numbers(1, 0), lambda v: matrix @ v)
    found = search(start, 2.0, lambda step: Point(0.0, numbers(0, 0), torch.clone), 2)
    assert found.products == 1


@pytest.mark.parametrize(
    ("value", "fall", "told"),
    [
        (1024.0, 1024 * 20 * EPS, 1024 * 20 * EPS),
        (1024.0, 1024 * 5 * EPS, 2.5),
        (1024.0, -1024 * 5 * EPS, 2.5),
        (0.0, 0.0, 2.5),
    ],
)
def test_where_rounding_hides_how_far_the_value_fell_the_gradients_tell(value, fall, told):
    here = Point(value, numbers(2, 1), torch.clone)
    there = Point(value - fall, numbers(1, 0), torch.clone)
    assert _decrease(here, there, numbers(-2, 1)) == told


def test_a_linear_function_is_followed_as_far_as_gamma_goes():
    variables = [leaf(1, 2)]
    start = point_of(variables[0] @ numbers(3, 4), variables, "exact")
    found = search(start, 0.5, lambda step: Point(-1e3, numbers(3, 4), torch.clone), 10)
    torch.testing.assert_close(found.step, numbers(-0.3, -0.4))


def test_what_a_variable_enters_linearly_has_no_curvature_along_it():
    p, q = leaf(1), leaf(2)
    product = point_of(1.5 * p.square().sum() + 2 * q.sum(), [p, q], "exact").product
    assert product(numbers(1, 1)).tolist() == [3, 0]


def test_what_the_output_does_not_depend_on_is_flat_to_gauss_newton():
    p, q = leaf(3), leaf(2)
    output = p.square()
    value = output.square().sum() / 2 + q.square().sum()
    product = point_of(value, [p, q], "gauss-newton", output).product
    assert product(numbers(1, 1)).tolist() == [36, 0]


def test_a_value_that_is_linear_in_the_output_is_flat_to_gauss_newton():
    p = leaf(3, 2)
    output = p.square()
    product = point_of(output.sum(), [p], "gauss-newton", output).product
    assert product(numbers(1, 1)).tolist() == [0, 0]


def test_fisher_starts_at_the_solution_as_elsewhere():
    solution = minimize_gns(lambda x: x.square().sum() ** 2 / 4, numbers(0, 0), hess="fisher")
    assert solution.iterations == 0
