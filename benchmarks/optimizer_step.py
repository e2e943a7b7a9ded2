"""What an optimizer step costs, next to torch's own and to a peer's, in one run.

    python benchmarks/optimizer_step.py [--rounds 8] [--threads 1] [--json]

On the CPU. Contenders take turns in random order, and every round allocates its tensors anew:
where they lie in memory alone changes a time by a fifth. A time is the median over the rounds of
the contender's median; a ratio is the median over the rounds of the ratio within a round, with the
smallest and the largest in brackets. Memory is the most that torch held at a time, parameters and
all.
`pytorch_optimizer` (pip install pytorch_optimizer) is measured if it is installed.
"""

import argparse
import importlib.util
import random
import time
import warnings
from collections.abc import Callable
from statistics import median

import torch
from side_by_side import show
from torch import nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from thalweg.optim import AdaHessian, DiffGrad
from thalweg.problems.nets import conv_net

warnings.filterwarnings("ignore", message="Using backward.. with create_graph=True")
Step = Callable[[], object]
Cells = dict[str, float | tuple[float, float, float]]


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


def small_net() -> nn.Module:
    """Return the net of the problem `digits`."""
    return conv_net(1, 8, 10)


def larger_net() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def trained() -> dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]]:
    makers = {
        "AdamW": lambda p: torch.optim.AdamW(p),
        "AdaHessian": lambda p: AdaHessian(p),
        "AdaHessian every 4th": lambda p: AdaHessian(p, hessian_interval=4),
    }
    if importlib.util.find_spec("pytorch_optimizer"):
        import pytorch_optimizer

        makers["AdaHessian pytorch_optimizer"] = lambda p: pytorch_optimizer.AdaHessian(p)
    return makers


def training_steps(net: Callable[[], nn.Module]) -> dict[str, Step]:
    return {name: training_step(net(), make, name) for name, make in trained().items()}


def training_step(
    model: nn.Module, make: Callable[[list[nn.Parameter]], torch.optim.Optimizer], name: str
) -> Step:
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


def peak_memory(net: Callable[[], nn.Module]) -> dict[str, float]:
    """Return the most MiB of tensors at a time while each contender trains."""
    peaks = {}
    for name, make in trained().items():
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as events:
            training_step(net(), make, name)()
        held = peak = 0
        for event in events.profiler.kineto_results.events():
            if event.name() == "[memory]":
                held += event.nbytes()
                peak = max(peak, held)
        peaks[name] = peak / 2**20
    return peaks


def measure(make: Callable[[], dict[str, Step]], rounds: int, turns: int) -> list[dict[str, float]]:
    """Return for each round the median seconds of each contender."""
    found = []
    for _ in range(rounds):
        steps = make()
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(turns + 2):
            for name, step in random.sample(list(steps.items()), len(steps)):
                start = time.perf_counter()
                step()
                if turn >= 2:
                    seconds[name].append(time.perf_counter() - start)
        found.append({name: median(times) for name, times in seconds.items()})
    return found


def ratio(rounds: list[dict[str, float]], name: str, *bases: str) -> tuple[float, float, float]:
    """Return the median, the smallest and the largest ratio to the fastest of the bases."""
    ratios = [r[name] / min(r[base] for base in bases) for r in rounds]
    return median(ratios), min(ratios), max(ratios)


def updates(count: int, side: int, rounds: int, turns: int) -> dict[str, Cells]:
    found = measure(lambda: update_steps(count, (side, side)), rounds, turns)
    return {
        name: {
            "ms": 1e3 * median(r[name] for r in found),
            "to AdamW loop or foreach": ratio(found, name, "AdamW loop", "AdamW foreach"),
            "to AdamW fused": ratio(found, name, "AdamW fused"),
        }
        for name in found[0]
    }


def trainings(net: Callable[[], nn.Module], rounds: int, turns: int) -> dict[str, Cells]:
    found, peaks = measure(lambda: training_steps(net), rounds, turns), peak_memory(net)
    table: dict[str, Cells] = {}
    for name in found[0]:
        table[name] = {
            "ms": 1e3 / 4 * median(r[name] for r in found),
            "to AdamW": ratio(found, name, "AdamW"),
            "peak MiB": peaks[name],
        }
        if (peer := "AdaHessian pytorch_optimizer") in found[0]:
            table[name]["to pytorch_optimizer"] = ratio(found, name, peer)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    effort = options.rounds, options.turns

    results = {
        f"update of {count} tensors of {side} x {side}": updates(count, side, *effort)
        for count, side in ((10, 512), (200, 32))
    }
    for net in (small_net, larger_net):
        size = sum(p.numel() for p in net().parameters())
        title = f"training step of a convolutional net of {size:,} parameters, batch 64"
        results[title] = trainings(net, *effort)
    show(results, options.json)


if __name__ == "__main__":
    main()
