import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thalweg.schedules import UBA


def optimizer(*rates):
    return torch.optim.SGD(
        [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in rates], lr=1.0
    )


def rates_of(schedule, steps):
    rates = [schedule.get_last_lr()]
    for _ in range(steps):
        schedule.optimizer.step()
        schedule.step()
        rates.append(schedule.get_last_lr())
    return rates


@given(
    phi=st.floats(0.01, 100),
    larger=st.floats(1.01, 10),
    t=st.floats(0.01, 0.99),
    later=st.floats(1e-3, 0.01),
)
def test_it_falls_with_time_and_falls_earlier_for_a_larger_phi(phi, larger, t, later):
    schedule = UBA(optimizer(1.0), 10, phi=phi)
    assert 0 <= schedule.factor(t + later) < schedule.factor(t) <= 1
    assert UBA(optimizer(1.0), 10, phi=phi * larger).factor(t) < schedule.factor(t)


def test_two_is_cosine_annealing():
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer(0.3), T_max=30, eta_min=0.01)
    ours = rates_of(UBA(optimizer(0.3), 30, phi=2, eta_min=0.01), 30)
    for rate, other in zip(ours, rates_of(cosine, 30), strict=True):
        assert rate == pytest.approx(other, rel=1e-12)


def test_warm_up_rises_to_the_peak_and_the_curve_spans_the_rest():
    warmed = rates_of(UBA(optimizer(1.0), 14, phi=3, warmup_steps=4), 14)
    assert [rate for (rate,) in warmed[:5]] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert warmed[4:] == rates_of(UBA(optimizer(1.0), 10, phi=3), 10)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"total_steps": 0}, "total_steps must be at least 1, not 0"),
        ({"total_steps": 10, "phi": 0}, "phi must be a finite number > 0, not 0"),
        ({"total_steps": 10, "phi": float("nan")}, "phi must be a finite number > 0"),
        ({"total_steps": 10, "warmup_steps": 10}, "less than total_steps = 10, not 10"),
        ({"total_steps": 10, "eta_min": 2.0}, "between 0 and the smallest learning rate 1.0"),
        ({"total_steps": 10, "eta_min": -1.0}, "between 0 and the smallest learning rate 1.0"),
    ],
)
def test_arguments_out_of_range_are_refused_with_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        UBA(optimizer(1.0), **arguments)
