"""What TrAct adds to a training step, beside the plain net and the authors' code, in one run.

    python benchmarks/tract.py [--batch 128] [--steps 10] [--rounds 9] [--threads 1] [--json]

A step is forward, cross-entropy, backward and SGD with momentum on images of 3 x 32 x 32 pixels.
The authors' `torch_tract` takes part where it is installed. Contenders take turns in every round; a
cell is the median of the rounds, a ratio that within a round.
"""

import argparse
import importlib.util
from collections.abc import Callable
from statistics import median

import torch
from side_by_side import ratio, show, take_turns
from torch import nn
from torch.nn import functional as F

from thalweg.nn import TrAct


def mlp() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(3072, 512), *(nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    )


def conv_net() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, padding=1, stride=2), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.Conv2d(64, 64, 3, padding=1, stride=2), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(1024, 10)),
    )


class LastMean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1)


class Tokens(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2).mT


def transformer() -> nn.Sequential:
    layers = [
        nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0, batch_first=True) for _ in range(2)
    ]
    return nn.Sequential(
        nn.Conv2d(3, 128, 4, stride=4), Tokens(), *layers, LastMean(), nn.Linear(128, 10)
    )


def stepper(
    make: Callable[[], nn.Sequential], wrap: Callable[[nn.Module], nn.Module], batch: int
) -> Callable[[], None]:
    torch.manual_seed(0)
    model = make()
    model[0] = wrap(model[0])
    images, label = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))
    inputs = images.flatten(1) if make is mlp else images
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), label).backward()
        optimizer.step()

    return step


def measure(
    make: Callable[[], nn.Sequential], batch: int, steps: int, rounds: int
) -> dict[str, dict[str, float]]:
    wraps: dict[str, Callable[[nn.Module], nn.Module]] = {"plain": lambda x: x, "TrAct": TrAct}
    if importlib.util.find_spec("torch_tract"):
        from torch_tract import TrAct as Theirs

        wraps["torch_tract"] = Theirs
    steppers = {name: stepper(make, wrap, batch) for name, wrap in wraps.items()}
    seconds = take_turns(steppers, rounds, steps)
    return {
        name: {
            "ms": 1e3 * median(times),
            "to plain": ratio(times, seconds["plain"]),
        }
        for name, times in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases = {
        "MLP, 3,072 inputs": mlp,
        "conv net, patches of 3 x 3 x 3": conv_net,
        "transformer, patches of 3 x 4 x 4": transformer,
    }
    results = {
        f"{name}, batch of {options.batch}": measure(
            make, options.batch, options.steps, options.rounds
        )
        for name, make in cases.items()
    }
    show(results, options.json)


if __name__ == "__main__":
    main()
