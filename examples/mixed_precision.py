"""Mixed precision, accumulated batches and clipped gradients around a thalweg optimizer."""

import torch
from sklearn.datasets import load_digits
from torch import nn

from thalweg.optim import DiffGrad


def main(epochs: int = 5, accumulate: int = 2) -> float:
    torch.manual_seed(0)
    images, digits = load_digits(return_X_y=True)
    inputs = torch.tensor(images, dtype=torch.float32) / 16
    targets = torch.tensor(digits)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float16 if device == "cuda" else torch.bfloat16
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).to(device)
    inputs, targets = inputs.to(device), targets.to(device)

    batches = torch.arange(1500).split(25)
    optimizer = DiffGrad(model.parameters(), lr=3e-3)
    scaler = torch.amp.GradScaler(device)
    for _ in range(epochs):
        for i, batch in enumerate(batches, start=1):
            with torch.autocast(device, dtype):
                output = model(inputs[batch])
                loss = nn.functional.cross_entropy(output, targets[batch]) / accumulate
            scaler.scale(loss).backward()
            if i % accumulate == 0:
                scaler.unscale_(optimizer)  # AdaHessian does this itself: leave it out there
                nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()

    with torch.no_grad():
        return (model(inputs[1500:]).argmax(1) == targets[1500:]).float().mean().item()


if __name__ == "__main__":
    print(f"accuracy on the last 297 scans: {main():.1%}")
