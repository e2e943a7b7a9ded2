"""What an optimizer step costs, next to torch's own and to a peer's, in one run.

    python benchmarks/optimizer_step.py [--rounds 8] [--json]

One thread, on the CPU. Contenders take turns, and every round allocates its tensors anew: where
they lie in memory alone changes a time by a fifth. A cell is the median over the rounds of the
contender's median time; a ratio is the median over the rounds of the ratio within a round.
`pytorch_optimizer` (pip install pytorch_optimizer) is measured if it is installed.
"""

import argparse
import importlib.util
import json
import time
import warnings
from collections.abc import Callable
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional as F

from thalweg.optim import AdaHessian, DiffGrad

warnings.filterwarnings("ignore", message="Using backward.. with create_graph=True")
Step = Callable[[], object]


def optimizers() -> dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]]:
    made = {
        "AdamW loop": lambda p: torch.optim.AdamW(p, foreach=False),
        "AdamW foreach": lambda p: torch.optim.AdamW(p, foreach=True),
        "AdamW fused": lambda p: torch.optim.AdamW(p, fused=True),
        "DiffGrad eager": lambda p: DiffGrad(p),
        "DiffGrad compiled": lambda p: DiffGrad(p, compile=True),
    }
    if importlib.util.find_spec("pytorch_optimizer"):
        import pytorch_optimizer

        made["DiffGrad pytorch_optimizer"] = lambda p: pytorch_optimizer.DiffGrad(p)
    return made


def update_steps(count: int, shape: tuple[int, int]) -> dict[str, Step]:
    steps = {}
    for name, make in optimizers().items():
        params = [nn.Parameter(torch.randn(shape)) for _ in range(count)]
        for p in params:
            p.grad = torch.randn(shape)
        steps[name] = make(params).step
    return steps


def training_steps() -> dict[str, Step]:
    makers = {
        "AdamW": lambda p: torch.optim.AdamW(p),
        "AdaHessian": lambda p: AdaHessian(p),
        "AdaHessian every 4th": lambda p: AdaHessian(p, hessian_interval=4),
    }
    if importlib.util.find_spec("pytorch_optimizer"):
        import pytorch_optimizer

        makers["AdaHessian pytorch_optimizer"] = lambda p: pytorch_optimizer.AdaHessian(p)
    return {name: training_step(make, name) for name, make in makers.items()}


def training_step(make: Callable[[list[nn.Parameter]], torch.optim.Optimizer], name: str) -> Step:
    model = nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 10)),
    )
    optimizer = make(list(model.parameters()))
    batch, target = torch.randn(64, 1, 8, 8), torch.randint(0, 10, (64,))
    interval = optimizer.param_groups[0].get("hessian_interval", 1)
    calls = 0

    def step() -> None:
        nonlocal calls
        for _ in range(4):
            optimizer.zero_grad()
            graph = name != "AdamW" and calls % interval == 0
            F.cross_entropy(model(batch), target).backward(create_graph=graph)
            optimizer.step()
            calls += 1

    return step


def measure(make: Callable[[], dict[str, Step]], rounds: int, turns: int) -> list[dict[str, float]]:
    """Return for each round the median seconds of each contender."""
    found = []
    for _ in range(rounds):
        steps = make()
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(turns + 2):
            for name, step in steps.items():
                start = time.perf_counter()
                step()
                if turn >= 2:
                    seconds[name].append(time.perf_counter() - start)
        found.append({name: median(times) for name, times in seconds.items()})
    return found


def ratio(rounds: list[dict[str, float]], name: str, *bases: str) -> float:
    return median(r[name] / min(r[base] for base in bases) for r in rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)

    results: dict[str, dict[str, dict[str, float]]] = {}
    for count, side in ((10, 512), (200, 32)):
        rounds = measure(lambda n=count, s=side: update_steps(n, (s, s)), *numbers(options))
        results[f"update of {count} tensors of {side} x {side}"] = {
            name: {
                "ms": 1e3 * median(r[name] for r in rounds),
                "to AdamW loop or foreach": ratio(rounds, name, "AdamW loop", "AdamW foreach"),
                "to AdamW fused": ratio(rounds, name, "AdamW fused"),
            }
            for name in rounds[0]
        }
    rounds = measure(training_steps, *numbers(options))
    results["training step of a small convolutional net, batch 64"] = {
        name: {
            "ms": 1e3 / 4 * median(r[name] for r in rounds),
            "to AdamW": ratio(rounds, name, "AdamW"),
        }
        for name in rounds[0]
    }
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for title, rows in results.items():
        table = Table("", *next(iter(rows.values())), title=title, title_justify="left")
        for name, cells in rows.items():
            table.add_row(name, *(f"{cell:.2f}" for cell in cells.values()))
        Console().print(table)


def numbers(options: argparse.Namespace) -> tuple[int, int]:
    return options.rounds, options.turns


if __name__ == "__main__":
    main()
