"""The laws of learning rate schedules."""

import copy
import inspect
import io
import math
import pickle

import torch
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, SequentialLR

from tests.laws.cases import Laws

laws = Laws("schedule", minimum=100)

STEPS = 12
TOTAL = "total_steps"  # what every schedule calls the number of steps


def optimizer(*rates):
    """Return an optimizer with a group for each rate."""
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=1.0, momentum=0.5)


def make(example, made, steps=STEPS, **changes):
    """Build the schedule of an example."""
    return example.object(made, **{TOTAL: steps, **example.arguments, **changes})


def keywords(example):
    """Return the keywords of the signature, beside the optimizer and the number of steps."""
    return [
        name for name in list(inspect.signature(example.object).parameters)[1:] if name != TOTAL
    ]


def advance(schedule, steps):
    """Make steps and return the rates of every group before, between and after them."""
    rates = [[float(group["lr"]) for group in schedule.optimizer.param_groups]]
    for _ in range(steps):
        schedule.optimizer.step()
        schedule.step()
        rates.append([float(group["lr"]) for group in schedule.optimizer.param_groups])
    return torch.tensor(rates, dtype=torch.float64)


def variants(example):
    """Return the example's own arguments, and those with each knob turned."""
    return [{}, *({knob: pair[1]} for knob, pair in example.knobs.items())]


@laws
def it_is_a_schedule(example, check):
    made = optimizer(0.5)
    schedule = make(example, made)
    check(isinstance(schedule, LRScheduler), "it is no LRScheduler")
    check(schedule.optimizer is made, "its optimizer is another")
    check(schedule.last_epoch == 0, f"it begins at step {schedule.last_epoch}")
    for t in range(STEPS):
        check(schedule.get_last_lr() == [made.param_groups[0]["lr"]], f"its last lr at {t} is not")
        made.step()
        schedule.step()
        check(schedule.last_epoch == t + 1, f"after step {t} it is at {schedule.last_epoch}")


@laws
def misspelt_keywords_are_refused(example, check):
    for name in [*keywords(example), "eta_minn"]:
        wrong = {f"{name}_": 0.1}
        check.refuses(
            TypeError,
            lambda wrong=wrong: make(example, optimizer(0.5), **wrong),
            f"the keyword {name}_",
            names=f"{name}_",
        )


@laws
def knobs_are_live(example, check):
    check(len(advance(make(example, optimizer(0.5)), STEPS)) == STEPS + 1, "it does not step")
    for knob, pair in example.knobs.items():
        with check.part(knob):
            first, second = (
                advance(make(example, optimizer(0.5), **{knob: value}), STEPS) for value in pair
            )
            check.differ(first, second, f"{knob} has no effect")


@laws
def rates_are_finite_and_not_negative(example, check):
    for changes in variants(example):
        for steps in (1, 2, 3, 10, 1000):
            try:
                schedule = make(example, optimizer(0.5, 1e-3), steps, **changes)
            except ValueError as error:
                check(steps < 10, f"{steps} steps with {changes} are refused: {error}")
                check(len(str(error).split()) > 3, f"the refusal {error} is no sentence")
                continue
            rates = advance(schedule, steps)
            check(rates.isfinite().all(), f"not finite over {steps} steps with {changes}")
            check((rates >= 0).all(), f"below 0 over {steps} steps with {changes}")


@laws
def after_the_budget_the_rate_stays(example, check):
    for changes in variants(example):
        rates = advance(make(example, optimizer(0.5), **changes), STEPS + 5)
        check(rates.isfinite().all(), f"not finite after the budget, with {changes}")
        check((rates >= 0).all(), f"below 0 after the budget, with {changes}")
        check.equal(
            rates[STEPS:],
            rates[STEPS].expand(6, 1),
            f"after the budget the rate goes on to change, with {changes}",
        )


@laws
def chained_equals_the_closed_form(example, check):
    schedule = make(example, optimizer(0.5, 0.2))
    form = closed_form(schedule)
    check(form is not None, "it has no closed form")
    expected = torch.stack([form(t) for t in range(STEPS + 1)])
    rates = advance(schedule, STEPS)
    for t in range(STEPS + 1):
        check.close(rates[t], expected[t], f"step {t} of {STEPS}", rtol=1e-12, atol=1e-15)


def closed_form(schedule):
    """Return the rates as a function of the step: by `factor`, or by torch's own means."""
    base = torch.tensor([float(x) for x in schedule.base_lrs], dtype=torch.float64)
    if hasattr(schedule, "factor"):
        return lambda t: base * schedule.factor(t / STEPS)
    if not hasattr(schedule, "_get_closed_form_lr"):
        return None

    def of_torch(t):
        other = copy.copy(schedule)
        other.last_epoch = t
        return torch.tensor(other._get_closed_form_lr(), dtype=torch.float64)

    return of_torch


@laws.where(lambda example: hasattr(example.object, "factor"))
def the_factor_is_a_share(example, check):
    for changes in variants(example):
        schedule = make(example, optimizer(0.5), **changes)
        factors = [schedule.factor(i / 200) for i in range(201)]
        check(all(math.isfinite(x) and x >= 0 for x in factors), f"factors: {factors}")
        check(all(isinstance(x, float) for x in factors), "a factor is no number")
    rates = advance(make(example, optimizer(0.5)), STEPS)
    check.close(rates[0].item(), 0.5 * factors_at(example, 0.0), "the first rate", rtol=1e-12)
    check.close(
        rates[-1].item(), 0.5 * factors_at(example, 1.0), "the last rate", rtol=1e-12, atol=1e-15
    )


def factors_at(example, t):
    """Return the factor of the example as it is."""
    return make(example, optimizer(0.5)).factor(t)


@laws
def a_resumed_run_goes_on_to_the_same_bits(example, check):
    for changes in variants(example):
        whole = advance(make(example, optimizer(0.5, 0.2), **changes), STEPS)
        for at in (0, 1, 5, STEPS):
            made = optimizer(0.5, 0.2)
            schedule = make(example, made, **changes)
            advance(schedule, at)
            saved = io.BytesIO()
            torch.save([made.state_dict(), schedule.state_dict()], saved)
            saved.seek(0)
            states = torch.load(saved, weights_only=True)
            other = optimizer(0.5, 0.2)
            resumed = make(example, other)  # its arguments are in what was saved
            for thing, state in zip((other, resumed), states, strict=True):
                thing.load_state_dict(state)
            check.equal(
                advance(resumed, STEPS - at), whole[at:], f"resumed at step {at} with {changes}"
            )


@laws
def copies_go_on_to_the_same_bits(example, check):
    schedule = make(example, optimizer(0.5))
    advance(schedule, 4)
    copied, pickled = copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))
    whole = advance(schedule, STEPS - 4)
    for name, other in {"deep copy": copied, "pickle": pickled}.items():
        check(other.optimizer is not schedule.optimizer, f"a {name} keeps the optimizer")
        check.equal(advance(other, STEPS - 4), whole, f"a {name} ends elsewhere")


@laws
def every_group_falls_from_its_own_rate(example, check):
    for changes in variants(example):
        rates = (1.0, 0.25, 0.03)
        together = advance(make(example, optimizer(*rates), **changes), STEPS)
        for i, rate in enumerate(rates):
            alone = advance(make(example, optimizer(rate), **changes), STEPS)
            check.equal(together[:, i], alone[:, 0], f"the group with lr = {rate}, with {changes}")


@laws
def it_can_follow_another(example, check):
    alone = advance(make(example, optimizer(0.5)), STEPS)
    made = optimizer(0.5)
    constant = ConstantLR(made, factor=1.0, total_iters=3)
    schedule = SequentialLR(made, [constant, make(example, made)], [3])
    rates = advance(schedule, STEPS + 3)
    check.close(rates[:3], torch.full((3, 1), 0.5).double(), "before its turn", rtol=1e-12)
    for t in range(STEPS + 1):
        check.close(rates[3 + t], alone[t], f"{t} after its turn", rtol=1e-9, atol=1e-15)


@laws
def it_touches_rates_and_nothing_else(example, check):
    made = optimizer(0.5)
    p = made.param_groups[0]["params"][0]
    p.grad = torch.ones(1)
    with check.drawing_nothing():
        schedule = make(example, made)
        made.step()
        before, buffer = p.detach().clone(), made.state[p]["momentum_buffer"].clone()
        for _ in range(STEPS):
            schedule.step()
    check.equal(p.detach(), before, "parameters move")
    check.equal(p.grad, torch.ones(1), "gradients change")
    check.equal(made.state[p]["momentum_buffer"], buffer, "the optimizer's state changes")


@laws
def the_rate_may_be_a_tensor(example, check):
    expected = advance(make(example, optimizer(0.5)), STEPS)
    made = optimizer(0.5)
    made.param_groups[0]["lr"] = torch.tensor(0.5, dtype=torch.float64)
    rate = made.param_groups[0]["lr"]
    rates = advance(make(example, made), STEPS)
    check(made.param_groups[0]["lr"] is rate, "the tensor is replaced")
    check.close(rates, expected, "a tensor takes other values", rtol=1e-9, atol=1e-15)


@laws
def arguments_out_of_range_are_refused(example, check):
    for steps in (0, -1):
        with check.part(f"arguments_out_of_range_are_refused:{TOTAL}"):
            check.refuses(
                ValueError,
                lambda steps=steps: make(example, optimizer(0.5), steps),
                f"{TOTAL} = {steps}",
                names=TOTAL,
            )
    for knob, pair in example.knobs.items():
        if isinstance(pair[0], float):
            with check.part(f"arguments_out_of_range_are_refused:{knob}"):
                check.refuses(
                    ValueError,
                    lambda knob=knob: make(example, optimizer(0.5), **{knob: math.nan}),
                    f"{knob} = nan",
                    names=knob,
                )


test_law = laws.tests()
