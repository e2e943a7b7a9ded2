"""A thalweg optimizer and schedule in Lightning's `configure_optimizers`."""

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from thalweg.optim import DiffGrad
from thalweg.schedules import UBA


class Digits(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch):
        inputs, targets = batch
        return nn.functional.cross_entropy(self.net(inputs), targets)

    def test_step(self, batch):
        inputs, targets = batch
        self.log("accuracy", (self.net(inputs).argmax(1) == targets).float().mean())

    def configure_optimizers(self):
        optimizer = DiffGrad(self.parameters(), lr=3e-3)
        schedule = UBA(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def main(epochs: int = 5) -> float:
    lightning.seed_everything(0, verbose=False)
    images, digits = load_digits(return_X_y=True)
    inputs = torch.tensor(images, dtype=torch.float32) / 16
    targets = torch.tensor(digits)
    train = DataLoader(TensorDataset(inputs[:1500], targets[:1500]), batch_size=50, shuffle=True)
    test = DataLoader(TensorDataset(inputs[1500:], targets[1500:]), batch_size=297)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Digits()
    trainer.fit(model, train)
    (result,) = trainer.test(model, test, verbose=False)
    return result["accuracy"]


if __name__ == "__main__":
    print(f"accuracy on the last 297 scans: {main():.1%}")
