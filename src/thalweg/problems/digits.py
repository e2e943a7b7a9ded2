"""Handwritten digits: 1,797 scans of 8 x 8 pixels bundled with scikit-learn, a small conv net."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from thalweg.problems.splits import complete
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem


def scans() -> tuple[Tensor, Tensor]:
    """Return the images, (1797, 1, 8, 8) in [0, 1], and their digits."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    return images, torch.tensor(digits.target)


def parts() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return images and digits to train, validate and test on: 1151, 287 and 359 of them."""
    images, label = scans()
    chosen = complete({"train": torch.arange(len(label))}, label, "digits").values()
    train, validation, test = ((images[part], label[part]) for part in chosen)
    return train, validation, test


def conv_net() -> nn.Module:
    """Build the net: two convolutions, one hidden layer, about 20,000 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 16, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def problem() -> TrainingProblem:
    """Recognise the digit."""
    train, validation, test = parts()
    return TrainingProblem(
        "digits",
        model=conv_net,
        train=train,
        validation=validation,
        test=test,
        loss=nn.CrossEntropyLoss(),
        metric=METRICS["accuracy"],
        steps=300,
        target=0.96,
        description="handwritten digits, small conv net",
    )
