"""Data diet (2021): scores, early in training, of how much each sample matters."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from thalweg.core.claim import Effort, MeasurementClaim, RaceClaim
from thalweg.core.example import Example
from thalweg.core.instrument import Instrument
from thalweg.core.method import Choice, Interval, Method, Space
from thalweg.core.paper import Paper
from thalweg.core.verdicts import beats, matches
from thalweg.data import el2n_scores, grand_scores, prune
from thalweg.data._gradient_norms import GradientNorms, sample_gradients
from thalweg.papers.data._data_diet_reading import passes, read_labels
from thalweg.papers.data._data_diet_trials import (
    detects_wrong_labels,
    finds_wrong_labels,
    teacher,
)
from thalweg.papers.data._pruning import random_pruning, scored_pruning


def _net() -> tuple[nn.Sequential, Tensor, Tensor]:
    """Return a net with every kind of layer that has a closed form but one, and samples."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            *(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.GroupNorm(2, 4), nn.ReLU(inplace=True)),
            *(nn.Conv2d(4, 6, (2, 3), groups=2, dilation=(1, 2), padding=2), nn.BatchNorm2d(6)),
            *(nn.Flatten(2), nn.Conv1d(6, 3, 4, stride=3), nn.LayerNorm(13), nn.Linear(13, 5)),
            *(nn.Tanh(), nn.PReLU(), nn.Flatten(), nn.Linear(15, 4)),
        ).double()
        for p in net.parameters():
            nn.init.normal_(p, std=0.5)
    inputs = torch.randn(7, 2, 10, 10, dtype=torch.float64, generator=generator)
    return net, inputs, torch.randint(4, (7,), generator=generator)


class _Tokens(nn.Module):
    """Embeds repeated and padded tokens, and calls a layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.scale = nn.Embedding(5, 6, padding_idx=2), nn.RMSNorm(6)
        self.twice, self.last = nn.Linear(6, 6), nn.Linear(6, 4, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden: Tensor = torch.tanh(self.twice(self.scale(self.embed(tokens))))
        logits: Tensor = self.last(self.twice(hidden).mean(1))
        return logits


def gradients_one_by_one() -> None:
    """GraNd is the norm of what autograd gives for one sample after the other.

    All layers but the PReLU use their closed form, for all parameters, weights or biases alone.
    """
    net, images, target = _net()
    net.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        tokens = _Tokens().double().eval()
    for model, inputs, rest in (
        (net, images, {"10.weight"}),
        (tokens, torch.arange(63).reshape(7, 9) ** 2 % 5, set()),
        (tokens, torch.arange(14).reshape(7, 2) % 5, set()),
    ):
        for part in ("", "weight", "bias"):
            chosen = {n: p for n, p in model.named_parameters() if n.endswith(part)}
            exact = []
            for i in range(len(target)):
                value = F.cross_entropy(model(inputs[i : i + 1]), target[i : i + 1])
                slopes = torch.autograd.grad(value, list(chosen.values()))
                exact.append(torch.cat([slope.flatten() for slope in slopes]).norm())
            measure = GradientNorms(model, F.cross_entropy, chosen.values())
            torch.testing.assert_close(measure.norms((inputs, target)), torch.stack(exact))
            assert set(measure.rest) == rest & set(chosen), "a closed form has been given up"
    found = grand_scores(net, (images, target), batch_size=5)
    measure = GradientNorms(net, F.cross_entropy, net.parameters())
    torch.testing.assert_close(found, measure.norms((images, target)))


class _Bypassed(nn.Module):
    """Uses its layers in ways that the closed forms do not know, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.keyword, self.constant = nn.Linear(4, 4), nn.Linear(4, 4)
        self.ignored, self.idle = nn.Linear(4, 4), nn.Linear(4, 4)
        self.turned, self.shared = nn.Linear(4, 4), nn.Linear(4, 4)
        self.overwriting = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            constant = self.constant(inputs)
        self.ignored(inputs)
        turned = self.turned(inputs.transpose(0, 1)).transpose(0, 1)  # positions come first
        hidden = self.keyword(input=inputs) + constant + turned.square()
        hidden = self.overwriting(self.shared(hidden))
        logits: Tensor = F.linear(hidden, self.shared.weight).mean(1)
        return logits


def no_closed_form_misleads() -> None:
    """Norms are exact where a form does not hold, or only on the samples on which it is tried."""
    tokens = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 4], [1, 1], [4, 4], [0, 0]])
    images = torch.arange(175).reshape(7, 1, 5, 5).sin().double()
    images[:4] = 0
    lines = torch.arange(98).reshape(7, 2, 7).cos().double()
    scaled = nn.Embedding(5, 6, scale_grad_by_freq=True)
    reflected = nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect")
    same = nn.Conv1d(2, 3, 3, padding="same", bias=False)
    of_batch = nn.BatchNorm1d(3, track_running_stats=False)
    bypassed = "0.keyword 0.constant 0.idle 0.turned 0.shared"
    for layers, inputs, given_up in (
        ((nn.Embedding(5, 6), nn.Flatten(), nn.Linear(12, 4)), tokens, ""),
        ((scaled, nn.Flatten(), nn.Linear(12, 4)), tokens, "0"),
        (
            (nn.Linear(1, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6, 4)),
            tokens[..., None].double(),
            "",
        ),
        ((reflected, nn.Flatten(), nn.Linear(50, 4)), images, "0"),
        ((same, of_batch, nn.SyncBatchNorm(3), nn.Flatten(), nn.Linear(21, 4)), lines, "0 1 2 4"),
        ((_Bypassed(),), torch.arange(196).reshape(7, 7, 4).sin().double(), bypassed),
    ):
        model, target = nn.Sequential(*layers).double().eval(), torch.arange(7) % 4
        generator = torch.Generator().manual_seed(0)
        for p in model.parameters():
            nn.init.normal_(p, std=0.5, generator=generator)
        before = [vars(module).get("inplace") for module in model.modules()]
        measure = GradientNorms(model, F.cross_entropy, model.parameters())
        measure.norms((inputs, target))
        after = [vars(module).get("inplace") for module in model.modules()]
        assert after == before, "activations are left altered"
        assert {name.rpartition(".")[0] for name in measure.rest} == set(given_up.split())
        for size in (1.0, 1e-10):
            _agrees(model, (inputs, target), lambda z, y, size=size: size * F.cross_entropy(z, y))


def _agrees(model: nn.Module, batch: tuple[Tensor, Tensor], loss: Any) -> None:
    """Compare with autograd, for all parameters and for those of the first layer."""
    named = dict(model.named_parameters())
    first = next(iter(named)).rpartition(".")[0]
    for chosen in (named, {name: p for name, p in named.items() if name.startswith(first)}):
        measure = GradientNorms(model, loss, chosen.values())
        squares = measure.squares(batch)
        assert set(squares) == {name.rpartition(".")[0] for name in chosen}
        slopes = sample_gradients(model, loss, chosen, batch)
        for i in range(len(batch[1])):
            value = loss(model(batch[0][i : i + 1]), batch[1][i : i + 1])
            exact = torch.autograd.grad(value, list(chosen.values()), materialize_grads=True)
            for name, slope in zip(chosen, exact, strict=True):
                torch.testing.assert_close(slopes[name][i], slope, rtol=1e-9, atol=1e-20)
        for owner, found in squares.items():
            parts = [slopes[n].flatten(1) for n in chosen if n.rpartition(".")[0] == owner]
            exact_squares = torch.cat(parts, 1).square().sum(1)
            torch.testing.assert_close(found, exact_squares, rtol=1e-9, atol=1e-40)
            assert not found.requires_grad, "what it is computed of is kept"


def error_retyped() -> None:
    """Follow EL2N for single numbers, over two models, and the error of a regression."""
    logits = [[[0.5, -1.0, 2.0], [0.1, 0.2, 0.3]], [[-3.0, 1.0, 0.0], [2.0, 2.0, -1.0]]]
    target, expected = [2, 0], [0.0, 0.0]
    for model in logits:
        for i, row in enumerate(model):
            total = sum(math.exp(z) for z in row)
            errors = [math.exp(z) / total - (c == target[i]) for c, z in enumerate(row)]
            expected[i] += math.sqrt(sum(e * e for e in errors)) / 2
    models = [nn.Linear(2, 3, bias=False).double() for _ in logits]
    for linear, rows in zip(models, logits, strict=True):
        linear.weight.data = torch.tensor(rows, dtype=torch.float64).T
    data = torch.eye(2, dtype=torch.float64), torch.tensor(target)
    for given in (data, DataLoader(TensorDataset(*data), batch_size=1)):
        found = el2n_scores(models, given)
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    numbers = torch.arange(24.0).reshape(2, 3, 4).sin(), torch.ones(2, 3, 4)
    lengths = [math.hypot(*(x - 1).flatten().tolist()) for x in numbers[0]]
    torch.testing.assert_close(el2n_scores(nn.Identity(), numbers), torch.tensor(lengths))


def last_layer_is_error_times_features() -> None:
    """With respect to the last layer, GraNd is EL2N * |(features, 1)|; to its bias alone, EL2N."""
    net, inputs, target = _net()
    error = el2n_scores(net, (inputs, target))
    with torch.no_grad():
        features = net.eval()[:-1](inputs)
    last = grand_scores(net, (inputs, target), parameters=lambda _: net[-1].parameters())
    torch.testing.assert_close(last, error * (features.square().sum(1) + 1).sqrt())
    bias = grand_scores(net, (inputs, target), parameters=lambda _: [*net[-1].parameters()][1:])
    torch.testing.assert_close(bias, error)


def highest_scores_are_kept() -> None:
    """Follow the ranks: of equals the first rank higher; one sample is kept at least."""
    scores = torch.arange(40) * 7 % 9 / 8
    data = TensorDataset(torch.arange(40).cos()[:, None], torch.arange(40))
    ranked = sorted(range(40), key=lambda i: (-float(scores[i]), i))
    for keep, offset in ((0.33, 0.0), (0.6, 0.16), (0.01, 0.1)):
        first = round(40 * offset)
        kept = sorted(ranked[first : first + max(round(40 * keep), 1)])
        assert prune(data, scores, keep, offset=offset).indices == kept
        inputs, target = prune(data.tensors, scores, keep, offset=offset)
        assert target.tolist() == kept
        assert torch.equal(inputs, data.tensors[0][kept])


def _example() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    net, inputs, target = _net()
    return net, (inputs, target)


def _prunable() -> tuple[tuple[Tensor, Tensor], Tensor]:
    _, inputs, target = _net()
    return (inputs, target), torch.tensor([0.5, 0.1, 0.9, 0.3, 0.2, 0.8, 0.4])


_DEFAULTS = {"keep": 0.5, "offset": 0.0, "runs": 10, "share": 0.1}
_SPACE: dict[str, Space] = {"keep": Interval(0.2, 0.8), "offset": Choice((0.0, 0.05, 0.1, 0.2))}
_ADAMW = "adamw(lr=0.001, weight_decay=0.01)"
_BITS = "the batch size changes the scores by rounding alone"

PAPER = Paper(
    id="data-diet",
    title="Deep Learning on a Data Diet: Finding Important Examples Early in Training",
    year=2021,
    arxiv="2107.07075",
    headline="On CIFAR-10 half of the training set can be pruned by EL2N scores, taken early in "
    "training, with a slight gain in a ResNet-18's test accuracy; on CIFAR-100 a quarter.",
    provides=(el2n_scores, grand_scores, prune),
    methods=(
        Method(
            name="el2n-prune",
            summary="Train on the samples with the largest errors early in training.",
            build=partial(
                scored_pruning,
                lambda models, data, loss: el2n_scores(models, data),
                counted="functions",
            ),
            defaults=_DEFAULTS,
            space=_SPACE,
        ),
        Method(
            name="grand-prune",
            summary="Train on the samples with the largest gradients early in training.",
            build=partial(scored_pruning, grand_scores, counted="gradients"),
            defaults=_DEFAULTS,
            space=_SPACE,
        ),
        Method(
            name="random-prune",
            summary="Train on samples chosen at random.",
            build=random_pruning,
            defaults={"keep": 0.5},
            space={"keep": Interval(0.2, 0.8)},
        ),
    ),
    instruments=(
        Instrument(
            "labels",
            summary="Do labels look wrong, and which?",
            examine=read_labels,
            cost=passes,
            cannot_tell="A wrong label from a hard sample; nor labels that are wrong all alike, "
            "such as one class under the name of another. Look before you delete.",
            needs=frozenset({"classes", "samples"}),
        ),
    ),
    oracles=(
        gradients_one_by_one,
        no_closed_form_misleads,
        error_retyped,
        last_layer_is_error_times_features,
        highest_scores_are_kept,
    ),
    examples=(
        Example(
            el2n_scores,
            "function",
            inputs=_example,
            exceptions={"batch_size": _BITS},
        ),
        Example(
            grand_scores,
            "function",
            knobs={
                "loss": (F.cross_entropy, partial(F.cross_entropy, label_smoothing=0.1)),
                "parameters": (nn.Module.parameters, lambda net: net[-1].parameters()),
            },
            inputs=_example,
            exceptions={"batch_size": _BITS},
        ),
        Example(
            prune,
            "function",
            arguments={"keep": 0.5},
            knobs={"keep": (0.5, 0.3), "offset": (0.0, 0.2)},
            inputs=_prunable,
        ),
    ),
    claims=(
        RaceClaim(
            name="half-suffices",
            statement="Trained on half of the samples, those that score highest, a net classifies "
            "as well as trained on all.",
            problems=(teacher,),
            methods=(_ADAMW, f"{_ADAMW}+el2n-prune(keep=0.5, offset=0.0)"),
            smoke=Effort(seeds=2, steps=10),
            full=Effort(seeds=10),
            expect=matches,
            scaled="A random network's labels in place of CIFAR-10, a small perceptron in place "
            "of ResNet-18, 3,000 steps in place of 200 epochs; on both sides the same optimizer "
            "with the same settings, as in the paper.",
        ),
        RaceClaim(
            name="better-than-a-random-half",
            statement="The half that scores highest trains a better net than a random half.",
            problems=(teacher,),
            methods=(
                f"{_ADAMW}+random-prune(keep=0.5)",
                f"{_ADAMW}+el2n-prune(keep=0.5, offset=0.0)",
            ),
            smoke=Effort(seeds=2, steps=10),
            full=Effort(seeds=10),
            expect=beats,
            scaled="As for half-suffices.",
        ),
        MeasurementClaim(
            name="finds-wrong-labels",
            statement="With a tenth of the labels wrong, the samples that score highest are those "
            "with wrong labels.",
            measure=detects_wrong_labels,
            smoke=Effort(seeds=1),
            full=Effort(seeds=10),
            expect=finds_wrong_labels,
            scaled="Handwritten digits and a small conv net in place of CIFAR-10 and ResNet-18; "
            "scores of five nets after ten epochs.",
        ),
    ),
    symptoms=(
        "training takes too long and samples abound",
        "some of my labels are wrong and I do not know which",
        "I want to know which samples are hard",
    ),
)
