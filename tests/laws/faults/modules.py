"""A module that obeys all laws, and ways to break it."""

import torch
from torch import nn
from torch.nn import functional as F

from tests.laws import calling
from tests.laws import test_modules as laws
from tests.laws.cases import Fault
from thalweg.core.example import Example


class Sound(nn.Module):
    """A linear layer whose outputs are scaled and thinned out in training."""

    def __init__(self, *, in_features=3, power=1.0, device=None, dtype=None):
        super().__init__()
        new = {"device": device, "dtype": dtype}
        self.weight = nn.Parameter(torch.empty(4, in_features, **new))
        self.gain = nn.Parameter(torch.ones(4, **new))
        self.register_buffer("shift", torch.linspace(0, 1, 4, **new))
        self.dropout = nn.Dropout(0.5)
        self.power = power
        nn.init.normal_(self.weight)

    @property
    def n_parameters(self):
        return self.weight.numel() + self.gain.numel()

    def forward(self, input):
        return self.dropout(F.linear(input, self.weight) * self.scale() + self.shift)

    def scale(self):
        return self.gain * self.power


class IgnoresDtype(Sound):
    def __init__(self, *, dtype=None, **more):
        super().__init__(dtype=torch.float32, **more)


class IgnoresDevice(Sound):
    def __init__(self, *, device=None, **more):
        super().__init__(**more)


class CastsBack(Sound):
    def forward(self, input):
        return super().forward(input).float()


class MaskIsNoBuffer(Sound):
    def __init__(self, **more):
        super().__init__(**more)
        self.mask = torch.rand(4)

    def __getstate__(self):
        return {**self.__dict__, "mask": torch.zeros(4)}

    def forward(self, input):
        return super().forward(input) * self.mask.to(input.dtype)


class StaysDouble(Sound):
    def forward(self, input):
        return super().forward(input) * torch.ones(1, dtype=torch.float64)


class AlwaysDrops(Sound):
    def forward(self, input):
        return F.dropout(super().forward(input), 0.5)


class SwitchesToTraining(Sound):
    def forward(self, input):
        output = super().forward(input)
        self.dropout.train()
        return output


class CountsCalls(Sound):
    def __init__(self, **more):
        super().__init__(**more)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, input):
        self.calls += 1
        return super().forward(input)


class DeadParameter(Sound):
    def scale(self):
        return self.power


class DeadKnob(Sound):
    def scale(self):
        return self.gain


class Detached(Sound):
    def scale(self):
        return self.gain * self.power * self.gain.detach()


class LooksAtTheValue(Sound):
    def forward(self, input):
        output = super().forward(input)
        return output if output.sum().item() > 0 else -output


class MiscountsParameters(Sound):
    n_parameters = 3


class SwallowsKeywords(Sound):
    def __init__(self, *, power=1.0, **more):
        super().__init__(power=power)


def _example(module):
    return Example(
        module,
        "module",
        arguments={},
        knobs={"power": (1.0, 2.0)},
        inputs=lambda: (torch.linspace(-1, 1, 6).view(2, 3),),
    )


def _fault(name, module, law, says):
    return Fault(f"module-{name}", _example(module), law, says)


SOUND = [_example(Sound)]
FAULTS = [
    _fault("ignores-dtype", IgnoresDtype, laws.the_dtype_is_kept, "float64 is ignored"),
    _fault("ignores-device", IgnoresDevice, laws.the_device_is_kept, "device is ignored"),
    _fault("casts-back", CastsBack, laws.the_dtype_is_kept, "ignored in the output"),
    _fault("loses-a-tensor", MaskIsNoBuffer, laws.copies_are_the_same_module, "another module"),
    _fault("stays-double", StaysDouble, laws.it_moves_to_another_dtype, "the output is"),
    _fault("always-drops", AlwaysDrops, laws.evaluation_is_repeatable, "global generator"),
    _fault(
        "switches-to-training",
        SwitchesToTraining,
        laws.it_follows_its_training_flag,
        "forward changes the flag",
    ),
    _fault("counts-calls", CountsCalls, laws.evaluation_is_repeatable, "changes its state"),
    _fault("dead-parameter", DeadParameter, laws.every_parameter_is_live, "the parameter gain"),
    _fault("dead-knob", DeadKnob, laws.knobs_are_live, "power has no effect"),
    _fault("detached", Detached, laws.gradients_are_those_of_the_values, "not that of the value"),
    _fault("looks-at-the-value", LooksAtTheValue, laws.it_can_be_exported, "torch.export fails"),
    _fault("miscounts-parameters", MiscountsParameters, laws.it_is_a_module, "it says 3"),
    _fault(
        "swallows-keywords",
        SwallowsKeywords,
        calling.misspelt_keywords_are_refused,
        "accepted in silence",
    ),
]
