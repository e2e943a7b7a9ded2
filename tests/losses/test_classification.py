"""What losses over classes share, tried on all there are and measured against torch's own."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from thalweg.losses import CompSum, DecoupledMixup, ZLoss
from thalweg.losses._base import ClassificationLoss

LOSSES = [CompSum, ZLoss, DecoupledMixup]
WEIGHT = torch.tensor([0.5, 1.0, 2.0, 0.25, 3.0], dtype=torch.float64)


def batch(*shape):
    generator = torch.Generator().manual_seed(0)
    input = torch.randn(6, 5, *shape, generator=generator, dtype=torch.float64)
    return input, torch.randint(5, (6, *shape), generator=generator)


class CrossEntropy(ClassificationLoss):
    """Says what each class adds, and nothing else."""

    def per_class(self, logits, shares):
        assert logits.dtype in (torch.float32, torch.float64)
        return -shares * logits.log_softmax(-1)


@pytest.mark.parametrize("build", [CrossEntropy, partial(DecoupledMixup, eta=0.0)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 4)])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_what_adds_as_cross_entropy_does_is_torchs(build, weight, shape, reduction):
    input, target = batch(*shape)
    target[0] = -100
    loss = build(weight=weight, ignore_index=-100, reduction=reduction)
    expected = F.cross_entropy(input, target, weight=weight, reduction=reduction)
    torch.testing.assert_close(loss(input, target), expected)
    soft = input.roll(1, 0).softmax(1)
    expected = F.cross_entropy(input, soft, weight=weight, reduction=reduction)
    torch.testing.assert_close(loss(input, soft), expected)


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_a_sample_may_come_alone(weight):
    input, target = batch()
    expected = F.cross_entropy(input[1], target[1], weight=weight)
    torch.testing.assert_close(CrossEntropy(weight, -100, "mean")(input[1], target[1]), expected)


def test_halves_are_computed_in_single_precision():
    input, target = batch()
    halves = input.bfloat16()
    exact = F.cross_entropy(halves.float(), target, reduction="none")
    assert torch.equal(CrossEntropy(None, -100, "none")(halves, target), exact.bfloat16())


@pytest.mark.parametrize("loss", LOSSES)
def test_probability_one_is_a_class_index(loss):
    input, target = batch()
    one_hot = F.one_hot(target, 5).double()
    torch.testing.assert_close(loss()(input, one_hot), loss()(input, target))
    torch.testing.assert_close(loss()(input[0], target[0]), loss()(input[:1], target[:1]))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("input", "target", "says"),
    [
        (torch.zeros(4, 3), torch.zeros(5, dtype=torch.long), r"class indices of shape \(4,\)"),
        (torch.zeros(4, 3), torch.zeros(4), r"probabilities of shape \(4, 3\)"),
        (torch.zeros(4, 3), torch.zeros(4, dtype=torch.bool), "class indices"),
        (torch.zeros(4, 3, dtype=torch.long), torch.zeros(4, dtype=torch.long), "real scores"),
        (torch.zeros(()), torch.zeros(()), "real scores"),
        (torch.zeros(4, 3), (1, 2), "target is a tuple"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(loss, input, target, says):
    with pytest.raises(ValueError, match=says):
        loss()(input, target)


@pytest.mark.parametrize("loss", LOSSES)
def test_settings_out_of_range_are_refused(loss):
    with pytest.raises(ValueError, match="reduction is 'average'"):
        loss(reduction="average")
    with pytest.raises(ValueError, match="one number a class"):
        loss(weight=torch.ones(2, 2))
    with pytest.raises(ValueError, match="weight holds 2 classes"):
        loss(weight=torch.ones(2))(*batch())


def test_z_loss_and_decoupled_mixup_check_their_own():
    for settings in ({"a": 0.0}, {"eps": 0.0}):
        with pytest.raises(ValueError, match="must be above 0"):
            ZLoss(**settings)
    with pytest.raises(ValueError, match="eta is -1"):
        DecoupledMixup(-1)


@pytest.mark.parametrize("size", [1e4, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("loss", LOSSES)
def test_huge_scores_are_finite(loss, dtype, size):
    input, target = batch()
    for scores in (size * input, torch.full_like(input, size)):
        scores = scores.to(dtype).requires_grad_()
        value = loss()(scores, target)
        value.backward()
        assert value.dtype == dtype
        assert value.isfinite()
        assert scores.grad.isfinite().all()


def test_z_loss_is_blind_to_shift_and_scale():
    input, target = batch()
    for a, b in ((1.0, 0.0), (3.0, 1.5)):
        value = ZLoss(a, b)(input, target)
        for scale, shift in ((1e-3, 0.0), (1e6, 0.0), (2.0, 1e5)):
            torch.testing.assert_close(
                ZLoss(a, b)(scale * input + shift, target), value, rtol=1e-5, atol=0
            )


def test_a_sure_and_wrong_sample_costs_what_the_softplus_costs():
    input, target = torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0]]).double(), torch.tensor([1])
    value = ZLoss(a=50.0, b=4.0)(input, target)  # z = -1/2; far out on the softplus
    assert value.item() == pytest.approx(4.5, rel=1e-9)


@pytest.mark.parametrize("several", [2, 3])
def test_decoupled_classes_do_not_see_each_other(several):
    input, _ = batch()
    target = torch.zeros(6, 5).double()
    target[:, :several] = 1 / several
    ours = DecoupledMixup(0.3, reduction="none")(input, target)
    expected = F.cross_entropy(input, target, reduction="none")
    for k in range(several):
        alone = torch.cat((input[:, k : k + 1], input[:, several:]), 1)
        expected -= 0.3 * alone.log_softmax(1)[:, 0]
    torch.testing.assert_close(ours, expected)


def test_gradients_exist_where_all_classes_are_mixed():
    input, _ = batch()
    shares = torch.full((6, 5), 0.2).double()
    assert torch.autograd.gradcheck(
        lambda x: DecoupledMixup(0.3)(x, shares), input.requires_grad_()
    )
