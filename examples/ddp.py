"""Two processes under DistributedDataParallel: DiffGrad as any optimizer, AdaHessian unsynced.

torch cannot differentiate through DDP's averaging, so AdaHessian, which differentiates the
gradients, averages by itself: forward and backward run under `no_sync()`.
"""

import contextlib
import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import distributed, multiprocessing, nn

from thalweg.optim import AdaHessian, DiffGrad

OPTIMIZERS = {"DiffGrad": (DiffGrad, 3e-3), "AdaHessian": (AdaHessian, 0.05)}


def train(name: str, epochs: int) -> dict[str, object]:
    rank = distributed.get_rank()
    torch.manual_seed(0)
    images, digits = load_digits(return_X_y=True)
    inputs = torch.tensor(images, dtype=torch.float32) / 16
    targets = torch.tensor(digits)
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    parallel = nn.parallel.DistributedDataParallel(model)

    kind, lr = OPTIMIZERS[name]
    optimizer = kind(parallel.parameters(), lr=lr)
    graph = kind is AdaHessian
    for _ in range(epochs):
        for batch in torch.arange(1500).split(50):
            mine = batch[rank::2]
            optimizer.zero_grad()
            with parallel.no_sync() if graph else contextlib.nullcontext():
                loss = nn.functional.cross_entropy(parallel(inputs[mine]), targets[mine])
                loss.backward(create_graph=graph)
            optimizer.step()

    with torch.no_grad():
        accuracy = (model(inputs[1500:]).argmax(1) == targets[1500:]).float().mean().item()
    weights = nn.utils.parameters_to_vector(model.parameters()).detach()
    return {"accuracy": accuracy, "weights": weights}


def process(rank: int, folder: str, epochs: int) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    found = {name: train(name, epochs) for name in OPTIMIZERS}
    torch.save(found, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def main(epochs: int = 5) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(process, (folder, epochs), nprocs=2)
        first, second = (torch.load(Path(folder) / f"{rank}.pt") for rank in range(2))
    for name in OPTIMIZERS:
        assert torch.equal(first[name]["weights"], second[name]["weights"])
    return {name: first[name]["accuracy"] for name in OPTIMIZERS}


if __name__ == "__main__":
    for name, accuracy in main().items():
        print(f"{name}, accuracy on the last 297 scans: {accuracy:.1%}")
