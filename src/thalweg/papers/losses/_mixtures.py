"""Oracle of mixing: mixup and CutMix, followed with the random numbers of their seed."""

import math

import numpy as np
import torch

from thalweg.data.mixup import Mixup, Policy

POLICIES: tuple[Policy, ...] = ("mixup", "cutmix")


def mixtures_retyped() -> None:
    """Follow both policies over resumed batches of images, pixel by pixel."""
    images = torch.linspace(0, 7, 6 * 8 * 5, dtype=torch.float64).sin().view(6, 8, 5)
    classes, pixels = torch.arange(6) % 4, [(i, j) for i in range(8) for j in range(5)]
    one_hot = torch.eye(4)[classes]
    for policy in POLICIES:
        mix = Mixup(alpha=0.7, policy=policy, seed=3)
        assert mix.state_dict() == {"batches": 0}
        mix.load_state_dict({"batches": 5})
        for batch in range(5, 20):
            random = np.random.default_rng((3, batch))
            share, partner = random.beta(0.7, 0.7), torch.from_numpy(random.permutation(6))
            other = images[partner]
            expected = share * images + (1 - share) * other
            if policy == "cutmix":
                row, column = random.integers(8), random.integers(5)
                height, width = (int(length * math.sqrt(1 - share)) // 2 for length in (8, 5))
                box = [
                    (i, j)
                    for i, j in pixels
                    if row - height <= i < row + height and column - width <= j < column + width
                ]
                expected = images.clone()
                for i, j in box:
                    expected[..., i, j] = other[..., i, j]
                share = 1 - len(box) / len(pixels)
            mixed, labels = mix(given := images.clone(), classes)
            assert torch.equal(given, images)
            torch.testing.assert_close(mixed, expected)
            torch.testing.assert_close(
                labels.probabilities(4), share * one_hot + (1 - share) * one_hot[partner]
            )
        assert mix.state_dict() == {"batches": 20}
