"""A thalweg optimizer and schedule in a training loop of one's own."""

import torch
from sklearn.datasets import load_digits
from torch import nn

from thalweg.optim import DiffGrad
from thalweg.schedules import UBA


def main(epochs: int = 10) -> float:
    torch.manual_seed(0)
    images, digits = load_digits(return_X_y=True)
    inputs = torch.tensor(images, dtype=torch.float32) / 16
    targets = torch.tensor(digits)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    loss_function = nn.CrossEntropyLoss()

    batches = torch.arange(1500).split(50)
    optimizer = DiffGrad(model.parameters(), lr=3e-3)
    schedule = UBA(optimizer, total_steps=epochs * len(batches))
    for _ in range(epochs):
        for batch in batches:
            optimizer.zero_grad()
            loss_function(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
            schedule.step()

    with torch.no_grad():
        return (model(inputs[1500:]).argmax(1) == targets[1500:]).float().mean().item()


if __name__ == "__main__":
    print(f"accuracy on the last 297 scans: {main():.1%}")
