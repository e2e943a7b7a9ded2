"""MECO: what the laws and oracles do not say."""

import copy
import math

import pytest
import torch

from thalweg.losses import MECO


def logs(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(9, generator=generator, dtype=torch.float64) for _ in range(3)]


def trained(loss, seeds):
    values = []
    for seed in seeds:
        data, noise, log_q = logs(seed)
        noise.requires_grad_()
        value = loss(data, noise, log_q)
        values += [value.detach(), *torch.autograd.grad(value, noise)[0]]
    return torch.stack(values)


def test_a_loaded_average_goes_on_to_the_same_bits():
    loss, loaded = MECO().double(), MECO().double()
    trained(loss, range(3))
    loaded.load_state_dict(loss.state_dict())
    assert torch.equal(trained(copy.deepcopy(loss), range(3, 6)), trained(loaded, range(3, 6)))


def test_evaluation_tracks_nothing_and_is_not_tracked():
    loss = MECO().double()
    trained(loss, range(2))
    before, (data, noise, log_q) = loss.log_partition.clone(), logs(7)
    value = loss.eval()(data, noise, log_q)
    expected = (noise - log_q).exp().mean().log() - data.mean()
    torch.testing.assert_close(value, expected)
    assert torch.equal(loss.log_partition, before)


def test_a_share_of_one_forgets_at_once():
    loss = MECO(gamma=1.0).double()
    trained(loss, [0])
    torch.testing.assert_close(trained(loss, [1]), trained(MECO(gamma=1.0).double(), [1]))


def test_the_effective_share_tells_even_weights_from_a_single_one():
    loss, zeros = MECO().double(), torch.zeros(10, dtype=torch.float64)
    loss(zeros, zeros, zeros)
    assert math.isclose(loss.effective_share.item(), 1.0, rel_tol=1e-6)
    loss(zeros, torch.tensor([100.0] + [0.0] * 9).double(), zeros)
    assert math.isclose(loss.effective_share.item(), 0.1, rel_tol=1e-6)


def test_a_sudden_partition_moves_the_model_by_a_bounded_weight():
    loss, zeros = MECO(gamma=0.1).double(), torch.zeros(4, dtype=torch.float64)
    loss(zeros, zeros - 1000, zeros)
    noise = (zeros + 1000).requires_grad_()
    value = loss(zeros, noise, zeros)
    (gradient,) = torch.autograd.grad(value, noise)
    torch.testing.assert_close(gradient, zeros + 10 / 4)
    assert math.isclose(value.item(), 1000 + math.log(0.1))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: MECO(gamma=0.0), "gamma is 0.0"),
        (lambda: MECO(gamma=1.1), "gamma is 1.1"),
        (lambda: MECO()(torch.zeros(3), torch.zeros(4), torch.zeros(5)), "a number for each"),
        (lambda: MECO()(torch.zeros(0), torch.zeros(4), torch.zeros(4)), "log_p_data"),
        (lambda: MECO()(torch.zeros(3), torch.zeros(0), torch.zeros(0)), "log_p_noise"),
    ],
)
def test_what_does_not_fit_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
