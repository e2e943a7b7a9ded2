"""What losses over classes cost, forward and backward, next to torch's cross-entropy, in one run.

    python benchmarks/losses.py [--samples 10000] [--classes 1000] [--rounds 5] [--json]

On the CPU, one thread, single precision, against class indices. Contenders take turns in every
round; a cell is the median of processor time, a ratio the median of the rounds' ratios.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from thalweg.losses import CompSum, DecoupledMixup, ZLoss

CONTENDERS: dict[str, Callable[[], nn.Module]] = {  # the first is what the others are compared to
    "cross-entropy": nn.CrossEntropyLoss,
    "CompSum, tau = 0": partial(CompSum, 0.0),
    "CompSum, tau = 1": CompSum,
    "CompSum, tau = 1.7": partial(CompSum, 1.7),
    "ZLoss": ZLoss,
    "DecoupledMixup": DecoupledMixup,
}


def seconds(loss: nn.Module, scores: Tensor, target: Tensor) -> float:
    scores.grad = None
    start = time.process_time()
    loss(scores, target).backward()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)

    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(options.samples, options.classes, generator=generator).requires_grad_()
    target = torch.randint(options.classes, (options.samples,), generator=generator)
    losses = {name: build() for name, build in CONTENDERS.items()}
    rounds = [
        {name: seconds(loss, scores, target) for name, loss in losses.items()}
        for _ in range(options.rounds + 1)
    ][1:]
    first = next(iter(losses))
    rows = [
        {
            "loss": name,
            "ms": 1e3 * median(row[name] for row in rounds),
            "to cross-entropy": median(row[name] / row[first] for row in rounds),
        }
        for name in losses
    ]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    title = f"{options.samples:,} samples of {options.classes:,} classes, forward and backward"
    table = Table("loss", "ms", "to cross-entropy", title=title, title_justify="left")
    for row in rows:
        table.add_row(str(row["loss"]), f"{row['ms']:.1f}", f"{row['to cross-entropy']:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
