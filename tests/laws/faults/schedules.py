"""A schedule that obeys all laws, and ways to break it."""

import math
from dataclasses import replace

import torch
from torch.optim.lr_scheduler import LRScheduler

from tests.laws import test_schedules as laws
from tests.laws.cases import Fault
from thalweg.core.example import Example


class Sound(LRScheduler):
    """Fall along a power of the share of steps that are left."""

    def __init__(self, optimizer, total_steps, *, power=2.0, last_epoch=-1):
        if total_steps < 1:
            raise ValueError(f"total_steps must be at least 1, not {total_steps}")
        if not 0 < power < math.inf:
            raise ValueError(f"power must be a finite number > 0, not {power}")
        self.total_steps, self.power = total_steps, power
        super().__init__(optimizer, last_epoch)

    def factor(self, t):
        return (1 - t) ** self.power

    def at(self):
        return min(self.last_epoch, self.total_steps)

    def get_lr(self):
        factor = self.factor(self.at() / self.total_steps)
        return [lr * factor for lr in self.base_lrs]


class OffByOne(Sound):
    def at(self):
        return min(self.last_epoch + 1, self.total_steps)


class NeverEnds(Sound):
    def get_lr(self):
        factor = self.factor(min(self.last_epoch, self.total_steps) / (self.total_steps + 1))
        return [lr * factor for lr in self.base_lrs]


class Unbounded(Sound):
    def at(self):
        return self.last_epoch


class CountsItself(Sound):
    """A count of its own that restarts with the object."""

    calls = -1

    def at(self):
        self.calls += 1
        return min(self.calls, self.total_steps)

    def state_dict(self):
        return {key: value for key, value in super().state_dict().items() if key != "calls"}


class FirstGroup(Sound):
    def get_lr(self):
        return super().get_lr()[:1] * len(self.base_lrs)


class Drifts(Sound):
    """Multiply the last rate by a rounded quotient."""

    def get_lr(self):
        if self.last_epoch == 0:
            return self.base_lrs
        now, last = self.at() / self.total_steps, (self.at() - 1) / self.total_steps
        quotient = torch.tensor(self.factor(now) / self.factor(last)).item()
        return [group["lr"] * quotient for group in self.optimizer.param_groups]


class DeadPower(Sound):
    def factor(self, t):
        return (1 - t) ** 2.0


class FallsBelowZero(Sound):
    def factor(self, t):
        return 1.1 * (1 - t) ** self.power - 0.1


class Swallows(Sound):
    def __init__(self, optimizer, total_steps, *, power=2.0, last_epoch=-1, **unused):
        super().__init__(optimizer, total_steps, power=power, last_epoch=last_epoch)


class DrawsRates(Sound):
    def get_lr(self):
        return [lr * (1 + 1e-9 * float(torch.rand(()))) for lr in super().get_lr()]


class ReplacesTensors(Sound):
    def step(self, epoch=None):
        super().step()
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = float(lr)


class Unchecked(Sound):
    def __init__(self, optimizer, total_steps, *, power=2.0, last_epoch=-1):
        self.total_steps, self.power = max(total_steps, 1), power
        LRScheduler.__init__(self, optimizer, last_epoch)


SOUND = [Example(Sound, "schedule", knobs={"power": (2.0, 1.0)})]


def _fault(name, broken, law, says):
    return Fault(name, replace(SOUND[0], object=broken), law, says)


FAULTS = [
    _fault("schedule-off-by-one", OffByOne, laws.chained_equals_the_closed_form, "step 0 of 12"),
    _fault("schedule-never-ends", NeverEnds, laws.the_factor_is_a_share, "the last rate"),
    _fault(
        "schedule-unbounded",
        Unbounded,
        laws.after_the_budget_the_rate_stays,
        "after the budget",
    ),
    _fault(
        "schedule-counts-itself",
        CountsItself,
        laws.a_resumed_run_goes_on_to_the_same_bits,
        "resumed at step 1",
    ),
    _fault(
        "schedule-of-the-first-group",
        FirstGroup,
        laws.every_group_falls_from_its_own_rate,
        "the group with lr = 0.25",
    ),
    _fault("schedule-drifts", Drifts, laws.chained_equals_the_closed_form, "step . of 12"),
    _fault("schedule-dead-knob", DeadPower, laws.knobs_are_live, "power has no effect"),
    _fault(
        "schedule-below-zero", FallsBelowZero, laws.rates_are_finite_and_not_negative, "below 0"
    ),
    _fault(
        "schedule-swallows", Swallows, laws.misspelt_keywords_are_refused, "accepted in silence"
    ),
    _fault(
        "schedule-draws",
        DrawsRates,
        laws.it_touches_rates_and_nothing_else,
        "global generator of torch",
    ),
    _fault(
        "schedule-replaces-tensors",
        ReplacesTensors,
        laws.the_rate_may_be_a_tensor,
        "the tensor is replaced",
    ),
    _fault("schedule-unchecked", Unchecked, laws.arguments_out_of_range_are_refused, "in silence"),
]
