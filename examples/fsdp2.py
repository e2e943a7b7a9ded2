"""Two processes that each hold half of every parameter: FSDP2's `fully_shard`.

DiffGrad, whose update treats every element alike, steps on the shards. AdaHessian refuses them:
no graph of the gradients passes `fully_shard`.
"""

import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import distributed, multiprocessing, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from thalweg.optim import AdaHessian, DiffGrad


def train(rank: int, folder: str, epochs: int) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    torch.manual_seed(0)
    images, digits = load_digits(return_X_y=True)
    inputs = torch.tensor(images, dtype=torch.float32) / 16
    targets = torch.tensor(digits)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    mesh = init_device_mesh("cpu", (2,))
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=mesh)

    optimizer = DiffGrad(model.parameters(), lr=3e-3)  # after sharding, as with every optimizer
    for _ in range(epochs):
        for batch in torch.arange(1500).split(50):
            mine = batch[rank::2]
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[mine]), targets[mine]).backward()
            optimizer.step()

    try:
        AdaHessian(model.parameters())
        refusal = ""
    except ValueError as error:
        refusal = str(error)
    with torch.no_grad():
        accuracy = (model(inputs[1500:]).argmax(1) == targets[1500:]).float().mean().item()
    if rank == 0:
        held = optimizer.state[model[0].weight]["exp_avg"].to_local().shape
        found = {"accuracy": accuracy, "held": list(held), "refusal": refusal}
        torch.save(found, Path(folder) / "found.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def main(epochs: int = 5) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(train, (folder, epochs), nprocs=2)
        return torch.load(Path(folder) / "found.pt")


if __name__ == "__main__":
    found = main()
    print(f"accuracy on the last 297 scans: {found['accuracy']:.1%}")
    print(f"a process's half of the first layer's average gradient: {found['held']}")
    print(found["refusal"])
