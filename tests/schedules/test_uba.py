import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thalweg.schedules import UBA


def optimizer(*rates):
    return torch.optim.SGD(
        [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in rates], lr=1.0
    )


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


def test_the_final_rate_is_at_most_the_smallest_of_the_groups():
    assert UBA(optimizer(1.0, 0.1), 10, eta_min=0.1).get_last_lr() == [1.0, 0.1]
    with pytest.raises(ValueError, match=r"smallest learning rate 0\.1, not 0\.5"):
        UBA(optimizer(1.0, 0.1), 10, eta_min=0.5)
