"""What a step costs with SAF and with MESA, beside SAM's two gradients, in one run.

    python benchmarks/saf.py [--batch 128] [--steps 20] [--rounds 9] [--threads 1] [--json]

A step is forward, loss, backward and SGD with momentum; SAF remembers 50,000 samples. Contenders
take turns in every round; a cell is the median of the rounds, a ratio that within a round.
"""

import argparse
from collections.abc import Callable
from statistics import median

import torch
from side_by_side import ratio, show, take_turns
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.losses import MESA, SAF
from thalweg.optim import SAM

SAMPLES = 50_000


def mlp() -> nn.Module:
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(3072, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()),
        nn.Linear(512, 10),
    )


def conv_net() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, padding=1, stride=2), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.Conv2d(64, 64, 3, padding=1, stride=2), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(1024, 10)),
    )


def stepper(name: str, make: Callable[[], nn.Module], batch: int) -> Callable[[], None]:
    torch.manual_seed(0)
    model = make()
    images, label = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))
    order = torch.randperm(SAMPLES)
    base = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    optimizer = SAM(base) if name == "SAM" else base
    saf, mesa = SAF(SAMPLES, 10), MESA(model)
    saf.set_epoch(9)
    mesa.set_epoch(9)
    saf.seen.fill_(6)  # three epochs ago, so that every sample is compared

    def loss() -> Tensor:
        scores = model(images)
        if name == "SAF":
            return saf(scores, label, order[torch.randint(SAMPLES - batch, ()) :][:batch])
        return mesa(scores, label, images) if name == "MESA" else F.cross_entropy(scores, label)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    def step() -> None:
        optimizer.step(closure)
        if name == "MESA":
            mesa.update(model)

    return step


def measure(
    make: Callable[[], nn.Module], batch: int, steps: int, rounds: int
) -> dict[str, dict[str, float]]:
    steppers = {name: stepper(name, make, batch) for name in ("SGD", "SAF", "MESA", "SAM")}
    seconds = take_turns(steppers, rounds, steps)
    return {
        name: {
            "ms": 1e3 * median(times),
            "to SGD": ratio(times, seconds["SGD"]),
            "to SAM": ratio(times, seconds["SAM"]),
        }
        for name, times in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = {
        f"{name}, batch of {options.batch}": measure(
            make, options.batch, options.steps, options.rounds
        )
        for name, make in {"MLP": mlp, "conv net": conv_net}.items()
    }
    show(results, options.json)


if __name__ == "__main__":
    main()
