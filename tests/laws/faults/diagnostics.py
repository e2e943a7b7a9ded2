"""A diagnostic that obeys all laws, and ways to break it."""

import dataclasses
from collections.abc import Iterator
from functools import partial

import altair as alt
import torch
from torch import nn

from tests.laws import calling
from tests.laws import test_diagnostics as laws
from tests.laws.cases import Fault
from thalweg.core.example import Example


@dataclasses.dataclass(frozen=True)
class Steepness:
    """The mean loss, and the gradient's norm along a random direction."""

    loss: float
    slope: torch.Tensor

    def to_dict(self):
        return {"loss": self.loss, "slope": self.slope.tolist()}

    def chart(self):
        return alt.Chart(alt.InlineData(values=[self.to_dict()])).mark_bar().encode(y="loss:Q")


class Measure:
    """A measurement in steps, so that one of them can be broken."""

    result = Steepness

    def __call__(self, model, data, loss, scale, batch_size, seed):
        batches = self.batches(data, batch_size)
        modes = [(module, module.training) for module in model.modules()]
        with torch.random.fork_rng(devices=[]):
            try:
                model.eval()
                self.probe(model, batches)
                return self.measure(model, batches, loss, scale, seed)
            finally:
                self.restore(modes)

    def batches(self, data, batch_size):
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; give at least 1")
        if isinstance(data, tuple):
            if len(data[0]) != len(data[1]):
                raise ValueError("inputs and targets differ in number: give one target a sample")
            x, y = data
            data = list(zip(x.split(batch_size), y.split(batch_size), strict=True))
        if isinstance(data, Iterator):
            raise TypeError("the data can be read only once: give a list of batches")
        if not data or not len(data[0][0]):
            raise ValueError("there are no samples in the data: give one at least")
        return data

    def probe(self, model, batches):
        with torch.no_grad():
            once, again = (model(batches[0][0]) for _ in range(2))
        if not torch.equal(once, again):
            raise ValueError("the model is random in evaluation mode: make it deterministic")

    def measure(self, model, batches, loss, scale, seed):
        parameters = [p for p in model.parameters() if p.requires_grad]
        n = sum(len(x) for x, _ in batches)
        value = sum(self.share(x, n, batches) * loss(model(x), y) for x, y in batches)
        gradient = self.gradient(value, parameters)
        generator = torch.Generator().manual_seed(seed)
        direction = torch.randn(len(gradient), generator=generator).to(gradient)
        return self.result(float(value.detach()), scale * (gradient @ direction)[None])

    def gradient(self, value, parameters):
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters)])

    def share(self, x, n, batches):
        return len(x) / n

    def restore(self, modes):
        for module, mode in modes:
            module.training = mode


class Trains(Measure):
    def restore(self, modes):
        modes[0][0].train()


class Evaluates(Measure):
    def __call__(self, model, data, loss, scale, batch_size, seed):
        modes = [(module, module.training) for module in model.modules()]
        batches = self.batches(data, batch_size)
        model.eval()
        self.probe(model, batches)
        found = self.measure(model, batches, loss, scale, seed)
        self.restore(modes)
        return found


class MeanOfMeans(Measure):
    def share(self, x, n, batches):
        return 1 / len(batches)


class LeavesGradients(Measure):
    def measure(self, model, batches, loss, scale, seed):
        loss(model(batches[0][0]), batches[0][1]).backward()
        return super().measure(model, batches, loss, scale, seed)


class LeavesAHook(Measure):
    def measure(self, model, batches, loss, scale, seed):
        model.register_forward_hook(lambda *_: None)
        return super().measure(model, batches, loss, scale, seed)


class Frozen(Measure):
    def measure(self, model, batches, loss, scale, seed):
        found = super().measure(model, batches, loss, scale, seed)
        next(model.parameters()).requires_grad_(False)
        return found


class MovesTheModel(Measure):
    def measure(self, model, batches, loss, scale, seed):
        found = super().measure(model, batches, loss, scale, seed)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(1e-9)
        return found


class GlobalSeed(Measure):
    def __call__(self, model, data, loss, scale, batch_size, seed):
        torch.manual_seed(seed)
        return super().__call__(model, data, loss, scale, batch_size, seed)


class MeasuresNoise(Measure):
    def probe(self, model, batches):
        pass


class InTraining(Measure):
    def measure(self, model, batches, loss, scale, seed):
        model.train()
        return super().measure(model, batches, loss, scale, seed)


class AsItIs(Measure):
    def measure(self, model, batches, loss, scale, seed):
        self.restore(self.modes)
        return super().measure(model, batches, loss, scale, seed)

    def __call__(self, model, *rest):
        self.modes = [(module, module.training) for module in model.modules()]
        return super().__call__(model, *rest)


class ReadsOnce(Measure):
    def batches(self, data, batch_size):
        return super().batches([next(data)] if isinstance(data, Iterator) else data, batch_size)


class CutsTargets(Measure):
    def batches(self, data, batch_size):
        if isinstance(data, tuple):
            data = tuple(part[: min(map(len, data))] for part in data)
        return super().batches(data, batch_size)


class TakesNoSamplesABatch(Measure):
    def batches(self, data, batch_size):
        return super().batches(data, max(batch_size, 1))


@dataclasses.dataclass
class Thawed:
    loss: float
    slope: torch.Tensor
    to_dict = Steepness.to_dict
    chart = Steepness.chart


class TensorsInside(Steepness):
    def to_dict(self):
        return {"loss": self.loss, "slope": self.slope}


class IsThawed(Measure):
    result = Thawed


class HoldsTensors(Measure):
    result = TensorsInside


class HoldsTheGraph(Measure):
    def gradient(self, value, parameters):
        slopes = torch.autograd.grad(value, parameters, create_graph=True)
        return torch.cat([g.flatten() for g in slopes])


def steepness(measure, model, data, loss, *, scale=1.0, batch_size=4, seed=0):
    """Measure a model."""
    return measure(model, data, loss, scale, batch_size, seed)


def dead(measure, model, data, loss, *, scale=1.0, batch_size=4, seed=0):
    """Measure a model, whatever the scale."""
    return measure(model, data, loss, 1.0, batch_size, seed)


def _inputs():
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 2))
    data = torch.randn(8, 3, generator=generator), torch.tensor([0, 1, 0, 1, 1, 1, 0, 0])
    return model, data, nn.CrossEntropyLoss()


def _example(kind, function=steepness):
    measure = partial(function, kind())
    measure.__name__ = function.__name__
    return Example(
        measure,
        "diagnostic",
        knobs={"scale": (1.0, 2.0), "seed": (0, 1)},
        inputs=_inputs,
        exceptions={"batch_size": "changes nothing, as it should"},
    )


def _fault(name, kind, law, says, function=steepness):
    return Fault(f"diagnostic-{name}", _example(kind, function), law, says)


SOUND = [_example(Measure)]
FAULTS = [
    _fault(
        "leaves-training-mode", Trains, laws.models_and_data_are_untouched, "gradients or modes"
    ),
    _fault(
        "leaves-evaluation-mode",
        Evaluates,
        laws.a_failure_leaves_the_model_untouched,
        "after a failure it is changed",
    ),
    _fault(
        "depends-on-batch-size",
        MeanOfMeans,
        laws.the_size_of_batches_does_not_matter,
        "depends on the size",
    ),
    _fault(
        "leaves-gradients", LeavesGradients, laws.models_and_data_are_untouched, "its gradients"
    ),
    _fault("leaves-a-hook", LeavesAHook, laws.models_and_data_are_untouched, "is changed|are"),
    _fault("freezes", Frozen, laws.models_and_data_are_untouched, "are changed"),
    _fault("moves-the-model", MovesTheModel, laws.models_and_data_are_untouched, "are changed"),
    _fault(
        "global-generator",
        GlobalSeed,
        calling.global_generators_are_untouched,
        "global generator of torch",
    ),
    _fault(
        "measures-noise",
        MeasuresNoise,
        laws.randomness_in_the_model_is_refused_or_without_effect,
        "measures noise",
    ),
    _fault(
        "in-training",
        InTraining,
        laws.randomness_in_the_model_is_refused_or_without_effect,
        "measures noise .in training",
    ),
    _fault("as-it-is", AsItIs, laws.the_mode_of_the_model_does_not_matter, "otherwise"),
    _fault(
        "reads-once",
        ReadsOnce,
        laws.data_that_can_be_read_once_is_refused_or_enough,
        "an iterator that ends",
    ),
    _fault("cuts-targets", CutsTargets, laws.bad_data_is_refused, "targets too few"),
    _fault("no-samples-a-batch", TakesNoSamplesABatch, laws.bad_data_is_refused, "batch_size=0"),
    _fault("thawed", IsThawed, laws.the_result_is_frozen_and_can_be_shown, "is not frozen"),
    _fault(
        "tensors-in-its-dict",
        HoldsTensors,
        laws.the_result_is_frozen_and_can_be_shown,
        "not JSON serializable",
    ),
    _fault(
        "holds-the-graph",
        HoldsTheGraph,
        laws.the_result_is_frozen_and_can_be_shown,
        "holds the graph",
    ),
    _fault("dead-knob", Measure, calling.knobs_are_live, "scale has no effect", dead),
]
