"""The laws of modules."""

import copy
import io
import pickle

import torch
from torch import Tensor, nn

from tests.laws import calling
from tests.laws.calling import build, cast, floats, numbers, same, takes, untouched
from tests.laws.cases import Laws

laws = Laws("module", minimum=25)  # of one knob, without parameters and dtype

EXACT = torch.float64


def at_work(example, dtype=EXACT, **changes):
    """Return a module in evaluation mode and its inputs, in one precision."""
    return build(example, **changes).to(dtype).eval(), cast(example.inputs(), dtype)


def tensors(module):
    return {k: v for k, v in module.state_dict(keep_vars=True).items() if isinstance(v, Tensor)}


laws(calling.misspelt_keywords_are_refused)


@laws
def it_is_a_module(example, check):
    module, inputs = at_work(example)
    check(isinstance(module, nn.Module), "it is no torch.nn.Module")
    check(isinstance(repr(module), str), "it has no repr")
    outputs = floats(module(*inputs))
    check(outputs, "it returns no real tensor")
    check(all(x.isfinite().all() for x in outputs), "its output is not finite")
    if hasattr(module, "n_parameters"):
        count = sum(p.numel() for p in module.parameters())
        check(module.n_parameters == count, f"it says {module.n_parameters}, has {count}")


@laws
def knobs_are_live(example, check):
    def end(**changes):
        module, inputs = at_work(example, **changes)
        return numbers(module(*inputs))

    calling.knobs(example, check, end)


@laws.where(lambda example: "dtype" in takes(example))
def the_dtype_is_kept(example, check):
    for dtype in (torch.float32, torch.float64):
        module = build(example, dtype=dtype).eval()
        for name, x in tensors(module).items():
            if x.is_floating_point():
                check(x.dtype == dtype, f"dtype={dtype} is ignored: {name} is {x.dtype}")
        for output in numbers(module(*cast(example.inputs(), dtype))):
            if isinstance(output, Tensor) and output.is_floating_point():
                check(output.dtype == dtype, f"dtype={dtype} is ignored in the output")
    previous = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        reals = [x.dtype for x in tensors(build(example)).values() if x.is_floating_point()]
    finally:
        torch.set_default_dtype(previous)
    check(all(x == torch.float64 for x in reals), "torch's default dtype is ignored")


@laws.where(lambda example: "device" in takes(example))
def the_device_is_kept(example, check):
    for name, x in tensors(build(example, device="meta")).items():
        check(x.device.type == "meta", f"device is ignored: {name} is on {x.device}")
    check(build(example, device=torch.device("cpu")) is not None, "it takes no torch.device")


@laws
def it_moves_to_another_dtype(example, check):
    exact, inputs = at_work(example)
    expected = floats(exact(*inputs))
    for dtype, rtol in ((torch.float32, 1e-4), (torch.bfloat16, 0.2)):
        module, inputs = at_work(example, dtype)
        outputs = module(*inputs)
        for x in numbers(outputs):
            if isinstance(x, Tensor) and x.is_floating_point():
                check(x.dtype == dtype, f"after .to({dtype}) the output is {x.dtype}")
        for ours, theirs in zip(floats(outputs), expected, strict=True):
            scale = float(theirs.abs().max()) if theirs.numel() else 0.0
            check.close(
                ours, theirs, f"{dtype} does not follow float64", rtol=rtol, atol=rtol * scale
            )


@laws
def it_follows_its_training_flag(example, check):
    module, inputs = at_work(example)
    for mode in (True, False):
        module.train(mode)
        flags = {x.training for x in module.modules()}
        check(flags == {mode}, f"after train({mode}) a part of it is not in that mode")
        with torch.random.fork_rng(devices=[]):
            module(*inputs)
        flags = {x.training for x in module.modules()}
        check(flags == {mode}, f"forward changes the flag of a module in mode training={mode}")


@laws
def evaluation_is_repeatable(example, check):
    module, inputs = at_work(example)
    with (
        check.drawing_nothing(),
        untouched(check, lambda: numbers(inputs), "it changes its inputs"),
        untouched(check, lambda: numbers(module), "in evaluation it changes its state"),
    ):
        first = numbers(module(*inputs))
    check(same(numbers(module(*inputs)), first), "a second call returns something else")
    check(same(numbers(at_work(example)[0]), numbers(module)), "the same seed builds another")


@laws
def copies_are_the_same_module(example, check):
    module, inputs = at_work(example)
    expected = numbers(module(*inputs))
    saved = io.BytesIO()
    torch.save(module.state_dict(), saved)
    saved.seek(0)
    loaded, _ = at_work(example)
    with torch.no_grad():
        for x in tensors(loaded).values():
            if x.is_floating_point():
                x.fill_(0.5)
    loaded.load_state_dict(torch.load(saved, weights_only=True))
    copied, pickled = copy.deepcopy(module), pickle.loads(pickle.dumps(module))
    for other, how in ((loaded, "loading"), (copied, "deepcopy"), (pickled, "pickling")):
        check(same(numbers(other(*inputs)), expected), f"after {how} it is another module")
    for name, x in copied.named_parameters():
        own = dict(module.named_parameters())[name]
        check(x.data_ptr() != own.data_ptr() or not x.numel(), f"a deep copy shares {name}")


@laws
def gradients_are_those_of_the_values(example, check):
    module, inputs = at_work(example)
    names = [name for name, p in module.named_parameters() if p.requires_grad]
    values = [module.get_parameter(name).detach().clone().requires_grad_() for name in names]
    places = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.is_floating_point()]
    leaves = [inputs[i].detach().clone().requires_grad_() for i in places]

    def outputs(*variables):
        given = list(inputs)
        for i, x in zip(places, variables, strict=False):
            given[i] = x
        parameters = dict(zip(names, variables[len(places) :], strict=True))
        result = torch.func.functional_call(module, parameters, tuple(given))
        parts = result if isinstance(result, tuple | list) else (result,)
        return tuple(x for x in parts if isinstance(x, Tensor) and x.requires_grad)

    check(leaves or values, "nothing in it can be differentiated")
    holds = torch.autograd.gradcheck(
        outputs, (*leaves, *values), raise_exception=False, fast_mode=True
    )
    check(holds, "a gradient is not that of the value")


@laws
def every_parameter_is_live(example, check):
    module, inputs = at_work(example)
    outputs = [x for x in _tensors_of(module.train()(*inputs)) if x.requires_grad]
    parameters = {k: p for k, p in module.named_parameters() if p.requires_grad}
    check(bool(outputs) or not parameters, "its output has no graph")
    if parameters:
        total = sum((x * torch.linspace(0.5, 1.5, x.numel()).view_as(x)).sum() for x in outputs)
        gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            with check.part(f"every_parameter_is_live:{name}"):
                live = gradient is not None and (gradient != 0).any()
                check(live, f"the output does not depend on the parameter {name}")


def _tensors_of(result):
    return result if isinstance(result, tuple | list) else [result]


@laws
def it_can_be_exported(example, check):
    module, inputs = at_work(example, torch.float32)
    with torch.random.fork_rng(devices=[]):
        try:
            exported = torch.export.export(module, inputs).module()
        except Exception as error:
            raise AssertionError(f"torch.export fails: {error}") from error
    check.close(exported(*inputs), module(*inputs), "exported it is another module", rtol=1e-5)


test_law = laws.tests()
