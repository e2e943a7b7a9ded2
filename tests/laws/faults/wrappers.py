"""A wrapper that obeys all laws, and ways to break it."""

from dataclasses import replace

import torch
from torch.optim import Optimizer

from tests.laws import test_optimizers, test_wrappers
from tests.laws.cases import Fault
from thalweg.core.example import Example


class Sound(Optimizer):
    """Every few steps of the base, go back a part of the way."""

    slow, count = "sound_slow", "sound_count"

    def __init__(self, optimizer, *, alpha=0.5, every=2):
        self.optimizer = optimizer
        own = {"sound_alpha": alpha, "sound_every": every}
        self.validate(own)
        super().__init__(optimizer.param_groups, {**optimizer.defaults, **own})
        self.param_groups, self.state = optimizer.param_groups, optimizer.state

    def validate(self, group):
        alpha, every = group["sound_alpha"], group["sound_every"]
        if not (isinstance(alpha, float) and 0 <= alpha <= 1):
            raise ValueError(f"alpha must be a number in [0, 1], not {alpha}")
        if not every >= 1:
            raise ValueError(f"every must be a whole number >= 1, not {every}")

    def __getstate__(self):
        return {**super().__getstate__(), "optimizer": self.optimizer}

    def __setstate__(self, state):
        super().__setstate__(state)
        held = {"state": self.state, "param_groups": self.param_groups}
        self.optimizer.__setstate__(held)

    def add_param_group(self, param_group):
        if "sound_alpha" not in self.optimizer.param_groups[-1]:  # while this is constructed
            super().add_param_group(param_group)
            return
        own = {key: self.defaults[key] for key in ("sound_alpha", "sound_every")}
        self.optimizer.add_param_group(own | param_group)

    @property
    def _step_supports_amp_scaling(self):
        return getattr(self.optimizer, "_step_supports_amp_scaling", False)

    def step(self, closure=None):
        overflow = False
        for name in ("grad_scale", "found_inf"):
            if hasattr(self, name):
                setattr(self.optimizer, name, getattr(self, name))
                overflow = name == "found_inf" and bool(self.found_inf)
        params = [(group, p) for group in self.param_groups for p in group["params"]]
        before = {p: p.detach().clone() for _, p in params if self.slow not in self.state[p]}
        loss = self.optimizer.step(closure)
        for name in ("grad_scale", "found_inf"):
            if hasattr(self, name):
                delattr(self.optimizer, name)
        for group, p in params:
            if p.grad is not None and not overflow:
                self.average(group, p, before.get(p))
        return loss

    @torch.no_grad()
    def average(self, group, p, before):
        state = self.state[p]
        if before is not None:
            state[self.slow], state[self.count] = before, 0
        state[self.count] += 1
        if state[self.count] % self.every(group) == 0:
            state[self.slow].lerp_(p, group["sound_alpha"])
            p.copy_(state[self.slow])

    def every(self, group):
        return group["sound_every"]


class LosesItsGroups(Sound):
    """After loading, the base goes on with what it had before."""

    def __setstate__(self, state):
        Optimizer.__setstate__(self, state)


class StateOfItsOwn(Sound):
    def __init__(self, optimizer, *, alpha=0.5, every=2):
        super().__init__(optimizer, alpha=alpha, every=every)
        self.param_groups = [dict(group) for group in optimizer.param_groups]


class NoPrefix(Sound):
    slow, count = "slow", "step_of_slow"


class Attribute(Sound):
    def __init__(self, optimizer, *, alpha=0.5, every=2):
        super().__init__(optimizer, alpha=alpha, every=every)
        self.interval = every

    def __getstate__(self):
        return {**super().__getstate__(), "interval": self.interval}

    def every(self, group):
        return self.interval


class NotBuilt(Sound):
    """Its constructor leaves out that of `torch.optim.Optimizer`."""

    def __init__(self, optimizer, *, alpha=0.5, every=2):
        self.optimizer, self.defaults = optimizer, optimizer.defaults
        self.param_groups, self.state = optimizer.param_groups, optimizer.state
        for group in self.param_groups:
            group |= {"sound_alpha": alpha, "sound_every": every}


class ForgetsItsBase(Sound):
    def __getstate__(self):
        return Optimizer.__getstate__(self)


class AveragesAtOverflow(Sound):
    _step_supports_amp_scaling = False


class BlindToNan(Sound):
    def validate(self, group):
        if group["sound_alpha"] < 0 or group["sound_alpha"] > 1:
            raise ValueError("alpha must be a number in [0, 1]")


class Sharp(Sound):
    """Take the gradient a little further up, which calls the closure twice."""

    def __init__(self, optimizer, *, rho=0.05):
        self.optimizer = optimizer
        own = {"sound_alpha": 0.0, "sound_rho": rho}
        if not 0 <= rho < 100:
            raise ValueError(f"rho must be a number in [0, 100), not {rho}")
        Optimizer.__init__(self, optimizer.param_groups, {**optimizer.defaults, **own})
        self.param_groups, self.state = optimizer.param_groups, optimizer.state

    def add_param_group(self, param_group):
        if "sound_rho" not in self.optimizer.param_groups[-1]:
            Optimizer.add_param_group(self, param_group)
            return
        own = {key: self.defaults[key] for key in ("sound_alpha", "sound_rho")}
        self.optimizer.add_param_group(own | param_group)

    def step(self, closure):
        with torch.enable_grad():
            loss = closure()
        groups = [(g, p) for g in self.param_groups for p in g["params"] if p.grad is not None]
        before = [p.detach().clone() for _, p in groups]
        with torch.no_grad():
            norm = torch.stack([p.grad.norm() for _, p in groups]).norm() + 1e-12
            for group, p in groups:
                sign = -1 if group["maximize"] else 1
                p.add_(p.grad / norm * (sign * group["sound_rho"]))
        with torch.enable_grad():
            closure()
        self.put_back([p for _, p in groups], before)
        self.optimizer.step()
        return loss

    @torch.no_grad()
    def put_back(self, params, before):
        for p, value in zip(params, before, strict=True):
            p.copy_(value)


class StaysUp(Sharp):
    def put_back(self, params, before):
        pass


SOUND = [
    Example(Sound, "wrapper", knobs={"alpha": (0.5, 0.25), "every": (2, 3)}),
    Example(Sharp, "wrapper", knobs={"rho": (0.05, 0.5)}, needs=frozenset({"closure"})),
]


def _fault(name, broken, law, says, sound=SOUND[0]):
    if law.__module__ == test_optimizers.__name__:
        law = test_wrappers.over_every_base(law)
    return Fault(name, replace(sound, object=broken), law, says)


FAULTS = [
    _fault(
        "wrapper-loses-its-groups",
        LosesItsGroups,
        test_optimizers.groups_rule_after_loading,
        "after loading",
    ),
    _fault(
        "wrapper-with-state-of-its-own",
        StateOfItsOwn,
        test_wrappers.state_and_groups_are_the_bases,
        "its groups are not the base's",
    ),
    _fault(
        "wrapper-without-prefix",
        NoPrefix,
        test_wrappers.state_and_groups_are_the_bases,
        "no prefix in common",
    ),
    _fault(
        "wrapper-with-an-attribute-for-a-group",
        Attribute,
        test_optimizers.a_resumed_run_goes_on_to_the_same_bits,
        "'every': 3",
    ),
    _fault(
        "wrapper-not-built",
        NotBuilt,
        test_optimizers.hooks_are_called_once_a_step,
        "no attribute",
    ),
    _fault(
        "wrapper-forgets-its-base",
        ForgetsItsBase,
        test_optimizers.copies_go_on_to_the_same_bits,
        "no attribute 'optimizer'",
    ),
    _fault(
        "wrapper-scales-curvature",
        AveragesAtOverflow,
        test_optimizers.a_grad_scaler_changes_nothing_and_skips_overflows,
        "loss scaling ends elsewhere",
    ),
    _fault(
        "wrapper-blind-to-nan",
        BlindToNan,
        test_optimizers.hyperparameters_out_of_range_are_refused,
        "alpha=nan is accepted",
    ),
    _fault(
        "wrapper-stays-up",
        StaysUp,
        test_optimizers.lr_zero_is_the_identity,
        "parameters move at lr = 0",
        SOUND[1],
    ),
]
