"""The laws of solvers."""

import inspect
import math
import pickle

import torch
from torch import Tensor

from tests.laws import calling
from tests.laws.calling import call, cast, floats, numbers, same, takes
from tests.laws.cases import Laws
from thalweg.linalg import NotConverged, Solution

laws = Laws("solver", minimum=80)

ROUNDING = 1e-12  # in double precision, of the residual of a problem of order 1


def recomputed(example, solution, inputs):
    """Return the residual in double precision, whatever that of the solver is."""
    value = solution.value
    if isinstance(value, Tensor):
        value = value.double()
    assert example.residual is not None, "the example of a solver needs its residual"
    return example.residual(value, *cast(tuple(inputs), torch.float64))


def solved(example, *inputs, **changes):
    """Solve, and return what there is where that is not the solution."""
    try:
        return call(example, *inputs, **changes)
    except NotConverged as error:
        return error.solution


def reported_as_it_is(check, example, solution, inputs, what, rounding=ROUNDING):
    last, truth = solution.residuals[-1], recomputed(example, solution, inputs)
    close = math.isclose(last, truth, rel_tol=0.01, abs_tol=rounding)
    check(close, f"{what}: the residual is {truth:.2e}, reported is {last:.2e}")


laws(calling.misspelt_keywords_are_refused)
laws(calling.inputs_are_untouched)
laws(calling.global_generators_are_untouched)


@laws
def knobs_are_live(example, check):
    calling.knobs(example, check, lambda **changes: numbers(solved(example, **changes)))


@laws
def the_solution_is_in_order(example, check):
    solution = call(example)
    check(isinstance(solution, Solution), "it returns no Solution")
    check(solution.converged is True, "it does not converge on its own example")
    check(solution.iterations >= 2, "its example is solved at once: give a harder one")
    many = len(solution.residuals) == solution.iterations + 1
    check(many, f"{len(solution.residuals)} residuals for {solution.iterations} iterations")
    check(all(map(math.isfinite, solution.residuals)), "a residual is not finite")
    check(solution.residuals[-1] < solution.residuals[0], "the residual has not fallen")
    check(len(solution.reason.split()) > 3, f"the reason {solution.reason!r} is no sentence")
    check(all(x.isfinite().all() for x in floats(solution.value)), "the value is not finite")


@laws
def residuals_are_as_reported(example, check):
    inputs = example.inputs()
    whole = call(example)
    reported_as_it_is(check, example, whole, inputs, "at the end")
    for steps in sorted({0, 1, 2, whole.iterations // 2, whole.iterations - 1}):
        part = solved(example, max_steps=steps, throw=False)
        what = f"after {steps} steps"
        reported_as_it_is(check, example, part, inputs, what)
        check(part.residuals == whole.residuals[: steps + 1], f"{what}: another way is gone")
    for rtol in (1e-6, 1e-12, 1e-15):
        try:
            tight = solved(example, rtol=rtol, throw=False)
        except ValueError as error:
            check("rtol" in str(error), f"the refusal {error} does not say rtol")
        else:
            reported_as_it_is(check, example, tight, inputs, f"rtol={rtol}")
            met = tight.residuals[-1] <= rtol
            check(tight.converged == met, f"rtol={rtol}: converged is {tight.converged}")


@laws
def too_few_steps_are_owned_up_to(example, check):
    for steps in (0, 1):
        part = call(example, max_steps=steps, throw=False)
        check(part.converged is False, f"after {steps} steps it says it has converged")
        check(part.iterations == steps, f"of {steps} steps it makes {part.iterations}")
        check(len(part.reason.split()) > 5, f"the reason {part.reason!r} is no advice")
        try:
            call(example, max_steps=steps)
        except NotConverged as error:
            check(same(numbers(error.solution), numbers(part)), "what it raises holds another")
            again = pickle.loads(pickle.dumps(error))
            check(same(numbers(again.solution), numbers(part)), "the error cannot be pickled")
            check(str(error) == part.reason, "the error says another reason")
        else:
            check(False, f"after {steps} steps it raises nothing, though throw is set")


@laws
def limits_out_of_range_are_refused(example, check):
    for name, values in {"rtol": (0.0, -1.0, math.nan), "max_steps": (-1,)}.items():
        if name in takes(example):
            for x in values:
                wrong = {name: x}
                check.refuses(
                    ValueError,
                    lambda wrong=wrong: call(example, **wrong),
                    f"{name}={x}",
                    names=name,
                )


@laws
def single_precision_is_as_reported(example, check):
    inputs = cast(tuple(example.inputs()), torch.float32)
    solution = solved(example, *inputs)
    for x in numbers(solution.value):
        if isinstance(x, Tensor):
            check(x.dtype == torch.float32, f"of float32 it makes {x.dtype}")
    reported_as_it_is(check, example, solution, inputs, "in float32", rounding=1e-4)
    if solution.converged:
        check(recomputed(example, solution, inputs) < 1e-3, "in float32 it converges elsewhere")


@laws
def units_do_not_matter(example, check):
    inputs = example.inputs()
    expected = call(example)
    for scale in (2.0**-40, 2.0**40):
        scaled = tuple(x * scale if _is_real(x) else x for x in inputs)
        ours = solved(example, *scaled)
        what = f"all inputs times {scale:.0e}"
        check(all(x.isfinite().all() for x in floats(ours)), f"{what}: it is not finite")
        check(ours.converged, f"{what}: it does not converge: {ours.reason}")
        check(abs(ours.iterations - expected.iterations) <= 1, f"{what}: steps are more or fewer")
        reported_as_it_is(check, example, ours, scaled, what)


def _is_real(x):
    return isinstance(x, float) or (isinstance(x, Tensor) and x.is_floating_point())


@laws
def numbers_that_are_none_are_not_solved(example, check):
    for i, x in enumerate(example.inputs()):
        if isinstance(x, Tensor) and x.is_floating_point():
            for bad in (math.nan, math.inf):
                inputs = list(example.inputs())
                inputs[i] = x.clone()
                inputs[i].view(-1)[0] = bad
                what = f"{bad} in {[*takes(example)][i]}"
                try:
                    solution = solved(example, *inputs, max_steps=20)
                except (ValueError, RuntimeError) as error:
                    check(len(str(error).split()) > 4, f"{what}: the refusal {error} is terse")
                else:
                    check(not solution.converged, f"{what}: it says it has converged")


@laws
def inputs_that_do_not_fit_are_refused(example, check):
    for i, x in enumerate(example.inputs()):
        if isinstance(x, Tensor):
            inputs = list(example.inputs())
            inputs[i] = x[..., :-1]
            name = [*takes(example)][i]
            check.refuses(ValueError, lambda inputs=inputs: call(example, *inputs), f"{name} cut")


@laws
def strides_and_graphs_do_not_matter(example, check):
    expected = numbers(call(example))
    strided = [
        x.mT.contiguous().mT if isinstance(x, Tensor) and x.dim() > 1 else x
        for x in example.inputs()
    ]
    ours = call(example, *strided)
    check.close(floats(ours.value), floats(call(example).value), "strides matter", rtol=1e-6)
    leaves = [
        x.clone().requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x
        for x in example.inputs()
    ]
    check(same(numbers(call(example, *leaves)), expected), "inputs with a graph matter")


@laws
def limits_are_keywords(example, check):
    for name in ("max_steps", "throw"):
        check(name in takes(example), f"it takes no {name}")
        parameter = takes(example)[name]
        check(parameter.kind is inspect.Parameter.KEYWORD_ONLY, f"{name} is no keyword")
    check(takes(example)["throw"].default is True, "it does not raise by default")


test_law = laws.tests()
