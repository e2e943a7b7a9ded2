"""What losses over classes cost, forward and backward, next to torch's cross-entropy, in one run.

    python benchmarks/losses.py [--samples 10000] [--classes 1000] [--rounds 5] [--json]

On the CPU, one thread, single precision, against class indices. Contenders take turns in every
round; a time is the median of the rounds, a ratio that within a round.
"""

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from side_by_side import ratio, show, take_turns
from torch import Tensor, nn

from thalweg.losses import ALDRKL, LDRKL, CompSum, CorrectnessAware, DecoupledMixup, ZLoss

Loss = Callable[[Tensor, Tensor], Tensor]


def contenders(samples: int) -> dict[str, Loss]:
    """Return the losses by name; the others are compared to the first."""
    return {
        "cross-entropy": nn.CrossEntropyLoss(),
        "CompSum, tau = 0": CompSum(0.0),
        "CompSum, tau = 1": CompSum(),
        "CompSum, tau = 1.7": CompSum(1.7),
        "ZLoss": ZLoss(),
        "DecoupledMixup": DecoupledMixup(),
        "LDRKL": LDRKL(),
        "LDRKL, normalize=False": LDRKL(normalize=False),
        "CorrectnessAware": CorrectnessAware(),
        "ALDRKL": partial(ALDRKL(samples), index=torch.arange(samples)),
    }


def stepper(loss: Loss, scores: Tensor, target: Tensor) -> Callable[[], object]:
    def step() -> None:
        scores.grad = None
        loss(scores, target).backward()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    scores = torch.randn(options.samples, options.classes).requires_grad_()
    target = torch.randint(options.classes, (options.samples,))
    losses = contenders(options.samples)
    steppers = {name: stepper(loss, scores, target) for name, loss in losses.items()}
    seconds = take_turns(steppers, options.rounds)
    rows = {
        name: {
            "ms": 1e3 * median(times),
            "to cross-entropy": ratio(times, seconds["cross-entropy"]),
        }
        for name, times in seconds.items()
    }
    title = f"{options.samples:,} samples of {options.classes:,} classes, forward and backward"
    show({title: rows}, options.json)


if __name__ == "__main__":
    main()
