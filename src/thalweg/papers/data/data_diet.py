"""Data diet (2021): scores, early in training, of how much each sample matters."""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.claim import Effort, Finding, MeasurementClaim, RaceClaim, Size, Verdict
from thalweg.core.example import Example
from thalweg.core.method import Choice, Interval, Method, Space
from thalweg.core.paper import Paper
from thalweg.core.seeds import derive_seed
from thalweg.core.verdicts import beats, matches, typical
from thalweg.data import el2n_scores, grand_scores, prune
from thalweg.papers.data._pruning import random_pruning, scored_pruning
from thalweg.problems.digits import conv_net, parts
from thalweg.problems.digits_noisy import mislabelled
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem


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


def gradients_one_by_one() -> None:
    """GraNd is the norm of what autograd gives for one sample after the other."""
    net, inputs, target = _net()
    net.eval()
    exact = []
    for i in range(len(target)):
        value = F.cross_entropy(net(inputs[i : i + 1]), target[i : i + 1])
        slopes = torch.autograd.grad(value, list(net.parameters()))
        exact.append(math.sqrt(sum(float(slope.square().sum()) for slope in slopes)))
    found = grand_scores(net, (inputs, target), batch_size=5)
    torch.testing.assert_close(found, torch.tensor(exact, dtype=torch.float64))


def error_retyped() -> None:
    """Follow EL2N for single numbers, over two models."""
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
    found = el2n_scores(models, data)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


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


def _student() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    )


def teacher() -> TrainingProblem:
    """Draw 20,000 Gaussian samples in 20 dimensions, labelled by a random tanh network."""
    generator = torch.Generator().manual_seed(derive_seed("data diet"))
    # Slopes of about 2 at the hidden units bend the borders between the three classes.
    hidden, last = (torch.randn(shape, generator=generator) for shape in ((20, 64), (64, 3)))
    inputs = torch.randn(27_000, 20, generator=generator)
    label = (torch.tanh(inputs @ hidden * 2 / math.sqrt(20)) @ last).argmax(1)
    split = (torch.split(part, [20_000, 2_000, 5_000]) for part in (inputs, label))
    train, validation, test = zip(*split, strict=True)
    return TrainingProblem(
        "teacher",
        model=_student,
        train=train,
        validation=validation,
        test=test,
        loss=nn.CrossEntropyLoss(),
        metric=METRICS["accuracy"],
        steps=3000,
        description="labels of a random network",
    )


def detects_wrong_labels(seed: int, size: Size) -> Mapping[str, float]:
    """Return how well EL2N tells wrong labels from right ones: the area under the ROC curve."""
    runs, epochs = (5, 10) if size == "full" else (2, 2)
    (images, right), *_ = parts()
    label = mislabelled(right, share=0.1)
    models = []
    with torch.random.fork_rng(devices=[]):
        for run in range(runs):
            torch.manual_seed(derive_seed("data diet", seed, run))
            model = conv_net()
            optimizer = torch.optim.AdamW(model.parameters())
            for _ in range(epochs):
                for chosen in torch.split(torch.randperm(len(label)), 64):
                    optimizer.zero_grad()
                    torch.autograd.backward(F.cross_entropy(model(images[chosen]), label[chosen]))
                    optimizer.step()
            models.append(model)
    ranks = rankdata(el2n_scores(models, (images, label)))
    wrong = (label != right).numpy()
    n_wrong, n = int(wrong.sum()), len(wrong)
    area = (ranks[wrong].sum() - n_wrong * (n_wrong + 1) / 2) / (n_wrong * (n - n_wrong))
    return {"area": float(area)}


def finds_wrong_labels(figures: Sequence[Mapping[str, float]]) -> Finding:
    """Reproduced where the area is surely above 0.9, by convention an outstanding test."""
    area = typical("area under the ROC curve of EL2N", [figure["area"] for figure in figures])
    low = area.interval[0] if area.interval else 0.0
    verdict: Verdict = "not reproduced"
    if low > 0.5:
        verdict = "reproduced" if low >= 0.9 else "partly"
    sentence = f"A wrong label scores higher than a right one in {area.ours:.1%} of all pairs."
    return Finding(verdict, sentence, (area,))


def _example() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    net, inputs, target = _net()
    return net, (inputs, target)


def _prunable() -> tuple[tuple[Tensor, Tensor], Tensor]:
    _, inputs, target = _net()
    return (inputs, target), torch.tensor([0.5, 0.1, 0.9, 0.3, 0.2, 0.8, 0.4])


_DEFAULTS = {"keep": 0.5, "offset": 0.0, "runs": 10, "share": 0.1}
_SPACE: dict[str, Space] = {"keep": Interval(0.2, 0.8), "offset": Choice((0.0, 0.05, 0.1, 0.2))}
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
    oracles=(gradients_one_by_one, error_retyped, last_layer_is_error_times_features),
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
            methods=("adamw", "adamw+el2n-prune"),
            smoke=Effort(seeds=2, steps=10),
            full=Effort(seeds=10),
            expect=matches,
            scaled="A random network's labels in place of CIFAR-10, a small perceptron in place "
            "of ResNet-18, 3,000 steps in place of 200 epochs.",
        ),
        RaceClaim(
            name="better-than-a-random-half",
            statement="The half that scores highest trains a better net than a random half.",
            problems=(teacher,),
            methods=("adamw+random-prune", "adamw+el2n-prune"),
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
