"""What exact per-sample gradient norms cost, next to torch.func's vmap(grad), in one run.

    python benchmarks/grand.py [--rounds 7] [--threads 1] [--device cpu] [--json]

Both take the same batches; vmap does so in the chunk size, of those tried, that suits it best.
Contenders take turns; a cell is the median over the rounds, a ratio that within a round. `error`
is the largest relative difference of a norm from autograd's, sample by sample in float64.
"""

import argparse
import copy
import time
from collections.abc import Callable
from statistics import median

import torch
from side_by_side import show
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from thalweg.data import grand_scores

SAMPLES, BATCH = 2048, 256
CHUNKS = (16, 64, 256)


def mlp() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    )


def conv_net() -> nn.Module:
    return nn.Sequential(
        *(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 10)),
    )


def by_vmap(model: nn.Module, inputs: Tensor, target: Tensor, chunk: int) -> Tensor:
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, parameters, (x[None],)), y[None])

    slopes = vmap(grad(loss), (None, 0, 0), chunk_size=chunk)
    norms = []
    for x, y in zip(inputs.split(BATCH), target.split(BATCH), strict=True):
        found = slopes(parameters, x, y).values()
        norms.append(torch.stack([g.flatten(1).square().sum(1) for g in found]).sum(0).sqrt())
    return torch.cat(norms)


def one_by_one(model: nn.Module, inputs: Tensor, target: Tensor) -> Tensor:
    model, norms = copy.deepcopy(model).double(), []
    for x, y in zip(inputs.double(), target, strict=True):
        value = F.cross_entropy(model(x[None]), y[None])
        found = torch.autograd.grad(value, list(model.parameters()))
        norms.append(torch.stack([g.square().sum() for g in found]).sum().sqrt())
    return torch.stack(norms)


def measure(make: Callable[[], nn.Module], rounds: int, device: str) -> dict[str, dict[str, float]]:
    torch.manual_seed(0)
    model = make().to(device).eval()
    inputs = torch.randn(SAMPLES, 64, device=device)
    target = torch.randint(10, (SAMPLES,), device=device)
    runs: dict[str, Callable[[], Tensor]] = {
        "thalweg": lambda: grand_scores(model, (inputs, target), batch_size=BATCH),
        **{
            f"vmap, chunks of {chunk}": lambda chunk=chunk: by_vmap(model, inputs, target, chunk)
            for chunk in CHUNKS
        },
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    errors = {}
    exact = one_by_one(model, inputs[:64], target[:64])
    for turn in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            norms = run().cpu()  # waits until the device has done its work
            if turn:
                seconds[name].append(time.perf_counter() - start)
            errors[name] = ((norms[:64].to(exact) - exact).abs() / exact).max().item()
    return {
        name: {
            "ms": 1e3 * median(times),
            "to thalweg": median(t / o for t, o in zip(times, seconds["thalweg"], strict=True)),
            "error": errors[name],
        }
        for name, times in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases = {"MLP of 85,002 parameters": mlp, "conv net of 21,610 parameters": conv_net}
    results = {
        f"{name}, {SAMPLES} samples": measure(make, options.rounds, options.device)
        for name, make in cases.items()
    }
    show(results, options.json)


if __name__ == "__main__":
    main()
