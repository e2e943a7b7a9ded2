"""The laws of diagnostics."""

import copy
import dataclasses
import json

import torch
from torch import Tensor, nn

from tests.laws import calling
from tests.laws.calling import call, cast, floats, numbers, same, takes, untouched
from tests.laws.cases import Laws

laws = Laws("diagnostic", minimum=50)  # without data


def measured(example):
    """Return what is measured, in double precision: each sample's rounding is then out of sight."""
    return cast(example.inputs(), torch.float64)


def models(inputs):
    """Return the models among the inputs, and in lists among them."""
    parts = [x for part in inputs for x in (part if isinstance(part, list | tuple) else [part])]
    return [x for x in parts if isinstance(x, nn.Module)]


def with_data(inputs, change):
    """Return the inputs with the pair of tensors among them changed."""
    return tuple(change(*x) if _is_pair(x) else x for x in inputs)


def has_data(example):
    return example.inputs is not None and any(map(_is_pair, example.inputs()))


def _is_pair(x):
    return isinstance(x, tuple) and len(x) == 2 and all(isinstance(part, Tensor) for part in x)


def in_batches(inputs, size):
    return with_data(inputs, lambda *pair: list(zip(*(x.split(size) for x in pair), strict=True)))


def state(inputs):
    """Return everything about the models that a measurement must leave alone."""
    return [
        x
        for model in models(inputs)
        for x in (
            *numbers(model),
            *(p.requires_grad for p in model.parameters()),
            *(None if p.grad is None else id(p.grad) for p in model.parameters()),
            *numbers([p.grad for p in model.parameters() if p.grad is not None]),
            *(module.training for module in model.modules()),
            *(len(hooks) for module in model.modules() for hooks in _hooks(module)),
        )
    ] + [torch.is_grad_enabled()]


def _hooks(module):
    return module._forward_hooks, module._forward_pre_hooks, module._backward_hooks


def unsettle(inputs):
    """Give the models gradients, and modes that differ from part to part."""
    for model in models(inputs):
        for i, p in enumerate(model.parameters()):
            p.grad = torch.full_like(p, 0.5) if i % 2 else None
        for i, module in enumerate(model.modules()):
            module.training = i % 2 == 0
    return inputs


class Noise(nn.Module):
    """Adds noise to what a model returns: always, or in training only."""

    def __init__(self, model, always):
        super().__init__()
        self.model, self.always = model, always

    def forward(self, *inputs):
        output = self.model(*inputs)
        noisy = self.always or self.training
        return output + torch.rand_like(output) if noisy else output


def replaced(inputs, change):
    """Return the inputs with every model replaced; a loss, behind the data, stays."""
    place = next((i for i, x in enumerate(inputs) if _is_pair(x)), len(inputs))

    def changed(x):
        if isinstance(x, list | tuple):
            return type(x)(map(changed, x))
        return change(x) if isinstance(x, nn.Module) else x

    return (*map(changed, inputs[:place]), *inputs[place:])


laws(calling.misspelt_keywords_are_refused)
laws(calling.knobs_are_live)
laws(calling.global_generators_are_untouched)


@laws
def the_result_is_frozen_and_can_be_shown(example, check):
    result = call(example)
    check(dataclasses.is_dataclass(result), "it returns no dataclass")
    check(type(result).__dataclass_params__.frozen, "its result is not frozen")
    told = json.loads(json.dumps(result.to_dict()))
    check(isinstance(told, dict) and told, "to_dict tells nothing")
    missing = {field.name for field in dataclasses.fields(result)} - set(told)
    check(not missing, f"to_dict leaves out {sorted(missing)}")
    chart = json.loads(result.chart().to_json())
    check("vega-lite" in chart["$schema"], "chart() is no chart of altair's")
    parts = vars(result).values()
    graph = any(x.requires_grad for x in parts if isinstance(x, Tensor))
    check(not graph, "its result holds the graph of what it was computed with")
    finite = all(x.isfinite().all() for x in floats(result))
    check(finite, "its result holds a number that is not finite")


@laws.where(lambda example: has_data(example) or "batch_size" in takes(example))
def the_size_of_batches_does_not_matter(example, check):
    inputs = measured(example)
    whole = floats(call(example, *inputs))
    sizes = (1, 3) if has_data(example) else ()
    others = {f"lists of {n}": in_batches(inputs, n) for n in sizes}
    ends = {name: floats(call(example, *given)) for name, given in others.items()}
    if "batch_size" in takes(example):
        for size in (1, 3):
            ends[f"batch_size={size}"] = floats(call(example, *inputs, batch_size=size))
    for name, end in ends.items():
        check(len(end) == len(whole), f"{name}: there are other results")
        for ours, expected in zip(end, whole, strict=True):
            scale = float(expected.abs().max()) if expected.numel() else 0.0
            sentence = f"{name}: it depends on the size of the batches"
            check.close(ours, expected, sentence, rtol=1e-6, atol=1e-7 * scale)


@laws
def models_and_data_are_untouched(example, check):
    inputs = unsettle(measured(example))
    with (
        untouched(check, lambda: state(inputs), "a model, its gradients or modes are changed"),
        untouched(check, lambda: numbers(inputs), "its inputs are changed"),
    ):
        call(example, *inputs)


@laws
def a_failure_leaves_the_model_untouched(example, check):
    for passes in (0, 1, 4):
        inputs = unsettle(measured(example))
        count = 0

        def fail(module, given, passes=passes):
            nonlocal count
            count += 1
            if count > passes:
                raise ArithmeticError("on purpose")

        handles = [model.register_forward_pre_hook(fail) for model in models(inputs)]
        with (
            untouched(check, lambda inputs=inputs: state(inputs), "after a failure it is changed"),
            check.drawing_nothing(),
        ):
            try:
                call(example, *inputs)
            except ArithmeticError:
                pass
            else:
                check(count <= passes, "it swallows an error of the model")
        for handle in handles:
            handle.remove()


@laws
def randomness_in_the_model_is_refused_or_without_effect(example, check):
    for always in (True, False):
        ends = []
        for seed in (0, 1):
            inputs = measured(example)
            noisy = replaced(inputs, lambda model, always=always: Noise(model, always).train())
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                try:
                    ends.append(numbers(call(example, *noisy)))
                except ValueError as error:
                    ends.append("refused")
                    check(len(str(error).split()) > 5, f"the refusal {error} is no sentence")
        alike = ends[0] == ends[1] if "refused" in ends else same(*ends)
        check(alike, f"it measures noise ({'always' if always else 'in training'} random model)")


@laws
def the_mode_of_the_model_does_not_matter(example, check):
    ends = []
    for mode in (True, False):
        inputs = replaced(measured(example), lambda model, mode=mode: model.train(mode))
        ends.append(numbers(call(example, *inputs)))
    check(same(*ends), "a model in training mode measures otherwise")


@laws.where(has_data)
def data_that_can_be_read_once_is_refused_or_enough(example, check):
    inputs = measured(example)
    whole = floats(call(example, *inputs))
    once = with_data(in_batches(inputs, 3), lambda *pair: pair)
    once = tuple(iter(x) if isinstance(x, list) and not models([x]) else x for x in once)
    try:
        ours = floats(call(example, *once))
    except (TypeError, ValueError) as error:
        check(len(str(error).split()) > 5, f"the refusal {error} is no sentence")
    else:
        for x, y in zip(ours, whole, strict=True):
            check.close(x, y, "an iterator that ends is not seen to", rtol=1e-5, atol=1e-7)


@laws.where(has_data)
def bad_data_is_refused(example, check):
    inputs = measured(example)
    empty = with_data(inputs, lambda x, y: (x[:0], y[:0]))
    uneven = with_data(inputs, lambda x, y: (x, y[:-1]))
    none = with_data(inputs, lambda x, y: [])
    for given, what in ((empty, "no samples"), (uneven, "targets too few"), (none, "no batches")):
        check.refuses(ValueError, lambda given=given: call(example, *given), what)
    number = with_data(inputs, lambda x, y: 7)
    check.refuses(TypeError, lambda: call(example, *number), "a number in place of data")
    if "batch_size" in takes(example):
        check.refuses(ValueError, lambda: call(example, *inputs, batch_size=0), "batch_size=0")


@laws
def single_precision_follows_double(example, check):
    exact = floats(call(example, *measured(example)))
    inputs = cast(copy.deepcopy(example.inputs()), torch.float32)
    single = floats(call(example, *inputs))
    check(all(x.isfinite().all() for x in single), "in single precision it is not finite")
    check(len(single) == len(exact), "in single precision there are other results")


test_law = laws.tests()
