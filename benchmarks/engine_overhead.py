"""What the engine costs, next to a bare PyTorch loop, in one run.

    python benchmarks/engine_overhead.py [--rounds 12] [--steps 150] [--json]

The same net on the same batches of `digits` by the same optimizer, once by thalweg's loop and once
by the few lines that one would write by hand; one thread, without evaluation. Both take turns; the
ratio is the median over the rounds of the ratio within a round. Then the memory of a worker process
that makes a run of every default contender, and what `import thalweg` and `thalweg --help` take.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from thalweg.bench.engines import LocalEngine
from thalweg.bench.work import Job, Record
from thalweg.core.catalogue import catalogue
from thalweg.core.seeds import derive_seed
from thalweg.problems import digits
from thalweg.training import TrainingProblem

BATCH = 64
LIMITS = {
    "training seconds, ratio to a bare loop": 1.05,
    "worker memory, MB": 700.0,
    "import thalweg, ms": 50.0,
    "thalweg --help, ms": 500.0,
}


def by_thalweg(problem: TrainingProblem, seed: int, steps: int) -> tuple[float, float]:
    """Return training seconds and final validation accuracy."""
    recipe = catalogue().recipe("adamw")
    *_, last = problem.run(recipe, seed, steps=steps, device="cpu", final=False)
    return last.cost.seconds, last.quality["validation/accuracy"]


def by_hand(problem: TrainingProblem, seed: int, steps: int) -> tuple[float, float]:
    (images, labels), _, _ = digits.parts()
    torch.manual_seed(derive_seed("weights", seed))
    model = digits.conv_net()
    loss = nn.CrossEntropyLoss()
    start = time.perf_counter()
    optimizer = torch.optim.AdamW(model.parameters())
    step, epoch = 0, 0
    while step < steps:
        generator = torch.Generator().manual_seed(derive_seed("order", seed) + epoch)
        order = torch.randperm(len(labels), generator=generator)
        epoch += 1
        for index in order.split(BATCH)[: steps - step]:
            optimizer.zero_grad()
            loss(model(images[index]), labels[index]).backward()
            optimizer.step()
            step += 1
    seconds = time.perf_counter() - start
    return seconds, problem.evaluate(model, "validation")["validation/accuracy"]


def loop_ratio(rounds: int, steps: int) -> float:
    torch.set_num_threads(1)
    problem = digits.problem()
    ways: list[Callable[[TrainingProblem, int, int], tuple[float, float]]] = [by_thalweg, by_hand]
    for way in ways:  # what torch loads late belongs to neither
        way(problem, 0, 5)
    ratios = []
    for seed in range(rounds):
        seconds, accuracies = {}, set()
        for way in ways[:: 1 if seed % 2 else -1]:
            seconds[way], accuracy = way(problem, seed, steps)
            accuracies.add(accuracy)
        assert len(accuracies) == 1, "the two loops did not do the same"
        ratios.append(seconds[by_thalweg] / seconds[by_hand])
    return median(ratios)


def worker_memory(steps: int) -> float:
    """Return the most megabytes that a worker held resident, watched from outside."""
    problem = digits.problem()
    engine = LocalEngine({problem.name: problem}, 1)
    most = 0
    for name in problem.contenders:
        recipe = catalogue().recipe(name)
        engine.submit(Job(problem.name, problem.source, recipe, 0, steps, "cpu", True, ""))
        while not (ended := engine.wait(0.02)):
            most = max(most, largest_child())
        ((_, answer),) = ended
        assert isinstance(answer, Record), answer
        assert answer.trace.outcome == "finished", answer.trace.error
    engine.close()
    return most / 1e6


def largest_child() -> int:
    """Return the resident bytes of the largest process that this one has started (Linux)."""
    sizes = [0]
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            facts = dict(line.split(":", 1) for line in path.read_text().splitlines())
        except OSError:  # it has ended
            continue
        if int(facts["PPid"]) == os.getpid() and "VmRSS" in facts:
            sizes.append(int(facts["VmRSS"].split()[0]) * 1024)
    return max(sizes)


def milliseconds(rounds: int, *commands: list[str]) -> list[float]:
    """Return the median time of each command; they take turns, the first turn does not count."""
    times: list[list[float]] = [[] for _ in commands]
    for turn in range(rounds + 1):
        for command, found in zip(commands, times, strict=True):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if turn:
                found.append(1e3 * (time.perf_counter() - start))
    return [median(found) for found in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    thalweg = str(Path(sys.executable).with_name("thalweg"))
    empty, imported, helped = milliseconds(
        options.rounds,
        [sys.executable, "-c", "pass"],
        [sys.executable, "-c", "import thalweg"],
        [thalweg, "--help"],
    )
    measured = (
        loop_ratio(options.rounds, options.steps),
        worker_memory(options.steps),
        imported - empty,
        helped,
    )
    results = {
        name: {"measured": value, "limit": limit}
        for (name, limit), value in zip(LIMITS.items(), measured, strict=True)
    }
    if options.json:
        print(json.dumps(results, indent=2))
        return
    table = Table("", "measured", "limit")
    for name, cells in results.items():
        table.add_row(name, f"{cells['measured']:.4g}", f"{cells['limit']:g}")
    Console().print(table)


if __name__ == "__main__":
    main()
