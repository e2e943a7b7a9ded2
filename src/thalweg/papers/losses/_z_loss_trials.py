"""What the claims about the Z-loss measure."""

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.claim import Size
from thalweg.core.problem import Metric
from thalweg.nn import SphericalLinear
from thalweg.problems import code_lm
from thalweg.problems.nets import mlp
from thalweg.training.problem import TrainingProblem

WORDS = 793_471  # of the One Billion Word data


def top_5(output: Tensor, target: Tensor) -> float:
    """Return how often the target's score is among the five highest."""
    return (output.topk(5, dim=1).indices == target.unsqueeze(1)).any(1).double().mean().item()


def next_word() -> TrainingProblem:
    """Name the word that follows four others in source code, in five guesses."""
    texts = {part: re.findall(rb"\w+|[^\w\s]", text) for part, text in code_lm.texts().items()}
    known = {word: i for i, (word, _) in enumerate(Counter(texts["train"]).most_common(1000))}
    data = {}
    for part, words in texts.items():
        codes = torch.tensor([known[word] for word in words if word in known]).unfold(0, 5, 1)
        codes = codes if part == "train" else codes[:: len(codes) // 4000]
        data[part] = codes[:, :4], codes[:, 4]
    return TrainingProblem(
        "next-word",
        model=lambda: nn.Sequential(nn.Embedding(1000, 32), mlp(128, 1000, width=128, depth=1)),
        loss=nn.CrossEntropyLoss(),
        metric=Metric("top-5 accuracy", "higher", 0.005, top_5, percent=True),
        train=data["train"],
        validation=data["validation"],
        test=data["test"],
        steps=600,
        evaluations=10,
    )


def seconds_a_step(seed: int, size: Size) -> Mapping[str, float]:
    """Time steps of the last layer: dense log-softmax, factored Z-loss, and that on few classes."""
    torch.manual_seed(seed)
    n_classes = WORDS if size == "full" else 20_000
    hidden, target = torch.randn(32, 64).requires_grad_(), torch.randint(1000, (32,))
    dense = nn.Linear(64, n_classes, bias=False)
    optimizer = torch.optim.SGD(dense.parameters(), 0.1)

    def log_softmax() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(dense(hidden), target))
        optimizer.step()

    def z_loss(layer: SphericalLinear) -> None:
        torch.autograd.backward(layer.loss(hidden, target))
        layer.step(0.1)

    slow = _seconds(log_softmax, 2)
    fast, few = (_seconds(partial(z_loss, SphericalLinear(64, n)), 50) for n in (n_classes, 1000))
    return {"speed-up": slow / fast, "growth": fast / few}


def _seconds(step: Callable[[], None], times: int) -> float:
    step()
    start = time.perf_counter()
    for _ in range(times):
        step()
    return (time.perf_counter() - start) / times
