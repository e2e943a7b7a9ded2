"""What a step of DCT-AdamW costs, next to one that projects by an SVD and to AdamW, in one run.

    python benchmarks/dct_adamw.py [--sides 512 1024] [--rounds 5] [--threads 1] [--device cpu]

One layer of n x n at rank n / 4; then many small layers, stacked and one by one. Contenders take
turns in every round; a cell is the median of the rounds, a ratio the median of the rounds' ratios.
`every 200` is a mean: one step in 200 decomposes, as in GaLore. Bytes are those of the state.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from side_by_side import show
from torch import nn

from thalweg.optim import DCTAdamW, Trion, _projected
from thalweg.papers.baselines.low_rank import Dion, SVDAdamW

GAP = 200
NEVER = 10**9
Optimizer = torch.optim.Optimizer


def makers(rank: int) -> dict[str, Callable[[list[nn.Parameter]], Optimizer]]:
    return {
        "AdamW": lambda p: torch.optim.AdamW(p),
        "SVD at each step": lambda p: SVDAdamW(p, rank=rank),
        "SVD never": lambda p: SVDAdamW(p, rank=rank, update_gap=NEVER),
        "DCT-AdamW": lambda p: DCTAdamW(p, rank=rank),
        "DCT-AdamW, error feedback": lambda p: DCTAdamW(p, rank=rank, error_feedback=True),
        "Dion": lambda p: Dion(p, rank=rank),
        "Trion": lambda p: Trion(p, rank=rank),
    }


def layers(count: int, side: int, device: str) -> list[nn.Parameter]:
    params = [nn.Parameter(torch.randn(side, side, device=device)) for _ in range(count)]
    for p in params:
        p.grad = torch.randn_like(p)
    return params


def seconds(optimizer: Optimizer) -> float:
    device = optimizer.param_groups[0]["params"][0].device
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    optimizer.step()
    wait()
    return time.perf_counter() - start


def state_bytes(optimizer: Optimizer) -> int:
    values = (x for state in optimizer.state.values() for x in state.values())
    return sum(x.nbytes for x in values if isinstance(x, torch.Tensor) and x.ndim)


def large(side: int, rounds: int, device: str) -> dict[str, dict[str, float]]:
    torch.manual_seed(0)
    made = {name: make(layers(1, side, device)) for name, make in makers(side // 4).items()}
    for optimizer in made.values():
        optimizer.step()
    found = [{name: seconds(optimizer) for name, optimizer in made.items()} for _ in range(rounds)]
    weighed = {name: state_bytes(optimizer) for name, optimizer in made.items()}
    for times in found:
        times["SVD every 200"] = (times["SVD at each step"] + (GAP - 1) * times["SVD never"]) / GAP
    weighed["SVD every 200"] = weighed["SVD never"]
    return {
        name: {
            "ms": 1e3 * median(times[name] for times in found),
            "to SVD at each step": median(x[name] / x["SVD at each step"] for x in found),
            "to SVD every 200": median(x[name] / x["SVD every 200"] for x in found),
            "KiB of state": weighed[name] / 2**10,
            "to SVD's": weighed[name] / weighed["SVD never"],
        }
        for name in found[0]
        if name != "SVD never"
    }


def small(count: int, side: int, rounds: int, device: str) -> dict[str, dict[str, float]]:
    made = {}
    for name, make in makers(side // 4).items():
        if name not in ("DCT-AdamW", "Trion", "AdamW"):
            continue
        made[name] = made[f"{name}, one by one"] = make(layers(count, side, device))
    found = []
    stack = _projected._STACK
    for turn in range(rounds + 1):
        times = {}
        for name, optimizer in made.items():
            _projected._STACK = 1 if name.endswith("one by one") else stack
            times[name] = seconds(optimizer)
        found += [times] * (turn > 0)
    _projected._STACK = stack
    return {
        name: {
            "ms": 1e3 * median(times[name] for times in found),
            "to AdamW": median(times[name] / times["AdamW"] for times in found),
        }
        for name in made
        if name != "AdamW, one by one"
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    results = {
        f"one layer of {side} x {side}, rank {side // 4}": large(
            side, options.rounds, options.device
        )
        for side in options.sides
    }
    for count, side in ((100, 32), (24, 128)):
        title = f"{count} layers of {side} x {side}, rank {side // 4}"
        results[title] = small(count, side, options.rounds, options.device)
    show(results, options.json)


if __name__ == "__main__":
    main()
