"""A loss that obeys all laws, and ways to break it."""

import torch
from torch import nn
from torch.nn import functional as F

from tests.laws import calling
from tests.laws import test_losses as laws
from tests.laws.cases import Fault
from thalweg.core.example import Example


class Sound(nn.Module):
    """Cross-entropy that counts sure samples less."""

    def __init__(self, *, focus=2.0, weight=None, ignore_index=-100, reduction="mean"):
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction must be one of mean, sum and none, not {reduction!r}")
        self.register_buffer("weight", weight)
        self.focus, self.ignore_index, self.reduction = focus, ignore_index, reduction

    def forward(self, input, target):
        self.refuse(input, target)
        kept = target != self.ignore_index
        index = target.where(kept, 0)
        share = kept.to(input.dtype)
        if self.weight is not None:
            share = share * self.weight[index].to(input.dtype)
        return self.reduce(share * self.each(input, index), share)

    def refuse(self, input, target):
        classes = input.shape[1]
        if target.shape != (*input.shape[:1], *input.shape[2:]) or target.is_floating_point():
            raise ValueError(
                f"target of shape {tuple(target.shape)} does not go with an input of shape "
                f"{tuple(input.shape)}: give class indices"
            )
        if self.weight is not None and len(self.weight) != classes:
            raise ValueError(f"weight has {len(self.weight)} classes, the input has {classes}")

    def each(self, input, index):
        log_p = self.log_p(input).gather(1, index.unsqueeze(1)).squeeze(1)
        return -((1 - log_p.exp()) ** self.focus) * log_p

    def log_p(self, input):
        return F.log_softmax(input, 1)

    def reduce(self, each, share):
        if self.reduction == "none":
            return each
        return each.sum() / share.sum() if self.reduction == "mean" else each.sum()


class OverClasses(Sound):
    def each(self, input, index):
        chosen = F.one_hot(index, input.shape[1]).to(input.dtype)
        return (-chosen * F.log_softmax(input, 1)).sum(0)

    def reduce(self, each, share):
        return {"none": each, "mean": each.mean(), "sum": each.sum()}[self.reduction]

    def forward(self, input, target):
        self.refuse(input, target)
        return self.reduce(self.each(input, target), None)


class OverEntries(Sound):
    def reduce(self, each, share):
        return super().reduce(each, share) / (5 if self.reduction == "mean" else 1)


class Overflows(Sound):
    def log_p(self, input):
        return input - input.exp().sum(1, keepdim=True).log()


class InfiniteGradient(Sound):
    def log_p(self, input):
        return F.log_softmax(input - input.var(1, keepdim=True).sqrt(), 1)


class SquaresTheLarge(Sound):
    def log_p(self, input):
        return super().log_p(input / (1 + input.square().mean(1, keepdim=True)).sqrt())


class DeadKnob(Sound):
    def each(self, input, index):
        return F.nll_loss(self.log_p(input), index, reduction="none")


class SwallowsKeywords(Sound):
    def __init__(self, *, focus=2.0, **rest):
        super().__init__(focus=focus, **{k: v for k, v in rest.items() if k == "reduction"})


class OverTheBatch(Sound):
    def log_p(self, input):
        return super().log_p(input - input.mean(0))


class FirstCountsTwice(Sound):
    def each(self, input, index):
        each = super().each(input, index)
        return torch.cat([2 * each[:1], each[1:]])


class Detached(Sound):
    def each(self, input, index):
        log_p = self.log_p(input).gather(1, index.unsqueeze(1)).squeeze(1)
        return -((1 - log_p.exp().detach()) ** self.focus) * log_p


class LooksAtTheValue(Sound):
    def each(self, input, index):
        each = super().each(input, index)
        return each if each.sum().item() > 0 else -each


class Broadcasts(Sound):
    def refuse(self, input, target):
        pass


class MeanOfWeights(Sound):
    def reduce(self, each, share):
        return each.mean() if self.reduction == "mean" else super().reduce(each, share)


class IgnoredCounts(Sound):
    def forward(self, input, target):
        index = target.where(target != self.ignore_index, 0)
        self.refuse(input, index)
        return self.reduce(self.each(input, index), torch.ones_like(input[:, 0]))


class Single(Sound):
    def reduce(self, each, share):
        return super().reduce(each, share).float()


class Jitters(Sound):
    def log_p(self, input):
        return super().log_p(input + 1e-12 * torch.rand_like(input))


class InPlace(Sound):
    def log_p(self, input):
        with torch.no_grad():
            input.clamp_(max=1.0)
        return super().log_p(input)


class WeightIsNoBuffer(Sound):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.bias = torch.rand(1)

    def __getstate__(self):
        return {**self.__dict__, "bias": torch.zeros(1)}

    def log_p(self, input):
        return super().log_p(input) - self.bias.to(input.dtype)


def _example(loss, **more):
    knobs = {"focus": (2.0, 1.0), "ignore_index": (-100, 3), "reduction": ("mean", "sum")}
    return Example(loss, "loss", knobs=knobs, **more)


SOUND = [_example(Sound)]
FAULTS = [
    Fault("loss-over-the-wrong-axis", _example(OverClasses), laws.reductions_agree, "has shape"),
    Fault(
        "loss-over-all-entries", _example(OverEntries), laws.reductions_agree, "'mean' is not the"
    ),
    Fault("loss-overflows", _example(Overflows), laws.extreme_scores_stay_finite, "loss is not"),
    Fault(
        "loss-infinite-gradient",
        _example(InfiniteGradient),
        laws.extreme_scores_stay_finite,
        "gradient is not finite",
    ),
    Fault(
        "loss-squares-the-large",
        _example(SquaresTheLarge),
        laws.extreme_scores_are_right_in_single_precision,
        "does not follow",
    ),
    Fault("loss-dead-knob", _example(DeadKnob), laws.knobs_are_live, "focus has no effect"),
    Fault(
        "loss-swallows-keywords",
        _example(SwallowsKeywords),
        calling.misspelt_keywords_are_refused,
        "accepted in silence",
    ),
    Fault(
        "loss-over-the-batch",
        _example(OverTheBatch),
        laws.a_sample_counts_by_itself,
        "not made of its samples",
    ),
    Fault(
        "loss-first-counts-twice",
        _example(FirstCountsTwice),
        laws.the_order_of_samples_does_not_matter,
        "order matters",
    ),
    Fault("loss-detached", _example(Detached), laws.the_gradient_is_that_of_the_value, "not that"),
    Fault(
        "loss-looks-at-the-value",
        _example(LooksAtTheValue),
        laws.it_compiles_to_one_graph,
        "does not compile",
    ),
    Fault(
        "loss-broadcasts", _example(Broadcasts), laws.shapes_that_do_not_fit_are_refused, "of shape"
    ),
    Fault(
        "loss-mean-of-weights",
        _example(MeanOfWeights),
        laws.class_weights_weigh,
        "not weighed as torch's",
    ),
    Fault(
        "loss-ignored-counts",
        _example(IgnoredCounts),
        laws.ignored_samples_add_nothing,
        "an ignored sample|the others' loss",
    ),
    Fault("loss-single", _example(Single), laws.it_is_a_module_that_keeps_the_dtype, "it returns"),
    Fault(
        "loss-jitters",
        _example(Jitters),
        laws.inputs_and_generators_are_untouched,
        "global generator of torch",
    ),
    Fault(
        "loss-in-place",
        _example(InPlace),
        laws.inputs_and_generators_are_untouched,
        "changes its inputs",
    ),
    Fault(
        "loss-loses-a-tensor",
        _example(WeightIsNoBuffer),
        laws.copies_are_the_same_loss,
        "it is another loss",
    ),
]
