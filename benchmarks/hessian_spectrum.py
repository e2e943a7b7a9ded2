"""What the Hessian's spectrum costs, and how far off it is, next to two peers, in one run.

    python benchmarks/hessian_spectrum.py [--rounds 3] [--threads 1] [--device cpu] [--json]

All use the same number of Lanczos steps and probes. `steps` nodes of `probes` starts are compared
with the exact spectrum where the Hessian is small enough to be written down: the distance of the
distributions of eigenvalues (Wasserstein, in units of the largest) and the largest relative error
among the five largest eigenvalues. Contenders take turns; a cell is the median over the rounds.
PyHessian (its repository on PYTHONPATH) and curvlinops are measured if they can be imported.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median

import torch
from scipy.stats import wasserstein_distance
from side_by_side import show
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev
from torch.nn import functional as F

from thalweg.diagnostics import hessian_spectrum

STEPS, PROBES = 40, 5
Quadrature = tuple[Tensor, Tensor]
Batch = tuple[Tensor, Tensor]


def mlp(*sizes: int) -> nn.Module:
    layers = [
        layer for n_in, n_out in pairwise(sizes) for layer in (nn.Linear(n_in, n_out), nn.Tanh())
    ]
    return nn.Sequential(*layers[:-1])


def conv_net() -> nn.Module:
    return nn.Sequential(
        *(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.Tanh()),
        *(nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.Tanh()),
        *(nn.Flatten(), nn.Linear(512, 32), nn.Tanh(), nn.Linear(32, 10)),
    )


CASES: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "MLP of 1,210 parameters, 1 batch of 512": (lambda: mlp(64, 16, 10), 512, 1),
    "MLP of 1,210 parameters, 4 batches of 128": (lambda: mlp(64, 16, 10), 128, 4),
    "MLP of 85,002 parameters, 4 batches of 128": (lambda: mlp(64, 256, 256, 10), 128, 4),
    "conv net of 21,546 parameters, 4 batches of 128": (conv_net, 128, 4),
}


def data(batch_size: int, n_batches: int, device: str) -> list[Batch]:
    """Draw ten clusters that overlap a little."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(10, 64, generator=generator)
    label = torch.randint(10, (batch_size * n_batches,), generator=generator)
    inputs = centres[label] + 2 * torch.randn(len(label), 64, generator=generator)
    return [
        (x.to(device), y.to(device))
        for x, y in zip(inputs.split(batch_size), label.split(batch_size), strict=True)
    ]


def train(model: nn.Module, batches: list[Batch]) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(200):
        optimizer.zero_grad()
        inputs, target = batches[step % len(batches)]
        F.cross_entropy(model(inputs), target).backward()
        optimizer.step()
    optimizer.zero_grad()


def exact(model: nn.Module, batches: list[Batch]) -> Tensor:
    names, parameters = zip(*model.named_parameters(), strict=True)
    sizes = [p.numel() for p in parameters]
    inputs, target = (torch.cat(part) for part in zip(*batches, strict=True))
    flat = torch.cat([p.detach().flatten() for p in parameters]).double()

    def loss(vector: Tensor) -> Tensor:
        pieces = [
            piece.view_as(p) for piece, p in zip(vector.split(sizes), parameters, strict=True)
        ]
        output = functional_call(model, dict(zip(names, pieces, strict=True)), inputs.double())
        return F.cross_entropy(output, target)

    return torch.linalg.eigvalsh(jacrev(grad(loss), chunk_size=128)(flat)).cpu()


def contenders(
    model: nn.Module, batches: list[Batch], device: str
) -> dict[str, Callable[[], Quadrature]]:
    def ours() -> Quadrature:
        found = hessian_spectrum(model, batches, F.cross_entropy, steps=STEPS, probes=PROBES, k=5)
        return found.ritz_values, found.ritz_weights

    made = {"thalweg": ours}
    if importlib.util.find_spec("pyhessian"):
        from pyhessian import hessian as pyhessian

        def theirs() -> Quadrature:
            given = {"data": batches[0]} if len(batches) == 1 else {"dataloader": batches}
            operator = pyhessian(model, F.cross_entropy, **given, cuda=device == "cuda")
            values, weights = operator.density(iter=STEPS, n_v=PROBES)
            model.zero_grad()
            return torch.tensor(values).real.double(), torch.tensor(weights).real.double()

        made["PyHessian"] = theirs
    if importlib.util.find_spec("curvlinops"):
        from curvlinops import HessianLinearOperator
        from curvlinops.papyan2020traces.spectrum import fast_lanczos

        def lean() -> Quadrature:
            operator = HessianLinearOperator(
                model,
                nn.CrossEntropyLoss(),
                list(model.parameters()),
                batches,
                check_deterministic=False,
            )
            pairs = [fast_lanczos(operator, STEPS) for _ in range(PROBES)]
            values = torch.stack([value for value, _ in pairs])
            weights = torch.stack([vectors[0] ** 2 for _, vectors in pairs])
            return values.detach().cpu().double(), weights.detach().cpu().double()

        made["curvlinops"] = lean
    return made


def errors(quadrature: Quadrature, reference: Tensor) -> dict[str, float]:
    values, weights = quadrature
    top = values[0].sort(descending=True).values[:5]
    largest = reference.flip(0)[:5]
    return {
        "distance": wasserstein_distance(values.flatten(), reference, weights.flatten())
        / largest[0].item(),
        "error of the top 5": ((top - largest) / largest).abs().max().item(),
    }


def measure(name: str, rounds: int, device: str) -> dict[str, dict[str, float]]:
    make, batch_size, n_batches = CASES[name]
    torch.manual_seed(0)
    model, batches = make().to(device), data(batch_size, n_batches, device)
    train(model, batches)
    model.eval()
    small = sum(p.numel() for p in model.parameters()) < 3000
    reference = exact(model, batches) if small else None
    seconds: dict[str, list[float]] = {}
    found: dict[str, Quadrature] = {}
    for turn in range(rounds + 1):
        for contender, run in contenders(model, batches, device).items():
            torch.manual_seed(turn)
            start = time.perf_counter()
            found[contender] = run()  # ends on the CPU, so the device has done its work
            if turn:
                seconds.setdefault(contender, []).append(time.perf_counter() - start)
    ours = seconds["thalweg"]
    return {
        contender: {
            "seconds": median(times),
            "to thalweg": median(t / o for t, o in zip(times, ours, strict=True)),
            **(errors(found[contender], reference) if reference is not None else {}),
        }
        for contender, times in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = {name: measure(name, options.rounds, options.device) for name in CASES}
    show(results, options.json)


if __name__ == "__main__":
    main()
